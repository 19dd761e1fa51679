//! One piece of work, from decoding to acknowledging: hold, bisect, set aside.
//!
//! * A peer is away: the work stays here and is retried in place, as long as this worker holds its shard
//! and does not drain. Nothing leaves the lane.
//! * The store ended a statement alone (a lock, its limit of time): the run is halved by key until
//! the blocked key is alone. After a second try its events wait apart (`apart.rs`), in
//! order, and the others are delivered.
//! * A fault or a panic: the run is halved until the faulty event is alone. That one climbs
//! the retry ladder with its reason; the others are handled as if it had not been there.
//! * Only events that were handled, delivered or set aside are acknowledged.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use crate::bus::{Fate, LaneBatch, LaneEnvelope};
use crate::health::Readiness;
use crate::limits::{APART_RUNG, HOLD_MS_MAX, HOLD_MS_MIN};
use crate::spans;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use protocol::control::Stage;
use protocol::events::Events;
use protocol::ids::NodeId;
use protocol::{self, Lane, Origin, Reject, Timestamp, Uplink};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::lanes::apart::{Apart, Company, halve};
use crate::lanes::effects::Effects;
use crate::lanes::fanout::{Delivery, Fanout, ahead};
use crate::lanes::metrics;
use crate::lanes::schedule::Work;
use crate::lanes::work::{Cause, Halt, LaneEvent, Peer};
use crate::lanes::work_spans::WorkSpans;

/// The handler of a run: returns the effects of each event, or halts the run, in which case nothing may be
/// assumed about it. Idempotent.
pub type Handle =
    Arc<dyn for<'a> Fn(&'a [LaneEvent]) -> BoxFuture<'a, Result<Vec<Effects>, Halt>> + Send + Sync>;

/// The parts that every piece of work needs. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    /// The node id of this start of the program.
    pub node: NodeId,
    /// The bus of the lanes, and the way to publish deliveries.
    pub fanout: Fanout,
    /// The events that clients may send; they name the event that reports a refusal.
    pub events: Arc<Events>,
    /// The readiness report, which shows the peers that are away.
    pub readiness: Readiness,
    /// The keys whose events wait apart.
    pub apart: Apart,
    /// Cancelled when the program leaves: work on hold is given back to its lane.
    pub leaving: CancellationToken,
    /// The handler.
    pub handle: Handle,
}

impl Engine {
    /// Records the stage that a chat message has reached; ignores other events.
    fn note(&self, uplink: &Uplink, stage: Stage) {
        if let Some(of) = self.fanout.recorder.is_on().then(|| uplink.origin()).flatten() {
            self.fanout.recorder.note(of, Timestamp::now(), stage);
        }
    }
}

/// The error of work that was given back to its lane.
struct LetGo;

/// The place that an event came from.
#[derive(Clone, Copy)]
struct Source<'a> {
    batch: &'a LaneBatch,
    /// Its index in the batch.
    at: usize,
}

impl<'a> Source<'a> {
    fn envelope(&self) -> &'a LaneEnvelope {
        &self.batch.envelopes[self.at]
    }

    fn key(&self) -> u64 {
        self.envelope().envelope.key
    }

    fn kept(&self) {
        self.batch.kept_one(self.at);
    }
}

/// Events that are tried together, by their index in the piece.
struct Run {
    events: Vec<usize>,
    /// PostgreSQL has ended it once although it had one key only; the second time the key waits apart.
    suspect: bool,
}

impl Run {
    fn of(events: Vec<usize>) -> Self {
        Self { events, suspect: false }
    }

    /// The events of this run: nearly always all of the piece, and then nothing is copied.
    fn of_all<'a>(&self, taken: &'a [LaneEvent]) -> Cow<'a, [LaneEvent]> {
        match (self.events.first(), self.events.last()) {
            (Some(first), Some(last)) if self.events.is_sorted() && last - first + 1 == self.events.len() => {
                Cow::Borrowed(&taken[*first..=*last])
            }
            _ => self.events.iter().map(|at| taken[*at].clone()).collect(),
        }
    }
}

