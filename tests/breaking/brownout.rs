//! One peer is away: what works, what is refused, and how. Each test fills one column of the table
//! in `deploy/RUNBOOK.md`, cell by cell, and compares.

use std::path::Path;
use std::time::Duration;

use crate::support::person::{Person, Socket, bearer, exchange, http};
use crate::support::program::Program;
use crate::support::{Cluster, Peers, until};
use serde_json::{Value, json};

/// What does not come within this is not coming while the peer is away.
const A_WHILE: Duration = Duration::from_millis(1_500);

/// For an answer that must come: every request has a deadline below this.
const AN_ANSWER: Duration = Duration::from_secs(15);

/// After the peer is back, on a busy machine.
const BACK: Duration = Duration::from_secs(60);

const PASSWORD: &str = "correct horse battery";

#[test]
fn rabbitmq_is_away() {
    let Some(peers) = Peers::of_this_run() else { return };
    let mut cluster = Cluster::start("brown-mq", 1, 1);
    check(
        &mut cluster,
        "RabbitMQ",
        |_| drop(peers.part("stop", "rabbitmq")),
        |_| {
            peers.part("start", "rabbitmq");
        },
    );
}

#[test]
fn redis_is_away() {
    let Some(peers) = Peers::of_this_run() else { return };
    let mut cluster = Cluster::start("brown-redis", 1, 1);
    let all = |command: &str| (1..=6).for_each(|number| drop(peers.part(command, &format!("redis{number}"))));
    check(&mut cluster, "Redis", |_| all("stop"), |_| all("start"));
}

#[test]
fn postgresql_is_away() {
    let Some(peers) = Peers::of_this_run() else { return };
    let mut cluster = Cluster::start("brown-pg", 1, 1);
    check(
        &mut cluster,
        "PostgreSQL",
        |_| drop(peers.part("stop", "postgres")),
        |_| {
            peers.part("start", "postgres");
        },
    );
}

#[test]
fn no_worker_is_there() {
    let Some(_peers) = Peers::of_this_run() else { return };
    let mut cluster = Cluster::start("brown-worker", 1, 1);
    check(
        &mut cluster,
        "Workers",
        |cluster| cluster.workers[0].kill(),
        |cluster| {
            cluster.workers[0] = cluster.worker();
        },
    );
}

/// Takes the peer away, tries everything, brings it back, and looks that all that was held arrives.
fn check(
    cluster: &mut Cluster,
    peer: &str,
    take_away: impl Fn(&mut Cluster),
    bring_back: impl Fn(&mut Cluster),
) {
    let port = cluster.gateways[0].port;
    let mut scene = Scene::set(port);
    take_away(cluster);
    let seen = scene.play(cluster);
    bring_back(cluster);
    cluster.gateways.iter_mut().chain(&mut cluster.workers).for_each(Program::wait_until_ready);
    scene.ends();

    let written = column(peer);
    let lines = |cells: &[(String, String)]| {
        let lines: Vec<String> = cells.iter().map(|(what, cell)| format!("{what} | {cell}")).collect();
        lines.join("\n")
    };
    let seen: Vec<(String, String)> = seen.into_iter().map(|(what, cell)| (what.to_owned(), cell)).collect();
    assert_eq!(
        lines(&seen),
        lines(&written),
        "{peer}: left what was seen, right what deploy/RUNBOOK.md says"
    );
}

/// Two people in one conversation, each with a socket, and a third who has none yet.
struct Scene {
    port: u16,
    conversation: i64,
    message: i64,
    people: [Person; 3],
    alice: Socket,
    bob: Socket,
    /// Messages that were taken and not answered.
    held: Vec<&'static str>,
    is_read_held: bool,
}

