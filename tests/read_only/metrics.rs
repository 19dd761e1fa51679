//! Everything that METRICS.md lists is there to be scraped, and quickly; `/health` tells how it is.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::support::faults::silent_while_well;
use crate::support::person::{Person, Socket, http};
use crate::support::program::Program;
use crate::support::{Cluster, WholePeers, now, pause, until};
use serde_json::{Value, json};

/// Sockets that are open while it is scraped.
const SOCKETS: usize = 300;

/// What a scrape may take.
const SCRAPE: Duration = Duration::from_millis(20);

#[test]
fn everything_documented_is_measured_and_quickly() {
    let Some(_peers) = WholePeers::of_this_run() else { return };
    let cluster = Cluster::start("metrics", 1, 1);
    let mut canary = cluster.canary_with_front();
    canary.wait_until_ready();
    let mut crowd = Crowd::comes(&cluster);
    crowd.talks();

    // Some numbers are taken from time to time; a heartbeat comes to some of many within a second.
    let mut missing: BTreeSet<String>;
    let limit = now() + Duration::from_secs(40);
    loop {
        crowd.sockets.iter_mut().for_each(Socket::pongs);
        let shown: Vec<String> =
            programs(&cluster).chain([&canary]).map(|program| program.asks("/metrics").1).collect();
        missing =
            documented().into_iter().filter(|name| !shown.iter().any(|text| shows(text, name))).collect();
        if missing.is_empty() || now() > limit {
            break;
        }
        pause(Duration::from_millis(500));
    }
    assert_eq!(missing, BTreeSet::new(), "METRICS.md lists what no program shows");

    let gateway = &cluster.gateways[0];
    // What is counted now and then has been by then.
    until(Duration::from_secs(15), "the canary is healthy", || {
        serde_json::from_str::<Value>(&canary.asks("/health").1).unwrap()["score"] == 100
    });
    until(Duration::from_secs(15), "all sockets are counted, and a worker on each lane", || {
        gateway.metric("gateway_sockets_open") >= Some(SOCKETS as f64)
            && gateway.metric("process_open_fds") >= Some(SOCKETS as f64)
            && gateway.metric("bus_lane_consumers") == Some(3.0)
    });
    let scrape = || {
        let start = now();
        gateway.asks("/metrics");
        start.elapsed()
    };
    // The best of some: other work runs on the same processors.
    let best = (0..20).map(|_| scrape()).min().unwrap();
    assert!(best <= SCRAPE, "a scrape with {SOCKETS} sockets took {best:?}");
    eprintln!("a scrape with {SOCKETS} sockets: {best:?}");
    health_is_told(&cluster);
}

