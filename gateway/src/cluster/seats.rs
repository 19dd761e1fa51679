//! Users whose seat in the directory may be wrong.

use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::HashSet;
use parking_lot::Mutex;
use protocol::ids::UserId;
use tokio::sync::Notify;

/// Most users in one write to the directory.
const SEATS_MAX: usize = 1_000;

/// Users whose seat may be wrong.
pub struct Seats {
    dirty: Mutex<HashSet<UserId>>,
    changed: Notify,
    /// The number of users taken out of `dirty` and not written yet.
    in_hand: AtomicUsize,
}

impl Seats {
    /// Starts with nothing to write.
    pub fn new() -> Self {
        Self { dirty: Mutex::default(), changed: Notify::new(), in_hand: AtomicUsize::new(0) }
    }

    /// Marks a user whose first socket has opened, or whose last one has closed.
    pub fn mark(&self, user: UserId) {
        self.dirty.lock().insert(user);
        self.changed.notify_one();
    }

    /// The number of users that wait to be written.
    pub fn waiting(&self) -> usize {
        self.dirty.lock().len()
    }

    /// Marks all of these users.
    pub fn mark_all(&self, users: Vec<UserId>) {
        self.dirty.lock().extend(users);
    }

    /// Takes marked users to write now, at most `SEATS_MAX`.
    pub fn take(&self) -> Vec<UserId> {
        let mut dirty = self.dirty.lock();
        let some: Vec<UserId> = dirty.iter().take(SEATS_MAX).copied().collect();
        some.iter().for_each(|user| {
            dirty.remove(user);
        });
        self.in_hand.store(some.len(), Ordering::Release);
        some
    }

    /// Whether everything is written.
    pub fn is_settled(&self) -> bool {
        let dirty = self.dirty.lock();
        dirty.is_empty() && self.in_hand.load(Ordering::Acquire) == 0
    }

    /// Ends a write: the users that were taken are written, or marked again.
    pub fn put_down(&self) {
        self.in_hand.store(0, Ordering::Release);
    }

    /// Waits until there may be something to write.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Default for Seats {
    fn default() -> Self {
        Self::new()
    }
}
