//! One request, one answer. Each request has its own connection, so none must be kept alive.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::limits::{ANSWER_BYTES_MAX, ANSWER_MS_MAX};
use crate::site::Site;

/// An answer with an error status.
#[derive(Debug, thiserror::Error)]
#[error("{request} answered {status}: {body}")]
pub struct RefusedRequest {
    /// The method and the path of the request.
    pub request: String,
    /// The message of the answer.
    pub body: String,
    /// 401, 503, …
    pub status: u16,
    /// `Retry-After`: how long to wait before the next request.
    pub retry_after: Option<Duration>,
}

impl RefusedRequest {
    pub(crate) fn new(request: String, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Self {
            request,
            body: String::from_utf8_lossy(body).trim().to_owned(),
            status: status.as_u16(),
            retry_after: seconds.map(Duration::from_secs),
        }
    }
}

impl Site {
    /// GET; returns the JSON of the answer.
    ///
    /// # Errors
    /// A [`RefusedRequest`], or no answer.
    pub async fn get(&self, path: &str, token: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, Some(token), Bytes::new()).await
    }

    /// POST of JSON; returns the JSON of the answer.
    ///
    /// # Errors
    /// A [`RefusedRequest`], or no answer.
    pub async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, token, body.to_string().into()).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Bytes,
    ) -> anyhow::Result<Value> {
        let what = format!("{method} {path}");
        let mut request = Request::builder().method(method).uri(path).header(HOST, self.authority());
        request = request.header(CONTENT_TYPE, "application/json").header(CONNECTION, "close");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).context("the request")?;
        let exchange = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(self.connect().await?)).await?;
            // Ends with this exchange, whatever becomes of it.
            let _driven = AbortOnDropHandle::new(tokio::spawn(connection));
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(anyhow::Error::from_boxed).context("the answer was cut short")?;
            anyhow::Ok((head, body.to_bytes()))
        };
        let limit = Duration::from_millis(ANSWER_MS_MAX);
        let answered = timeout(limit, exchange).await;
        let (head, body) = answered.with_context(|| format!("{what}: no answer within {limit:?}"))??;
        if !head.status.is_success() {
            return Err(RefusedRequest::new(what, head.status, &head.headers, &body).into());
        }
        serde_json::from_slice(&body).with_context(|| format!("{what} did not answer JSON"))
    }
}
