//! The bus of one process: the same promises as the broker's, kept in memory.
//!
//! What waits dies with the process, so a receipt of a durable lane is called only when a consumer
//! has kept the envelope elsewhere. Time is tokio's, so that tests can pause it.

/// Lanes: shards, their lines of consumers, hand-over.
mod lanes;

/// Publishers that wait until their envelope is kept.
mod receipts;

/// Queue groups, acknowledged or answered.
mod groups;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use self::groups::{Group, Job};
pub(super) use self::groups::{MemoryGroupTicket, MemoryMember};
use self::lanes::Lanes;
pub(super) use self::lanes::{MemoryConsumer, MemoryLaneTicket, MemoryView};
use super::arrival::LaneEnvelope;
use super::envelope::Envelope;
use super::inspect::{Depths, Quarantined, Replayed, RungDepth, Which, chosen};
use super::mailbox::{Mailbox, MailboxReader};
use super::metrics;
use super::outcome::{Fate, Health, PublishError, Receipt, RequestError};
use super::subject::{Pattern, Subject};
use super::topology::LaneRow;
use crate::limits::{BUS_DRAIN_MS_MAX, ENVELOPE_BYTES_MAX, RETRY_LADDER_MS};
use protocol::{Lane, Timestamp};

#[derive(Clone)]
pub(super) struct MemoryBus(Arc<Shared>);

/// What waits on one rung of the retry ladder: its lane, itself, the number of its receipt.
type Rung = Mutex<VecDeque<(Lane, LaneEnvelope, Option<u64>)>>;

struct Shared {
    lanes: Lanes,
    groups: Mutex<Vec<Arc<Group>>>,
    subscribers: Mutex<Vec<(Pattern, Weak<Mailbox>)>>,
    /// What waits on each rung of the retry ladder, the first to leave in front.
    rungs: [Rung; RETRY_LADDER_MS.len()],
    quarantine: Mutex<Vec<Quarantined>>,
    outcomes: Mutex<Vec<(Receipt, Result<(), PublishError>)>>,
    health: watch::Sender<Health>,
    closed: AtomicBool,
}

impl MemoryBus {
    pub(super) fn new() -> Self {
        metrics::up().set(1);
        Self(Arc::new(Shared {
            lanes: Lanes::new(),
            groups: Mutex::default(),
            subscribers: Mutex::default(),
            rungs: std::array::from_fn(|_| Mutex::default()),
            quarantine: Mutex::default(),
            outcomes: Mutex::default(),
            health: watch::Sender::new(Health::Up),
            closed: AtomicBool::new(false),
        }))
    }

    /// The receipt is called by a task, never from here: the caller may hold what it needs.
    pub(super) fn enqueue(&self, envelope: Envelope, receipt: Receipt) {
        let lane = envelope.subject.lane();
        let (outcome, receipt) = match lane.filter(|lane| LaneRow::of(*lane).durable) {
            Some(lane) => match self.keep(lane, envelope, receipt) {
                Ok(()) => return,
                Err((refused, Some(receipt))) => (Err(refused), receipt),
                Err((_, None)) => return,
            },
            None => (self.route(envelope, lane), receipt),
        };
        metrics::publishes(lane, outcome).increment(1);
        let mut outcomes = self.0.outcomes.lock();
        outcomes.push((receipt, outcome));
        if outcomes.len() == 1 {
            let shared = self.0.clone();
            tokio::spawn(async move {
                let outcomes = std::mem::take(&mut *shared.outcomes.lock());
                for (receipt, outcome) in outcomes {
                    receipt(outcome);
                }
            });
        }
    }

    /// On a durable lane: the receipt waits until a consumer has kept the envelope.
    fn keep(
        &self,
        lane: Lane,
        envelope: Envelope,
        receipt: Receipt,
    ) -> Result<(), (PublishError, Option<Receipt>)> {
        match self.admit(&envelope) {
            Ok(()) => self.0.lanes.of(lane).push(envelope, Some(receipt)),
            Err(refused) => Err((refused, Some(receipt))),
        }
    }

