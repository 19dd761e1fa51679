//! Requests and their answers: one inbox queue per node, and the callers that wait for each answer.
//!
//! A request is mandatory and confirmed: what no group takes comes back within milliseconds. A
//! returned request is known by its own id, never by the confirm that carries it: when several
//! are confirmed at once the client library may mix them up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::super::envelope::Envelope;
use super::super::metrics;
use super::super::outcome::RequestError;
use super::super::subject::Subject;
use super::super::topology::Names;
use super::connection::{BrokerLink, Live};
use super::declare;
use crate::limits::{ENVELOPE_BYTES_MAX, REQUESTS_IN_FLIGHT_MAX};
use protocol::ids::NodeId;

/// Before a channel that failed, on a connection that did not, is opened again.
const CHANNEL_PAUSE_MS: u64 = 50;

type Answer = Result<Bytes, RequestError>;

pub(super) struct Requests {
    names: Names,
    inbox: String,
    waiting: Mutex<foldhash::HashMap<u64, oneshot::Sender<Answer>>>,
    next: AtomicU64,
    /// The inbox can be answered to.
    ready: AtomicBool,
    outgoing: mpsc::Sender<Leaving>,
}

/// A request or an answer on its way out.
enum Leaving {
    Ask { id: u64, subject: Subject, bytes: Bytes, deadline: Duration },
    Answer { to: String, id: String, body: Bytes },
}

/// Forgets a request when its asker stops waiting, however it does.
struct Waiting<'a>(&'a Requests, u64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

impl Requests {
    /// Answers arrive over `node`, everything leaves over `publishing`.
    pub(super) fn start(
        names: Names,
        id: NodeId,
        publishing: Arc<BrokerLink>,
        node: Arc<BrokerLink>,
    ) -> Arc<Self> {
        let (outgoing, queue) = mpsc::channel(REQUESTS_IN_FLIGHT_MAX);
        let requests = Arc::new(Self {
            inbox: names.inbox(id),
            names,
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            outgoing,
        });
        tokio::spawn(requests.clone().send(publishing, queue));
        tokio::spawn(requests.clone().receive(node));
        requests
    }

