//! Many sockets that only listen: opened as fast as the server lets them, counted, warmed, closed.
//!
//! What is published to them carries numbers ([`content`]), and every socket counts only what is
//! the next: a message that was shed, doubled or overtaken cannot look like speed.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, bail};
use swarm::options::Address;
use swarm::socket::{NotNow, upgrade_with};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep, timeout};

use crate::dialect::{Dialect, Said, Speaker};
use crate::frame;

/// Most sockets that connect at once.
const CONNECTING_MAX: usize = 1_024;
/// Timeout for one socket to become ready.
const READY: Duration = Duration::from_secs(20);
/// Timeout for all sockets that are opened together.
const ALL_READY: Duration = Duration::from_secs(180);
/// Before a socket that the gateway did not want now tries again: the shortest `Retry-After`.
const NOT_NOW_PAUSE: Duration = Duration::from_secs(1);

/// The sockets; dropping it cuts them.
pub struct Herd {
    sockets: JoinSet<anyhow::Result<()>>,
    shared: Arc<Shared>,
    say: watch::Sender<u32>,
}

struct Shared {
    address: Address,
    dialect: Dialect,
    /// Addresses of this machine to connect from, in turn; empty: the system chooses.
    from: Vec<IpAddr>,
    connecting: Semaphore,
    open: AtomicUsize,
    put_off: AtomicUsize,
    heard: AtomicU64,
    astray: AtomicU64,
    answered: AtomicUsize,
    /// The gateway's node, from the first `ready`.
    node: std::sync::OnceLock<String>,
    say: watch::Receiver<u32>,
}

impl Herd {
    /// A herd without sockets.
    pub fn new(address: &Address, dialect: Dialect) -> Self {
        Self::from(address, dialect, vec![], CONNECTING_MAX)
    }

    /// No sockets yet; they will come from these addresses in turn, `at_once` connecting at once.
    pub fn from(address: &Address, dialect: Dialect, from: Vec<IpAddr>, at_once: usize) -> Self {
        let (say, heard) = watch::channel(0);
        let shared = Shared {
            address: address.clone(),
            dialect,
            from,
            connecting: Semaphore::new(at_once),
            open: AtomicUsize::new(0),
            put_off: AtomicUsize::new(0),
            heard: AtomicU64::new(0),
            astray: AtomicU64::new(0),
            answered: AtomicUsize::new(0),
            node: std::sync::OnceLock::new(),
            say: heard,
        };
        Self { sockets: JoinSet::new(), shared: Arc::new(shared), say }
    }

