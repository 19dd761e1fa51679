//! Many sockets that only listen: opened as fast as the server lets them, counted, warmed, closed.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, bail};
use swarm::form::{Form, Heard, Writer, read};
use swarm::frame::{self, Frame, Parsed};
use swarm::options::Address;
use swarm::socket::{NotNow, upgrade};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Sockets that are connecting at once.
const CONNECTING_MAX: usize = 1_024;
/// For one socket to become ready.
const READY: Duration = Duration::from_secs(20);
/// For all that are opened together.
const ALL_READY: Duration = Duration::from_secs(180);
/// Before a socket that the gateway did not want now tries again: the shortest `Retry-After`.
const NOT_NOW_PAUSE: Duration = Duration::from_secs(1);

/// What the sockets expect of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It says when the socket is ready.
    Speaks(Form),
    /// It answers the upgrade and nothing else.
    Mute,
}

/// The sockets; dropping it cuts them.
pub struct Herd {
    sockets: JoinSet<anyhow::Result<()>>,
    shared: Arc<Shared>,
    say: watch::Sender<u32>,
}

struct Shared {
    address: Address,
    kind: Kind,
    /// Addresses of this machine to connect from, in turn; empty: the system chooses.
    from: Vec<IpAddr>,
    connecting: Semaphore,
    open: AtomicUsize,
    put_off: AtomicUsize,
    heard: AtomicU64,
    answered: AtomicUsize,
    /// The gateway's node, from the first `ready`.
    node: std::sync::OnceLock<String>,
    say: watch::Receiver<u32>,
}

impl Herd {
    /// No sockets yet.
    pub fn new(address: &Address, kind: Kind) -> Self {
        Self::from(address, kind, vec![], CONNECTING_MAX)
    }

    /// No sockets yet; they will come from these addresses in turn, `at_once` connecting at once.
    pub fn from(address: &Address, kind: Kind, from: Vec<IpAddr>, at_once: usize) -> Self {
        let (say, heard) = watch::channel(0);
        let shared = Shared {
            address: address.clone(),
            kind,
            from,
            connecting: Semaphore::new(at_once),
            open: AtomicUsize::new(0),
            put_off: AtomicUsize::new(0),
            heard: AtomicU64::new(0),
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
        let expect = self.shared.open.load(Relaxed) + tokens.len();
        for (at, token) in tokens.iter().enumerate() {
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

    /// Every socket says `ping` once.
    pub fn ping(&self) {
        self.say.send_modify(|times| *times += 1);
    }

    /// Events heard so far, by all.
    pub fn heard(&self) -> u64 {
        self.shared.heard.load(Relaxed)
    }

    /// Waits until so many events were heard since `before`.
    ///
    /// # Errors
    /// They do not come.
    pub async fn hear(&self, before: u64, more: u64) -> anyhow::Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        while self.heard() < before + more {
            if Instant::now() > end {
                bail!("{} of {more} events were heard after 30 s", self.heard() - before);
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
        self.ping();
        let end = Instant::now() + READY;
        while self.shared.answered.load(Relaxed) < before + all && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
        }
        self.shared.answered.load(Relaxed) - before
    }

    /// Why open sockets ended since this was asked last.
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

    /// The gateway's node, as it said itself.
    pub fn node(&self) -> Option<&str> {
        self.shared.node.get().map(String::as_str)
    }

    /// Cuts all sockets and waits until they are gone.
    pub async fn close(mut self) {
        self.sockets.shutdown().await;
    }
}

async fn live(shared: Arc<Shared>, at: usize, mut token: String) -> anyhow::Result<()> {
    let form = match shared.kind {
        Kind::Speaks(form) => form,
        Kind::Mute => Form::Native,
    };
    let mut say = shared.say.clone();
    let permit = shared.connecting.acquire().await?;
    let (mut stream, mut rest) = connect(&shared, at, form, &token).await?;
    let mut is_ready = shared.kind == Kind::Mute;
    let mut writer = Writer::new(form, 7);
    let end = Instant::now() + READY;
    while !is_ready {
        is_ready = drain(&shared, form, &token, &stream, &mut rest, &mut writer)?;
        stream.write_all(&std::mem::take(&mut writer.out)).await?;
        if !is_ready {
            tokio::time::timeout_at(end, stream.readable()).await??;
        }
    }
    drop(permit);
    // It was for the handshake; many idle sockets would hold many.
    token = String::new();
    shared.open.fetch_add(1, Relaxed);
    loop {
        drain(&shared, form, &token, &stream, &mut rest, &mut writer)?;
        if !writer.out.is_empty() {
            stream.write_all(&std::mem::take(&mut writer.out)).await?;
        }
        tokio::select! {
            readable = stream.readable() => readable?,
            changed = say.changed() => {
                changed?;
                writer.event("ping", |out| out.push_str("{}"));
            }
        }
    }
}

/// Connects and upgrades; comes again as long as the gateway says so.
async fn connect(
    shared: &Shared,
    at: usize,
    form: Form,
    token: &str,
) -> anyhow::Result<(TcpStream, Vec<u8>)> {
    let from = match shared.from.len() {
        0 => None,
        count => Some(shared.from[at % count]),
    };
    loop {
        match timeout(READY, upgrade(&shared.address, from, form, token)).await? {
            Err(err) if err.is::<NotNow>() => {
                shared.put_off.fetch_add(1, Relaxed);
                sleep(NOT_NOW_PAUSE).await;
            }
            done => return done,
        }
    }
}

/// Handles all that has arrived; true: the socket became ready.
fn drain(
    shared: &Shared,
    form: Form,
    token: &str,
    stream: &TcpStream,
    rest: &mut Vec<u8>,
    writer: &mut Writer,
) -> anyhow::Result<bool> {
    let mut is_ready = false;
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
        let mut heard = 0;
        while let Parsed::Frame(frame, taken) = frame::parse(bytes).map_err(|err| anyhow::anyhow!(err.0))? {
            bytes = &bytes[taken..];
            match frame {
                // Cheap first: events in a fan-out are not looked into.
                Frame::Text(text) if text.starts_with("{\"event\":\"messageC") || text.starts_with("42[") => {
                    heard += 1;
                }
                Frame::Text(text) => match read(form, text) {
                    Heard::Ready => {
                        is_ready = true;
                        note_node(shared, text);
                    }
                    Heard::Open => writer.raw(frame::TEXT, format!("40{{\"token\":\"{token}\"}}").as_bytes()),
                    Heard::Ping => writer.raw(frame::TEXT, b"3"),
                    Heard::Refused => bail!("the server refused the token"),
                    Heard::Event(name, _) => {
                        heard += 1;
                        shared.answered.fetch_add(usize::from(name == "pong"), Relaxed);
                    }
                    Heard::Other => {}
                },
                Frame::Ping(payload) => writer.raw(frame::PONG, payload),
                Frame::Pong => {}
                Frame::Close(code) => bail!("the server closed with {code:?}"),
            }
        }
        *rest = bytes.to_vec();
        shared.heard.fetch_add(heard, Relaxed);
        if read_now < buffer.len() {
            return Ok(is_ready);
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
