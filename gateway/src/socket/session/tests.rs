//! Sessions in tables: what arrives, when, and what is to be done. No runtime, microseconds.

use protocol::events::message::MessageRead;
use protocol::ids::{LoginId, NodeId, UserId};
use protocol::{Role, Tag};

use super::*;

const SOCKET: SocketId = SocketId { node: NodeId(0xabc), serial: 31 };
const EXPIRES_S: i64 = 3_600;

fn alice() -> Account {
    Account { user: UserId(7), login: LoginId(1), role: Role::User, expires_s: EXPIRES_S }
}

/// `good` is alice's token, `next` a later one of the same login, `other` of another one.
fn verify(token: &str, _: Timestamp) -> Result<Account, Reject> {
    match token {
        "good" => Ok(alice()),
        "next" => Ok(Account { expires_s: 2 * EXPIRES_S, ..alice() }),
        "other" => Ok(Account { login: LoginId(2), ..alice() }),
        "spent" => Ok(Account { expires_s: 0, ..alice() }),
        _ => Err(Reject::Unauthorized),
    }
}

/// A session and the moment it lives in.
struct Bench {
    session: Session,
    limits: SessionLimits,
    ms: u64,
}

impl Bench {
    fn new(form: Form, account: Option<Account>) -> (Self, Vec<String>) {
        let now = Now { up: Duration::ZERO, wall: Timestamp(0) };
        let session = Session::new(form, SOCKET, account, now);
        let mut bench = Self { session, limits: SessionLimits::default(), ms: 0 };
        let opening = bench.act(0, |session, turn, out| session.on_open(turn, out));
        (bench, opening)
    }

    fn joined(form: Form) -> Self {
        let (mut bench, _) = Self::new(form, Some(alice()));
        if form == Form::SocketIo {
            bench.says(0, "40");
        }
        assert_eq!(bench.session.account(), Some(&alice()));
        bench
    }

