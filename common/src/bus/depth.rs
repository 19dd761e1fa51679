//! The backlog of the lanes, measured from outside: known also while no worker runs. Pure, except
//! for the question itself.
//!
//! The broker does not report the age of a queue's first message, only the number of messages. From
//! check to check that shows for how long a queue was never seen empty. While no consumer takes from
//! it, that is the age of its first message, at most one interval too low; while one does, the first
//! message is at most one interval older than that.

use std::time::Duration;

use tokio::time::Instant;

use super::backend::Backend;
use super::handle::Bus;
use super::inspect::{LaneDepth, LaneSeen};
use super::metrics;
use super::outcome::BusError;
use protocol::Lane;

impl Bus {
    /// To look at what waits in the lanes, from time to time.
    pub fn watch_lanes(&self) -> LaneWatch {
        LaneWatch::new(self.clone())
    }
}

/// Looks at the lanes, and remembers since when something waits.
pub struct LaneWatch {
    bus: Bus,
    lanes: [Vec<Option<Instant>>; Lane::ALL.len()],
}

impl LaneWatch {
    /// Has not looked yet.
    fn new(bus: Bus) -> Self {
        Self { bus, lanes: Default::default() }
    }

    /// One look, in the order of [`Lane::ALL`]. It is measured, too.
    ///
    /// # Errors
    /// The broker gave no answer.
    pub async fn look(&mut self) -> Result<[LaneSeen; Lane::ALL.len()], BusError> {
        let mut all = [LaneSeen::default(); Lane::ALL.len()];
        if let Backend::Memory(bus) = &self.bus.0 {
            bus.measure();
        }
        let depths = self.bus.depths().await?.lanes;
        for queues in depths.chunk_by(|one, other| one.lane == other.lane) {
            let lane = queues[0].lane;
            let seen = sum(&mut self.lanes[lane as usize], queues, Instant::now());
            metrics::lane_seen(lane, seen);
            all[lane as usize] = seen;
        }
        Ok(all)
    }
}

/// The queues of one lane together. `since`: from when on each was never seen empty.
fn sum(since: &mut Vec<Option<Instant>>, queues: &[LaneDepth], now: Instant) -> LaneSeen {
    since.resize(queues.len(), None);
    for (since, queue) in since.iter_mut().zip(queues) {
        *since = (queue.waiting > 0).then(|| since.unwrap_or(now));
    }
    let longest = since.iter().flatten().map(|since| now.saturating_duration_since(*since)).max();
    LaneSeen {
        batches: queues.iter().map(|queue| u64::from(queue.waiting)).sum(),
        backlog: longest.unwrap_or(Duration::ZERO),
        consumers: queues.iter().map(|queue| queue.consumers).min().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(waiting: u32, consumers: u32) -> LaneDepth {
        LaneDepth { lane: Lane::High, shard: 0, waiting, consumers }
    }

    #[test]
    fn a_backlog_lasts_until_every_queue_was_seen_empty() {
        let (mut since, start) = (Vec::new(), Instant::now());
        let mut look = |s: u64, waiting: [u32; 2]| {
            let queues = waiting.map(|waiting| queue(waiting, 2));
            let seen = sum(&mut since, &queues, start + Duration::from_secs(s));
            (seen.batches, seen.backlog.as_secs())
        };
        assert_eq!(look(0, [0, 0]), (0, 0));
        assert_eq!(look(5, [3, 0]), (3, 0), "a moment is no backlog");
        assert_eq!(look(10, [1, 4]), (5, 5));
        assert_eq!(look(15, [0, 4]), (4, 5), "the first was empty, the second is younger");
        assert_eq!(look(20, [2, 0]), (2, 0));
    }

    #[test]
    fn a_lane_is_served_when_every_queue_has_somebody() {
        let queues = [(0, 3), (0, 0)].map(|(waiting, consumers)| queue(waiting, consumers));
        assert_eq!(sum(&mut Vec::new(), &queues, Instant::now()).consumers, 0);
        assert_eq!(sum(&mut Vec::new(), &queues[..1], Instant::now()).consumers, 3);
    }
}
