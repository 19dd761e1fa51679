//! `chatchit trace`: where is my message? Asked of real programs, at every stage of a message's life,
//! and a hundred times while workers are killed under load.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::load::Load;
use crate::support::operator::{Tool, message, set_aside};
use crate::support::person::{Person, Socket, call};
use crate::support::{Cluster, Peers, WholePeers, pause, until};
use protocol::Timestamp;
use serde_json::{Value, json};

/// What may never be shown.
const WORDS: &str = "bí mật";

/// The answer about the one message of this guid, and its exit code.
fn asked(tool: &Tool, line: &str) -> (Value, i32) {
    let said = tool.runs(&format!("trace {line} --json"));
    assert!(said.code == 0 || said.code == 1, "{line}: {}{}", said.out, said.err);
    assert!(!said.out.contains(WORDS), "its text is shown: {}", said.out);
    let seen = said.json();
    assert!(seen["messages"].as_array().unwrap().len() <= 1, "{seen}");
    (seen, said.code)
}

/// The name of the stage where it is.
fn now(seen: &Value) -> &str {
    seen["messages"][0]["now"].as_str().unwrap_or("unknown")
}

/// Whether a stage was passed, as any program remembers it.
fn stage<'a>(seen: &'a Value, name: &str) -> Vec<&'a Value> {
    let stages = seen["messages"][0]["stages"].as_array();
    stages.into_iter().flatten().filter(|stage| stage["stage"] == name).collect()
}

#[track_caller]
fn is_at(tool: &Tool, guid: &str, stage: &str, code: i32) -> Value {
    let (seen, found) = asked(tool, guid);
    assert_eq!((now(&seen), found), (stage, code), "{guid}: {seen}");
    seen
}

fn send(socket: &mut Socket, conversation: i64, guid: &str) {
    socket.says("sendMessage", &json!({ "conversationId": conversation, "guid": guid, "content": WORDS }));
}

#[test]
fn every_stage_is_named() {
    let Some(peers) = Peers::of_this_run() else { return };
    let mut cluster = Cluster::start("trace-stages", 2, 1);
    let tool = Tool { prefix: cluster.prefix() };
    let ports = [cluster.gateways[0].port, cluster.gateways[1].port];
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| Person::new(ports[0], name));
    let ours = alice.creates_conversation_with(ports[0], &[&bob]);
    let theirs = bob.creates_conversation_with(ports[0], &[&carol]);

    nobody_knows_it(&tool);
    nobody_is_connected(&tool, ports[0], &alice, ours);
    let (mut from, mut to) = (alice.opens_socket(ports[0]), bob.opens_socket(ports[1]));
    shown_and_read(&tool, &cluster, [&mut from, &mut to], ours);
    refused(&tool, &mut from, theirs);
    of_two_senders(&tool, [&mut from, &mut to], ours, [&alice, &bob]);
    in_quarantine(&tool, &alice, ours);
    held(&tool, &peers, [&mut from, &mut to], ours);
    without_a_worker(&tool, &mut cluster, [&mut from, &mut to], ours);
}

fn nobody_knows_it(tool: &Tool) {
    let seen = is_at(tool, "never-sent", "unknown", 1);
    assert_eq!((&seen["unknown"], &seen["programs"], &seen["silent"]), (&json!(true), &json!(3), &json!([])));
    let said = tool.runs("trace never-sent").ends_with(1);
    assert!(said.out.contains("No program knows a message never-sent"), "{}", said.out);
}

fn nobody_is_connected(tool: &Tool, port: u16, alice: &Person, conversation: i64) {
    let body = json!({ "conversationId": conversation, "guid": "rest", "content": WORDS });
    call(port, "POST", "/chat/messages", Some(&alice.token), &body);
    let seen = is_at(tool, "rest", "nobody", 0);
    let accepted = stage(&seen, "accepted");
    assert_eq!((&accepted[0]["role"], &accepted[0]["about"]["from"]), (&json!("worker"), &json!("REST")));
}

