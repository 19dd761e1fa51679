//! Two wire forms, one event model: bytes to [`Said`] and events to bytes. Pure.
//!
//! `session.rs` decides without knowing the form; what differs between the forms is here, one
//! `match` per question. Nothing here panics, whatever a client sends, and what is read is lent
//! from the frame, not copied.

/// `{"event","data","id"?}`.
mod native;

/// Engine.IO v4 packets: open, ping, pong, message.
mod engineio;

/// Socket.IO v5 packets inside Engine.IO messages.
mod socketio;

use std::borrow::Cow;

use bytes::{BufMut, Bytes};
use protocol::events::message::MessageQueued;
use protocol::events::session::{Ready, Refusal};
use protocol::events::{Acknowledged, ClientRow, ServerEvent};
use protocol::ids::{Guid, SocketId};
use protocol::{CloseCode, Reject, Tag, Timestamp};
use serde::Deserialize;

use crate::transport::frame::{self, Opcode};

/// How a socket writes its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// `GET /ws`
    Native,
    /// `/socket.io/`: Socket.IO v5 over Engine.IO v4.
    SocketIo,
}

/// What a client said, read but not yet judged.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// Its token; none when it relies on the one in the request.
    Auth(Option<Cow<'a, str>>),
    /// An event.
    Event {
        /// Its name, unchecked.
        name: Cow<'a, str>,
        /// The JSON of its data.
        data: &'a str,
        /// How the client recognizes the answer.
        tag: Option<Tag>,
    },
    /// To be answered with this frame at once (Engine.IO ping, a foreign namespace).
    Asked(Bytes),
    /// The answer to our ping (Engine.IO).
    Pong,
    /// Of no consequence (Engine.IO noop, acknowledgements).
    Nothing,
    /// It leaves.
    Goodbye,
}

/// Why a text was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misread {
    /// The client is told, and may go on.
    Reject(Reject),
    /// The form has no words for it: the socket is closed.
    Close(CloseCode),
}

impl Form {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Native, Self::SocketIo];

    /// The value of the metric label `form`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::SocketIo => "socketio",
        }
    }

    /// Reads the text of one frame.
    ///
    /// # Errors
    /// [`Misread`] says whether the client is answered or the socket closed.
    pub fn read(self, text: &str) -> Result<Said<'_>, Misread> {
        match self {
            Self::Native => native::read(text),
            Self::SocketIo => match engineio::Packet::read(text)? {
                engineio::Packet::Message(packet) => socketio::read(packet),
                engineio::Packet::Ping(payload) => Ok(Said::Asked(engineio::pong(payload))),
                engineio::Packet::Pong => Ok(Said::Pong),
                engineio::Packet::Noop => Ok(Said::Nothing),
                engineio::Packet::Close => Ok(Said::Goodbye),
            },
        }
    }

    /// What the socket hears before anything else.
    pub fn opening(self, socket: SocketId) -> Option<Bytes> {
        match self {
            Self::Native => None,
            Self::SocketIo => Some(engineio::open(socket)),
        }
    }

    /// Whether a valid token in the request is enough, or the client must still ask to join.
    pub const fn joins_by_request(self) -> bool {
        matches!(self, Self::Native)
    }

    /// What the socket hears once it is authenticated.
    pub fn welcome(self, ready: Ready) -> Bytes {
        match self {
            Self::Native => {
                let ready = ServerEvent::from(ready);
                event_frame(self, ready.name(), ready.data())
            }
            Self::SocketIo => socketio::connected(ready.socket_id),
        }
    }

    /// What the socket hears when its token is not accepted. None: the close code says it.
    pub fn unwelcome(self, token_given: bool) -> Option<Bytes> {
        match self {
            Self::Native => None,
            Self::SocketIo => Some(socketio::refused(token_given)),
        }
    }

    /// Whether a socket hears who is online without asking: the original's clients never ask.
    pub const fn is_told_who_is_online(self) -> bool {
        matches!(self, Self::SocketIo)
    }

    /// The server's heartbeat.
    pub fn ping(self) -> Bytes {
        match self {
            Self::Native => Bytes::from_static(&[0x80 | Opcode::Ping as u8, 0]),
            Self::SocketIo => Bytes::from_static(&[0x80 | Opcode::Text as u8, 1, b'2']),
        }
    }

    /// Whether events without a meaning here are passed over in silence, as the original does.
    pub const fn ignores_unknown_events(self) -> bool {
        matches!(self, Self::SocketIo)
    }
}

