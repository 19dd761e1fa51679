//! What a worker promises when something goes wrong: order, nothing lost, nothing twice, the one
//! bad event alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::proxy::Proxy;
use crate::cluster::{Cluster, Heard, PATIENCE, envelope, says};
use crate::on_both;
use crate::support::postgres::open;
use bytes::Bytes;
use common::bus::Quarantined;
use protocol::Lane;
use tokio::time::timeout;

on_both! {
    a_poisoned_event_is_set_aside_and_its_neighbours_are_told_once;
    bytes_that_are_no_event_are_set_aside;
    what_a_dead_worker_had_saved_is_told_by_the_next;
    order_holds_while_a_worker_dies_and_another_leaves;
    a_database_that_is_away_holds_everything;
    a_conversation_whose_row_is_locked_waits_alone;
    a_worker_whose_bus_ends_with_it_works_off_its_lanes;
    a_worker_that_leaves_gives_its_shards_to_the_next;
    a_worker_cut_off_its_database_gives_its_shards_to_another;
}

/// For each conversation the contents in the order first heard, and how often anything was heard
/// again.
fn told(heard: &[Heard]) -> (BTreeMap<i64, Vec<(u64, String)>>, usize) {
    let (mut seen, mut conversations, mut again) = (BTreeSet::new(), BTreeMap::<_, Vec<_>>::new(), 0);
    for one in heard.iter().filter(|one| one.event == "messageComing") {
        let conversation = one.data["conversationId"].as_i64().unwrap();
        let seq = one.data["seq"].as_u64().unwrap();
        if seen.insert((conversation, seq)) {
            let content = one.data["content"].as_str().unwrap().to_owned();
            conversations.entry(conversation).or_default().push((seq, content));
        } else {
            again += 1;
        }
    }
    (conversations, again)
}

/// One of two workers alone loses PostgreSQL: within seconds the other one does all of the work, and
/// the first takes its share again when it can.
async fn a_worker_cut_off_its_database_gives_its_shards_to_another(cluster: Cluster) {
    const CONVERSATIONS: usize = 24;
    let (alice, bob) = (cluster.person("alice").await, cluster.person("bob").await);
    let mut conversations = Vec::new();
    for _ in 0..CONVERSATIONS {
        conversations.push(cluster.conversation(&[alice, bob]).await);
    }
    let mut gateway = cluster.gateway(&[alice, bob]).await;
    let proxy = Proxy::before(&cluster.url).await;
    let cut_off = cluster.worker_with(&proxy.url, |_| {}).await;
    let other = cluster.worker().await;
    let from = gateway.sender(alice, 1);
    let say_in_all = |round: usize| {
        let says = conversations.iter().map(|talk| says(from, *talk, &format!("{round}-{talk}"), "x"));
        says.collect::<Vec<_>>()
    };
    cluster.publish(say_in_all(0)).await;
    gateway.count("messageComing", CONVERSATIONS).await;

    proxy.cut();
    cluster.publish(say_in_all(1)).await;
    let told = gateway.count("messageComing", CONVERSATIONS);
    // 2 s until it is sure, a beat, a hold that ends: with a margin for a busy machine.
    timeout(std::time::Duration::from_secs(10), told).await.expect("the other worker does it");
    assert!(!cut_off.readiness.is_ready(), "it says that it cannot work");

    proxy.mend().await;
    let is_ready = async {
        while !cut_off.readiness.is_ready() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, is_ready).await.expect("it is ready again");
    cluster.publish(say_in_all(2)).await;
    gateway.count("messageComing", CONVERSATIONS).await;
    cut_off.drain().await;
    other.drain().await;
}

