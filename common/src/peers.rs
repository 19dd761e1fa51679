//! Reports the state of the peers that every program has to the admin port.

use crate::bus::{Bus, Health};
use crate::health::{Readiness, State};

/// Reports whether publishing works, until dropped.
pub async fn bus(bus: Bus, readiness: Readiness) {
    let mut health = bus.health();
    loop {
        let state = match *health.borrow_and_update() {
            Health::Up => State::Ok,
            // An alarm of the whole broker: other programs can publish no more than this one.
            Health::Blocked => State::Degraded("the broker blocks publishers".to_owned()),
            Health::Down => State::Down("no connection to the broker".to_owned()),
        };
        readiness.report_as("bus", state);
        if health.changed().await.is_err() {
            // The bus is gone, and the process ends with it.
            return std::future::pending().await;
        }
    }
}
