//! Sockets whose tokens end soon.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use common::limits::HEARTBEAT_MS;
use parking_lot::Mutex;
use protocol::Timestamp;

/// Seconds within which the wheel certainly visits a socket again.
const TURN_S: i64 = HEARTBEAT_MS as i64 / 1_000 + 1;

/// The sockets whose tokens end within a turn of the wheel, by that end. A socket that has closed or has a
/// longer token by then is visited in vain.
#[derive(Debug, Default)]
pub struct Expiries(Mutex<BinaryHeap<Reverse<(i64, u64)>>>);

impl Expiries {
    /// Notes the end of this socket's token, if it is before the socket's next visit.
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

    fn lock(&self) -> parking_lot::MutexGuard<'_, BinaryHeap<Reverse<(i64, u64)>>> {
        self.0.lock()
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
