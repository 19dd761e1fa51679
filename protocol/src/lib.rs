//! The client protocol, and what the programs say to each other. Pure: serde types only, no runtime.
//! PROTOCOL.md is this crate in prose; a test keeps the two together.

/// Newtypes for everything that has an identity.
pub mod ids;

/// Every bound that a client can see.
pub mod limits;

/// Lane: how urgent an event is.
mod lane;

/// ClientEvent, and `lane()`: the one table of event to lane.
mod client;

/// ServerEvent: what clients hear.
mod server;

/// Close codes and what each tells the client to do.
mod close;

/// Reject codes and their public sentences.
mod reject;

/// Gateway to worker: an event with its sender.
mod uplink;

/// Worker to gateway: one encoded event for many sockets.
mod downlink;

/// The client's trace that a message belongs to.
mod context;

/// An operator's questions to every program, and their answers.
pub mod control;

/// REST over the bus.
mod rest;

use std::cell::Cell;

use serde::{Deserialize, Serialize};

pub use self::client::{
    Attachment, CallStatus, CallType, ClientEvent, MessageRead, MessageType, SendMessage, Sync, Typing,
};
pub use self::close::{CloseCode, Next};
pub use self::context::TraceContext;
pub use self::downlink::{Audience, Control, Downlink, Recipients, Urgency};
pub use self::lane::Lane;
pub use self::reject::Reject;
pub use self::rest::{ApiRequest, ApiResponse};
pub use self::server::{
    ConversationKind, Gap, MessageView, MissedMessages, Person, ReadReceipt, Ready, ServerEvent, Synced,
    TypingView,
};
pub use self::uplink::{Origin, Sender, Uplink};

use crate::ids::{LoginId, UserId};

/// Version of the native wire form, told to the client in `ready`.
pub const PROTOCOL_VERSION: u32 = 1;

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Role {
    /// Everyone.
    User,
    /// May use `/admin`.
    Admin,
}

/// Who a valid token says is speaking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The account's id.
    pub user: UserId,
    /// The login the token descends from.
    pub login: LoginId,
    /// The role at the time the token was made.
    pub role: Role,
    /// When the token ends, seconds since the epoch.
    pub expires_s: i64,
}

/// A moment, in milliseconds since the epoch; written as the contract writes it
/// (`2026-11-23T15:48:45.442Z`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The wall clock's time. The only place that reads it: passed in everywhere else.
    #[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{moment:.3}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            let moment: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
            Ok(Self(moment.as_millisecond()))
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

/// Bytes of a thing that travels between programs: a version, then postcard. Programs of two
/// versions meet during a rolling restart, so variants are only ever appended.
pub fn encode<T: Serialize>(thing: &T) -> bytes::Bytes {
    // Into the thread's memory first: what is kept is allocated once, at its size.
    let mut scratch = SCRATCH.take();
    scratch.clear();
    scratch.push(WIRE_VERSION);
    let scratch = postcard::to_extend(thing, scratch).expect("plain data always encodes");
    let bytes = bytes::Bytes::copy_from_slice(&scratch);
    if scratch.capacity() <= SCRATCH_BYTES_MAX {
        SCRATCH.set(scratch);
    }
    bytes
}

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A thread keeps no more: larger things are few.
const SCRATCH_BYTES_MAX: usize = 16 * 1024;

/// Reads what [`encode`] wrote.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, BadBytes> {
    match bytes.split_first() {
        Some((&WIRE_VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| BadBytes),
        _ => Err(BadBytes),
    }
}

const WIRE_VERSION: u8 = 1;

/// Bytes from another program that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not of this version or are damaged")]
pub struct BadBytes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_written_with_milliseconds_and_z() {
        let moment = Timestamp(1_795_448_925_442);
        let text = serde_json::to_string(&moment).unwrap();
        assert_eq!(text, "\"2026-11-23T15:48:45.442Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), moment);
        assert_eq!(decode::<Timestamp>(&encode(&moment)), Ok(moment));
    }

    #[test]
    fn bytes_of_another_version_are_refused() {
        assert_eq!(decode::<Timestamp>(&[]), Err(BadBytes));
        assert_eq!(decode::<Timestamp>(&[9, 0]), Err(BadBytes));
    }
}
