//! What goes one at a time: envelopes up the retry ladder, and into quarantine and out of it.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use tracing::{error, warn};

use super::super::topology::{LaneRow, Names};
use super::super::{Envelope, Fate, Health, LaneEnvelope, PublishError, Quarantined, metrics};
use super::connection::{Link, Live};
use crate::limits::{PUBLISH_CONFIRM_MS_MAX, RETRY_LADDER_MS};
use crate::protocol::Lane;

const ATTEMPT: &str = "x-chatchit-attempt";
const LANE: &str = "x-chatchit-lane";
const REASON: &str = "x-chatchit-reason";

/// Bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 1_000;

pub(super) struct Aside {
    link: std::sync::Arc<Link>,
    names: Names,
    health: watch::Receiver<Health>,
    /// One publish at a time: so a returned or refused one is known for sure.
    channel: Mutex<Option<(Live, Channel)>>,
}

impl Aside {
    pub(super) fn new(link: std::sync::Arc<Link>, names: Names, health: watch::Receiver<Health>) -> Self {
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
            metrics::quarantined("attempts").increment(1);
            return Ok(Fate::Quarantined);
        }
        let queue = self.names.lane(lane, LaneRow::of(lane).shard(envelope.key));
        self.publish(&self.names.rung(rung), &queue, bytes, headers).await?;
        metrics::retries(lane).increment(1);
        Ok(Fate::Delayed { attempt: attempts })
    }

    /// Sets a damaged body aside, as it came.
    pub(super) async fn damaged(&self, lane: Lane, bytes: Bytes) -> Result<(), PublishError> {
        error!(lane = lane.name(), bytes = bytes.len(), "A damaged batch is set aside");
        let headers = headers(lane, 0, "damaged");
        self.publish("", &self.names.quarantine(), bytes, headers).await?;
        metrics::quarantined("damaged").increment(1);
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
        let properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let publish = async {
            channel.basic_publish(exchange.into(), key.into(), options, bytes, properties).await?.await
        };
        match live.answer(publish).await? {
            Confirmation::Ack(None) => {
                *slot = Some((live, channel));
                Ok(())
            }
            Confirmation::Ack(Some(_)) => {
                // The topology is not what it should be: it is declared with the connection.
                live.dead.cancel();
                anyhow::bail!("nobody took it")
            }
            _ => anyhow::bail!("the broker refused it"),
        }
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
            let delivery = got.delivery;
            let (lane, attempts, reason) = read(&delivery.properties);
            let lane = lane.unwrap_or(Lane::High);
            // A damaged one is shown with its bytes as they are.
            let envelopes = Envelope::decode_batch(delivery.data.clone().into());
            let envelopes = envelopes.unwrap_or_else(|_| damaged_view(delivery.data));
            let quarantined = |envelope| Quarantined { lane, envelope, attempts, reason: reason.clone() };
            aside.extend(envelopes.into_iter().map(quarantined));
        }
        live.answer(channel.close(200, "looked".into())).await?;
        Ok(aside)
    }
}

/// The attempts that a lane's message says it has behind it.
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
    headers
}

fn read(properties: &BasicProperties) -> (Option<Lane>, u8, String) {
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
    let lane = text(LANE);
    (Lane::ALL.into_iter().find(|known| known.name() == lane), attempts, text(REASON))
}

fn damaged_view(data: Vec<u8>) -> Vec<Envelope> {
    let subject = super::super::Subject::new("damaged").into_iter();
    subject.map(|subject| Envelope { subject, key: 0, body: data.clone().into() }).collect()
}