/// A whole WebSocket frame with one event, ready to write. `event` is one of ours: it needs no
/// escaping; `data` is JSON.
pub fn event_frame(form: Form, event: &str, data: &str) -> Bytes {
    match form {
        Form::Native => whole([r#"{"event":""#, event, r#"","data":"#, data, "}"]),
        Form::SocketIo => whole(["42[\"", event, "\",", data, "]"]),
    }
}

/// A text frame of these parts.
fn whole<const N: usize>(parts: [&str; N]) -> Bytes {
    let len = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(10 + len);
    frame::write_header(&mut out, Opcode::Text, len);
    for part in parts {
        out.put_slice(part.as_bytes());
    }
    out.into()
}

/// How the answers to one event find it again: carried along until there is an answer.
#[derive(Clone, Debug)]
pub struct ReplyTo {
    /// The socket's form.
    pub form: Form,
    /// The event's row, if it is one of ours.
    pub event: Option<&'static ClientRow>,
    /// The message it is about.
    pub guid: Option<Guid>,
    /// How the client recognizes the answer.
    pub tag: Option<Tag>,
}

impl PartialEq for ReplyTo {
    fn eq(&self, other: &Self) -> bool {
        let name = |reply: &Self| reply.event.map(|row| row.name);
        (self.form, name(self), &self.guid, &self.tag) == (other.form, name(other), &other.guid, &other.tag)
    }
}

impl ReplyTo {
    /// The bus has it. None: this event's sender is told nothing now.
    pub fn queued(&self, at: Timestamp) -> Option<Bytes> {
        match (self.event?.acknowledged, &self.guid, &self.tag) {
            (Acknowledged::MessageQueued, Some(guid), _) => {
                Some(self.answered(&MessageQueued { guid: guid.clone(), at }.into()))
            }
            (Acknowledged::Queued, _, Some(Tag::Ack(ack))) => {
                Some(socketio::acknowledged(*ack, r#"{"status":"queued"}"#))
            }
            _ => None,
        }
    }

    /// The tag that a worker's answer brings back: what was acknowledged before is not acknowledged twice.
    pub fn tag_of_answer(&self) -> Option<Tag> {
        let acknowledged = self.event.map(|row| row.acknowledged);
        self.tag
            .clone()
            .filter(|tag| matches!(tag, Tag::Id(_)) || acknowledged == Some(Acknowledged::Answered))
    }

    /// It was refused.
    pub fn refused(&self, refusal: Refusal) -> Bytes {
        let guid = refusal.guid.clone().or_else(|| self.guid.clone());
        self.answered(&Refusal { guid, ..refusal }.into_event(self.event))
    }

    /// It was refused, and may be repeated after this time.
    pub fn refused_for_now(&self, reject: Reject, retry_in_ms: u64) -> Bytes {
        self.refused(Refusal { retry_in_ms: Some(retry_in_ms), ..Refusal::of(reject) })
    }

    /// An event that answers it. It carries the client's `id`; an acknowledgement that is awaited
    /// follows it.
    pub fn answered(&self, event: &ServerEvent) -> Bytes {
        self.answered_with(event.name(), event.data())
    }

    /// The same, of an answer that is encoded already.
    pub fn answered_with(&self, event: &str, data: &str) -> Bytes {
        answer_frame(self.form, event, data, self.tag.as_ref())
    }
}

/// A whole WebSocket frame with an event that answers another one.
pub fn answer_frame(form: Form, event: &str, data: &str, tag: Option<&Tag>) -> Bytes {
    match tag {
        None => event_frame(form, event, data),
        Some(Tag::Id(id)) => whole([r#"{"event":""#, event, r#"","data":"#, data, r#","id":"#, id, "}"]),
        Some(Tag::Ack(ack)) => {
            let event = event_frame(form, event, data);
            [event, socketio::acknowledged(*ack, data)].concat().into()
        }
    }
}

/// Reads a JSON object. (Serde by itself would take an array of the fields' values as well.)
fn read_object<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    // A byte order mark may be ignored (RFC 8259, 8.1).
    let json = json.trim_start_matches(['\u{feff}', ' ', '\t', '\n', '\r']);
    if json.starts_with('{') { serde_json::from_str(json).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use protocol::events::ClientEvent as _;
    use protocol::events::message::{MessageRead, SendMessage};
    use protocol::events::presence::GetOnlineUsers;
    use protocol::events::sync::Sync;

    use super::*;

    #[test]
    fn an_event_is_one_frame_in_either_form() {
        let native = event_frame(Form::Native, "pong", "{}");
        assert_eq!(native, &b"\x81\x1a{\"event\":\"pong\",\"data\":{}}"[..]);
        let socketio = event_frame(Form::SocketIo, "pong", "{}");
        assert_eq!(socketio, &b"\x81\x0d42[\"pong\",{}]"[..]);
    }

    fn reply(event: &'static ClientRow, form: Form, tag: Option<Tag>) -> ReplyTo {
        ReplyTo { form, event: Some(event), guid: None, tag }
    }

    #[test]
    fn an_awaited_acknowledgement_follows_its_event() {
        let guid = Some(Guid::new("g").unwrap());
        let sent = ReplyTo { guid, ..reply(SendMessage::ROW, Form::SocketIo, Some(Tag::Ack(5))) };
        let frames = sent.queued(Timestamp(0)).unwrap();
        let text = String::from_utf8_lossy(&frames);
        assert!(text.contains(r#"42["messageQueued",{"guid":"g""#), "{text}");
        assert!(text.contains(r#"435[{"guid":"g""#), "{text}");
        let mut read = reply(MessageRead::ROW, Form::SocketIo, Some(Tag::Ack(5)));
        assert_eq!(read.queued(Timestamp(0)).unwrap(), frame::text_frame(br#"435[{"status":"queued"}]"#));
        assert_eq!(read.tag_of_answer(), None, "it is not acknowledged twice");
        read.tag = None;
        assert_eq!(read.queued(Timestamp(0)), None);
        let asked = reply(GetOnlineUsers::ROW, Form::SocketIo, Some(Tag::Ack(5)));
        assert_eq!(asked.queued(Timestamp(0)), None, "its answer acknowledges it");
        assert_eq!(asked.tag_of_answer(), Some(Tag::Ack(5)));
    }

    #[test]
    fn an_id_comes_back_on_the_answer() {
        let reply = reply(Sync::ROW, Form::Native, Some(Tag::Id("7".into())));
        let answer = reply.answered_with("synced", "{}");
        assert_eq!(answer, frame::text_frame(br#"{"event":"synced","data":{},"id":7}"#));
        assert_eq!(reply.queued(Timestamp(0)), None);
    }
}
