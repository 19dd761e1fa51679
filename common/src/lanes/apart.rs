//! Keys whose events wait apart, because the store ends every statement that names them.
//!
//! When another transaction holds the row of one conversation, or its statement is too slow, its events must not
//! stop the others of its shard. They go up the retry ladder ([`APART_RUNG`]) instead, again and
//! again, until one of them succeeds; one try after each pause costs the shard a statement's limit.
//!
//! Their order stays. An event on the ladder is remembered until one of its key succeeds, and
//! the worker always tries the oldest of those: events that come back sooner go up once more, with new ones
//! behind them. The worker does not wait for an event that has not come back after [`APART_ORDER_MS`].
//!
//! Each worker keeps its own list. It is a list of suspicions: losing it costs one more search, and the
//! order of those that are on their way.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::bus::Envelope;
use crate::limits::{APART_KEYS_MAX, APART_MS_MAX, APART_MS_MIN, APART_ORDER_MAX, APART_ORDER_MS};
use parking_lot::Mutex;
use protocol::Lane;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use crate::lanes::metrics;
use crate::lanes::work::Cause;

/// The list of keys. Cheap to clone; the clones share it.
#[derive(Clone, Default)]
pub struct Apart(Arc<List>);

#[derive(Default)]
struct List {
    keys: Mutex<HashMap<(Lane, u64), Wait>>,
    /// The number of keys; nearly always zero, and then no lock is taken.
    count: AtomicUsize,
}

struct Wait {
    until: Instant,
    pause: Duration,
    cause: Cause,
    /// Events that were sent up the ladder and have not succeeded yet, in order.
    order: VecDeque<Sent>,
}

struct Sent {
    name: u64,
    at: Instant,
}

/// What to do with the events of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    /// The key is not suspected: its events run together with the others.
    With,
    /// The key was blocked a moment ago: try these of its events, in this order, without other keys. Its other events
    /// wait, because an older one is still on the ladder or because trying now would fail again.
    Alone(Vec<usize>, Cause),
}

/// A hash by which an event is recognized when it comes back.
fn name(event: &Envelope) -> u64 {
    xxh3_64(&event.body)
}

impl Apart {
    /// Whether no key is suspected.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) == 0
    }

    /// What to do with these events of a key.
    pub(crate) fn way(&self, lane: Lane, key: u64, events: &[&Envelope], now: Instant) -> Company {
        let mut keys = self.keys();
        let Some(wait) = keys.get_mut(&(lane, key)) else { return Company::With };
        let limit = Duration::from_millis(APART_ORDER_MS);
        while wait.order.front().is_some_and(|oldest| oldest.at + limit < now) {
            wait.order.pop_front();
        }
        if wait.until > now {
            return Company::Alone(Vec::new(), wait.cause);
        }
        let names: Vec<u64> = events.iter().map(|event| name(event)).collect();
        let mut tried = Vec::with_capacity(names.len());
        let mut is_missing = false;
        for sent in &wait.order {
            match (0..names.len()).find(|at| names[*at] == sent.name && !tried.contains(at)) {
                Some(at) => tried.push(at),
                None => {
                    is_missing = true;
                    break;
                }
            }
        }
        if !is_missing {
            let new: Vec<_> = (0..names.len()).filter(|at| !tried.contains(at)).collect();
            tried.extend(new);
        }
        Company::Alone(tried, wait.cause)
    }

    /// Records that this key was blocked: its events wait, each time twice as long.
    pub(crate) fn blame(&self, lane: Lane, key: u64, cause: Cause, now: Instant) {
        let mut keys = self.keys();
        if keys.len() >= APART_KEYS_MAX {
            // Forget keys without new events since.
            keys.retain(|_, wait| wait.until + Duration::from_millis(APART_MS_MAX) > now);
        }
        if let Some(wait) = keys.get_mut(&(lane, key)) {
            wait.pause = (wait.pause * 2).min(Duration::from_millis(APART_MS_MAX));
            wait.until = now + wait.pause;
            wait.cause = cause;
        } else if keys.len() < APART_KEYS_MAX {
            let pause = Duration::from_millis(APART_MS_MIN);
            keys.insert((lane, key), Wait { until: now + pause, pause, cause, order: VecDeque::new() });
        }
        self.counted(lane, &keys);
    }

    /// Records that an event of this key is sent up the ladder, after the earlier ones.
    pub(crate) fn sent(&self, lane: Lane, event: &Envelope, now: Instant) {
        // All workers take from the low lane, so it has no order.
        if lane == Lane::Low {
            return;
        }
        let mut keys = self.keys();
        let Some(wait) = keys.get_mut(&(lane, event.key)) else { return };
        let name = name(event);
        if let Some(sent) = wait.order.iter_mut().find(|sent| sent.name == name) {
            sent.at = now;
        } else if wait.order.len() < APART_ORDER_MAX {
            wait.order.push_back(Sent { name, at: now });
        }
    }

    /// Records that events of a key succeeded; its events that are still on the ladder come first from now on.
    pub(crate) fn through<'a>(&self, lane: Lane, events: impl Iterator<Item = &'a Envelope>, now: Instant) {
        if self.is_empty() {
            return;
        }
        let mut keys = self.keys();
        for event in events {
            let Some(wait) = keys.get_mut(&(lane, event.key)) else { continue };
            let name = name(event);
            if let Some(at) = wait.order.iter().position(|sent| sent.name == name) {
                wait.order.remove(at);
            }
            if wait.order.is_empty() {
                keys.remove(&(lane, event.key));
            } else {
                wait.until = now;
                wait.pause = Duration::from_millis(APART_MS_MIN);
            }
        }
        self.counted(lane, &keys);
    }

    /// Forgets the order after shards have moved: events on the ladder may come back to another worker.
    pub(crate) fn forget_order(&self) {
        if !self.is_empty() {
            self.keys().values_mut().for_each(|wait| wait.order.clear());
        }
    }

    fn counted(&self, lane: Lane, keys: &HashMap<(Lane, u64), Wait>) {
        self.0.count.store(keys.len(), Ordering::Relaxed);
        metrics::apart(lane, keys.keys().filter(|(of, _)| *of == lane).count());
    }

    fn keys(&self) -> parking_lot::MutexGuard<'_, HashMap<(Lane, u64), Wait>> {
        self.0.keys.lock()
    }
}

