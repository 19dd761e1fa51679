//! The heartbeat wheel: one task for all sockets, no timer in any of them.
//!
//! One turn takes `HEARTBEAT_MS`; each tick visits one shard of the hub, so pings are spread
//! evenly. The session of a visited socket decides: ping, or close because the peer is silent or its
//! token has expired. The lateness of a tick shows how far this gateway is behind.
//!
//! When a visited socket's token ends before the next turn, the wheel notes it and visits the socket
//! once more at the tick after that end: the socket closes in time, with or without deliveries.

use std::sync::Arc;
use std::time::Duration;

use common::limits::HEARTBEAT_MS;
use protocol::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::cluster::hub::SHARDS;
use crate::cluster::node::Node;

/// Turns the wheel until dropped.
pub async fn turn(node: Arc<Node>) {
    let mut tick = interval(Duration::from_millis(HEARTBEAT_MS) / SHARDS as u32);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for shard in (0..SHARDS).cycle() {
        let due = tick.tick().await;
        let lag = Instant::now().saturating_duration_since(due);
        node.admission.note_lag(lag);
        node.metrics.late(lag);
        let now = Timestamp::now();
        while let Some(serial) = node.expiries.next(now) {
            if let Some(slot) = node.hub.of_serial(serial) {
                slot.ask_visit();
            }
        }
        for slot in node.hub.of_shard(shard) {
            // Sockets without an account have their own deadline.
            if slot.who().is_some() {
                slot.ask_visit();
            }
        }
    }
}
