//! Which users have a socket here, as the directory knows it: seats and the lease they hang on.
//!
//! One task writes, in micro-batches: what gathers while one write is under way is the next one,
//! so a storm of connects costs one pipeline per round trip, and nobody waits for a timer. What is
//! written is what the hub holds at that moment, so a seat and an unseat never cross.
//!
//! A socket says `ready` only after its seat was written: from then on every delivery reaches it,
//! and a `sync` asked after `ready` leaves no gap. When the directory is away, sockets wait within
//! their handshake's deadline and are then closed with `fault`, which a client resumes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::limits::NODE_LEASE_MS;
use foldhash::HashSet;
use protocol::events::session::Lapsed;
use protocol::ids::UserId;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::cluster::downlink;
use crate::cluster::node::Node;

/// Users in one write of the directory.
const SEATS_MAX: usize = 1_000;

/// Pause after a failed write; then everything that gathered goes in one.
const FAULT_PAUSE: Duration = Duration::from_millis(200);

/// Between two looks of one that waits for the last write.
const SETTLE_PAUSE: Duration = Duration::from_millis(10);

/// Users whose seat may be wrong.
pub struct Seats {
    dirty: Mutex<HashSet<UserId>>,
    changed: Notify,
    /// Taken out of `dirty`, not written yet.
    in_hand: AtomicUsize,
}

impl Seats {
    /// Nothing to write.
    pub fn new() -> Self {
        Self { dirty: Mutex::default(), changed: Notify::new(), in_hand: AtomicUsize::new(0) }
    }

    /// The user's first socket came, or the last one went.
    pub fn mark(&self, user: UserId) {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner).insert(user);
        self.changed.notify_one();
    }

    /// Users that wait to be written.
    pub fn waiting(&self) -> usize {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn mark_all(&self, users: Vec<UserId>) {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner).extend(users);
    }

    fn take(&self) -> Vec<UserId> {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        let some: Vec<UserId> = dirty.iter().take(SEATS_MAX).copied().collect();
        some.iter().for_each(|user| {
            dirty.remove(user);
        });
        self.in_hand.store(some.len(), Ordering::Release);
        some
    }

    fn is_settled(&self) -> bool {
        let dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        dirty.is_empty() && self.in_hand.load(Ordering::Acquire) == 0
    }
}

impl Default for Seats {
    fn default() -> Self {
        Self::new()
    }
}

/// Keeps the lease and writes seats, until dropped.
pub async fn keep(node: Arc<Node>) {
    let renewal = Duration::from_millis(NODE_LEASE_MS / 3);
    let mut due = Instant::now() + renewal;
    // Deliveries were lost while the lease was; clients hear it when all are seated again.
    let mut lapsed = false;
    loop {
        if Instant::now() >= due {
            due = Instant::now() + renewal;
            lapsed |= renew(&node).await;
        }
        let users = node.seats.take();
        if users.is_empty() {
            if std::mem::take(&mut lapsed) {
                downlink::tell_all(&node, &Lapsed {}.into());
            }
            tokio::select! {
                () = node.seats.changed.notified() => {}
                () = tokio::time::sleep_until(due) => {}
            }
        } else if !write(&node, users).await {
            tokio::time::sleep(FAULT_PAUSE).await;
        }
    }
}

/// Waits until everything is written, for so long at most: who leaves politely leaves nobody seated.
pub async fn settle(node: &Node, limit: Duration) {
    let start = Instant::now();
    while !node.seats.is_settled() && start.elapsed() < limit {
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
}

/// Renews the lease. True: it had been lost, and users hung on it.
async fn renew(node: &Node) -> bool {
    match node.directory.keep_node(node.id).await {
        Ok(lost) => {
            node.readiness.set("directory", Ok(()));
            if !lost {
                return false;
            }
            let users = node.hub.unseat_all();
            let any = !users.is_empty();
            info!(node.id = %node.id, users = users.len(), "The directory had lost this node: seating its users again");
            node.seats.mark_all(users);
            any
        }
        Err(err) => {
            node.metrics.seat_faults.increment(1);
            node.readiness.set("directory", Err(err.to_string()));
            warn!(error = %err, "The lease of this node could not be renewed");
            false
        }
    }
}

/// Writes what the hub holds now. False: it failed, and the users are dirty again.
async fn write(node: &Node, users: Vec<UserId>) -> bool {
    let (here, gone): (Vec<UserId>, Vec<UserId>) = users.iter().partition(|user| node.hub.holds(**user));
    let written = async {
        if !here.is_empty() {
            node.directory.seat(node.id, &here).await?;
        }
        if !gone.is_empty() {
            node.directory.unseat(node.id, &gone).await?;
        }
        Ok::<_, common::directory::DirectoryError>(())
    };
    let written = written.await;
    if written.is_err() {
        node.seats.mark_all(users);
    }
    node.seats.in_hand.store(0, Ordering::Release);
    if let Err(err) = written {
        node.metrics.seat_faults.increment(1);
        warn!(error = %err, users = here.len() + gone.len(), "Seats could not be written");
        return false;
    }
    node.metrics.seats.increment((here.len() + gone.len()) as u64);
    let mut slots = Vec::with_capacity(here.len());
    here.iter().for_each(|user| node.hub.seated(*user, &mut slots));
    slots.iter().for_each(|slot| slot.ask_ready());
    true
}
