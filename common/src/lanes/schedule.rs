//! Which waiting batch is worked on next. Pure: batches are opaque, the time comes in.
//!
//! * At most one piece of work of a shard runs at a time, and in order: this keeps the order of
//! a conversation inside a worker.
//! * Lanes share the work by weight, counted in events (stride scheduling): a lane's *pass* moves
//! on by events / weight when it is served, and the lane furthest behind is next. A lane that
//! waits falls further behind with everything the others get, so no lane starves: this is the
//! ageing. An idle lane does not accumulate credit.
//! * Within a lane the batch that has waited longest is first.
//! * One slot is reserved for the high lane, so that a message never waits for a slow receipt.
//! * Waiting batches of a lane, of all free shards, become one piece of work, up to
//! [`BATCH_ENVELOPES_MAX`](common::limits::BATCH_ENVELOPES_MAX) events: a piece costs
//! nearly the same for one event as for a hundred.
//! * A small piece waits while another of its lane runs, and grows meanwhile: one more slot
//! would make two pieces of one, and on a busy machine all programs wait for that cost. It waits
//! for [`WORK_GAP_MS`](common::limits::WORK_GAP_MS) at most, because a piece may be held.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::{BATCH_ENVELOPES_MAX, WORK_EVENTS_SMALL, WORK_GAP_MS};
use protocol::Lane;
use tokio::time::Instant;

/// Waiting batches and free slots.
#[derive(Debug)]
pub struct Schedule<B> {
    lanes: [Queue<B>; Lane::ALL.len()],
    /// Most pieces of work at the same time.
    slots: usize,
    /// Pieces in progress.
    busy: usize,
    /// Pieces in progress that are not of the high lane.
    busy_below: usize,
    /// The pass of the lane served last; a lane that was idle continues from here.
    pass: u64,
    /// The number of arrivals so far; an older batch has a smaller one.
    arrivals: u64,
}

/// A piece of work for one slot: batches of some shards of a lane, those of a shard in order.
#[derive(Debug, PartialEq, Eq)]
pub struct Work<B> {
    /// The lane.
    pub lane: Lane,
    /// The shards; no other slot works on them meanwhile.
    pub shards: Vec<u16>,
    /// The batches, at least one.
    pub batches: Vec<B>,
}

#[derive(Debug)]
struct Queue<B> {
    pass: u64,
    shards: Vec<Shard<B>>,
    waiting: usize,
    /// Pieces of this lane in progress.
    busy: usize,
    /// Until when a small piece waits, if another one is in progress.
    gap_ends: Option<Instant>,
}

#[derive(Debug)]
struct Shard<B> {
    waiting: VecDeque<Waiting<B>>,
    in_work: bool,
}

#[derive(Debug)]
struct Waiting<B> {
    arrival: u64,
    events: usize,
    batch: B,
}

/// How far a lane's pass moves for one event: 24 / weight, for the weights 8 : 3 : 1.
const fn stride(lane: Lane) -> u64 {
    match lane {
        Lane::High => 3,
        Lane::Medium => 8,
        Lane::Low => 24,
    }
}

impl<B> Schedule<B> {
    /// A schedule with this many slots and no batches.
    pub fn new(slots: usize) -> Self {
        let queue = || Queue { pass: 0, shards: Vec::new(), waiting: 0, busy: 0, gap_ends: None };
        Self {
            lanes: std::array::from_fn(|_| queue()),
            slots: slots.max(1),
            busy: 0,
            busy_below: 0,
            pass: 0,
            arrivals: 0,
        }
    }

    /// Adds a batch of this many events that has arrived.
    pub fn push(&mut self, lane: Lane, shard: u16, events: usize, batch: B) {
        let arrival = self.arrivals;
        self.arrivals += 1;
        let queue = &mut self.lanes[lane as usize];
        if queue.waiting == 0 {
            queue.pass = queue.pass.max(self.pass);
        }
        queue.waiting += 1;
        let at = usize::from(shard);
        while queue.shards.len() <= at {
            queue.shards.push(Shard { waiting: VecDeque::new(), in_work: false });
        }
        queue.shards[at].waiting.push_back(Waiting { arrival, events: events.max(1), batch });
    }

