//! Accounts and their logins.

mod ended;
mod guesses;
mod logins;
mod passwords;
mod profile;
mod rest;
mod store;

pub(crate) use self::ended::watch as watch_ended_logins;
pub use self::ended::{EndedLogin, look as look_for_ended_logins};
pub(crate) use self::logins::STATEMENTS as LOGIN_STATEMENTS;
pub use self::logins::{Digest, NewLogin, Refreshed};
pub use self::passwords::{Passwords, Verdict};
pub(crate) use self::profile::me;
pub(crate) use self::rest::{login, logout, refresh, register};
pub use self::store::{AccountRow, NewAccount, Taken};
pub(crate) use self::store::{STATEMENTS, in_good_standing};
