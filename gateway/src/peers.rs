//! Reports the state of the gateway's peers to the admin port.
//!
//! Every gateway asks the broker about the lanes, and all report the same numbers: so they are known while no
//! worker runs, and while one gateway has lost the broker.

use std::time::Duration;

use common::bus::{Bus, Health};
use common::health::{Readiness, State};
use common::limits::LANES_LOOK_MS;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

/// Reports whether publishing works, until dropped.
pub async fn bus(bus: Bus, readiness: Readiness) {
    let mut health = bus.health();
    loop {
        let state = match *health.borrow_and_update() {
            Health::Up => State::Ok,
            // An alarm of the whole broker: no other gateway could publish more.
            Health::Blocked => State::Degraded("the broker blocks publishers".to_owned()),
            Health::Down => State::Down("the broker is away".to_owned()),
        };
        readiness.report_as("bus", state);
        if health.changed().await.is_err() {
            // The bus is gone, and with it this process.
            return std::future::pending().await;
        }
    }
}

/// Reports whether each lane has a worker, until dropped.
pub async fn workers(bus: Bus, readiness: Readiness) {
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
