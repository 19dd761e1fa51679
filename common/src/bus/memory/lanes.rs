//! Lanes in one process: a line of consumers per shard, the first of them active.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::metrics::Histogram;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::arrival::{Handout, LaneEnvelope};
use super::super::envelope::Envelope;
use super::super::inspect::{Holding, LaneDepth};
use super::super::metrics;
use super::super::outcome::{PublishError, Receipt};
use super::super::topology::LaneRow;
use super::receipts::Receipts;
use crate::limits::{BATCH_BYTES_MAX, BATCH_ENVELOPES_MAX, PUBLISH_WINDOW_ENVELOPES_MAX};
use protocol::Lane;

pub(super) struct LaneQueues {
    pub(super) row: LaneRow,
    state: Mutex<State>,
    /// Something was handed back: a drain waits for it.
    returned: Notify,
    /// Of a durable lane: publishers that wait until their envelope is kept.
    receipts: Arc<Receipts>,
    wait_seconds: Histogram,
}

struct State {
    shards: Vec<Shard>,
    members: Vec<Arc<Member>>,
    next_member: u64,
    closed: bool,
}

#[derive(Default)]
struct Shard {
    waiting: VecDeque<Waiting>,
    /// Members in the order in which they came or gave the shard up; the first is active.
    line: VecDeque<u64>,
    /// Batches handed out, by tag. Released ones stay until all are back, to keep their order.
    handed: BTreeMap<u64, Handed>,
    next_tag: u64,
    revoked: Arc<AtomicBool>,
    /// Hands out nothing until what was handed out is back.
    yielding: bool,
}

/// An envelope and, until it is called, the number of its receipt.
struct Item {
    envelope: LaneEnvelope,
    receipt: Option<u64>,
}

struct Waiting {
    item: Item,
    since: Instant,
    redelivered: bool,
}

enum Handed {
    /// The oldest is from then.
    Out(Vec<Item>, Instant),
    Back(Vec<Item>),
}

struct Member {
    id: u64,
    notify: Notify,
    /// None: every shard.
    holds: Mutex<Option<Vec<u16>>>,
}

pub(in super::super) struct MemoryConsumer {
    queues: Arc<LaneQueues>,
    member: Arc<Member>,
    next_shard: usize,
}

/// What is handed out of a lane, to whichever consumer of the process.
pub(in super::super) struct MemoryView(Arc<LaneQueues>);

/// What a batch remembers to come back.
pub(in super::super) struct MemoryLaneTicket {
    queues: Arc<LaneQueues>,
    shard: usize,
    tag: u64,
    revoked: Arc<AtomicBool>,
}

impl Waiting {
    fn new(item: Item) -> Self {
        Self { item, since: Instant::now(), redelivered: false }
    }
}

impl Handed {
    /// The receipts that are still to be called: of one item, by its place, or of all.
    fn receipts(&mut self, one: Option<usize>) -> Vec<u64> {
        let (Self::Out(items, _) | Self::Back(items)) = self;
        let items = match one {
            Some(at) => items.get_mut(at..=at).unwrap_or_default(),
            None => &mut items[..],
        };
        items.iter_mut().filter_map(|item| item.receipt.take()).collect()
    }
}

impl Shard {
    /// To the front, in the order in which they were handed out.
    fn put_back(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            self.waiting.push_front(Waiting { redelivered: true, ..Waiting::new(item) });
        }
    }
}

impl Member {
    fn holds(&self, shard: usize) -> bool {
        let holds = self.holds.lock();
        holds.as_ref().is_none_or(|held| held.iter().any(|held| usize::from(*held) == shard))
    }
}

impl LaneQueues {
    pub(super) fn new(row: LaneRow) -> Self {
        let shards = (0..row.shards).map(|_| Shard::default()).collect();
        let state = State { shards, members: Vec::new(), next_member: 0, closed: false };
        let wait_seconds = metrics::lane_wait_seconds(row.lane);
        let receipts = Arc::new(Receipts::new(row.lane));
        Self { row, state: Mutex::new(state), returned: Notify::new(), receipts, wait_seconds }
    }

