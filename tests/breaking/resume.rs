//! Sockets lose their gateway, politely and not: they come again without a herd, miss nothing, and
//! cost the database nothing. Sizes are small in `make test`; `make proof` runs the full ones.

use std::time::Duration;

use crate::support::load::Load;
use crate::support::nginx::Nginx;
use crate::support::person::Person;
use crate::support::{Cluster, Peers, SECRET, WholePeers, is_proof, until};
use serde_json::json;

#[test]
fn all_gateways_are_replaced_one_after_the_other_and_nobody_comes_in_a_herd() {
    let Some(_peers) = Peers::of_this_run() else { return };
    let (idle, budget) = if is_proof() { (1_950, 200) } else { (288, 50) };
    let (messages, rate) = if is_proof() { (20_000, 400.0) } else { (3_000, 100.0) };
    let extra = [("DRAIN_MS", "60000"), ("RECONNECTS_PER_S", &budget.to_string())];
    let mut cluster = Cluster::start_with("rolled", 3, 2, &extra);
    let ports: Vec<u16> = cluster.gateways.iter().map(|gateway| gateway.port).collect();
    let Some(nginx) = Nginx::in_front_of(&ports, &[]) else { return };
    let url = format!("http://127.0.0.1:{}", nginx.port);
    let sockets = idle.to_string();
    let load = Load::begin_with(&url, messages, rate, &[("--sockets", &sockets), ("--jwt-secret", SECRET)]);

    load.until_part(&cluster, 0.05);
    for (index, port) in ports.into_iter().enumerate() {
        assert!(cluster.gateways[index].drain().success());
        cluster.gateways[index] = cluster.gateway(port);
        cluster.gateways[index].wait_until_ready();
    }
    assert!(!load.is_over(), "the load was there all the time");

    let report = load.ends_clean();
    let counts = &report.counts;
    assert!(counts.cuts >= report.sockets as u64, "every socket lost its gateway: {}", counts.cuts);
    assert_eq!(report.resumed.count, counts.cuts, "and came again");
    assert!(counts.closes.keys().all(|why| ["moved", "1001"].contains(&why.as_str())), "{:?}", counts.closes);
    let peak = report.reconnects_per_s_max as f64;
    assert!(peak <= 1.2 * f64::from(budget), "{peak} reconnects in a second, {budget} is the budget");
}

#[test]
fn sockets_of_a_killed_gateway_resume_elsewhere_within_seconds() {
    let Some(_peers) = Peers::of_this_run() else { return };
    let mut cluster = Cluster::start("killed", 3, 2);
    let idle = if is_proof() { "2950" } else { "288" };
    let (messages, rate) = if is_proof() { (8_000, 400.0) } else { (1_500, 100.0) };
    let more = [("--sockets", idle), ("--jwt-secret", SECRET)];
    let load = Load::begin_with(&cluster.urls().join(","), messages, rate, &more);

    load.until_part(&cluster, 0.2);
    cluster.gateways[0].kill();

    let report = load.ends_clean();
    let cuts = report.counts.cuts;
    assert!(cuts >= report.sockets as u64 / 3, "a third of the sockets lost its gateway: {cuts}");
    assert!(report.resumed.count as f64 >= 0.999 * cuts as f64, "{} of {cuts} resumed", report.resumed.count);
    // Five seconds, and the window in which correct clients spread themselves (150 ms at first).
    assert!(report.resumed.p999 <= 5_150.0, "resumed within {} ms", report.resumed.p999);
}

#[test]
fn a_resume_that_missed_nothing_costs_one_statement() {
    let Some(_peers) = WholePeers::of_this_run() else { return };
    let cluster = Cluster::start("no-sql", 2, 1);
    let ports = [cluster.gateways[0].port, cluster.gateways[1].port];
    let (alice, bob) = (Person::new(ports[0], "alice"), Person::new(ports[0], "bob"));
    let conversation = alice.creates_conversation_with(ports[0], &[&bob]);
    let mut at_alice = alice.opens_socket(ports[0]);
    let mut says = |guid: &str| {
        let data = json!({ "conversationId": conversation, "guid": guid, "content": "xin chào" });
        at_alice.says("sendMessage", &data);
        at_alice.hears("messageProcessed");
    };
    says("first");
    // All but the worker's own look at its peers, every other second.
    let statements =
        || cluster.workers[0].counter_but("worker_store_statement_seconds_count", r#"statement="ping""#);
    let resumes = |number: usize, held: u64| {
        let mut socket = bob.opens_socket(ports[number % 2]);
        socket.says("sync", &json!({ "conversations": { conversation.to_string(): held } }));
        socket.hears("synced")
    };
    // That both have come is told once, and costs a statement.
    until(Duration::from_secs(20), "both are told of", || {
        drop(resumes(0, 1));
        cluster.workers[0].counter("worker_presence_told_total") >= 2.0
    });
    // The head is in the directory as soon as the message is told.
    until(Duration::from_secs(20), "the head is known", || resumes(0, 1)["current"] == json!([conversation]));

    let before = statements();
    assert!(before > 0.0, "statements are counted");
    for number in 0..100 {
        assert_eq!(resumes(number, 1)["current"], json!([conversation]));
    }
    // Whether the client is a member: what it may learn of a head is asked of the store.
    assert_eq!(statements(), before + 100.0, "a hundred reconnects and syncs");

    // Who missed something does cost something: the count would show it.
    says("second");
    let sent = statements();
    assert_eq!(resumes(0, 1)["missed"][0]["messages"][0]["guid"], "second");
    assert!(statements() > sent);
}
