//! Outlets: one window and one pump for each destination.
//!
//! [`Publisher::enqueue`] is a short lock and no task. The pump of an outlet publishes its
//! batches on its own channel and calls receipts in bulk; a sweeper tells callers `busy` in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::metrics::Histogram;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::super::batch::{Outgoing, Window};
use super::super::envelope::Envelope;
use super::super::metrics::{self, Confirms, Publishes};
use super::super::outcome::{Health, PublishError, Receipt};
use super::super::subject::Subject;
use super::super::topology::{Destination, LANES, LaneRow, Names};
use super::connection::{BrokerLink, Live};
use super::headers;
use super::pacing::Pacing;
use crate::limits::{ENVELOPE_BYTES_MAX, PUBLISH_BUSY_MS, PUBLISH_CONFIRM_MS_MAX};
use protocol::ids::NodeId;
use protocol::{Lane, Timestamp, TraceContext};

/// How often overdue receipts are looked for. With [`PUBLISH_BUSY_MS`] it stays under 250 ms.
const SWEEP_MS: u64 = 25;

/// An outlet to a node or a topic that was idle for this long is removed.
const OUTLET_IDLE_MS_MAX: u64 = 60_000;

/// Before a channel that failed, on a connection that did not, is opened again.
const CHANNEL_PAUSE_MS: u64 = 50;

pub(super) struct Publisher {
    link: Arc<BrokerLink>,
    names: Names,
    node: NodeId,
    health: watch::Receiver<Health>,
    /// By lane and shard.
    lanes: Vec<Vec<Arc<Outlet>>>,
    /// Of nodes, control and topics: comes with the first envelope, goes after a while.
    others: RwLock<foldhash::HashMap<Subject, Arc<Outlet>>>,
    /// Takes nothing any more.
    closed: Arc<AtomicBool>,
    tasks: TaskTracker,
}

struct Outlet {
    route: Destination,
    /// Of its lane; None: no limit but the queue's.
    pacing: Option<Arc<Pacing>>,
    state: Mutex<State>,
    notify: Notify,
    ok: Publishes,
    confirms: Confirms,
    batch_envelopes: Histogram,
}

#[derive(Default)]
struct State {
    window: Window,
    /// Taken down: look for its successor.
    retired: bool,
}

/// Why a pump stopped.
enum Stop {
    /// The channel or its connection failed: continue with the next.
    Failed(anyhow::Error),
    /// Idle for long.
    Idle,
}

impl Publisher {
    pub(super) fn new(
        link: Arc<BrokerLink>,
        names: Names,
        node: NodeId,
        health: watch::Receiver<Health>,
        closed: Arc<AtomicBool>,
    ) -> Arc<Self> {
        let outlets = |row: LaneRow| {
            let pacing = row.durable.then(|| Arc::new(Pacing::new()));
            let outlet = |shard| Arc::new(Outlet::new(Destination::Lane(row.lane, shard), pacing.clone()));
            (0..row.shards).map(outlet).collect()
        };
        let lanes = LANES.into_iter().map(outlets).collect();
        let (others, tasks) = (RwLock::default(), TaskTracker::new());
        let publisher = Arc::new(Self { link, names, node, health, lanes, others, closed, tasks });
        for outlet in publisher.lanes.iter().flatten() {
            publisher.tasks.spawn(publisher.clone().pump(outlet.clone()));
        }
        publisher.tasks.spawn(publisher.clone().sweep());
        publisher
    }

    pub(super) fn enqueue(
        self: &Arc<Self>,
        envelope: Envelope,
        context: Option<TraceContext>,
        receipt: Receipt,
    ) {
        let refused = if self.closed.load(Ordering::Acquire) {
            PublishError::Closed
        } else if envelope.encoded_len() > ENVELOPE_BYTES_MAX {
            PublishError::TooLarge
        } else if *self.health.borrow() != Health::Up {
            PublishError::Busy
        } else {
            let route = Destination::of(&envelope);
            match self.push(&route, envelope, context, receipt) {
                Ok(()) => return,
                Err(receipt) => return answer(route.lane(), [receipt], Err(PublishError::Busy)),
            }
        };
        answer(envelope.subject.lane(), [receipt], Err(refused));
    }

