//! Presence: which users are online, and which users see it.

mod events;
mod store;
mod teller;

use protocol::events::presence::GetOnlineUsers;

pub use self::store::Circle;
pub(crate) use self::teller::watch;

use crate::feature::{Feature, on};

/// Presence: which users are online.
pub const FEATURE: Feature = Feature {
    name: "presence",
    events: &[on!(GetOnlineUsers => events::online)],
    routes: &[],
    statements: &[store::STATEMENTS],
};
