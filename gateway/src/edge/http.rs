//! Pieces of HTTP that the upgrade, REST and the server share: the token of a header, JSON answers, CORS.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode, Version};

use crate::config::Origins;

/// The token of `Authorization: Bearer <token>`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Headers that may occur once: with two values, two programs on the path may each believe another one.
const SINGLE: [HeaderName; 5] = [
    header::HOST,
    header::AUTHORIZATION,
    header::ORIGIN,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
];

/// What is wrong with the headers of a request, whatever its path.
pub fn contradiction(version: Version, headers: &HeaderMap) -> Option<&'static str> {
    if SINGLE.iter().any(|name| headers.get_all(name).iter().nth(1).is_some()) {
        return Some("A header that may occur once occurs twice. Send it once.");
    }
    // RFC 9112, 3.2.
    (version == Version::HTTP_11 && !headers.contains_key(header::HOST))
        .then_some("The Host header is missing. Send it.")
}

/// The shape of all errors: `{message, error, statusCode}`.
pub fn refusal(status: StatusCode, sentence: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({
        "message": sentence,
        "error": status.canonical_reason().unwrap_or_default(),
        "statusCode": status.as_u16(),
    });
    json(status, body.to_string().into())
}

/// A response with a JSON body, or without a body for 204. A 503 or 429 carries `Retry-After`.
pub fn json(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let has_body = !body.is_empty();
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if has_body {
        let value = HeaderValue::from_static("application/json; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

/// A response that is a word.
pub fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

/// The origin to reflect, if the request names one that may call.
pub fn cors(origins: &Origins, headers: &HeaderMap) -> Option<Reader> {
    let origin = headers.get(header::ORIGIN)?;
    let is_listed = matches!(origins, Origins::These(_));
    origin
        .to_str()
        .is_ok_and(|origin| origins.allow(origin))
        .then(|| Reader { origin: origin.clone(), is_listed })
}

/// The origin that may read the response.
#[derive(Clone, Debug)]
pub struct Reader {
    origin: HeaderValue,
    /// The operator listed it: cookies and client certificates are allowed.
    is_listed: bool,
}

/// Lets the page of that origin read the response.
pub fn with_cors(mut response: Response<Full<Bytes>>, reader: Option<Reader>) -> Response<Full<Bytes>> {
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(Reader { origin, is_listed }) = reader {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if is_listed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
    response
}

/// The browser must not guess another content type.
pub fn guarded(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// No cache stores the response, the browser's disk included: it holds a token or users' texts.
pub fn unstored(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Answers a browser's preflight request.
pub fn preflight(cors: Option<Reader>, asked: &HeaderMap) -> Response<Full<Bytes>> {
    const METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS");
    // Browsers cap it; without it every call of the original's client asks twice.
    const MAX_AGE: (HeaderName, HeaderValue) =
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    let mut response = with_cors(plain(StatusCode::NO_CONTENT, ""), cors);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(MAX_AGE.0, MAX_AGE.1);
    if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}
