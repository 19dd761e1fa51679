//! One socket: connects, speaks for its player, reconnects. Does all I/O and decides nothing
//! about messages.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::form::{Form, Heard, Writer, read};
use crate::frame::{self, Frame, Parsed};
use crate::heard::Coming;
use crate::options::Address;
use crate::plan::mix;
use crate::player::Player;
use crate::rest::Rest;
use crate::setup;
use crate::tally::{Progress, Tally};

/// Time from connecting to the server's `ready`.
const OPEN: Duration = Duration::from_secs(15);
/// Sockets of one thread that are connecting at once.
pub const CONNECTING_MAX: usize = 64;
/// The close code of a gateway that leaves.
const GOING_AWAY: u16 = 1001;
/// First and longest back-off before a reconnect.
const BACK_OFF_MS: (u64, u64) = (100, 5_000);
/// Bytes read at once; grows for a longer frame.
pub const READ_BYTES: usize = 256 * 1024;

/// The phase of the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The sockets open.
    Open,
    /// Senders send between these, µs since the origin.
    Send {
        /// Start, µs since the origin.
        start_us: u64,
        /// End, µs since the origin.
        stop_us: u64,
    },
    /// All clients ask once more what they missed.
    Sync,
    /// All sockets stop.
    Stop,
}

/// The state that the sockets of one thread share.
pub struct Shared {
    /// The addresses of the gateways.
    pub urls: Vec<Address>,
    /// The origin of all times.
    pub origin: Instant,
    /// The phase, set by the conductor.
    pub phase: watch::Receiver<Phase>,
    /// The progress that the conductor reads.
    pub progress: Arc<Progress>,
    /// Counts of this thread.
    pub tally: RefCell<Tally>,
    /// Limits the number of sockets that connect at once.
    pub connecting: Semaphore,
    /// The read buffer of all sockets of the thread.
    pub buffer: RefCell<Vec<u8>>,
}

impl Shared {
    fn now_us(&self) -> u64 {
        self.origin.elapsed().as_micros() as u64
    }

    fn at(&self, us: u64) -> Instant {
        self.origin + Duration::from_micros(us)
    }
}

/// One socket and its player.
pub struct Socket {
    /// The state shared by the thread.
    pub shared: Rc<Shared>,
    /// The account of the socket.
    pub player: Rc<RefCell<Player>>,
    /// The wire form.
    pub form: Form,
    /// The access token.
    pub token: String,
    /// A number that differs for each socket; determines first gateway, jitter and masks.
    pub serial: u64,
    /// Set when a history has been fetched.
    pub fetched: Rc<Notify>,
    /// Whether a history is being fetched.
    pub fetching: Rc<Cell<bool>>,
}

enum End {
    Closed(Option<u16>),
    Lost,
    Violated(&'static str),
    NotReady,
    Moved,
    Stop,
}

impl Socket {
    /// Plays until the conductor says stop.
    pub async fn run(self) {
        let mut phase = self.shared.phase.clone();
        let mut failures = 0_u32;
        let mut had_opened = false;
        for attempt in 0_u64.. {
            if *phase.borrow() == Phase::Stop {
                return;
            }
            if had_opened {
                let now = self.shared.now_us();
                self.shared.tally.borrow_mut().reconnects_us.push(now);
            }
            let address =
                &self.shared.urls[((self.serial + attempt) % self.shared.urls.len() as u64) as usize];
            let opened = {
                let Ok(_permit) = self.shared.connecting.acquire().await else { return };
                timeout(OPEN, upgrade(address, None, self.form, &self.token)).await
            };
            let end = match opened {
                Ok(Ok((stream, rest))) => {
                    let (end, was_ready) = self.converse(stream, rest, &mut phase, had_opened).await;
                    had_opened |= was_ready;
                    if was_ready {
                        failures = 0;
                        self.shared.progress.open.fetch_sub(1, Relaxed);
                        if !matches!(end, End::Stop) {
                            let now = self.shared.now_us();
                            self.player.borrow_mut().on_closed(now, &mut self.shared.tally.borrow_mut());
                        }
                    }
                    Some(end)
                }
                Ok(Err(_)) | Err(_) => None,
            };
            self.count(end.as_ref());
            match end {
                Some(End::Stop) => return,
                // Without back-off: the gateway has spread the reconnects already.
                Some(End::Moved | End::Closed(Some(GOING_AWAY))) => continue,
                _ => {}
            }
            let back_off = (BACK_OFF_MS.0 << failures.min(10)).min(BACK_OFF_MS.1);
            failures += 1;
            let jittered = back_off / 2 + mix(self.serial ^ attempt << 32) % back_off;
            tokio::select! {
                () = sleep(Duration::from_millis(jittered)) => {}
                _ = phase.wait_for(|phase| *phase == Phase::Stop) => return,
            }
        }
    }