fn shown_and_read(tool: &Tool, cluster: &Cluster, [from, to]: [&mut Socket; 2], conversation: i64) {
    send(from, conversation, "shown");
    let processed = from.hears("messageProcessed");
    let coming = to.hears("messageComing");
    let seen = is_at(tool, "shown", "written", 0);
    let of_gateway = |at: usize| json!(cluster.gateways[at].id().to_string());
    let ends_in = |place: &Value, pid: &Value| place.as_str().unwrap().ends_with(pid.as_str().unwrap());
    let accepted = stage(&seen, "accepted");
    assert_eq!((accepted.len(), &accepted[0]["role"]), (1, &json!("gateway")), "{seen}");
    assert!(ends_in(&accepted[0]["process"], &of_gateway(0)), "{seen}");
    assert!(accepted[0]["about"]["confirmedAt"].is_string() && accepted[0]["about"]["socket"].is_string());
    let taken = stage(&seen, "taken");
    assert_eq!((taken.len(), &taken[0]["about"]["attempt"]), (1, &json!(1)), "{seen}");
    assert_eq!(stage(&seen, "committed")[0]["about"]["seq"], processed["seq"]);
    assert_eq!(stage(&seen, "published").len(), 2, "to both gateways: {seen}");
    let written = stage(&seen, "written");
    assert_eq!(written.len(), 2, "{seen}");
    for one in written {
        assert_eq!((&one["about"]["sockets"], &one["about"]["written"]), (&json!(1), &json!(1)), "{seen}");
    }
    let kept = &seen["messages"][0]["kept"];
    assert_eq!(
        (&kept["message"], &kept["seq"], &kept["read"], &kept["others"]),
        (&coming["id"], &processed["seq"], &json!(0), &json!(1))
    );
    let said = tool.runs("trace shown").ends_with(0);
    assert!(said.out.contains("was written to 2 of 2 sockets on 2 gateways"), "{}", said.out);
    assert!(said.out.contains("3 programs answered") && !said.out.contains(WORDS), "{}", said.out);

    to.says("messageRead", &json!({ "conversationId": conversation, "messageId": coming["id"] }));
    from.hears("messageRead");
    let seen = is_at(tool, "shown", "read", 0);
    assert!(seen["messages"][0]["sentence"].as_str().unwrap().contains("read by 1 of 1"), "{seen}");
}

fn refused(tool: &Tool, from: &mut Socket, theirs: i64) {
    send(from, theirs, "refused");
    from.awaits(&["sendMessageError"], Duration::from_secs(20)).expect("she is no member");
    let seen = is_at(tool, "refused", "refused", 0);
    assert_eq!(stage(&seen, "refused")[0]["about"]["code"], "not_a_member");
    assert_eq!(seen["messages"][0]["kept"], Value::Null);
}

fn of_two_senders(tool: &Tool, sockets: [&mut Socket; 2], conversation: i64, people: [&Person; 2]) {
    for socket in sockets {
        send(socket, conversation, "same");
        socket.awaits(&["messageProcessed"], Duration::from_secs(20)).expect("processed");
    }
    let seen = tool.json("trace same", 0);
    let senders: Vec<_> = seen["messages"].as_array().unwrap().iter().map(|one| &one["sender"]).collect();
    assert_eq!(senders, people.map(|one| json!(one.id)).iter().collect::<Vec<_>>());
}

fn in_quarantine(tool: &Tool, alice: &Person, conversation: i64) {
    let reason = format!("a panic: not a char boundary of `{WORDS}`");
    set_aside(&tool.prefix, &[message(conversation, alice.id, "aside", WORDS)], &reason);
    let seen = is_at(tool, "aside", "quarantined", 0);
    assert_eq!(
        (&seen["messages"][0]["quarantine"]["n"], &seen["messages"][0]["quarantine"]["attempts"]),
        (&json!(1), &json!(6))
    );
    tool.runs("quarantine replay 1").ends_with(0);
    until(Duration::from_secs(20), "it is kept", || now(&asked(tool, "aside").0) == "written");
}