    /// Until everything is confirmed.
    pub(super) async fn flushed(&self) {
        while self.outlets().iter().any(|outlet| !outlet.lock().window.is_empty()) {
            sleep(Duration::from_millis(SWEEP_MS / 5)).await;
        }
    }

    /// Envelopes that are here and not confirmed, by lane.
    pub(super) fn in_flight(&self) -> [(Option<Lane>, usize); Lane::ALL.len() + 1] {
        let mut all = [(None, 0); Lane::ALL.len() + 1];
        Lane::ALL.into_iter().for_each(|lane| all[lane as usize].0 = Some(lane));
        for outlet in self.outlets() {
            let at = outlet.route.lane().map_or(Lane::ALL.len(), |lane| lane as usize);
            all[at].1 += outlet.lock().window.envelopes();
        }
        all
    }

    fn push(
        self: &Arc<Self>,
        route: &Destination,
        envelope: Envelope,
        context: Option<TraceContext>,
        receipt: Receipt,
    ) -> Result<(), Receipt> {
        loop {
            let outlet = self.outlet(route);
            let mut state = outlet.lock();
            if !state.retired {
                state.window.push(envelope, context, receipt, Instant::now())?;
                drop(state);
                outlet.notify.notify_one();
                return Ok(());
            }
        }
    }

    fn outlet(self: &Arc<Self>, route: &Destination) -> Arc<Outlet> {
        let subject = match route {
            Destination::Lane(lane, shard) => return self.lanes[*lane as usize][usize::from(*shard)].clone(),
            Destination::Deliver(subject) | Destination::Control(subject) | Destination::Topic(subject) => {
                subject
            }
        };
        let others = self.others.read();
        if let Some(outlet) = others.get(subject) {
            return outlet.clone();
        }
        drop(others);
        let mut others = self.others.write();
        let new = || {
            let outlet = Arc::new(Outlet::new(route.clone(), None));
            self.tasks.spawn(self.clone().pump(outlet.clone()));
            outlet
        };
        others.entry(subject.clone()).or_insert_with(new).clone()
    }

    fn outlets(&self) -> Vec<Arc<Outlet>> {
        let others = self.others.read();
        self.lanes.iter().flatten().chain(others.values()).cloned().collect()
    }

    /// Callers hear `busy` when their envelope has waited long enough, and at once while the
    /// broker is away. A confirm that is far too late ends the connection.
    async fn sweep(self: Arc<Self>) {
        let mut ticks = interval(Duration::from_millis(SWEEP_MS));
        let mut health = self.health.clone();
        // While the broker blocks or is away it owes nothing.
        let mut owes_since = Instant::now();
        loop {
            let closing = tokio::select! {
                () = self.link.closed() => true,
                _ = ticks.tick() => false,
                changed = health.changed() => changed.is_err(),
            };
            let now = Instant::now();
            let up = *health.borrow() == Health::Up && !closing;
            let patience = Duration::from_millis(if up { PUBLISH_BUSY_MS } else { 0 });
            let limit = now.checked_sub(patience).unwrap_or(now);
            let reason = if closing { PublishError::Closed } else { PublishError::Busy };
            let mut oldest = now;
            for outlet in self.outlets() {
                let mut state = outlet.lock();
                oldest = oldest.min(state.window.oldest_sent().unwrap_or(now));
                let overdue = if outlet.route.repeated_by_caller() {
                    state.window.withdraw(limit)
                } else {
                    state.window.overdue(limit)
                };
                drop(state);
                answer(outlet.route.lane(), overdue, Err(reason));
            }
            if closing {
                return;
            }
            if !up {
                owes_since = now;
            }
            if now - oldest.max(owes_since) > Duration::from_millis(PUBLISH_CONFIRM_MS_MAX) {
                warn!("RabbitMQ has not confirmed for too long, connecting again");
                self.link.kill();
                owes_since = now;
            }
        }
    }

