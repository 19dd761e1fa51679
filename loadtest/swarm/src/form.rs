//! The two wire forms as a client speaks them: native at `/ws`, Socket.IO v5 over WebSocket at
//! `/socket.io/`. No I/O.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::frame;

/// The wire form of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `GET /ws`, text frames `{"event","data"}`, token in `Authorization`.
    Native,
    /// Engine.IO 4 over WebSocket, token in the CONNECT packet.
    SocketIo,
}

impl Form {
    /// The path of the upgrade.
    pub fn path(self) -> &'static str {
        match self {
            Self::Native => "/ws",
            Self::SocketIo => "/socket.io/?EIO=4&transport=websocket",
        }
    }
}

/// The meaning of a text frame from the server.
#[derive(Debug)]
pub enum Heard<'a> {
    /// The socket is authenticated and deliverable.
    Ready,
    /// Engine.IO's open packet: now send the token.
    Open,
    /// Engine.IO's ping: answer `3`.
    Ping,
    /// The server refused the token.
    Refused,
    /// An event: name and the JSON of its data.
    Event(&'a str, &'a str),
    /// Nothing of interest.
    Other,
}

#[derive(Deserialize)]
struct Native<'a> {
    event: &'a str,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// Reads a text frame.
pub fn read(form: Form, text: &str) -> Heard<'_> {
    match form {
        Form::Native => match serde_json::from_str::<Native<'_>>(text) {
            Ok(Native { event: "ready", .. }) => Heard::Ready,
            Ok(native) => Heard::Event(native.event, native.data.map_or("null", RawValue::get)),
            Err(_) => Heard::Other,
        },
        Form::SocketIo => read_socket_io(text),
    }
}

fn read_socket_io(text: &str) -> Heard<'_> {
    match text.as_bytes() {
        [b'0', ..] => Heard::Open,
        [b'2'] => Heard::Ping,
        [b'4', b'0', ..] => Heard::Ready,
        [b'4', b'4', ..] => Heard::Refused,
        [b'4', b'2', ..] => match serde_json::from_str::<Vec<&RawValue>>(&text[2..]) {
            Ok(parts) => match parts[..] {
                [name, data, ..] => {
                    let name = name.get();
                    // Event names carry nothing that JSON would escape.
                    Heard::Event(name.get(1..name.len() - 1).unwrap_or(""), data.get())
                }
                _ => Heard::Other,
            },
            Err(_) => Heard::Other,
        },
        _ => Heard::Other,
    }
}

/// Collects a socket's masked frames for one write.
pub struct Writer {
    form: Form,
    /// The frames.
    pub out: Vec<u8>,
    scratch: String,
    mask: u32,
}

impl Writer {
    /// An empty writer.
    pub fn new(form: Form, seed: u32) -> Self {
        Self { form, out: Vec::new(), scratch: String::new(), mask: seed | 1 }
    }

    /// Writes an event; `data` appends the JSON of its data.
    pub fn event(&mut self, name: &str, data: impl FnOnce(&mut String)) {
        self.scratch.clear();
        // Writing to a String cannot fail.
        let _ = match self.form {
            Form::Native => write!(self.scratch, "{{\"event\":\"{name}\",\"data\":"),
            Form::SocketIo => write!(self.scratch, "42[\"{name}\","),
        };
        data(&mut self.scratch);
        self.scratch.push(if self.form == Form::Native { '}' } else { ']' });
        let mask = self.next_mask();
        frame::write(&mut self.out, frame::TEXT, self.scratch.as_bytes(), mask);
    }

    /// Writes a frame as it is.
    pub fn raw(&mut self, opcode: u8, payload: &[u8]) {
        let mask = self.next_mask();
        frame::write(&mut self.out, opcode, payload, mask);
    }

    fn next_mask(&mut self) -> u32 {
        // xorshift32: masks need to vary, not to be secret, against our own server.
        self.mask ^= self.mask << 13;
        self.mask ^= self.mask >> 17;
        self.mask ^= self.mask << 5;
        self.mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: Form, text: &str, expect: &str) {
        assert_eq!(format!("{:?}", read(form, text)), expect, "{text}");
    }

    #[test]
    fn both_forms_are_read() {
        check(Form::Native, r#"{"event":"ready","data":{}}"#, "Ready");
        check(Form::Native, r#"{"event":"pong","data":{"a":[1]}}"#, r#"Event("pong", "{\"a\":[1]}")"#);
        check(Form::Native, r#"{"event":"x"}"#, r#"Event("x", "null")"#);
        check(Form::Native, "nonsense", "Other");
        check(Form::SocketIo, r#"0{"sid":"a"}"#, "Open");
        check(Form::SocketIo, "2", "Ping");
        check(Form::SocketIo, r#"40{"sid":"a"}"#, "Ready");
        check(Form::SocketIo, r#"44{"message":"no"}"#, "Refused");
        check(Form::SocketIo, r#"42["pong",{"a":1}]"#, r#"Event("pong", "{\"a\":1}")"#);
        check(Form::SocketIo, "42[]", "Other");
    }
}