/// Without its database the worker holds what it has taken, and the tool says what it does not know.
fn held(tool: &Tool, peers: &Peers, [from, to]: [&mut Socket; 2], conversation: i64) {
    peers.part("stop", "postgres");
    send(from, conversation, "held");
    from.awaits(&["messageQueued"], Duration::from_secs(20)).expect("queued");
    until(Duration::from_secs(20), "it is taken", || now(&asked(tool, "held").0) == "taken");
    let (seen, code) = asked(tool, "held");
    assert_eq!((code, seen["database"] == "ok"), (1, false), "{seen}");
    peers.part("start", "postgres");
    to.awaits(&["messageComing"], Duration::from_secs(60)).expect("what was held is shown");
}

/// What the broker has confirmed and nobody works on waits in its lane.
fn without_a_worker(tool: &Tool, cluster: &mut Cluster, [from, to]: [&mut Socket; 2], conversation: i64) {
    from.gathers(Duration::from_millis(200));
    to.gathers(Duration::from_millis(200));
    cluster.workers[0].kill();
    send(from, conversation, "waits");
    from.awaits(&["messageQueued"], Duration::from_secs(20)).expect("queued");
    // Its lease is still there: it is missed by name.
    let seen = is_at(tool, "waits", "confirmed", 1);
    assert_eq!(seen["silent"].as_array().unwrap().len(), 1, "{seen}");
    // What the dead worker did is told by those who are left, and by the database.
    let (seen, _) = asked(tool, "shown");
    assert_eq!((now(&seen), stage(&seen, "taken").len()), ("read", 0), "{seen}");
    assert_eq!(now(&asked(tool, "refused").0), "refused", "the gateway heard of it");
    cluster.workers[0] = cluster.worker();
    cluster.workers[0].wait_until_ready();
    from.awaits(&["messageProcessed"], Duration::from_secs(60)).expect("processed");
    to.awaits(&["messageComing"], Duration::from_secs(20)).expect("shown");
    assert_eq!(now(&asked(tool, "waits").0), "written");
}

#[test]
fn what_is_forgotten_is_said_and_the_database_is_asked_where_it_may_be() {
    let Some(_peers) = WholePeers::of_this_run() else { return };
    // Rings of four milestones.
    let cluster = Cluster::start_with("trace-forgets", 1, 1, &[("TRACE_MESSAGES", "1")]);
    let tool = Tool { prefix: cluster.prefix() };
    let port = cluster.gateways[0].port;
    let (alice, bob) = (Person::new(port, "alice"), Person::new(port, "bob"));
    let conversation = alice.creates_conversation_with(port, &[&bob]);
    let mut socket = alice.opens_socket(port);
    for guid in ["old", "2", "3", "4", "5"] {
        send(&mut socket, conversation, guid);
        socket.awaits(&["messageProcessed"], Duration::from_secs(20)).expect("processed");
    }
    is_at(&tool, "old", "unknown", 1);
    assert!(tool.runs("trace old").out.contains("--conversation"), "it says how to go on");
    for hint in [
        format!("old --user {}", alice.id),
        format!("old --user {}", alice.email),
        format!("old --conversation {conversation}"),
        format!("old --user {} --conversation {conversation}", alice.id),
    ] {
        let (seen, code) = asked(&tool, &hint);
        assert_eq!((now(&seen), code), ("committed", 0), "{hint}: {seen}");
        let sentence = seen["messages"][0]["sentence"].as_str().unwrap();
        assert!(sentence.contains("older than what the programs remember"), "{sentence}");
    }
    assert_eq!(now(&asked(&tool, &format!("old --user {}", bob.id)).0), "unknown");
    let (seen, code) = asked(&tool, "old --user nobody@example.test");
    assert_eq!(
        (code, seen["database"].as_str()),
        (1, Some("there is no user nobody@example.test")),
        "{seen}"
    );
}

/// Questions of each asker; four of them ask at once.
const QUESTIONS: usize = 25;

