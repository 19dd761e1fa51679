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

use crate::dispatch::EventRow;
use crate::store::{self, Statement};

/// What one noun brings to the worker.
#[derive(Debug)]
pub struct Feature {
    /// The noun.
    pub name: &'static str,
    /// What happens with what clients say.
    pub events: &'static [EventRow],
}

/// All features: the one list.
pub const ALL: &[&Feature] = &[&messages::FEATURE, &typing::FEATURE, &presence::FEATURE];

/// Everything that is ever asked of PostgreSQL, for tests of rules that hold for all of it.
pub fn statements() -> Vec<Statement> {
    let parts = [
        store::STATEMENTS,
        accounts::STATEMENTS,
        conversations::STATEMENTS,
        messages::STATEMENTS,
        messages::HISTORY_STATEMENTS,
        messages::CHANGE_STATEMENTS,
        presence::STATEMENTS,
        operator::STATEMENTS,
        operator::TRACE_STATEMENTS,
        accounts::LOGIN_STATEMENTS,
    ];
    parts.concat()
}