async fn quarantined(cluster: &Cluster) -> Vec<Quarantined> {
    timeout(PATIENCE, async {
        loop {
            let found = cluster.bus.quarantined(10).await.unwrap();
            if !found.is_empty() {
                return found;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("something is quarantined in time")
}

async fn a_poisoned_event_is_set_aside_and_its_neighbours_are_told_once(cluster: Cluster) {
    let (alice, bob) = (cluster.person("alice").await, cluster.person("bob").await);
    let conversation = cluster.conversation(&[alice, bob]).await;
    let mut gateway = cluster.gateway(&[alice, bob]).await;
    let sender = gateway.sender(alice, 1);
    // The database refuses this content, for the whole statement.
    cluster.sql("alter table messages add constraint no_poison check (content <> 'poison')").await;
    let content = |n| if n == 77 { "poison".to_owned() } else { format!("message {n}") };
    cluster.publish((0..256).map(|n| says(sender, conversation, &format!("g-{n}"), &content(n)))).await;
    let worker = cluster.worker().await;

    let mut heard = Vec::new();
    let failed = loop {
        let one = gateway.next().await;
        if one.event == "sendMessageError" {
            break one;
        }
        heard.push(one);
    };
    assert_eq!((&failed.data["code"], &failed.data["guid"]), (&"failed".into(), &"g-77".into()));
    let (conversations, again) = told(&heard);
    let expect: Vec<_> = (0..256).filter(|n| *n != 77).map(|n| format!("message {n}")).collect();
    let contents: Vec<_> =
        conversations[&conversation.0].iter().map(|(_, content)| content.clone()).collect();
    assert_eq!((contents, again), (expect, 0));
    assert!(conversations[&conversation.0].iter().map(|(seq, _)| *seq).eq(1..=255), "without a gap");
    assert_eq!(heard.iter().filter(|one| one.event == "messageProcessed").count(), 255);

    let aside = quarantined(&cluster).await;
    assert_eq!(aside.len(), 1);
    assert_eq!(aside[0].lane, Lane::High);
    assert!(aside[0].reason.contains("23514"), "{}", aside[0].reason);
    worker.drain().await;
    assert_eq!(gateway.rest().await, []);
}

async fn bytes_that_are_no_event_are_set_aside(cluster: Cluster) {
    let (alice, bob) = (cluster.person("alice").await, cluster.person("bob").await);
    let conversation = cluster.conversation(&[alice, bob]).await;
    let mut gateway = cluster.gateway(&[alice, bob]).await;
    let sender = gateway.sender(alice, 1);
    let envelopes = (0..10).map(|n| {
        let mut envelope = envelope(&says(sender, conversation, &format!("g-{n}"), "fine"));
        if n == 3 {
            envelope.body = Bytes::from_static(b"\x01garbage");
        }
        envelope
    });
    cluster.publish_raw(envelopes).await;
    let worker = cluster.worker().await;
    assert_eq!(gateway.count("messageComing", 9).await.len(), 9);
    gateway.until("loadLastMessage").await;
    let aside = quarantined(&cluster).await;
    assert!(aside[0].reason.starts_with("undecodable"), "{}", aside[0].reason);
    worker.drain().await;
    assert_eq!(gateway.rest().await, []);
}

async fn what_a_dead_worker_had_saved_is_told_by_the_next(cluster: Cluster) {
    let (alice, bob) = (cluster.person("alice").await, cluster.person("bob").await);
    let conversation = cluster.conversation(&[alice, bob]).await;
    let mut gateway = cluster.gateway(&[alice, bob]).await;
    let sender = gateway.sender(alice, 1);
    cluster.publish([says(sender, conversation, "g-1", "told late")]).await;

    // A worker that dies between its commit and its deliveries.
    let mut consumer = cluster.bus.consume(Lane::High).await.unwrap();
    let batch = timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
    assert!(!batch.redelivered);
    cluster.sql(&format!(
        "with c as (update conversations set head_seq = 1 where id = {conversation} returning id)
         insert into messages (id, conversation_id, seq, sender_id, guid, message_type, content, created_at,
                               call_type, call_status)
         select nextval('message_ids'), id, 1, {alice}, 'g-1', 'TEXT', 'told late', now(), 'VOICE', 'ENDED' from c"
    ))
    .await;
    batch.release();
    drop(consumer);

    let worker = cluster.worker().await;
    gateway.until("messageProcessed").await;
    let coming = gateway.until("messageComing").await;
    assert_eq!((&coming.data["content"], &coming.data["seq"]), (&"told late".into(), &1.into()));
    gateway.until("loadLastMessage").await;
    // The client's own repeat is answered to the client alone.
    cluster.publish([says(sender, conversation, "g-1", "told late")]).await;
    assert_eq!(gateway.next().await.event, "messageProcessed");
    worker.drain().await;
    assert_eq!(cluster.sql("select 1 from messages").await.len(), 1);
    assert_eq!(gateway.rest().await, []);
}

async fn order_holds_while_a_worker_dies_and_another_leaves(cluster: Cluster) {
    let (alice, bob) = (cluster.person("alice").await, cluster.person("bob").await);
    let mut conversations = Vec::new();
    for _ in 0..20 {
        conversations.push(cluster.conversation(&[alice, bob]).await);
    }
    let mut gateway = cluster.gateway(&[alice, bob]).await;
    let sender = gateway.sender(alice, 1);
    let (first, second) = (cluster.worker().await, cluster.worker().await);

    const EACH: usize = 200;
    let all = (0..EACH).flat_map(|n| {
        let one = |conversation| says(sender, conversation, &format!("g-{n}"), &format!("{n:04}"));
        conversations.iter().copied().map(one).collect::<Vec<_>>()
    });
    cluster.publish(all).await;

    let (mut heard, mut processed) = (Vec::new(), BTreeSet::new());
    let (mut first, mut second, mut third) = (Some(first), Some(second), None);
    while processed.len() < EACH * conversations.len() {
        let one = gateway.next().await;
        if one.event == "messageProcessed" {
            let of = (one.data["conversationId"].as_i64(), one.data["guid"].to_string());
            processed.insert(of);
        }
        heard.push(one);
        if processed.len() > 200
            && let Some(first) = first.take()
        {
            first.kill();
            third = Some(cluster.worker().await);
        }
        if processed.len() > 2_000
            && let Some(second) = second.take()
        {
            second.drain().await;
        }
    }
    third.unwrap().drain().await;
    heard.extend(gateway.rest().await);

    let (conversations_told, again) = told(&heard);
    eprintln!("heard again after the death of a worker: {again}");
    assert_eq!(conversations_told.len(), conversations.len());
    for (conversation, told) in conversations_told {
        let expect: Vec<_> = (0..EACH).map(|n| (n as u64 + 1, format!("{n:04}"))).collect();
        assert_eq!(told, expect, "conversation {conversation}");
    }
}

async fn a_database_that_is_away_holds_everything(cluster: Cluster) {
    let (alice, bob) = (cluster.person("alice").await, cluster.person("bob").await);
    let conversation = cluster.conversation(&[alice, bob]).await;
    let mut gateway = cluster.gateway(&[alice, bob]).await;
    let sender = gateway.sender(alice, 1);
    let proxy = Proxy::before(&cluster.url).await;
    let worker = cluster.worker_with(&proxy.url, |_| {}).await;
    cluster.publish([says(sender, conversation, "g-0", "before")]).await;
    gateway.until("messageComing").await;

    proxy.cut();
    cluster.publish((1..=500).map(|n| says(sender, conversation, &format!("g-{n}"), "meanwhile"))).await;
    let degraded =
        || worker.readiness.report().iter().any(|(part, state)| *part == "store" && state.is_down());
    timeout(PATIENCE, async {
        while !degraded() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the worker says that it is not ready");

    proxy.mend().await;
    let mut seqs = Vec::new();
    while seqs.len() < 500 {
        let one = gateway.next().await;
        assert_ne!(one.event, "sendMessageError");
        if one.event == "messageComing" {
            seqs.push(one.data["seq"].as_u64().unwrap());
        }
    }
    assert!(seqs.into_iter().eq(2..=501), "everything, once, in order");
    assert!(worker.readiness.is_ready());
    assert_eq!(cluster.bus.quarantined(10).await.unwrap(), []);
    worker.drain().await;
    assert_eq!(cluster.sql("select 1 from messages").await.len(), 501);
}

/// Somebody holds the row of one conversation: its neighbours, also those of its shard, are told
/// meanwhile; it is told when the row is free, in its order; and the store is not called away.
async fn a_conversation_whose_row_is_locked_waits_alone(cluster: Cluster) {
    let (alice, bob) = (cluster.person("alice").await, cluster.person("bob").await);
    let mut talks = Vec::new();
    for _ in 0..24 {
        talks.push(cluster.conversation(&[alice, bob]).await);
    }
    let mut gateway = cluster.gateway(&[alice, bob]).await;
    let sender = gateway.sender(alice, 1);
    let (locked, others) = talks.split_first().unwrap();
    let holder = open(&cluster.url).await;
    let lock = format!("begin; select from conversations where id = {locked} for update");
    holder.batch_execute(&lock).await.unwrap();

    let worker = cluster.worker().await;
    let said = (0..5).flat_map(|n| talks.iter().map(move |talk| (n, *talk)));
    cluster
        .publish(said.map(|(n, talk)| says(sender, talk, &format!("g-{talk}-{n}"), &format!("{n}"))))
        .await;
    let (mut heard, mut coming) = (Vec::new(), 0);
    while coming < 5 * others.len() {
        let one = gateway.next().await;
        assert_ne!(one.event, "sendMessageError");
        coming += usize::from(one.event == "messageComing");
        heard.push(one);
    }
    let (conversations, again) = told(&heard);
    assert!(!conversations.contains_key(&locked.0), "it waits");
    assert!(worker.readiness.is_ready(), "the store is not away");

    // Said while it waits and while it gets through, it waits as well.
    let mut late = 5..25;
    for n in late.by_ref().take(10) {
        cluster.publish([says(sender, *locked, &format!("g-late-{n}"), &n.to_string())]).await;
    }
    holder.batch_execute("rollback").await.unwrap();
    let mut rest = Vec::new();
    while rest.iter().filter(|one: &&Heard| one.event == "messageComing").count() < 25 {
        if let Some(n) = late.next() {
            cluster.publish([says(sender, *locked, &format!("g-late-{n}"), &n.to_string())]).await;
        }
        rest.push(gateway.next().await);
    }
    let (late, late_again) = told(&rest);
    let expect: Vec<_> = (0..25).map(|n| (n + 1, n.to_string())).collect();
    assert_eq!((&late[&locked.0], again + late_again), (&expect, 0), "everything, once, in order");
    assert_eq!(cluster.bus.quarantined(10).await.unwrap(), []);
    worker.drain().await;
}

async fn a_worker_whose_bus_ends_with_it_works_off_its_lanes(cluster: Cluster) {
    let (alice, bob) = (cluster.person("alice").await, cluster.person("bob").await);
    let conversation = cluster.conversation(&[alice, bob]).await;
    let gateway = cluster.gateway(&[alice, bob]).await;
    let worker = cluster.worker_with(&cluster.url, |config| config.finish_lanes = true).await;
    let sender = gateway.sender(alice, 1);
    cluster.publish((0..2_000).map(|n| says(sender, conversation, &format!("g-{n}"), "promised"))).await;
    worker.drain().await;
    assert_eq!(cluster.sql("select 1 from messages").await.len(), 2_000);
}

async fn a_worker_that_leaves_gives_its_shards_to_the_next(cluster: Cluster) {
    let (alice, bob) = (cluster.person("alice").await, cluster.person("bob").await);
    let mut conversations = Vec::new();
    for _ in 0..30 {
        conversations.push(cluster.conversation(&[alice, bob]).await);
    }
    let mut gateway = cluster.gateway(&[alice, bob]).await;
    let sender = gateway.sender(alice, 1);
    let (first, second) = (cluster.worker().await, cluster.worker().await);
    for round in 0..3 {
        cluster
            .publish(conversations.iter().map(|one| says(sender, *one, &format!("g-{round}"), "hello")))
            .await;
        gateway.count("messageProcessed", conversations.len()).await;
    }
    first.drain().await;
    let begun = tokio::time::Instant::now();
    cluster.publish(conversations.iter().map(|one| says(sender, *one, "g-last", "hello"))).await;
    gateway.count("messageProcessed", conversations.len()).await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(3), "sooner than a silent worker is missed");
    second.drain().await;
}
