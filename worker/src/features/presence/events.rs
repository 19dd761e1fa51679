//! Presence: `getOnlineUsers`, and the announcements that `teller.rs` makes.
//!
//! People see each other through conversations they share, unless one has blocked the other
//! (`store.rs`).

use std::sync::Arc;

use common::directory::Presence;
use common::limits::{LOW_LANE_TTL_MS, PRESENCE_CONTACTS_MAX};
use foldhash::{HashMap, HashMapExt, HashSet};
use protocol::events::ServerEvent;
use protocol::events::presence::{GetOnlineUsers, ListOnline, OnlineUsers, UserOffline, UserOnline};
use protocol::ids::{ConversationId, UserId};
use protocol::{Forms, Reject, Timestamp, Urgency};

use super::store::Circle;
use crate::ctx::Ctx;
use crate::metrics;
use common::lanes::{Effects, Halt, Outcomes, Request, To, Told, latest_key};

/// `getOnlineUsers`: returns which contacts of the user are online; in the form of the original's clients also
/// in which of the user's conversations.
pub(crate) async fn online(ctx: &Ctx, batch: &[Request<'_, GetOnlineUsers>]) -> Outcomes {
    let wall = Timestamp::now();
    let is_stale =
        |one: &Request<'_, GetOnlineUsers>| wall.0.saturating_sub(one.at.0) > i64::from(LOW_LANE_TTL_MS);
    metrics::shed("getOnlineUsers", "stale", batch.iter().filter(|one| is_stale(one)).count());
    let mut users: Vec<UserId> = batch.iter().filter(|one| !is_stale(one)).map(|one| one.from.user).collect();
    users.sort_unstable();
    users.dedup();
    let seen = seen(ctx, &users).await?;
    let outcomes = batch.iter().map(|one| {
        let Some(socket) = one.from.socket.filter(|_| !is_stale(one)) else { return Ok(Effects::default()) };
        let Seen { online, conversations } = seen.get(&one.from.user).cloned().unwrap_or_default();
        let mut effects = Effects::default().answer(one.from, one.tag, OnlineUsers { users: online });
        effects.told.push(Told {
            to: To::Socket(socket),
            forms: Forms::SocketIo,
            urgency: Urgency::Latest(online_key(one.from.user)),
            event: ListOnline { list_online: conversations }.into(),
            tag: None,
        });
        Ok(effects)
    });
    Ok(outcomes.collect::<Vec<Result<Effects, Reject>>>())
}

/// The contacts that a user sees online.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    online: Vec<UserId>,
    /// The conversations with at least one online contact.
    conversations: Vec<ConversationId>,
}

async fn seen(ctx: &Ctx, users: &[UserId]) -> Result<HashMap<UserId, Seen>, Halt> {
    if users.is_empty() {
        return Ok(HashMap::new());
    }
    let circles = ctx.store.circles(users).await?;
    let online = ctx.directory.online(&everybody(&circles)).await?;
    Ok(look(&circles, &online.into_iter().collect()))
}

/// All other users in these circles, each once.
fn everybody(circles: &[Circle]) -> Vec<UserId> {
    let mut users: Vec<UserId> = circles.iter().flat_map(|circle| circle.others.iter().copied()).collect();
    users.sort_unstable();
    users.dedup();
    users
}

fn look(circles: &[Circle], online: &HashSet<UserId>) -> HashMap<UserId, Seen> {
    let mut seen: HashMap<UserId, Seen> = HashMap::new();
    for circle in circles {
        let there: Vec<UserId> = circle.others.iter().filter(|user| online.contains(user)).copied().collect();
        if !there.is_empty() {
            let seen = seen.entry(circle.user).or_default();
            seen.conversations.push(circle.conversation);
            seen.online.extend(there);
        }
    }
    for seen in seen.values_mut() {
        seen.conversations.sort_unstable();
        seen.online.sort_unstable();
        seen.online.dedup();
        seen.online.truncate(PRESENCE_CONTACTS_MAX);
    }
    seen
}

