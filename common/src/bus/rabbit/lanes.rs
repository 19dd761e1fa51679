//! Lane consumers: a task and a channel per shard, standing in line with the other workers'.
//!
//! The broker gives a shard to the consumer that has been in line longest. A shard is given up
//! by closing its channel once everything handed out is back, and queueing again behind.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ::metrics::Histogram;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::super::arrival::{Handout, LaneEnvelope};
use super::super::config::QueueKind;
use super::super::envelope::Envelope;
use super::super::inspect::Holding;
use super::super::ledger::Ledger;
use super::super::metrics;
use super::super::topology::{LaneRow, Names};
use super::acknowledge::say;
use super::connection::{BrokerLink, Live};
use super::quarantine::{self, Quarantine};
use super::{declare, headers};
use crate::limits::MEASURE_MS;
use protocol::{Lane, Timestamp};

/// Before a channel that failed, on a connection that did not, is opened again; and before a
/// released batch is asked for again.
const CHANNEL_PAUSE_MS: u64 = 20;

/// The same when it fails again and again: doubled up to this.
const CHANNEL_PAUSE_MS_MAX: u64 = 1_000;

pub(in super::super) struct RabbitConsumer {
    stand: Arc<Stand>,
    next_seat: usize,
    _gone: DropGuard,
}

/// What a consumer holds.
pub(in super::super) struct RabbitView(Arc<Stand>);

/// What the tasks of one consumer share with it.
struct Stand {
    row: LaneRow,
    seats: Vec<Turn>,
    ready: Notify,
    ended: AtomicBool,
    wait_seconds: Histogram,
}

/// One shard: our turn in its line.
struct Turn {
    state: Mutex<State>,
    notify: Notify,
}

struct State {
    /// Counts channels: a batch of a former one has nothing left to acknowledge.
    life: u64,
    ledger: Ledger,
    ready: VecDeque<Ready>,
    /// The first envelope of each batch that is here or handed out, by its tag.
    firsts: BTreeMap<u64, Envelope>,
    /// Of batches of the present life.
    revoked: Arc<AtomicBool>,
    /// Hands out nothing; the channel closes when everything is back.
    yielding: Option<&'static str>,
    /// Handed out in any life and not back.
    out: usize,
    held: bool,
    /// Not held, and not given up since the last call of `hold`.
    may_give_up: bool,
    /// Since when it is not in line. None: it is.
    astray: Option<Instant>,
}

struct Ready {
    tag: u64,
    redelivered: bool,
    /// When it was published.
    at: Option<Timestamp>,
    envelopes: Vec<LaneEnvelope>,
}

pub(in super::super) struct RabbitLaneTicket {
    stand: Arc<Stand>,
    seat: usize,
    life: u64,
    tag: u64,
    revoked: Arc<AtomicBool>,
}

/// What the task of a shard needs.
#[derive(Clone)]
pub(super) struct ShardTask {
    pub link: Arc<BrokerLink>,
    pub names: Names,
    pub queues: QueueKind,
    pub quarantine: Arc<Quarantine>,
    /// The bus drains.
    pub ending: CancellationToken,
}

/// How a channel of a shard ended.
enum End {
    /// Given up: queue again behind.
    Yielded,
    /// The consumer is gone or the bus drains.
    Gone,
}

