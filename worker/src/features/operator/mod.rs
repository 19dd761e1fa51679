//! What only an operator asks for.

mod store;
mod trace;

pub use self::store::LoginRow;
pub(crate) use self::store::STATEMENTS;
pub use self::trace::KeptMessage;
pub(crate) use self::trace::STATEMENTS as TRACE_STATEMENTS;
