//! Which users are online, and who sees it.

mod events;
mod store;
mod teller;

pub use self::store::Circle;
use protocol::events::presence::GetOnlineUsers;

use crate::dispatch::on;
use crate::features::Feature;

/// Which users are online.
pub const FEATURE: Feature = Feature { name: "presence", events: &[on!(GetOnlineUsers => events::online)] };

pub(crate) use self::store::STATEMENTS;
pub(crate) use self::teller::watch;
