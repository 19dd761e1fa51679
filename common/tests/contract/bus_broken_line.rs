//! What only a real broker can do to the bus: lines are cut or frozen, connections closed from
//! above. Needs `AMQP_URL`; some of it also `RABBIT_MANAGEMENT_URL`.

use std::collections::HashMap;
use std::time::Duration;

use common::bus::{Arrival, Bus, BusConfig, Health, Pattern, PublishError, RequestError};
use common::limits::LANE_SHARDS;
use protocol::Lane;
use protocol::ids::NodeId;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::bus as support;
use crate::support::bus::{Rig, deadline, drain_lane, eventually, long_deadline, number, numbered, subject};
use crate::support::line::{Line, manage};

/// A caller hears of it within so many milliseconds. 250 are promised, and measured by
/// `make proof`; a debug build beside a compiler is given more.
const BUSY_MS: u64 = 1_000;

/// One bus over a line, one beside it.
struct Pair {
    line: Line,
    shaky: Bus,
    steady: Bus,
    prefix: String,
}

impl Pair {
    async fn new() -> Option<Self> {
        let Some(Rig::Rabbit(config)) = Rig::rabbit() else { return None };
        let line = Line::to(&config.url).await;
        let over_line = BusConfig { url: line.url.clone(), ..config.clone() };
        let shaky = Bus::connect(over_line, NodeId::random()).await.unwrap();
        let prefix = config.prefix.clone();
        let steady = Bus::connect(config, NodeId::random()).await.unwrap();
        Some(Self { line, shaky, steady, prefix })
    }
}

/// Many senders, each of which repeats a number until it is acknowledged: what it saw.
struct Flow {
    busy: usize,
    slowest: Duration,
}

async fn flow(bus: Bus, keys: u64, each: u64) -> Flow {
    let senders = (0..keys).map(|key| tokio::spawn(send_all(bus.clone(), key, each)));
    let mut flow = Flow { busy: 0, slowest: Duration::ZERO };
    for sender in senders.collect::<Vec<_>>() {
        let (busy, slowest) = sender.await.unwrap();
        flow.busy += busy;
        flow.slowest = flow.slowest.max(slowest);
    }
    flow
}

