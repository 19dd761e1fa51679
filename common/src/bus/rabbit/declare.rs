//! Declares [`super::super::topology`] at the broker.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use super::super::config::QueueKind;
use super::super::subject::Pattern;
use super::super::topology::{
    ASK_EXPIRES_MS, ASK_EXPIRES_QUORUM_MS, LANES, LaneRow, NODE_QUEUE_BATCHES_MAX, Names, QUARANTINE_MAX,
};
use crate::limits::RETRY_LADDER_MS;

/// Everything that is there before anyone connects.
pub(super) async fn durable(channel: &Channel, names: &Names, kind: QueueKind) -> Result<(), lapin::Error> {
    for exchange in [names.topic_exchange(), names.ask_exchange()] {
        exchange_of(channel, &exchange, ExchangeKind::Topic).await?;
    }
    for row in LANES {
        for shard in 0..row.shards {
            lane_queue(channel, names, &row, shard, kind).await?;
        }
    }
    for (rung, delay_ms) in RETRY_LADDER_MS.into_iter().enumerate() {
        let name = names.rung(rung);
        exchange_of(channel, &name, ExchangeKind::Fanout).await?;
        let mut arguments = of_kind(kind);
        int(&mut arguments, "x-message-ttl", delay_ms);
        // Without a routing key of its own the envelope keeps the one it was published with: the
        // name of the lane's queue.
        text(&mut arguments, "x-dead-letter-exchange", "");
        queue(channel, &name, QueueDeclareOptions::durable(), arguments).await?;
        bind(channel, &name, &name, "").await?;
    }
    let mut arguments = of_kind(kind);
    int(&mut arguments, "x-max-length", QUARANTINE_MAX);
    text(&mut arguments, "x-overflow", "reject-publish");
    queue(channel, &names.quarantine(), QueueDeclareOptions::durable(), arguments).await
}

/// A fault when no program has declared the topology of this prefix.
pub(super) async fn is_there(channel: &Channel, names: &Names) -> Result<(), lapin::Error> {
    let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
    let name = names.topic_exchange();
    channel.exchange_declare(name.as_str().into(), ExchangeKind::Topic, options, FieldTable::default()).await
}

/// The queue of one shard of a lane.
pub(super) async fn lane_queue(
    channel: &Channel,
    names: &Names,
    row: &LaneRow,
    shard: u16,
    kind: QueueKind,
) -> Result<(), lapin::Error> {
    let name = names.lane(row.lane, shard);
    queue(channel, &name, QueueDeclareOptions::durable(), lane(row, kind)).await
}

/// A queue of one node, gone with its connection. Not given: to be found by its name only.
pub(super) async fn of_node(
    channel: &Channel,
    name: &str,
    bound: Option<(&str, &Pattern)>,
) -> Result<(), lapin::Error> {
    let mut arguments = of_kind(QueueKind::Classic);
    int(&mut arguments, "x-max-length", NODE_QUEUE_BATCHES_MAX);
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
    queue(channel, name, options, arguments).await?;
    match bound {
        Some((exchange, pattern)) => bind(channel, name, exchange, &pattern.as_amqp()).await,
        None => Ok(()),
    }
}

/// The two queues of a group: envelopes wait in the first without a limit of time, requests in the second only
/// while a member of the group is there to answer them.
pub(super) async fn group(
    channel: &Channel,
    names: &Names,
    group: &str,
    pattern: &Pattern,
    kind: QueueKind,
) -> Result<(), lapin::Error> {
    let key = pattern.as_amqp();
    let name = names.group(group);
    queue(channel, &name, QueueDeclareOptions::durable(), of_kind(kind)).await?;
    bind(channel, &name, &names.topic_exchange(), &key).await?;

    let name = names.ask_group(group);
    // In a cluster it has replicas: a classic queue is away as long as its node is, and all requests with it.
    let mut arguments = of_kind(kind);
    let (expires_ms, auto_delete) = match kind {
        QueueKind::Classic => (ASK_EXPIRES_MS, true),
        // Quorum queues cannot go with their last consumer, but soon after it.
        QueueKind::Quorum => (ASK_EXPIRES_QUORUM_MS, false),
    };
    int(&mut arguments, "x-expires", expires_ms);
    let options = QueueDeclareOptions { auto_delete, ..QueueDeclareOptions::durable() };
    queue(channel, &name, options, arguments).await?;
    bind(channel, &name, &names.ask_exchange(), &key).await
}

fn lane(row: &LaneRow, kind: QueueKind) -> FieldTable {
    // What may be lost needs no replicas.
    let mut arguments = of_kind(if row.durable { kind } else { QueueKind::Classic });
    if row.shards > 1 {
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    }
    if let Some(ttl_ms) = row.ttl_ms {
        int(&mut arguments, "x-message-ttl", ttl_ms);
    }
    if let Some(length_max) = row.length_max {
        int(&mut arguments, "x-max-length", length_max);
        text(&mut arguments, "x-overflow", "drop-head");
    }
    arguments
}

fn of_kind(kind: QueueKind) -> FieldTable {
    let mut arguments = FieldTable::default();
    match kind {
        QueueKind::Classic => text(&mut arguments, "x-queue-type", "classic"),
        // The number of attempts is ours to count (the retry ladder): RabbitMQ 4's default of 20
        // deliveries would drop what a restarting worker keeps giving back. 3.10 has no way to
        // say "never", so: more than anyone will see.
        QueueKind::Quorum => {
            text(&mut arguments, "x-queue-type", "quorum");
            int(&mut arguments, "x-delivery-limit", 1_000_000);
        }
    }
    arguments
}

fn int(arguments: &mut FieldTable, name: &str, value: u32) {
    arguments.insert(name.into(), AMQPValue::LongLongInt(value.into()));
}

fn text(arguments: &mut FieldTable, name: &str, value: &str) {
    arguments.insert(name.into(), AMQPValue::LongString(value.into()));
}

async fn queue(
    channel: &Channel,
    name: &str,
    options: QueueDeclareOptions,
    arguments: FieldTable,
) -> Result<(), lapin::Error> {
    channel.queue_declare(name.into(), options, arguments).await.map(drop)
}

async fn exchange_of(channel: &Channel, name: &str, kind: ExchangeKind) -> Result<(), lapin::Error> {
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<(), lapin::Error> {
    let options = QueueBindOptions::default();
    channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default()).await
}
