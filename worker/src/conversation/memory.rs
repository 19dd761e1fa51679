//! The memory of a worker, bounded by members, not by conversations, because one conversation may be huge.

use std::sync::Arc;
use std::time::Duration;

use common::limits::{OWNER_GUIDS_MAX, OWNER_MEMBERS_MAX, OWNER_SUSPECT_MS, OWNER_SUSPECTS_MAX};
use foldhash::HashMap;
use parking_lot::{Mutex, MutexGuard};
use protocol::Timestamp;
use protocol::ids::{ConversationId, Guid, UserId};
use tokio::time::Instant;

use super::append::Piece;
use super::audience::{Members, everyone};
use super::load::Loaded;
use super::message::SavedMessage;
use crate::metrics;

/// The memory of one worker. Cheap to clone; the clones share it.
#[derive(Clone, Default)]
pub struct Owner(Arc<Mutex<Memory>>);

/// A conversation as of the worker's last read or write.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub audience: Arc<Members>,
    /// The ids of its members, as the audience of effects.
    pub room: Arc<[UserId]>,
    /// The seq of its newest message; 0 if it has none.
    pub head: u64,
    pub version: i64,
    /// The time when its last message was written.
    pub updated_at: Timestamp,
}

type Key = (ConversationId, UserId, Guid);

#[derive(Default)]
struct Memory {
    /// The server that all of this was read from (see [`Store::epoch`](crate::store::Store::epoch)).
    epoch: u64,
    conversations: HashMap<ConversationId, Held>,
    /// The number of members of all conversations together, plus one for each conversation.
    slots: usize,
    /// Counts recalls; conversations recalled longest ago are forgotten first.
    tick: u64,
    /// Messages written recently, in two halves: when `young` is full, it replaces `old`.
    young: HashMap<Key, SavedMessage>,
    old: HashMap<Key, SavedMessage>,
    /// Senders that repeated a guid not in memory, and until when their messages are looked up before a write.
    suspects: HashMap<UserId, Instant>,
    /// Message ids reserved from the sequence and not used yet, highest first.
    ids: Vec<i64>,
    /// The database's clock, and when it was read. None: not read yet.
    clock: Option<(Timestamp, Instant)>,
}

struct Held {
    copy: Remembered,
    used: u64,
}

impl Held {
    fn slots(&self) -> usize {
        self.copy.audience.members.len() + 1
    }
}

impl From<Loaded> for Remembered {
    fn from(loaded: Loaded) -> Self {
        let room = everyone(&loaded.audience);
        let Loaded { audience, head, version, updated_at, .. } = loaded;
        Self { audience: Arc::new(audience), room, head, version, updated_at }
    }
}

impl Owner {
    /// Returns the copies of these conversations. If memory is of another epoch, it is emptied first.
    pub(super) fn recall(
        &self,
        epoch: u64,
        conversations: &[ConversationId],
    ) -> std::collections::HashMap<ConversationId, Remembered> {
        let mut memory = self.memory();
        // Invariant: a new server, an empty memory.
        if memory.epoch != epoch {
            *memory = Memory { epoch, ..Memory::default() };
        }
        memory.tick += 1;
        let tick = memory.tick;
        let mut recalled = std::collections::HashMap::with_capacity(conversations.len());
        for id in conversations {
            if let Some(held) = memory.conversations.get_mut(id) {
                held.used = tick;
                recalled.insert(*id, held.copy.clone());
            }
        }
        metrics::conversations("recalled", recalled.len());
        recalled
    }

