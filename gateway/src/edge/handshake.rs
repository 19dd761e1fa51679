//! Reads, checks and answers an upgrade request. Pure: the stream changes hands in `server.rs`.
//!
//! The cheap checks come first (the shape of the request), then the token. Only a request that would become
//! a socket takes from the budgets: first of its address, then of the gateway.
//!
//! A token may come as `Authorization: Bearer`, as the sub-protocol `bearer.<token>` beside
//! `chatchit` (for browsers, which cannot set headers), as `?token=` where the configuration
//! allows it, or in the first frame. A bad token in a header is refused here. A browser's page never
//! sees the status of a refused upgrade: for it the socket opens, and closes with the code.
//! A Socket.IO client sends its token in CONNECT, and hears the refusal there.

use std::borrow::Cow;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use fastwebsockets::upgrade::is_upgrade_request;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    HeaderMap, HeaderValue, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use protocol::{Account, Reject};

use crate::cluster::node::Node;
use crate::edge::admission::Refused;
use crate::edge::http::{self, bearer};
use crate::metrics;
use crate::wire::Form;

/// The sub-protocol we speak.
const PROTOCOL: &str = "chatchit";

/// The result of an accepted upgrade.
pub struct Agreed {
    /// The wire form.
    pub form: Form,
    /// The account of the valid token that came with the request.
    pub account: Option<Account>,
    /// A browser's request held an invalid token: the socket opens, says so and closes.
    pub is_refused: bool,
    /// The client's address.
    pub address: IpAddr,
}

/// The two addresses of a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The peer of the connection.
    pub peer: IpAddr,
    /// The client, perhaps behind proxies.
    pub address: IpAddr,
}

/// Checks `GET /ws`.
pub fn native(node: &Node, caller: Caller, request: &mut Request<Incoming>) -> Judged {
    judge(node, caller, request, Form::Native).unwrap_or_else(|refusal| refusal.native())
}

/// Checks `GET /socket.io/`.
pub fn socket_io(node: &Node, caller: Caller, request: &mut Request<Incoming>) -> Judged {
    engine_io(request)
        .and_then(|()| judge(node, caller, request, Form::SocketIo))
        .unwrap_or_else(|refusal| refusal.engine_io())
}

/// The response, and the agreement if the upgrade is accepted.
type Judged = (Response<Full<Bytes>>, Option<Agreed>);

/// Why an upgrade is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Draining,
    /// Too many upgrades at once.
    NotNow(Refused),
    ForeignOrigin,
    NoUpgrade,
    BadVersion,
    BadKey,
    BadToken,
    /// Engine.IO's own error: code and sentence.
    EngineIo(u8, &'static str),
}

