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
use protocol::ids::{Guid, SocketId};
use protocol::{ClientEvent, CloseCode, Ready, Reject, ServerEvent, Timestamp};
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

/// How a client recognizes the answer to one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Native `id`, as JSON: a number or a short text.
    Id(Box<str>),
    /// The number of a Socket.IO acknowledgement.
    Ack(u64),
}

impl Tag {
    /// The tag as a name for a message: an `id` is one, the number of an acknowledgement is not
    /// (it begins anew with every connection).
    pub fn as_guid(&self) -> Option<Guid> {
        match self {
            Self::Id(json) => native::id_text(json).and_then(|text| Guid::new(&text).ok()),
            Self::Ack(_) => None,
        }
    }
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
                let ready = ServerEvent::Ready(ready);
                event_frame(self, ready.name(), &ready.data())
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// The socket's form.
    pub form: Form,
    /// The event's name, if it is one of ours.
    pub event: Option<&'static str>,
    /// The message it is about.
    pub guid: Option<Guid>,
    /// How the client recognizes the answer.
    pub tag: Option<Tag>,
}

impl ReplyTo {
    /// The broker has it. None: this event's sender is told nothing.
    pub fn queued(&self, at: Timestamp) -> Option<Bytes> {
        match (&self.guid, self.event) {
            (Some(guid), Some("sendMessage")) => {
                Some(self.answered(&ServerEvent::MessageQueued { guid: guid.clone(), at }))
            }
            _ => match self.tag {
                Some(Tag::Ack(ack)) => Some(socketio::acknowledged(ack, r#"{"status":"queued"}"#)),
                Some(Tag::Id(_)) | None => None,
            },
        }
    }

    /// It was refused.
    pub fn refused(&self, reject: Reject, retry_in_ms: Option<u64>) -> Bytes {
        let guid = self.guid.clone();
        self.answered(&ServerEvent::Rejected { event: self.event, reject, guid, retry_in_ms })
    }

    /// An event that answers it. It carries the client's `id`; an acknowledgement that is awaited
    /// follows it.
    pub fn answered(&self, event: &ServerEvent) -> Bytes {
        self.answered_with(event.name(), &event.data())
    }

    /// The same, of an answer that is encoded already.
    pub fn answered_with(&self, event: &str, data: &str) -> Bytes {
        match &self.tag {
            None => event_frame(self.form, event, data),
            Some(Tag::Id(id)) => whole([r#"{"event":""#, event, r#"","data":"#, data, r#","id":"#, id, "}"]),
            Some(Tag::Ack(ack)) => {
                let event = event_frame(self.form, event, data);
                [event, socketio::acknowledged(*ack, data)].concat().into()
            }
        }
    }
}

/// Reads a JSON object. (Serde by itself would take an array of the fields' values as well.)
fn read_object<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    let json = json.trim_start_matches([' ', '\t', '\n', '\r']);
    if json.starts_with('{') { serde_json::from_str(json).ok() } else { None }
}

/// The name of an event as a word of ours.
pub fn known_name(name: &str) -> Option<&'static str> {
    ClientEvent::NAMES.into_iter().find(|known| *known == name)
}

/// The guid in data that is otherwise refused, so that the client hears which message it was.
pub fn guid_in(data: &str) -> Option<Guid> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow, alias = "tempId")]
        guid: Cow<'a, str>,
    }
    Guid::new(&read_object::<Named<'_>>(data)?.guid).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_frame_in_either_form() {
        let native = event_frame(Form::Native, "pong", "{}");
        assert_eq!(native, &b"\x81\x1a{\"event\":\"pong\",\"data\":{}}"[..]);
        let socketio = event_frame(Form::SocketIo, "pong", "{}");
        assert_eq!(socketio, &b"\x81\x0d42[\"pong\",{}]"[..]);
    }

    #[test]
    fn an_awaited_acknowledgement_follows_its_event() {
        let guid = Some(Guid::new("g").unwrap());
        let tag = Some(Tag::Ack(5));
        let mut reply = ReplyTo { form: Form::SocketIo, event: Some("sendMessage"), guid, tag };
        let frames = reply.queued(Timestamp(0)).unwrap();
        let text = String::from_utf8_lossy(&frames);
        assert!(text.contains(r#"42["messageQueued",{"guid":"g""#), "{text}");
        assert!(text.contains(r#"435[{"guid":"g""#), "{text}");
        reply.event = Some("messageRead");
        assert_eq!(reply.queued(Timestamp(0)).unwrap(), frame::text_frame(br#"435[{"status":"queued"}]"#));
        reply.tag = None;
        assert_eq!(reply.queued(Timestamp(0)), None);
    }

    #[test]
    fn an_id_comes_back_on_the_answer() {
        let tag = Some(Tag::Id("7".into()));
        let reply = ReplyTo { form: Form::Native, event: Some("sync"), guid: None, tag };
        let answer = reply.answered_with("synced", "{}");
        assert_eq!(answer, frame::text_frame(br#"{"event":"synced","data":{},"id":7}"#));
        assert_eq!(reply.queued(Timestamp(0)), None);
    }

    #[test]
    fn a_refused_message_is_still_named() {
        assert_eq!(guid_in(r#"{"content":[],"tempId":"g-1"}"#), Guid::new("g-1").ok());
        for none in ["{}", "", "7", r#"{"guid":7}"#, r#"{"guid":"a b"}"#] {
            assert_eq!(guid_in(none), None, "{none}");
        }
    }
}
