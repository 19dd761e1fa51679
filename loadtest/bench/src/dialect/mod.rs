//! How a socket that only listens speaks to each program: what it asks for at the upgrade, what it
//! says until it is authenticated and subscribed, and what it makes of what it hears. No I/O.
//!
//! A socket is ready when the program itself says so: ours and `ws` with `ready`, Socket.IO with
//! its CONNECT packet, NATS with the PONG that follows CONNECT and SUB, MQTT with SUBACK,
//! Centrifugo with the reply to `subscribe`. nchan says nothing more than 101.

/// Our own form and Socket.IO's.
mod events;

/// NATS' lines.
mod nats;

/// MQTT 3.1.1.
pub mod mqtt;

/// Centrifugo's JSON.
mod centrifugo;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use swarm::form::{Form, Writer};

use crate::frame;

/// The room to subscribe to, if the program has named rooms.
pub const ROOM: &str = "room";
/// The user, and [`PASSWORD`] the password or secret, if the program requires them.
pub const USER: &str = "bench";
/// See [`USER`].
pub const PASSWORD: &str = "a-secret-for-loopback";
/// Interval of the heartbeats, seconds. In MQTT the client sends them, and announces the interval in CONNECT.
const MQTT_PING_S: u16 = 25;

/// The protocol that a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dialect {
    /// The native form of the gateway, and the `ws` script.
    Native,
    /// Engine.IO and Socket.IO.
    SocketIo,
    /// nats-server's WebSocket listener.
    Nats,
    /// MQTT over WebSockets.
    Mqtt,
    /// nchan and the bare loops: ready with the upgrade; contents arrive as they were published.
    Plain,
    /// Centrifugo, with its JSON protocol.
    Centrifugo,
}

impl Dialect {
    /// The path of the upgrade.
    pub fn path(self) -> &'static str {
        match self {
            Self::Native => Form::Native.path(),
            Self::SocketIo => Form::SocketIo.path(),
            Self::Nats => "/",
            Self::Mqtt => "/mqtt",
            Self::Plain => "/subscribe",
            Self::Centrifugo => "/connection/websocket",
        }
    }

    /// Additional header lines of the upgrade.
    pub fn headers(self, token: &str) -> String {
        match self {
            Self::Mqtt => "Sec-WebSocket-Protocol: mqtt\r\n".into(),
            Self::Nats | Self::Centrifugo => String::new(),
            Self::Native | Self::SocketIo | Self::Plain => format!("Authorization: Bearer {token}\r\n"),
        }
    }

    /// Whether a socket is ready with the upgrade.
    pub fn is_ready_at_once(self) -> bool {
        self == Self::Plain
    }

    /// Whether the server answers a client's ping.
    pub fn answers_pings(self) -> bool {
        !matches!(self, Self::Plain | Self::Centrifugo)
    }

    /// The interval at which the client must send a heartbeat; None: it need not.
    pub fn heartbeat(self) -> Option<Duration> {
        (self == Self::Mqtt).then(|| Duration::from_secs(MQTT_PING_S.into()))
    }
}