    /// Remembers conversations read from the server of `epoch`, and its clock `now`.
    pub(super) fn learn<'a>(
        &self,
        epoch: u64,
        now: Option<Timestamp>,
        read: impl Iterator<Item = (&'a ConversationId, &'a Remembered)>,
    ) {
        let mut memory = self.memory();
        if memory.epoch != epoch {
            return;
        }
        memory.clock = now.map(|now| (now, Instant::now())).or(memory.clock);
        let used = memory.tick;
        for (id, copy) in read {
            let held = Held { copy: copy.clone(), used };
            // A quarter at most: one huge conversation must not evict all others.
            if held.slots() <= OWNER_MEMBERS_MAX / 4 {
                memory.slots += held.slots();
                let before = memory.conversations.insert(*id, held);
                memory.slots -= before.map_or(0, |before| before.slots());
            }
        }
        memory.make_room();
    }

    /// Remembers a committed piece: its heads, its time and its messages.
    pub(super) fn advance(&self, epoch: u64, piece: &Piece<'_>) {
        let mut memory = self.memory();
        if memory.epoch != epoch {
            return;
        }
        for moved in &piece.heads {
            if let Some(held) = memory.conversations.get_mut(&moved.conversation)
                && held.copy.head == moved.expected
                && held.copy.version == moved.version
            {
                held.copy.head = moved.head;
                held.copy.updated_at = piece.at;
            }
        }
        if memory.young.len() + piece.messages.len() > OWNER_GUIDS_MAX / 2 {
            memory.old = std::mem::take(&mut memory.young);
        }
        for (new, row) in &piece.messages {
            memory.young.insert((new.event.conversation, new.sender, new.guid.clone()), *row);
        }
    }

    /// Forgets conversations; the next piece that needs one loads it.
    pub(crate) fn forget(&self, conversations: impl Iterator<Item = ConversationId>) {
        let mut memory = self.memory();
        let mut count = 0;
        for id in conversations {
            if let Some(held) = memory.conversations.remove(&id) {
                memory.slots -= held.slots();
                count += 1;
            }
        }
        metrics::conversations("forgotten", count);
    }

    /// The row of a recently written message. None: not in memory, or memory is of another epoch.
    pub(super) fn row(&self, epoch: u64, key: &Key) -> Option<SavedMessage> {
        let memory = self.memory();
        if memory.epoch != epoch {
            return None;
        }
        memory.young.get(key).or_else(|| memory.old.get(key)).copied()
    }

    /// Whether messages of this sender must be looked up before they are written.
    pub(super) fn is_suspect(&self, sender: UserId, now: Instant) -> bool {
        let memory = self.memory();
        !memory.suspects.is_empty() && memory.suspects.get(&sender).is_some_and(|until| *until > now)
    }

    /// Marks a sender that repeated a guid not in memory, for `OWNER_SUSPECT_MS`. Without effect if
    /// `OWNER_SUSPECTS_MAX` senders are marked.
    pub(super) fn suspect(&self, sender: UserId, now: Instant) {
        let mut memory = self.memory();
        if memory.suspects.len() >= OWNER_SUSPECTS_MAX {
            memory.suspects.retain(|_, until| *until > now);
        }
        if memory.suspects.len() < OWNER_SUSPECTS_MAX {
            memory.suspects.insert(sender, now + Duration::from_millis(OWNER_SUSPECT_MS));
        }
    }

    /// Takes `count` message ids. None: fewer are left, or they came from another server.
    pub(super) fn take_ids(&self, epoch: u64, count: usize) -> Option<Vec<i64>> {
        let mut memory = self.memory();
        let at = memory.ids.len().checked_sub(count).filter(|_| memory.epoch == epoch)?;
        Some(memory.ids.split_off(at))
    }

    /// Adds message ids, unless they came from another server.
    pub(super) fn give_ids(&self, epoch: u64, ids: Vec<i64>) {
        let mut memory = self.memory();
        if memory.epoch == epoch {
            memory.ids.extend(ids);
            // `take_ids` takes from the end, so the lowest ids go first.
            memory.ids.sort_unstable_by(|one, other| other.cmp(one));
        }
    }

    /// The current time by the database's clock, or by this machine's clock if that is unknown.
    pub(super) fn now(&self, instant: Instant) -> Timestamp {
        let elapsed = |at: Instant| i64::try_from((instant - at).as_millis()).unwrap_or(0);
        self.memory().clock.map_or_else(Timestamp::now, |(then, at)| Timestamp(then.0 + elapsed(at)))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock()
    }
}

impl Memory {
    /// Above the bound, forgets the half that was used longest ago.
    fn make_room(&mut self) {
        if self.slots <= OWNER_MEMBERS_MAX {
            return;
        }
        let mut used: Vec<u64> = self.conversations.values().map(|held| held.used).collect();
        used.sort_unstable();
        let middle = used[used.len() / 2];
        let before = self.conversations.len();
        self.conversations.retain(|_, held| held.used > middle);
        self.slots = self.conversations.values().map(Held::slots).sum();
        metrics::conversations("forgotten", before - self.conversations.len());
    }
}
