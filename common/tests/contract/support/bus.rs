//! What the contract of the bus is checked with.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use common::bus::{
    Arrival, Bus, BusConfig, Envelope, GroupSubscription, LaneConsumer, PublishError, QueueKind, Subject,
    Subscription,
};
use protocol::Lane;
use protocol::ids::NodeId;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// Nothing takes longer than this, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gives out buses that see each other.
pub enum Rig {
    Memory(Bus),
    Rabbit(BusConfig),
}

impl Rig {
    pub fn memory() -> Self {
        Self::Memory(Bus::memory())
    }

    /// None, with a word, when there is no broker to test against.
    pub fn rabbit() -> Option<Self> {
        let url = crate::support::peers::variable("AMQP_URL")?;
        let queues = match std::env::var("CHATCHIT_QUEUES").as_deref() {
            Ok("quorum") => QueueKind::Quorum,
            _ => QueueKind::Classic,
        };
        let prefix = format!("test{}", NodeId::random());
        Some(Self::Rabbit(BusConfig { url, prefix, queues, ca_file: None }))
    }

    /// Whether this bus keeps by itself what it has taken.
    pub fn keeps(&self) -> bool {
        matches!(self, Self::Rabbit(_))
    }

    /// A bus of another node.
    pub async fn bus(&self) -> Bus {
        match self {
            Self::Memory(bus) => bus.clone(),
            Self::Rabbit(config) => Bus::connect(config.clone(), NodeId::random()).await.unwrap(),
        }
    }
}

pub fn subject(text: &str) -> Subject {
    Subject::new(text).unwrap()
}

pub fn envelope(to: &str, key: u64, body: &str) -> Envelope {
    Envelope { subject: subject(to), key, body: Bytes::copy_from_slice(body.as_bytes()) }
}

pub fn numbered(to: &str, key: u64, number: u64) -> Envelope {
    Envelope { subject: subject(to), key, body: Bytes::copy_from_slice(&number.to_le_bytes()) }
}

pub fn number(envelope: &Envelope) -> u64 {
    u64::from_le_bytes(envelope.body[..].try_into().unwrap())
}

/// Publishes; on a busy machine the confirm may be late, but with a whole line it comes.
pub async fn publish(bus: &Bus, envelope: Envelope) {
    let outcome = bus.publish(envelope).await;
    assert!(taken(&outcome), "{outcome:?}");
}

/// Publishes at once; the outcome comes later.
pub fn outcome(bus: &Bus, envelope: Envelope) -> impl Future<Output = Result<(), PublishError>> + use<> {
    let outcomes = enqueue(bus, vec![envelope]);
    async move { outcomes.await.remove(0) }
}

pub fn taken(outcome: &Result<(), PublishError>) -> bool {
    matches!(outcome, Ok(()) | Err(PublishError::Busy))
}

pub async fn deadline<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

pub async fn long_deadline<T>(future: impl Future<Output = T>) -> T {
    timeout(2 * PATIENCE, future).await.expect("in time")
}

pub async fn within_ms<T>(ms: u64, future: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let outcome = deadline(future).await;
    assert!(start.elapsed() < Duration::from_millis(ms), "{:?}", start.elapsed());
    outcome
}

/// Asks again until it holds.
pub async fn eventually<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    deadline(async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Nothing has come. Ask when what proves it has been heard, such as everything by somebody else: a while would prove nothing.
pub async fn silent<T>(future: impl Future<Output = T>) {
    tokio::select! {
        biased;
        _ = future => panic!("it was not silent"),
        () = std::future::ready(()) => {}
    }
}

/// Bodies heard until the envelope on `last`, inclusive; subjects as heard.
pub async fn until(subscription: &mut Subscription, last: &str) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.last().map(String::as_str) != Some(last) {
        match deadline(subscription.next()).await.unwrap() {
            Arrival::Envelopes(envelopes) => heard.extend(envelopes.iter().map(|e| e.subject.to_string())),
            Arrival::Lapse => {}
        }
    }
    heard
}

