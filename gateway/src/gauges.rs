//! This node's numbers, reported once a second: sockets, memory, lag of the runtime.

use std::sync::Arc;
use std::time::Duration;

use common::health::{State, process};
use common::limits::MEASURE_MS;
use tokio::time::{MissedTickBehavior, interval};

use crate::cluster::node::Node;

/// Reports them, until dropped.
pub async fn tell(node: Arc<Node>) {
    let mut ticks = interval(Duration::from_millis(MEASURE_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let left = if node.draining.is_cancelled() { node.hub.count() } else { 0 };
        node.metrics.measured(node.hub.counts(), left, process::resident_bytes().unwrap_or_default());
        // It refuses upgrades by itself, with a time to come again; open sockets are still served.
        let runtime = match node.admission.is_late() {
            true => State::Degraded("the runtime is late: no new sockets are taken".into()),
            false => State::Ok,
        };
        node.readiness.report_as("runtime", runtime);
    }
}
