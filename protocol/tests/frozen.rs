//! Bytes of released versions are understood for ever, and a program skips what it does not know.
//!
//! `frozen/<version>.txt` has a line for each kind of thing that travels: its name and its bytes in hex.
//! A file is written once, when its version is released (`FREEZE=1 cargo test -p chatchit-protocol`), and
//! never changed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use protocol::control::{Answer, Ask, Beat, Card, Part, Question, Reply, Says, Who};
use protocol::events::message::SendMessage;
use protocol::ids::{ConversationId, LoginId, MessageId, NodeId, SocketId, UserId};
use protocol::{
    Account, ApiRequest, ApiResponse, BadBytes, Control, Downlink, Forms, Lane, MessageOutcome, Origin,
    Recipients, Reject, RequestHeaders, ResponseHeaders, Role, Sender, Tag, Timestamp, TraceContext, Uplink,
    Urgency, decode, encode,
};
use serde::{Deserialize, Serialize};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn uplink() -> Uplink {
    let from = Sender { user: UserId(7), socket: Some(SocketId { node: NodeId(1), serial: 2 }) };
    let context = TraceContext::begun(7, 9);
    let data =
        format!(r#"{{"conversationId":3,"guid":"g-1","content":"xin chào","traceparent":"{context}"}}"#);
    let uplink = Uplink::of::<SendMessage>(from, Timestamp(5), &data).unwrap();
    Uplink { tag: Some(Tag::Id("8".into())), ..uplink }
}

fn downlink() -> Downlink<'static> {
    Downlink {
        to: Recipients::Users(vec![UserId(7), UserId(8)]),
        forms: Forms::SocketIo,
        urgency: Urgency::Latest(9),
        event: "messageComing",
        data: "{}",
        lane: Some(Lane::High),
        since: Some(Timestamp(7)),
        origin: Some(Origin { guid: 1, sender: UserId(7), conversation: ConversationId(3) }),
        outcome: Some(MessageOutcome::Shown),
        context: Some(TraceContext::begun(7, 9)),
        tag: Some(Tag::Ack(4)),
    }
}

fn answer() -> Downlink<'static> {
    let refused = Some(MessageOutcome::Refused(Reject::NotAMember));
    Downlink {
        to: Recipients::Socket(4),
        forms: Forms::All,
        urgency: Urgency::Keep,
        lane: None,
        since: None,
        origin: None,
        outcome: refused,
        context: None,
        tag: None,
        ..downlink()
    }
}

fn who() -> Who {
    Who {
        node: NodeId(1),
        part: Part::Worker,
        version: "0.1.0".into(),
        host: "a".into(),
        pid: 2,
        up_ms: 3,
        lag_ms: 4,
        ready: true,
        draining: false,
        unwell: vec![("store".into(), "away".into())],
    }
}

/// Every kind of thing that travels, checked by `check`.
fn every_kind(mut check: impl Checks) {
    check.one("uplink", &uplink());
    check.one("downlink", &downlink());
    check.one("answer", &answer());
    check.one("kept", &MessageOutcome::Kept(MessageId(9)));
    check.one("control", &Control::EndLogin { user: UserId(7), login: LoginId(5) });
    check.one("beat", &Beat { node: NodeId(1), says: Says::Hello });
    check.one(
        "api-response",
        &ApiResponse { status: 200, body: b"{}".to_vec(), headers: ResponseHeaders::default() },
    );
    let account = Account { user: UserId(7), login: LoginId(1), role: Role::User, expires_s: 9 };
    check.one(
        "api-request",
        &ApiRequest {
            method: "POST".into(),
            path: "/auth/login".into(),
            query: String::new(),
            account: Some(account),
            address: [127, 0, 0, 1].into(),
            body: b"{}".to_vec(),
            headers: RequestHeaders::default(),
        },
    );
    check.one("synced", &Ok::<String, Reject>("{}".into()));
    check.one("not-synced", &Err::<String, Reject>(Reject::Busy));
    let questions = [
        ("roll", Question::Roll),
        ("lanes", Question::Lanes),
        ("sockets", Question::Sockets(UserId(7))),
        ("kick", Question::Kick { user: UserId(7), ended: None }),
        ("drain", Question::Drain(NodeId(9))),
        ("trace", Question::Trace(300)),
    ];
    for (name, question) in questions {
        check.one(name, &Ask { from: NodeId(1), number: 2, question });
    }
    check
        .one("here", &Answer { number: 2, who: who(), said: Reply::Here { sockets: Some(1), shards: None } });
    let card = Card {
        node: NodeId(1),
        part: Part::Gateway,
        version: "0.1.0".into(),
        host: "a".into(),
        pid: 2,
        started: Timestamp(5),
        seen: Timestamp(6),
        secret: 7,
    };
    check.one("card", &card);
    check.one("draining", &Answer { number: 2, who: who(), said: Reply::Draining { already: true } });
}

