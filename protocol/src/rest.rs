//! REST over the bus: the gateway knows no route, the worker has no socket.

use std::net::IpAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::account::Account;

/// A request on `api.<area>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiRequest {
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path with its leading slash, still percent-encoded, without the query.
    pub path: String,
    /// What follows `?`, still percent-encoded.
    pub query: String,
    /// The token's account; None when there is no token or it is not valid.
    pub account: Option<Account>,
    /// Where it came from, for limits per address.
    pub address: IpAddr,
    /// The body, at most [`crate::limits::HTTP_BODY_BYTES_MAX`].
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiResponse {
    /// HTTP status.
    pub status: u16,
    /// JSON; empty for 204.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

impl ApiResponse {
    /// The body as shared bytes.
    pub fn into_body(self) -> Bytes {
        self.body.into()
    }
}