impl RabbitConsumer {
    pub(super) async fn start(lane: Lane, line: ShardTask, tasks: &TaskTracker) -> anyhow::Result<Self> {
        let row = LaneRow::of(lane);
        let seats = (0..row.shards).map(|_| Turn::new()).collect();
        let (ready, ended) = (Notify::new(), AtomicBool::new(false));
        let wait_seconds = metrics::lane_wait_seconds(lane);
        let stand = Arc::new(Stand { row, seats, ready, ended, wait_seconds });
        let gone = CancellationToken::new();
        let (standing, mut stood) = watch::channel(0);
        let running = Arc::new(AtomicUsize::new(stand.seats.len()));
        for seat in 0..stand.seats.len() {
            let (stand, line, gone, standing) = (stand.clone(), line.clone(), gone.clone(), standing.clone());
            let running = running.clone();
            tasks.spawn(async move {
                line.run(&stand, seat, &gone, &standing).await;
                if running.fetch_sub(1, Ordering::AcqRel) == 1 {
                    stand.ended.store(true, Ordering::Release);
                    stand.ready.notify_one();
                }
            });
        }
        drop(standing);
        tokio::spawn(measure(stand.clone(), gone.clone(), line.ending.clone()));
        let all = stand.seats.len();
        stood.wait_for(|standing| *standing >= all).await.map_err(|_| anyhow::anyhow!("the bus closes"))?;
        Ok(Self { stand, next_seat: 0, _gone: gone.drop_guard() })
    }

    pub(in super::super) fn hold(&self, shards: &[u16]) {
        if self.stand.row.shards == 1 {
            return;
        }
        for (shard, seat) in self.stand.seats.iter().enumerate() {
            let held = shards.iter().any(|held| usize::from(*held) == shard);
            let mut state = seat.lock();
            if state.held && !held {
                state.give_up("hold");
            }
            state.may_give_up = !held && state.yielding.is_none();
            state.held = held;
            drop(state);
            seat.notify.notify_one();
        }
    }

    pub(in super::super) fn view(&self) -> RabbitView {
        RabbitView(self.stand.clone())
    }

    /// Safe to cancel: nothing is taken before it is returned.
    pub(in super::super) async fn next(&mut self) -> Option<Handout<RabbitLaneTicket>> {
        loop {
            if let Some(batch) = self.take() {
                return Some(batch);
            }
            if self.stand.ended.load(Ordering::Acquire) {
                self.stand.ready.notify_one();
                return None;
            }
            self.stand.ready.notified().await;
        }
    }

    fn take(&mut self) -> Option<Handout<RabbitLaneTicket>> {
        let count = self.stand.seats.len();
        for step in 0..count {
            let seat = (self.next_seat + step) % count;
            let mut state = self.stand.seats[seat].lock();
            if state.yielding.is_some() {
                continue;
            }
            let Some(Ready { tag, redelivered, at, envelopes }) = state.ready.pop_front() else { continue };
            state.ledger.handed_out(tag);
            state.out += 1;
            if let Some(at) = at.filter(|_| !redelivered) {
                self.stand.wait_seconds.record(seconds_since(at));
            }
            let (life, revoked) = (state.life, state.revoked.clone());
            let ticket = RabbitLaneTicket { stand: self.stand.clone(), seat, life, tag, revoked };
            self.next_seat = seat + 1;
            let (lane, shard) = (self.stand.row.lane, seat as u16);
            return Some(Handout { lane, shard, envelopes, redelivered, ticket });
        }
        None
    }
}

