//! The two wire forms, and every question to which they have different answers.

use protocol::events::ServerEvent;
use protocol::events::session::Ready;
use protocol::ids::SocketId;

use super::said::{Misread, Said};
use super::{engineio, native, socketio};
use crate::transport::packet::Packets;

/// How a socket writes its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// `GET /ws`
    Native,
    /// `/socket.io/`: Socket.IO v5 over Engine.IO v4.
    SocketIo,
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

    /// Reads the text of one packet.
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

    /// The first packets of a socket.
    pub fn opening(self, socket: SocketId) -> Option<Packets> {
        match self {
            Self::Native => None,
            Self::SocketIo => Some(engineio::open(socket)),
        }
    }

    /// Whether a valid token in the request is enough, or the client must still ask to join.
    pub const fn joins_by_request(self) -> bool {
        matches!(self, Self::Native)
    }

    /// The packets of a socket once it is authenticated.
    pub fn welcome(self, ready: Ready) -> Packets {
        match self {
            Self::Native => {
                let ready = ServerEvent::from(ready);
                native::event(ready.name(), ready.data())
            }
            Self::SocketIo => socketio::connected(ready.socket_id),
        }
    }

    /// The packets when the token is refused. None: the close code is enough.
    pub fn unwelcome(self, token_given: bool) -> Option<Packets> {
        match self {
            Self::Native => None,
            Self::SocketIo => Some(socketio::refused(token_given)),
        }
    }

    /// Whether a socket gets the list of online users without asking, as the original's clients expect.
    pub const fn is_told_who_is_online(self) -> bool {
        matches!(self, Self::SocketIo)
    }

    /// The server's heartbeat. None: the form has none, and the transport's own is used.
    pub fn ping(self) -> Option<Packets> {
        match self {
            Self::Native => None,
            Self::SocketIo => Some(Packets::of(["2"])),
        }
    }

    /// Whether unknown events are ignored silently, as the original does.
    pub const fn ignores_unknown_events(self) -> bool {
        matches!(self, Self::SocketIo)
    }
}