    async fn pump(self: Arc<Self>, outlet: Arc<Outlet>) {
        loop {
            let Some(live) = self.link.live().await else { return };
            let stop = self.run(&outlet, &live).await;
            let failure = match stop {
                Stop::Idle => return,
                Stop::Failed(failure) => failure,
            };
            outlet.connection_lost();
            if !live.dead.is_cancelled() {
                warn!(route = ?outlet.route, "Publishing failed, trying again: {failure:#}");
                if outlet.route.lane().is_some() {
                    // The queue of a lane is gone or refuses: it is declared with the connection.
                    live.dead.cancel();
                }
                sleep(Duration::from_millis(CHANNEL_PAUSE_MS)).await;
            }
        }
    }

    /// On one channel, until it fails.
    async fn run(&self, outlet: &Outlet, live: &Live) -> Stop {
        // The channel is opened with the first batch: most outlets of most nodes stay silent.
        while outlet.lock().window.is_empty() {
            tokio::select! {
                () = live.dead.cancelled() => return Stop::Failed(anyhow::anyhow!("the connection was lost")),
                () = outlet.notify.notified() => {}
                () = sleep(Duration::from_millis(OUTLET_IDLE_MS_MAX)) => {
                    if self.retire(outlet) {
                        return Stop::Idle;
                    }
                }
            }
        }
        match self.publish(outlet, live).await {
            Ok(()) => Stop::Idle,
            Err(failure) => Stop::Failed(failure),
        }
    }

