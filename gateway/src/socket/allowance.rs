//! The bytes that wait in all outboxes of the gateway, and the resulting limit of each outbox.
//!
//! The more bytes wait in total, the less each client is allowed, in bytes and in time. So the gateway is
//! bounded, and closes the slowest sockets first. Frames are shared between outboxes and counted in each, so the
//! real memory is less.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::limits::{OUTBOX_LATE_BYTES, OUTBOX_LATE_BYTES_MIN, OUTBOX_LATE_MS};

/// The limits of one outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes that may wait without a time limit.
    pub bytes: usize,
    /// Time within which the client must read what waits above that.
    pub patience: Duration,
}

/// The bytes in all outboxes; see the module.
#[derive(Debug)]
pub struct Outboxes {
    waiting: AtomicUsize,
    bytes_max: usize,
}

impl Outboxes {
    /// Starts with nothing waiting. `bytes_max`: bytes that may wait in all outboxes together.
    pub fn new(bytes_max: usize) -> Self {
        Self { waiting: AtomicUsize::new(0), bytes_max: bytes_max.max(1) }
    }

    /// Records that one outbox held `before` bytes and now holds `after`.
    pub fn changed(&self, before: usize, after: usize) {
        // The difference wraps, and so does the sum, so the sum is right once all changes are added.
        match after.wrapping_sub(before) {
            0 => {}
            more => drop(self.waiting.fetch_add(more, Ordering::Relaxed)),
        }
    }

    /// The bytes in all outboxes.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The limits of each outbox at the moment.
    pub fn allowance(&self) -> Allowance {
        let free = self.bytes_max.saturating_sub(self.waiting()) as f64 / self.bytes_max as f64;
        let bytes = (OUTBOX_LATE_BYTES as f64 * free) as usize;
        Allowance {
            bytes: bytes.max(OUTBOX_LATE_BYTES_MIN),
            patience: Duration::from_millis(OUTBOX_LATE_MS).mul_f64(free),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_the_sum_of_all_outboxes_in_whatever_order_they_tell() {
        let outboxes = Outboxes::new(1_000);
        outboxes.changed(5, 0);
        outboxes.changed(0, 5);
        outboxes.changed(0, 7);
        outboxes.changed(7, 7);
        assert_eq!(outboxes.waiting(), 7);
    }

    #[test]
    fn the_fuller_the_gateway_the_less_each_may_hold() {
        let outboxes = Outboxes::new(1_000);
        let all = Duration::from_millis(OUTBOX_LATE_MS);
        assert_eq!(outboxes.allowance(), Allowance { bytes: OUTBOX_LATE_BYTES, patience: all });
        outboxes.changed(0, 500);
        assert_eq!(outboxes.allowance(), Allowance { bytes: OUTBOX_LATE_BYTES / 2, patience: all / 2 });
        outboxes.changed(0, 501);
        let least = Allowance { bytes: OUTBOX_LATE_BYTES_MIN, patience: Duration::ZERO };
        assert_eq!(outboxes.allowance(), least);
    }
}