async fn send_all(bus: Bus, key: u64, each: u64) -> (usize, Duration) {
    let (mut busy, mut slowest) = (0, Duration::ZERO);
    for n in 0..each {
        loop {
            let start = Instant::now();
            let outcome = bus.publish(numbered("high.sendMessage", key, n)).await;
            slowest = slowest.max(start.elapsed());
            match outcome {
                Ok(()) => break,
                Err(PublishError::Busy) => busy += 1,
                Err(other) => panic!("{other}"),
            }
            // What a client does when it hears busy, only sooner.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    (busy, slowest)
}

/// Every key complete, firsts in order.
async fn all_arrived(bus: &Bus, keys: u64, each: u64) {
    let mut consumer = bus.consume(Lane::High).await.unwrap();
    let mut next: HashMap<u64, u64> = HashMap::new();
    while next.len() < keys as usize || next.values().any(|next| *next < each) {
        let batch = long_deadline(consumer.next()).await.expect("not drained");
        for envelope in &batch.envelopes {
            let (next, number) = (next.entry(envelope.envelope.key).or_default(), number(&envelope.envelope));
            assert!(number <= *next, "{number} came before {next}");
            *next = (*next).max(number + 1);
        }
        batch.ack();
    }
}

async fn trouble_under_load(make: impl AsyncFnOnce(&Pair)) -> Option<Flow> {
    let (keys, each) = (50, 200);
    let pair = Pair::new().await?;
    let sending = tokio::spawn(flow(pair.shaky.clone(), keys, each));
    let mut early = pair.steady.consume(Lane::High).await.unwrap();
    // It flows.
    let batch = deadline(early.next()).await.unwrap();
    drop(batch);
    drop(early);
    make(&pair).await;
    let flow = timeout_flow(sending).await;
    all_arrived(&pair.steady, keys, each).await;
    Some(flow)
}

async fn timeout_flow(sending: tokio::task::JoinHandle<Flow>) -> Flow {
    tokio::time::timeout(Duration::from_secs(60), sending).await.expect("the flow resumed").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_line_is_busy_and_then_flows_again() {
    let resumed = trouble_under_load(async |pair| {
        let mut health = pair.shaky.health();
        pair.line.cut();
        deadline(health.wait_for(|health| *health == Health::Down)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        pair.line.mend();
        let mended = Instant::now();
        deadline(health.wait_for(|health| *health == Health::Up)).await.unwrap();
        assert!(mended.elapsed() < Duration::from_secs(5), "{:?}", mended.elapsed());
    })
    .await;
    let Some(flow) = resumed else { return };
    assert!(flow.busy > 0);
    assert!(flow.slowest < Duration::from_millis(BUSY_MS), "{:?}", flow.slowest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_line_is_busy_and_then_flows_again() {
    let resumed = trouble_under_load(async |pair| {
        pair.line.freeze();
        tokio::time::sleep(Duration::from_secs(1)).await;
        pair.line.mend();
    })
    .await;
    let Some(flow) = resumed else { return };
    assert!(flow.busy > 0);
    assert!(flow.slowest < Duration::from_millis(BUSY_MS), "{:?}", flow.slowest);
}

/// Two ways to the broker, as to two nodes of a cluster: one is always enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_node_is_away_the_bus_goes_on_with_the_other() {
    let Some(Rig::Rabbit(config)) = Rig::rabbit() else { return };
    let lines = [Line::to(&config.url).await, Line::to(&config.url).await];
    let url = format!("{},{}", lines[0].url, lines[1].url);
    lines[0].cut();
    let bus = Bus::connect(BusConfig { url, ..config }, NodeId::random()).await.unwrap();
    for (n, (mend, cut)) in [(0, 1), (1, 0)].into_iter().enumerate() {
        lines[mend].mend();
        lines[cut].cut();
        eventually(async || bus.publish(numbered("high.sendMessage", 7, n as u64)).await.is_ok()).await;
    }
    let mut consumer = bus.consume(Lane::High).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&(7, 1)) {
        seen.extend(drain_lane(&mut consumer, 1).await);
    }
    // Busy may have been said for what arrived.
    seen.dedup();
    assert_eq!(seen, [(7, 0), (7, 1)]);
}

/// An operator closes every connection of the bus.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_closed_from_above_come_back() {
    let Some(_) = crate::support::peers::variable("RABBIT_MANAGEMENT_URL") else { return };
    trouble_under_load(async |pair| {
        let mut health = pair.shaky.health();
        let mine = async || {
            let all: Value = serde_json::from_str(&manage("GET", "connections", "").await.unwrap()).unwrap();
            let port = pair.line.far_ports();
            let is_mine = |connection: &&Value| {
                connection["peer_port"].as_u64().is_some_and(|peer| port.contains(&(peer as u16)))
            };
            all.as_array().unwrap().iter().filter(is_mine).cloned().collect::<Vec<_>>()
        };
        // The API learns of connections with some delay.
        eventually(async || mine().await.len() >= 2).await;
        for connection in mine().await {
            let name = connection["name"].as_str().unwrap().replace(' ', "%20").replace('>', "%3E");
            manage("DELETE", &format!("connections/{name}"), "").await;
        }
        deadline(health.wait_for(|health| *health == Health::Down)).await.unwrap();
        deadline(health.wait_for(|health| *health == Health::Up)).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_hears_that_something_may_be_missing() {
    let Some(pair) = Pair::new().await else { return };
    let mut here = pair.shaky.subscribe(Pattern::from(subject("deliver.00aa"))).await.unwrap();
    let mut news = pair.shaky.subscribe(Pattern::new("control.*").unwrap()).await.unwrap();
    pair.line.cut();
    let mut health = pair.shaky.health();
    deadline(health.wait_for(|health| *health == Health::Down)).await.unwrap();
    let ask = pair.shaky.request(subject("api.auth"), "".into(), Duration::from_secs(1)).await;
    assert_eq!(ask, Err(RequestError::Busy));
    pair.line.mend();
    for subscription in [&mut here, &mut news] {
        assert!(matches!(deadline(subscription.next()).await, Some(Arrival::Lapse)));
    }
    // The broker may notice the end of the old line only now, and end the queue once more: that is said again.
    let heard = loop {
        support::publish(&pair.steady, numbered("deliver.00aa", 0, 7)).await;
        match deadline(here.next()).await {
            Some(Arrival::Envelopes(heard)) => break heard,
            Some(Arrival::Lapse) => {}
            None => panic!("the subscription ended"),
        }
    };
    assert_eq!(number(&heard[0]), 7);
}

/// Its caller brings it again, perhaps through another process: late, it would come behind what
/// has been told meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_was_refused_does_not_come_late() {
    let Some(pair) = Pair::new().await else { return };
    let mut here = pair.steady.subscribe(Pattern::from(subject("deliver.00aa"))).await.unwrap();
    let mut health = pair.shaky.health();
    pair.line.freeze();
    // One is on the wire, the other waits for its confirm.
    for n in [1, 2] {
        assert_eq!(pair.shaky.publish(numbered("deliver.00aa", 0, n)).await, Err(PublishError::Busy));
    }
    pair.line.cut();
    deadline(health.wait_for(|health| *health == Health::Down)).await.unwrap();
    pair.line.mend();
    deadline(health.wait_for(|health| *health == Health::Up)).await.unwrap();
    support::publish(&pair.shaky, numbered("deliver.00aa", 0, 3)).await;
    let Some(Arrival::Envelopes(heard)) = deadline(here.next()).await else { panic!("lapse") };
    assert_eq!(heard.iter().map(number).collect::<Vec<_>>(), [3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_in_hand_is_revoked_with_its_line_and_comes_again() {
    let Some(pair) = Pair::new().await else { return };
    let mut consumer = pair.shaky.consume(Lane::High).await.unwrap();
    for n in 0..3 {
        support::publish(&pair.steady, numbered("high.sendMessage", 7, n)).await;
    }
    let batch = deadline(consumer.next()).await.unwrap();
    let in_hand = batch.envelopes.len() as u64;
    assert!(!batch.is_revoked());
    pair.line.cut();
    eventually(async || batch.is_revoked()).await;
    pair.line.mend();
    // It had been worked on: acknowledging it is too late, and harmless.
    batch.ack();
    let again = deadline(consumer.next()).await.unwrap();
    assert!(again.redelivered);
    let mut seen: Vec<u64> = again.envelopes.iter().map(|e| number(&e.envelope)).collect();
    again.ack();
    let rest = drain_lane(&mut consumer, 3 - seen.len()).await;
    seen.extend(rest.into_iter().map(|(_, n)| n));
    assert_eq!(seen, [0, 1, 2], "{in_hand} were in hand");
}

/// The broker registers consumers after the bus has given them up: the next consumers get the deliveries all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_comes_too_late_keeps_nothing() {
    // Mended before the broker was asked to close its channels, and after it did not.
    for wait in [Duration::from_millis(5_500), Duration::from_secs(12)] {
        let Some(pair) = Pair::new().await else { return };
        let mut consumer = pair.shaky.consume(Lane::High).await.unwrap();
        let mut member = pair.shaky.queue_subscribe(Pattern::new("api.*").unwrap(), "api").await.unwrap();
        let mut health = pair.shaky.health();
        pair.line.cut();
        deadline(health.wait_for(|health| *health == Health::Down)).await.unwrap();
        pair.line.withhold_consumers();
        deadline(pair.line.is_withheld()).await;
        tokio::time::sleep(wait).await;
        pair.line.mend();

        for key in 0..64 {
            support::publish(&pair.steady, numbered("high.sendMessage", key, key)).await;
        }
        let mut seen = long_deadline(drain_lane(&mut consumer, 64)).await;
        seen.sort_unstable();
        assert_eq!(seen, (0..64).map(|key| (key, key)).collect::<Vec<_>>());
        let serve = async {
            loop {
                deadline(member.next()).await.unwrap().reply("ok".into());
            }
        };
        let ask = async {
            // The member may still be on its way; once it is there, it hears everything.
            let ask = || pair.steady.request(subject("api.users"), "".into(), Duration::from_secs(1));
            eventually(async || ask().await.is_ok()).await;
            for _ in 0..16 {
                assert_eq!(ask().await.unwrap(), "ok");
            }
        };
        tokio::select! {
            () = serve => {}
            () = ask => {}
        }
    }
}

/// Bytes that are no batch go to quarantine as they came; what follows is not held up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_body_is_set_aside() {
    let Some(pair) = Pair::new().await else { return };
    let mut consumer = pair.steady.consume(Lane::Medium).await.unwrap();
    let publish = json!({
        "properties": {}, "routing_key": format!("{}.lane.medium.0", pair.prefix),
        "payload": "no batch", "payload_encoding": "string"
    });
    if manage("POST", "exchanges/%2F/amq.default/publish", &publish.to_string()).await.is_none() {
        return;
    }
    eventually(async || pair.steady.quarantined(1).await.unwrap().len() == 1).await;
    let aside = pair.steady.quarantined(10).await.unwrap();
    assert_eq!((aside[0].lane, &aside[0].reason[..]), (Lane::Medium, "damaged"));
    assert_eq!(aside[0].envelope.body, "no batch");
    for key in 0..16 {
        support::publish(&pair.shaky, numbered("medium.messageRead", key, key)).await;
    }
    let mut seen = drain_lane(&mut consumer, 16).await;
    seen.sort_unstable();
    assert_eq!(seen, (0..16).map(|key| (key, key)).collect::<Vec<_>>());
}

/// An operator deletes queues while deliveries come: the end of a consumer is seen behind them, the
/// queue is made again, and its consumer is back in line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_whose_queue_is_deleted_comes_back() {
    let Some(pair) = Pair::new().await else { return };
    if std::env::var("RABBIT_MANAGEMENT_URL").is_err() {
        println!("skipped: RABBIT_MANAGEMENT_URL is not set");
        return;
    }
    let mut consumer = pair.steady.consume(Lane::High).await.unwrap();
    let view = consumer.view();
    assert!(view.astray(Duration::ZERO).is_empty(), "in line for every shard");
    support::publish(&pair.shaky, numbered("high.sendMessage", 7, 0)).await;
    let batch = deadline(consumer.next()).await.unwrap();
    let queue = format!("queues/%2F/{}.lane.high.{}", pair.prefix, batch.shard);
    batch.ack();
    for round in 1..=5 {
        for _ in 0..200 {
            pair.shaky.enqueue(numbered("high.sendMessage", 7, 0), Box::new(|_| {}));
        }
        manage("DELETE", &queue, "").await;
        // What was in the queue is gone with it. What is published now arrives.
        let bus = pair.shaky.clone();
        let sending = tokio::spawn(async move {
            loop {
                support::publish(&bus, numbered("high.sendMessage", 7, round)).await;
                tokio::task::yield_now().await;
            }
        });
        while drain_lane(&mut consumer, 1).await.last() != Some(&(7, round)) {}
        sending.abort();
        eventually(async || view.astray(Duration::ZERO).is_empty()).await;
    }
}

/// A worker knows which shards it is not in line for, and since when.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_without_their_consumer_are_known() {
    let Some(pair) = Pair::new().await else { return };
    let consumer = pair.shaky.consume(Lane::High).await.unwrap();
    let view = consumer.view();
    assert!(view.astray(Duration::ZERO).is_empty(), "in line for every shard");
    pair.line.cut();
    let everything: Vec<u16> = (0..LANE_SHARDS).collect();
    eventually(async || view.astray(Duration::from_millis(100)) == everything).await;
    assert!(view.astray(Duration::from_secs(600)).is_empty(), "not for so long");
    pair.line.mend();
    eventually(async || view.astray(Duration::ZERO).is_empty()).await;
}

/// Queues and bindings are a function of nodes and shards: whatever flows, none are added.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topology_is_constant() {
    let Some(pair) = Pair::new().await else { return };
    let topology = async || {
        let mut names = Vec::new();
        for kind in ["queues", "exchanges", "bindings"] {
            let all: Value = serde_json::from_str(&manage("GET", kind, "").await?).unwrap();
            for thing in all.as_array().unwrap() {
                let text = |field: &str| thing[field].as_str().unwrap_or_default().to_owned();
                let (name, source, to) = (text("name"), text("source"), text("destination"));
                let name = format!("{kind} {name}{source} {to} {}", text("routing_key"));
                if name.contains(&pair.prefix) {
                    names.push(name);
                }
            }
        }
        names.sort();
        Some(names)
    };
    let mut consumer = pair.steady.consume(Lane::High).await.unwrap();
    let mut inbox = pair.steady.subscribe(Pattern::from(subject("deliver.00aa"))).await.unwrap();
    let mut member = pair.steady.queue_subscribe(Pattern::new("api.*").unwrap(), "api").await.unwrap();
    let Some(before) = topology().await else {
        return;
    };
    // 8 + 8 + 1 lanes, 5 rungs, a quarantine; two inboxes; deliver; two of the group.
    let queues = before.iter().filter(|name| name.starts_with("queues")).count();
    assert_eq!(queues, usize::from(2 * LANE_SHARDS + 1) + 5 + 1 + 2 + 1 + 2, "{before:#?}");

    // 1,000 users talk in 500 conversations, hear of it, and ask for things.
    for user in 0..1_000 {
        support::publish(&pair.shaky, numbered("high.sendMessage", user % 500, user)).await;
        pair.shaky.enqueue(numbered("low.typing", user % 500, user), Box::new(|_| {}));
        support::publish(&pair.shaky, numbered("deliver.00aa", user, user)).await;
    }
    assert_eq!(drain_lane(&mut consumer, 1_000).await.len(), 1_000);
    assert!(matches!(deadline(inbox.next()).await, Some(Arrival::Envelopes(_))));
    let ask = pair.shaky.request(subject("api.users"), "".into(), Duration::from_secs(5));
    let serve = async { deadline(member.next()).await.unwrap().reply("ok".into()) };
    let (answer, ()) = tokio::join!(ask, serve);
    assert_eq!(answer.unwrap(), "ok");

    assert_eq!(topology().await.unwrap(), before);
}
