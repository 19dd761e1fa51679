//! The way of a piece: recall, decide, write, and again.

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

/// What became of a piece.
#[derive(Debug)]
pub struct Kept {
    /// Who is in its conversations, as of its commit.
    pub people: HashMap<ConversationId, People>,
    /// For each message.
    pub saved: Vec<Saved>,
}

/// Who is in a conversation.
#[derive(Clone, Debug)]
pub struct People {
    /// Its members.
    pub audience: Arc<Members>,
    /// Their ids.
    pub room: Arc<[UserId]>,
}

/// Who is in conversations, as remembered.
#[derive(Debug)]
pub(crate) struct KnownPeople {
    /// The server that it came from: a write that checks it goes there.
    pub epoch: u64,
    /// Each with the version that such a write must find.
    pub people: HashMap<ConversationId, (People, i64)>,
}

impl Owner {
    /// Who is in these conversations, as remembered; what is not is read. It is believed only together
    /// with a write that checks the version.
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

    /// Keeps what may be kept of a piece, in its order, and answers for each.
    ///
    /// # Errors
    /// The store has no answer. It may have been kept all the same: a repeat has to say so (`again`).
    pub async fn keep(&self, store: &Store, piece: &[Wanted]) -> Result<Kept> {
        let mut conversations: Vec<_> = piece.iter().map(|wanted| wanted.new.event.conversation).collect();
        conversations.sort_unstable();
        conversations.dedup();
        for careful in [false, true] {
            match once(store, self, piece, &conversations, careful).await {
                Ok(Some(kept)) => return Ok(kept),
                // Invariant: after any outcome but success nothing of it is believed.
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

/// One try. None: something was not as remembered, and nothing was written.
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

    // What is told without a write of its own is checked before it is told.
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

/// Reads conversations, and remembers them.
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

/// The rows of messages that are there already: those remembered, and those that are asked for because
/// a worker died over them, because their sender repeats guids, or because the first try failed.
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

/// Conversations that were not read just now, of which something is told, and whose version the write
/// does not check because nothing new is written there.
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

/// The way of those who remember nothing: who may write is read, the conversations are locked, and what
/// is not there is written. Who left meanwhile hears nothing and says nothing: the statement below the
/// locks asks once more who may write.
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
