//! Reports to the admin port whether workers consume the lanes.
//!
//! Every gateway asks the broker, and all report the same numbers. So the numbers are known while no worker
//! runs, and while one gateway has lost the broker.

use std::time::Duration;

use common::bus::Bus;
use common::health::{Readiness, State};
use common::limits::LANES_LOOK_MS;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

/// Reports whether each lane has a worker, until dropped.
pub async fn watch(bus: Bus, readiness: Readiness) {
    let mut lanes = bus.watch_lanes();
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
        readiness.report_as("workers", workers);
    }
}