    async fn publish(&self, outlet: &Outlet, live: &Live) -> anyhow::Result<()> {
        let channel = live.channel().await?;
        if outlet.route.confirmed() {
            live.answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        }
        let address = Address::of(&outlet.route, &self.names);
        let mut confirms = FuturesUnordered::new();
        loop {
            while outlet.has_next() {
                // Whoever waited longest is next, so that no shard starves.
                let place = tokio::select! {
                    place = outlet.place() => place,
                    () = live.dead.cancelled() => anyhow::bail!("the connection was lost"),
                };
                let Some(outgoing) = outlet.next() else { break };
                let sent = Instant::now();
                let publish = self.send(&channel, &address, outlet, &outgoing);
                let confirm = tokio::select! {
                    // A blocked connection takes nothing: no deadline here, the sweeper has it.
                    confirm = publish => confirm?,
                    () = live.dead.cancelled() => anyhow::bail!("the connection was lost"),
                };
                if outlet.route.confirmed() {
                    confirms.push(confirm.map(move |outcome| {
                        drop(place);
                        (outgoing.serial, sent, outcome)
                    }));
                    // Confirms that came meanwhile make room for the next batch.
                    while let Some(Some(confirmed)) = confirms.next().now_or_never() {
                        outlet.confirmed(confirmed)?;
                    }
                } else {
                    confirm.await?;
                    outlet.settle(outgoing.serial, Ok(()));
                }
            }
            tokio::select! {
                Some(confirmed) = confirms.next(), if !confirms.is_empty() => outlet.confirmed(confirmed)?,
                () = outlet.notify.notified() => {}
                () = live.dead.cancelled() => anyhow::bail!("the connection was lost"),
                () = sleep(Duration::from_millis(OUTLET_IDLE_MS_MAX)), if confirms.is_empty() => {
                    if self.retire(outlet) {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn send(
        &self,
        channel: &Channel,
        address: &Address,
        outlet: &Outlet,
        outgoing: &Outgoing,
    ) -> Result<PublisherConfirm, lapin::Error> {
        outlet.batch_envelopes.record(outgoing.envelopes as f64);
        let id = format!("{}.{}", self.node, outgoing.serial);
        let mut properties = address.properties.clone().with_message_id(id.into());
        if outlet.route.lane().is_some() {
            let age = i64::try_from(outgoing.since.elapsed().as_millis()).unwrap_or_default();
            properties = headers::published(properties, Timestamp(Timestamp::now().0 - age));
        }
        if let Some(context) = &outgoing.context {
            properties = headers::in_trace(properties, context);
        }
        let options = BasicPublishOptions { mandatory: address.mandatory, ..Default::default() };
        let (exchange, key) = (address.exchange.as_str().into(), address.key.as_str().into());
        channel.basic_publish(exchange, key, options, &outgoing.bytes, properties).await
    }

    /// Takes an outlet down, unless something came.
    fn retire(&self, outlet: &Outlet) -> bool {
        let (Destination::Deliver(subject) | Destination::Control(subject) | Destination::Topic(subject)) =
            &outlet.route
        else {
            return false;
        };
        let mut others = self.others.write();
        let mut state = outlet.lock();
        if !state.window.is_empty() {
            return false;
        }
        state.retired = true;
        others.remove(subject);
        true
    }

    /// Waits for the pumps, after the link was closed.
    pub(super) async fn stopped(&self) {
        self.tasks.close();
        let patience = Duration::from_millis(PUBLISH_BUSY_MS);
        // A pump that hangs in the client library ends with the runtime.
        let _ = timeout(patience, self.tasks.wait()).await;
    }
}

/// The exchange, the routing key and the mode of an outlet.
struct Address {
    exchange: String,
    key: String,
    mandatory: bool,
    properties: BasicProperties,
}

impl Address {
    fn of(route: &Destination, names: &Names) -> Self {
        let properties = BasicProperties::default().with_delivery_mode(if route.durable() { 2 } else { 1 });
        let (exchange, key, mandatory) = match route {
            Destination::Lane(lane, shard) => (String::new(), names.lane(*lane, *shard), true),
            Destination::Deliver(subject) => (String::new(), names.deliver(subject.as_str()), true),
            Destination::Control(subject) => (names.topic_exchange(), subject.to_string(), false),
            Destination::Topic(subject) => (names.topic_exchange(), subject.to_string(), true),
        };
        let properties = match route.lane() {
            Some(lane) => properties.with_priority(LaneRow::of(lane).priority),
            None => properties,
        };
        Self { exchange, key, mandatory: mandatory && route.confirmed(), properties }
    }
}

impl Outlet {
    fn new(route: Destination, pacing: Option<Arc<Pacing>>) -> Self {
        Self {
            ok: metrics::publishes(route.lane(), Ok(())),
            route,
            pacing,
            state: Mutex::default(),
            notify: Notify::new(),
            confirms: Confirms::new(),
            batch_envelopes: metrics::batch_envelopes(),
        }
    }

    fn has_next(&self) -> bool {
        self.lock().window.has_next(self.route.unconfirmed_max())
    }

    /// A place for one more unconfirmed batch; None where only the queue limits them.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let pacing = self.pacing.clone()?;
        let envelopes = self.lock().window.next_len();
        pacing.take(envelopes).await
    }

    fn next(&self) -> Option<Outgoing> {
        self.lock().window.next(self.route.unconfirmed_max(), Instant::now())
    }

    fn confirmed(
        &self,
        (serial, sent, outcome): (u64, Instant, Result<Confirmation, lapin::Error>),
    ) -> anyhow::Result<()> {
        match outcome? {
            Confirmation::Ack(None) => {
                self.confirms.record(sent.elapsed());
                self.settle(serial, Ok(()));
                Ok(())
            }
            Confirmation::Ack(Some(_)) => {
                metrics::returned().increment(1);
                if matches!(self.route, Destination::Lane(..)) {
                    anyhow::bail!("the queue is gone");
                }
                self.settle(serial, Err(PublishError::NoRoute));
                Ok(())
            }
            Confirmation::Nack(_) => anyhow::bail!("the broker refused a batch"),
            Confirmation::NotRequested => anyhow::bail!("the channel does not confirm"),
        }
    }

    fn connection_lost(&self) {
        let mut state = self.lock();
        if self.route.repeated_by_caller() {
            let lost = state.window.clear();
            drop(state);
            answer(self.route.lane(), lost, Err(PublishError::Busy));
        } else {
            state.window.rewind();
        }
    }

    fn settle(&self, serial: u64, outcome: Result<(), PublishError>) {
        let receipts = self.lock().window.settle(serial);
        match outcome {
            Ok(()) => {
                self.ok.increment(receipts.len() as u64);
                receipts.into_iter().for_each(|receipt| receipt(Ok(())));
            }
            Err(_) => answer(self.route.lane(), receipts, outcome),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

fn answer(
    lane: Option<Lane>,
    receipts: impl IntoIterator<Item = Receipt>,
    outcome: Result<(), PublishError>,
) {
    let mut count = 0;
    for receipt in receipts {
        receipt(outcome);
        count += 1;
    }
    if count > 0 {
        metrics::publishes(lane, outcome).increment(count);
    }
}
