//! The parts of an envelope that may be shown: names, ids, times, lengths. Contents only on request. Pure.
//!
//! What is shown is listed here, field by field; an event that is not known here shows its name and
//! its conversation. Tokens never travel in envelopes.

use common::bus::Envelope;
use protocol::control::{Answer, Ask, Beat, Question, Reply, Says};
use protocol::events::ClientEvent as _;
use protocol::events::message::{MessageRead, SendMessage};
use protocol::events::typing::Typing;
use protocol::{self, Control, Uplink};
use serde_json::{Value, json};

/// The beginning of a panic's text; the rest may quote the data that caused it.
const PANIC: &str = "a panic";

/// An event from a lane. None: it is none, or damaged.
pub fn event(envelope: &Envelope, bodies: bool) -> Option<Value> {
    let uplink: Uplink = protocol::decode(&envelope.body).ok()?;
    let mut shown = json!({
        "event": uplink.event,
        "at": uplink.at,
        "user": uplink.from.user,
        "socket": uplink.from.socket.map(|socket| socket.to_string()),
        "conversation": uplink.conversation,
    });
    if let Some(guid) = &uplink.guid {
        shown["guid"] = json!(guid);
        shown["traceId"] = json!(uplink.context.map(|context| context.trace_id()));
    }
    if uplink.event[..] == *SendMessage::ROW.name
        && let Ok(message) = SendMessage::parse(&uplink.data)
    {
        shown["messageType"] = json!(message.message_type);
        shown["contentChars"] = message.content.chars().count().into();
        shown["attachments"] = message.attachments.len().into();
        if bodies {
            shown["content"] = message.content.into();
            shown["attachmentUrls"] = json!(message.attachments);
        }
    } else if uplink.event[..] == *MessageRead::ROW.name
        && let Ok(read) = MessageRead::parse(&uplink.data)
    {
        shown["message"] = json!(read.message);
    } else if uplink.event[..] == *Typing::ROW.name
        && let Ok(typing) = Typing::parse(&uplink.data)
    {
        shown["isTyping"] = typing.is_typing.into();
    }
    Some(shown)
}

/// Why something was set aside.
pub fn reason(reason: &str, bodies: bool) -> String {
    match reason.find(PANIC) {
        Some(at) if !bodies => format!("{}{PANIC} (its words with --bodies)", &reason[..at]),
        _ => reason.to_owned(),
    }
}

/// An envelope of the topic exchange, in one line and as JSON.
pub fn control(envelope: &Envelope) -> (String, Value) {
    let body = &envelope.body;
    let known = match envelope.subject.as_str() {
        "control.gateways" => protocol::decode(body).ok().map(told),
        "control.workers" => protocol::decode(body).ok().map(beat),
        "control.programs" => protocol::decode(body).ok().map(asked),
        subject if subject.starts_with("control.answers.") => protocol::decode(body).ok().map(answered),
        _ => None,
    };
    known.unwrap_or_else(|| (format!("{} bytes", body.len()), Value::Null))
}

fn told(control: Control) -> (String, Value) {
    match control {
        Control::EndLogin { user, login } => (
            format!("login {login} of user {user} ends"),
            json!({ "endLogin": { "user": user, "login": login } }),
        ),
    }
}

fn beat(beat: Beat) -> (String, Value) {
    let says = match beat.says {
        Says::Hello => "hello",
        Says::Here => "here",
        Says::Bye => "bye",
    };
    (format!("{} says {says}", beat.node), json!({ "node": beat.node.to_string(), "says": says }))
}

fn asked(ask: Ask) -> (String, Value) {
    let (name, about) = match ask.question {
        Question::Roll => ("roll", Value::Null),
        Question::Lanes => ("lanes", Value::Null),
        Question::Sockets(user) => ("sockets", json!({ "user": user })),
        Question::Kick { user, ended } => ("kick", json!({ "user": user, "login": ended })),
        // The hash of a guid leads to nobody.
        Question::Trace(_) => ("trace", Value::Null),
        Question::Drain(node) => ("drain", json!({ "node": node.to_string() })),
    };
    let line = match &about {
        Value::Null => format!("{} asks: {name}", ask.from),
        about => format!("{} asks: {name} {about}", ask.from),
    };
    (line, json!({ "from": ask.from.to_string(), "asks": name, "about": about }))
}

