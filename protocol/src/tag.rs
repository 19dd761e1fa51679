//! The tag by which a client recognizes the answer to its event.

use serde::{Deserialize, Serialize};

/// The tag by which a client recognizes the answer to one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tag {
    /// Native `id`, as JSON: a number or a short text.
    #[serde(rename = "i")]
    Id(Box<str>),
    /// The number of a Socket.IO acknowledgement.
    #[serde(rename = "a")]
    Ack(u64),
}