    /// The next piece of work, if a slot is free for it. Tell [`Self::finish`] when it is done.
    pub fn take(&mut self, now: Instant) -> Option<Work<B>> {
        if self.busy >= self.slots {
            return None;
        }
        let only_high = self.slots > 1 && self.busy_below >= self.slots - 1;
        let ready = Lane::ALL.into_iter().filter(|lane| *lane == Lane::High || !only_high);
        let ready = ready.filter(|lane| self.lanes[*lane as usize].is_ready(now));
        // Of lanes with equal passes, `min_by_key` returns the first, which is the most urgent.
        let lane = ready.min_by_key(|lane| self.lanes[*lane as usize].pass)?;

        let queue = &mut self.lanes[lane as usize];
        self.pass = queue.pass;
        let (mut shards, mut batches, mut events) = (Vec::new(), Vec::new(), 0);
        while let Some(at) = queue.oldest_ready() {
            if !queue.shards[at].take(&mut batches, &mut events) {
                break;
            }
            // Shards come from `push`, which was given a u16.
            shards.push(at as u16);
        }
        queue.waiting -= batches.len();
        queue.pass += events as u64 * stride(lane);
        queue.busy += 1;
        queue.gap_ends = Some(now + Duration::from_millis(WORK_GAP_MS));
        self.busy += 1;
        self.busy_below += usize::from(lane != Lane::High);
        Some(Work { lane, shards, batches })
    }

    /// Frees the slot and the shards of a piece of work that is done.
    pub fn finish(&mut self, lane: Lane, shards: &[u16]) {
        for shard in shards {
            let shard = self.lanes[lane as usize].shards.get_mut(usize::from(*shard));
            // Invariant: only what `take` gave out is finished.
            debug_assert!(shard.as_ref().is_some_and(|shard| shard.in_work));
            if let Some(shard) = shard {
                shard.in_work = false;
            }
        }
        let queue = &mut self.lanes[lane as usize];
        queue.busy = queue.busy.saturating_sub(1);
        self.busy = self.busy.saturating_sub(1);
        self.busy_below = self.busy_below.saturating_sub(usize::from(lane != Lane::High));
    }

    /// When to call [`Self::take`] again without an event: a small piece waits until then.
    pub fn gap_ends(&self, now: Instant) -> Option<Instant> {
        let waits = |queue: &&Queue<B>| queue.oldest_ready().is_some() && !queue.is_ready(now);
        self.lanes.iter().filter(waits).filter_map(|queue| queue.gap_ends).min()
    }

    /// Removes the waiting batches that this program no longer wants, and returns them.
    pub fn evict(&mut self, mut unwanted: impl FnMut(&B) -> bool) -> Vec<B> {
        let mut evicted = Vec::new();
        for queue in &mut self.lanes {
            for shard in &mut queue.shards {
                let mut at = 0;
                while at < shard.waiting.len() {
                    if unwanted(&shard.waiting[at].batch) {
                        evicted.extend(shard.waiting.remove(at).map(|waiting| waiting.batch));
                        queue.waiting -= 1;
                    } else {
                        at += 1;
                    }
                }
            }
        }
        evicted
    }

    /// The number of waiting batches of a lane.
    pub fn waiting(&self, lane: Lane) -> usize {
        self.lanes[lane as usize].waiting
    }
}

impl<B> Queue<B> {
    /// Whether batches wait, and either they are enough, or no piece is in progress, or the gap is over.
    fn is_ready(&self, now: Instant) -> bool {
        let is_free = self.busy == 0 || self.gap_ends.is_none_or(|ends| ends <= now);
        self.oldest_ready().is_some() && (is_free || !self.is_small())
    }

    fn is_small(&self) -> bool {
        let ready = self.shards.iter().filter(|shard| !shard.in_work);
        let events = ready.flat_map(|shard| &shard.waiting).map(|waiting| waiting.events);
        // Ends after a few batches.
        let mut sum = 0;
        events
            .take_while(|events| {
                sum += events;
                sum < WORK_EVENTS_SMALL
            })
            .count();
        sum < WORK_EVENTS_SMALL
    }

    /// The free shard whose first batch waits longest.
    fn oldest_ready(&self) -> Option<usize> {
        let ready = self.shards.iter().enumerate().filter(|(_, shard)| !shard.in_work);
        let ready = ready.filter_map(|(at, shard)| Some((shard.waiting.front()?.arrival, at)));
        ready.min().map(|(_, at)| at)
    }
}

