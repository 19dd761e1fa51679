//! The steps of saving a piece: recall, decide, write, retry.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use common::limits::OWNER_IDS;
use protocol::ids::{ConversationId, MessageId, UserId};
use protocol::{Reject, Timestamp};
use tokio::time::Instant;

use super::append::{Appended, Move, Piece};
use super::audience::{Members, admit};
use super::decide::{Decision, Ruling, decide};
use super::memory::{Owner, Remembered};
use super::message::{NewMessage, Saved, SavedMessage, Wanted};
use crate::metrics;
use crate::store::{Result, Store};

/// The outcome of saving a piece.
#[derive(Debug)]
pub struct Kept {
    /// The members of its conversations, as of its commit.
    pub people: HashMap<ConversationId, People>,
    /// One outcome for each message, in the order of the piece.
    pub saved: Vec<Saved>,
}

/// The members of a conversation.
#[derive(Clone, Debug)]
pub struct People {
    /// The members, with names and blocks.
    pub audience: Arc<Members>,
    /// The ids of the members to deliver to.
    pub room: Arc<[UserId]>,
}

/// The members of conversations, as remembered.
#[derive(Debug)]
pub(crate) struct KnownPeople {
    /// The server that they were read from; a write that checks them must go to the same one.
    pub epoch: u64,
    /// The members, and the version that such a write must find.
    pub people: HashMap<ConversationId, (People, i64)>,
}

impl Owner {
    /// Returns the members of these conversations, from memory or else from PostgreSQL. Callers may trust
    /// them only together with a write that checks the version.
    pub(crate) async fn people(
        &self,
        store: &Store,
        conversations: &[ConversationId],
    ) -> Result<KnownPeople> {
        let epoch = store.epoch();
        let mut copies = self.recall(epoch, conversations);
        let cold: Vec<_> = conversations.iter().copied().filter(|id| !copies.contains_key(id)).collect();
        read(store, self, epoch, &cold, &mut copies).await?;
        let people = copies.into_iter().map(|(id, copy)| {
            let Remembered { audience, room, version, .. } = copy;
            (id, (People { audience, room }, version))
        });
        Ok(KnownPeople { epoch, people: people.collect() })
    }

    /// Saves the messages of a piece whose senders may write, in order, and returns the outcome of each.
    ///
    /// # Errors
    /// The store has no answer. The piece may have been saved all the same: a retry must set `again`.
    pub async fn keep(&self, store: &Store, piece: &[Wanted]) -> Result<Kept> {
        let mut conversations: Vec<_> = piece.iter().map(|wanted| wanted.new.event.conversation).collect();
        conversations.sort_unstable();
        conversations.dedup();
        for careful in [false, true] {
            match once(store, self, piece, &conversations, careful).await {
                Ok(Some(kept)) => return Ok(kept),
                // Invariant: after any outcome but success no copy of these conversations is trusted.
                Ok(None) => self.forget(conversations.iter().copied()),
                Err(err) => {
                    self.forget(conversations.iter().copied());
                    return Err(err);
                }
            }
        }
        locked(store, piece, &conversations).await
    }
}

/// One attempt. None: a conversation, a message or the server differs from memory, and nothing was written.
/// `careful`: every message that is not in memory is looked up before the write.
async fn once(
    store: &Store,
    owner: &Owner,
    piece: &[Wanted],
    conversations: &[ConversationId],
    careful: bool,
) -> Result<Option<Kept>> {
    let epoch = store.epoch();
    let mut copies = owner.recall(epoch, conversations);
    let cold: Vec<_> = conversations.iter().copied().filter(|id| !copies.contains_key(id)).collect();
    read(store, owner, epoch, &cold, &mut copies).await?;
    let rows = look_up(store, owner, epoch, piece, careful).await?;
    let mut decision = decide(&copies, &rows, piece);

    // A copy that no write of this piece checks is checked here, before the worker answers from it.
    let unchecked = unchecked(piece, &decision, &cold);
    if !unchecked.is_empty() {
        let versions = store.versions(&unchecked).await?;
        let is_stale =
            |id: &ConversationId| copies.get(id).map(|copy| copy.version) != versions.get(id).copied();
        let stale: Vec<_> = unchecked.into_iter().filter(is_stale).collect();
        if !stale.is_empty() {
            owner.forget(stale.iter().copied());
            stale.iter().for_each(|id| drop(copies.remove(id)));
            read(store, owner, epoch, &stale, &mut copies).await?;
            decision = decide(&copies, &rows, piece);
        }
    }
    if store.epoch() != epoch {
        return Ok(None);
    }

    let count = decision.verdicts.iter().filter(|one| matches!(one, Ruling::New(_))).count();
    let mut ids = ids(store, owner, epoch, count).await?.into_iter();
    let moves = moves(&copies, &decision);
    let last =
        moves.iter().filter_map(|one| copies.get(&one.conversation)).map(|copy| copy.updated_at.0).max();
    let at = Timestamp(owner.now(Instant::now()).0.max(last.unwrap_or(0)));
    let saved = saved(&decision, at, || MessageId(ids.next().unwrap_or_default()));
    let new = piece.iter().zip(&saved).filter_map(|(wanted, saved)| match saved {
        Saved::New(row) => Some((&wanted.new, *row)),
        _ => None,
    });
    let write = Piece { heads: moves, messages: new.collect(), at };
    if !write.messages.is_empty() {
        match store.append(epoch, &write).await? {
            Appended::Kept => owner.advance(epoch, &write),
            Appended::Moved | Appended::Repeated => return Ok(None),
        }
    }
    let people =
        |(id, copy): (ConversationId, Remembered)| (id, People { audience: copy.audience, room: copy.room });
    Ok(Some(Kept { people: copies.into_iter().map(people).collect(), saved }))
}

