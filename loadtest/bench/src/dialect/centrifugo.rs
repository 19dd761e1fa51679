//! Centrifugo's bidirectional JSON protocol: commands and replies, some to a frame.

use swarm::form::Writer;

use super::{ROOM, Said};
use crate::frame;

/// The first frame of a client: connects and subscribes.
pub fn hello(token: &str) -> String {
    format!(
        "{{\"id\":1,\"connect\":{{\"token\":\"{token}\"}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{ROOM}\"}}}}"
    )
}

/// Handles a text frame of the server.
pub fn take(payload: &[u8], out: &mut Writer, each: &mut impl FnMut(Said<'_>)) {
    for reply in payload.split(|byte| *byte == b'\n').filter(|reply| !reply.is_empty()) {
        let says = |key: &str| memchr::memmem::find(reply, key.as_bytes()).is_some();
        match reply {
            b"{}" => out.raw(frame::TEXT, b"{}"),
            _ if reply.starts_with(b"{\"push\"") => each(Said::Event(reply)),
            _ if says("\"error\"") || says("\"disconnect\"") => {
                each(Said::Refused(String::from_utf8_lossy(reply).into()));
            }
            _ if says("\"subscribe\"") => each(Said::Ready("")),
            _ => {}
        }
    }
}
