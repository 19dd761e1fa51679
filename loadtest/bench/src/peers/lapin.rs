//! The bare peer on the broker: lapin, one AMQP message per chat message, persistent, confirmed,
//! and acknowledged where it is consumed. Nothing else happens to the messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Publishes awaiting their confirm at once.
pub const WINDOW: usize = 256;
/// Deliveries unacknowledged at once, and acknowledged together.
const PREFETCH: u16 = 512;
const ACK_EVERY: u64 = 64;

/// Confirmed messages per second, nobody consuming.
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

/// Messages per second published, confirmed, consumed and acknowledged, over one queue.
///
/// # Errors
/// The broker refuses.
pub async fn one_hop(url: &str, bytes: usize, time: Duration) -> anyhow::Result<f64> {
    let queue = "bench-bare-hop";
    let (publisher, channel) = connect(url, queue).await?;
    let (consumer, consuming) = connect(url, queue).await?;
    consuming.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let mut deliveries = consuming
        .basic_consume(queue.into(), "bench".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await?;
    let (consumed, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, over) = (consumed.clone(), is_over.clone());
    let task = tokio::spawn(async move {
        while let Some(delivery) = deliveries.next().await {
            let delivery = delivery?;
            let seen = count.fetch_add(1, Relaxed) + 1;
            if seen.is_multiple_of(ACK_EVERY) || over.load(Relaxed) {
                delivery.acker.ack(BasicAckOptions { multiple: true }).await?;
            }
        }
        anyhow::Ok(())
    });
    let start = Instant::now();
    publish(&channel, queue, bytes, start + time).await?;
    let rate = consumed.load(Relaxed) as f64 / start.elapsed().as_secs_f64();
    is_over.store(true, Relaxed);
    sleep(Duration::from_millis(200)).await;
    task.abort();
    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    publisher.close(200, "done".into()).await?;
    consumer.close(200, "done".into()).await?;
    Ok(rate)
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