type Cells = Vec<(&'static str, String)>;

impl Scene {
    fn set(port: u16) -> Self {
        let people = ["alice", "bob", "carol"].map(|name| Person::new(port, name));
        let conversation = people[0].creates_conversation_with(port, &[&people[1]]);
        let (mut alice, mut bob) = (people[0].opens_socket(port), people[1].opens_socket(port));
        alice.says("sendMessage", &json!({ "conversationId": conversation, "guid": "g-0", "content": "a" }));
        alice.hears("messageProcessed");
        let message = bob.hears("messageComing")["id"].as_i64().unwrap();
        Self { port, conversation, message, people, alice, bob, held: vec![], is_read_held: false }
    }

    /// Tries everything; what came of it.
    fn play(&mut self, cluster: &Cluster) -> Cells {
        let mut cells = self.over_sockets();
        cells.extend(self.over_rest());
        for (what, program) in
            [("`/readyz` of a gateway", &cluster.gateways[0]), ("`/readyz` of a worker", &cluster.workers[0])]
        {
            let mut last = String::new();
            // It is looked after in intervals.
            let settled = std::iter::repeat_with(|| program.readiness()).take(40);
            for readiness in settled {
                last = readiness;
                if last != "200" {
                    break;
                }
                crate::support::pause(Duration::from_millis(100));
            }
            cells.push((what, last));
        }
        cells
    }

    fn over_sockets(&mut self) -> Cells {
        let conversation = self.conversation;
        let mut cells = Cells::new();
        self.alice.says("ping", &Value::Null);
        cells.push(("`ping` on an open socket", outcome(&self.alice.awaits(&["pong"], A_WHILE))));

        let data = json!({ "conversationId": conversation, "guid": "g-1", "content": "b" });
        self.alice.says("sendMessage", &data);
        let first = self.alice.awaits(&["messageQueued", "sendMessageError"], AN_ANSWER);
        let cell = match first.as_ref().map(|(name, _)| name.as_str()) {
            Some("messageQueued") if self.alice.awaits(&["messageProcessed"], A_WHILE).is_some() => {
                "works".into()
            }
            Some("messageQueued") => {
                self.held.push("g-1");
                "queued; processed and shown afterwards".into()
            }
            _ => outcome(&first),
        };
        cells.push(("`sendMessage`", cell));

        self.bob.says("messageRead", &json!({ "conversationId": conversation, "messageId": self.message }));
        let cell = match self.bob.awaits(&["messageReadError"], A_WHILE) {
            None if self.alice.awaits(&["messageRead"], A_WHILE).is_some() => "works".into(),
            None => {
                self.is_read_held = true;
                "told afterwards".into()
            }
            refused => outcome(&refused),
        };
        cells.push(("`messageRead`", cell));

        self.bob.says("typing", &json!({ "conversationId": conversation }));
        let shown = self.alice.awaits(&["typing"], A_WHILE).is_some();
        cells.push(("`typing`", if shown { "works".into() } else { "dropped".into() }));

        for (what, seq) in [("`sync`, nothing missed", 1), ("`sync`, something missed", 0)] {
            self.bob.says("sync", &json!({ "conversations": { conversation.to_string(): seq } }));
            cells.push((what, outcome(&self.bob.awaits(&["synced", "syncError"], AN_ANSWER))));
        }
        self.bob.says("getOnlineUsers", &Value::Null);
        let answer = self.bob.awaits(&["onlineUsers", "getOnlineUsersError"], A_WHILE);
        cells.push((
            "`getOnlineUsers`",
            answer.map_or("dropped: ask again".into(), |answer| outcome(&Some(answer))),
        ));

        let cell = match self.people[2].tries_socket(self.port) {
            Ok(()) => "works".to_owned(),
            Err(code) => format!("closed with {code}: come again"),
        };
        cells.push(("a new socket", cell));
        cells
    }

    fn over_rest(&self) -> Cells {
        let (port, [alice, _, carol]) = (self.port, &self.people);
        let ask = |method: &str, path: &str, token: Option<&str>, body: Value| {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let (head, _) = exchange(port, method, path, token.map(bearer).as_deref(), &body).unwrap();
            let says_when = head.to_ascii_lowercase().contains("\r\nretry-after: ");
            match head.split(' ').nth(1).unwrap() {
                "200" | "201" => "works".to_owned(),
                "503" if !says_when => "503 without Retry-After".to_owned(),
                status => status.to_owned(),
            }
        };
        let token = Some(alice.token.as_str());
        let id = self.conversation;
        let login = json!({ "email": carol.email, "password": PASSWORD });
        let message = json!({ "conversationId": id, "guid": "g-2", "content": "c", "messageType": "TEXT" });
        vec![
            ("`POST /auth/login`", ask("POST", "/auth/login", None, login)),
            ("`GET /conversations`", ask("GET", "/conversations", token, Value::Null)),
            ("history over REST", ask("GET", &format!("/conversations/{id}/message"), token, Value::Null)),
            ("`POST /chat/messages`", ask("POST", "/chat/messages", token, message)),
            ("`POST /auth/logout`", ask("POST", "/auth/logout", Some(&carol.token), Value::Null)),
        ]
    }

    /// Everything that was taken arrives, and everything works.
    fn ends(mut self) {
        for guid in std::mem::take(&mut self.held) {
            hears_of(&mut self.alice, "messageProcessed", guid);
            hears_of(&mut self.bob, "messageComing", guid);
        }
        if self.is_read_held {
            self.alice.awaits(&["messageRead"], BACK).expect("what was held is told");
        }
        // A cluster that has just got its peer back may still be busy.
        until(BACK, "a message goes through again", || {
            let data = json!({ "conversationId": self.conversation, "guid": "g-3", "content": "d" });
            self.alice.says("sendMessage", &data);
            let answer = self.alice.awaits(&["messageProcessed", "sendMessageError"], AN_ANSWER);
            answer.is_some_and(|(name, _)| name == "messageProcessed")
        });
        // Workers take up lanes and requests each on their own: the one may go through before the other.
        let token = Some(self.people[0].token.as_str());
        until(BACK, "a request is answered again", || {
            let (status, body) = http(self.port, "GET", "/conversations", token, "").unwrap();
            status == 200 && serde_json::from_str::<Value>(&body).unwrap()["data"].is_object()
        });
    }
}

/// What was held comes. A worker that was killed before it acknowledged the first message has left it to be
/// told again: clients know it by its guid.
fn hears_of(socket: &mut Socket, event: &str, guid: &str) {
    loop {
        let (_, told) =
            socket.awaits(&[event], BACK).unwrap_or_else(|| panic!("{guid} was held: no {event}"));
        if told["guid"] != "g-0" {
            assert_eq!(told["guid"], guid);
            return;
        }
    }
}

/// An answer as the table says it.
fn outcome(answer: &Option<(String, Value)>) -> String {
    match answer {
        None => "no answer".into(),
        Some((_, data)) => match data["code"].as_str() {
            Some(code) => format!("`{code}`"),
            None => "works".into(),
        },
    }
}

/// A column of the table in the runbook, with its row's names.
fn column(peer: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/RUNBOOK.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = text.lines().skip_while(|line| !line.starts_with("| While this is away"));
    let head = rows(lines.next().expect("deploy/RUNBOOK.md has the table"));
    let at = head.iter().position(|name| name == peer).expect("the table has a column for it");
    let body = lines.skip(1).take_while(|line| line.starts_with('|')).map(rows);
    body.map(|cells| (cells[0].clone(), cells[at].clone())).collect()
}
