//! REST is the same flow: an HTTP request becomes a bus request, its answer an HTTP response.
//!
//! The gateway knows no route. It reads the token, bounds the body, says who asked from where,
//! and names the area (the first segment of the path) so that the bus can route.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use common::bus::{RequestError, Subject};
use common::limits::{ANSWER_BYTES_SMALL, HTTP_BODY_BYTES_MAX, HTTP_BODY_MS_MAX, REQUEST_MS_MAX};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::{Request, Response, StatusCode};
use protocol::{self, ApiRequest, ApiResponse};
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::cluster::node::Node;
use crate::edge::http::{bearer, json, refusal, unstored};
use crate::edge::shares::Waits;
use crate::metrics;

/// Answers a request that is none of the gateway's own.
pub async fn answer(node: &Node, address: IpAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let since = Instant::now();
    let response = forward(node, address, request).await.unwrap_or_else(Failure::into_response);
    metrics::api_answered(response.status().as_u16(), since.elapsed().as_secs_f64());
    unstored(response)
}

/// Why a request has no answer from the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    BodyTooLarge,
    BodyTooSlow,
    BodyBroken,
    NoResponders,
    Busy,
    Timeout,
    Damaged,
    /// Too many answers wait for this address, or for all.
    NotTaken(Waits),
}

async fn forward(
    node: &Node,
    address: IpAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Failure> {
    // Before any work: who does not take its answers gets no more of them.
    node.shares.may_answer(address, 0).map_err(Failure::NotTaken)?;
    let (head, body) = request.into_parts();
    // What the header announces is refused before it is sent.
    if body.size_hint().lower() > HTTP_BODY_BYTES_MAX as u64 {
        return Err(Failure::BodyTooLarge);
    }
    let body =
        timeout(Duration::from_millis(HTTP_BODY_MS_MAX), Limited::new(body, HTTP_BODY_BYTES_MAX).collect());
    let body = match body.await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(err)) if err.is::<http_body_util::LengthLimitError>() => return Err(Failure::BodyTooLarge),
        Ok(Err(_)) => return Err(Failure::BodyBroken),
        Err(_) => return Err(Failure::BodyTooSlow),
    };
    let path = head.uri.path();
    let asked = ApiRequest {
        method: head.method.as_str().to_owned(),
        path: path.to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        // A bad token is no token: the worker knows which routes need one.
        account: bearer(&head.headers).and_then(|token| node.account(token, node.now().wall).ok()),
        address,
        body: body.to_vec(),
    };
    let deadline = Duration::from_millis(REQUEST_MS_MAX);
    let answer = node.bus.request(subject(path)?, protocol::encode(&asked), deadline).await;
    let answer = answer.map_err(|err| match err {
        RequestError::NoResponders => Failure::NoResponders,
        RequestError::Timeout => Failure::Timeout,
        RequestError::TooLarge => Failure::BodyTooLarge,
        RequestError::Busy | RequestError::Closed => Failure::Busy,
    })?;
    let answer: ApiResponse = protocol::decode(&answer).map_err(|err| {
        warn!(error = %err, "A worker's answer could not be read");
        Failure::Damaged
    })?;
    let status = StatusCode::from_u16(answer.status).map_err(|_| Failure::Damaged)?;
    let body = answer.into_body();
    if body.len() > ANSWER_BYTES_SMALL {
        node.shares.may_answer(address, body.len()).map_err(Failure::NotTaken)?;
    }
    Ok(json(status, node.shares.count(address, body)))
}

/// `api.<area>`: the first segment of the path when it is a plain word, else `other`.
fn subject(path: &str) -> Result<Subject, Failure> {
    let area = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let plain = (1..=32).contains(&area.len()) && area.bytes().all(|byte| byte.is_ascii_lowercase());
    // `api.sync` is a subject of its own.
    let area = if plain && area != "sync" { area } else { "other" };
    Subject::new(&format!("api.{area}")).map_err(|_| Failure::Damaged)
}

impl Failure {
    fn into_response(self) -> Response<Full<Bytes>> {
        let (status, reason, sentence) = match self {
            Self::BodyTooLarge => (413, "too_large", "The body is larger than allowed."),
            Self::BodyTooSlow => (408, "too_slow", "The body did not arrive in time."),
            Self::BodyBroken => (400, "broken", "The body is broken."),
            Self::NoResponders => (503, "no_responders", "No worker is there. Try again."),
            Self::Busy => (503, "busy", "The server is busy. Try again."),
            Self::Timeout => (504, "timeout", "There was no answer in time."),
            Self::Damaged => (500, "damaged", "Internal error."),
            Self::NotTaken(Waits::ForAddress) => {
                (429, "untaken", "Earlier answers to this address were not read. Read them, then try again.")
            }
            Self::NotTaken(Waits::ForAll) => (503, "answers_full", "The server is busy. Try again."),
        };
        metrics::api_failed(reason);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        refusal(status, sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_a_plain_word() {
        let check = |path: &str, expect: &str| assert_eq!(subject(path).unwrap().as_str(), expect, "{path}");
        check("/auth/login", "api.auth");
        check("/conversations", "api.conversations");
        check("/", "api.other");
        check("/nope.x/>", "api.other");
        check("/sync", "api.other");
        check("/Chat", "api.other");
        // No path leads to where an operator speaks.
        check("/control", "api.control");
        check("/control.programs", "api.other");
        check("/../control.programs", "api.other");
    }
}
