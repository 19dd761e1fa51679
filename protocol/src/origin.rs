//! The identity of a chat message, in short.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::ids::{ConversationId, Guid, UserId};

/// The identity of a chat message in a few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// [`Origin::hash`] of its guid.
    #[serde(rename = "g")]
    pub guid: u64,
    /// The user who sent it.
    #[serde(rename = "s")]
    pub sender: UserId,
    /// Its conversation.
    #[serde(rename = "c")]
    pub conversation: ConversationId,
}

impl Origin {
    /// The same in every program and version.
    pub fn hash(guid: &Guid) -> u64 {
        xxh3_64(guid.as_str().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_guid_never_changes() {
        let hash = |text| Origin::hash(&Guid::new(text).unwrap());
        assert_eq!([hash("g-1"), hash("0d5c")], [8_797_309_664_067_016_039, 5_304_205_430_070_349_661]);
    }
}