    /// Takes an envelope. With its receipt it is durable: the receipt is called when a consumer
    /// has kept it. Refused, the receipt comes back.
    pub(super) fn push(
        &self,
        envelope: Envelope,
        receipt: Option<Receipt>,
    ) -> Result<(), (PublishError, Option<Receipt>)> {
        let shard = usize::from(self.row.shard(envelope.key));
        let mut state = self.lock();
        let waiting = &mut state.shards[shard].waiting;
        match self.row.length_max {
            Some(most) if waiting.len() >= most as usize => {
                waiting.pop_front();
                metrics::shed("full").increment(1);
            }
            None if waiting.len() >= PUBLISH_WINDOW_ENVELOPES_MAX => {
                return Err((PublishError::Busy, receipt));
            }
            _ => {}
        }
        let receipt = receipt.map(|receipt| self.receipts.wait(receipt));
        waiting.push_back(Waiting::new(Item { envelope: LaneEnvelope { envelope, attempt: 0 }, receipt }));
        self.wake(&state, shard);
        Ok(())
    }

    /// From the retry ladder, with the receipt that is still to be called: never refused.
    pub(super) fn push_again(&self, envelope: LaneEnvelope, receipt: Option<u64>) {
        let shard = usize::from(self.row.shard(envelope.envelope.key));
        let mut state = self.lock();
        state.shards[shard].waiting.push_back(Waiting::new(Item { envelope, receipt }));
        self.wake(&state, shard);
    }

    /// The receipt of an envelope that is handed out, and will not be kept with its batch. Of
    /// several that are equal it does not matter which.
    pub(super) fn claim(&self, failed: &Envelope) -> Option<u64> {
        let shard = usize::from(self.row.shard(failed.key));
        let mut state = self.lock();
        let handed = state.shards[shard].handed.values_mut();
        let items = handed.flat_map(|handed| match handed {
            Handed::Out(items, _) => items.as_mut_slice(),
            Handed::Back(_) => &mut [],
        });
        let mut items = items.filter(|item| item.receipt.is_some());
        items.find(|item| item.envelope.envelope == *failed)?.receipt.take()
    }

    pub(super) fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    /// Its queues now. An envelope waits alone here: it is a batch of one.
    pub(super) fn depths(&self) -> Vec<LaneDepth> {
        let (state, lane) = (self.lock(), self.row.lane);
        let depth = |(shard, queue): (usize, &Shard)| LaneDepth {
            lane,
            shard: shard as u16,
            waiting: u32::try_from(queue.waiting.len()).unwrap_or(u32::MAX),
            consumers: u32::try_from(queue.line.len()).unwrap_or(u32::MAX),
        };
        state.shards.iter().enumerate().map(depth).collect()
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for member in &state.members {
            member.notify.notify_one();
        }
    }

    /// Until every batch handed out is back.
    pub(super) async fn settled(&self) {
        loop {
            let returned = self.returned.notified();
            if self.lock().shards.iter().all(|shard| shard.handed.is_empty()) {
                return;
            }
            returned.await;
        }
    }

    /// Batches that are handed out, and since when the oldest envelope among them is here.
    pub(super) fn held(&self) -> (usize, Option<Instant>) {
        let state = self.lock();
        let out = state.shards.iter().flat_map(|shard| shard.handed.values());
        let since: Vec<_> = out
            .filter_map(|handed| if let Handed::Out(_, since) = handed { Some(*since) } else { None })
            .collect();
        (since.len(), since.iter().min().copied())
    }

    fn competing(&self) -> bool {
        self.row.shards == 1
    }

    fn wake(&self, state: &State, shard: usize) {
        let line = &state.shards[shard].line;
        for member in &state.members {
            if self.competing() || line.front() == Some(&member.id) {
                member.notify.notify_one();
            }
        }
    }

