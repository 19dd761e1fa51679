//! The bare chain: what a durable message must cost whatever a product makes of it, as one program
//! without a product's logic. Publish and confirm, consume, insert the batch and move the heads in one
//! transaction, publish, consume. No sockets, no Redis, no checks, no JSON. The exchange of messages
//! is batched as ours is: up to [`GATHER_MAX`] of them in one AMQP message. This program runs itself
//! as `bench bare-chain`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{FutureExt, StreamExt};
use hdrhistogram::Histogram;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, PublisherConfirm};
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

use super::chain_table::Table;
use crate::cluster::Places;

/// Lines beside each other, each with a queue for each hop, a connection to PostgreSQL and half of the
/// conversations: as many as there are cores here.
const LINES: u32 = 2;
/// The number of conversations of all lines together.
pub const CONVERSATIONS: u32 = 200;
/// Most chat messages in one AMQP message, and in one insert.
pub const GATHER_MAX: usize = 64;
const PIECE_MAX: usize = 256;
/// Flat out: messages of a line on their way from end to end at most.
const UNDER_WAY_MAX: usize = 4_096;
/// Most unacknowledged AMQP messages.
const PREFETCH: u16 = 64;
/// Most receipts that are not awaited yet.
const CONFIRMS_MAX: usize = 100_000;

/// The load, from the command line of the process.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Load {
    /// How long messages are due, in seconds
    #[arg(long)]
    pub seconds: u64,
    /// Messages per second, at fixed times; flat out without it
    #[arg(long)]
    pub rate: Option<f64>,
    /// Bytes of a message's content
    #[arg(long)]
    pub bytes: usize,
    /// Messages in one AMQP message at most
    #[arg(long, default_value_t = GATHER_MAX)]
    pub gather: usize,
}

/// The result of a run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ran {
    /// Messages per second that came to the end of the chain.
    pub per_s: f64,
    /// The number of these messages.
    pub messages: u64,
    /// From the time that a message was due until it came to the end, ms. At a rate only.
    pub p50: f64,
    /// The 99th percentile of the same times, ms.
    pub p99: f64,
}

/// Runs the chain in a process of its own.
///
/// # Errors
/// It cannot do its part.
pub async fn run(places: &Places, load: Load) -> anyhow::Result<Ran> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("bare-chain")
        .args(["--seconds", &load.seconds.to_string()])
        .args(["--bytes", &load.bytes.to_string()])
        .args(["--gather", &load.gather.to_string()])
        .env("AMQP_URL", &places.amqp_url)
        .env("DATABASE_URL", &places.database_url)
        .kill_on_drop(true);
    if let Some(rate) = load.rate {
        command.args(["--rate", &rate.to_string()]);
    }
    let out = command.output().await?;
    let why = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "the bare chain ended with {}: {why}", out.status);
    serde_json::from_slice(&out.stdout).context("what the bare chain found")
}

