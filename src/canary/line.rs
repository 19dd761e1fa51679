//! One socket of the canary: held open, and opened again when it ends. It behaves as a good client does:
//! it reconnects with a growing pause and jitter, not earlier than it was told, moves when the gateway
//! drains, and repeats unacknowledged messages under the same guid.

use std::time::Duration;

use client::{Closed, RefusedRequest, Site, Socket};
use common::limits::{
    BUSY_RETRY_MS, CANARY_DEADLINE_MS, CANARY_HANDSHAKE_MS_MAX, CANARY_RECONNECT_MS_MAX,
    CANARY_RECONNECT_MS_MIN, GOING_AWAY_GRACE_MS_MAX,
};
use common::random;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::round::Place;

/// The speaker or the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Speaker,
    Listener,
}

/// Why a gateway is not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing answers there, or not in time.
    Connect,
    /// It does not want this socket.
    Upgrade,
    /// The socket ended without a goodbye.
    Cut,
    /// The token is not accepted any more.
    Token,
}

impl Trouble {
    /// In metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Upgrade => "upgrade",
            Self::Cut => "cut",
            Self::Token => "token",
        }
    }

    fn of(err: &anyhow::Error) -> Self {
        let status = err.downcast_ref::<RefusedRequest>().map(|refusal| refusal.status);
        let code = err.downcast_ref::<Closed>().map(|closed| closed.code);
        match (status, code) {
            (Some(401 | 403), _) | (_, Some(4_501..=4_503)) => Self::Token,
            (Some(_), _) => Self::Upgrade,
            (_, Some(_)) => Self::Cut,
            _ => Self::Connect,
        }
    }
}

/// The reports of a line.
#[derive(Debug)]
pub enum News {
    /// It is open.
    Up,
    /// The gateway leaves, and this socket with it.
    Leaving,
    /// It is not open.
    Away(Trouble, String),
    /// The gateway acknowledged a message.
    Queued(String),
    /// The gateway refused it, with this code.
    Refused(String, String),
    /// A message was heard.
    Heard { guid: String, seq: i64 },
    /// The gateway reports that deliveries may have been lost.
    Lapsed,
}

/// The news of one line, and when it came.
#[derive(Debug)]
pub struct Heard {
    pub place: Place,
    pub role: Side,
    pub at: Instant,
    pub news: News,
}

/// One socket.
pub struct Line {
    pub place: Place,
    /// The same, for a connection.
    pub site: Site,
    pub role: Side,
    /// Messages in other conversations are not the canary's: strangers may write to its accounts.
    pub conversation: i64,
    /// The token to come with.
    pub token: watch::Receiver<String>,
    /// The messages to send; the line ends with it.
    pub orders: mpsc::Receiver<Value>,
    pub told: mpsc::Sender<Heard>,
}

/// The end of a socket.
enum End {
    /// The line is not wanted any more.
    Done,
    /// The gateway sent it away.
    Left,
    /// By itself.
    Cut(anyhow::Error),
}

/// Said, and not acknowledged.
struct Unanswered {
    event: Value,
    since: Instant,
    again: Option<Instant>,
}

impl Line {
    /// Until it is not wanted any more.
    pub async fn keep(mut self) {
        let mut failures = 0;
        let mut unanswered = None;
        loop {
            let token = self.token.borrow_and_update().clone();
            let (trouble, err) = match self.opens(&token).await {
                Ok(mut socket) => {
                    failures = 0;
                    self.tell(News::Up).await;
                    match self.serve(&mut socket, &mut unanswered).await {
                        End::Done => return,
                        End::Left => {
                            self.tell(News::Leaving).await;
                            if self.pauses(pause(1)).await {
                                return;
                            }
                            continue;
                        }
                        End::Cut(err) => match Trouble::of(&err) {
                            Trouble::Connect => (Trouble::Cut, err),
                            trouble => (trouble, err),
                        },
                    }
                }
                Err(err) => (Trouble::of(&err), err),
            };
            failures += 1;
            let told = err.downcast_ref::<RefusedRequest>().and_then(|refusal| refusal.retry_after);
            self.tell(News::Away(trouble, format!("{err:#}"))).await;
            if self.pauses(pause(failures).max(told.unwrap_or_default())).await {
                return;
            }
        }
    }

    /// A socket that is ready.
    async fn opens(&self, token: &str) -> anyhow::Result<Socket> {
        let opening = async {
            let mut socket = Socket::open(&self.site, token).await?;
            while socket.next().await?["event"] != "ready" {}
            Ok(socket)
        };
        let limit = Duration::from_millis(CANARY_HANDSHAKE_MS_MAX);
        timeout(limit, opening).await.map_err(|_| anyhow::anyhow!("no socket within {limit:?}"))?
    }

