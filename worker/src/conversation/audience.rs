//! The members of a conversation, the blocks between them, and the check whether a user may write.

use std::sync::Arc;

use protocol::events::message::ConversationKind;
use protocol::ids::UserId;
use protocol::{Person, Reject};

/// The members of a conversation, and the blocks between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// Computed from the number of verified participants.
    pub kind: ConversationKind,
    /// Verified participants with an account in good standing, ordered by id.
    pub members: Vec<Person>,
    /// In a conversation of two: pairs of (blocking user, blocked user). Empty in a group, where a block
    /// stops no message.
    pub blocked: Vec<(UserId, UserId)>,
}

impl Members {
    /// The member with this id; None if the user is not a member.
    pub fn member(&self, user: UserId) -> Option<&Person> {
        self.members.binary_search_by_key(&user, |person| person.id).ok().map(|at| &self.members[at])
    }

    /// Whether either user has blocked the other.
    pub fn is_blocked_between(&self, one: UserId, other: UserId) -> bool {
        self.blocked.iter().any(|pair| *pair == (one, other) || *pair == (other, one))
    }
}

/// Checks that a user may write: the user is a member, and in a conversation of two neither has blocked the
/// other. Returns the members and the sender.
///
/// # Errors
/// [`Reject::NotAMember`], also if there is no such conversation; [`Reject::Blocked`].
pub fn admit(audience: Option<&Members>, user: UserId) -> Result<(&Members, &Person), Reject> {
    let audience = audience.ok_or(Reject::NotAMember)?;
    let sender = audience.member(user).ok_or(Reject::NotAMember)?;
    let blocked = |other: &Person| audience.is_blocked_between(sender.id, other.id);
    if audience.kind == ConversationKind::Friend && audience.members.iter().any(blocked) {
        return Err(Reject::Blocked);
    }
    Ok((audience, sender))
}

/// The kind of a conversation with this number of verified participants: two are friends, any other number
/// is a group.
pub(crate) fn kind(verified: i64) -> ConversationKind {
    if verified == 2 { ConversationKind::Friend } else { ConversationKind::Group }
}

/// The ids of all members, as the audience of effects.
pub fn everyone(audience: &Members) -> Arc<[UserId]> {
    audience.members.iter().map(|member| member.id).collect()
}

/// The ids of all members except `one`.
pub fn others(audience: &Members, one: UserId) -> Arc<[UserId]> {
    audience.members.iter().map(|member| member.id).filter(|id| *id != one).collect()
}
