//! Our own form, and Socket.IO's: events with names.

use swarm::form::{Form, Heard, Writer, read};

use super::Said;
use crate::frame;

/// Handles a text frame of the server.
pub fn take(form: Form, payload: &[u8], token: &str, out: &mut Writer, each: &mut impl FnMut(Said<'_>)) {
    // Cheap first: events in a fan-out are not looked into.
    if payload.starts_with(b"{\"event\":\"messageC") || payload.starts_with(b"42[\"messageC") {
        return each(Said::Event(payload));
    }
    let Ok(text) = std::str::from_utf8(payload) else {
        return each(Said::Refused("a text frame that is no text".into()));
    };
    match read(form, text) {
        Heard::Ready => each(Said::Ready(text)),
        Heard::Open => out.raw(frame::TEXT, format!("40{{\"token\":\"{token}\"}}").as_bytes()),
        Heard::Ping => out.raw(frame::TEXT, b"3"),
        Heard::Refused => each(Said::Refused("the token".into())),
        Heard::Event("pong", _) => each(Said::Pong),
        Heard::Event(..) | Heard::Other => {}
    }
}