    /// Gives a shard to its new owner as soon as no batch of it is handed out.
    fn pass_on(&self, state: &mut State, index: usize) {
        let wanted = state.wanted(index);
        let shard = &mut state.shards[index];
        if shard.line.front().copied() != wanted && !self.competing() {
            shard.yielding = true;
        }
        if shard.yielding {
            shard.revoked.store(true, Ordering::Release);
        }
        if !shard.yielding || shard.handed.values().any(|handed| matches!(handed, Handed::Out(..))) {
            return;
        }
        for (_, handed) in std::mem::take(&mut shard.handed).into_iter().rev() {
            if let Handed::Back(items) = handed {
                shard.put_back(items);
            }
        }
        if shard.line.front().copied() != wanted {
            metrics::handovers("hold").increment(1);
            shard.line.retain(|id| Some(*id) != wanted);
            let former = shard.line.pop_front();
            shard.line.extend(former);
            if let Some(wanted) = wanted {
                shard.line.push_front(wanted);
            }
        }
        shard.yielding = false;
        shard.revoked = Arc::default();
        self.wake(state, index);
    }

    fn finish(&self, index: usize, tag: u64, acked: bool) {
        let mut state = self.lock();
        let shard = &mut state.shards[index];
        let mut kept = Vec::new();
        match shard.handed.remove(&tag) {
            // Nobody promised an order here.
            Some(Handed::Out(items, _)) if !acked && self.competing() => {
                shard.put_back(items);
            }
            Some(Handed::Out(items, _)) if !acked => {
                metrics::handovers("release").increment(1);
                shard.handed.insert(tag, Handed::Back(items));
                shard.yielding = true;
            }
            Some(mut handed) => kept = handed.receipts(None),
            None => {}
        }
        self.pass_on(&mut state, index);
        // Acknowledging makes room in the prefetch window.
        self.wake(&state, index);
        drop(state);
        self.receipts.kept(kept);
        self.returned.notify_waiters();
    }

    /// What a batch brings, or one of its items, is kept, whatever becomes of the rest of the work on it.
    fn keep(&self, index: usize, tag: u64, one: Option<usize>) {
        let handed = self.lock().shards[index].handed.get_mut(&tag).map(|handed| handed.receipts(one));
        self.receipts.kept(handed.unwrap_or_default());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// The active member unless it does not hold the shard and another one does.
    fn wanted(&self, index: usize) -> Option<u64> {
        let line = &self.shards[index].line;
        let holds = |id: &&u64| self.members.iter().any(|member| member.id == **id && member.holds(index));
        line.iter().find(holds).or(line.front()).copied()
    }
}

impl MemoryConsumer {
    pub(super) fn join(queues: Arc<LaneQueues>) -> Self {
        let mut state = queues.lock();
        let id = state.next_member;
        state.next_member += 1;
        let member = Arc::new(Member { id, notify: Notify::new(), holds: Mutex::default() });
        state.members.push(member.clone());
        for shard in &mut state.shards {
            shard.line.push_back(id);
        }
        drop(state);
        member.notify.notify_one();
        Self { queues, member, next_shard: 0 }
    }

    pub(in super::super) fn hold(&self, shards: &[u16]) {
        let mut state = self.queues.lock();
        *self.member.holds.lock() = Some(shards.to_vec());
        for index in 0..state.shards.len() {
            self.queues.pass_on(&mut state, index);
        }
    }

    pub(in super::super) fn view(&self) -> MemoryView {
        MemoryView(self.queues.clone())
    }

    /// Safe to cancel: nothing is taken before it is returned.
    pub(in super::super) async fn next(&mut self) -> Option<Handout<MemoryLaneTicket>> {
        loop {
            {
                let mut state = self.queues.lock();
                if state.closed {
                    return None;
                }
                let count = state.shards.len();
                for step in 0..count {
                    let index = (self.next_shard + step) % count;
                    if let Some(taken) = self.take(&mut state.shards[index], index) {
                        self.next_shard = index + 1;
                        return Some(taken);
                    }
                }
            }
            self.member.notify.notified().await;
        }
    }