impl<B> Shard<B> {
    /// Adds the batches that fit to a piece of work. False: not even the first batch fits.
    fn take(&mut self, batches: &mut Vec<B>, events: &mut usize) -> bool {
        let before = batches.len();
        while let Some(next) = self.waiting.front() {
            if *events > 0 && *events + next.events > BATCH_ENVELOPES_MAX {
                break;
            }
            *events += next.events;
            batches.extend(self.waiting.pop_front().map(|next| next.batch));
        }
        self.in_work = batches.len() > before;
        self.in_work
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GAP: Duration = Duration::from_millis(WORK_GAP_MS);

    /// Each time a gap later: nothing waits because it is small.
    fn later() -> Instant {
        thread_local! {
            static NOW: std::cell::Cell<Instant> = std::cell::Cell::new(Instant::now());
        }
        NOW.set(NOW.get() + GAP);
        NOW.get()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(Lane, u16, usize),
        Take,
        Finish(usize),
        Evict(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        let lane = prop_oneof![Just(Lane::High), Just(Lane::Medium), Just(Lane::Low)];
        prop_oneof![
            4 => (lane, 0_u16..4, 1_usize..300)
                .prop_map(|(lane, shard, n)| Step::Push(lane, if lane == Lane::Low { 0 } else { shard }, n)),
            4 => Just(Step::Take),
            3 => any::<usize>().prop_map(Step::Finish),
            1 => (0_u16..4).prop_map(Step::Evict),
        ]
    }

    proptest! {
        #[test]
        fn shards_keep_their_order_and_nothing_is_lost(
            steps in proptest::collection::vec(step(), 0..200),
            slots in 1_usize..6,
        ) {
            let mut schedule = Schedule::new(slots);
            let mut under_way: Vec<(Lane, Vec<u16>)> = Vec::new();
            let (mut pushed, mut seen) = (0_usize, 0_usize);
            let mut last = std::collections::HashMap::<(Lane, u16), usize>::new();
            let mut take = |schedule: &mut Schedule<(Lane, u16, usize, usize)>, under_way: &mut Vec<(Lane, Vec<u16>)>| {
                let Some(work) = schedule.take(later()) else { return Ok(false) };
                let taken = |shard| under_way.iter().any(|(lane, shards)| *lane == work.lane && shards.contains(shard));
                prop_assert!(!work.shards.iter().any(taken), "one piece of a shard at a time");
                let events: usize = work.batches.iter().map(|batch| batch.3).sum();
                prop_assert!(work.batches.len() == 1 || events <= BATCH_ENVELOPES_MAX);
                for batch in &work.batches {
                    prop_assert_eq!(batch.0, work.lane);
                    prop_assert!(work.shards.contains(&batch.1));
                    prop_assert!(last.insert((batch.0, batch.1), batch.2).is_none_or(|before| before < batch.2));
                }
                seen += work.batches.len();
                under_way.push((work.lane, work.shards));
                prop_assert!(under_way.len() <= slots);
                Ok(true)
            };
            let mut evicted = 0;
            for step in steps {
                match step {
                    Step::Push(lane, shard, events) => {
                        schedule.push(lane, shard, events, (lane, shard, pushed, events));
                        pushed += 1;
                    }
                    Step::Take => {
                        take(&mut schedule, &mut under_way)?;
                    }
                    Step::Finish(at) if !under_way.is_empty() => {
                        let (lane, shards) = under_way.remove(at % under_way.len());
                        schedule.finish(lane, &shards);
                    }
                    Step::Finish(_) => {}
                    Step::Evict(shard) => evicted += schedule.evict(|batch| batch.1 == shard).len(),
                }
            }
            loop {
                for (lane, shards) in under_way.drain(..) {
                    schedule.finish(lane, &shards);
                }
                if !take(&mut schedule, &mut under_way)? {
                    break;
                }
            }
            prop_assert_eq!(seen + evicted, pushed);
            prop_assert!(Lane::ALL.iter().all(|lane| schedule.waiting(*lane) == 0));
        }
    }

    /// Works everything off with one slot; the lanes of the events, in the order served.
    fn work_off(schedule: &mut Schedule<usize>, pieces: usize) -> Vec<(Lane, usize)> {
        let mut served = Vec::new();
        for _ in 0..pieces {
            let Some(work) = schedule.take(later()) else { break };
            served.push((work.lane, work.batches.iter().sum()));
            schedule.finish(work.lane, &work.shards);
        }
        served
    }

    #[test]
    fn busy_lanes_share_by_weight() {
        let mut schedule = Schedule::new(1);
        for lane in Lane::ALL {
            for _ in 0..1_000 {
                schedule.push(lane, 0, 200, 200);
            }
        }
        let served = work_off(&mut schedule, 120);
        let events = |wanted| served.iter().filter(|(lane, _)| *lane == wanted).count();
        assert_eq!((events(Lane::High), events(Lane::Medium), events(Lane::Low)), (80, 30, 10));
    }

    #[test]
    fn a_message_passes_a_hundred_thousand_typing_events() {
        let mut schedule = Schedule::new(4);
        for _ in 0..100_000 / 250 {
            schedule.push(Lane::Low, 0, 250, 250);
        }
        let typing = schedule.take(later()).unwrap();
        assert_eq!(typing.lane, Lane::Low);
        schedule.push(Lane::High, 3, 1, 1);
        assert_eq!(schedule.take(later()).unwrap().lane, Lane::High, "beside the typing that is under way");
        schedule.finish(Lane::High, &[3]);
        schedule.finish(Lane::Low, &[0]);
        schedule.push(Lane::High, 3, 1, 1);
        let typing = schedule.take(later()).unwrap();
        assert_eq!(typing.lane, Lane::High, "and before the typing that waits");
    }

    #[test]
    fn typing_is_not_starved_by_messages() {
        let mut schedule = Schedule::new(1);
        schedule.push(Lane::Low, 0, 256, 256);
        schedule.push(Lane::Low, 0, 256, 256);
        for _ in 0..1_000 {
            schedule.push(Lane::High, 0, 256, 256);
        }
        let served = work_off(&mut schedule, 20);
        assert_eq!(served.iter().filter(|(lane, _)| *lane == Lane::Low).count(), 2, "{served:?}");
    }

    #[test]
    fn a_lane_that_slept_saves_nothing_up() {
        let mut schedule = Schedule::new(1);
        for _ in 0..100 {
            schedule.push(Lane::High, 0, 256, 256);
        }
        work_off(&mut schedule, 50);
        for _ in 0..100 {
            schedule.push(Lane::Low, 0, 256, 256);
        }
        let served = work_off(&mut schedule, 18);
        assert_eq!(served.iter().filter(|(lane, _)| *lane == Lane::Low).count(), 2, "{served:?}");
    }

    #[test]
    fn one_slot_is_left_for_messages() {
        let mut schedule = Schedule::new(2);
        schedule.push(Lane::Medium, 0, 1, 1);
        schedule.push(Lane::Medium, 1, 1, 1);
        assert!(schedule.take(later()).is_some());
        assert!(schedule.take(later()).is_none(), "the second receipt waits");
        schedule.push(Lane::High, 0, 1, 1);
        assert_eq!(schedule.take(later()).unwrap().lane, Lane::High);
    }

    #[test]
    fn small_batches_become_one() {
        let mut schedule = Schedule::new(2);
        for (shard, events) in [(2, 100), (1, 50), (2, 101), (1, 5), (3, 1)] {
            schedule.push(Lane::High, shard, events, events);
        }
        let work = schedule.take(later()).unwrap();
        assert_eq!(work, Work { lane: Lane::High, shards: vec![2, 1], batches: vec![100, 101, 50, 5] });
        assert_eq!(schedule.take(later()).unwrap().shards, [3]);
    }

    #[test]
    fn what_is_small_waits_for_the_piece_under_way_or_a_gap() {
        let (mut schedule, now) = (Schedule::new(4), Instant::now());
        schedule.push(Lane::High, 0, 1, 1);
        let first = schedule.take(now).unwrap();
        schedule.push(Lane::High, 1, WORK_EVENTS_SMALL - 1, 2);
        assert_eq!(schedule.take(now), None, "it is small, and one is under way");
        assert_eq!(schedule.gap_ends(now), Some(now + GAP));
        schedule.push(Lane::Medium, 0, 1, 3);
        let other = schedule.take(now).unwrap();
        assert_eq!(other.lane, Lane::Medium, "lanes do not wait for each other");

        schedule.push(Lane::High, 2, 1, 4);
        let second = schedule.take(now).unwrap();
        assert_eq!(second.batches, [2, 4], "together they are not small");
        schedule.push(Lane::High, 3, 1, 5);
        assert_eq!(schedule.take(now), None);
        let held = schedule.take(now + GAP).unwrap();
        assert_eq!(held.batches, [5], "a piece that is held keeps nobody waiting");

        for work in [first, second, held, other] {
            schedule.finish(work.lane, &work.shards);
        }
        schedule.push(Lane::High, 3, 1, 6);
        assert_eq!(schedule.gap_ends(now), None);
        assert_eq!(schedule.take(now).unwrap().batches, [6], "an idle lane makes nobody wait");
    }
}