/// The meaning of a frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// The socket is authenticated and subscribed; the text of the frame, if there is one.
    Ready(&'a str),
    /// An event: its bytes.
    Event(&'a [u8]),
    /// An answer to a ping.
    Pong,
    /// The server refused, with this text.
    Refused(String),
}

/// The client side of one socket's protocol.
pub struct Speaker {
    dialect: Dialect,
    /// The frames to write.
    pub out: Writer,
    /// An incomplete packet, in dialects that use frames only as a byte stream.
    stream: Vec<u8>,
    is_ready: bool,
}

impl Speaker {
    /// A client before the upgrade.
    pub fn new(dialect: Dialect) -> Self {
        let form = if dialect == Dialect::SocketIo { Form::SocketIo } else { Form::Native };
        Self { dialect, out: Writer::new(form, 7), stream: vec![], is_ready: dialect.is_ready_at_once() }
    }

    /// Writes the first frames of a client after the upgrade.
    pub fn upgraded(&mut self, token: &str, client: usize) {
        match self.dialect {
            Dialect::Mqtt => self.out.raw(frame::BINARY, &mqtt::hello(client, MQTT_PING_S)),
            Dialect::Centrifugo => self.out.raw(frame::TEXT, centrifugo::hello(token).as_bytes()),
            // NATS speaks first.
            _ => {}
        }
    }

    /// Writes a ping of the dialect, if it has one.
    pub fn ping(&mut self) {
        match self.dialect {
            Dialect::Nats => self.out.raw(frame::BINARY, nats::PING),
            Dialect::Mqtt => self.out.raw(frame::BINARY, mqtt::PING),
            Dialect::Native | Dialect::SocketIo => self.out.event("ping", |out| out.push_str("{}")),
            Dialect::Plain | Dialect::Centrifugo => {}
        }
    }

    /// Takes a frame; answers go to `out`, what was said to `each`.
    pub fn take(&mut self, opcode: u8, payload: &[u8], token: &str, mut each: impl FnMut(Said<'_>)) {
        match (opcode, self.dialect) {
            (frame::PING, _) => self.out.raw(frame::PONG, payload),
            (frame::PONG, _) => {}
            (frame::CLOSE, _) => each(Said::Refused(format!("closed: {:?}", payload.get(..2)))),
            (_, Dialect::Plain) => each(Said::Event(payload)),
            (_, Dialect::Native) => events::take(Form::Native, payload, token, &mut self.out, &mut each),
            (_, Dialect::SocketIo) => events::take(Form::SocketIo, payload, token, &mut self.out, &mut each),
            (_, Dialect::Centrifugo) => centrifugo::take(payload, &mut self.out, &mut each),
            (_, Dialect::Nats) => {
                let Self { out, is_ready, .. } = self;
                stream(&mut self.stream, payload, |bytes| nats::take(bytes, out, is_ready, &mut each));
            }
            (_, Dialect::Mqtt) => {
                let out = &mut self.out;
                stream(&mut self.stream, payload, |bytes| mqtt::take(bytes, out, &mut each));
            }
        }
    }
}

/// Lets `take` have one thing after the other; it says how many bytes it took, 0: it wants more.
fn stream(kept: &mut Vec<u8>, payload: &[u8], mut take: impl FnMut(&[u8]) -> usize) {
    let mut whole = std::mem::take(kept);
    let mut bytes = if whole.is_empty() {
        payload
    } else {
        whole.extend_from_slice(payload);
        &whole[..]
    };
    loop {
        match take(bytes) {
            0 => break,
            taken => bytes = &bytes[taken..],
        }
    }
    *kept = bytes.to_vec();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What frames say, one line each; and how many bytes were answered.
    fn heard(dialect: Dialect, frames: &[(u8, &[u8])]) -> (Vec<String>, usize) {
        let mut speaker = Speaker::new(dialect);
        let mut said = vec![];
        for (opcode, payload) in frames {
            speaker.take(*opcode, payload, "token", |what| {
                said.push(match what {
                    Said::Event(bytes) => format!("event {}", String::from_utf8_lossy(bytes)),
                    Said::Ready(_) => "ready".into(),
                    Said::Pong => "pong".into(),
                    Said::Refused(_) => "refused".into(),
                });
            });
        }
        (said, speaker.out.out.len())
    }

    #[test]
    fn nats_is_ready_after_its_pong_and_frames_are_a_stream() {
        let (said, answered) = heard(
            Dialect::Nats,
            &[
                (frame::BINARY, b"INFO {}\r\nPON"),
                (frame::BINARY, b"G\r\nMSG room 1 3\r\nabc\r\nMSG room 1"),
                (0, b" 2\r\nx\n\r\nPING\r\nPONG\r\n"),
            ],
        );
        assert_eq!(said, ["ready", "event abc", "event x\n", "pong"]);
        assert!(answered > 0, "CONNECT and PONG");
        assert_eq!(heard(Dialect::Nats, &[(frame::BINARY, b"-ERR 'no'\r\n")]).0, ["refused"]);
    }

    #[test]
    fn mqtt_is_ready_after_suback() {
        let publish = [&[0x30, 9, 0, 4][..], b"roomabc"].concat();
        let frames: [(u8, &[u8]); 5] = [
            (frame::BINARY, &[0x20, 2, 0, 0]),
            (frame::BINARY, &[0x90, 3, 0, 1, 0]),
            (frame::BINARY, &publish[..5]),
            (frame::BINARY, &publish[5..]),
            (frame::BINARY, &[0xd0, 0]),
        ];
        assert_eq!(heard(Dialect::Mqtt, &frames).0, ["ready", "event abc", "pong"]);
        assert_eq!(heard(Dialect::Mqtt, &[(frame::BINARY, &[0x20, 2, 0, 5])]).0, ["refused"]);
    }

    #[test]
    fn centrifugo_is_ready_when_subscribed() {
        let frames: [(u8, &[u8]); 3] = [
            (frame::TEXT, b"{\"id\":1,\"connect\":{\"ping\":25}}\n{\"id\":2,\"subscribe\":{}}"),
            (frame::TEXT, b"{}"),
            (frame::TEXT, b"{\"push\":{\"channel\":\"room\",\"pub\":{\"data\":1}}}\n{\"push\":{}}"),
        ];
        let (said, answered) = heard(Dialect::Centrifugo, &frames);
        assert_eq!(
            said,
            ["ready", "event {\"push\":{\"channel\":\"room\",\"pub\":{\"data\":1}}}", "event {\"push\":{}}"]
        );
        assert!(answered > 0, "a pong");
        assert_eq!(heard(Dialect::Centrifugo, &[(frame::TEXT, b"{\"id\":1,\"error\":{}}")]).0, ["refused"]);
    }

    #[test]
    fn events_of_both_forms_are_told_from_answers() {
        let native: [(u8, &[u8]); 3] = [
            (frame::TEXT, b"{\"event\":\"ready\",\"data\":{}}"),
            (frame::TEXT, b"{\"event\":\"messageComing\",\"data\":{}}"),
            (frame::TEXT, b"{\"event\":\"pong\",\"data\":{}}"),
        ];
        let event = "event {\"event\":\"messageComing\",\"data\":{}}";
        assert_eq!(heard(Dialect::Native, &native).0, ["ready", event, "pong"]);
        let socket_io: [(u8, &[u8]); 4] = [
            (frame::TEXT, b"0{}"),
            (frame::TEXT, b"40{}"),
            (frame::TEXT, b"42[\"messageComing\",{}]"),
            (frame::TEXT, b"42[\"pong\",{}]"),
        ];
        assert_eq!(
            heard(Dialect::SocketIo, &socket_io).0,
            ["ready", "event 42[\"messageComing\",{}]", "pong"]
        );
    }
}