impl Engine {
    /// Works until everything is acknowledged or given back.
    pub async fn carry_out(&self, work: Work<LaneBatch>) {
        let begun = Instant::now();
        let lane = work.lane;
        let events = work.batches.iter().map(|batch| batch.envelopes.len()).sum();
        let mut shift = Shift {
            engine: self,
            lane,
            batches: &work.batches,
            pause: HOLD_MS_MIN,
            held: None,
            in_hand: Vec::new(),
            spans: WorkSpans::default(),
        };
        let outcome = shift.work_off().await;
        std::mem::take(&mut shift.spans).end(lane, events, outcome.is_err().then_some("given_back"));
        match outcome {
            Ok(()) => {
                work.batches.into_iter().for_each(LaneBatch::ack);
                metrics::worked(lane, events, begun.elapsed());
            }
            Err(LetGo) => {
                shift.note_given_back();
                self.apart.forget_order();
                metrics::released(lane, "held", work.batches.len());
                work.batches.into_iter().for_each(LaneBatch::release);
            }
        }
    }
}

/// The state of one piece of work.
struct Shift<'a> {
    engine: &'a Engine,
    lane: Lane,
    batches: &'a [LaneBatch],
    pause: u64,
    /// The peer that was away at the last attempt. None: no peer is away.
    held: Option<Peer>,
    /// The chat messages in this piece, if the recorder is on.
    in_hand: Vec<Origin>,
    spans: WorkSpans,
}

impl<'a> Shift<'a> {
    async fn work_off(&mut self) -> Result<(), LetGo> {
        let (taken, sources) = self.decode().await?;
        spans::within(self.spans.context(), self.handle(taken, sources)).await
    }

    async fn handle(&mut self, mut taken: Vec<LaneEvent>, sources: Vec<Source<'a>>) -> Result<(), LetGo> {
        let mut effects = Vec::with_capacity(taken.len());
        let mut aside = 0;
        let mut searching = false;
        // The run to handle next is the last: halves are pushed right before left.
        let mut runs = self.runs(&taken, &sources).await?;
        aside += taken.len() - runs.iter().map(|run| run.events.len()).sum::<usize>();
        while let Some(run) = runs.pop() {
            let halt = match self.attempt(&run.of_all(&taken)).await {
                Ok(done) => {
                    self.resumed();
                    let through = run.events.iter().map(|at| &sources[*at].envelope().envelope);
                    self.engine.apart.through(self.lane, through, Instant::now());
                    effects.extend(done);
                    if searching {
                        // Other workers need not wait for the end of a search that takes seconds.
                        run.events.iter().for_each(|at| sources[*at].kept());
                        self.told(&std::mem::take(&mut effects)).await?;
                    }
                    continue;
                }
                Err(halt) => halt,
            };
            // It may be partly done: a commit whose answer was lost, or one of two runs.
            run.events.iter().for_each(|at| taken[*at].again = true);
            match halt {
                Halt::Away(peer, err) => {
                    self.hold(peer, &err).await?;
                    runs.push(run);
                }
                Halt::Stuck(cause, err) => {
                    searching = true;
                    self.may_stay()?;
                    debug!(lane = %self.lane, events = run.events.len(), "A statement was ended ({}): {err:#}", cause.name());
                    match halve(&run.events, |at| sources[at].key()) {
                        Some((one, other)) => runs.extend([Run::of(other), Run::of(one)]),
                        // A short stall of the server is not the fault of this key.
                        None if !run.suspect => runs.push(Run { suspect: true, ..run }),
                        None => {
                            let key = sources[run.events[0]].key();
                            self.engine.apart.blame(self.lane, key, cause, Instant::now());
                            aside += run.events.len();
                            for at in run.events {
                                let (source, reason) = (sources[at].envelope(), format!("{err:#}"));
                                self.set_apart(source, cause, &reason, &taken[at].uplink).await?;
                            }
                        }
                    }
                }
                Halt::Fault(err) if run.events.len() == 1 => {
                    aside += 1;
                    let at = run.events[0];
                    let told = self.set_aside(sources[at].envelope(), &err, Some(&taken[at].uplink)).await?;
                    effects.extend(told);
                }
                Halt::Fault(err) => {
                    debug!(lane = %self.lane, events = run.events.len(), "Halving a run that failed: {err:#}");
                    let (one, other) = run.events.split_at(run.events.len() / 2);
                    runs.extend([Run::of(other.to_vec()), Run::of(one.to_vec())]);
                }
            }
        }
        // Before the deliveries, so that the sender gets `messageQueued` before `messageProcessed`.
        self.batches.iter().for_each(LaneBatch::kept);
        self.told(&effects).await?;
        metrics::handled(self.lane, "done", taken.len() - aside);
        metrics::handled(self.lane, "set_aside", aside);
        Ok(())
    }