/// Loads conversations into memory and into `copies`.
async fn read(
    store: &Store,
    owner: &Owner,
    epoch: u64,
    wanted: &[ConversationId],
    copies: &mut HashMap<ConversationId, Remembered>,
) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let loaded = store.load(wanted).await?;
    metrics::conversations("loaded", loaded.len());
    let now = loaded.values().map(|loaded| loaded.now).max();
    let read: HashMap<ConversationId, Remembered> =
        loaded.into_iter().map(|(id, loaded)| (id, loaded.into())).collect();
    owner.learn(epoch, now, read.iter());
    copies.extend(read);
    Ok(())
}

/// The rows of messages that already exist, by index. Rows in memory need no query; PostgreSQL is asked for
/// redelivered messages (a worker may have died over them), for suspect senders, and after a failed attempt.
async fn look_up(
    store: &Store,
    owner: &Owner,
    epoch: u64,
    piece: &[Wanted],
    careful: bool,
) -> Result<HashMap<usize, SavedMessage>> {
    let now = Instant::now();
    let mut rows = HashMap::new();
    let mut asked = Vec::new();
    for (at, Wanted { new, again }) in piece.iter().enumerate() {
        let key = (new.event.conversation, new.sender, new.guid.clone());
        if let Some(row) = owner.row(epoch, &key) {
            rows.insert(at, row);
        } else if careful || *again || owner.is_suspect(new.sender, now) {
            asked.push(at);
        }
    }
    if asked.is_empty() {
        return Ok(rows);
    }
    let new: Vec<&NewMessage> = asked.iter().map(|at| &piece[*at].new).collect();
    for (place, row) in store.known_messages(&new).await? {
        let Some(at) = asked.get(place) else { continue };
        if !piece[*at].again {
            owner.suspect(piece[*at].new.sender, now);
        }
        rows.insert(*at, row);
    }
    Ok(rows)
}

/// Conversations that have an answer but no new message, so that the write does not check their version.
/// Those in `fresh` were loaded just now and need no check.
fn unchecked(piece: &[Wanted], decision: &Decision, fresh: &[ConversationId]) -> Vec<ConversationId> {
    let told = piece.iter().zip(&decision.verdicts).filter(|(_, verdict)| !matches!(verdict, Ruling::New(_)));
    let told: HashSet<_> = told.map(|(wanted, _)| wanted.new.event.conversation).collect();
    let unchecked = told.into_iter().filter(|id| !decision.heads.contains_key(id) && !fresh.contains(id));
    unchecked.collect()
}

async fn ids(store: &Store, owner: &Owner, epoch: u64, count: usize) -> Result<Vec<i64>> {
    if let Some(ids) = owner.take_ids(epoch, count) {
        return Ok(ids);
    }
    let mut more = store.message_ids(count + OWNER_IDS).await?;
    owner.give_ids(epoch, more.split_off(count));
    Ok(more)
}

fn moves(copies: &HashMap<ConversationId, Remembered>, decision: &Decision) -> Vec<Move> {
    let moved = decision.heads.iter().filter_map(|(id, head)| {
        let copy = copies.get(id)?;
        Some(Move { conversation: *id, expected: copy.head, head: *head, version: copy.version })
    });
    moved.collect()
}

fn saved(decision: &Decision, at: Timestamp, mut id: impl FnMut() -> MessageId) -> Vec<Saved> {
    let mut saved: Vec<Saved> = Vec::with_capacity(decision.verdicts.len());
    for verdict in &decision.verdicts {
        saved.push(match verdict {
            Ruling::Refused(reject) => Saved::Refused(*reject),
            Ruling::Known(row) => Saved::Repeat(*row),
            Ruling::New(seq) => Saved::New(SavedMessage { message: id(), seq: *seq, created_at: at }),
            Ruling::Same(first) => match saved[*first] {
                Saved::New(row) | Saved::Repeat(row) => Saved::Repeat(row),
                refused @ Saved::Refused(_) => refused,
            },
        });
    }
    saved
}

/// Saves a piece without using memory: reads which senders may write, locks the conversations, and writes
/// the messages that do not exist yet. Users who left meanwhile receive nothing and write nothing: the
/// statement below the locks checks senders again.
async fn locked(store: &Store, piece: &[Wanted], conversations: &[ConversationId]) -> Result<Kept> {
    metrics::conversations("locked", conversations.len());
    let before = store.audiences(conversations).await?;
    let mut saved = vec![Saved::Refused(Reject::NotAMember); piece.len()];
    let mut allowed = Vec::with_capacity(piece.len());
    for (at, wanted) in piece.iter().enumerate() {
        match admit(before.get(&wanted.new.event.conversation), wanted.new.sender) {
            Ok(_) => allowed.push(at),
            Err(reject) => saved[at] = Saved::Refused(reject),
        }
    }
    let new: Vec<NewMessage> = allowed.iter().map(|at| piece[*at].new.clone()).collect();
    for (at, outcome) in allowed.into_iter().zip(store.save_messages(&new).await?) {
        saved[at] = outcome;
    }
    let after = store.audiences(conversations).await?;
    for (wanted, outcome) in piece.iter().zip(&mut saved) {
        let now = || admit(after.get(&wanted.new.event.conversation), wanted.new.sender);
        if let (Saved::Refused(_), Err(reject)) = (&outcome, now()) {
            *outcome = Saved::Refused(reject);
        }
    }
    let people = before.into_iter().map(|(id, audience)| {
        let stays = |user: &UserId| after.get(&id).is_some_and(|after| after.member(*user).is_some());
        let room = audience.members.iter().map(|member| member.id).filter(stays).collect();
        (id, People { audience: Arc::new(audience), room })
    });
    Ok(Kept { people: people.collect(), saved })
}
