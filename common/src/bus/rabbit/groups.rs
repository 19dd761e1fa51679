//! Members of queue groups: what they are handed, and what becomes of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use super::super::config::QueueKind;
use super::super::envelope::Envelope;
use super::super::ledger::Ledger;
use super::super::metrics;
use super::super::subject::Pattern;
use super::super::topology::Names;
use super::acknowledge::say;
use super::connection::{BrokerLink, Live};
use super::declare;
use super::quarantine::Quarantine;
use super::requests::Requests;
use crate::limits::{BUS_DRAIN_MS_MAX, GROUP_PREFETCH};
use protocol::Lane;

/// Before a channel that failed, on a connection that did not, is opened again; doubles up to the last, unless it
/// had lasted longer than that.
const CHANNEL_PAUSE_MS: u64 = 50;
const CHANNEL_PAUSE_MS_MAX: u64 = 800;

/// An envelope, and what it takes to finish it.
type GroupHandout = (Envelope, RabbitGroupTicket);

pub(in super::super) struct RabbitMember {
    deliveries: mpsc::Receiver<GroupHandout>,
    _gone: DropGuard,
}

impl RabbitMember {
    pub(in super::super) async fn next(&mut self) -> Option<GroupHandout> {
        self.deliveries.recv().await
    }
}

/// The deliveries of one channel.
#[derive(Default)]
struct Inflight {
    ledger: Mutex<Ledger>,
    notify: Notify,
}

impl Inflight {
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }
}

/// One AMQP message; finished when each of its envelopes is.
struct Received {
    inflight: Arc<Inflight>,
    tag: u64,
    left: AtomicUsize,
    failed: AtomicBool,
}

/// What a delivery needs to be acknowledged, answered or given back.
pub(in super::super) struct RabbitGroupTicket {
    received: Arc<Received>,
    requests: Arc<Requests>,
    /// Queue and id of the caller that waits for an answer.
    reply: Option<(String, String)>,
    done: bool,
}

impl RabbitGroupTicket {
    pub(in super::super) fn wants_reply(&self) -> bool {
        self.reply.is_some()
    }

    pub(in super::super) fn finish(mut self, answer: Option<Bytes>) {
        if let (Some((to, id)), Some(answer)) = (self.reply.take(), answer) {
            self.requests.answer(to, id, answer);
        }
        self.done = true;
    }
}

impl Drop for RabbitGroupTicket {
    fn drop(&mut self) {
        let received = &self.received;
        received.failed.fetch_or(!self.done, Ordering::AcqRel);
        if received.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut ledger = received.inflight.lock();
            if received.failed.load(Ordering::Acquire) {
                ledger.returned(received.tag, true);
            } else {
                ledger.done(received.tag);
            }
            drop(ledger);
            received.inflight.notify.notify_one();
        }
    }
}

/// The task of one member.
pub(super) struct Membership {
    pub link: Arc<BrokerLink>,
    pub names: Names,
    pub queues: QueueKind,
    pub group: String,
    pub pattern: Pattern,
    pub requests: Arc<Requests>,
    pub quarantine: Arc<Quarantine>,
    /// The bus drains.
    pub ending: CancellationToken,
}

impl Membership {
    /// The member, and what has to run for it; `ready` hears of the first success.
    pub(super) fn start(self, ready: oneshot::Sender<()>) -> (RabbitMember, impl Future<Output = ()>) {
        let (sender, deliveries) = mpsc::channel(GROUP_PREFETCH.into());
        let gone = CancellationToken::new();
        let run = self.run(sender, gone.clone(), ready);
        (RabbitMember { deliveries, _gone: gone.drop_guard() }, run)
    }

    async fn run(
        self,
        sender: mpsc::Sender<GroupHandout>,
        gone: CancellationToken,
        ready: oneshot::Sender<()>,
    ) {
        let (mut ready, mut pause) = (Some(ready), CHANNEL_PAUSE_MS);
        while let Some(live) = self.link.live().await {
            let begun = Instant::now();
            let run = live
                .on_channel(async |channel| self.run_on(&live, channel, &sender, &gone, &mut ready).await);
            match run.await {
                Ok(()) => return,
                Err(_) if live.dead.is_cancelled() => {}
                Err(failure) => {
                    warn!(group = self.group, "A group subscription failed, trying again: {failure:#}");
                    if begun.elapsed() > Duration::from_millis(CHANNEL_PAUSE_MS_MAX) {
                        pause = CHANNEL_PAUSE_MS;
                    }
                    sleep(Duration::from_millis(pause)).await;
                    pause = (pause * 2).min(CHANNEL_PAUSE_MS_MAX);
                }
            }
        }
    }

