//! The sockets of this node, findable by serial and by user.
//!
//! Sharded so that a burst never stops the world. A shard's lock is held for look-ups only: never
//! across an await, never while another is held; slots are touched after it was let go.
//!
//! The hub does not write to sockets. It finds slots; `downlink.rs` hands bytes to their outboxes
//! and `socket.rs` writes and cuts.
//!
//! Not here: who is online anywhere else (the directory), what a user may see (the worker decided
//! that before the downlink was sent).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::ids::UserId;
use foldhash::{HashMap, HashMapExt};

use crate::rate::{Gcra, Rate};
use crate::slot::Slot;

/// Shards of each map. The heartbeat wheel visits one per tick.
pub const SHARDS: usize = 64;

/// See the module.
pub struct Hub {
    sockets: Vec<Mutex<HashMap<u64, Arc<Slot>>>>,
    users: Vec<Mutex<HashMap<UserId, Entry>>>,
    count: AtomicUsize,
}

/// A user with at least one socket here.
struct Entry {
    sockets: Sockets,
    /// The directory knows it.
    seated: bool,
    /// What all sockets of the user together may send.
    rate: Gcra,
}

/// Nearly everyone has one socket on a node.
enum Sockets {
    One(Arc<Slot>),
    Many(Vec<Arc<Slot>>),
}

/// What joining found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The directory already knows that the user is here.
    pub seated: bool,
}

impl Hub {
    /// No sockets.
    pub fn new() -> Self {
        Self {
            sockets: (0..SHARDS).map(|_| Mutex::new(HashMap::new())).collect(),
            users: (0..SHARDS).map(|_| Mutex::new(HashMap::new())).collect(),
            count: AtomicUsize::new(0),
        }
    }

    /// A socket opened; it has no account yet.
    pub fn open(&self, slot: Arc<Slot>) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.by_serial(slot.serial).insert(slot.serial, slot);
    }

    /// The socket speaks for this user from here on.
    pub fn join(&self, user: UserId, slot: Arc<Slot>) -> Joined {
        let mut shard = self.by_user(user);
        match shard.get_mut(&user) {
            Some(entry) => {
                entry.sockets.add(slot);
                Joined { seated: entry.seated }
            }
            None => {
                let sockets = Sockets::One(slot);
                shard.insert(user, Entry { sockets, seated: false, rate: Gcra::default() });
                Joined { seated: false }
            }
        }
    }

    /// The socket is gone. True: it was the last one of its user.
    pub fn leave(&self, slot: &Slot) -> bool {
        if self.by_serial(slot.serial).remove(&slot.serial).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        let Some((user, _)) = slot.who() else { return false };
        let mut shard = self.by_user(user);
        let Some(entry) = shard.get_mut(&user) else { return false };
        let last = entry.sockets.remove(slot.serial);
        if last {
            shard.remove(&user);
        }
        last
    }

    /// Whether the user has a socket here.
    pub fn holds(&self, user: UserId) -> bool {
        self.by_user(user).contains_key(&user)
    }

    /// The directory knows the user now. Adds the user's sockets to `slots`.
    pub fn seated(&self, user: UserId, slots: &mut Vec<Arc<Slot>>) {
        if let Some(entry) = self.by_user(user).get_mut(&user) {
            entry.seated = true;
            entry.sockets.collect(slots);
        }
    }

    /// The directory lost everything: all users with a socket here, to be seated again.
    pub fn unseat_all(&self) -> Vec<UserId> {
        let mut users = Vec::new();
        for shard in &self.users {
            let mut shard = lock(shard);
            shard.values_mut().for_each(|entry| entry.seated = false);
            users.extend(shard.keys());
        }
        users
    }

    /// Adds the sockets of a user to `slots`.
    pub fn of_user(&self, user: UserId, slots: &mut Vec<Arc<Slot>>) {
        if let Some(entry) = self.by_user(user).get(&user) {
            entry.sockets.collect(slots);
        }
    }

    /// One socket.
    pub fn of_serial(&self, serial: u64) -> Option<Arc<Slot>> {
        self.by_serial(serial).get(&serial).cloned()
    }

    /// The sockets of one shard.
    pub fn of_shard(&self, shard: usize) -> Vec<Arc<Slot>> {
        self.sockets.get(shard).map(|shard| lock(shard).values().cloned().collect()).unwrap_or_default()
    }

    /// Takes one unit of what all sockets of the user together may send.
    ///
    /// # Errors
    /// How long to wait for it.
    pub fn take_rate(&self, user: UserId, rate: Rate, now: Duration) -> Result<(), Duration> {
        match self.by_user(user).get_mut(&user) {
            Some(entry) => entry.rate.take(rate, 1, now),
            None => Ok(()),
        }
    }

    /// Sockets open.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn by_serial(&self, serial: u64) -> MutexGuard<'_, HashMap<u64, Arc<Slot>>> {
        lock(&self.sockets[(serial % SHARDS as u64) as usize])
    }

    fn by_user(&self, user: UserId) -> MutexGuard<'_, HashMap<UserId, Entry>> {
        lock(&self.users[(user.0.unsigned_abs() % SHARDS as u64) as usize])
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Sockets {
    fn add(&mut self, slot: Arc<Slot>) {
        match self {
            Self::Many(slots) => slots.push(slot),
            Self::One(first) => *self = Self::Many(vec![Arc::clone(first), slot]),
        }
    }

    /// True: none is left.
    fn remove(&mut self, serial: u64) -> bool {
        match self {
            Self::One(slot) => slot.serial == serial,
            Self::Many(slots) => {
                slots.retain(|slot| slot.serial != serial);
                slots.is_empty()
            }
        }
    }

    fn collect(&self, slots: &mut Vec<Arc<Slot>>) {
        match self {
            Self::One(slot) => slots.push(Arc::clone(slot)),
            Self::Many(many) => slots.extend(many.iter().cloned()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