/// Splits the events of a run (indexes) into two halves by key, keeping the order within a key. None: there is
/// only one key.
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

    fn event(key: u64, body: &'static str) -> Envelope {
        Envelope {
            subject: crate::bus::Subject::new("high.sendMessage").unwrap(),
            key,
            body: bytes::Bytes::from_static(body.as_bytes()),
        }
    }

    const NONE: Company = Company::Alone(Vec::new(), Cause::Lock);

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_longer_each_time_until_it_gets_through() {
        let (apart, start, lane) = (Apart::default(), Instant::now(), Lane::High);
        let at = |ms| start + Duration::from_millis(ms);
        let (seven, eight) = (event(7, "a"), event(8, "a"));
        let way = |lane, event: &Envelope, now| apart.way(lane, event.key, &[event], now);
        assert_eq!(way(lane, &seven, start), Company::With);
        apart.blame(lane, 7, Cause::Lock, start);
        assert_eq!(way(lane, &seven, at(APART_MS_MIN - 1)), NONE);
        assert_eq!(way(lane, &eight, start), Company::With, "its neighbour goes on");
        assert_eq!(way(Lane::Medium, &seven, start), Company::With);
        assert_eq!(way(lane, &seven, at(APART_MS_MIN)), Company::Alone(vec![0], Cause::Lock));
        apart.blame(lane, 7, Cause::Slow, at(APART_MS_MIN));
        assert_eq!(way(lane, &seven, at(3 * APART_MS_MIN - 1)), Company::Alone(vec![], Cause::Slow));
        assert_eq!(way(lane, &seven, at(3 * APART_MS_MIN)), Company::Alone(vec![0], Cause::Slow));
        apart.through(lane, [&seven].into_iter(), at(3 * APART_MS_MIN));
        assert_eq!(way(lane, &seven, start), Company::With);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_tried_is_the_oldest_that_was_sent_round() {
        let (apart, start, lane) = (Apart::default(), Instant::now(), Lane::High);
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|body| event(7, body));
        apart.blame(lane, 7, Cause::Lock, start);
        for event in [&a, &b, &c] {
            apart.sent(lane, event, start);
        }
        let later = start + Duration::from_millis(APART_MS_MIN);
        let tried = |events: &[&Envelope], now| match apart.way(lane, 7, events, now) {
            Company::Alone(tried, _) => tried,
            Company::With => panic!("it is known"),
        };
        assert_eq!(tried(&[&b, &c], later), [] as [usize; 0], "an older one is on its way");
        assert_eq!(tried(&[&d, &b, &a], later), [2, 1], "new ones wait behind all of them");
        assert_eq!(tried(&[&d, &c, &b, &a], later), [3, 2, 1, 0]);

        apart.through(lane, [&a, &b].into_iter(), later);
        assert_eq!(tried(&[&d], later), [] as [usize; 0]);
        apart.sent(lane, &d, later);
        assert_eq!(tried(&[&d, &c], later), [1, 0]);
        let lost = later + Duration::from_millis(APART_ORDER_MS + 1);
        assert_eq!(tried(&[&d], lost), [0], "what does not come back is not waited for");
        apart.forget_order();
        assert_eq!(tried(&[&d], later), [0]);
    }
}
