//! A hundred thousand typing events wait on the low lane, and messages pass them.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use crate::support::{Cluster, Peers, is_proof, pause};
use common::bus::{Bus, BusConfig, Envelope, QueueKind, Subject};
use protocol::events::typing::Typing;
use protocol::ids::{ConversationId, NodeId, UserId};
use protocol::{Sender, Timestamp, Uplink, encode};
use swarm::options::Options;
use swarm::report::Report;
use swarm::run::{Moment, run_watched};

const TYPING: usize = 100_000;

#[test]
fn messages_pass_a_hundred_thousand_typing_events() {
    let Some(_peers) = Peers::of_this_run() else { return };
    let cluster = Cluster::start("typing-backlog", 1, 1);
    // Warms up: connections, plans, accounts.
    talk(&cluster, || {});
    let quiet = talk(&cluster, || {});

    let worked = || cluster.workers[0].counter("lanes_events_total");
    let before = worked();
    let (begin, begun) = mpsc::channel();
    let prefix = cluster.prefix();
    let flood = std::thread::spawn(move || {
        begun.recv().unwrap();
        type_a_lot(&prefix);
    });
    let loud = talk(&cluster, || begin.send(()).unwrap());
    flood.join().unwrap();
    let typing = worked() - before - loud.verdict.persisted as f64;

    let (quiet, loud) = (quiet.processed, loud.processed);
    eprintln!("sendMessage → messageProcessed, ms: p50 {:.1} p99 {:.1} alone", quiet.p50, quiet.p99);
    eprintln!("p50 {:.1} p99 {:.1} beside {typing} typing events worked on", loud.p50, loud.p99);
    // What a slow machine does not reach in five seconds is shed, as it should be.
    let reached = if is_proof() { 0.9 } else { 0.05 };
    assert!(typing >= reached * TYPING as f64, "{typing} typing events reached the worker");
    // On a machine that compiles beside it, p99 of a debug build is that of the machine.
    let (times, slack_ms) = if is_proof() { (1.5, 0.0) } else { (3.0, 1_000.0) };
    assert!(
        loud.p99 <= quiet.p99 * times + slack_ms,
        "p99 {} ms beside typing, {} alone",
        loud.p99,
        quiet.p99
    );
}

/// A few people talk for some seconds; `opened` is called when their sockets are.
fn talk(cluster: &Cluster, opened: impl Fn()) -> Report {
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("lanes-{}", std::process::id()));
    let (rate, seconds) = if is_proof() { ("200", "8") } else { ("100", "5") };
    let arguments = [
        ("--url", cluster.urls()[0].as_str()),
        ("--senders", "10"),
        ("--conversations", "20"),
        ("--members", "2"),
        ("--rate", rate),
        ("--seconds", seconds),
        ("--pipeline", "8"),
        ("--cache", cache.to_str().unwrap()),
    ]
    .map(|(name, value)| [name.to_owned(), value.to_owned()]);
    let options = Options::read(arguments.into_iter().flatten()).unwrap();
    let report = run_watched(&options, |moment, _| {
        if moment == Moment::Opened {
            opened();
        }
    });
    let report = report.unwrap();
    assert!(report.is_clean, "{report}");
    report
}

/// What no client could: everybody types at once, half of them where they are no members.
fn type_a_lot(prefix: &str) {
    let url = std::env::var("AMQP_URL").unwrap();
    let config = BusConfig { url, prefix: prefix.into(), queues: QueueKind::Classic, ca_file: None };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let bus = Bus::connect(config, NodeId::random()).await.unwrap();
        for n in 0..TYPING as i64 {
            let conversation = ConversationId(if n % 2 == 0 { 1 } else { 1_000_000 + n % 5_000 });
            let from = Sender { user: UserId(1 + n % 1_000), socket: None };
            let data = format!(r#"{{"conversationId":{conversation}}}"#);
            let uplink = Uplink::of::<Typing>(from, Timestamp::now(), &data).unwrap();
            let envelope = Envelope {
                subject: Subject::new("low.typing").unwrap(),
                key: conversation.0.cast_unsigned(),
                body: encode(&uplink),
            };
            bus.enqueue(envelope, Box::new(|_| {}));
            if n % 1_000 == 0 {
                // The window holds eight thousand; a client would hear busy.
                pause(Duration::from_millis(10));
            }
        }
        bus.drain().await;
    });
}
