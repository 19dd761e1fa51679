//! The canary against real programs on real peers: what it sees of a cluster that is well, of one that
//! loses time, and of gateways that leave or die. And what it says when it is told nonsense.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::nginx::Nginx;
use crate::support::person::{Person, call};
use crate::support::program::Program;
use crate::support::{Cluster, WholePeers, pause, until};
use serde_json::{Value, json};

/// How a command ended and what it said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

fn runs(line: &str, env: &[(String, String)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatchit"));
    command.args(line.split(' ')).env_clear().envs(env.iter().cloned()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn with(env: &[(String, String)], name: &str, value: &str) -> Vec<(String, String)> {
    let others = env.iter().filter(|(known, _)| known != name).cloned();
    others.chain([(name.to_owned(), value.to_owned())]).collect()
}

/// Rounds and what became of their pairs.
fn lost(canary: &Program) -> f64 {
    canary.counter("chatchit_canary_lost_total")
}

fn heard(canary: &Program) -> f64 {
    canary.counter("chatchit_canary_seconds_count")
}

#[test]
fn what_it_is_told_has_to_make_sense() {
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    for line in ["canary", "canary --once", "canary --check"] {
        let said = runs(line, &[]);
        assert_eq!(said.code, 64, "{line}: {}", said.err);
        assert!(said.err.contains("CANARY_GATEWAYS") && said.err.contains("CANARY_PASSWORD"), "{}", said.err);
    }
    for line in ["canary --twice", "canary --json", "canary bob", "canary --once --check"] {
        let said = runs(line, &[]);
        assert!(said.code == 64 && said.err.contains("Usage: chatchit canary"), "{line}: {}", said.err);
    }
    let good = pairs(&[("CANARY_GATEWAYS", "127.0.0.1:1"), ("CANARY_PASSWORD", "a secret word")]);
    assert_eq!(runs("canary --check", &good).code, 0);
    for (name, value) in [
        ("CANARY_GATEWAYS", "http://a:1"),
        ("CANARY_GATEWAYS", "gateway"),
        ("CANARY_EMAIL", "nobody"),
        ("CANARY_FRONT", "a:1"),
        ("CANARY_FRONT", "http://a:1/chat"),
    ] {
        let said = runs("canary --check", &with(&good, name, value));
        assert!(said.code == 64 && said.err.contains(name), "{name}={value}: {}", said.err);
        assert!(!said.err.contains("a secret word"), "{}", said.err);
    }
    let both = with(&good, "CANARY_PASSWORD_FILE", "/nonexistent");
    assert!(runs("canary --check", &both).err.contains("both set"));
    // Nobody is there.
    let said = runs("canary --once", &good);
    assert!(said.code == 2 && said.err.contains("nothing answers at 127.0.0.1:1"), "{}", said.err);
    let said = runs("canary --once", &with(&good, "CANARY_GATEWAYS", "no-such-name.invalid:1"));
    assert!(said.code == 2 && said.err.contains("no-such-name.invalid"), "{}", said.err);
}

#[test]
fn one_round_tells_of_every_pair_and_of_who_is_away() {
    let Some(_peers) = WholePeers::of_this_run() else { return };
    let mut cluster = Cluster::start("canary-once", 2, 2);
    let env = cluster.canary_env();
    let places: Vec<String> =
        cluster.gateways.iter().map(|gateway| format!("127.0.0.1:{}", gateway.port)).collect();

    // The first time the accounts are made, the second time they are there.
    for _ in 0..2 {
        let said = runs("canary --once --json", &env);
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        let report: Value = serde_json::from_str(&said.out).unwrap();
        let pairs = report["pairs"].as_array().unwrap();
        let mut seen: Vec<_> =
            pairs.iter().map(|pair| (pair["from"].as_str().unwrap(), pair["to"].as_str().unwrap())).collect();
        seen.sort_unstable();
        let mut expected: Vec<(&str, &str)> = Vec::new();
        for from in &places {
            expected.extend(places.iter().map(|to| (from.as_str(), to.as_str())));
        }
        expected.sort_unstable();
        assert_eq!(seen, expected, "{report}");
        assert!(pairs.iter().all(|pair| pair["seconds"].as_f64() > Some(0.0)), "{report}");
        assert_eq!(report["good"], true);
    }
    let said = runs("canary --once", &env);
    assert_eq!((said.code, said.out.lines().count()), (0, 5), "{}{}", said.out, said.err);
    assert!(said.out.starts_with("FROM ") && said.out.contains(&places[1]), "{}", said.out);

    let said = runs("canary --once", &with(&env, "CANARY_PASSWORD", "not this one"));
    assert_eq!(said.code, 64, "{}", said.err);
    assert!(said.err.contains("the password is not that of speaker.canary@chatchit.invalid"), "{}", said.err);
    assert!(!said.err.contains("not this one"), "{}", said.err);

    cluster.gateways[1].kill();
    let said = runs("canary --once --json", &env);
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((report["pairs"].as_array().unwrap().len(), &report["good"]), (1, &Value::Bool(false)));
    let why = report["unreachable"][&places[1]].as_str().unwrap();
    assert!(why.contains("nothing answers"), "{report}");
}

#[test]
fn it_tells_what_was_lost_and_recovers_by_itself() {
    let Some(_peers) = WholePeers::of_this_run() else { return };
    let mut cluster = Cluster::start("canary", 2, 2);
    let mut canary = cluster.canary();
    canary.wait_until_ready();
    let limit = Duration::from_secs(40);
    until(limit, "a round is heard", || heard(&canary) >= 4.0);
    assert_eq!(lost(&canary), 0.0);

    // Nobody works: what is acknowledged is not shown, in time.
    cluster.workers.iter().for_each(|worker| worker.signal("-STOP"));
    until(limit, "it is lost", || lost(&canary) >= 4.0);
    cluster.workers.iter().for_each(|worker| worker.signal("-CONT"));
    let log = canary.log();
    let line = log.lines().find(|line| line.contains("A message was lost")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(
        line["message.guid"].as_str().unwrap().len(),
        "00000000-0000-7000-8000-000000000000".len(),
        "{line}"
    );
    assert_eq!(line["reason"], "unheard", "{line}");
    until(limit, "it comes after all", || canary.counter("chatchit_canary_late_total") == lost(&canary));
    let (before, lost_before) = (heard(&canary), lost(&canary));
    until(limit, "all is heard again", || heard(&canary) >= before + 8.0);
    assert_eq!(lost(&canary), lost_before, "by itself");

    leaves(&mut cluster, &canary);
    dies(&mut cluster, &canary);
}

/// nginx in front is one more place: through it and to it each message is heard too, and it is missed.
#[test]
fn the_front_door_is_watched_beside_the_gateways() {
    let Some(_peers) = WholePeers::of_this_run() else { return };
    let cluster = Cluster::start("canary-front", 2, 1);
    let ports: Vec<u16> = cluster.gateways.iter().map(|gateway| gateway.port).collect();
    let Some(nginx) = Nginx::in_front_of(&ports, &[]) else { return };
    let front = format!("http://127.0.0.1:{}", nginx.port);
    let env = with(&cluster.canary_env(), "CANARY_FRONT", &front);
    let said = runs("canary --once --json", &env);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let pairs = report["pairs"].as_array().unwrap();
    let through = pairs.iter().filter(|pair| pair["from"] == "front" || pair["to"] == "front").count();
    assert_eq!((pairs.len(), through), (9, 5), "{report}");

    // From outside the front door is all that a canary can name.
    let outside: Vec<_> = env.iter().filter(|(name, _)| name != "CANARY_GATEWAYS").cloned().collect();
    let mut canary = Program::start("canary", 0, &outside);
    canary.wait_until_ready();
    until(Duration::from_secs(40), "it is heard through the front door", || {
        canary.metric("chatchit_canary_front_reached") == Some(1.0) && heard(&canary) >= 1.0
    });
    drop(nginx);
    let said = runs("canary --once --json", &env);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, report["pairs"].as_array().unwrap().len()), (1, 4), "{report}");
    assert!(report["unreachable"]["front"].as_str().unwrap().contains("nothing answers"), "{report}");
    until(Duration::from_secs(40), "it is missed", || {
        canary.metric("chatchit_canary_front_reached") == Some(0.0) && canary.readiness() == "503: front"
    });
    assert!(canary.log().contains("The front door is away"), "{}", canary.log());
}

/// A stranger's conversation of the same title, with both of the canary's accounts in it, is not the
/// canary's: the stranger hears nothing, and what it says there is no part of the measurement.
#[test]
fn a_stranger_neither_hears_the_canary_nor_disturbs_it() {
    let Some(_peers) = WholePeers::of_this_run() else { return };
    let cluster = Cluster::start("canary-stranger", 1, 1);
    let port = cluster.gateways[0].port;
    let env = with(&cluster.canary_env(), "CANARY_EMAIL", &format!("stranger.{port}@chatchit.invalid"));
    // Before the canary has a conversation: only its accounts are there.
    let accounts = ["speaker", "listener"].map(|name| {
        Person::with_account(port, name, &format!("{name}.stranger.{port}@chatchit.invalid"), "a canary's")
    });
    let stranger = Person::new(port, "stranger");
    let participants: Vec<_> =
        accounts.iter().map(|one| json!({ "userId": one.id, "type": "MEMBER" })).collect();
    let wanted = json!({ "title": "canary", "participants": participants });
    let made = call(port, "POST", "/conversations/create", Some(&stranger.token), &wanted);
    let conversation = made["id"].as_i64().unwrap();

    let said = runs("canary --once", &env);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(stranger.reads(port, conversation), Vec::<Value>::new(), "the canary speaks elsewhere");
    let own = |person: &Person| {
        let page = call(port, "GET", "/conversations?page=1&size=10", Some(&person.token), &Value::Null);
        let all = page["result"].as_array().unwrap().clone();
        all.into_iter().filter(|one| one["id"] != conversation).collect::<Vec<_>>()
    };
    assert_eq!(own(&accounts[0]).len(), 1, "one of its own");
    assert_eq!(own(&accounts[0])[0]["participantCount"], 2);
    assert_eq!(own(&stranger), Vec::<Value>::new(), "and the stranger is not in it");
    assert_eq!(runs("canary --once", &env).code, 0);
    assert_eq!(own(&accounts[0]).len(), 1, "which is found again");

    // Later numbers of another conversation are no disorder in its own.
    let mut canary = Program::start("canary", 0, &env);
    canary.wait_until_ready();
    let mut socket = stranger.opens_socket(port);
    for number in 0..30 {
        let data = json!({
            "conversationId": conversation, "guid": format!("stranger-{number}"), "messageType": "TEXT",
            "content": "hello",
        });
        socket.says("sendMessage", &data);
    }
    socket.hears("messageProcessed");
    let rounds = || canary.counter("chatchit_canary_rounds_total");
    let (began, before) = (rounds(), heard(&canary));
    until(Duration::from_secs(60), "two rounds more", || {
        rounds() >= began + 2.0 && heard(&canary) >= before + 1.0
    });
    assert_eq!(canary.counter("chatchit_canary_faults_total"), 0.0, "{}", canary.log());
}

/// A gateway that says goodbye and is replaced is not missed, and nothing is lost.
fn leaves(cluster: &mut Cluster, canary: &Program) {
    let (lost_before, unreached) = (lost(canary), canary.counter("chatchit_canary_unreachable_total"));
    assert!(cluster.gateways[1].drain().success());
    let rounds = || canary.counter("chatchit_canary_rounds_total");
    let began = rounds();
    until(Duration::from_secs(40), "a round without it", || rounds() > began);
    let port = cluster.gateways[1].port;
    cluster.gateways[1] = cluster.gateway(port);
    cluster.gateways[1].wait_until_ready();
    until(Duration::from_secs(40), "it is watched again", || {
        canary.readiness() == "200" && rounds() > began + 1.0
    });
    assert_eq!(lost(canary), lost_before, "nothing is lost when one leaves");
    assert_eq!(canary.counter("chatchit_canary_unreachable_total"), unreached, "nor is it missed");
}

/// One that dies is missed, and nothing acknowledged is lost.
fn dies(cluster: &mut Cluster, canary: &Program) {
    let (lost_before, unreached) = (lost(canary), canary.counter("chatchit_canary_unreachable_total"));
    cluster.gateways[0].kill();
    until(Duration::from_secs(40), "it is missed", || {
        let is_counted = canary.counter("chatchit_canary_unreachable_total") > unreached;
        is_counted && canary.log().contains("is away (connect)")
    });
    // Longer than a round is waited for.
    pause(Duration::from_secs(6));
    assert_eq!(lost(canary), lost_before);
}