/// The process itself: prints what it found. Blocks.
///
/// # Errors
/// A peer refuses.
pub fn serve(load: Load) -> anyhow::Result<()> {
    let (amqp, database) = (std::env::var("AMQP_URL")?, std::env::var("DATABASE_URL")?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ran = runtime.block_on(chain(load, &amqp, &database))?;
    crate::say(&serde_json::to_string(&ran)?);
    Ok(())
}

async fn chain(load: Load, amqp: &str, database: &str) -> anyhow::Result<Ran> {
    let mut lines = vec![];
    for at in 0..LINES {
        lines.push(Line::open(amqp, database, at).await?);
    }
    let start = Instant::now();
    let tasks: Vec<_> = lines.into_iter().map(|line| tokio::spawn(line.run(start, load))).collect();
    let mut latency = Histogram::<u64>::new(3)?;
    for task in tasks {
        latency.add(task.await??)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1_000.0;
    Ok(Ran { per_s: latency.len() as f64 / seconds, messages: latency.len(), p50: at(0.5), p99: at(0.99) })
}

/// One of several parallel chains.
struct Line {
    up: String,
    down: String,
    /// One connection per part: the publisher, the writer, the receiver.
    connections: [Connection; 3],
    channels: [Channel; 3],
    table: Table,
}

/// A message on its way: when it was due, in µs since the start, in which conversation; then a guid and
/// its content.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// When the message was due, µs since the start.
    pub due_us: u64,
    /// The index of the conversation within the line.
    pub conversation: usize,
    /// The guid, a UUID.
    pub guid: &'a str,
    /// The text of the message.
    pub content: &'a str,
}

const HEAD: usize = 10;
const GUID: usize = 36;

impl<'a> Record<'a> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.due_us.to_le_bytes());
        out.extend((self.conversation as u16).to_le_bytes());
        out.extend(self.guid.as_bytes());
        out.extend(self.content.as_bytes());
    }

    /// All records of an AMQP message, whose contents have this many bytes.
    fn all(body: &'a [u8], bytes: usize) -> impl Iterator<Item = anyhow::Result<Self>> {
        body.chunks(HEAD + GUID + bytes).map(|record| {
            let (due, rest) = record.split_first_chunk::<8>().context("a record")?;
            let (conversation, rest) = rest.split_first_chunk::<2>().context("a record")?;
            let (guid, content) = std::str::from_utf8(rest)?.split_at_checked(GUID).context("a record")?;
            let conversation = usize::from(u16::from_le_bytes(*conversation));
            Ok(Self { due_us: u64::from_le_bytes(*due), conversation, guid, content })
        })
    }
}

impl Line {
    async fn open(amqp: &str, database: &str, at: u32) -> anyhow::Result<Self> {
        let name = |hop: &str| format!("bench-bare-chain-{hop}-{at}");
        let (up, down) = (name("up"), name("down"));
        let [first, second, third] =
            [connect(amqp, &up).await?, connect(amqp, &down).await?, connect(amqp, &down).await?];
        let connections = [first.0, second.0, third.0];
        let channels = [first.1, second.1, third.1];
        let table = Table::open(database, (CONVERSATIONS / LINES) as usize).await?;
        Ok(Self { up, down, connections, channels, table })
    }

    /// Runs all parts of the chain until everything has come to its end; how late each message was, µs.
    async fn run(self, start: Instant, load: Load) -> anyhow::Result<Histogram<u64>> {
        let Self { up, down, connections, channels: [publishing, writing, hearing], mut table } = self;
        let under_way = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        let (sent, total) = tokio::sync::oneshot::channel();
        let messages = consume(&writing, &up).await?;
        let heard = consume(&hearing, &down).await?;
        let publish = tokio::spawn({
            let (up, under_way) = (up.clone(), under_way.clone());
            async move {
                let count = publish(&publishing, &up, start, load, &under_way).await?;
                // The receiver has failed, and reports why.
                let _ = sent.send(count);
                anyhow::Ok(())
            }
        });
        // It waits for more for ever, so its end is a failure.
        let latency = tokio::select! {
            latency = hear(heard, start, load.bytes, &under_way, total) => latency?,
            failed = write(&writing, messages, &down, &mut table, load.bytes) => {
                return Err(failed.err().context("the broker ended the consumer")?);
            }
        };
        publish.await??;
        for (queue, channel) in [(up, &hearing), (down, &hearing)] {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
        }
        for connection in connections {
            connection.close(200, "done".into()).await?;
        }
        Ok(latency)
    }
}

async fn connect(url: &str, queue: &str) -> anyhow::Result<(Connection, Channel)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.context("bare chain")?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await?;
    Ok((connection, channel))
}

async fn consume(channel: &Channel, queue: &str) -> anyhow::Result<Consumer> {
    let options = BasicConsumeOptions::default();
    Ok(channel.basic_consume(queue.into(), "bench".into(), options, FieldTable::default()).await?)
}

