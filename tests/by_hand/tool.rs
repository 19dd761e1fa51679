//! The operator's commands against real programs on real peers, and what they say when something
//! is missing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::operator::{Said, Tool, finish, message, set_aside};
use crate::support::person::{Person, call, http};
use crate::support::{Cluster, Peers, until};
use common::bus::{Envelope, Subject};
use serde_json::{Value, json};

/// What the operator may not read unless asked for.
const WORDS: &str = "bí mật";

/// Without any peer.
fn alone(line: &str, env: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatchit"));
    command.args(line.split(' ')).env_clear().envs(env.iter().copied()).stdin(Stdio::null());
    finish(command)
}

#[test]
fn what_is_missing_is_said_before_anything_is_tried() {
    let check = |line: &str, names: &[&str]| {
        let said = alone(line, &[]).ends_with(64);
        for name in ["AMQP_URL", "REDIS_NODES", "DATABASE_URL"] {
            assert_eq!(said.err.contains(name), names.contains(&name), "{line}: {}", said.err);
        }
    };
    check("nodes", &["AMQP_URL", "REDIS_NODES"]);
    check("lanes", &["AMQP_URL"]);
    check("quarantine ls", &["AMQP_URL"]);
    check("quarantine replay all", &["AMQP_URL"]);
    check("tail control.>", &["AMQP_URL"]);
    check("sessions 7", &["AMQP_URL", "REDIS_NODES"]);
    check("sessions an@b.vn", &["AMQP_URL", "REDIS_NODES", "DATABASE_URL"]);
    check("kick 7 --login 1", &["AMQP_URL", "REDIS_NODES", "DATABASE_URL"]);
    check("drain 0000000000000001", &["AMQP_URL"]);
    check("redact 7 1", &["AMQP_URL"]);
    check("trace g-1", &["AMQP_URL", "REDIS_NODES", "DATABASE_URL"]);
    check("migrate", &["DATABASE_URL"]);
    check("user create --email an@b.vn", &["DATABASE_URL"]);
    check("user show 7", &["DATABASE_URL"]);
    let said = alone("lanes", &[("AMQP_URL", "http://x")]).ends_with(64);
    assert!(said.err.contains("amqp://"), "{}", said.err);
}

#[test]
fn what_fails_and_what_is_not_understood_have_their_own_codes() {
    let said = alone("lanes", &[("AMQP_URL", "amqp://guest:a-secret@127.0.0.1:1")]).ends_with(2);
    assert!(said.err.contains("RabbitMQ") && !said.err.contains("a-secret"), "{}", said.err);
    alone("migrate", &[("DATABASE_URL", "postgres://127.0.0.1:1/x")]).ends_with(2);
    for line in ["lanes --yaml", "tail high.sendMessage", "quarantine show", "kick", "fly"] {
        let said = alone(line, &[]).ends_with(64);
        assert!(said.out.is_empty() && !said.err.is_empty(), "{line}");
    }
    let said = alone("help", &[]).ends_with(0);
    assert!(said.out.contains("quarantine") && said.out.contains("Exit codes"), "{}", said.out);
    let said = alone("nodes --help", &[]).ends_with(0);
    assert!(said.out.contains("Usage: chatchit nodes"), "{}", said.out);
}

#[test]
fn every_program_says_its_version_and_refuses_what_it_does_not_understand() {
    for program in ["chatchit", "gateway", "worker"] {
        let run = |line: &str| {
            let mut command =
                Command::new(PathBuf::from(env!("CARGO_BIN_EXE_chatchit")).with_file_name(program));
            command.args(line.split(' ')).env_clear().stdin(Stdio::null());
            finish(command)
        };
        assert_eq!(run("--version").ends_with(0).out, format!("{program} {}\n", common::version::VERSION));
        assert!(run("--help").ends_with(0).out.contains("--check"));
        for line in ["--chekc", "-v", "now", "--check now", "--port 8080"] {
            let said = run(line).ends_with(64);
            assert!(said.out.is_empty() && said.err.contains("--help"), "{program} {line}: {}", said.err);
        }
    }
    let said = alone("help canary", &[]).ends_with(0);
    assert!(said.out.contains("Usage: chatchit canary") && said.out.contains("--once"), "{}", said.out);
}

