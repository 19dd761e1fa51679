//! Presence: which users are online, and which users see it.

mod events;
mod store;
mod teller;

use protocol::events::presence::GetOnlineUsers;

pub use self::store::Circle;
use crate::feature::{Feature, on};

/// Presence: which users are online.
pub const FEATURE: Feature = Feature {
    events: &[on!(GetOnlineUsers => events::online)],
    statements: &[store::STATEMENTS],
    tasks: &[|ctx, draining| Box::pin(teller::watch(ctx, draining))],
    ..Feature::named("presence")
};