#[test]
fn a_hundred_messages_are_found_while_workers_are_killed() {
    let Some(_peers) = WholePeers::of_this_run() else { return };
    let mut cluster = Cluster::start("trace-kills", 2, 2);
    let prefix = cluster.prefix();
    let ports = [cluster.gateways[0].port, cluster.gateways[1].port];
    let load = Load::begin(&cluster, 6_000, 60.0);
    let mut seen = BTreeMap::<String, usize>::new();
    let (mut kills, mut rounds) = (0, 0);
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..4)
            .map(|asker| {
                let tool = Tool { prefix: prefix.clone() };
                scope.spawn(move || Asker::new(asker, tool, ports).asks())
            })
            .collect();
        while askers.iter().any(|asker| !asker.is_finished()) {
            // One, or both: then nobody is there for a while.
            let killed = if rounds % 2 == 0 { 0..1 } else { 0..2 };
            cluster.workers[killed.clone()].iter_mut().for_each(crate::support::program::Program::kill);
            pause(Duration::from_millis(1_500));
            for at in killed {
                cluster.workers[at] = cluster.worker();
                kills += 1;
            }
            rounds += 1;
            cluster.workers.iter_mut().for_each(crate::support::program::Program::wait_until_ready);
            pause(Duration::from_millis(1_500));
        }
        for asker in askers {
            for stage in asker.join().unwrap() {
                *seen.entry(stage).or_default() += 1;
            }
        }
    });
    eprintln!("{kills} workers killed; the answers were {seen:?}");
    assert_eq!(seen.values().sum::<usize>(), 4 * QUESTIONS, "every one was judged");
    for stage in ["unknown", "refused", "written", "read", "confirmed"] {
        assert!(seen.contains_key(stage), "no message was asked for while it was {stage}: {seen:?}");
    }
    load.ends_clean();
}

/// What the asker's own clients have heard of a message.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    sent_ms: Option<i64>,
    queued: bool,
    seq: Option<u64>,
    id: Option<i64>,
    refused: bool,
    /// By how many of the two.
    shown: usize,
    read: bool,
}

struct Asker {
    number: u64,
    tool: Tool,
    sockets: [Socket; 2],
    ours: i64,
    theirs: i64,
    heard: BTreeMap<String, Heard>,
    random: u64,
}

