//! The client protocol, and what the programs say to each other. Pure: serde types only, no runtime.
//! PROTOCOL.md is this crate in prose; a test keeps the two together.

/// Newtypes for everything that has an identity.
pub mod ids;

/// Every bound that a client can see.
pub mod limits;

/// Lane: how urgent an event is.
mod lane;

/// What clients say and hear: one file per noun, one table.
pub mod events;

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

pub use self::close::{CloseCode, Next};
pub use self::context::TraceContext;
pub use self::downlink::{Control, Downlink, Forms, Outcome, Recipients, Urgency};
pub use self::lane::Lane;
pub use self::reject::Reject;
pub use self::rest::{ApiRequest, ApiResponse};
pub use self::uplink::{Origin, Sender, Tag, Uplink};

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

/// A person as other members of a conversation see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub struct Person {
    pub id: UserId,
    pub first_name: String,
    pub last_name: String,
    pub email: String,
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

/// Bytes of a thing that travels between programs: a version, then MessagePack with named fields.
///
/// Programs of two versions meet during a rolling update, so what travels grows by addition: a new
/// field has `#[serde(default)]`, an old program skips what it does not know, and a name never changes
/// its meaning. `tests/frozen.rs` holds the bytes of every released version.
pub fn encode<T: Serialize>(thing: &T) -> bytes::Bytes {
    // Into the thread's memory first: what is kept is allocated once, at its size.
    let mut scratch = SCRATCH.take();
    scratch.clear();
    scratch.push(WIRE_VERSION);
    let mut serializer = rmp_serde::Serializer::new(&mut scratch).with_struct_map();
    thing.serialize(&mut serializer).expect("plain data always encodes");
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

/// Reads what [`encode`] wrote, in this or in a neighbouring version.
///
/// # Errors
/// The bytes are damaged, or of a version that cannot be read.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, BadBytes> {
    match bytes.split_first() {
        Some((&WIRE_VERSION, rest)) => rmp_serde::from_slice(rest).map_err(|_| BadBytes),
        _ => Err(BadBytes),
    }
}

/// 1 was postcard's positional encoding, which could not grow.
const WIRE_VERSION: u8 = 2;

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
}
