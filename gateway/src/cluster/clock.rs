//! The two clocks of a node: its uptime (monotonic), and the wall clock.

use std::time::Duration;

use protocol::Timestamp;
use tokio::time::Instant;

use crate::socket::session::Now;

/// Counts from the start of the node. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts counting now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The node's uptime: the clock of sessions and rate limits.
    pub fn uptime(&self) -> Duration {
        self.0.elapsed()
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        Now { up: self.uptime(), wall: Timestamp::now() }
    }
}
