//! Which users are online, and who sees it.

mod events;
mod store;
mod teller;

pub(crate) use self::events::online;
pub use self::store::Circle;
pub(crate) use self::store::STATEMENTS;
pub(crate) use self::teller::watch;
