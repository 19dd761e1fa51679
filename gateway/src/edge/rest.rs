//! REST is the same flow: an HTTP request becomes a bus request, its answer an HTTP response.
//!
//! The gateway knows no route. It reads the token, limits the body, adds the account and the client's address,
//! and names the area (the first segment of the path) so that the bus can route.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use common::bus::{RequestError, Subject};
use common::limits::{ANSWER_BYTES_SMALL, HTTP_BODY_BYTES_MAX, HTTP_BODY_MS_MAX, REQUEST_MS_MAX};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use protocol::limits::REST_HEADER_BYTES_MAX;
use protocol::{self, ApiRequest, ApiResponse, RequestHeaders, ResponseHeaders};
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::cluster::node::Node;
use crate::cluster::subjects::Subjects;
use crate::edge::http::{bearer, json, refusal, unstored};
use crate::edge::shares::Waits;
use crate::metrics;

/// Answers a request for a path that the gateway does not serve itself.
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
    /// Too many answers wait for this address, or in total.
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
        headers: request_headers(&head.headers),
    };
    let deadline = Duration::from_millis(REQUEST_MS_MAX);
    let answer =
        node.bus.request(subject(path, &node.uplinks.subjects)?, protocol::encode(&asked), deadline).await;
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
    let headers = answer.headers.clone();
    let body = answer.into_body();
    if body.len() > ANSWER_BYTES_SMALL {
        node.shares.may_answer(address, body.len()).map_err(Failure::NotTaken)?;
    }
    let mut response = json(status, node.shares.count(address, body));
    write_headers(headers, response.headers_mut());
    Ok(response)
}

/// The headers of a request that reach a route.
fn request_headers(headers: &HeaderMap) -> RequestHeaders {
    let text = |name: HeaderName| {
        let value = headers.get(name)?.to_str().ok()?;
        (value.len() <= REST_HEADER_BYTES_MAX).then(|| value.to_owned())
    };
    RequestHeaders {
        accept_language: text(header::ACCEPT_LANGUAGE),
        if_none_match: text(header::IF_NONE_MATCH),
        range: text(header::RANGE),
    }
}

/// Writes the headers that a route set. It leaves out a value that is not valid in a header.
fn write_headers(from: ResponseHeaders, to: &mut HeaderMap) {
    let ResponseHeaders { allow, cache_control, content_disposition, etag, location, retry_after_s } = from;
    let pairs = [
        (header::ALLOW, allow),
        (header::CACHE_CONTROL, cache_control),
        (header::CONTENT_DISPOSITION, content_disposition),
        (header::ETAG, etag),
        (header::LOCATION, location),
        (header::RETRY_AFTER, retry_after_s.map(|seconds| seconds.to_string())),
    ];
    for (name, value) in pairs {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            to.insert(name, value);
        }
    }
}

/// `api.<area>`: the first segment of the path when it is a plain word and no event is asked on that subject,
/// else `other`.
fn subject(path: &str, events: &Subjects) -> Result<Subject, Failure> {
    let area = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let plain = (1..=32).contains(&area.len()) && area.bytes().all(|byte| byte.is_ascii_lowercase());
    let named = if plain { Subject::new(&format!("api.{area}")).ok() } else { None };
    match named.filter(|subject| !events.is_of_event(subject)) {
        Some(subject) => Ok(subject),
        None => Subject::new("api.other").map_err(|_| Failure::Damaged),
    }
}

impl Failure {
    fn into_response(self) -> Response<Full<Bytes>> {
        let (status, reason, sentence) = match self {
            Self::BodyTooLarge => (413, "too_large", "The body is larger than allowed. Send less."),
            Self::BodyTooSlow => (408, "too_slow", "The body did not arrive in time. Send it again."),
            Self::BodyBroken => (400, "broken", "The body ended too early. Send it again."),
            Self::NoResponders => (503, "no_responders", "No worker is available. Try again."),
            Self::Busy => (503, "busy", "The server is busy. Try again."),
            Self::Timeout => (504, "timeout", "The workers did not answer in time. Try again."),
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
        let events = Subjects::of(&protocol::events::Events::of(protocol::events::CLIENT));
        let check = |path: &str, expect: &str| {
            assert_eq!(subject(path, &events).unwrap().as_str(), expect, "{path}");
        };
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

    #[test]
    fn headers_pass_both_ways_from_a_closed_list() {
        let mut asked = HeaderMap::new();
        asked.insert("if-none-match", HeaderValue::from_static("\"7\""));
        asked.insert("cookie", HeaderValue::from_static("secret"));
        asked.insert("accept-language", HeaderValue::from_str(&"x".repeat(600)).unwrap());
        let passed = request_headers(&asked);
        let expect = RequestHeaders { if_none_match: Some("\"7\"".into()), ..RequestHeaders::default() };
        assert_eq!(passed, expect);

        let mut written = HeaderMap::new();
        written.insert("retry-after", HeaderValue::from_static("1"));
        let answered = ResponseHeaders {
            location: Some("/conversations/7".into()),
            etag: Some("a\nb".into()),
            retry_after_s: Some(5),
            ..ResponseHeaders::default()
        };
        write_headers(answered, &mut written);
        assert_eq!(written["location"], "/conversations/7");
        assert_eq!(written["retry-after"], "5");
        assert_eq!(written.len(), 2, "what is no header's value is left out");
    }
}