    fn admit(&self, envelope: &Envelope) -> Result<(), PublishError> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(PublishError::Closed);
        }
        if envelope.encoded_len() > ENVELOPE_BYTES_MAX {
            return Err(PublishError::TooLarge);
        }
        Ok(())
    }

    fn route(&self, envelope: Envelope, lane: Option<Lane>) -> Result<(), PublishError> {
        self.admit(&envelope)?;
        if let Some(lane) = lane {
            return self.0.lanes.of(lane).push(envelope, None).map_err(|(refused, _)| refused);
        }
        let mut taken = envelope.subject.head() == "control";
        for mailbox in self.mailboxes(&envelope.subject) {
            mailbox.push([envelope.clone()]);
            taken = true;
        }
        for group in self.groups(&envelope.subject) {
            group.push(Job { envelope: envelope.clone(), reply: None })?;
            taken = true;
        }
        if taken { Ok(()) } else { Err(PublishError::NoRoute) }
    }

    pub(super) fn subscribe(&self, pattern: Pattern) -> MailboxReader {
        let mailbox = Arc::new(Mailbox::default());
        if self.0.closed.load(Ordering::Acquire) {
            mailbox.close();
        }
        self.0.subscribers.lock().push((pattern, Arc::downgrade(&mailbox)));
        MailboxReader(mailbox)
    }

    pub(super) fn queue_subscribe(&self, pattern: Pattern, name: &str) -> MemoryMember {
        let mut groups = self.0.groups.lock();
        let known = groups.iter().find(|group| group.name == name).cloned();
        let group = known.unwrap_or_else(|| {
            let group = Arc::new(Group::new(name));
            groups.push(group.clone());
            group
        });
        MemoryMember::join(group, pattern)
    }

    pub(super) async fn request(
        &self,
        subject: Subject,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, RequestError> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(RequestError::Closed);
        }
        let group = self.groups(&subject).into_iter().find(|group| group.has_members());
        let group = group.ok_or(RequestError::NoResponders)?;
        let envelope = Envelope { subject, key: 0, body };
        if envelope.encoded_len() > ENVELOPE_BYTES_MAX {
            return Err(RequestError::TooLarge);
        }
        let (reply, answer) = oneshot::channel();
        group.push(Job { envelope, reply: Some(reply) }).map_err(|_| RequestError::Busy)?;
        match timeout(deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            // The last member left without answering.
            Ok(Err(_)) => Err(RequestError::NoResponders),
            Err(_) => Err(RequestError::Timeout),
        }
    }

    pub(super) fn consume(&self, lane: Lane) -> MemoryConsumer {
        MemoryConsumer::join(self.0.lanes.of(lane).clone())
    }

    pub(super) fn retry(
        &self,
        lane: Lane,
        mut failed: LaneEnvelope,
        reason: &str,
    ) -> Result<Fate, PublishError> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(PublishError::Closed);
        }
        // It is not kept with its batch. Its publisher waits on, or hears busy.
        let lanes = self.0.lanes.of(lane);
        let receipt = lanes.claim(&failed.envelope);
        let rung = usize::from(failed.attempt);
        failed.attempt += 1;
        let Some(delay) = RETRY_LADDER_MS.get(rung) else {
            metrics::quarantined("attempts");
            lanes.receipts().busy(receipt.as_slice());
            let LaneEnvelope { envelope, attempt } = failed;
            let (reason, set_aside) = (reason.into(), Some(Timestamp::now()));
            let quarantined = Quarantined { lane, envelope, attempts: attempt, reason, set_aside };
            self.0.quarantine.lock().push(quarantined);
            return Ok(Fate::Quarantined);
        };
        metrics::retries(lane).increment(1);
        let attempt = failed.attempt;
        let shared = Arc::downgrade(&self.0);
        let delay = Duration::from_millis((*delay).into());
        self.0.rungs[rung].lock().push_back((lane, failed, receipt));
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let Some(shared) = shared.upgrade() else { return };
            // Whichever timer comes first takes the first: a rung is a queue, as the broker's is.
            let mut waiting = shared.rungs[rung].lock();
            if let Some((lane, envelope, receipt)) = waiting.pop_front() {
                shared.lanes.of(lane).push_again(envelope, receipt);
            }
        });
        Ok(Fate::Delayed { attempt })
    }

    pub(super) fn quarantined(&self, limit: usize) -> Vec<Quarantined> {
        self.0.quarantine.lock().iter().take(limit).cloned().collect()
    }

    /// Tells what consumers hold, for they are all in this process, and what is not kept yet.
    pub(super) fn measure(&self) {
        for lane in Lane::ALL {
            let (batches, oldest) = self.0.lanes.of(lane).held();
            metrics::lane_held(lane, batches, oldest.map_or(0.0, |oldest| oldest.elapsed().as_secs_f64()));
            metrics::in_flight(Some(lane), self.0.lanes.of(lane).receipts().waiting());
        }
    }

    pub(super) fn replay(&self, which: Which) -> Replayed {
        let mut replayed = Replayed::default();
        let mut quarantine = self.0.quarantine.lock();
        for (at, quarantined) in std::mem::take(&mut *quarantine).into_iter().enumerate() {
            let is_wanted = chosen(which, at + 1);
            match quarantined.envelope.subject.lane().filter(|_| is_wanted) {
                Some(lane) => {
                    let again = LaneEnvelope { envelope: quarantined.envelope.clone(), attempt: 0 };
                    self.0.lanes.of(lane).push_again(again, None);
                    replayed.done.push(quarantined);
                }
                None => {
                    if is_wanted {
                        replayed.kept.push(quarantined.clone());
                    }
                    quarantine.push(quarantined);
                }
            }
        }
        replayed
    }

    /// There is no ladder here: envelopes of the ladder wait in tasks, and are not counted.
    pub(super) fn depths(&self) -> Depths {
        let lanes = self.0.lanes.all().flat_map(|queues| queues.depths()).collect();
        let rung = |delay_ms| RungDepth { delay_ms, waiting: 0 };
        let quarantine = u32::try_from(self.0.quarantine.lock().len()).unwrap_or(u32::MAX);
        Depths { lanes, retries: RETRY_LADDER_MS.map(rung).to_vec(), quarantine }
    }

    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.0.health.subscribe()
    }

    pub(super) async fn drain(&self) {
        self.0.lanes.all().for_each(|queues| queues.close());
        let groups = self.0.groups.lock().clone();
        groups.iter().for_each(|group| group.close());
        for (_, mailbox) in self.0.subscribers.lock().drain(..) {
            if let Some(mailbox) = mailbox.upgrade() {
                mailbox.close();
            }
        }
        let settled = async {
            for queues in self.0.lanes.all() {
                queues.settled().await;
            }
            for group in groups {
                group.settled().await;
            }
        };
        // What is still out after the deadline is lost with the process, as it would be anyway.
        drop(timeout(Duration::from_millis(BUS_DRAIN_MS_MAX), settled).await);
        self.0.closed.store(true, Ordering::Release);
        self.0.lanes.all().for_each(|queues| queues.receipts().end());
        self.0.health.send_replace(Health::Down);
    }

    fn mailboxes(&self, subject: &Subject) -> Vec<Arc<Mailbox>> {
        let mut subscribers = self.0.subscribers.lock();
        subscribers.retain(|(_, mailbox)| mailbox.strong_count() > 0);
        let wanted = subscribers.iter().filter(|(pattern, _)| pattern.matches(subject));
        wanted.filter_map(|(_, mailbox)| mailbox.upgrade()).collect()
    }

    fn groups(&self, subject: &Subject) -> Vec<Arc<Group>> {
        self.0.groups.lock().iter().filter(|group| group.wants(subject)).cloned().collect()
    }
}
