//! MQTT 3.1.1 as a subscriber with QoS 0 speaks it, and its publisher.

use swarm::form::Writer;

use super::{PASSWORD, ROOM, Said, USER};
use crate::frame;

/// PINGREQ.
pub const PING: &[u8] = &[0xc0, 0];
/// The packet types: CONNACK, PUBLISH with QoS 0, SUBACK, PINGRESP, in the high four bits.
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const SUBACK: u8 = 0x90;
const PINGRESP: u8 = 0xd0;

/// CONNECT with user and password; a clean session; keep-alive in seconds, 0: none.
pub fn connect(client: &str, keep_alive_s: u16) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0b1100_0010];
    body.extend(keep_alive_s.to_be_bytes());
    for text in [client, USER, PASSWORD] {
        string(&mut body, text);
    }
    packet(0x10, &body)
}

/// CONNECT, and SUBSCRIBE to the room.
pub fn hello(client: usize, keep_alive_s: u16) -> Vec<u8> {
    let mut out = connect(&format!("socket{client}"), keep_alive_s);
    let mut subscribe = vec![0, 1];
    string(&mut subscribe, ROOM);
    subscribe.push(0);
    out.extend(packet(0x82, &subscribe));
    out
}

/// PUBLISH to the room, QoS 0.
pub fn publish(content: &[u8]) -> Vec<u8> {
    let mut body = vec![];
    string(&mut body, ROOM);
    body.extend(content);
    packet(PUBLISH, &body)
}

/// Handles the first packet of `bytes`; returns its length in bytes.
pub fn take(bytes: &[u8], out: &mut Writer, each: &mut impl FnMut(Said<'_>)) -> usize {
    let Some((kind, body, end)) = parse(bytes) else { return 0 };
    match kind {
        CONNACK if body.get(1) == Some(&0) => {}
        SUBACK if body.get(2) == Some(&0) => each(Said::Ready("")),
        CONNACK | SUBACK => each(Said::Refused(format!("packet {kind:#x} says {body:?}"))),
        PUBLISH => {
            let topic = body.get(..2).map_or(0, |len| usize::from(u16::from_be_bytes([len[0], len[1]])));
            each(Said::Event(body.get(2 + topic..).unwrap_or_default()));
        }
        PINGRESP => each(Said::Pong),
        // Nothing else comes; to stay connected would hide it.
        _ => out.raw(frame::CLOSE, &[]),
    }
    end
}

/// Parses a packet: its type, its body, and its length in bytes. None: it is incomplete.
fn parse(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (mut len, mut at) = (0, 1);
    loop {
        let byte = *bytes.get(at)?;
        len |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 || at == 5 {
            break;
        }
    }
    Some((bytes[0] & 0xf0, bytes.get(at..at + len)?, at + len))
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    let mut len = body.len();
    loop {
        let more = len >> 7;
        out.push((len & 0x7f) as u8 | if more > 0 { 0x80 } else { 0 });
        len = more;
        if len == 0 {
            break;
        }
    }
    out.extend(body);
    out
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}
