//! The bare peer on the broker: lapin, one AMQP message per chat message, persistent, confirmed,
//! and acknowledged where it is consumed. Nothing else happens to the messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, PublisherConfirm};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// Most publishes that await their confirm at once.
pub const WINDOW: usize = 256;
/// Most unacknowledged deliveries, which are acknowledged together.
const PREFETCH: u16 = 512;
const ACK_EVERY: u64 = 64;
/// Without a delivery for this long, the taken ones are acknowledged.
const QUIET: Duration = Duration::from_millis(200);
/// Most publishes that await their confirm at once, when the load has a rate.
const CONFIRMS_MAX: usize = 100_000;

/// Confirmed messages per second, without a consumer.
///
/// # Errors
/// The broker refuses.
pub async fn publish_confirm(url: &str, bytes: usize, time: Duration) -> anyhow::Result<f64> {
    let (connection, channel) = connect(url, "bench-bare-publish").await?;
    let start = Instant::now();
    let confirmed = publish(&channel, "bench-bare-publish", bytes, start + time).await?;
    let rate = confirmed as f64 / start.elapsed().as_secs_f64();
    channel.queue_delete("bench-bare-publish".into(), QueueDeleteOptions::default()).await?;
    connection.close(200, "done".into()).await?;
    Ok(rate)
}

/// The result of one hop.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    /// Messages per second, published, confirmed, consumed and acknowledged.
    pub per_s: f64,
    /// From the time that a message was due until it was consumed, ms.
    pub p50: f64,
    /// The 99th percentile of the same times, ms.
    pub p99: f64,
}

/// One hop over one queue: at a rate, at fixed times whatever the broker does; None: flat out (the
/// latency says nothing then).
///
/// # Errors
/// The broker refuses.
pub async fn one_hop(url: &str, bytes: usize, time: Duration, rate: Option<f64>) -> anyhow::Result<Hop> {
    let queue = "bench-bare-hop";
    let (publisher, channel) = connect(url, queue).await?;
    let (consumer, consuming) = connect(url, queue).await?;
    consuming.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let start = Instant::now();
    let is_over = Arc::new(AtomicBool::new(false));
    let consumed = tokio::spawn(consume(consuming, queue, start, is_over.clone()));
    match rate {
        None => drop(publish(&channel, queue, bytes, start + time).await?),
        Some(rate) => publish_at(&channel, queue, bytes, start, time, rate).await?,
    }
    let seconds = start.elapsed().as_secs_f64();
    is_over.store(true, Relaxed);
    let latency = consumed.await??;
    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    publisher.close(200, "done".into()).await?;
    consumer.close(200, "done".into()).await?;
    let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1_000.0;
    Ok(Hop { per_s: latency.len() as f64 / seconds, p50: at(0.5), p99: at(0.99) })
}

/// Takes and acknowledges until nothing comes any more; how late each was, µs.
async fn consume(
    channel: Channel,
    queue: &'static str,
    start: Instant,
    is_over: Arc<AtomicBool>,
) -> anyhow::Result<Histogram<u64>> {
    let mut deliveries = channel
        .basic_consume(queue.into(), "bench".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await?;
    let mut latency = Histogram::new(3)?;
    let mut last = None;
    loop {
        match timeout(QUIET, deliveries.next()).await {
            Ok(Some(delivery)) => {
                let delivery = delivery?;
                let due_us = delivery.data.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                latency.record((start.elapsed().as_micros() as u64).saturating_sub(due_us))?;
                if latency.len().is_multiple_of(ACK_EVERY) {
                    delivery.acker.ack(BasicAckOptions { multiple: true }).await?;
                    last = None;
                } else {
                    last = Some(delivery.acker);
                }
            }
            Ok(None) => return Ok(latency),
            Err(_) => {
                if let Some(acker) = last.take() {
                    acker.ack(BasicAckOptions { multiple: true }).await?;
                }
                if is_over.load(Relaxed) {
                    return Ok(latency);
                }
            }
        }
    }
}

/// Publishes what is due, each with the time at which it was; confirms are awaited beside it.
async fn publish_at(
    channel: &Channel,
    queue: &'static str,
    bytes: usize,
    start: Instant,
    time: Duration,
    rate: f64,
) -> anyhow::Result<()> {
    let (confirm, mut confirms) = mpsc::channel::<PublisherConfirm>(CONFIRMS_MAX);
    let awaiting = tokio::spawn(async move {
        while let Some(confirm) = confirms.recv().await {
            ensure!(confirm.await?.is_ack(), "the broker refused a message");
        }
        anyhow::Ok(())
    });
    let mut body = vec![b'.'; bytes];
    for at in 0..(rate * time.as_secs_f64()) as u64 {
        let due = Duration::from_secs_f64(at as f64 / rate);
        // A timer is late by a millisecond; what became due meanwhile goes out at once.
        if due > start.elapsed() {
            sleep_until(start + due).await;
        }
        body[..8].copy_from_slice(&(due.as_micros() as u64).to_le_bytes());
        let persistent = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions::default();
        confirm
            .send(channel.basic_publish("".into(), queue.into(), options, &body, persistent).await?)
            .await?;
    }
    drop(confirm);
    awaiting.await?
}

async fn connect(url: &str, queue: &str) -> anyhow::Result<(Connection, Channel)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.context("bare lapin")?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await?;
    Ok((connection, channel))
}

/// Publishes until `end` from [`WINDOW`] tasks, each awaiting its confirm before its next; how
/// many were confirmed.
async fn publish(channel: &Channel, queue: &'static str, bytes: usize, end: Instant) -> anyhow::Result<u64> {
    let body: Arc<[u8]> = vec![b'.'; bytes].into();
    let mut tasks = JoinSet::new();
    for _ in 0..WINDOW {
        let (channel, body) = (channel.clone(), body.clone());
        tasks.spawn(async move {
            let persistent = BasicProperties::default().with_delivery_mode(2);
            let mut confirmed = 0;
            while Instant::now() < end {
                let options = BasicPublishOptions::default();
                let publish =
                    channel.basic_publish("".into(), queue.into(), options, &body, persistent.clone());
                ensure!(publish.await?.await?.is_ack(), "the broker refused a message");
                confirmed += 1;
            }
            anyhow::Ok(confirmed)
        });
    }
    let mut confirmed = 0;
    while let Some(task) = tasks.join_next().await {
        confirmed += task??;
    }
    Ok(confirmed)
}