    fn act(&mut self, ms: u64, step: impl FnOnce(&mut Session, &Turn<'_>, &mut Vec<Action>)) -> Vec<String> {
        self.actions(ms, step).iter().map(show).collect()
    }

    fn actions(
        &mut self,
        ms: u64,
        step: impl FnOnce(&mut Session, &Turn<'_>, &mut Vec<Action>),
    ) -> Vec<Action> {
        self.ms = ms;
        let now = Now { up: Duration::from_millis(ms), wall: Timestamp(ms as i64) };
        let turn = Turn { now, limits: &self.limits, events: &Events::default(), verify: &verify };
        let mut out = Vec::new();
        step(&mut self.session, &turn, &mut out);
        out
    }

    fn hears(&mut self, ms: u64, frame: Frame<'_>) -> Vec<String> {
        self.act(ms, |session, turn, out| session.on_frame(frame, turn, out))
    }

    fn says(&mut self, ms: u64, text: &str) -> Vec<String> {
        self.hears(ms, Frame::Text(text))
    }

    fn beat(&mut self, ms: u64) -> Vec<String> {
        self.act(ms, |session, turn, out| session.on_heartbeat(turn, out))
    }
}

/// An action in one line; packets as their texts.
fn show(action: &Action) -> String {
    match action {
        Action::Accept(account) => format!("accept {}", account.user),
        Action::Publish { uplink, reply } => format!("publish {} {:?}", uplink.event, reply.tag),
        Action::Ask { uplink, reply } => format!("ask {} {:?}", uplink.event, reply.tag),
        Action::Send(packets) => format!("send {}", packets.texts().collect::<Vec<_>>().join(" + ")),
        Action::Ping => "ping".into(),
        Action::Pong(payload) => format!("pong {}", String::from_utf8_lossy(payload)),
        Action::Beat(took) => format!("beat {}", took.as_millis()),
        Action::Count(dropped) => format!("count {}", dropped.label()),
        Action::Close(code) => format!("close {}", code.label()),
        Action::End(goodbye) => format!("end {goodbye:?}"),
    }
}

const READY: &str = r#"send {"event":"ready","data":{"protocol":1,"userId":7,"socketId":"0000000000000abc-1f","heartbeatMs":25000,"frameBytesMax":262144}}"#;
const CONNECTED: &str = r#"send 40{"sid":"0000000000000abc-1f"}"#;
/// The gateway publishes it on behalf of clients that do not ask themselves.
const WHO_IS_ONLINE: &str = "publish getOnlineUsers None";
const OPEN: &str = r#"send 0{"sid":"0000000000000abc-1f","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":262144}"#;

#[test]
fn a_native_socket_joins_by_request_or_by_its_first_frame() {
    let (_, heard) = Bench::new(Form::Native, Some(alice()));
    assert_eq!(heard, ["accept 7", READY]);

    let (mut bench, heard) = Bench::new(Form::Native, None);
    assert_eq!(heard, [""; 0]);
    assert_eq!(bench.says(4_999, r#"{"event":"auth","data":{"token":"good"}}"#), ["accept 7", READY]);
}

#[test]
fn a_socketio_socket_joins_by_connect() {
    let (mut bench, heard) = Bench::new(Form::SocketIo, None);
    assert_eq!(heard, [OPEN]);
    assert_eq!(bench.says(1, r#"40{"token":"good"}"#), ["accept 7", CONNECTED, WHO_IS_ONLINE]);

    // The request's token counts when CONNECT brings none, and only then.
    let (mut bench, heard) = Bench::new(Form::SocketIo, Some(alice()));
    assert_eq!(heard, [OPEN]);
    assert_eq!(bench.session.account(), None);
    assert_eq!(bench.says(1, r#"40{"token":"bad"}"#), [r#"send 44{"message":"Invalid token"}"#]);
    assert_eq!(bench.says(2, "40"), ["accept 7", CONNECTED, WHO_IS_ONLINE]);
}

#[test]
fn without_a_valid_token_nobody_joins() {
    let (mut bench, _) = Bench::new(Form::SocketIo, None);
    let missing = r#"send 44{"message":"Authentication token is missing"}"#;
    assert_eq!(bench.says(1, "40"), [missing]);
    assert_eq!(bench.says(1, r#"40/admin,{"token":"good"}"#).len(), 1);
    assert_eq!(bench.session.account(), None);
    assert_eq!(bench.says(2, r#"42["ping"]"#), ["close unauthorized"]);

    for first in [
        r#"{"event":"auth","data":{"token":"bad"}}"#,
        r#"{"event":"auth","data":{"token":"spent"}}"#,
        r#"{"event":"auth","data":{}}"#,
        r#"{"event":"ping"}"#,
    ] {
        let (mut bench, _) = Bench::new(Form::Native, None);
        assert_eq!(bench.says(1, first), ["close unauthorized"], "{first}");
    }
}

#[test]
fn a_handshake_ends_in_time() {
    for form in [Form::Native, Form::SocketIo] {
        let (mut bench, _) = Bench::new(form, None);
        // Signs of life do not extend the handshake's deadline.
        bench.hears(4_000, Frame::Pong);
        assert_eq!(bench.beat(4_999), [""; 0]);
        assert_eq!(bench.beat(5_000), ["close handshake_timeout"]);
    }
}

#[test]
fn a_token_is_renewed_by_its_own_login_only() {
    let mut bench = Bench::joined(Form::Native);
    let late = EXPIRES_S as u64 * 1_000;
    assert_eq!(bench.says(late - 1, r#"{"event":"auth","data":{"token":"next"}}"#), [READY]);
    assert_eq!(
        bench.says(late, r#"{"event":"messageRead","data":{"conversationId":1,"messageId":2}}"#),
        ["publish messageRead None"]
    );
    assert_eq!(bench.says(late, r#"{"event":"auth","data":{"token":"other"}}"#), ["close unauthorized"]);

    let mut bench = Bench::joined(Form::Native);
    assert_eq!(bench.says(late, r#"{"event":"ping"}"#), ["close unauthorized"]);
    let mut bench = Bench::joined(Form::Native);
    bench.hears(late - 1, Frame::Pong);
    assert_eq!(bench.beat(late), ["close unauthorized"]);
}

#[test]
fn a_peer_that_misses_its_pongs_is_closed() {
    for (form, ping) in [(Form::Native, "ping"), (Form::SocketIo, "send 2")] {
        let mut bench = Bench::joined(form);
        assert_eq!(bench.beat(25_000), [ping]);
        let pong = |bench: &mut Bench, ms| match form {
            Form::Native => bench.hears(ms, Frame::Pong),
            Form::SocketIo => bench.says(ms, "3"),
        };
        assert_eq!(pong(&mut bench, 25_040), ["beat 40"]);
        assert_eq!(pong(&mut bench, 26_000), [""; 0], "nobody asked");
        assert_eq!(bench.beat(50_000), [ping]);
        assert_eq!(bench.beat(70_999), [ping]);
        assert_eq!(bench.beat(71_000), ["close no_pong"]);
    }
}

#[test]
fn pings_of_the_client_are_answered_at_once() {
    let mut bench = Bench::joined(Form::Native);
    assert_eq!(bench.hears(1, Frame::Ping(b"abc")), ["pong abc"]);
    let pong = r#"{"timestamp":"1970-01-01T00:00:00.001Z","userId":7}"#;
    let event = format!(r#"send {{"event":"pong","data":{pong}}}"#);
    assert_eq!(bench.says(1, r#"{"event":"ping"}"#), [event]);

    let mut bench = Bench::joined(Form::SocketIo);
    assert_eq!(bench.says(1, "2"), ["send 3"]);
    let both = format!(r#"send 42["pong",{pong}] + 439[{pong}]"#);
    assert_eq!(bench.says(1, r#"429["ping"]"#), [both]);
}

#[test]
fn events_are_published_with_their_sender() {
    let mut bench = Bench::joined(Form::Native);
    let text = r#"{"event":"messageRead","data":{"conversationId":1,"messageId":2},"id":"m"}"#;
    let actions = bench.actions(5, |session, turn, out| session.on_frame(Frame::Text(text), turn, out));
    let from = Sender { user: UserId(7), socket: Some(SOCKET) };
    let data = r#"{"conversationId":1,"messageId":2}"#;
    let tag = Some(Tag::Id("\"m\"".into()));
    let uplink = Uplink { tag: tag.clone(), ..Uplink::of::<MessageRead>(from, Timestamp(5), data).unwrap() };
    let reply = ReplyTo { form: Form::Native, event: Some(MessageRead::ROW), guid: None, tag };
    assert_eq!(actions, [Action::Publish { uplink, reply }]);

    assert_eq!(bench.says(6, r#"{"event":"sync","data":{"conversations":{"7":1}}}"#), ["ask sync None"]);
    let mut bench = Bench::joined(Form::SocketIo);
    assert_eq!(bench.says(6, r#"423["sync",{"conversations":{}}]"#), ["ask sync Some(Ack(3))"]);
}

#[test]
fn every_message_has_a_guid_and_its_answers_carry_it() {
    #[track_caller]
    fn check(bench: &mut Bench, text: &str, guid: &str) {
        let out = bench.actions(1, |session, turn, out| session.on_frame(Frame::Text(text), turn, out));
        let [Action::Publish { uplink, reply }] = out.as_slice() else { panic!("{out:?}") };
        assert_eq!(uplink.guid.as_ref().unwrap().as_str(), guid);
        assert_eq!(uplink.guid, reply.guid);
    }
    let mut native = Bench::joined(Form::Native);
    let text = |more: &str, id: &str| {
        format!(r#"{{"event":"sendMessage","data":{{"conversationId":7,"content":"a"{more}}}{id}}}"#)
    };
    check(&mut native, &text(r#","guid":"g""#, ""), "g");
    check(&mut native, &text(r#","tempId":"t""#, r#","id":"i""#), "t");
    // A frame's `id` is not a guid: two sockets both count from 1.
    check(&mut native, &text("", r#","id":"i""#), "temp_0000000000000abc_1f_1");
    check(&mut native, &text("", r#","id":12"#), "temp_0000000000000abc_1f_2");
    check(&mut native, &text("", r#","id":12"#), "temp_0000000000000abc_1f_3");
    check(&mut native, &text("", ""), "temp_0000000000000abc_1f_4");
    let mut socketio = Bench::joined(Form::SocketIo);
    check(
        &mut socketio,
        r#"42["sendMessage",{"conversationId":7,"content":"a"}]"#,
        "temp_0000000000000abc_1f_1",
    );
}

#[test]
fn mistakes_are_answered_in_the_words_of_the_form() {
    let check = |form, text: &str, expect: &[&str]| {
        let mut bench = Bench::joined(form);
        assert_eq!(bench.says(1, text), expect, "{text}");
    };
    let error = |code: &str, sentence: &str, more: &str| {
        format!(r#"{{"status":"error","code":"{code}","message":"{sentence}"{more}}}"#)
    };
    let malformed = error("malformed", "The frame is not understood.", "");
    let native = format!(r#"send {{"event":"exception","data":{malformed}}}"#);
    check(Form::Native, "x", &["count malformed", &native]);
    let socketio = format!(r#"send 42["exception",{malformed}]"#);
    check(Form::SocketIo, "42[", &["count malformed", &socketio]);

    let unknown = error("unknown_event", "Unknown event.", "");
    let unknown = format!(r#"send {{"event":"exception","data":{unknown},"id":"i"}}"#);
    check(Form::Native, r#"{"event":"nope","id":"i"}"#, &["count unknown_event", &unknown]);
    check(Form::SocketIo, r#"42["giveUpCall",{}]"#, &["count unknown_event"]);

    let more = r#","event":"sendMessage","guid":"g","tempId":"g""#;
    let invalid = error("invalid", "A field is missing, of the wrong type or out of range.", more);
    let invalid = format!(r#"send 42["sendMessageError",{invalid}] + 431[{invalid}]"#);
    check(Form::SocketIo, r#"421["sendMessage",{"guid":"g"}]"#, &["count invalid", &invalid]);

    check(Form::SocketIo, "9", &["close protocol_error"]);
    check(Form::SocketIo, r#"451-["a",{"_placeholder":true,"num":0}]"#, &["close unsupported"]);
}

#[test]
fn typing_is_relayed_once_a_second_and_conversation() {
    let mut bench = Bench::joined(Form::SocketIo);
    let mut check = |ms, conversation: i64, is_typing: bool, relayed: bool| {
        let text = format!(r#"42["typing",{{"conversationId":{conversation},"isTyping":{is_typing}}}]"#);
        let expect = if relayed { "publish typing None" } else { "count typing_repeated" };
        assert_eq!(bench.says(ms, &text), [expect], "{ms} {text}");
    };
    check(0, 7, true, true);
    check(1, 7, true, false);
    check(999, 7, true, false);
    check(1_000, 7, true, true);
    check(1_001, 7, false, true);
    check(1_002, 7, false, false);
    check(1_003, 8, true, true);
}

#[test]
fn beyond_the_rate_events_are_refused_then_the_socket_is_closed() {
    let mut bench = Bench::joined(Form::Native);
    bench.limits.frames = LocalRate::per_second(10, 2);
    bench.limits.violations = LocalRate::per_second(1, 2);
    let text = r#"{"event":"sendMessage","data":{"conversationId":7,"content":"a","guid":"g"}}"#;
    assert_eq!(bench.says(0, text), ["publish sendMessage None"]);
    assert_eq!(bench.says(0, text), ["publish sendMessage None"]);
    let refused = bench.says(0, text);
    assert_eq!(refused[0], "count rate_limited");
    assert!(refused[1].starts_with(r#"send {"event":"sendMessageError""#), "{refused:?}");
    assert!(refused[1].ends_with(r#""guid":"g","tempId":"g","retryInMs":101}}"#), "{refused:?}");
    assert_eq!(bench.says(101, text), ["publish sendMessage None"], "who waits is let in");
    assert_eq!(bench.hears(101, Frame::Ping(b"")), ["count control_flood"]);
    assert_eq!(bench.hears(101, Frame::Pong), ["close rate_limited"]);
}

#[test]
fn bytes_are_limited_as_frames_are() {
    let mut bench = Bench::joined(Form::Native);
    bench.limits.bytes = LocalRate::per_second(100, 50);
    let text = format!(r#"{{"event":"x{}"}}"#, "x".repeat(60));
    assert_eq!(bench.says(0, &text)[0], "count rate_limited");
}

#[test]
fn a_stream_of_nonsense_is_closed() {
    let mut bench = Bench::joined(Form::Native);
    let closed = (0..1_000).find(|n| bench.says(*n, "x") == ["close rate_limited"]);
    assert!(closed.is_some_and(|n| (100..=110).contains(&n)), "{closed:?}");
}

#[test]
fn a_goodbye_is_answered() {
    let check = |form, frame: Frame<'_>, expect: &str| {
        assert_eq!(Bench::joined(form).hears(1, frame), [expect]);
    };
    check(Form::Native, Frame::Close(Some(1001)), "end Transport(Some(1001))");
    check(Form::Native, Frame::Close(None), "end Transport(None)");
    check(Form::SocketIo, Frame::Text("41"), "end Form");
    check(Form::SocketIo, Frame::Text("1"), "end Form");
    check(Form::Native, Frame::Binary(b""), "close unsupported");
}
