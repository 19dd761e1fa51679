//! Newtypes for everything that has an identity. Pure.
//!
//! Ids of rows are positive and stay below 2^53, so that a JavaScript number holds them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::GUID_BYTES_MAX;

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

row_id! {
    /// An account: a row in `users`.
    UserId
}
row_id! {
    /// A conversation: a row in `conversations`. The unit of order.
    ConversationId
}
row_id! {
    /// A chat message: a row in `messages`.
    MessageId
}

/// One start of one program. A restart is a new node, so the id is also the *epoch* of all leases
/// of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u64);

impl NodeId {
    /// A new random id.
    pub fn random() -> Self {
        let mut bytes = [0; 8];
        // The operating system's generator only fails where nothing else would work either.
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        Self(u64::from_le_bytes(bytes))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for NodeId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// One socket, anywhere in the cluster. Written `<node>-<serial>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SocketId {
    /// The gateway that holds it.
    #[serde(rename = "n")]
    pub node: NodeId,
    /// Counts up within the node; never reused.
    #[serde(rename = "s")]
    pub serial: u64,
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.node, self.serial)
    }
}

/// A login: the family of refresh tokens that descend from one password check. Logging out, or
/// reusing a spent refresh token, ends the login with all its sockets and tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoginId(pub i64);

impl fmt::Display for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The client's id for a message that it sends. `(conversation, sender, guid)` is unique for
/// ever: a repeat gets the first result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Guid(Box<str>);

/// Why a text is not a [`Guid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a guid is 1 to {GUID_BYTES_MAX} visible ASCII characters")]
pub struct BadGuid;

impl Guid {
    /// Parses a guid: 1 to [`GUID_BYTES_MAX`] visible ASCII characters.
    pub fn new(text: &str) -> Result<Self, BadGuid> {
        let fits = (1..=GUID_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(BadGuid)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Guid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_the_protocol_says() {
        let node = NodeId(0xabc);
        assert_eq!(node.to_string(), "0000000000000abc");
        assert_eq!("0000000000000abc".parse(), Ok(node));
        assert_eq!(SocketId { node, serial: 31 }.to_string(), "0000000000000abc-1f");
    }

    #[test]
    fn a_guid_is_short_and_visible() {
        assert!(Guid::new("temp_1_a").is_ok());
        for bad in ["", "a b", "a\n", "é", &"x".repeat(GUID_BYTES_MAX + 1)] {
            assert_eq!(Guid::new(bad), Err(BadGuid), "{bad:?}");
        }
    }
}
