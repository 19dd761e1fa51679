//! Accounts and their logins.

mod announce;
mod digest;
mod ended;
mod guesses;
mod logins;
mod passwords;
mod profile;
mod rest;
mod store;

pub use self::digest::Digest;
pub use self::ended::{EndedLogin, look as look_for_ended_logins};
pub use self::logins::{NewLogin, Refreshed};
pub use self::passwords::{Passwords, Verdict};
pub(crate) use self::store::in_good_standing;
pub use self::store::{AccountRow, Conflict, NewAccount};

use crate::feature::Feature;
use crate::rest::route::{Class, get, post};

/// Accounts: register, log in, refresh, log out, see oneself.
pub const FEATURE: Feature = Feature {
    routes: &[
        post("/auth/register", |call| Box::pin(rest::register(call))).public(),
        post("/auth/login", |call| Box::pin(rest::login(call))).public(),
        post("/auth/refresh", |call| Box::pin(rest::refresh(call))).public(),
        post("/auth/logout", |call| Box::pin(rest::logout(call))).limited(Class::Own),
        get("/users/me", |call| Box::pin(profile::me(call))),
        get("/users/profile", |call| Box::pin(profile::me(call))),
    ],
    statements: &[store::STATEMENTS, logins::STATEMENTS, ended::STATEMENTS],
    // Before a gateway reads the directory: in the single-process mode it starts empty.
    prepares: &[|ctx| Box::pin(ended::look(ctx))],
    tasks: &[|ctx, draining| Box::pin(ended::watch(ctx, draining))],
    ..Feature::named("accounts")
};