impl Asker {
    fn new(number: u64, tool: Tool, ports: [u16; 2]) -> Self {
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| Person::new(ports[0], name));
        let ours = alice.creates_conversation_with(ports[0], &[&bob]);
        let theirs = bob.creates_conversation_with(ports[0], &[&carol]);
        let sockets = [alice.opens_socket(ports[0]), bob.opens_socket(ports[1])];
        Self { number, tool, sockets, ours, theirs, heard: BTreeMap::new(), random: number + 1 }
    }

    /// The stages that were answered, each of them judged.
    fn asks(mut self) -> Vec<String> {
        let answers: Vec<_> = (0..QUESTIONS).map(|nth| self.ask(nth)).collect();
        // What was claimed comes true for the clients.
        let is_settled = |heard: &Heard| heard.refused || heard.shown == 2;
        until(Duration::from_secs(60), "every message is shown or refused", || {
            self.listen(100);
            self.heard.values().all(is_settled)
        });
        for (guid, seen) in &answers {
            let kept = seen["messages"][0]["kept"]["seq"].as_u64();
            let heard = self.heard.get(guid).copied().unwrap_or_default();
            assert!(kept.is_none() || kept == heard.seq, "{guid}: {heard:?} {seen}");
        }
        answers.iter().map(|(_, seen)| now(seen).to_owned()).collect()
    }

    fn ask(&mut self, nth: usize) -> (String, Value) {
        let guid = format!("m-{}-{}-{nth}", self.tool.prefix, self.number);
        match nth % 8 {
            0 => {}
            kind => {
                let conversation = if kind == 1 { self.theirs } else { self.ours };
                let sent_ms = Some(Timestamp::now().0);
                self.heard.insert(guid.clone(), Heard { sent_ms, ..Heard::default() });
                send(&mut self.sockets[0], conversation, &guid);
                if kind == 2 {
                    self.read(&guid);
                }
            }
        }
        let wait_ms = self.next_random() % 600;
        self.listen(wait_ms);
        let before = self.heard.get(&guid).copied().unwrap_or_default();
        let (mut seen, _) = asked(&self.tool, &guid);
        // Beside this load a program may be late; it is named then, and who asks does it again, with
        // more patience.
        if judge(&guid, before, &seen).is_err() && seen["silent"] != json!([]) {
            (seen, _) = asked(&self.tool, &format!("{guid} --wait 10"));
        }
        judge(&guid, before, &seen).unwrap();
        (guid, seen)
    }

    /// Waits until bob has seen it, and alice knows that.
    fn read(&mut self, guid: &str) {
        until(Duration::from_secs(60), "alice hears that it was read", || {
            self.listen(50);
            self.heard[guid].read
        });
    }

    /// Takes what the sockets have; bob says of what he sees that he has read it when it is for that.
    fn listen(&mut self, ms: u64) {
        for at in 0..2 {
            for event in self.sockets[at].gathers(Duration::from_millis(1 + ms / 2)) {
                self.hear(at, &event);
            }
        }
    }

    fn hear(&mut self, at: usize, event: &Value) {
        let data = &event["data"];
        if event["event"] == "messageRead" {
            // Whoever has read this one has read those before it.
            let up_to = data["messageId"].as_i64();
            let read = self.heard.values_mut().filter(|heard| heard.id.is_some() && heard.id <= up_to);
            read.for_each(|heard| heard.read = true);
            return;
        }
        let Some(heard) = data["guid"].as_str().and_then(|guid| self.heard.get_mut(guid)) else { return };
        match event["event"].as_str().unwrap_or_default() {
            "messageQueued" => heard.queued = true,
            "messageProcessed" => heard.seq = data["seq"].as_u64(),
            "sendMessageError" => heard.refused = true,
            "messageComing" => {
                heard.id = data["id"].as_i64();
                // A batch that a worker did not live to acknowledge is told again.
                heard.shown = (heard.shown + 1).min(2);
                let guid = data["guid"].as_str().unwrap_or_default();
                let nth: usize = guid.rsplit('-').next().unwrap().parse().unwrap();
                if at == 1 && nth % 8 == 2 {
                    let read = json!({ "conversationId": self.ours, "messageId": data["id"] });
                    self.sockets[1].says("messageRead", &read);
                }
            }
            _ => {}
        }
    }

    /// The same moments in every run (splitmix64).
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)) >> 8
    }
}

/// An answer may not be behind what its asker's clients had heard before they asked, nor before it was
/// sent, nor after now.
fn judge(guid: &str, before: Heard, seen: &Value) -> Result<(), String> {
    let holds = |it: bool, what: &str| {
        if it { Ok(()) } else { Err(format!("{guid}: {what}: {before:?}, but: {seen}")) }
    };
    let told = ["committed", "published", "queued", "written", "read"];
    let accepted = ["accepted", "unconfirmed"];
    let may: Vec<&str> = match before {
        Heard { sent_ms: None, .. } => vec!["unknown"],
        Heard { refused: true, .. } => vec!["refused"],
        Heard { read: true, .. } => vec!["read"],
        Heard { shown: 1.., .. } => vec!["written", "read"],
        Heard { seq: Some(_), .. } => told.to_vec(),
        Heard { queued: true, .. } => [&["confirmed", "taken", "refused"][..], &told].concat(),
        _ => [&["unknown", "confirmed", "taken", "refused"][..], &accepted, &told].concat(),
    };
    holds(may.contains(&now(seen)), "the stage")?;
    let Some(sent_ms) = before.sent_ms else { return Ok(()) };
    for stage in seen["messages"][0]["stages"].as_array().into_iter().flatten() {
        let at: Timestamp = serde_json::from_value(stage["at"].clone()).unwrap();
        holds((sent_ms..=Timestamp::now().0).contains(&at.0), "a time")?;
    }
    if before.shown > 0 {
        let written: u64 =
            stage(seen, "written").iter().filter_map(|one| one["about"]["written"].as_u64()).sum();
        holds(written >= before.shown as u64, "what was written")?;
    }
    if before.queued {
        let accepted = stage(seen, "accepted");
        holds(accepted.iter().any(|one| one["about"]["confirmedAt"].is_string()), "the confirm")?;
    }
    Ok(())
}
