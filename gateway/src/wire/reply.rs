//! Events on their way to a client: alone, or as the answer to one of its own.

use protocol::events::message::MessageQueued;
use protocol::events::session::RefusalBody;
use protocol::events::{Acknowledged, ClientRow, ServerEvent};
use protocol::ids::Guid;
use protocol::{Reject, Tag, Timestamp};

use super::form::Form;
use super::{native, socketio};
use crate::transport::packet::Packets;

/// One event. Its name is ours and needs no escaping; `data` is JSON.
pub fn event_packet(form: Form, event: &str, data: &str) -> Packets {
    match form {
        Form::Native => native::event(event, data),
        Form::SocketIo => socketio::event_packet(event, data),
    }
}

/// An event that answers another one, and the acknowledgement that the client waits for.
pub fn answer_packets(form: Form, event: &str, data: &str, tag: Option<&Tag>) -> Packets {
    match tag {
        None => event_packet(form, event, data),
        Some(Tag::Id(id)) => native::answer(event, data, id),
        Some(Tag::Ack(ack)) => {
            let event = event_packet(form, event, data);
            event.and(socketio::acknowledged(*ack, data))
        }
    }
}

/// How an answer finds its event again: carried along until there is an answer.
#[derive(Clone, Debug)]
pub struct ReplyTo {
    /// The socket's form.
    pub form: Form,
    /// The event's row, if it is one of ours.
    pub event: Option<&'static ClientRow>,
    /// The message it is about.
    pub guid: Option<Guid>,
    /// The tag by which the client recognizes the answer.
    pub tag: Option<Tag>,
}

impl PartialEq for ReplyTo {
    fn eq(&self, other: &Self) -> bool {
        let name = |reply: &Self| reply.event.map(|row| row.name);
        (self.form, name(self), &self.guid, &self.tag) == (other.form, name(other), &other.guid, &other.tag)
    }
}

impl ReplyTo {
    /// The bus has it. None: this event has no acknowledgement now.
    pub fn queued(&self, at: Timestamp) -> Option<Packets> {
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

    /// The tag that a worker's answer returns: an event is acknowledged once.
    pub fn tag_of_answer(&self) -> Option<Tag> {
        let acknowledged = self.event.map(|row| row.acknowledged);
        self.tag
            .clone()
            .filter(|tag| matches!(tag, Tag::Id(_)) || acknowledged == Some(Acknowledged::Answered))
    }

    /// It was refused.
    pub fn refused(&self, refusal: RefusalBody) -> Packets {
        let guid = refusal.guid.clone().or_else(|| self.guid.clone());
        self.answered(&RefusalBody { guid, ..refusal }.into_event(self.event))
    }

    /// It was refused, and may be repeated after this time.
    pub fn refused_for_now(&self, reject: Reject, retry_in_ms: u64) -> Packets {
        self.refused(RefusalBody { retry_in_ms: Some(retry_in_ms), ..RefusalBody::of(reject) })
    }

    /// An event that answers it. It carries the client's `id`; the acknowledgement that the client waits for
    /// follows it.
    pub fn answered(&self, event: &ServerEvent) -> Packets {
        self.answered_with(event.name(), event.data())
    }

    /// The same for an encoded answer.
    pub fn answered_with(&self, event: &str, data: &str) -> Packets {
        answer_packets(self.form, event, data, self.tag.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use protocol::events::ClientEvent as _;
    use protocol::events::message::{MessageRead, SendMessage};
    use protocol::events::presence::GetOnlineUsers;
    use protocol::events::sync::Sync;

    use super::*;
    use crate::wire::engineio;

    #[test]
    fn an_event_is_one_packet_in_either_form() {
        let native = event_packet(Form::Native, "pong", "{}");
        assert_eq!(texts(&native), [r#"{"event":"pong","data":{}}"#]);
        let socketio = event_packet(Form::SocketIo, "pong", "{}");
        assert_eq!(texts(&socketio), [r#"42["pong",{}]"#]);
    }

    fn texts(packets: &Packets) -> Vec<&str> {
        packets.texts().collect()
    }

    /// All forms produce packets only, so that any transport may carry them: without the header of
    /// a frame, and without a record separator, which joins packets on a transport without frames.
    #[test]
    fn all_that_is_said_is_packets_of_its_form() {
        let socket = protocol::ids::SocketId { node: protocol::ids::NodeId(1), serial: 2 };
        let mut of_socket_io: Vec<Packets> = vec![
            Form::SocketIo.opening(socket).unwrap(),
            Form::SocketIo.unwelcome(true).unwrap(),
            Form::SocketIo.unwelcome(false).unwrap(),
            Form::SocketIo.ping().unwrap(),
            socketio::connected(socket),
            engineio::pong("probe"),
        ];
        let (ack, id) = (Tag::Ack(7), Tag::Id("\"a\"".into()));
        for row in protocol::events::SERVER.concat() {
            let data = r#"{"content":"\u001e\n"}"#;
            for tag in [None, Some(&ack)] {
                of_socket_io.push(answer_packets(Form::SocketIo, row.name, data, tag));
            }
            for tag in [None, Some(&id)] {
                let native = answer_packets(Form::Native, row.name, data, tag);
                let [text] = texts(&native)[..] else { panic!("{native:?}") };
                let value: serde_json::Value = serde_json::from_str(text).unwrap();
                assert_eq!(value["event"], row.name);
            }
        }
        for packets in &of_socket_io {
            let all = texts(packets);
            assert!(!all.is_empty());
            for text in all {
                assert!(!text.contains('\u{1e}'), "{text:?}");
                // A client reads `0`; what a server may read too goes through its own reader.
                let packet = text.starts_with('0').then_some(Ok(engineio::Packet::Noop));
                let packet = packet.unwrap_or_else(|| engineio::Packet::read(text));
                match packet.unwrap() {
                    engineio::Packet::Message(inside) => {
                        let json = inside.trim_start_matches(|c: char| c.is_ascii_digit());
                        assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{text}");
                    }
                    engineio::Packet::Ping(rest) => assert_eq!(rest, ""),
                    engineio::Packet::Pong | engineio::Packet::Noop => {}
                    engineio::Packet::Close => panic!("{text}"),
                }
            }
        }
    }

    fn reply(event: &'static ClientRow, form: Form, tag: Option<Tag>) -> ReplyTo {
        ReplyTo { form, event: Some(event), guid: None, tag }
    }

    #[test]
    fn an_awaited_acknowledgement_follows_its_event() {
        let guid = Some(Guid::new("g").unwrap());
        let sent = ReplyTo { guid, ..reply(SendMessage::ROW, Form::SocketIo, Some(Tag::Ack(5))) };
        let queued = sent.queued(Timestamp(0)).unwrap();
        let [event, acknowledgement] = texts(&queued)[..] else { panic!("{queued:?}") };
        assert!(event.starts_with(r#"42["messageQueued",{"guid":"g""#), "{event}");
        assert!(acknowledgement.starts_with(r#"435[{"guid":"g""#), "{acknowledgement}");
        let mut read = reply(MessageRead::ROW, Form::SocketIo, Some(Tag::Ack(5)));
        assert_eq!(texts(&read.queued(Timestamp(0)).unwrap()), [r#"435[{"status":"queued"}]"#]);
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
        assert_eq!(texts(&answer), [r#"{"event":"synced","data":{},"id":7}"#]);
        assert_eq!(reply.queued(Timestamp(0)), None);
    }
}