    fn count(&self, end: Option<&End>) {
        let counts = &mut self.shared.tally.borrow_mut().counts;
        let close = match end {
            None | Some(End::NotReady) => {
                counts.connects_failed += 1;
                return;
            }
            Some(End::Stop) => return,
            Some(End::Moved) => "moved".to_owned(),
            Some(End::Lost) => "lost".to_owned(),
            Some(End::Closed(code)) => code.map_or("no code".to_owned(), |code| code.to_string()),
            Some(End::Violated(what)) => {
                *counts.violations.entry((*what).to_owned()).or_default() += 1;
                "violation".to_owned()
            }
        };
        *counts.closes.entry(close).or_default() += 1;
    }

    /// Speaks over an upgraded connection until it ends; true: it had become ready.
    async fn converse(
        &self,
        mut stream: TcpStream,
        mut rest: Vec<u8>,
        phase: &mut watch::Receiver<Phase>,
        is_reconnect: bool,
    ) -> (End, bool) {
        let shared = &*self.shared;
        let mut writer = Writer::new(self.form, mix(self.serial) as u32);
        let mut is_ready = false;
        let mut told = false;
        // Until ready: when to give up. After `server.going_away`: when to move.
        let mut leave_us = shared.now_us() + OPEN.as_micros() as u64;
        loop {
            match self.take_frames(&stream, &mut rest, &mut writer, is_ready) {
                Ok(Some(Noticed::Ready)) if !is_ready => {
                    is_ready = true;
                    leave_us = u64::MAX;
                    shared.progress.open.fetch_add(1, Relaxed);
                    shared.tally.borrow_mut().counts.reconnects += u64::from(is_reconnect);
                    self.player.borrow_mut().on_open();
                    // Bytes that arrived together with it are still in `rest`.
                    continue;
                }
                Ok(Some(Noticed::GoingAway(in_ms))) => {
                    shared.tally.borrow_mut().counts.going_away += 1;
                    // The slot is this socket's own, so no jitter is needed.
                    leave_us = shared.now_us() + in_ms * 1_000;
                    continue;
                }
                Ok(_) => {}
                Err(end) => return (end, is_ready),
            }
            let now = shared.now_us();
            if now >= leave_us {
                writer.raw(frame::CLOSE, &1000_u16.to_be_bytes());
                // It is leaving anyway; the server sees the close or the end of the stream.
                let _ = stream.write_all(&writer.out).await;
                return (if is_ready { End::Moved } else { End::NotReady }, is_ready);
            }
            let mut due = leave_us;
            if is_ready {
                match self.play(*phase.borrow_and_update(), now, &mut writer, &mut told) {
                    Some(us) => due = due.min(us),
                    None => return (End::Stop, is_ready),
                }
            } else if *phase.borrow_and_update() == Phase::Stop {
                return (End::Stop, is_ready);
            }
            if !write_some(&stream, &mut writer.out) {
                return (End::Lost, is_ready);
            }
            tokio::select! {
                readable = stream.readable() => if readable.is_err() { return (End::Lost, is_ready) },
                writable = stream.writable(), if !writer.out.is_empty() => {
                    if writable.is_err() { return (End::Lost, is_ready) }
                }
                () = sleep_until(shared.at(due)), if due != u64::MAX => {}
                _ = phase.changed() => {}
                () = self.fetched.notified() => {}
            }
        }
    }

