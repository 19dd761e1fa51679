//! Envelopes that move one at a time: up the retry ladder, into quarantine and out of it.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use tracing::{error, warn};

use super::super::arrival::LaneEnvelope;
use super::super::envelope::Envelope;
use super::super::inspect::{Quarantined, Replayed, Which, chosen};
use super::super::metrics;
use super::super::outcome::{BusError, Fate, Health, PublishError};
use super::super::subject::Subject;
use super::super::topology::{LaneRow, Names};
use super::connection::{BrokerLink, Live};
use crate::limits::{PUBLISH_CONFIRM_MS_MAX, RETRY_LADDER_MS};
use protocol::{Lane, Timestamp};

const ATTEMPT: &str = "x-chatchit-attempt";
const LANE: &str = "x-chatchit-lane";
const REASON: &str = "x-chatchit-reason";
const AT: &str = "x-chatchit-at";

/// Bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 1_000;

pub(super) struct Quarantine {
    link: std::sync::Arc<BrokerLink>,
    names: Names,
    health: watch::Receiver<Health>,
    /// One publish at a time: so a returned or refused one is known for sure.
    channel: Mutex<Option<(Live, Channel)>>,
}

impl Quarantine {
    pub(super) fn new(
        link: std::sync::Arc<BrokerLink>,
        names: Names,
        health: watch::Receiver<Health>,
    ) -> Self {
        Self { link, names, health, channel: Mutex::default() }
    }

    pub(super) async fn retry(
        &self,
        lane: Lane,
        failed: LaneEnvelope,
        reason: &str,
    ) -> Result<Fate, PublishError> {
        let LaneEnvelope { envelope, attempt } = failed;
        let attempts = attempt.saturating_add(1);
        let rung = usize::from(attempt);
        let bytes = Envelope::encode_batch([&envelope].into_iter());
        let headers = headers(lane, attempts, reason);
        if rung >= RETRY_LADDER_MS.len() {
            self.publish("", &self.names.quarantine(), bytes, headers).await?;
            metrics::quarantined("attempts");
            return Ok(Fate::Quarantined);
        }
        let queue = self.names.lane(lane, LaneRow::of(lane).shard(envelope.key));
        self.publish(&self.names.rung(rung), &queue, bytes, headers).await?;
        metrics::retries(lane).increment(1);
        Ok(Fate::Delayed { attempt: attempts })
    }

    /// Sets a damaged body aside unchanged.
    pub(super) async fn damaged(&self, lane: Lane, bytes: Bytes) -> Result<(), PublishError> {
        error!(lane = lane.name(), bytes = bytes.len(), "A damaged batch is set aside");
        let headers = headers(lane, 0, "damaged");
        self.publish("", &self.names.quarantine(), bytes, headers).await?;
        metrics::quarantined("damaged");
        Ok(())
    }

    async fn publish(
        &self,
        exchange: &str,
        key: &str,
        bytes: Bytes,
        headers: FieldTable,
    ) -> Result<(), PublishError> {
        if *self.health.borrow() != Health::Up {
            return Err(PublishError::Busy);
        }
        let publish = self.publish_one(exchange, key, &bytes, headers);
        match timeout(Duration::from_millis(PUBLISH_CONFIRM_MS_MAX), publish).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failure)) => {
                warn!(exchange, key, "An envelope could not be set aside: {failure:#}");
                Err(PublishError::Busy)
            }
            Err(_) => {
                self.link.kill();
                Err(PublishError::Busy)
            }
        }
    }

    async fn publish_one(
        &self,
        exchange: &str,
        key: &str,
        bytes: &[u8],
        headers: FieldTable,
    ) -> anyhow::Result<()> {
        let mut slot = self.channel.lock().await;
        // Taken out, so that a caller that stops waiting leaves no half-used channel behind.
        let (live, channel) = match slot.take().filter(|(live, _)| !live.dead.is_cancelled()) {
            Some(open) => open,
            None => {
                let live = self.link.live().await.context("the bus closes")?;
                let channel = live.channel().await?;
                live.answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
                (live, channel)
            }
        };
        put(&live, &channel, (exchange, key), bytes, headers).await?;
        *slot = Some((live, channel));
        Ok(())
    }

    /// Looks at what was set aside. It goes back when the channel closes.
    pub(super) async fn quarantined(&self, limit: usize) -> anyhow::Result<Vec<Quarantined>> {
        let live = self.link.live().await.context("the bus closes")?;
        let channel = live.channel().await?;
        let mut aside = Vec::new();
        let queue = self.names.quarantine();
        while aside.len() < limit {
            let get = channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: false });
            let Some(got) = live.answer(get).await? else { break };
            aside.extend(view(&got.delivery));
        }
        live.answer(channel.close(200, "looked".into())).await?;
        Ok(aside)
    }

    /// Gives back to the lanes. What is not wanted goes back when the channel closes.
    pub(super) async fn replay(&self, which: Which) -> Replayed {
        let mut replayed = Replayed::default();
        let outcome = self.replay_into(which, &mut replayed).await;
        replayed.failed = outcome.err().map(BusError);
        replayed
    }

    async fn replay_into(&self, which: Which, replayed: &mut Replayed) -> anyhow::Result<()> {
        let live = self.link.live().await.context("the bus closes")?;
        let channel = live.channel().await?;
        live.answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let queue = self.names.quarantine();
        let (mut place, mut last) = (0, None);
        // Whatever fails again meanwhile stands behind what was there at the beginning.
        while last.is_none_or(|last| place < last) {
            let get = channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: false });
            let Some(got) = live.answer(get).await? else { break };
            place += 1;
            if last.is_none() {
                last = Some(match which {
                    Which::Nth(nth) => nth,
                    Which::All => got.message_count as usize + 1,
                });
            }
            if !chosen(which, place) {
                continue;
            }
            let Some(quarantined) = view(&got.delivery) else { continue };
            let Some(lane) = quarantined.envelope.subject.lane() else {
                replayed.kept.push(quarantined);
                continue;
            };
            let key = self.names.lane(lane, LaneRow::of(lane).shard(quarantined.envelope.key));
            let bytes = Envelope::encode_batch([&quarantined.envelope].into_iter());
            put(&live, &channel, ("", &key), &bytes, headers(lane, 0, "replayed")).await?;
            // Only now: the broker has confirmed it on its lane.
            let ack = channel.basic_ack(got.delivery.delivery_tag, BasicAckOptions::default());
            live.answer(ack).await?;
            replayed.done.push(quarantined);
        }
        live.answer(channel.close(200, "replayed".into())).await
    }
}

