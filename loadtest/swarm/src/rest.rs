//! A small REST client: one kept connection, the next gateway when one is gone.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::options::Address;

/// Timeout of one attempt.
const ATTEMPT: Duration = Duration::from_secs(15);
/// Timeout of one call with all its attempts. Long, because registrations are limited per address.
const CALL: Duration = Duration::from_secs(120);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(250);

/// A connection to one of the gateways.
pub struct Rest {
    urls: Vec<Address>,
    at: usize,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Rest {
    /// Not connected yet; starts with the `at`-th gateway.
    pub fn new(urls: &[Address], at: usize) -> Self {
        Self { urls: urls.to_vec(), at, sender: None }
    }

    /// Calls until there is an answer other than 429 and 5xx; `(status, body)`.
    ///
    /// # Errors
    /// There was no such answer in time.
    pub async fn call(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, Value)> {
        let deadline = Instant::now() + CALL;
        loop {
            let attempt = timeout(ATTEMPT, self.attempt(method, path, token, body)).await;
            let why = match attempt {
                Ok(Ok((status, value))) if status < 500 && status != 429 => return Ok((status, value)),
                Ok(Ok((status, value))) => anyhow::anyhow!("{status}: {value}"),
                Ok(Err(err)) => err,
                Err(_) => anyhow::anyhow!("no answer within {ATTEMPT:?}"),
            };
            self.sender = None;
            self.at += 1;
            if timeout_at(deadline, sleep(PAUSE)).await.is_err() {
                return Err(why.context(format!("{method} {path}")));
            }
        }
    }

    /// Like [`Self::call`], and the status has to be a success; returns the envelope's `data`.
    ///
    /// # Errors
    /// There was no answer in time, or it was no success.
    pub async fn data(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let (status, mut value) = self.call(method, path, token, body).await?;
        if !(200..300).contains(&status) {
            bail!("{method} {path}: {status} {value}");
        }
        Ok(value.get_mut("data").map(Value::take).unwrap_or_default())
    }

    async fn attempt(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, Value)> {
        let address = &self.urls[self.at % self.urls.len()];
        if self.sender.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            // Ends with its sender; what went wrong comes with the response.
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", address.authority())
            .header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body.map(Value::to_string).unwrap_or_default().into()))?;
        let sender = self.sender.as_mut().context("connected above")?;
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}