    /// Lets the player do what is due. Returns the time of its next action, or None: stop.
    fn play(&self, phase: Phase, now: u64, writer: &mut Writer, told: &mut bool) -> Option<u64> {
        let mut player = self.player.borrow_mut();
        match phase {
            Phase::Open => {}
            Phase::Send { start_us, stop_us } => player.begin(start_us, stop_us),
            Phase::Sync if !*told => {
                *told = true;
                player.demand_sync();
            }
            Phase::Sync => {}
            Phase::Stop => return None,
        }
        player.pump(now, writer, &mut self.shared.tally.borrow_mut());
        player.report(phase == Phase::Sync, now);
        if !player.gaps.is_empty() && !self.fetching.replace(true) {
            tokio::task::spawn_local(fetch(
                self.shared.clone(),
                self.player.clone(),
                self.token.clone(),
                self.fetched.clone(),
                self.fetching.clone(),
            ));
        }
        Some(player.next_due(now).unwrap_or(u64::MAX))
    }

    /// Reads all available bytes and handles whole frames; stops early at a frame that the caller must handle.
    fn take_frames(
        &self,
        stream: &TcpStream,
        rest: &mut Vec<u8>,
        writer: &mut Writer,
        is_ready: bool,
    ) -> Result<Option<Noticed>, End> {
        let mut buffer = self.shared.buffer.borrow_mut();
        loop {
            let kept = rest.len();
            if buffer.len() < kept + READ_BYTES {
                buffer.resize(kept + READ_BYTES, 0);
            }
            buffer[..kept].copy_from_slice(rest);
            let (read, is_drained) = match stream.try_read(&mut buffer[kept..]) {
                Ok(0) => return Err(End::Lost),
                Ok(read) => (read, read < buffer.len() - kept),
                Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => (0, true),
                Err(_) => return Err(End::Lost),
            };
            let mut bytes = &buffer[..kept + read];
            let mut noticed = None;
            while noticed.is_none() {
                match frame::parse(bytes) {
                    Ok(Parsed::Need(_)) => break,
                    Ok(Parsed::Frame(frame, taken)) => {
                        bytes = &bytes[taken..];
                        noticed = self.on_frame(&frame, writer, is_ready)?;
                    }
                    Err(violation) => return Err(End::Violated(violation.0)),
                }
            }
            rest.clear();
            rest.extend_from_slice(bytes);
            if noticed.is_some() || is_drained {
                if rest.is_empty() && rest.capacity() > 64 * 1024 {
                    *rest = Vec::new();
                }
                return Ok(noticed);
            }
        }
    }