    pub(super) async fn request(&self, subject: Subject, body: Bytes, deadline: Duration) -> Answer {
        let envelope = Envelope { subject: subject.clone(), key: 0, body };
        if envelope.encoded_len() > ENVELOPE_BYTES_MAX {
            return Err(RequestError::TooLarge);
        }
        if !self.ready.load(Ordering::Acquire) {
            return Err(RequestError::Busy);
        }
        let bytes = Envelope::encode_batch([&envelope].into_iter());
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if waiting.len() >= REQUESTS_IN_FLIGHT_MAX {
                return Err(RequestError::Busy);
            }
            waiting.insert(id, sender);
        }
        let _waiting = Waiting(self, id);
        let ask = Leaving::Ask { id, subject, bytes, deadline };
        self.outgoing.try_send(ask).map_err(|_| RequestError::Busy)?;
        match timeout(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            // The connection was lost on the way.
            Ok(Err(_)) => Err(RequestError::Busy),
            Err(_) => Err(RequestError::Timeout),
        }
    }

    /// Sends an answer. If that fails, the asker's deadline ends its wait.
    pub(super) fn answer(&self, to: String, id: String, body: Bytes) {
        if self.outgoing.try_send(Leaving::Answer { to, id, body }).is_err() {
            metrics::shed("full").increment(1);
        }
    }

    fn resolve(&self, id: &str, answer: Answer) {
        let waiting = id.parse().ok().and_then(|id: u64| self.lock().remove(&id));
        if let Some(waiting) = waiting {
            // It may have stopped waiting just now.
            let _ = waiting.send(answer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, foldhash::HashMap<u64, oneshot::Sender<Answer>>> {
        self.waiting.lock()
    }

    async fn send(self: Arc<Self>, link: Arc<BrokerLink>, mut queue: mpsc::Receiver<Leaving>) {
        while let Some(live) = link.live().await {
            if let Err(failure) = self.send_on(&live, &mut queue).await
                && !live.dead.is_cancelled()
            {
                warn!("Requests failed, trying again: {failure:#}");
                sleep(Duration::from_millis(CHANNEL_PAUSE_MS)).await;
            }
        }
    }

    async fn send_on(&self, live: &Live, queue: &mut mpsc::Receiver<Leaving>) -> anyhow::Result<()> {
        let (asks, answers) = (live.channel().await?, live.channel().await?);
        live.answer(asks.confirm_select(ConfirmSelectOptions::default())).await?;
        let mut confirms = FuturesUnordered::new();
        loop {
            let outgoing = tokio::select! {
                () = live.dead.cancelled() => anyhow::bail!("the connection was lost"),
                Some(outcome) = confirms.next(), if !confirms.is_empty() => {
                    self.confirmed(outcome)?;
                    continue;
                }
                outgoing = queue.recv() => outgoing,
            };
            let transient = BasicProperties::default().with_delivery_mode(1);
            let publish = async {
                match outgoing {
                    None => Ok(()),
                    Some(Leaving::Ask { id, subject, bytes, deadline }) => {
                        let properties = transient
                            .with_correlation_id(id.to_string().into())
                            .with_reply_to(self.inbox.as_str().into())
                            .with_expiration(deadline.as_millis().to_string().into());
                        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
                        let exchange = self.names.ask_exchange().into();
                        let key = subject.as_str().into();
                        let confirm = asks.basic_publish(exchange, key, options, &bytes, properties).await?;
                        confirms.push(confirm);
                        Ok(())
                    }
                    Some(Leaving::Answer { to, id, body }) => {
                        let properties = transient.with_correlation_id(id.into());
                        let options = BasicPublishOptions::default();
                        answers
                            .basic_publish("".into(), to.into(), options, &body, properties)
                            .await?
                            .await?;
                        Ok::<_, lapin::Error>(())
                    }
                }
            };
            tokio::select! {
                () = live.dead.cancelled() => anyhow::bail!("the connection was lost"),
                outcome = publish => outcome?,
            }
        }
    }

    fn confirmed(&self, outcome: Result<Confirmation, lapin::Error>) -> anyhow::Result<()> {
        if let Some(returned) = outcome?.take_message() {
            metrics::returned().increment(1);
            if let Some(id) = returned.delivery.properties.correlation_id() {
                self.resolve(id.as_str(), Err(RequestError::NoResponders));
            }
        }
        Ok(())
    }

    async fn receive(self: Arc<Self>, link: Arc<BrokerLink>) {
        while let Some(live) = link.live().await {
            let run = live.on_channel(async |channel| self.receive_on(&live, channel).await);
            let failure = run.await;
            self.ready.store(false, Ordering::Release);
            // Their answers cannot arrive: the queue is gone.
            self.lock().clear();
            if let Err(failure) = failure
                && !live.dead.is_cancelled()
            {
                warn!("The inbox failed, trying again: {failure:#}");
                sleep(Duration::from_millis(CHANNEL_PAUSE_MS)).await;
            }
        }
    }

    async fn receive_on(&self, live: &Live, channel: &Channel) -> anyhow::Result<()> {
        live.answer(declare::of_node(channel, &self.inbox, None)).await?;
        // Answers are as many as requests in flight, which are bounded: no acknowledgements.
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..Default::default() };
        let consume =
            channel.basic_consume(self.inbox.as_str().into(), "".into(), options, FieldTable::default());
        let mut consumer = live.answer(consume).await?;
        self.ready.store(true, Ordering::Release);
        loop {
            let delivery = tokio::select! {
                () = live.dead.cancelled() => anyhow::bail!("the connection was lost"),
                delivery = consumer.next() => delivery,
            };
            let Some(delivery) = delivery else { anyhow::bail!("the inbox was cancelled") };
            let delivery = delivery?;
            if let Some(id) = delivery.properties.correlation_id() {
                self.resolve(id.as_str(), Ok(delivery.data.into()));
            }
        }
    }

    /// Until answers can arrive.
    pub(super) async fn ready(&self) {
        while !self.ready.load(Ordering::Acquire) {
            sleep(Duration::from_millis(1)).await;
        }
    }
}
