//! Which users have a socket here, as the directory knows it: seats and the lease they hang on.
//!
//! One task writes, in micro-batches: what gathers while one write is under way is the next one,
//! so a storm of connects costs one pipeline per round trip, and nobody waits for a timer. What is
//! written is what the hub holds at that moment, so a seat and an unseat never cross.
//!
//! A socket says `ready` only after its seat was written: from then on every delivery reaches it,
//! and a `sync` asked after `ready` leaves no gap. When the directory is away, sockets wait within
//! their handshake's deadline and are then closed with `fault`, which a client resumes.

use std::sync::Arc;
use std::time::Duration;

use common::limits::NODE_LEASE_MS;
use protocol::events::session::Lapsed;
use protocol::ids::UserId;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::cluster::downlink;
use crate::cluster::node::Node;

/// Pause after a failed write; then everything that gathered goes in one.
const FAULT_PAUSE: Duration = Duration::from_millis(200);

/// Between two looks of one that waits for the last write.
const SETTLE_PAUSE: Duration = Duration::from_millis(10);

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
                () = node.seats.changed() => {}
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
    node.seats.put_down();
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