    fn on_frame(
        &self,
        frame: &Frame<'_>,
        writer: &mut Writer,
        is_ready: bool,
    ) -> Result<Option<Noticed>, End> {
        let text = match *frame {
            Frame::Text(text) => text,
            Frame::Ping(payload) => {
                writer.raw(frame::PONG, payload);
                return Ok(None);
            }
            Frame::Pong => return Ok(None),
            Frame::Close(code) => return Err(End::Closed(code)),
        };
        match read(self.form, text) {
            Heard::Ready => return Ok(Some(Noticed::Ready)),
            Heard::Open => {
                let connect = format!("40{{\"token\":\"{}\"}}", self.token);
                writer.raw(frame::TEXT, connect.as_bytes());
            }
            Heard::Ping => writer.raw(frame::TEXT, b"3"),
            Heard::Refused => return Err(End::NotReady),
            Heard::Event("server.going_away", data) => {
                let data: serde_json::Value = serde_json::from_str(data).unwrap_or_default();
                return Ok(Some(Noticed::GoingAway(data["in_ms"].as_u64().unwrap_or(0))));
            }
            Heard::Event(name, data) if is_ready => {
                let now = self.shared.now_us();
                let mut tally = self.shared.tally.borrow_mut();
                self.player.borrow_mut().on_event(name, data, now, &mut tally);
            }
            Heard::Event(..) | Heard::Other => {}
        }
        Ok(None)
    }
}

enum Noticed {
    Ready,
    GoingAway(u64),
}

/// Writes what the kernel takes; false: the connection is gone.
fn write_some(stream: &TcpStream, out: &mut Vec<u8>) -> bool {
    while !out.is_empty() {
        match stream.try_write(out) {
            Ok(written) => drop(out.drain(..written)),
            Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
    true
}

/// Fetches the histories of the conversations that have a gap.
async fn fetch(
    shared: Rc<Shared>,
    player: Rc<RefCell<Player>>,
    token: String,
    fetched: Rc<Notify>,
    fetching: Rc<Cell<bool>>,
) {
    let gaps = std::mem::take(&mut player.borrow_mut().gaps);
    let mut rest = Rest::new(&shared.urls, 0);
    for (room, conversation) in gaps {
        let down_to = player.borrow().contiguous(room) + 1;
        let apply = |page: serde_json::Value| {
            let text = page["result"].to_string();
            if let Ok(messages) = serde_json::from_str::<Vec<Coming<'_>>>(&text) {
                let now = shared.now_us();
                player.borrow_mut().on_history(room, &messages, now, &mut shared.tally.borrow_mut());
            }
        };
        // Messages that could not be fetched are still a hole, and are requested again.
        let _ = setup::history(&mut rest, &token, conversation, down_to, apply).await;
    }
    player.borrow_mut().on_histories_end(shared.now_us(), &mut shared.tally.borrow_mut());
    fetching.set(false);
    fetched.notify_one();
}

/// The gateway accepts no socket now, and asks the client to retry later (503).
#[derive(Debug)]
pub struct NotNow;

impl std::fmt::Display for NotNow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no upgrade now: 503")
    }
}

impl std::error::Error for NotNow {}

/// Connects and upgrades; the stream, and what was read beyond the response's head. `from` is an
/// address of this machine: each has only so many ports.
///
/// # Errors
/// The gateway is away or refuses; [`NotNow`], if only for now.
pub async fn upgrade(
    address: &Address,
    from: Option<IpAddr>,
    form: Form,
    token: &str,
) -> anyhow::Result<(TcpStream, Vec<u8>)> {
    upgrade_with(address, from, form.path(), &format!("Authorization: Bearer {token}\r\n")).await
}

/// Like [`upgrade`], with a path and header lines of one's own.
///
/// # Errors
/// As [`upgrade`].
pub async fn upgrade_with(
    address: &Address,
    from: Option<IpAddr>,
    path: &str,
    headers: &str,
) -> anyhow::Result<(TcpStream, Vec<u8>)> {
    let mut stream = match from {
        None => TcpStream::connect((address.host.as_str(), address.port)).await?,
        Some(from) => {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(from, 0))?;
            socket.connect(SocketAddr::new(address.host.parse()?, address.port)).await?
        }
    };
    stream.set_nodelay(true)?;
    let key = base64::engine::general_purpose::STANDARD.encode(b"swarm-load-tests");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n",
        address.authority(),
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(1_024);
    let end = loop {
        if stream.read_buf(&mut head).await? == 0 || head.len() > 16 * 1024 {
            bail!("the gateway closed instead of upgrading");
        }
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let rest = head.split_off(end);
    let line = head.split(|byte| *byte == b'\r').next().context("split gives at least one")?;
    if line.starts_with(b"HTTP/1.1 503") {
        return Err(NotNow.into());
    }
    if !line.starts_with(b"HTTP/1.1 101") {
        bail!("no upgrade: {}", String::from_utf8_lossy(line));
    }
    Ok((stream, rest))
}