/// Tells what is held here once a second, and at the end that nothing is.
async fn measure(stand: Arc<Stand>, gone: CancellationToken, ending: CancellationToken) {
    let mut ticks = interval(Duration::from_millis(MEASURE_MS));
    loop {
        tokio::select! {
            () = gone.cancelled() => break,
            () = ending.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let held: Vec<_> = stand.seats.iter().map(|seat| seat.lock().ledger.unfinished()).collect();
        let oldest = held.iter().filter_map(|(_, oldest)| *oldest).min();
        let batches = held.iter().map(|(batches, _)| batches).sum();
        metrics::lane_held(stand.row.lane, batches, oldest.map_or(0.0, seconds_since));
    }
    metrics::lane_held(stand.row.lane, 0, 0.0);
}

/// By the publisher's wall clock and ours: a future is none.
fn seconds_since(at: Timestamp) -> f64 {
    (Timestamp::now().0 - at.0).max(0) as f64 / 1_000.0
}

impl RabbitLaneTicket {
    pub(in super::super) fn finish(self, acked: bool) {
        let competing = self.stand.row.shards == 1;
        let seat = &self.stand.seats[self.seat];
        let mut state = seat.lock();
        state.out -= 1;
        if state.life == self.life {
            state.firsts.remove(&self.tag);
            if acked {
                state.ledger.done(self.tag);
            } else {
                // Where order is kept, what is given back goes with the channel, into its old
                // place, and nothing may overtake it.
                state.ledger.returned(self.tag, competing);
                if !competing {
                    state.give_up("release");
                }
            }
        }
        drop(state);
        seat.notify.notify_one();
    }

    pub(in super::super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }
}

impl RabbitView {
    pub(in super::super) fn held(&self) -> Vec<Holding> {
        let seats = self.0.seats.iter().enumerate();
        let held = seats.map(|(shard, seat)| {
            let state = seat.lock();
            let unacked = u32::try_from(state.ledger.open()).unwrap_or(u32::MAX);
            let oldest = state.firsts.values().next().cloned();
            Holding { shard: shard as u16, unacked, oldest }
        });
        held.filter(|held| held.unacked > 0).collect()
    }

    /// Shards that this consumer has not consumed or stood by for, for this long or longer.
    pub(in super::super) fn astray(&self, time: Duration) -> Vec<u16> {
        let is_astray = |seat: &Turn| seat.lock().astray.is_some_and(|since| since.elapsed() >= time);
        let seats = self.0.seats.iter().enumerate();
        seats.filter(|(_, seat)| is_astray(seat)).map(|(shard, _)| shard as u16).collect()
    }
}

impl Turn {
    fn new() -> Self {
        let state = State {
            life: 0,
            ledger: Ledger::default(),
            ready: VecDeque::new(),
            firsts: BTreeMap::new(),
            revoked: Arc::default(),
            yielding: None,
            out: 0,
            held: true,
            may_give_up: false,
            astray: Some(Instant::now()),
        };
        Self { state: Mutex::new(state), notify: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Until nothing of any life is out.
    async fn all_back(&self) {
        while self.lock().out > 0 {
            self.notify.notified().await;
        }
    }
}

impl State {
    fn give_up(&mut self, reason: &'static str) {
        self.yielding.get_or_insert(reason);
        self.may_give_up = false;
        self.revoked.store(true, Ordering::Release);
        for Ready { tag, .. } in self.ready.drain(..) {
            self.firsts.remove(&tag);
        }
    }

    fn begin_life(&mut self) {
        self.life += 1;
        self.ledger = Ledger::default();
        self.ready.clear();
        self.firsts.clear();
        self.revoked = Arc::default();
        self.yielding = None;
    }
}

impl ShardTask {
    async fn run(
        &self,
        stand: &Stand,
        index: usize,
        gone: &CancellationToken,
        standing: &watch::Sender<usize>,
    ) {
        let seat = &stand.seats[index];
        let (mut counted, mut pause) = (false, CHANNEL_PAUSE_MS);
        while let Some(live) = self.link.live().await {
            // A worker that still works on what it had must finish before it gets more.
            tokio::select! {
                () = seat.all_back() => {}
                () = gone.cancelled() => return,
                () = self.ending.cancelled() => return,
            }
            let stood = || {
                if !std::mem::replace(&mut counted, true) {
                    standing.send_modify(|standing| *standing += 1);
                }
            };
            let run =
                live.on_channel(async |channel| self.run_on(&live, channel, stand, index, gone, stood).await);
            let ended = run.await;
            // It was in line: whatever ended it is no repetition.
            if seat.lock().astray.replace(Instant::now()).is_none() {
                pause = CHANNEL_PAUSE_MS;
            }
            match ended {
                Ok(End::Gone) => return,
                Ok(End::Yielded) => {
                    let reason = seat.lock().yielding.unwrap_or("hold");
                    metrics::handovers(reason).increment(1);
                    if reason == "release" {
                        sleep(Duration::from_millis(CHANNEL_PAUSE_MS)).await;
                    }
                }
                Err(failure) => {
                    seat.lock().give_up("lost");
                    metrics::handovers("lost").increment(1);
                    if !live.dead.is_cancelled() {
                        warn!(lane = stand.row.lane.name(), shard = index, "A shard was lost: {failure:#}");
                        sleep(Duration::from_millis(pause)).await;
                        pause = (pause * 2).min(CHANNEL_PAUSE_MS_MAX);
                    }
                }
            }
        }
    }

    async fn run_on(
        &self,
        live: &Live,
        channel: &Channel,
        stand: &Stand,
        index: usize,
        gone: &CancellationToken,
        stood: impl FnOnce(),
    ) -> anyhow::Result<End> {
        let seat = &stand.seats[index];
        live.answer(channel.basic_qos(stand.row.prefetch, BasicQosOptions::default())).await?;
        seat.lock().begin_life();
        // An operator may have deleted it.
        let declared = declare::lane_queue(channel, &self.names, &stand.row, index as u16, self.queues);
        live.answer(declared).await?;
        let queue = self.names.lane(stand.row.lane, index as u16);
        let options = BasicConsumeOptions::default();
        let consume = channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default());
        let mut consumer = live.answer(consume).await?;
        seat.lock().astray = None;
        stood();
        let mut ending = false;
        loop {
            tokio::select! {
                () = live.dead.cancelled() => anyhow::bail!("the connection was lost"),
                () = gone.cancelled(), if !ending => ending = true,
                () = self.ending.cancelled(), if !ending => ending = true,
                () = seat.notify.notified() => {}
                delivery = consumer.next(), if !ending => {
                    let mut next = Some(delivery);
                    while let Some(delivery) = next {
                        // Said once only, and perhaps behind deliveries.
                        let Some(delivery) = delivery else { anyhow::bail!("the consumer was cancelled") };
                        self.take(stand, index, delivery?).await?;
                        next = consumer.next().now_or_never();
                    }
                }
            }
            let (words, settled) = {
                let mut state = seat.lock();
                if ending {
                    state.give_up("ending");
                }
                (state.ledger.words(), state.yielding.is_some() && state.ledger.is_settled())
            };
            say(live, channel, words).await?;
            if settled {
                live.answer(channel.close(200, "given up".into())).await?;
                return Ok(if ending { End::Gone } else { End::Yielded });
            }
        }
    }

    async fn take(&self, stand: &Stand, index: usize, delivery: Delivery) -> anyhow::Result<()> {
        let seat = &stand.seats[index];
        let (tag, redelivered) = (delivery.delivery_tag, delivery.redelivered);
        let (attempt, at) =
            (quarantine::attempt(&delivery.properties), headers::published_at(&delivery.properties));
        let bytes = Bytes::from(delivery.data);
        let envelopes = Envelope::decode_batch(bytes.clone());
        let Ok(envelopes) = envelopes else {
            self.quarantine.damaged(stand.row.lane, bytes).await?;
            let mut state = seat.lock();
            state.ledger.arrived(tag, at);
            state.ledger.done(tag);
            return Ok(());
        };
        let first = envelopes.first().cloned();
        let envelopes = envelopes.into_iter().map(|envelope| LaneEnvelope { envelope, attempt }).collect();
        let mut state = seat.lock();
        state.ledger.arrived(tag, at);
        // The shard came to one who does not want it: somebody else in line may.
        if state.may_give_up {
            state.give_up("hold");
        }
        if state.yielding.is_none() {
            state.firsts.extend(first.map(|first| (tag, first)));
            state.ready.push_back(Ready { tag, redelivered, at, envelopes });
            drop(state);
            stand.ready.notify_one();
        }
        Ok(())
    }
}