trait Checks {
    fn one<'de, T: Serialize + Deserialize<'de> + PartialEq + Debug>(
        &mut self,
        name: &'static str,
        thing: &T,
    );
}

struct Decodes(Vec<(&'static str, &'static [u8])>, String);

impl Checks for Decodes {
    fn one<'de, T: Serialize + Deserialize<'de> + PartialEq + Debug>(
        &mut self,
        name: &'static str,
        thing: &T,
    ) {
        let Some((_, bytes)) = self.0.iter().find(|(known, _)| *known == name) else { return };
        assert_eq!(decode::<T>(bytes).as_ref(), Ok(thing), "{} of {}", name, self.1);
    }
}

struct Writes(String);

impl Checks for &mut Writes {
    fn one<'de, T: Serialize + Deserialize<'de> + PartialEq + Debug>(
        &mut self,
        name: &'static str,
        thing: &T,
    ) {
        self.0 += &format!("{name} {}\n", hex(&encode(thing)));
    }
}

#[test]
fn bytes_of_every_released_version_are_understood() {
    let now = folder().join(concat!(env!("CARGO_PKG_VERSION"), ".txt"));
    if std::env::var_os("FREEZE").is_some() && !now.exists() {
        let mut writes = Writes(String::new());
        every_kind(&mut writes);
        std::fs::write(&now, writes.0).unwrap();
    }
    let mut versions = 0;
    for entry in std::fs::read_dir(folder()).unwrap().map(Result::unwrap) {
        let text: &'static str = std::fs::read_to_string(entry.path()).unwrap().leak();
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(name, bytes)| (name, &*unhex(bytes).leak()))
            .collect();
        assert!(lines.len() > 15, "{:?}", entry.path());
        every_kind(Decodes(lines, entry.file_name().into_string().unwrap()));
        versions += 1;
    }
    assert!(versions > 0);
}

/// A neighbouring version has one field more in everything.
#[test]
fn a_field_of_a_younger_version_is_skipped() {
    #[derive(Serialize)]
    struct Younger<'a, T> {
        #[serde(flatten)]
        known: &'a T,
        new: [u8; 3],
    }
    struct Skips;
    impl Checks for Skips {
        fn one<'de, T>(&mut self, name: &'static str, thing: &T)
        where
            T: Serialize + Deserialize<'de> + PartialEq + Debug,
        {
            // An enum is a name with its content: it has no place for a field beside it.
            if ["kept", "control", "synced", "not-synced"].contains(&name) {
                return;
            }
            let bytes: &'static [u8] = encode(&Younger { known: thing, new: [1, 2, 3] }).to_vec().leak();
            assert_eq!(decode::<T>(bytes).as_ref(), Ok(thing), "{name}");
        }
    }
    every_kind(Skips);
}

#[test]
fn what_is_not_there_has_its_default() {
    #[derive(Serialize)]
    struct Oldest {
        r: Recipients,
        e: &'static str,
        d: &'static str,
    }
    let bytes = encode(&Oldest { r: Recipients::Socket(4), e: "messageComing", d: "{}" });
    assert_eq!(decode::<Downlink<'_>>(&bytes), Ok(Downlink { outcome: None, ..answer() }));
}

#[test]
fn another_encoding_is_refused() {
    assert_eq!(decode::<Timestamp>(&[]), Err(BadBytes));
    // Version 1 was positional.
    assert_eq!(decode::<Timestamp>(&[1, 0]), Err(BadBytes));
}