/// Numbers taken by members that work at the same time.
pub async fn take_deliveries(members: [GroupSubscription; 2], count: usize) -> Vec<u64> {
    let (sender, mut taken) = mpsc::channel(count);
    for mut member in members {
        let sender = sender.clone();
        tokio::spawn(async move {
            while let Some(delivery) = member.next().await {
                let number = number(&delivery.envelope);
                delivery.ack();
                if sender.send(number).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut numbers = Vec::new();
    while numbers.len() < count {
        numbers.push(deadline(taken.recv()).await.unwrap());
    }
    numbers
}

/// `each` numbered envelopes for each of `keys`, round and round.
pub fn enqueue_numbered(
    bus: &Bus,
    keys: u64,
    each: u64,
) -> impl Future<Output = Vec<Result<(), PublishError>>> + use<> {
    let all = (0..each).flat_map(move |n| (0..keys).map(move |key| (key, n)));
    enqueue(bus, all.map(|(key, n)| numbered("high.sendMessage", key, n)).collect())
}

/// `count` envelopes of one key, without a pause.
pub async fn enqueue_flood(bus: &Bus, count: u64) -> Vec<Result<(), PublishError>> {
    enqueue(bus, (0..count).map(|n| numbered("high.sendMessage", 1, n)).collect()).await
}

fn enqueue(
    bus: &Bus,
    envelopes: Vec<Envelope>,
) -> impl Future<Output = Vec<Result<(), PublishError>>> + use<> {
    let mut outcomes = Vec::new();
    for envelope in envelopes {
        let (sender, outcome) = tokio::sync::oneshot::channel();
        bus.enqueue(envelope, Box::new(move |result| sender.send(result).expect("the test listens")));
        outcomes.push(outcome);
    }
    async move {
        let mut results = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            results.push(deadline(outcome).await.expect("every receipt is called"));
        }
        results
    }
}

/// Takes and acknowledges `count` envelopes: (key, number).
pub async fn drain_lane(consumer: &mut LaneConsumer, count: usize) -> Vec<(u64, u64)> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let batch = deadline(consumer.next()).await.expect("not drained");
        seen.extend(batch.envelopes.iter().map(|e| (e.envelope.key, number(&e.envelope))));
        batch.ack();
    }
    seen
}

pub async fn take_bytes(consumer: &mut LaneConsumer, count: usize) -> usize {
    let mut seen = Vec::new();
    while seen.len() < count {
        let batch = deadline(consumer.next()).await.expect("not drained");
        seen.extend(batch.envelopes.iter().map(|e| e.envelope.body.len()));
        batch.ack();
    }
    seen.iter().sum()
}

/// Every key's numbers are all there, firsts in order; repeats only after the first.
pub fn assert_in_order(seen: &[(u64, u64)], keys: u64, each: u64) {
    let mut next: HashMap<u64, u64> = HashMap::new();
    for (key, number) in seen {
        let next = next.entry(*key).or_default();
        assert!(number <= next, "key {key}: {number} came before {next}");
        *next = (*next).max(number + 1);
    }
    assert_eq!(next.len() as u64, keys);
    for (key, next) in next {
        assert_eq!(next, each, "key {key}");
    }
}

pub struct HandOver {
    /// What both consumers did, in the order in which they acknowledged.
    pub merged: Vec<(u64, u64)>,
    pub first: usize,
    pub second: usize,
}

/// Two consumers on a lane; half of the shards change hands while envelopes flow.
pub async fn hand_over(
    bus: &Bus,
    first: LaneConsumer,
    second: LaneConsumer,
    keys: u64,
    each: u64,
) -> HandOver {
    let (sender, mut worked) = mpsc::channel(10_000);
    let shards: Vec<u16> = (0..common::limits::LANE_SHARDS).collect();
    let (mine, yours) = shards.split_at(shards.len() / 2);
    let (go, _) = tokio::sync::watch::channel(false);
    let mut tasks = Vec::new();
    for (name, consumer, hold) in [(0, first, mine.to_vec()), (1, second, yours.to_vec())] {
        tasks.push(tokio::spawn(work(name, consumer, hold, go.subscribe(), sender.clone())));
    }
    drop(sender);

    let total = (keys * each) as usize;
    let (early, late) = (each / 2, each - each / 2);
    let mut counts = [0; 2];
    let mut merged = Vec::new();
    let mut next = HashMap::new();
    for (round, numbers) in [(0, 0..early), (1, early..early + late)] {
        let all = numbers.flat_map(|n| (0..keys).map(move |key| (key, n)));
        let receipts = enqueue(bus, all.map(|(key, n)| numbered("high.sendMessage", key, n)).collect());
        if round == 0 {
            go.send_replace(true);
        }
        assert!(receipts.await.iter().all(taken));
    }
    // Repeats are allowed; every number once at least.
    while next.values().sum::<u64>() < total as u64 {
        let (name, seen): (usize, Vec<(u64, u64)>) = deadline(worked.recv()).await.expect("both work");
        counts[name] += seen.len();
        for (key, number) in &seen {
            let next = next.entry(*key).or_insert(0);
            *next = (*next).max(number + 1);
        }
        merged.extend(seen);
    }
    tasks.iter().for_each(|task| task.abort());
    HandOver { merged, first: counts[0], second: counts[1] }
}

async fn work(
    name: usize,
    mut consumer: LaneConsumer,
    hold: Vec<u16>,
    mut go: tokio::sync::watch::Receiver<bool>,
    done: mpsc::Sender<(usize, Vec<(u64, u64)>)>,
) {
    let mut held = false;
    loop {
        tokio::select! {
            changed = go.changed(), if !held => {
                changed.expect("the test goes on");
                held = true;
                consumer.hold(&hold);
            }
            batch = consumer.next() => {
                let Some(batch) = batch else { return };
                // Work takes its turn.
                tokio::task::yield_now().await;
                if batch.is_revoked() {
                    batch.release();
                    continue;
                }
                assert_eq!(batch.lane, Lane::High);
                let seen = batch.envelopes.iter().map(|e| (e.envelope.key, number(&e.envelope))).collect();
                if done.send((name, seen)).await.is_err() {
                    return;
                }
                batch.ack();
            }
        }
    }
}