fn judge(
    node: &Node,
    caller: Caller,
    request: &mut Request<Incoming>,
    form: Form,
) -> Result<Judged, Refusal> {
    if node.draining.is_cancelled() {
        return Err(Refusal::Draining);
    }
    is_well_formed(request)?;
    let headers = request.headers();
    if let Some(origin) = headers.get(ORIGIN)
        && !origin.to_str().is_ok_and(|origin| node.config.origins.allow(origin))
    {
        return Err(Refusal::ForeignOrigin);
    }
    let offered = offers(headers);
    let (account, is_refused) = account(node, request, &offered, form)?;
    take(node, caller)?;
    let speaks = offered.speaks;
    let (response, _) = fastwebsockets::upgrade::upgrade(request).map_err(|_| Refusal::BadKey)?;
    let mut response = response.map(|_| Full::default());
    if speaks {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    Ok((response, Some(Agreed { form, account, is_refused, address: caller.address })))
}

/// RFC 6455, 4.2.1. An upgrade in HTTP/1.0 must be ignored (RFC 9110, 7.8), because a proxy on the way would
/// not forward it. (A duplicate header was refused before.)
fn is_well_formed(request: &Request<Incoming>) -> Result<(), Refusal> {
    let headers = request.headers();
    let is_upgrade = is_upgrade_request(request);
    if request.method() != Method::GET || request.version() < Version::HTTP_11 || !is_upgrade {
        return Err(Refusal::NoUpgrade);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes) != Some(b"13") {
        return Err(Refusal::BadVersion);
    }
    let mut nonce = [0; 16];
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    match BASE64.decode_slice(key, &mut nonce) {
        Ok(16) => Ok(()),
        _ => Err(Refusal::BadKey),
    }
}

/// The account of the request's token, and whether the request held an invalid token that must be refused in
/// the socket.
fn account(
    node: &Node,
    request: &Request<Incoming>,
    offered: &Offers<'_>,
    form: Form,
) -> Result<(Option<Account>, bool), Refusal> {
    let query = request.uri().query().unwrap_or_default();
    let in_query = || node.config.query_token.then(|| parameter(query, "token")).flatten();
    let in_header = bearer(request.headers());
    let token = in_header.or(offered.token).map(Cow::Borrowed).or_else(in_query);
    match token.map(|token| node.account(&token, node.now().wall)) {
        None => Ok((None, false)),
        Some(Ok(account)) => Ok((Some(account), false)),
        // CONNECT carries the one that counts.
        Some(Err(_)) if !form.joins_by_request() => Ok((None, false)),
        Some(Err(_)) if in_header.is_some() => Err(Refusal::BadToken),
        Some(Err(_)) => Ok((None, true)),
    }
}

/// Takes the place of a socket: first from its address's budget, so that one address never empties the budget
/// of all.
fn take(node: &Node, caller: Caller) -> Result<(), Refusal> {
    let up = node.uptime();
    // The line of a client without a proxy was counted when it was accepted.
    let is_counted = caller.address == caller.peer.to_canonical();
    if !is_counted && !node.shares.has_line(caller.address) {
        return Err(Refusal::NotNow(node.admission.refused("address_lines", up)));
    }
    if node.shares.take_upgrade(caller.address, up).is_err() {
        return Err(Refusal::NotNow(node.admission.refused("address_budget", up)));
    }
    node.admission.judge(up, node.seats.waiting()).map_err(Refusal::NotNow)
}

/// Checks Engine.IO's query, in the order in which its own server does.
fn engine_io(request: &Request<Incoming>) -> Result<(), Refusal> {
    let query = request.uri().query().unwrap_or_default();
    match parameter(query, "transport").as_deref() {
        Some("websocket") => {}
        _ => return Err(Refusal::EngineIo(0, "Transport unknown")),
    }
    if parameter(query, "sid").is_some() {
        return Err(Refusal::EngineIo(1, "Session ID unknown"));
    }
    if request.method() != Method::GET {
        return Err(Refusal::EngineIo(2, "Bad handshake method"));
    }
    if parameter(query, "EIO").as_deref() != Some("4") {
        return Err(Refusal::EngineIo(5, "Unsupported protocol version"));
    }
    Ok(())
}

impl Refusal {
    fn label(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::NotNow(refused) => refused.reason,
            Self::ForeignOrigin => "foreign_origin",
            Self::NoUpgrade => "no_upgrade",
            Self::BadVersion => "bad_version",
            Self::BadKey => "bad_key",
            Self::BadToken => "bad_token",
            Self::EngineIo(..) => "engine_io",
        }
    }

    /// `Retry-After` in seconds, for refusals that another gateway might accept.
    fn retry_s(self) -> Option<u64> {
        match self {
            // At once, at another one.
            Self::Draining => Some(1),
            Self::NotNow(refused) => Some(refused.retry_s),
            _ => None,
        }
    }

    fn native(self) -> Judged {
        metrics::upgrade_refused(self.label());
        let (status, sentence) = match self {
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "This gateway is draining. Connect again."),
            Self::NotNow(_) => (StatusCode::SERVICE_UNAVAILABLE, "Too many connections at once. Try again."),
            Self::ForeignOrigin => (
                StatusCode::FORBIDDEN,
                "This origin is not allowed. The operator lists allowed origins in CORS_ORIGINS.",
            ),
            Self::NoUpgrade | Self::BadVersion => {
                (StatusCode::UPGRADE_REQUIRED, "WebSocket version 13 over HTTP/1.1 is required.")
            }
            Self::BadKey => (StatusCode::BAD_REQUEST, "Sec-WebSocket-Key should be 16 bytes in base64."),
            Self::BadToken => (StatusCode::UNAUTHORIZED, Reject::Unauthorized.sentence()),
            Self::EngineIo(_, sentence) => (StatusCode::BAD_REQUEST, sentence),
        };
        let mut response = http::refusal(status, sentence);
        if status == StatusCode::UPGRADE_REQUIRED {
            response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        (self.with_retry(response), None)
    }

    fn engine_io(self) -> Judged {
        metrics::upgrade_refused(self.label());
        let (status, code, sentence) = match self {
            Self::EngineIo(code, sentence) => (StatusCode::BAD_REQUEST, code, sentence),
            Self::Draining | Self::NotNow(_) => (StatusCode::SERVICE_UNAVAILABLE, 4, "Forbidden"),
            Self::ForeignOrigin | Self::BadToken => (StatusCode::FORBIDDEN, 4, "Forbidden"),
            Self::NoUpgrade | Self::BadVersion | Self::BadKey => (StatusCode::BAD_REQUEST, 3, "Bad request"),
        };
        let body = format!(r#"{{"code":{code},"message":"{sentence}"}}"#);
        (self.with_retry(http::json(status, body.into())), None)
    }

    fn with_retry(self, mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        if let Some(retry_s) = self.retry_s() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_s));
        }
        response
    }
}

/// The sub-protocols that the client offers.
#[derive(Default)]
struct Offers<'a> {
    speaks: bool,
    token: Option<&'a str>,
}

fn offers(headers: &HeaderMap) -> Offers<'_> {
    let mut offers = Offers::default();
    let lists = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|list| list.to_str().ok());
    for protocol in lists.flat_map(|list| list.split(',')).map(str::trim) {
        match protocol.strip_prefix("bearer.") {
            Some(token) => offers.token = Some(token),
            None => offers.speaks |= protocol == PROTOCOL,
        }
    }
    offers
}

/// A parameter of the query, decoded; the first of several.
fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use hyper::header::AUTHORIZATION;

    use super::*;

    #[test]
    fn tokens_are_found_in_headers() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers), None);
        headers.insert(AUTHORIZATION, HeaderValue::from_static("bearer  a.b.c"));
        assert_eq!(bearer(&headers), Some("a.b.c"));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic a"));
        assert_eq!(bearer(&headers), None);
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("chatchit, bearer.a.b.c"));
        let offered = offers(&headers);
        assert_eq!((offered.speaks, offered.token), (true, Some("a.b.c")));
    }

    #[test]
    fn parameters_are_decoded() {
        let check = |query: &str, expect: Option<&str>| {
            assert_eq!(parameter(query, "token").as_deref(), expect, "{query}");
        };
        check("", None);
        check("a=1&token=x", Some("x"));
        check("token=a%2Eb%2", Some("a.b%2"));
        check("token=%zz%+1", Some("%zz% 1"));
        check("token=%ff", Some("\u{fffd}"));
        check("token=x&token=y", Some("x"));
        check("tokens=x", None);
    }
}
