//! A native socket: JSON events, one per text frame.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, http::Uri};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::limits::{ANSWER_BYTES_MAX, ANSWER_MS_MAX, SILENCE_MS_MAX};
use crate::rest::RefusedRequest;
use crate::site::{Connection, Site};

/// The gateway closed a socket with a reason.
#[derive(Debug, thiserror::Error)]
#[error("the gateway closed the socket: {code} {reason}")]
pub struct Closed {
    /// The close code; 1005 if there is none.
    pub code: u16,
    /// The reason.
    pub reason: String,
}

/// A socket. Dropping the future of `next` and calling it again loses nothing.
pub struct Socket {
    stream: WebSocketStream<Connection>,
    /// The time of the last frame from the gateway.
    heard: Instant,
}

impl Socket {
    /// Opens `/ws` with the token in the header. It checks the handshake: an answer that does not
    /// prove that the server understood the request is an error.
    ///
    /// # Errors
    /// A [`RefusedRequest`], or no upgrade.
    pub async fn open(site: &Site, token: &str) -> anyhow::Result<Self> {
        let uri: Uri = format!("{}/ws", site.ws_url()).parse()?;
        let request = ClientRequestBuilder::new(uri).with_header("Authorization", format!("Bearer {token}"));
        let config = WebSocketConfig::default()
            .max_message_size(Some(ANSWER_BYTES_MAX))
            .max_frame_size(Some(ANSWER_BYTES_MAX));
        let opening = async {
            let connection = site.connect().await?;
            match client_async_with_config(request, connection, Some(config)).await {
                Ok((stream, _)) => Ok(Self { stream, heard: Instant::now() }),
                Err(Error::Http(answer)) => {
                    let body = answer.body().as_deref().unwrap_or_default();
                    Err(RefusedRequest::new(
                        "the upgrade".to_owned(),
                        answer.status(),
                        answer.headers(),
                        body,
                    )
                    .into())
                }
                Err(err) => Err(anyhow!(err).context("the upgrade failed")),
            }
        };
        let limit = Duration::from_millis(ANSWER_MS_MAX);
        timeout(limit, opening).await.with_context(|| format!("no upgrade within {limit:?}"))?
    }

    /// Sends one event.
    ///
    /// # Errors
    /// The socket is broken, or the gateway has read nothing for too long.
    pub async fn send(&mut self, event: &Value) -> anyhow::Result<()> {
        let limit = Duration::from_millis(ANSWER_MS_MAX);
        let sent = timeout(limit, self.stream.send(Message::text(event.to_string()))).await;
        Ok(sent.with_context(|| format!("the gateway took nothing for {limit:?}"))??)
    }

    /// The next event. It answers pings meanwhile.
    ///
    /// # Errors
    /// [`Closed`] if the gateway closed the socket with a reason; otherwise the socket broke, or the
    /// gateway has been silent for too long.
    pub async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            let limit = Duration::from_millis(SILENCE_MS_MAX);
            let Ok(came) = timeout_at(self.heard + limit, self.stream.next()).await else {
                bail!("the gateway has been silent for {limit:?}");
            };
            self.heard = Instant::now();
            match came {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text)?),
                Some(Ok(Message::Close(frame))) => return Err(closed(frame).into()),
                Some(Ok(_)) => {}
                None | Some(Err(Error::ConnectionClosed)) => return Err(cut()),
                Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => return Err(cut()),
                Some(Err(err)) => return Err(anyhow!(err).context("the socket broke")),
            }
        }
    }
}

fn closed(frame: Option<CloseFrame>) -> Closed {
    let (code, reason) =
        frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
    Closed { code, reason }
}

fn cut() -> anyhow::Error {
    anyhow!("the gateway closed the socket without a word")
}
