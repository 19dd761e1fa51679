//! Events on their way to a client: alone, or as the answer to one of its own.

use bytes::Bytes;
use protocol::events::message::MessageQueued;
use protocol::events::session::RefusalBody;
use protocol::events::{Acknowledged, ClientRow, ServerEvent};
use protocol::ids::Guid;
use protocol::{Reject, Tag, Timestamp};

use super::form::Form;
use super::{native, socketio};

/// A whole WebSocket frame with one event, ready to write. `event` is one of ours: it needs no
/// escaping; `data` is JSON.
pub fn event_frame(form: Form, event: &str, data: &str) -> Bytes {
    match form {
        Form::Native => native::event(event, data),
        Form::SocketIo => socketio::event_frame(event, data),
    }
}

/// A whole WebSocket frame with an event that answers another one.
pub fn answer_frame(form: Form, event: &str, data: &str, tag: Option<&Tag>) -> Bytes {
    match tag {
        None => event_frame(form, event, data),
        Some(Tag::Id(id)) => native::answer(event, data, id),
        Some(Tag::Ack(ack)) => {
            let event = event_frame(form, event, data);
            [event, socketio::acknowledged(*ack, data)].concat().into()
        }
    }
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
    pub fn refused(&self, refusal: RefusalBody) -> Bytes {
        let guid = refusal.guid.clone().or_else(|| self.guid.clone());
        self.answered(&RefusalBody { guid, ..refusal }.into_event(self.event))
    }

    /// It was refused, and may be repeated after this time.
    pub fn refused_for_now(&self, reject: Reject, retry_in_ms: u64) -> Bytes {
        self.refused(RefusalBody { retry_in_ms: Some(retry_in_ms), ..RefusalBody::of(reject) })
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

#[cfg(test)]
mod tests {
    use protocol::events::ClientEvent as _;
    use protocol::events::message::{MessageRead, SendMessage};
    use protocol::events::presence::GetOnlineUsers;
    use protocol::events::sync::Sync;

    use super::*;
    use crate::transport::frame;

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
