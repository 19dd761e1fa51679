//! What happens, one file per noun. A handler checks who may, keeps what must be kept, and lists
//! the consequences; it publishes nothing and acknowledges nothing. Every handler is safe to run
//! twice.

/// Chat messages: send, read.
pub(crate) mod message;

/// Somebody types.
pub(crate) mod typing;

/// Who is online, and who sees it.
pub(crate) mod presence;

use std::sync::Arc;

use common::ids::UserId;

use crate::store::Audience;

/// The ids of a conversation's members, for effects.
fn everyone(audience: &Audience) -> Arc<[UserId]> {
    audience.members.iter().map(|member| member.id).collect()
}

/// The ids of a conversation's members without one.
fn others(audience: &Audience, one: UserId) -> Arc<[UserId]> {
    audience.members.iter().map(|member| member.id).filter(|id| *id != one).collect()
}