#[test]
fn an_operator_looks_at_a_cluster_and_acts_on_it() {
    let Some(peers) = Peers::of_this_run() else { return };
    let mut cluster = Cluster::start("tool", 2, 2);
    let tool = Tool { prefix: cluster.prefix() };
    let ports = [cluster.gateways[0].port, cluster.gateways[1].port];
    let [alice, bob] = ["alice", "bob"].map(|name| Person::new(ports[0], name));

    who_is_there(&tool, &cluster);
    what_waits(&tool, &peers, ports[0], &alice, &bob);
    what_was_set_aside(&tool, ports[0], &alice, &bob);
    a_message_goes(&tool, ports, &alice, &bob);
    whose_sockets(&tool, ports, &alice, &bob);
    nobody_else_is_obeyed(&tool, ports[0], &bob);
    accounts(&tool, ports[0]);

    let nobody = Tool { prefix: format!("{}-not", cluster.prefix()) };
    let said = nobody.runs("nodes").ends_with(2);
    assert!(said.err.contains("CHATCHIT_PREFIX"), "{}", said.err);
    one_leaves(&tool, &mut cluster);
    another_has_another_secret(&tool, &cluster);
    one_is_killed(&tool, &mut cluster);
}

/// The broker counts of a quorum queue only the consumer that it serves; the workers say who is in line.
#[test]
fn of_quorum_queues_all_workers_are_in_line() {
    let Some(_peers) = Peers::of_this_run() else { return };
    let cluster = Cluster::start_with("quorum", 1, 2, &[("CHATCHIT_QUEUES", "quorum")]);
    let tool = Tool { prefix: cluster.prefix() };
    let seen = tool.json("lanes", 0);
    assert_eq!((&seen["workersInLine"], &seen["workersAnswered"]), (&json!(2), &json!(2)), "{seen}");
    for shard in seen["lanes"].as_array().unwrap() {
        assert_eq!((&shard["consumers"], &shard["oldestKnown"]), (&json!(2), &json!(true)), "{shard}");
    }
}

/// A broker that passes nothing on makes every program silent: nothing is concluded from that.
#[test]
fn an_operator_is_told_when_nobody_could_be_asked() {
    let Some(peers) = Peers::of_this_run() else { return };
    let cluster = Cluster::start("unasked", 1, 1);
    let tool = Tool { prefix: cluster.prefix() };
    let port = cluster.gateways[0].port;
    let [alice, bob] = ["alice", "bob"].map(|name| Person::new(port, name));
    let conversation = alice.creates_conversation_with(port, &[&bob]);
    let mut socket = alice.opens_socket(port);
    let data =
        json!({ "conversationId": conversation, "guid": "asked-1", "messageType": "TEXT", "content": "x" });
    socket.says("sendMessage", &data);
    socket.hears("messageProcessed");

    peers.part("fill", "rabbitmq");
    let said = tool.runs("nodes --json").ends_with(2);
    assert!(said.err.contains("the programs could not be asked"), "{}", said.err);
    let seen = said.json();
    assert_eq!((&seen["silent"], &seen["live"]), (&Value::Null, &json!(2)), "{seen}");
    let said = tool.runs("nodes").ends_with(2);
    assert!(!said.out.contains("silent") && said.out.contains("2 nodes with a lease"), "{}", said.out);
    let node = seen["leased"][0].as_str().unwrap();
    for line in [&*format!("drain {node}"), &format!("sessions {}", alice.id), &format!("kick {}", alice.id)]
    {
        let said = tool.runs(line).ends_with(2);
        assert!(
            said.err.contains("the programs could not be asked") && said.out.is_empty(),
            "{line}: {}",
            said.out
        );
    }
    let lanes = tool.json("lanes", 1);
    assert!(lanes["notAsked"].as_str().unwrap().contains("could not be asked"), "{lanes}");
    assert_eq!(lanes["lanes"][0]["unacked"], Value::Null, "{lanes}");
    let said = tool.runs("trace nobody-knows-it").ends_with(1);
    assert!(!said.out.contains("no gateway") && said.out.contains("could not be asked"), "{}", said.out);
    let said = tool.runs(&format!("trace asked-1 --user {}", alice.id)).ends_with(1);
    assert!(
        said.out.contains("is in the database as seq 1; the programs could not be asked"),
        "{}",
        said.out
    );
    peers.part("empty", "rabbitmq");
    until(Duration::from_secs(20), "they answer again", || tool.runs("nodes").code == 0);

    peers.part("freeze", "rabbitmq");
    for line in ["nodes", "lanes", "trace asked-1", "quarantine ls"] {
        let said = tool.runs(line).ends_with(2);
        assert!(said.err.contains("RabbitMQ") && said.out.is_empty(), "{line}: {}{}", said.out, said.err);
    }
    peers.part("thaw", "rabbitmq");
    until(Duration::from_secs(60), "they answer again", || tool.runs("nodes").code == 0);
}