/// The announcements of these users' presence, for the users who see them.
pub(crate) async fn news(ctx: &Ctx, changes: &[Presence]) -> Result<Vec<Effects>, Halt> {
    let users: Vec<UserId> = changes.iter().map(|change| change.user).collect();
    let circles = ctx.store.circles(&users).await?;
    let contacts = contacts(&circles);
    let at = Timestamp::now();
    let told = changes.iter().filter_map(|Presence { user, is_online }| {
        let contacts = contacts.get(user)?;
        let (user_id, timestamp) = (*user, at);
        let event: ServerEvent = if *is_online {
            UserOnline { user_id, timestamp }.into()
        } else {
            UserOffline { user_id, timestamp }.into()
        };
        Some(Effects::default().broadcast_latest(contacts, Forms::All, presence_key(*user), event))
    });
    Ok(told.collect())
}

/// The new lists for the original's clients, for the users who see these users.
pub(crate) async fn lists(ctx: &Ctx, watchers: &[UserId]) -> Result<Vec<Effects>, Halt> {
    let mut seen = seen(ctx, watchers).await?;
    let told = watchers.iter().map(|watcher| {
        let conversations = seen.remove(watcher).unwrap_or_default().conversations;
        let event = ListOnline { list_online: conversations };
        let to: Arc<[UserId]> = [*watcher].into();
        Effects::default().broadcast_latest(&to, Forms::SocketIo, online_key(*watcher), event)
    });
    Ok(told.collect())
}

/// The key of a person's coming and going, for [`Urgency::Latest`].
fn presence_key(user: UserId) -> u64 {
    latest_key("presence", &[user.0])
}

/// The key of what a person sees of others' presence, for [`Urgency::Latest`].
fn online_key(user: UserId) -> u64 {
    latest_key("online list", &[user.0])
}

/// The users who see each user.
fn contacts(circles: &[Circle]) -> HashMap<UserId, Arc<[UserId]>> {
    let mut contacts: HashMap<UserId, Vec<UserId>> = HashMap::new();
    for circle in circles {
        contacts.entry(circle.user).or_default().extend(&circle.others);
    }
    let unique = contacts.into_iter().map(|(user, mut contacts)| {
        contacts.sort_unstable();
        contacts.dedup();
        contacts.truncate(PRESENCE_CONTACTS_MAX);
        (user, contacts.into())
    });
    unique.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circle(user: i64, conversation: i64, others: &[i64]) -> Circle {
        Circle {
            user: UserId(user),
            conversation: ConversationId(conversation),
            others: others.iter().copied().map(UserId).collect(),
        }
    }

    #[test]
    fn a_conversation_is_green_when_somebody_else_is_there() {
        let circles =
            [circle(1, 10, &[2, 3]), circle(1, 11, &[4]), circle(1, 12, &[3]), circle(2, 10, &[1, 3])];
        let seen = look(&circles, &[UserId(1), UserId(3)].into_iter().collect());
        let one = Seen { online: vec![UserId(3)], conversations: [10, 12].map(ConversationId).into() };
        assert_eq!(seen[&UserId(1)], one);
        assert_eq!(seen[&UserId(2)].online, [UserId(1), UserId(3)]);
        assert_eq!(everybody(&circles), [1, 2, 3, 4].map(UserId));
    }

    #[test]
    fn a_contact_is_told_once_however_much_is_shared() {
        let contacts = contacts(&[circle(1, 10, &[2, 3]), circle(1, 11, &[3])]);
        assert_eq!(contacts[&UserId(1)][..], [UserId(2), UserId(3)]);
    }

    #[test]
    fn what_a_person_is_and_what_it_sees_have_different_keys() {
        let keys =
            [presence_key(UserId(1)), presence_key(UserId(2)), online_key(UserId(1)), online_key(UserId(2))];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key), "{at}");
        }
    }
}