    /// The order of attempts: first everything together, then, each alone, the keys that were blocked a moment
    /// ago. Events whose key is known to be stuck go up the retry ladder untried.
    async fn runs(&mut self, taken: &[LaneEvent], sources: &[Source<'_>]) -> Result<Vec<Run>, LetGo> {
        if self.engine.apart.is_empty() {
            let all: Vec<_> = (0..taken.len()).collect();
            return Ok((!all.is_empty()).then(|| Run::of(all)).into_iter().collect());
        }
        let mut keys = BTreeMap::<u64, Vec<usize>>::new();
        for (at, source) in sources.iter().enumerate() {
            keys.entry(source.key()).or_default().push(at);
        }
        let (mut together, mut runs) = (Vec::with_capacity(taken.len()), Vec::new());
        for (key, events) in keys {
            let envelopes: Vec<_> = events.iter().map(|at| &sources[*at].envelope().envelope).collect();
            match self.engine.apart.way(self.lane, key, &envelopes, Instant::now()) {
                Company::With => together.extend(events),
                Company::Alone(tried, cause) => {
                    let waits = (0..events.len()).filter(|place| !tried.contains(place));
                    for at in waits.map(|place| events[place]) {
                        let reason = "its conversation waits apart";
                        self.set_apart(sources[at].envelope(), cause, reason, &taken[at].uplink).await?;
                    }
                    let events: Vec<_> = tried.into_iter().map(|place| events[place]).collect();
                    runs.extend((!events.is_empty()).then_some(Run { events, suspect: true }));
                }
            }
        }
        together.sort_unstable();
        // The others first: a suspect may cost a whole statement timeout.
        runs.extend((!together.is_empty()).then_some(Run::of(together)));
        Ok(runs)
    }

    /// The events of all batches, each with its origin. Bodies that are not events are set aside.
    async fn decode(&mut self) -> Result<(Vec<LaneEvent>, Vec<Source<'a>>), LetGo> {
        let batches = self.batches;
        let events = batches.iter().map(|batch| batch.envelopes.len()).sum();
        let (mut taken, mut sources) = (Vec::with_capacity(events), Vec::with_capacity(events));
        let now = Timestamp::now();
        for batch in batches {
            for (at, source) in batch.envelopes.iter().enumerate() {
                match protocol::decode::<Uplink>(&source.envelope.body) {
                    Ok(mut uplink) => {
                        self.spans.take(&mut uplink);
                        let again = batch.redelivered || source.attempt > 0;
                        let origin = self.take(&uplink, now, source.attempt, batch.redelivered);
                        taken.push(LaneEvent { uplink, again, origin });
                        sources.push(Source { batch, at });
                    }
                    Err(err) => {
                        self.set_aside(source, &anyhow::Error::new(err).context("undecodable"), None).await?;
                        metrics::handled(self.lane, "set_aside", 1);
                    }
                }
            }
        }
        Ok((taken, sources))
    }

    fn take(&mut self, uplink: &Uplink, now: Timestamp, failed: u8, again: bool) -> Option<Origin> {
        let recorder = &self.engine.fanout.recorder;
        let of = recorder.is_on().then(|| uplink.origin()).flatten()?;
        recorder.note(of, now, Stage::Taken { attempt: failed.saturating_add(1), again });
        self.in_hand.push(of);
        Some(of)
    }

    fn note_given_back(&self) {
        let (recorder, now) = (&self.engine.fanout.recorder, Timestamp::now());
        for of in &self.in_hand {
            recorder.note(*of, now, Stage::GivenBack);
        }
    }

    /// Handles a run. A panic counts as a fault.
    async fn attempt(&self, run: &[LaneEvent]) -> Result<Vec<Effects>, Halt> {
        let outcome = AssertUnwindSafe((self.engine.handle)(run)).catch_unwind().await;
        outcome.unwrap_or_else(|panic| Err(Halt::Fault(anyhow::anyhow!("a panic: {}", panic_text(&*panic)))))
    }

    /// Publishes all deliveries, and waits until the bus has taken them.
    async fn tell(&mut self, effects: &[Effects]) -> Result<(), LetGo> {
        let (first, rest) = ahead(effects);
        self.publish(first).await?;
        let deliveries = loop {
            match self.engine.fanout.route_notices(&rest).await {
                Ok(deliveries) => break deliveries,
                Err(Halt::Away(peer, err)) => self.hold(peer, &err).await?,
                // Routing only asks the directory, so any fault here counts as its absence.
                Err(Halt::Fault(err) | Halt::Stuck(_, err)) => self.hold(Peer::Directory, &err).await?,
            }
        };
        self.publish(deliveries).await?;
        self.resumed();
        Ok(())
    }

    async fn publish(&mut self, mut deliveries: Vec<Delivery>) -> Result<(), LetGo> {
        loop {
            match self.engine.fanout.publish(deliveries).await {
                Ok(busy) if busy.is_empty() => return Ok(()),
                Ok(busy) => {
                    deliveries = busy;
                    self.hold(Peer::Bus, &anyhow::anyhow!("deliveries were not taken")).await?;
                }
                Err(_closed) => return Err(LetGo),
            }
        }
    }

    /// Sends one envelope up the retry ladder. After the last rung the sender gets a refusal.
    async fn set_aside(
        &mut self,
        source: &LaneEnvelope,
        err: &anyhow::Error,
        uplink: Option<&Uplink>,
    ) -> Result<Option<Effects>, LetGo> {
        let reason = format!("{err:#}");
        // The trace id leads from the trace to the fault, and back.
        let trace = uplink.and_then(|uplink| uplink.context).map(|context| context.trace_id());
        let label = if uplink.is_some() { "fault" } else { "undecodable" };
        loop {
            match self.engine.fanout.bus.retry(self.lane, source.clone(), &reason).await {
                Ok(Fate::Delayed { attempt }) => {
                    if let Some(uplink) = uplink {
                        self.engine.note(uplink, Stage::Delayed { attempt });
                    }
                    warn!(lane = %self.lane, subject = %source.envelope.subject, attempt, trace.id = trace, "Tried again later: {reason}");
                    metrics::set_aside(self.lane, label, "delayed");
                    return Ok(None);
                }
                Ok(Fate::Quarantined) => {
                    if let Some(uplink) = uplink {
                        self.engine.note(uplink, Stage::Quarantined);
                    }
                    error!(lane = %self.lane, subject = %source.envelope.subject, trace.id = trace, "Quarantined: {reason}");
                    metrics::set_aside(self.lane, label, "quarantined");
                    let events = &self.engine.events;
                    return Ok(uplink.map(|uplink| Effects::refused(events, uplink, Reject::Failed)));
                }
                Err(err) => self.hold(Peer::Bus, &err.into()).await?,
            }
        }
    }

    /// Sends one envelope to its rung of the ladder again: never to a higher one, however often.
    async fn set_apart(
        &mut self,
        source: &LaneEnvelope,
        cause: Cause,
        reason: &str,
        uplink: &Uplink,
    ) -> Result<(), LetGo> {
        loop {
            let again = LaneEnvelope { attempt: APART_RUNG, ..source.clone() };
            match self.engine.fanout.bus.retry(self.lane, again, reason).await {
                Ok(_) => {
                    self.engine.apart.sent(self.lane, &source.envelope, Instant::now());
                    self.engine.note(uplink, Stage::Delayed { attempt: APART_RUNG });
                    metrics::set_aside(self.lane, cause.name(), "delayed");
                    return Ok(());
                }
                Err(err) => self.hold(Peer::Bus, &err.into()).await?,
            }
        }
    }

    /// Publishes deliveries, and counts them.
    async fn told(&mut self, effects: &[Effects]) -> Result<(), LetGo> {
        self.tell(effects).await?;
        metrics::told(self.lane, effects.iter().filter_map(|effects| effects.since));
        Ok(())
    }

    /// Waits a little before the next attempt. `Err`: the work must be given back.
    async fn hold(&mut self, peer: Peer, err: &anyhow::Error) -> Result<(), LetGo> {
        metrics::held(self.lane, peer.name());
        if self.held != Some(peer) {
            warn!(lane = %self.lane, peer = peer.name(), "Holding work until the peer is back: {err:#}");
            // The bus reports its own state: whether it is away or only blocks.
            if peer != Peer::Bus {
                self.engine.readiness.set(peer.name(), Err(format!("{err:#}")));
            }
            self.held = Some(peer);
        }
        self.may_stay()?;
        tokio::select! {
            () = sleep(Duration::from_millis(self.pause)) => {}
            () = self.engine.leaving.cancelled() => {}
        }
        self.pause = (self.pause * 2).min(HOLD_MS_MAX);
        self.may_stay()
    }

    fn may_stay(&self) -> Result<(), LetGo> {
        let revoked = self.batches.iter().any(LaneBatch::is_revoked);
        if revoked || self.engine.leaving.is_cancelled() { Err(LetGo) } else { Ok(()) }
    }

    /// Ends the hold: the peer that was away has answered.
    fn resumed(&mut self) {
        if let Some(peer) = self.held.take() {
            if peer != Peer::Bus {
                self.engine.readiness.set(peer.name(), Ok(()));
            }
            self.pause = HOLD_MS_MIN;
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}