    /// Opens one socket per token and waits until all are ready.
    ///
    /// # Errors
    /// Not all become ready.
    pub async fn open(&mut self, tokens: &[String]) -> anyhow::Result<()> {
        let before = self.shared.open.load(Relaxed);
        let expect = before + tokens.len();
        // Numbered through: a server may take two clients of one name for one.
        for (at, token) in (before..).zip(tokens) {
            self.sockets.spawn(live(self.shared.clone(), at, token.clone()));
        }
        let end = Instant::now() + ALL_READY;
        while self.shared.open.load(Relaxed) < expect {
            if let Some(ended) = self.sockets.try_join_next() {
                return ended?.and_then(|()| bail!("a socket ended")).context("opening sockets");
            }
            if Instant::now() > end {
                bail!("{} of {expect} sockets are open after {ALL_READY:?}", self.shared.open.load(Relaxed));
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// The number of events that all sockets have received in order so far.
    pub fn heard(&self) -> u64 {
        self.shared.heard.load(Relaxed)
    }

    /// The number of events that all sockets have received out of order so far.
    pub fn astray(&self) -> u64 {
        self.shared.astray.load(Relaxed)
    }

    /// Waits until this many events were heard since `before`.
    ///
    /// # Errors
    /// They do not come.
    pub async fn hear(&self, before: u64, more: u64) -> anyhow::Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        while self.heard() < before + more {
            if Instant::now() > end {
                let (heard, astray) = (self.heard() - before, self.astray());
                bail!("{heard} of {more} events were heard after 30 s, {astray} were not the next");
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// How often a socket was told to come again before it was open.
    pub fn put_off(&self) -> usize {
        self.shared.put_off.load(Relaxed)
    }

    /// Every socket says `ping`; how many answers came, within the time for one socket.
    pub async fn alive(&self) -> usize {
        let before = self.shared.answered.load(Relaxed);
        let all = self.shared.open.load(Relaxed);
        self.say.send_modify(|times| *times += 1);
        let end = Instant::now() + READY;
        while self.shared.answered.load(Relaxed) < before + all && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
        }
        self.shared.answered.load(Relaxed) - before
    }

    /// The reasons for which open sockets ended since the last call.
    pub fn lost(&mut self) -> Vec<String> {
        let mut lost = vec![];
        while let Some(ended) = self.sockets.try_join_next() {
            lost.push(match ended {
                Ok(Ok(())) => "it ended".to_owned(),
                Ok(Err(err)) => format!("{err:#}"),
                Err(err) => err.to_string(),
            });
        }
        lost
    }

    /// The gateway's node id, from the first `ready`.
    pub fn node(&self) -> Option<&str> {
        self.shared.node.get().map(String::as_str)
    }

    /// Cuts all sockets and waits until they are gone.
    pub async fn close(mut self) {
        self.sockets.shutdown().await;
    }
}

/// The content of one published message: its number, and as many bytes in all as asked for.
pub fn content(number: u64, bytes: usize) -> String {
    let mut content = format!("{MARK}{number:0DIGITS$}");
    content.extend(std::iter::repeat_n('.', bytes.saturating_sub(content.len())));
    content
}

/// Before a number. Nothing else in what a peer puts around a content has it.
const MARK: char = '~';
const DIGITS: usize = 8;

/// Reads the number that an event carries.
fn number(event: &[u8]) -> Option<u64> {
    let start = memchr::memchr(MARK as u8, event)? + 1;
    std::str::from_utf8(event.get(start..start + DIGITS)?).ok()?.parse().ok()
}

/// The events that one socket has received.
#[derive(Default)]
struct Heard {
    /// The number expected next; None: any, before the first event.
    next: Option<u64>,
    is_ready: bool,
    refused: Option<String>,
}

async fn live(shared: Arc<Shared>, at: usize, mut token: String) -> anyhow::Result<()> {
    let mut say = shared.say.clone();
    let permit = shared.connecting.acquire().await?;
    let (mut stream, mut rest) = connect(&shared, at, &token).await?;
    let mut speaker = Speaker::new(shared.dialect);
    let mut heard = Heard { is_ready: shared.dialect.is_ready_at_once(), ..Heard::default() };
    speaker.upgraded(&token, at);
    let end = Instant::now() + READY;
    while !heard.is_ready {
        drain(&shared, &token, &stream, &mut rest, &mut speaker, &mut heard)?;
        stream.write_all(&std::mem::take(&mut speaker.out.out)).await?;
        if !heard.is_ready {
            tokio::time::timeout_at(end, stream.readable()).await??;
        }
    }
    drop(permit);
    // It was for the handshake; many idle sockets would hold many.
    token = String::new();
    shared.open.fetch_add(1, Relaxed);
    let mut beat = shared.dialect.heartbeat().map(|time| Box::pin(interval_at(Instant::now() + time, time)));
    loop {
        drain(&shared, &token, &stream, &mut rest, &mut speaker, &mut heard)?;
        if !speaker.out.out.is_empty() {
            stream.write_all(&std::mem::take(&mut speaker.out.out)).await?;
        }
        tokio::select! {
            readable = stream.readable() => readable?,
            changed = say.changed() => {
                changed?;
                speaker.ping();
            }
            () = async {
                match &mut beat {
                    Some(beat) => drop(beat.tick().await),
                    None => std::future::pending().await,
                }
            } => speaker.ping(),
        }
    }
}

/// Connects and upgrades; retries as long as the gateway asks for it.
async fn connect(shared: &Shared, at: usize, token: &str) -> anyhow::Result<(TcpStream, Vec<u8>)> {
    let from = match shared.from.len() {
        0 => None,
        count => Some(shared.from[at % count]),
    };
    let (path, headers) = (shared.dialect.path(), shared.dialect.headers(token));
    loop {
        match timeout(READY, upgrade_with(&shared.address, from, path, &headers)).await? {
            Err(err) if err.is::<NotNow>() => {
                shared.put_off.fetch_add(1, Relaxed);
                sleep(NOT_NOW_PAUSE).await;
            }
            done => return done,
        }
    }
}

/// Handles all frames that have arrived.
fn drain(
    shared: &Shared,
    token: &str,
    stream: &TcpStream,
    rest: &mut Vec<u8>,
    speaker: &mut Speaker,
    socket: &mut Heard,
) -> anyhow::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let read_now = match stream.try_read(&mut buffer) {
            Ok(0) => bail!("the server closed"),
            Ok(read_now) => read_now,
            Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(err) => return Err(err.into()),
        };
        let mut whole = std::mem::take(rest);
        let mut bytes = if whole.is_empty() {
            &buffer[..read_now]
        } else {
            whole.extend_from_slice(&buffer[..read_now]);
            &whole[..]
        };
        let (mut heard, mut astray) = (0, 0);
        while let Some((opcode, payload, taken)) = frame::parse(bytes)? {
            bytes = &bytes[taken..];
            speaker.take(opcode, payload, token, |said| match said {
                Said::Event(event) => {
                    let number = number(event);
                    match (number, socket.next) {
                        (Some(number), Some(next)) if number != next => astray += 1,
                        (Some(_), _) => heard += 1,
                        (None, _) => astray += 1,
                    }
                    socket.next = number.map(|number| number + 1);
                }
                Said::Ready(text) => {
                    socket.is_ready = true;
                    note_node(shared, text);
                }
                Said::Pong => drop(shared.answered.fetch_add(1, Relaxed)),
                Said::Refused(why) => socket.refused = Some(why),
            });
        }
        *rest = bytes.to_vec();
        shared.heard.fetch_add(heard, Relaxed);
        shared.astray.fetch_add(astray, Relaxed);
        if let Some(why) = socket.refused.take() {
            bail!("the server refuses: {why}");
        }
        if read_now < buffer.len() {
            return Ok(());
        }
    }
}

fn note_node(shared: &Shared, text: &str) {
    if shared.node.get().is_none() {
        let ready: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        if let Some((node, _)) = ready["data"]["socketId"].as_str().and_then(|id| id.split_once('-')) {
            // Set by another socket meanwhile: the same.
            let _ = shared.node.set(node.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_whatever_is_around_them() {
        let content = content(42, 150);
        assert_eq!(content.len(), 150);
        for event in [content.clone(), format!("42[\"messageComing\",{{\"content\":\"{content}\"}}]")] {
            assert_eq!(number(event.as_bytes()), Some(42));
        }
        assert_eq!(number(b"no number"), None);
        assert_eq!(number(b"~1234"), None, "cut off");
    }
}
