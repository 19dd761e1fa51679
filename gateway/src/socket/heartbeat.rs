//! The heartbeat wheel: one task for all sockets, no timer in any of them.
//!
//! One turn takes `HEARTBEAT_MS`; at each tick one shard of the hub is visited, so pings spread
//! evenly. A visited socket's session decides: ping, or close because the peer is silent or its
//! token has expired. How late a tick comes is how far this gateway is behind.
//!
//! A token that ends before the next turn is noted when its socket is visited, and the socket is
//! visited once more at the tick behind that end: it goes offline in time, whether anything is
//! delivered to it or not.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::limits::HEARTBEAT_MS;
use protocol::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::cluster::downlink;
use crate::cluster::hub::SHARDS;
use crate::cluster::logins::REFRESH_INCOMPLETE;
use crate::cluster::node::Node;

/// Seconds in which a socket is surely visited again.
const TURN_S: i64 = HEARTBEAT_MS as i64 / 1_000 + 1;

/// The sockets whose tokens end within a turn of the wheel, by that end. One that is gone or has a
/// longer token by then is visited for nothing.
#[derive(Debug, Default)]
pub struct Expiries(Mutex<BinaryHeap<Reverse<(i64, u64)>>>);

impl Expiries {
    /// The token of this socket ends then; kept if that is before its next visit.
    pub fn note(&self, expires_s: i64, serial: u64, now: Timestamp) {
        if expires_s - now.0 / 1_000 <= TURN_S {
            self.lock().push(Reverse((expires_s, serial)));
        }
    }

    /// Takes a socket whose token has ended.
    pub fn next(&self, now: Timestamp) -> Option<u64> {
        let mut ends = self.lock();
        ends.peek().filter(|Reverse((expires_s, _))| *expires_s <= now.0 / 1_000)?;
        ends.pop().map(|Reverse((_, serial))| serial)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BinaryHeap<Reverse<(i64, u64)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Turns the wheel until dropped.
pub async fn turn(node: Arc<Node>) {
    let mut tick = interval(Duration::from_millis(HEARTBEAT_MS) / SHARDS as u32);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for shard in (0..SHARDS).cycle() {
        let due = tick.tick().await;
        let lag = Instant::now().saturating_duration_since(due);
        node.admission.note_lag(lag);
        node.metrics.lag.set(lag.as_secs_f64());
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

/// Reads the ended logins again and again, until dropped.
pub async fn refresh_logins(node: Arc<Node>) {
    let mut pause = REFRESH_INCOMPLETE;
    loop {
        tokio::time::sleep(pause).await;
        pause = downlink::refresh_logins(&node).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_end_within_a_turn_come_in_the_order_of_their_ends() {
        let (expiries, now) = (Expiries::default(), Timestamp(1_000_500));
        for (serial, after_s) in [(1, 3), (2, 1), (3, TURN_S + 1), (4, -5)] {
            expiries.note(1_000 + after_s, serial, now);
        }
        let due = |ms| std::iter::from_fn(|| expiries.next(Timestamp(ms))).collect::<Vec<_>>();
        assert_eq!(due(1_000_500), [4]);
        assert_eq!(due(1_000_999), [0; 0]);
        assert_eq!(due(1_003_000), [2, 1]);
        assert_eq!(due(9_999_000), [0; 0], "the wheel comes by before");
    }
}
