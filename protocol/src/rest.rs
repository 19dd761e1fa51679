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
    /// The token's account. None without a valid token.
    pub account: Option<Account>,
    /// The client's address, for limits per address.
    pub address: IpAddr,
    /// The body, at most [`crate::limits::HTTP_BODY_BYTES_MAX`].
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// The other headers that a route may read.
    #[serde(default, skip_serializing_if = "RequestHeaders::is_empty")]
    pub headers: RequestHeaders,
}

/// The request headers that reach a route: a closed list. No other header crosses the bus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestHeaders {
    /// `Accept-Language`: the languages that the client prefers.
    pub accept_language: Option<String>,
    /// `If-None-Match`: the versions that the client holds.
    pub if_none_match: Option<String>,
    /// `Range`: the part that the client asks for.
    pub range: Option<String>,
}

/// The answer to an [`ApiRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiResponse {
    /// HTTP status.
    pub status: u16,
    /// JSON; empty for 204.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// The headers of the answer.
    #[serde(default, skip_serializing_if = "ResponseHeaders::is_empty")]
    pub headers: ResponseHeaders,
}

/// The headers that a route may set: a closed list, beside those that the gateway sets itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResponseHeaders {
    /// `Allow`: the methods that the path has (405).
    pub allow: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`: the name under which a browser saves the body.
    pub content_disposition: Option<String>,
    /// `ETag`: the version of the body.
    pub etag: Option<String>,
    /// `Location`: the path of the created resource.
    pub location: Option<String>,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
}

impl ApiResponse {
    /// The body as shared bytes.
    pub fn into_body(self) -> Bytes {
        self.body.into()
    }
}

impl RequestHeaders {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl ResponseHeaders {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
