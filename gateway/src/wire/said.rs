//! What a client sent, parsed and not yet checked.

use std::borrow::Cow;

use protocol::{CloseCode, Reject, Tag};
use serde::Deserialize;

use crate::transport::packet::Packets;

/// What a client sent, parsed and not yet checked.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// A token; none when the client relies on the one in the request.
    Auth(Option<Cow<'a, str>>),
    /// An event.
    Event {
        /// Its name, unchecked.
        name: Cow<'a, str>,
        /// The JSON of its data.
        data: &'a str,
        /// The tag by which the client recognizes the answer.
        tag: Option<Tag>,
    },
    /// To be answered with this text at once (Engine.IO ping, a foreign namespace).
    Asked(Packets),
    /// The answer to our ping (Engine.IO).
    Pong,
    /// Ignored (Engine.IO noop, acknowledgements).
    Nothing,
    /// The client leaves.
    Goodbye,
}

/// Why a text was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misread {
    /// The gateway answers, and the client may continue.
    Reject(Reject),
    /// The form has no answer for it: the gateway closes the socket.
    Close(CloseCode),
}

/// Reads a JSON object. (Serde by itself would take an array of the fields' values as well.)
pub(super) fn read_object<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    // A byte order mark may be ignored (RFC 8259, 8.1).
    let json = json.trim_start_matches(['\u{feff}', ' ', '\t', '\n', '\r']);
    if json.starts_with('{') { serde_json::from_str(json).ok() } else { None }
}
