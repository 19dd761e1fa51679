//! The parts of the server's events that a client needs, borrowed where they can be.

use std::borrow::Cow;

use serde::Deserialize;

/// The data of `messageQueued`.
#[derive(Deserialize)]
pub struct Queued<'a> {
    #[serde(borrow)]
    pub guid: Cow<'a, str>,
}

/// The data of `messageProcessed`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Processed<'a> {
    #[serde(borrow)]
    pub guid: Cow<'a, str>,
    pub message_id: i64,
    pub seq: u64,
}

/// The data of `messageComing`, and a message in `synced` and in the history.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coming<'a> {
    #[serde(borrow)]
    pub guid: Cow<'a, str>,
    pub id: i64,
    pub conversation_id: i64,
    pub seq: u64,
    #[serde(borrow)]
    pub content: Cow<'a, str>,
}

/// The data of `sendMessageError`, `syncError` and `exception`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected<'a> {
    #[serde(borrow, default)]
    pub code: Cow<'a, str>,
    #[serde(borrow, default)]
    pub event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub guid: Option<Cow<'a, str>>,
    #[serde(default)]
    pub retry_in_ms: Option<u64>,
}

/// The data of `synced`.
#[derive(Deserialize)]
pub struct Synced<'a> {
    #[serde(borrow, default)]
    pub missed: Vec<Missed<'a>>,
    #[serde(default)]
    pub gaps: Vec<Gap>,
}

/// The messages that a client missed in one conversation.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Missed<'a> {
    pub conversation_id: i64,
    pub head: u64,
    #[serde(borrow)]
    pub messages: Vec<Coming<'a>>,
}

/// A conversation in which too much was missed: the client must read the history.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    pub conversation_id: i64,
}
