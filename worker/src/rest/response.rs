//! Responses: `{statusCode, message, data}` on success, `{message, error, statusCode}`
//! on failure, as in the original. Its second error shape, which revealed file paths and hashes, is gone.

use std::time::Duration;

use common::directory::DirectoryError;
use common::lanes::Halt;
use common::limits::BUSY_RETRY_MS;
use protocol::{ApiResponse, Reject, ResponseHeaders};
use serde::Serialize;
use serde_json::{Value, json};
use tracing::{error, warn};

use crate::store::StoreError;

/// The result of a route.
pub type Outcome = Result<ApiResponse, Refusal>;

/// A refused request.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    status: u16,
    /// A sentence, or a list of them.
    message: Value,
    retry_in_ms: Option<u64>,
    /// For 405: the methods that the path has.
    allow: Option<String>,
}

#[derive(Serialize)]
struct Body<'a, T> {
    #[serde(rename = "statusCode")]
    status: u16,
    message: &'a str,
    data: &'a T,
}

/// It went well.
pub fn ok<T: Serialize>(status: u16, message: &str, data: &T) -> Outcome {
    match serde_json::to_vec(&Body { status, message, data }) {
        Ok(body) => Ok(ApiResponse { status, body, headers: ResponseHeaders::default() }),
        Err(err) => {
            error!("An answer cannot be written: {err}");
            Err(Refusal::failed())
        }
    }
}

impl Refusal {
    /// 400 with one sentence.
    pub fn bad_request(sentence: impl Into<String>) -> Self {
        Self::new(400, sentence)
    }

    /// 400 with a sentence for each field that is wrong.
    pub fn invalid(sentences: Vec<String>) -> Self {
        Self { message: sentences.into(), ..Self::new(400, "") }
    }

    /// 401, where a token is needed and there is none that is valid.
    pub fn no_token() -> Self {
        Self::unauthorized("Token không hợp lệ")
    }

    /// 405, with the methods that the path has.
    pub fn other_methods(sentence: impl Into<String>, allow: String) -> Self {
        Self { allow: Some(allow), ..Self::new(405, sentence) }
    }

    /// 401
    pub fn unauthorized(sentence: impl Into<String>) -> Self {
        Self::new(401, sentence)
    }

    /// 403
    pub fn forbidden(sentence: impl Into<String>) -> Self {
        Self::new(403, sentence)
    }

    /// 404
    pub fn not_found(sentence: impl Into<String>) -> Self {
        Self::new(404, sentence)
    }

    /// 429, to be repeated after this time.
    pub fn too_many(wait: Duration) -> Self {
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self { retry_in_ms: Some(ms), ..Self::new(429, "Too many attempts. Wait, then repeat.") }
    }

    /// 503, to be repeated after a moment.
    pub fn busy() -> Self {
        let sentence = "The server is busy. Wait, then repeat.";
        Self { retry_in_ms: Some(BUSY_RETRY_MS), ..Self::new(503, sentence) }
    }

    /// 500
    pub fn failed() -> Self {
        Self::new(500, Reject::Failed.sentence())
    }

    fn new(status: u16, sentence: impl Into<String>) -> Self {
        Self { status, message: Value::String(sentence.into()), retry_in_ms: None, allow: None }
    }

    /// As it goes out.
    pub fn into_response(self) -> ApiResponse {
        let mut body =
            json!({ "message": self.message, "error": phrase(self.status), "statusCode": self.status });
        if let Some(ms) = self.retry_in_ms {
            body["retryInMs"] = ms.into();
        }
        let retry_after_s = self.retry_in_ms.map(|ms| u32::try_from(ms.div_ceil(1_000)).unwrap_or(u32::MAX));
        let headers = ResponseHeaders { allow: self.allow, retry_after_s, ..ResponseHeaders::default() };
        ApiResponse { status: self.status, body: body.to_string().into_bytes(), headers }
    }
}

impl From<StoreError> for Refusal {
    fn from(err: StoreError) -> Self {
        match err {
            StoreError::Reject(reject) => reject.into(),
            other => Halt::from(other).into(),
        }
    }
}

impl From<Halt> for Refusal {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Away(peer, err) => {
                warn!("The {} is unavailable: {err:#}", peer.name());
                Self::busy()
            }
            Halt::Stuck(cause, err) => {
                warn!("The store ended a statement ({}): {err:#}", cause.name());
                Self::busy()
            }
            Halt::Fault(err) => {
                error!("A route failed: {err:#}");
                Self::failed()
            }
        }
    }
}

impl From<DirectoryError> for Refusal {
    fn from(err: DirectoryError) -> Self {
        warn!("The directory is unavailable: {err:#}");
        Self::busy()
    }
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Self {
        match reject {
            Reject::Busy => Self::busy(),
            Reject::RateLimited => Self::too_many(Duration::from_millis(BUSY_RETRY_MS)),
            Reject::NotAMember => Self::forbidden("You do not have access to this conversation"),
            other => Self::new(other.status(), other.sentence()),
        }
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Payload Too Large",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

/// Adds `Location`: the path of the created resource.
pub fn located(outcome: Outcome, path: String) -> Outcome {
    outcome.map(|mut response| {
        response.headers.location = Some(path);
        response
    })
}
