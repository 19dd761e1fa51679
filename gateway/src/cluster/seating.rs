//! The users with a socket here, in the directory: their seats, and the lease of the node.
//!
//! One task writes, in micro-batches: changes during one write form the next one,
//! so a storm of connects costs one pipeline per round trip, and no user waits for a timer. The task
//! writes what the hub holds at that moment, so a seat and its removal never cross.
//!
//! A socket hears `ready` only after its seat was written: from then on every delivery reaches it,
//! and a `sync` sent after `ready` leaves no gap. While the directory is away, sockets wait within
//! their handshake's deadline and are then closed with `fault`, after which a client reconnects.

use std::sync::Arc;
use std::time::Duration;

use common::directory::Directory;
use common::health::Readiness;
use common::limits::NODE_LEASE_MS;
use protocol::events::session::Lapsed;
use protocol::ids::{NodeId, UserId};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::cluster::downlink::{self, Deliveries};
use crate::cluster::hub::Hub;
use crate::cluster::seats::Seats;
use crate::metrics::Metrics;

/// Pause after a failed write; then all changes go in one write.
const FAULT_PAUSE: Duration = Duration::from_millis(200);

/// Interval of checks while waiting for the last write.
const SETTLE_PAUSE: Duration = Duration::from_millis(10);

/// The parts needed to keep this node's seats in the directory.
pub struct Seating {
    /// The node of the lease.
    pub node: NodeId,
    /// The directory.
    pub directory: Directory,
    /// The sockets of this node.
    pub hub: Arc<Hub>,
    /// Users to be written.
    pub seats: Arc<Seats>,
    /// Announces a lapse when the lease was lost.
    pub deliveries: Arc<Deliveries>,
    /// The part that the admin port reports.
    pub readiness: Readiness,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

/// Keeps the lease and writes seats, until dropped.
pub async fn keep(seating: Arc<Seating>) {
    let renewal = Duration::from_millis(NODE_LEASE_MS / 3);
    let mut due = Instant::now() + renewal;
    // Deliveries were lost with the lease; clients are told when all users are seated again.
    let mut lapsed = false;
    loop {
        if Instant::now() >= due {
            due = Instant::now() + renewal;
            lapsed |= renew(&seating).await;
        }
        let users = seating.seats.take();
        if users.is_empty() {
            if std::mem::take(&mut lapsed) {
                downlink::tell_all(&seating.deliveries, &Lapsed {}.into());
            }
            tokio::select! {
                () = seating.seats.changed() => {}
                () = tokio::time::sleep_until(due) => {}
            }
        } else if !write(&seating, users).await {
            tokio::time::sleep(FAULT_PAUSE).await;
        }
    }
}

/// Waits until everything is written, for at most `limit`: after a drain no user has a seat here.
pub async fn settle(seating: &Seating, limit: Duration) {
    let start = Instant::now();
    while !seating.seats.is_settled() && start.elapsed() < limit {
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
}

/// Renews the lease. True: it had been lost while users had seats under it.
async fn renew(seating: &Seating) -> bool {
    match seating.directory.keep_node(seating.node).await {
        Ok(lost) => {
            seating.readiness.set("directory", Ok(()));
            if !lost {
                return false;
            }
            let users = seating.hub.unseat_all();
            let any = !users.is_empty();
            info!(node.id = %seating.node, users = users.len(), "The directory had lost this node: writing its users' seats again");
            seating.seats.mark_all(users);
            any
        }
        Err(err) => {
            seating.metrics.seat_faults.increment(1);
            seating.readiness.set("directory", Err(err.to_string()));
            warn!(error = %err, "The lease of this node could not be renewed");
            false
        }
    }
}

/// Writes the seats of these users as the hub has them now. False: it failed, and the users are marked again.
async fn write(seating: &Seating, users: Vec<UserId>) -> bool {
    let (here, gone): (Vec<UserId>, Vec<UserId>) = users.iter().partition(|user| seating.hub.holds(**user));
    let written = async {
        if !here.is_empty() {
            seating.directory.seat(seating.node, &here).await?;
        }
        if !gone.is_empty() {
            seating.directory.unseat(seating.node, &gone).await?;
        }
        Ok::<_, common::directory::DirectoryError>(())
    };
    let written = written.await;
    if written.is_err() {
        seating.seats.mark_all(users);
    }
    seating.seats.put_down();
    if let Err(err) = written {
        seating.metrics.seat_faults.increment(1);
        warn!(error = %err, users = here.len() + gone.len(), "Seats could not be written");
        return false;
    }
    seating.metrics.seats.increment((here.len() + gone.len()) as u64);
    let mut slots = Vec::with_capacity(here.len());
    here.iter().for_each(|user| seating.hub.seated(*user, &mut slots));
    slots.iter().for_each(|slot| slot.ask_ready());
    true
}