fn answered(answer: Answer) -> (String, Value) {
    let said = match answer.said {
        Reply::Here { sockets, shards } => json!({ "sockets": sockets, "shards": shards }),
        Reply::Lanes(held) => json!({ "shardsHeld": held.len() }),
        Reply::Sockets { total, .. } => json!({ "socketsOfUser": total }),
        Reply::Closed(closed) => json!({ "closed": closed }),
        Reply::Trace { milestones, .. } => json!({ "milestones": milestones.len() }),
        Reply::Draining { already } => json!({ "draining": true, "already": already }),
    };
    let node = answer.who.node.to_string();
    (format!("{node} answers: {said}"), json!({ "node": node, "answers": said }))
}

#[cfg(test)]
mod tests {
    use common::bus::Subject;
    use protocol::ids::{NodeId, SocketId, UserId};
    use protocol::{Sender, Timestamp, TraceContext, encode};

    use super::*;

    fn message() -> Envelope {
        let attachment = r#"{"thumbUrl":"/secret-thumb","fileUrl":"/secret-file"}"#;
        let context = TraceContext::begun(7, 9);
        let data = format!(
            r#"{{"conversationId":7,"guid":"g-1","content":"xin chào","attachments":[{attachment}],"traceparent":"{context}"}}"#
        );
        let from = Sender { user: UserId(3), socket: Some(SocketId { node: NodeId(1), serial: 2 }) };
        let uplink = Uplink::of::<SendMessage>(from, Timestamp(0), &data).unwrap();
        Envelope { subject: Subject::new("high.sendMessage").unwrap(), key: 7, body: encode(&uplink) }
    }

    #[test]
    fn a_message_shows_ids_and_lengths_and_nothing_it_says() {
        let shown = event(&message(), false).unwrap();
        assert_eq!(shown["event"], "sendMessage");
        assert_eq!((&shown["user"], &shown["conversation"]), (&json!(3), &json!(7)));
        assert_eq!(
            (&shown["guid"], &shown["contentChars"], &shown["attachments"]),
            (&json!("g-1"), &json!(8), &json!(1))
        );
        assert_eq!(shown["traceId"], format!("{:032x}", 7));
        let text = shown.to_string();
        assert!(!text.contains("chào") && !text.contains("secret"), "{text}");
        let shown = event(&message(), true).unwrap();
        assert_eq!(shown["content"], "xin chào");
        assert_eq!(shown["attachmentUrls"][0]["fileUrl"], "/secret-file");
    }

    #[test]
    fn what_is_no_event_shows_nothing() {
        let envelope = Envelope { body: "xin chào".into(), ..message() };
        assert_eq!(event(&envelope, true), None);
        let subject = Subject::new("news.today").unwrap();
        assert_eq!(control(&Envelope { subject, ..envelope }), ("9 bytes".into(), Value::Null));
    }

    #[test]
    fn a_panic_may_quote_what_it_panicked_on() {
        let panic = "a panic: byte index 1 is not a char boundary of `chào`";
        assert_eq!(reason(panic, false), "a panic (its words with --bodies)");
        assert_eq!(reason(panic, true), panic);
        assert_eq!(reason("undecodable: damaged", false), "undecodable: damaged");
    }

    #[test]
    fn control_is_shown_by_its_ids() {
        let show = |subject: &str, body| {
            control(&Envelope { subject: Subject::new(subject).unwrap(), key: 0, body })
        };
        let end = Control::EndLogin { user: UserId(3), login: protocol::ids::LoginId(5) };
        assert_eq!(show("control.gateways", encode(&end)).0, "login 5 of user 3 ends");
        let ask = Ask { from: NodeId(1), number: 1, question: Question::Sockets(UserId(3)) };
        let (line, value) = show("control.programs", encode(&ask));
        assert_eq!(line, r#"0000000000000001 asks: sockets {"user":3}"#);
        assert_eq!(value["about"]["user"], 3);
        let beat = Beat { node: NodeId(2), says: Says::Bye };
        assert_eq!(show("control.workers", encode(&beat)).0, "0000000000000002 says bye");
    }
}
