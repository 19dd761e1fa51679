//! Engine.IO v4 over WebSocket: one packet is one text frame, its first character the type.
//!
//! The server pings, the client answers. Binary frames and long-polling are not supported here.

use common::limits::{FRAME_BYTES_MAX, HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS};
use protocol::CloseCode;
use protocol::ids::SocketId;

use super::said::Misread;
use crate::transport::packet::Packets;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    Close,
    Ping(&'a str),
    Pong,
    Message(&'a str),
    Noop,
}

impl<'a> Packet<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, Misread> {
        let mut chars = text.chars();
        Ok(match chars.next() {
            Some('1') => Self::Close,
            Some('2') => Self::Ping(chars.as_str()),
            Some('3') => Self::Pong,
            Some('4') => Self::Message(chars.as_str()),
            Some('6') => Self::Noop,
            // `0` opens and `5` upgrades: neither is said on an open WebSocket by a client.
            _ => return Err(Misread::Close(CloseCode::ProtocolError)),
        })
    }
}

pub(super) fn open(socket: SocketId) -> Packets {
    let open = format!(
        r#"0{{"sid":"{socket}","upgrades":[],"pingInterval":{HEARTBEAT_MS},"pingTimeout":{HEARTBEAT_TIMEOUT_MS},"maxPayload":{FRAME_BYTES_MAX}}}"#
    );
    Packets::of([&open])
}

pub(super) fn pong(payload: &str) -> Packets {
    Packets::of(["3", payload])
}

#[cfg(test)]
mod tests {
    use protocol::ids::NodeId;

    use super::*;

    #[test]
    fn packets_are_told_apart_by_their_first_character() {
        assert_eq!(Packet::read("1"), Ok(Packet::Close));
        assert_eq!(Packet::read("2probe"), Ok(Packet::Ping("probe")));
        assert_eq!(Packet::read("3"), Ok(Packet::Pong));
        assert_eq!(Packet::read("42[\"é\"]"), Ok(Packet::Message("2[\"é\"]")));
        assert_eq!(Packet::read("6"), Ok(Packet::Noop));
        for bad in ["", "0{}", "5", "7", "9", "b4AQID", "é", "\0"] {
            assert_eq!(Packet::read(bad), Err(Misread::Close(CloseCode::ProtocolError)), "{bad:?}");
        }
    }

    #[test]
    fn the_open_packet_is_what_stock_clients_expect() {
        let open = open(SocketId { node: NodeId(1), serial: 2 });
        let expect = r#"0{"sid":"0000000000000001-2","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":262144}"#;
        assert_eq!(open, Packets::of([expect]));
    }
}
