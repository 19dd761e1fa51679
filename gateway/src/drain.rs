//! Leaving politely: not ready, move the sockets away in batches, give the seats back.
//!
//! Upgrades are refused with 503 while the port is still open, so that a proxy tries the next
//! gateway; REST is answered to the end. Every socket hears `server.going_away` with its own time
//! and is closed with `going_away` then, which clients resume elsewhere. All of it has a deadline,
//! and a second signal ends it at once.

use std::sync::Arc;
use std::time::Duration;

use common::lifecycle::Lifecycle;
use common::protocol::{CloseCode, ServerEvent};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use crate::downlink;
use crate::hub::SHARDS;
use crate::node::Node;

/// How long the last frames and requests may take after the drain's time.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Moves all sockets away, then lets go of the cluster.
pub async fn drain(node: &Arc<Node>, lifecycle: &Lifecycle) {
    node.draining.cancel();
    node.readiness.set("drain", Err("draining".into()));
    info!(node.id = %node.id, sockets = node.hub.count(), "Draining");
    tokio::select! {
        () = move_away(node) => {}
        () = lifecycle.aborting() => warn!(sockets = node.hub.count(), "Aborting the drain"),
    }
}

/// Tells the sockets, closes them shard after shard, and waits until they are gone.
async fn move_away(node: &Node) {
    let (start, step) = (Instant::now(), node.config.drain / SHARDS as u32);
    for shard in 0..SHARDS {
        let in_ms = u64::try_from((step * shard as u32).as_millis()).unwrap_or(u64::MAX);
        downlink::tell_shard(node, shard, &ServerEvent::GoingAway { in_ms });
    }
    for shard in 0..SHARDS {
        let due = start + step * shard as u32;
        // A timer is never early, and up to a millisecond late.
        if due > Instant::now() {
            sleep_until(due).await;
        }
        node.hub.of_shard(shard).iter().for_each(|slot| slot.ask_close(CloseCode::GoingAway));
    }
}

/// Waits for what is under way. The port is closed; whoever connected the bus flushes it.
pub async fn last_words(node: &Arc<Node>, lifecycle: &Lifecycle) {
    // Sockets that opened behind the drain's back.
    for shard in 0..SHARDS {
        node.hub.of_shard(shard).iter().for_each(|slot| slot.ask_close(CloseCode::GoingAway));
    }
    node.tasks.close();
    tokio::select! {
        done = timeout(LAST_WORDS, node.tasks.wait()) => if done.is_err() {
            warn!(sockets = node.hub.count(), tasks = node.tasks.len(), "Tasks were left behind");
        },
        () = lifecycle.aborting() => {}
    }
}

/// Gives the lease and all seats back. Nothing that could renew it runs any more.
pub async fn forget(node: &Node) {
    match node.directory.forget_node(node.id).await {
        Ok(()) => info!(node.id = %node.id, "Drained"),
        // It ends by itself.
        Err(err) => warn!(error = %err, "The directory was not told that this node left"),
    }
}