fn who_is_there(tool: &Tool, cluster: &Cluster) {
    let seen = tool.json("nodes", 0);
    assert_eq!((&seen["live"], &seen["silent"], &seen["directory"]), (&json!(4), &json!([]), &json!("ok")));
    let nodes = seen["nodes"].as_array().unwrap();
    let roles: Vec<_> = nodes.iter().map(|node| node["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["gateway", "gateway", "worker", "worker"]);
    let pids: Vec<_> = nodes.iter().map(|node| node["pid"].as_u64().unwrap()).collect();
    for program in cluster.gateways.iter().chain(&cluster.workers) {
        assert!(pids.contains(&u64::from(program.id())), "{seen}");
    }
    for node in nodes {
        assert_eq!(
            (&node["ready"], &node["draining"], &node["version"]),
            (&json!(true), &json!(false), &json!(common::version::VERSION))
        );
        assert!(node["lagMs"].is_u64() && node["upMs"].as_u64().unwrap() > 0, "{node}");
    }
    assert_eq!((&nodes[0]["sockets"], &nodes[0]["shards"]), (&json!(0), &Value::Null));
    let shards = |at: usize| nodes[at]["shards"].as_u64().unwrap();
    assert_eq!((&nodes[2]["sockets"], shards(2) + shards(3)), (&Value::Null, 16));
    let said = tool.runs("nodes").ends_with(0);
    assert!(said.out.contains("4 of 4 nodes with a lease answered within 1s"), "{}", said.out);

    // Without the directory those who answer are shown, and that nobody can be missed.
    let mut command = tool.command("nodes --json");
    command.env("REDIS_NODES", "127.0.0.1:1");
    let seen = finish(command).ends_with(1).json();
    assert_eq!((&seen["live"], seen["nodes"].as_array().unwrap().len()), (&Value::Null, 4));

    // A process that stands still keeps its lease for a while: it is missed by name.
    let frozen = nodes.iter().find(|node| node["pid"] == cluster.workers[0].id()).unwrap();
    cluster.workers[0].signal("-STOP");
    let seen = tool.json("nodes --wait 0.5", 1);
    assert_eq!((&seen["silent"][0], seen["nodes"].as_array().unwrap().len()), (&frozen["node"], 3));
    let lanes = tool.json("lanes --wait 0.3", 1);
    assert_eq!((&lanes["workersInLine"], &lanes["workersAnswered"]), (&json!(2), &json!(1)));
    assert_eq!(
        (&lanes["lanes"][0]["unacked"], &lanes["lanes"][0]["oldestKnown"]),
        (&Value::Null, &json!(false))
    );
    cluster.workers[0].signal("-CONT");
}

fn what_waits(tool: &Tool, peers: &Peers, port: u16, alice: &Person, bob: &Person) {
    let seen = tool.json("lanes", 0);
    let lanes = seen["lanes"].as_array().unwrap();
    assert_eq!((lanes.len(), &seen["quarantine"], &seen["workersInLine"]), (17, &json!(0), &json!(2)));
    assert_eq!(seen["retries"].as_array().unwrap().len(), 5);
    for shard in lanes {
        let found = (&shard["waiting"], &shard["consumers"], &shard["oldestMs"], &shard["oldestKnown"]);
        assert_eq!(found, (&json!(0), &json!(2), &Value::Null, &json!(true)), "{shard}");
    }
    let said = tool.runs("lanes").ends_with(0);
    assert!(
        said.out.contains("LANE") && said.out.contains("2 of 2 workers in line answered"),
        "{}",
        said.out
    );

    // Without its database the worker holds what it was given, and says since when it waits.
    let conversation = alice.creates_conversation_with(port, &[bob]);
    let mut socket = alice.opens_socket(port);
    peers.part("stop", "postgres");
    socket.says("sendMessage", &json!({ "conversationId": conversation, "guid": "held", "content": WORDS }));
    socket.hears("messageQueued");
    crate::support::pause(Duration::from_millis(1_100));
    let seen = tool.json("lanes", 0);
    let held: Vec<_> =
        seen["lanes"].as_array().unwrap().iter().filter(|shard| shard["unacked"] != 0).collect();
    assert_eq!((held.len(), &held[0]["lane"], &held[0]["unacked"]), (1, &json!("high"), &json!(1)), "{seen}");
    assert!(held[0]["oldestMs"].as_u64().unwrap() > 1_000, "{seen}");
    peers.part("start", "postgres");
    socket.awaits(&["messageProcessed"], Duration::from_secs(60)).expect("what was held is processed");
}

fn what_was_set_aside(tool: &Tool, port: u16, alice: &Person, bob: &Person) {
    assert_eq!(tool.json("quarantine ls", 1)["quarantine"], json!([]));
    assert_eq!(tool.json("quarantine show 1", 1), Value::Null);
    assert_eq!(tool.json("quarantine replay all", 1)["replayed"], json!([]));

    let conversation = alice.creates_conversation_with(port, &[bob]);
    let reason = format!("a panic: not a char boundary of `{WORDS}`");
    set_aside(&tool.prefix, &[message(conversation, alice.id, "g-1", WORDS), of_no_lane()], &reason);
    let said = tool.runs("quarantine ls --json").ends_with(0);
    assert!(!said.out.contains(WORDS), "{}", said.out);
    let seen = said.json();
    let first = &seen["quarantine"][0];
    assert_eq!(
        (&first["subject"], &first["attempts"], &first["event"]["guid"]),
        (&json!("high.sendMessage"), &json!(6), &json!("g-1"))
    );
    assert_eq!(first["event"]["user"], alice.id);
    assert!(first["ageMs"].is_u64(), "{first}");
    let said = tool.runs("quarantine show 1").ends_with(0);
    assert!(!said.out.contains(WORDS) && said.out.contains("g-1"), "{}", said.out);
    assert_eq!(tool.json("quarantine show 1 --bodies", 0)["event"]["content"], WORDS);
    assert_eq!(tool.json("lanes", 0)["quarantine"], 2);

    let mut listening = bob.opens_socket(port);
    let replayed = tool.json("quarantine replay 1", 0);
    assert_eq!(replayed["replayed"][0]["guid"], "g-1");
    assert_eq!(listening.hears("messageComing")["content"], WORDS);
    assert_eq!(tool.json("quarantine replay 2", 1)["replayed"], json!([]), "the places moved up");
    let replayed = tool.json("quarantine replay all", 1);
    assert_eq!((&replayed["replayed"], &replayed["kept"][0]["subject"]), (&json!([]), &json!("news.today")));

    // The same envelope once more: its guid gives back the first result.
    set_aside(&tool.prefix, &[message(conversation, alice.id, "g-1", WORDS)], &reason);
    assert_eq!(tool.json("quarantine replay 2", 0)["replayed"][0]["guid"], "g-1");
    until(Duration::from_secs(20), "the lane is worked off", || {
        let seen = tool.json("lanes", 0);
        seen["lanes"].as_array().unwrap().iter().all(|shard| shard["waiting"] == 0 && shard["unacked"] == 0)
    });
    assert_eq!(alice.reads(port, conversation).len(), 1);
}

fn a_message_goes(tool: &Tool, ports: [u16; 2], alice: &Person, bob: &Person) {
    let conversation = alice.creates_conversation_with(ports[0], &[bob]);
    let (mut socket, mut other) = (alice.opens_socket(ports[0]), bob.opens_socket(ports[1]));
    socket.says("sendMessage", &json!({ "conversationId": conversation, "guid": "goes", "content": WORDS }));
    assert_eq!(other.hears("messageComing")["content"], WORDS);
    let said = tool.runs(&format!("redact {conversation} 1")).ends_with(0);
    assert!(said.out.contains("message 1 of conversation") && !said.out.contains(WORDS), "{}", said.out);
    for socket in [&mut socket, &mut other] {
        let changed = socket.hears("messageChanged");
        assert_eq!((&changed["seq"], &changed["what"]["kind"]), (&json!(1), &json!("redacted")), "{changed}");
        assert!(!changed.to_string().contains(WORDS), "{changed}");
    }
    let left = alice.reads(ports[1], conversation);
    assert!(left.len() == 1 && !left[0].to_string().contains(WORDS), "{left:?}");
    // Of what does not exist the order is taken all the same, and nothing happens.
    assert_eq!(tool.json(&format!("redact {conversation} 2"), 0)["ordered"], true);
    for line in ["redact", "redact 7", "redact 7 0", "redact x 1"] {
        tool.runs(line).ends_with(64);
    }
}

fn whose_sockets(tool: &Tool, ports: [u16; 2], alice: &Person, bob: &Person) {
    let mut sockets = ports.map(|port| alice.opens_socket(port));
    let seen = tool.json(&format!("sessions {}", alice.id), 0);
    let views = seen["sockets"].as_array().unwrap();
    assert_eq!((&seen["total"], views.len(), &seen["silent"]), (&json!(2), 2, &json!([])));
    assert_ne!(views[0]["node"], views[1]["node"]);
    assert_eq!((&views[0]["form"], &views[0]["address"]), (&json!("native"), &Value::Null));
    assert!(views[0]["ageMs"].as_u64().unwrap() < 60_000, "{seen}");
    let said = tool.runs(&format!("sessions {}", alice.email)).ends_with(0);
    assert!(said.out.contains(&format!("user {} has 2 open sockets", alice.id)), "{}", said.out);
    assert_eq!(tool.json("sessions 999999999", 1)["total"], 0);
    assert_eq!(tool.json("sessions nobody@example.test", 1)["found"], false);

    let kicked = tool.json(&format!("kick {}", alice.id), 0);
    assert_eq!((&kicked["closed"], kicked["byNode"].as_object().unwrap().len()), (&json!(2), 2));
    for socket in &mut sockets {
        assert_eq!(socket.closes(), Some(1001));
    }
    drop(sockets);
    assert_eq!(tool.json(&format!("kick {}", bob.id), 1)["closed"], 0);

    // Back at once, until the login ends.
    let mut socket = alice.opens_socket(ports[1]);
    let mut other = bob.opens_socket(ports[1]);
    let login = tool.json(&format!("sessions {}", alice.id), 0)["sockets"][0]["login"].as_i64().unwrap();
    let wrong = tool.json(&format!("kick {} --login {login}", bob.email), 1);
    assert_eq!(wrong["found"], false, "nobody ends another one's login");
    let kicked = tool.json(&format!("kick {} --login {login}", alice.email), 0);
    assert_eq!((&kicked["closed"], &kicked["endedLogin"]), (&json!(1), &json!(login)));
    assert_eq!(socket.closes(), Some(4503));
    for port in ports {
        assert_eq!(http(port, "GET", "/users/me", Some(&alice.token), "").unwrap().0, 401);
    }
    let shown = tool.json(&format!("user show {}", alice.id), 0);
    assert_eq!((&shown["logins"][0]["id"], &shown["logins"][0]["state"]), (&json!(login), &json!("ended")));
    other.says("ping", &Value::Null);
    other.hears("pong");
}

/// Whatever a client says or asks for, no program takes it for an operator.
fn nobody_else_is_obeyed(tool: &Tool, port: u16, bob: &Person) {
    let mut tail = tool.command("tail control.> --for 8 --json");
    let mut tail = tail.stdout(Stdio::piped()).spawn().unwrap();
    let mut passing = BufReader::new(tail.stdout.take().unwrap()).lines().map(Result::unwrap);
    // It looks on from the first beat of a worker on.
    let beat = passing.next().unwrap();
    assert!(beat.contains("control.workers"), "{beat}");
    let ready = tool.json("nodes --wait 0.5", 0);
    let node = ready["nodes"][0]["node"].as_str().unwrap().to_owned();

    let mut socket = bob.opens_socket(port);
    for event in ["control.programs", "control.gateways", "drain", "kick", "endLogin"] {
        socket.says(event, &json!({ "node": node, "user": bob.id, "subject": "control.programs" }));
        let refused =
            socket.awaits(&["exception", "controlError", &format!("{event}Error")], Duration::from_secs(10));
        assert!(refused.is_some(), "{event}");
    }
    for path in
        ["/control.programs", "/control/programs", "/api.control.programs", "/drain", "/../control.programs"]
    {
        let body = json!({ "node": node }).to_string();
        let (status, _) = http(port, "POST", path, Some(&bob.token), &body).unwrap();
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    let seen: Vec<Value> = passing.map(|line| serde_json::from_str(&line).unwrap()).collect();
    assert_eq!(tail.wait().unwrap().code(), Some(0));
    let subjects =
        |name: &str| seen.iter().filter(|line| line["subject"].as_str().unwrap().starts_with(name)).count();
    assert_eq!(subjects("control.programs"), 1, "the operator's own question: {seen:?}");
    assert_eq!((subjects("control.gateways"), subjects("control.answers.")), (0, 4), "{seen:?}");
    assert!(subjects("control.workers") > 0, "beats are seen");
    let asked = seen.iter().find(|line| line["subject"] == "control.programs").unwrap();
    assert_eq!(asked["what"]["asks"], "roll");
    assert_eq!(tool.runs("tail news.> --for 0.2").ends_with(1).out, "");
}

fn accounts(tool: &Tool, port: u16) {
    assert_eq!(tool.json("migrate", 0)["applied"], json!([]), "the worker was first");
    let email = format!("root.{port}.{}@example.test", std::process::id());
    let made = tool.json(&format!("user create --email {email} --admin"), 0);
    let password = made["password"].as_str().unwrap();
    assert_eq!((made["role"].as_str(), password.len()), (Some("ADMIN"), 32));
    let login = call(port, "POST", "/auth/login", None, &json!({ "email": email, "password": password }));
    let token = login["accessToken"].as_str().unwrap();
    assert_eq!(call(port, "GET", "/users/me", Some(token), &Value::Null)["type"], "ADMIN");
    assert_eq!(tool.json(&format!("user create --email {email}"), 1)["taken"], "e-mail");
    let shown = tool.runs(&format!("user show {email} --json")).ends_with(0);
    assert!(!shown.out.contains("argon2") && !shown.out.contains(password), "{}", shown.out);
    assert_eq!(
        (&shown.json()["role"], &shown.json()["logins"][0]["state"]),
        (&json!("ADMIN"), &json!("open"))
    );
    assert_eq!(tool.json("user show 999999999", 1)["id"], Value::Null);

    let create = |email: &str, password: &str| {
        let mut command = tool.command(&format!("user create --email {email} --password-stdin --json"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default())
    };
    let email = format!("plain.{email}");
    assert_eq!(create(&email, "short\n").0, 2);
    let (code, made) = create(&email, "mật khẩu dài\n");
    assert_eq!((code, &made["role"], &made["password"]), (0, &json!("USER"), &Value::Null));
    call(port, "POST", "/auth/login", None, &json!({ "email": email, "password": "mật khẩu dài" }));
}

fn one_leaves(tool: &Tool, cluster: &mut Cluster) {
    assert_eq!(tool.json("drain 00000000000000ff --wait 0.3", 1)["draining"], false);
    let pid = cluster.gateways[1].id();
    let seen = tool.json("nodes", 0);
    let nodes = seen["nodes"].as_array().unwrap();
    let node = nodes.iter().find(|node| node["pid"] == pid).unwrap()["node"].as_str().unwrap();
    let drained = tool.json(&format!("drain {node}"), 0);
    assert_eq!(
        (&drained["role"], &drained["pid"], &drained["already"]),
        (&json!("gateway"), &json!(pid), &json!(false))
    );
    assert!(cluster.gateways[1].ends().success(), "it leaves as after SIGTERM");
    until(Duration::from_secs(10), "three are left", || tool.runs("nodes --json").json()["live"] == 3);
    assert_eq!(tool.json("nodes", 0)["nodes"].as_array().unwrap().len(), 3);
}

fn of_no_lane() -> Envelope {
    Envelope { subject: Subject::new("news.today").unwrap(), key: 0, body: WORDS.into() }
}

/// A worker with another secret than the others says so of itself, and works on.
fn another_has_another_secret(tool: &Tool, cluster: &Cluster) {
    let mut odd = cluster.worker_with(&[("JWT_ACCESS_TOKEN", "another-secret-than-that-of-all-others")]);
    odd.wait_until_ready();
    until(Duration::from_secs(30), "it says so", || odd.readiness() == "200: secret");
    let seen = tool.json("nodes", 0);
    let nodes = seen["nodes"].as_array().unwrap();
    let differ: Vec<_> = nodes.iter().filter(|node| node["unwell"]["secret"].is_string()).collect();
    assert_eq!(
        differ.iter().map(|node| node["pid"].as_u64().unwrap()).collect::<Vec<_>>(),
        [u64::from(odd.id())]
    );
    assert!(tool.runs("nodes").ends_with(0).out.contains("ready, degraded: secret"));
    assert!(odd.log().contains("JWT secret differs"));
    let named = || cluster.gateways[0].log().contains(&format!(":{}", odd.id()));
    until(Duration::from_secs(30), "the others name it", named);
    assert!(odd.drain().success());
}

/// What was killed has said goodbye to nobody: the operator sees what it was.
fn one_is_killed(tool: &Tool, cluster: &mut Cluster) {
    let pid = cluster.workers[1].id();
    cluster.workers[1].kill();
    let is_known = |seen: &Value| {
        seen["lastKnown"].as_array().is_some_and(|known| known.iter().any(|one| one["pid"] == pid))
    };
    until(Duration::from_secs(20), "it is known", || is_known(&tool.runs("nodes --json").json()));
    let lapsed = || tool.runs("nodes").out.contains("gone without a farewell: worker");
    until(Duration::from_secs(30), "its lease has ended", lapsed);
}