/// The first part. Publishes what is due, or what there is room for, and awaits each confirm beside it;
/// how many messages these were.
async fn publish(
    channel: &Channel,
    queue: &str,
    start: Instant,
    load: Load,
    under_way: &Semaphore,
) -> anyhow::Result<u64> {
    let (confirm, mut confirms) = mpsc::channel::<PublisherConfirm>(CONFIRMS_MAX);
    let awaiting = tokio::spawn(async move {
        while let Some(confirm) = confirms.recv().await {
            ensure!(confirm.await?.is_ack(), "the broker refused a message");
        }
        anyhow::Ok(())
    });
    let interval = load.rate.map(|rate| Duration::from_secs_f64(f64::from(LINES) / rate));
    let (time, content) = (Duration::from_secs(load.seconds), ".".repeat(load.bytes));
    let mut count = 0_u64;
    loop {
        let due = |count: u64| interval.map(|interval| interval.mul_f64(count as f64));
        if let Some(due) = due(count) {
            sleep_until(start + due).await;
        }
        if due(count).unwrap_or(start.elapsed()) >= time {
            break;
        }
        let elapsed = start.elapsed();
        let mut body = Vec::with_capacity(load.gather * (HEAD + GUID + load.bytes));
        for _ in 0..load.gather {
            let due = due(count).unwrap_or(elapsed);
            if due > elapsed || due >= time {
                break;
            }
            under_way.acquire().await?.forget();
            let guid = common::random::uuid_v7(protocol::Timestamp::now());
            let conversation = (count % u64::from(CONVERSATIONS / LINES)) as usize;
            let due_us = due.as_micros() as u64;
            Record { due_us, conversation, guid: &guid, content: &content }.write(&mut body);
            count += 1;
        }
        let persistent = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions::default();
        let published = channel.basic_publish("".into(), queue.into(), options, &body, persistent).await?;
        confirm.send(published).await?;
    }
    drop(confirm);
    awaiting.await??;
    Ok(count)
}

/// The second part. Takes what waits, inserts it, publishes it, and acknowledges when that is confirmed.
async fn write(
    channel: &Channel,
    mut messages: Consumer,
    down: &str,
    table: &mut Table,
    bytes: usize,
) -> anyhow::Result<()> {
    let (taken, mut all) = mpsc::channel::<(PublisherConfirm, Delivery)>(CONFIRMS_MAX);
    tokio::spawn(async move {
        while let Some((confirm, last)) = all.recv().await {
            ensure!(confirm.await?.is_ack(), "the broker refused a message");
            last.acker.ack(BasicAckOptions { multiple: true }).await?;
        }
        anyhow::Ok(())
    });
    while let Some(first) = messages.next().await {
        let mut piece = vec![first?];
        let record_bytes = HEAD + GUID + bytes;
        let mut size = piece[0].data.len() / record_bytes;
        while size < PIECE_MAX {
            let Some(Some(more)) = messages.next().now_or_never() else { break };
            piece.push(more?);
            size += piece[piece.len() - 1].data.len() / record_bytes;
        }
        let records: Vec<Record<'_>> =
            piece.iter().flat_map(|one| Record::all(&one.data, bytes)).collect::<anyhow::Result<_>>()?;
        table.insert(&records).await?;
        let mut body = Vec::with_capacity(records.len() * record_bytes);
        records.iter().for_each(|record| record.write(&mut body));
        // Not persistent: a client that misses it asks the database.
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let confirm = channel.basic_publish("".into(), down.into(), options, &body, properties).await?;
        let last = piece.pop().context("a piece has a message")?;
        taken.send((confirm, last)).await?;
    }
    Ok(())
}

/// The last part. Takes and acknowledges until as many came as were sent; how late each was, µs.
async fn hear(
    mut heard: Consumer,
    start: Instant,
    bytes: usize,
    under_way: &Semaphore,
    mut total: tokio::sync::oneshot::Receiver<u64>,
) -> anyhow::Result<Histogram<u64>> {
    let mut latency = Histogram::new(3)?;
    let mut all = None;
    while all.is_none_or(|all| latency.len() < all) {
        tokio::select! {
            count = &mut total, if all.is_none() => all = Some(count.context("who publishes has failed")?),
            delivery = heard.next() => {
                let delivery = delivery.context("the broker ended it")??;
                let now_us = start.elapsed().as_micros() as u64;
                let before = latency.len();
                for record in Record::all(&delivery.data, bytes) {
                    latency.record(now_us.saturating_sub(record?.due_us))?;
                }
                under_way.add_permits((latency.len() - before) as usize);
                delivery.acker.ack(BasicAckOptions::default()).await?;
            }
        }
    }
    Ok(latency)
}
