//! Periodic measurements: the sockets here, and the backlog of the lanes.
//!
//! Every gateway asks the broker about the lanes, and all report the same numbers: so they are known while no
//! worker runs, and while one gateway has lost the broker.

use std::sync::Arc;
use std::time::Duration;

use common::bus::Health;
use common::health::{State, process};
use common::limits::{LANES_LOOK_MS, MEASURE_MS};
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::cluster::node::Node;

/// Reports this node's numbers, until dropped.
pub async fn tell_what_is_here(node: Arc<Node>) {
    let mut ticks = interval(Duration::from_millis(MEASURE_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let left = if node.draining.is_cancelled() { node.hub.count() } else { 0 };
        node.metrics.measured(node.hub.counts(), left, process::resident_bytes().unwrap_or_default());
        // It refuses upgrades by itself, with a time to come again; who is here stays served.
        let runtime = match node.admission.is_late() {
            true => State::Degraded("the runtime is late: no new sockets are taken".into()),
            false => State::Ok,
        };
        node.readiness.report_as("runtime", runtime);
    }
}

/// Measures the lanes, until dropped.
pub async fn watch_lanes(node: Arc<Node>) {
    let mut lanes = node.bus.watch_lanes();
    let mut ticks = interval(Duration::from_millis(LANES_LOOK_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let workers = match lanes.look().await {
            // What is sent is kept until one comes, and no other gateway could do more.
            Ok(seen) if seen.iter().any(|lane| lane.consumers == 0) => {
                State::Degraded("no worker takes what is sent".into())
            }
            Ok(_) => State::Ok,
            // The bus is another part, and says so itself.
            Err(err) => {
                debug!("The lanes could not be measured: {err}");
                State::Ok
            }
        };
        node.readiness.report_as("workers", workers);
    }
}

/// Tells the admin port whether publishing works.
pub async fn watch_bus(node: Arc<Node>) {
    let mut health = node.bus.health();
    loop {
        let state = match *health.borrow_and_update() {
            Health::Up => State::Ok,
            // An alarm of the whole broker: no other gateway could publish more.
            Health::Blocked => State::Degraded("the broker blocks publishers".to_owned()),
            Health::Down => State::Down("the broker is away".to_owned()),
        };
        node.readiness.report_as("bus", state);
        if health.changed().await.is_err() {
            // The bus is gone, and with it this process.
            return std::future::pending().await;
        }
    }
}