    fn take(&self, shard: &mut Shard, index: usize) -> Option<Handout<MemoryLaneTicket>> {
        let mine = self.queues.competing() || shard.line.front() == Some(&self.member.id);
        let full = shard.handed.len() >= usize::from(self.queues.row.prefetch);
        if !mine || full || shard.yielding {
            return None;
        }
        if let Some(ttl) = self.queues.row.ttl_ms {
            let ttl = Duration::from_millis(ttl.into());
            while shard.waiting.front().is_some_and(|first| first.since.elapsed() > ttl) {
                shard.waiting.pop_front();
                metrics::shed("stale").increment(1);
            }
        }
        let Waiting { redelivered, since, .. } = *shard.waiting.front()?;
        if !redelivered {
            self.queues.wait_seconds.record(since.elapsed());
        }
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            bytes += waiting.item.envelope.envelope.encoded_len();
            bytes <= BATCH_BYTES_MAX && waiting.redelivered == redelivered
        };
        let count = shard.waiting.iter().take(BATCH_ENVELOPES_MAX).take_while(fits).count();
        let items: Vec<_> = shard.waiting.drain(..count).map(|waiting| waiting.item).collect();
        let envelopes = items.iter().map(|item| item.envelope.clone()).collect();
        let tag = shard.next_tag;
        shard.next_tag += 1;
        shard.handed.insert(tag, Handed::Out(items, since));
        let revoked = shard.revoked.clone();
        let ticket = MemoryLaneTicket { queues: self.queues.clone(), shard: index, tag, revoked };
        let lane = self.queues.row.lane;
        Some(Handout { lane, shard: index as u16, envelopes, redelivered, ticket })
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        let mut state = self.queues.lock();
        state.members.retain(|member| member.id != self.member.id);
        for index in 0..state.shards.len() {
            let shard = &mut state.shards[index];
            shard.yielding |= shard.line.front() == Some(&self.member.id);
            shard.line.retain(|id| *id != self.member.id);
            self.queues.pass_on(&mut state, index);
        }
    }
}

impl MemoryView {
    pub(in super::super) fn held(&self) -> Vec<Holding> {
        let state = self.0.lock();
        let shards = state.shards.iter().enumerate().filter(|(_, shard)| !shard.handed.is_empty());
        let held = |(index, shard): (usize, &Shard)| {
            let first = shard.handed.values().find_map(|handed| match handed {
                Handed::Out(items, _) => items.first(),
                Handed::Back(_) => None,
            });
            Holding {
                shard: index as u16,
                unacked: u32::try_from(shard.handed.len()).unwrap_or(u32::MAX),
                oldest: first.map(|first| first.envelope.envelope.clone()),
            }
        };
        shards.map(held).collect()
    }
}

impl MemoryLaneTicket {
    pub(in super::super) fn finish(self, acked: bool) {
        self.queues.finish(self.shard, self.tag, acked);
    }

    pub(in super::super) fn keep(&self, one: Option<usize>) {
        self.queues.keep(self.shard, self.tag, one);
    }

    pub(in super::super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }
}

/// The three lanes.
pub(super) struct Lanes([Arc<LaneQueues>; 3]);

impl Lanes {
    pub(super) fn new() -> Self {
        Self(Lane::ALL.map(|lane| Arc::new(LaneQueues::new(LaneRow::of(lane)))))
    }

    pub(super) fn of(&self, lane: Lane) -> &Arc<LaneQueues> {
        &self.0[lane as usize]
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<LaneQueues>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::bus::Subject;
    use crate::limits::{LOW_LANE_BATCHES_MAX, LOW_LANE_TTL_MS};

    #[tokio::test(start_paused = true)]
    async fn the_low_lane_sheds_its_oldest_and_what_is_stale() {
        let queues = Arc::new(LaneQueues::new(LaneRow::of(Lane::Low)));
        let subject = Subject::new("low.typing").unwrap();
        let push = |key| queues.push(Envelope { subject: subject.clone(), key, body: Bytes::new() }, None);
        for key in 0..u64::from(LOW_LANE_BATCHES_MAX) + 10 {
            assert!(push(key).is_ok(), "never busy");
        }
        let mut consumer = MemoryConsumer::join(queues.clone());
        let first = consumer.next().await.unwrap();
        assert_eq!(first.envelopes[0].envelope.key, 10, "the oldest went");
        first.ticket.finish(true);
        tokio::time::advance(Duration::from_millis(u64::from(LOW_LANE_TTL_MS) + 1)).await;
        assert!(push(7).is_ok());
        let fresh = consumer.next().await.unwrap();
        assert_eq!(fresh.envelopes.len(), 1);
        assert_eq!(fresh.envelopes[0].envelope.key, 7, "what was stale went");
    }
}