/// Publishes one message that stays, and waits until the broker has confirmed it.
async fn put(
    live: &Live,
    channel: &Channel,
    (exchange, key): (&str, &str),
    bytes: &[u8],
    headers: FieldTable,
) -> anyhow::Result<()> {
    let properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let publish =
        async { channel.basic_publish(exchange.into(), key.into(), options, bytes, properties).await?.await };
    match live.answer(publish).await? {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) => {
            // The topology is not what it should be: it is declared with the connection.
            live.dead.cancel();
            anyhow::bail!("no queue took it")
        }
        _ => anyhow::bail!("the broker refused it"),
    }
}

/// The number of earlier attempts, from a lane message's header.
pub(super) fn attempt(properties: &BasicProperties) -> u8 {
    read(properties).1
}

fn headers(lane: Lane, attempts: u8, reason: &str) -> FieldTable {
    let end = (0..=REASON_BYTES_MAX.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
    let reason = &reason[..end.unwrap_or(0)];
    let mut headers = FieldTable::default();
    headers.insert(LANE.into(), AMQPValue::LongString(lane.name().into()));
    headers.insert(ATTEMPT.into(), AMQPValue::LongLongInt(attempts.into()));
    headers.insert(REASON.into(), AMQPValue::LongString(reason.into()));
    headers.insert(AT.into(), AMQPValue::LongLongInt(Timestamp::now().0));
    headers
}

/// One message of the quarantine is one envelope, unless its bytes are damaged: then it is shown as
/// an envelope on the subject `damaged`, with the bytes as they are.
fn view(delivery: &Delivery) -> Option<Quarantined> {
    let (lane, attempts, reason, set_aside) = read(&delivery.properties);
    let envelopes = Envelope::decode_batch(delivery.data.clone().into());
    let envelope = envelopes.ok().and_then(|envelopes| <[Envelope; 1]>::try_from(envelopes).ok());
    let envelope = match envelope {
        Some([envelope]) => envelope,
        None => {
            let subject = Subject::new("damaged").ok()?;
            Envelope { subject, key: 0, body: delivery.data.clone().into() }
        }
    };
    Some(Quarantined { lane: lane.unwrap_or(Lane::High), envelope, attempts, reason, set_aside })
}

fn read(properties: &BasicProperties) -> (Option<Lane>, u8, String, Option<Timestamp>) {
    let headers = properties.headers().as_ref().map(FieldTable::inner);
    let value = |name: &str| headers.and_then(|headers| headers.get(name));
    let text = |name: &str| match value(name) {
        Some(AMQPValue::LongString(text)) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        _ => String::new(),
    };
    let attempts = match value(ATTEMPT) {
        Some(AMQPValue::LongLongInt(attempts)) => u8::try_from(*attempts).unwrap_or(u8::MAX),
        _ => 0,
    };
    let at = match value(AT) {
        Some(AMQPValue::LongLongInt(at)) => Some(Timestamp(*at)),
        _ => None,
    };
    let lane = text(LANE);
    (Lane::ALL.into_iter().find(|known| known.name() == lane), attempts, text(REASON), at)
}