    async fn serve(&mut self, socket: &mut Socket, unanswered: &mut Option<Unanswered>) -> End {
        let mut leave: Option<Instant> = None;
        // Said on an earlier socket: a client that is not sure says it again.
        if let Some(last) = unanswered {
            last.again = Some(Instant::now());
        }
        loop {
            let again = unanswered.as_ref().and_then(|last| last.again);
            tokio::select! {
                order = self.orders.recv() => {
                    let Some(event) = order else { return End::Done };
                    *unanswered = Some(Unanswered { event: event.clone(), since: Instant::now(), again: None });
                    if let Err(err) = socket.send(&event).await {
                        return End::Cut(err);
                    }
                }
                () = due(again) => {
                    let Some(last) = unanswered else { continue };
                    last.again = None;
                    if last.since.elapsed() > Duration::from_millis(CANARY_DEADLINE_MS) {
                        *unanswered = None;
                    } else if let Err(err) = socket.send(&last.event).await {
                        return End::Cut(err);
                    }
                }
                () = due(leave) => return End::Left,
                event = socket.next() => match event {
                    Ok(event) => {
                        if event["event"] == "server.going_away" {
                            let ms = event["data"]["in_ms"].as_u64().unwrap_or(GOING_AWAY_GRACE_MS_MAX);
                            leave = Some(Instant::now() + Duration::from_millis(ms));
                        }
                        self.hears(&event, unanswered).await;
                    }
                    Err(err) if err.downcast_ref::<Closed>().is_some_and(|end| end.code == 1001) => {
                        return End::Left;
                    }
                    Err(err) => return End::Cut(err),
                },
            }
        }
    }

    async fn hears(&self, event: &Value, unanswered: &mut Option<Unanswered>) {
        let data = &event["data"];
        let guid = data["guid"].as_str().unwrap_or_default().to_owned();
        let is_last = unanswered.as_ref().is_some_and(|last| last.event["data"]["guid"] == guid.as_str());
        let news = match (event["event"].as_str().unwrap_or_default(), self.role) {
            ("server.going_away", _) => News::Leaving,
            ("server.lapsed", _) => News::Lapsed,
            ("messageQueued", Side::Speaker) => {
                if is_last {
                    *unanswered = None;
                }
                News::Queued(guid)
            }
            ("sendMessageError", Side::Speaker) => {
                if let Some(last) = unanswered.as_mut().filter(|_| is_last) {
                    let ms = data["retryInMs"].as_u64().unwrap_or(BUSY_RETRY_MS);
                    last.again = Some(Instant::now() + Duration::from_millis(ms));
                }
                News::Refused(guid, data["code"].as_str().unwrap_or("?").to_owned())
            }
            ("messageComing", Side::Listener) if data["conversationId"] == self.conversation => {
                News::Heard { guid, seq: data["seq"].as_i64().unwrap_or_default() }
            }
            _ => return,
        };
        self.tell(news).await;
    }

    async fn tell(&self, news: News) {
        let told = Heard { place: self.place, role: self.role, at: Instant::now(), news };
        // Nobody hears it: the canary ends.
        let _ = self.told.send(told).await;
    }

    /// Waits; whether the line is not wanted any more.
    async fn pauses(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            tokio::select! {
                () = sleep_until(end) => return false,
                order = self.orders.recv() => if order.is_none() { return true },
            }
        }
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Before the next try: doubled with each failure, and a random part of it, so that canaries and
/// clients that were cut together do not come together.
pub fn pause(failures: u32) -> Duration {
    let longest = CANARY_RECONNECT_MS_MIN.saturating_mul(1 << failures.min(16)).min(CANARY_RECONNECT_MS_MAX);
    random::jitter(Duration::from_millis(longest))
}

/// Waits before the next try.
pub async fn rest(failures: u32) {
    sleep(pause(failures)).await;
}

/// The text of a message.
pub fn message(conversation: i64, guid: &str) -> Value {
    let data = json!({
        "conversationId": conversation, "guid": guid, "messageType": "TEXT", "content": "canary",
    });
    json!({ "event": "sendMessage", "data": data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_differ_and_end_growing() {
        for failures in 0..100 {
            let longest = Duration::from_millis(CANARY_RECONNECT_MS_MAX);
            assert!(
                (Duration::from_millis(CANARY_RECONNECT_MS_MIN / 2)..=longest).contains(&pause(failures))
            );
        }
        assert!((0..20).any(|_| pause(9) != pause(9)));
    }
}
