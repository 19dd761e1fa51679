//! Keys whose events wait apart, because the store ends every statement that names them.
//!
//! Somebody holds the row of one conversation, or its statement is too slow: its events must not
//! stop the others of its shard. They go round the retry ladder ([`APART_RUNG`]) instead, without an
//! end, until one of them gets through; one try after each pause costs the shard a statement's limit.
//!
//! Each worker keeps its own list. It is a list of suspicions: losing it costs one more search.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::limits::{APART_KEYS_MAX, APART_MS_MAX, APART_MS_MIN};
use protocol::Lane;
use tokio::time::Instant;

use crate::lanes::metrics;

/// The keys. Cheap to clone; the clones share the list.
#[derive(Clone, Default)]
pub struct Apart(Arc<List>);

#[derive(Default)]
struct List {
    keys: Mutex<HashMap<(Lane, u64), Wait>>,
    /// How many there are; nearly always none, and then nothing is locked.
    count: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Wait {
    until: Instant,
    pause: Duration,
}

/// What to do with an event of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing is known against it.
    With,
    /// It is tried, but alone: it was to blame a moment ago.
    Alone,
    /// It waits; trying it now would fail again.
    Waits,
}

impl Apart {
    /// What to do with an event of this key.
    pub(crate) fn way(&self, lane: Lane, key: u64, now: Instant) -> Way {
        if self.0.count.load(Ordering::Relaxed) == 0 {
            return Way::With;
        }
        match self.keys().get(&(lane, key)) {
            None => Way::With,
            Some(wait) if wait.until > now => Way::Waits,
            Some(_) => Way::Alone,
        }
    }

    /// This key was to blame: its events wait, each time twice as long.
    pub fn blame(&self, lane: Lane, key: u64, now: Instant) {
        let mut keys = self.keys();
        if keys.len() >= APART_KEYS_MAX {
            // What nobody asked for since is no suspicion any more.
            keys.retain(|_, wait| wait.until + Duration::from_millis(APART_MS_MAX) > now);
        }
        if keys.len() < APART_KEYS_MAX || keys.contains_key(&(lane, key)) {
            let pause = keys.get(&(lane, key)).map_or(APART_MS_MIN, |wait| {
                let doubled = u64::try_from(wait.pause.as_millis()).unwrap_or(APART_MS_MAX) * 2;
                doubled.min(APART_MS_MAX)
            });
            let pause = Duration::from_millis(pause);
            keys.insert((lane, key), Wait { until: now + pause, pause });
        }
        self.counted(lane, &keys);
    }

    /// Events of these keys got through.
    pub fn clear(&self, lane: Lane, through: impl Iterator<Item = u64>) {
        if self.0.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut keys = self.keys();
        for key in through {
            keys.remove(&(lane, key));
        }
        self.counted(lane, &keys);
    }

    fn counted(&self, lane: Lane, keys: &HashMap<(Lane, u64), Wait>) {
        self.0.count.store(keys.len(), Ordering::Relaxed);
        metrics::apart(lane, keys.keys().filter(|(of, _)| *of == lane).count());
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, HashMap<(Lane, u64), Wait>> {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events of a run, by place, in two halves by key: within a key their order stays. None: there is
/// one key only.
pub(crate) fn halve(run: &[usize], key: impl Fn(usize) -> u64) -> Option<(Vec<usize>, Vec<usize>)> {
    let mut keys: Vec<u64> = run.iter().map(|at| key(*at)).collect();
    keys.sort_unstable();
    keys.dedup();
    let middle = *keys.get(keys.len() / 2).filter(|_| keys.len() > 1)?;
    Some(run.iter().partition(|at| key(**at) < middle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_keep_a_key_together_and_its_order() {
        let keys = [7, 3, 7, 9, 3, 1];
        let (low, high) = halve(&[0, 1, 2, 3, 4, 5], |at| keys[at]).unwrap();
        assert_eq!((low, high), (vec![1, 4, 5], vec![0, 2, 3]));
        assert_eq!(halve(&[0, 2], |at| keys[at]), None, "one key stands alone");
        let (low, high) = halve(&[3, 5], |at| keys[at]).unwrap();
        assert_eq!((low, high), (vec![5], vec![3]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_longer_each_time_until_it_gets_through() {
        let (apart, start, lane) = (Apart::default(), Instant::now(), Lane::High);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(apart.way(lane, 7, start), Way::With);
        apart.blame(lane, 7, start);
        assert_eq!(apart.way(lane, 7, at(APART_MS_MIN - 1)), Way::Waits);
        assert_eq!(apart.way(lane, 8, start), Way::With, "its neighbour goes on");
        assert_eq!(apart.way(Lane::Medium, 7, start), Way::With);
        assert_eq!(apart.way(lane, 7, at(APART_MS_MIN)), Way::Alone);
        apart.blame(lane, 7, at(APART_MS_MIN));
        assert_eq!(apart.way(lane, 7, at(3 * APART_MS_MIN - 1)), Way::Waits);
        assert_eq!(apart.way(lane, 7, at(3 * APART_MS_MIN)), Way::Alone);
        apart.clear(lane, [7].into_iter());
        assert_eq!(apart.way(lane, 7, start), Way::With);
    }
}