    async fn run_on(
        &self,
        live: &Live,
        channel: &Channel,
        sender: &mpsc::Sender<GroupHandout>,
        gone: &CancellationToken,
        ready: &mut Option<oneshot::Sender<()>>,
    ) -> anyhow::Result<()> {
        live.answer(declare::group(channel, &self.names, &self.group, &self.pattern, self.queues)).await?;
        live.answer(channel.basic_qos(GROUP_PREFETCH, BasicQosOptions::default())).await?;
        let envelopes = consume(live, channel, &self.names.group(&self.group)).await?;
        let asks = consume(live, channel, &self.names.ask_group(&self.group)).await?;
        let tags = [envelopes.tag(), asks.tag()];
        // The end of either consumer is the end: merged streams would go on with the other one.
        let mut arrivals = stream::select(with_end(envelopes), with_end(asks));
        if let Some(ready) = ready.take() {
            // Nobody waits for it any more when the subscriber gave up.
            let _ = ready.send(());
        }
        let inflight = Arc::new(Inflight::default());
        let mut backlog = VecDeque::new();
        loop {
            tokio::select! {
                () = live.dead.cancelled() => anyhow::bail!("the connection was lost"),
                () = self.ending.cancelled() => break,
                () = gone.cancelled() => break,
                arrival = arrivals.next() => {
                    let Some(delivery) = arrival.flatten() else { anyhow::bail!("the group was cancelled") };
                    self.take(delivery?, &inflight, &mut backlog).await?;
                }
                permit = sender.reserve(), if !backlog.is_empty() => {
                    // Err: the member is gone, which the branch above says too.
                    if let (Ok(permit), Some(delivery)) = (permit, backlog.pop_front()) {
                        permit.send(delivery);
                    }
                }
                () = inflight.notify.notified() => {}
            }
            let words = inflight.lock().words();
            say(live, channel, words).await?;
        }
        for tag in tags {
            live.answer(channel.basic_cancel(tag, BasicCancelOptions::default())).await?;
        }
        drop(backlog);
        while let Some(Some(Some(Ok(_)))) = arrivals.next().now_or_never() {}
        let settle = async {
            loop {
                let words = inflight.lock().words();
                say(live, channel, words).await?;
                if inflight.lock().is_settled() {
                    return anyhow::Ok(());
                }
                inflight.notify.notified().await;
            }
        };
        // What is out for longer comes again elsewhere.
        if let Ok(settled) = timeout(Duration::from_millis(BUS_DRAIN_MS_MAX), settle).await {
            settled?;
        }
        live.answer(channel.close(200, "unsubscribed".into())).await
    }

    async fn take(
        &self,
        delivery: Delivery,
        inflight: &Arc<Inflight>,
        backlog: &mut VecDeque<GroupHandout>,
    ) -> anyhow::Result<()> {
        let tag = delivery.delivery_tag;
        let text = |text: &Option<lapin::types::ShortString>| text.as_ref().map(ToString::to_string);
        let reply = text(delivery.properties.reply_to()).zip(text(delivery.properties.correlation_id()));
        let bytes = Bytes::from(delivery.data);
        let envelopes = Envelope::decode_batch(bytes.clone()).unwrap_or_default();
        if envelopes.is_empty() {
            // Who asked learns it from its deadline; what was only sent must not be lost.
            metrics::shed("damaged").increment(1);
            if reply.is_none() {
                self.quarantine.damaged(Lane::High, bytes).await?;
            }
            let mut ledger = inflight.lock();
            ledger.arrived(tag, None);
            ledger.done(tag);
            return Ok(());
        }
        let mut ledger = inflight.lock();
        ledger.arrived(tag, None);
        ledger.handed_out(tag);
        drop(ledger);
        let left = AtomicUsize::new(envelopes.len());
        let received =
            Arc::new(Received { inflight: inflight.clone(), tag, left, failed: AtomicBool::new(false) });
        backlog.extend(envelopes.into_iter().map(|envelope| {
            let (received, requests) = (received.clone(), self.requests.clone());
            let ticket = RabbitGroupTicket { received, requests, reply: reply.clone(), done: false };
            (envelope, ticket)
        }));
        Ok(())
    }
}

/// Ends with a word of it.
fn with_end(consumer: Consumer) -> impl Stream<Item = Option<Result<Delivery, lapin::Error>>> + Unpin {
    consumer.map(Some).chain(stream::iter([None]))
}

async fn consume(live: &Live, channel: &Channel, queue: &str) -> anyhow::Result<Consumer> {
    let options = BasicConsumeOptions::default();
    live.answer(channel.basic_consume(queue.into(), "".into(), options, FieldTable::default())).await
}