/// With everything well, and then without a worker.
fn health_is_told(cluster: &Cluster) {
    for program in programs(cluster) {
        until(Duration::from_secs(30), "healthy", || {
            let (status, body) = program.asks("/health");
            let health: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(status, 200, "{body}");
            health["status"] == "healthy" && health["score"].as_u64() > Some(89)
        });
    }
    let detailed =
        |program: &Program| serde_json::from_str::<Value>(&program.asks("/health/detailed").1).unwrap();
    let (gateway, worker) = (detailed(&cluster.gateways[0]), detailed(&cluster.workers[0]));
    for (health, program, parts) in [
        (&gateway, "gateway", &["bus", "directory", "secret", "workers", "runtime"][..]),
        (&worker, "worker", &["bus", "directory", "secret", "store", "lanes"][..]),
    ] {
        assert_eq!(health["program"], program);
        assert_eq!(health["version"], common::version::VERSION);
        let known: BTreeSet<&str> = health["parts"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(known, parts.iter().copied().collect(), "{health}");
        assert!(health["parts"].as_object().unwrap().values().all(|part| part["state"] == "ok"), "{health}");
        assert!(health["process"]["residentBytes"].as_u64() > Some(1_000_000), "{health}");
        assert!(health["rates"]["overSeconds"].as_f64() > Some(0.0), "{health}");
    }
    assert_eq!(gateway["queues"]["high"]["waiting"], 0.0, "{gateway}");
    assert_eq!(gateway["queues"]["high"]["consumers"], 1.0, "{gateway}");
    assert_eq!(worker["queues"]["high"]["unacked"], 0.0, "{worker}");
    assert!(
        worker["parts"]["store"]["latencyMs"].as_f64() > Some(0.0),
        "it is asked again and again: {worker}"
    );
    health_says_what_is_scraped(cluster);
}

/// What a program's health is told from is counted beside what Prometheus scrapes: both say the same.
fn health_says_what_is_scraped(cluster: &Cluster) {
    let (gateway, worker) = (&cluster.gateways[0], &cluster.workers[0]);
    for (program, path, metric, label) in [
        (gateway, "/sockets", "gateway_sockets_open", ""),
        (gateway, "/errors/publishesBusy", "bus_publishes_total", r#"result="busy""#),
        (gateway, "/errors/apiFailed", "gateway_api_failed_total", ""),
        (gateway, "/errors/directoryFaults", "directory_faults_total", ""),
        (gateway, "/queues/high/consumers", "bus_lane_consumers", r#"lane="high""#),
        (worker, "/errors/storeFailures", "worker_store_failures_total", ""),
        (worker, "/errors/quarantined", "bus_quarantined_total", ""),
        (worker, "/queues/high/unacked", "bus_lane_unacked_batches", r#"lane="high""#),
    ] {
        until(Duration::from_secs(15), path, || {
            let health: Value = serde_json::from_str(&program.asks("/health/detailed").1).unwrap();
            let (_, text) = program.asks("/metrics");
            let series = text.lines().filter(|line| line.starts_with(metric) && line.contains(label));
            let scraped: f64 =
                series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
            health.pointer(path).and_then(Value::as_f64) == Some(scraped)
        });
    }
}

#[test]
fn without_a_worker_the_lanes_are_seen_to_fall_behind() {
    let Some(_peers) = WholePeers::of_this_run() else { return };
    let mut cluster = Cluster::start("metrics-alone", 1, 1);
    let port = cluster.gateways[0].port;
    let [alice, bob] = ["alice", "bob"].map(|name| Person::new(port, name));
    let conversation = alice.creates_conversation_with(port, &[&bob]);
    let mut socket = alice.opens_socket(port);
    cluster.workers[0].kill();
    socket.says("sendMessage", &json!({ "conversationId": conversation, "guid": "g-1", "content": "a" }));
    socket.hears("messageQueued");

    let gateway = &cluster.gateways[0];
    until(Duration::from_secs(30), "the backlog is seen", || {
        gateway.metric("bus_lane_waiting_batches") >= Some(1.0)
            && gateway.metric("bus_lane_backlog_seconds") >= Some(5.0)
    });
    assert_eq!(gateway.metric("bus_lane_consumers"), Some(0.0));
    let (status, body) = gateway.asks("/readyz");
    assert_eq!(status, 200, "degraded is not down: {body}");
    assert!(body.contains("degraded: no worker"), "{body}");
    until(Duration::from_secs(30), "lateness costs points", || {
        let health: Value = serde_json::from_str(&gateway.asks("/health").1).unwrap();
        health["score"].as_u64() < Some(95)
    });

    cluster.workers[0] = cluster.worker();
    cluster.workers[0].wait_until_ready();
    socket.hears("messageProcessed");
    let gateway = &cluster.gateways[0];
    until(Duration::from_secs(30), "it is over", || {
        gateway.metric("bus_lane_backlog_seconds") == Some(0.0) && gateway.readiness() == "200"
    });
}

/// Many sockets of few people.
struct Crowd {
    port: u16,
    conversation: i64,
    people: [Person; 2],
    sockets: Vec<Socket>,
}

impl Crowd {
    fn comes(cluster: &Cluster) -> Self {
        let port = cluster.gateways[0].port;
        let people = ["alice", "bob"].map(|name| Person::new(port, name));
        let conversation = people[0].creates_conversation_with(port, &[&people[1]]);
        let sockets = (0..SOCKETS).map(|place| people[place % 2].opens_socket(port)).collect();
        Self { port, conversation, people, sockets }
    }

    /// A little of everything, mistakes too.
    fn talks(&mut self) {
        let (id, (alices, bobs)) = (self.conversation, self.sockets.split_at_mut(1));
        let (alice, bob) = (&mut alices[0], &mut bobs[0]);
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let message = json!({ "conversationId": id, "guid": "g-1", "content": "a", "traceparent": trace });
        alice.says("sendMessage", &message);
        alice.hears("messageProcessed");
        let shown = bob.hears("messageComing");
        // The same again is a repeat.
        alice.says("sendMessage", &message);
        alice.hears("messageProcessed");
        bob.says("messageRead", &json!({ "conversationId": id, "messageId": shown["id"] }));
        alice.hears("messageRead");
        bob.says("typing", &json!({ "conversationId": id }));
        alice.hears("typing");
        bob.says("sync", &json!({ "conversations": { id.to_string(): 0 } }));
        bob.hears("synced");
        bob.says("getOnlineUsers", &Value::Null);
        bob.hears("onlineUsers");
        bob.says("noSuchEvent", &json!({}));
        bob.awaits(&["exception"], Duration::from_secs(10)).expect("it is refused");
        // Not an upgrade.
        assert_eq!(http(self.port, "GET", "/ws", None, "").unwrap().0, 426);
        // Somebody goes, and the others are told.
        self.people[0].tries_socket(self.port).unwrap();
    }
}

fn programs(cluster: &Cluster) -> impl Iterator<Item = &Program> {
    cluster.gateways.iter().chain(&cluster.workers)
}

/// Whether the text has a value of this metric, whatever its type.
fn shows(text: &str, name: &str) -> bool {
    let ends = [" ", "{", "_bucket{", "_count ", "_count{"];
    text.lines()
        .filter_map(|line| line.strip_prefix(name))
        .any(|rest| ends.iter().any(|end| rest.starts_with(end)))
}

/// The metrics that METRICS.md lists, less those of faults.
fn documented() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("METRICS.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut all: BTreeSet<String> = rows.map(str::to_owned).collect();
    assert!(all.len() > 80, "the tables are found");
    for (name, fault) in silent_while_well() {
        assert!(all.remove(*name), "{name} ({fault}) is not in METRICS.md");
    }
    all
}
