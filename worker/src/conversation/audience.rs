//! Who is in a conversation, what stands between them, and who may write.

use std::sync::Arc;

use protocol::events::message::ConversationKind;
use protocol::ids::UserId;
use protocol::{Person, Reject};

/// Who is in a conversation, and what stands between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// Computed from how many are verified.
    pub kind: ConversationKind,
    /// Verified participants with an account in good standing, by id.
    pub members: Vec<Person>,
    /// In a conversation of two: (who blocked, whom). In a group a block stops no message, so none
    /// are read.
    pub blocked: Vec<(UserId, UserId)>,
}

impl Members {
    /// The member of this id.
    pub fn member(&self, user: UserId) -> Option<&Person> {
        self.members.binary_search_by_key(&user, |person| person.id).ok().map(|at| &self.members[at])
    }

    /// Whether either of the two has blocked the other.
    pub fn is_blocked_between(&self, one: UserId, other: UserId) -> bool {
        self.blocked.iter().any(|pair| *pair == (one, other) || *pair == (other, one))
    }
}

/// Who may write: a verified member, and in a conversation of two nobody who has blocked the other.
///
/// # Errors
/// [`Reject::NotAMember`], [`Reject::Blocked`].
pub fn admit(audience: Option<&Members>, user: UserId) -> Result<(&Members, &Person), Reject> {
    let audience = audience.ok_or(Reject::NotAMember)?;
    let sender = audience.member(user).ok_or(Reject::NotAMember)?;
    let blocked = |other: &Person| audience.is_blocked_between(sender.id, other.id);
    if audience.kind == ConversationKind::Friend && audience.members.iter().any(blocked) {
        return Err(Reject::Blocked);
    }
    Ok((audience, sender))
}

/// Two people are friends, any other number is a group.
pub(crate) fn kind(verified: i64) -> ConversationKind {
    if verified == 2 { ConversationKind::Friend } else { ConversationKind::Group }
}

/// The ids of a conversation's members, for effects.
pub fn everyone(audience: &Members) -> Arc<[UserId]> {
    audience.members.iter().map(|member| member.id).collect()
}

/// The ids of a conversation's members without one.
pub fn others(audience: &Members, one: UserId) -> Arc<[UserId]> {
    audience.members.iter().map(|member| member.id).filter(|id| *id != one).collect()
}
