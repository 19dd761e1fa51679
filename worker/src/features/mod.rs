//! What happens, one folder per noun. A handler checks who may, keeps what must be kept, and lists
//! the consequences; it publishes nothing and acknowledges nothing. Every handler is safe to run
//! twice. A feature uses another one only through its `mod.rs`.

/// Accounts and their logins.
pub mod accounts;

/// Conversations: list, one, create.
pub mod conversations;

/// Chat messages: send, read, histories, `sync`.
pub mod messages;

/// A user types.
pub mod typing;

/// Which users are online, and who sees it.
pub mod presence;

/// What only an operator asks for.
pub mod operator;

use crate::conversation;
pub use crate::feature::Feature;
use crate::rest::route::Route;
use crate::store::{self, Statement};

/// All of them.
pub const ALL: &[&Feature] = &[
    &accounts::FEATURE,
    &conversations::FEATURE,
    &messages::FEATURE,
    &typing::FEATURE,
    &presence::FEATURE,
    &operator::FEATURE,
];

/// The one table of routes.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    ALL.iter().flat_map(|feature| feature.routes)
}

/// Everything that is ever asked of PostgreSQL, for tests of rules that hold for all of it.
pub fn statements() -> Vec<Statement> {
    let of_features = ALL.iter().flat_map(|feature| feature.statements.iter().copied());
    let owner = conversation::STATEMENTS.iter().copied();
    std::iter::once(store::STATEMENTS).chain(owner).chain(of_features).flatten().copied().collect()
}
