//! What is remembered, and its bounds: members, not conversations, because one of them may be a giant.

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

/// What one worker remembers. Cheap to clone; the clones share it.
#[derive(Clone, Default)]
pub struct Owner(Arc<Mutex<Memory>>);

/// A conversation as it was when it was last read or written.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub audience: Arc<Members>,
    /// The ids of its members.
    pub room: Arc<[UserId]>,
    /// The newest seq.
    pub head: u64,
    pub version: i64,
    /// When its last message was written.
    pub updated_at: Timestamp,
}

type Key = (ConversationId, UserId, Guid);

#[derive(Default)]
struct Memory {
    /// The server that all of it came from.
    epoch: u64,
    conversations: HashMap<ConversationId, Held>,
    /// Members of all conversations together, and one for each conversation.
    slots: usize,
    /// Counts recalls: what was recalled longest ago goes first.
    tick: u64,
    /// Guids written lately, in two halves: when the young one is full, the old one goes.
    young: HashMap<Key, SavedMessage>,
    old: HashMap<Key, SavedMessage>,
    /// Senders who repeated a guid that was not remembered, until when they are looked up first.
    suspects: HashMap<UserId, Instant>,
    /// Ids that no message has yet.
    ids: Vec<i64>,
    /// The database's clock, and when it was read.
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
    /// What is remembered of these conversations, if it came from the server of this epoch.
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

    /// Remembers what was read from the server of this epoch.
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
            // A quarter: one giant must not make everything else forgotten.
            if held.slots() <= OWNER_MEMBERS_MAX / 4 {
                memory.slots += held.slots();
                let before = memory.conversations.insert(*id, held);
                memory.slots -= before.map_or(0, |before| before.slots());
            }
        }
        memory.make_room();
    }

    /// The piece is committed: its heads are where they were to be, its guids are known.
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

    /// Forgets conversations: the next who needs them reads them.
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

    /// The row of a message that was written lately.
    pub(super) fn row(&self, epoch: u64, key: &Key) -> Option<SavedMessage> {
        let memory = self.memory();
        if memory.epoch != epoch {
            return None;
        }
        memory.young.get(key).or_else(|| memory.old.get(key)).copied()
    }

    /// Which of these senders are looked up before anything of theirs is written.
    pub(super) fn is_suspect(&self, sender: UserId, now: Instant) -> bool {
        let memory = self.memory();
        !memory.suspects.is_empty() && memory.suspects.get(&sender).is_some_and(|until| *until > now)
    }

    /// This sender repeated a guid that was not remembered.
    pub(super) fn suspect(&self, sender: UserId, now: Instant) {
        let mut memory = self.memory();
        if memory.suspects.len() >= OWNER_SUSPECTS_MAX {
            memory.suspects.retain(|_, until| *until > now);
        }
        if memory.suspects.len() < OWNER_SUSPECTS_MAX {
            memory.suspects.insert(sender, now + Duration::from_millis(OWNER_SUSPECT_MS));
        }
    }

    /// So many ids, if there are as many left.
    pub(super) fn take_ids(&self, epoch: u64, count: usize) -> Option<Vec<i64>> {
        let mut memory = self.memory();
        let at = memory.ids.len().checked_sub(count).filter(|_| memory.epoch == epoch)?;
        Some(memory.ids.split_off(at))
    }

    /// More ids.
    pub(super) fn give_ids(&self, epoch: u64, ids: Vec<i64>) {
        let mut memory = self.memory();
        if memory.epoch == epoch {
            memory.ids.extend(ids);
            // Taken from the end: the lowest first.
            memory.ids.sort_unstable_by(|one, other| other.cmp(one));
        }
    }

    /// Now, by the database's clock as far as it is known.
    pub(super) fn now(&self, instant: Instant) -> Timestamp {
        let elapsed = |at: Instant| i64::try_from((instant - at).as_millis()).unwrap_or(0);
        self.memory().clock.map_or_else(Timestamp::now, |(then, at)| Timestamp(then.0 + elapsed(at)))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock()
    }
}

impl Memory {
    /// Over the bound, the half that was used longest ago goes.
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
