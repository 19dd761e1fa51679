//! The features, one folder per noun. A handler checks permissions, stores what must be stored, and returns
//! the effects; it publishes nothing and acknowledges nothing. Every handler may run
//! twice without harm. A feature uses another one only through its `mod.rs`.

/// Accounts and their logins.
pub mod accounts;

/// Conversations: list, one, create.
pub mod conversations;

/// Chat messages: send, read, histories, `sync`.
pub mod messages;

/// The typing indicator.
pub mod typing;

/// Presence: which users are online.
pub mod presence;

/// The operator's orders to workers.
pub mod operator;

use crate::conversation;
pub use crate::feature::Feature;
use crate::rest::route::Route;
use crate::store::{self, Statement};

/// All features. A worker starts their tasks in this order.
pub const ALL: &[&Feature] = &[
    &presence::FEATURE,
    &accounts::FEATURE,
    &conversations::FEATURE,
    &messages::FEATURE,
    &typing::FEATURE,
    &operator::FEATURE,
];

/// The REST routes of all features: the only table of routes.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    ALL.iter().flat_map(|feature| feature.routes)
}

/// All statements that the worker runs on PostgreSQL, for tests of rules that hold for all of them.
pub fn statements() -> Vec<Statement> {
    let of_features = ALL.iter().flat_map(|feature| feature.statements.iter().copied());
    let owner = conversation::STATEMENTS.iter().copied();
    std::iter::once(store::STATEMENTS).chain(owner).chain(of_features).flatten().copied().collect()
}
