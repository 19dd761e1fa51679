//! The task of one socket. It does all of the socket's I/O and decides nothing.
//!
//! A parked task holds no buffer, no channel and no timer: it is a future written by hand that
//! waits for the stream or for a wake through its slot. When it runs it borrows the thread's
//! buffer, handles every frame that the readiness brought, and writes replies and deliveries of
//! one turn in one call.
//!
//! Between accepting an account and its seat in the directory it neither reads nor writes: the
//! client hears `ready` only when every delivery reaches it. If the token came with the request,
//! the 101 response and `ready` go out in one write.
//!
//! Not here: what a frame means (`session.rs`), what other tasks may touch of the socket (`slot.rs`).

use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use common::limits::{CLOSE_MS_MAX, FRAME_BYTES_BEFORE_AUTH_MAX, FRAME_BYTES_MAX, HANDSHAKE_MS_MAX};
use protocol::{Account, CloseCode, Reject, Timestamp, Urgency};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::cluster::node::{ConnectionPermit, Node};
use crate::cluster::uplink;
use crate::edge::handshake::Agreed;
use crate::metrics::{self, FrameClass, Tally};
use crate::socket::outbox::Outbox;
use crate::socket::scratch::Scratch;
use crate::socket::session::{Action, Goodbye, Now, Session, Turn};
use crate::socket::slot::Slot;
use crate::transport::frame::{Assembler, Frame, PING, close_echo, close_frame, pong_frame};
use crate::transport::packet::Packets;

/// Most bytes of one read.
const READ_BYTES_MAX: usize = 32 * 1024;

/// Time from the upgrade to an account.
const HANDSHAKE: Duration = Duration::from_millis(HANDSHAKE_MS_MAX);

/// Most reads in one turn: a flood must not starve the other sockets.
const READS_MAX: usize = 4;

/// Most frames in one write.
const SLICES_MAX: usize = 64;

/// One socket, from the upgrade to the end.
pub struct SocketTask {
    stream: TcpStream,
    permit: ConnectionPermit,
    slot: Arc<Slot>,
    session: Session,
    assembler: Assembler,
    /// Received bytes of an incomplete frame; nearly always empty, and then without memory.
    rest: Vec<u8>,
    phase: Phase,
    was_ready: bool,
}

enum Phase {
    /// The account is not known yet; the timer is the handshake's deadline.
    Opening(Timer),
    /// The account is known; the directory does not have the seat yet.
    Seating(Timer),
    /// The normal state: no timer.
    Open,
    /// The last frame is being written, or was sent and the task waits for the peer to end the stream.
    Closing { timer: Timer, code: Option<CloseCode>, shut: bool },
}

type Timer = Pin<Box<Sleep>>;

/// How a socket ended; None: the peer vanished.
struct Ended(Option<CloseCode>);

impl SocketTask {
    /// Takes over an upgraded stream: the `answer` to the upgrade is still to be written, `early` are the bytes
    /// that followed the request. The socket is in the hub from now on.
    pub fn open(
        stream: TcpStream,
        answer: Bytes,
        early: &[u8],
        permit: ConnectionPermit,
        agreed: Agreed,
    ) -> Self {
        let Agreed { form, account, is_refused, address: _ } = agreed;
        let serial = permit.next_serial();
        let slot = Arc::new(Slot::new(serial, form, permit.uptime()));
        slot.outbox(&permit.metrics, |outbox| outbox.answer(answer));
        permit.hub.open(Arc::clone(&slot));
        permit.metrics.upgrades.increment(1);
        let mut socket = Self {
            session: Session::new(form, permit.socket_id(serial), account, permit.now()),
            stream,
            permit,
            slot,
            assembler: Assembler::default(),
            rest: early.to_vec(),
            phase: Phase::Opening(Box::pin(sleep(HANDSHAKE))),
            was_ready: false,
        };
        if is_refused {
            socket.close(CloseCode::Unauthorized);
        } else {
            socket.decide(|session, turn, out| session.on_open(turn, out));
        }
        socket
    }

    /// Lets the session decide, and executes its actions.
    fn decide(&mut self, ask: impl FnOnce(&mut Session, &Turn<'_>, &mut Vec<Action>)) {
        let mut scratch = Scratch::take();
        let now = self.permit.now();
        with_turn(&self.permit, now, |turn| ask(&mut self.session, turn, &mut scratch.actions));
        self.perform(&mut scratch.actions);
        scratch.give_back();
    }

    fn perform(&mut self, actions: &mut Vec<Action>) {
        let mut accepted = None;
        for action in actions.drain(..) {
            match action {
                Action::Accept(account) => accepted = Some(account),
                Action::Send(packets) => self.send(packets),
                Action::Ping => self.send_frame(PING),
                Action::Pong(payload) => self.send_frame(pong_frame(&payload)),
                Action::Publish { uplink, reply } => {
                    uplink::publish(&self.permit.uplinks, &self.slot, uplink, reply);
                }
                Action::Ask { uplink, reply } => {
                    uplink::ask(&self.permit.uplinks, &self.slot, &uplink, reply)
                }
                Action::Count(dropped) => metrics::frame_dropped(dropped.label()),
                Action::Beat(took) => self.permit.metrics.heartbeat.record(took),
                Action::Close(code) => self.close(code),
                Action::End(goodbye) => {
                    let last = match goodbye {
                        Goodbye::Form => close_frame(CloseCode::Normal),
                        Goodbye::Transport(code) => close_echo(code),
                    };
                    self.finish(last, Some(CloseCode::Normal), true);
                }
            }
        }
        // Last, so that the session's first packets are in the outbox before any delivery.
        if let Some(account) = accepted {
            self.seat(&account);
        }
    }

    /// The account is known: adds the socket to the hub, and waits until the directory has the seat.
    fn seat(&mut self, account: &Account) {
        let Phase::Opening(timer) = std::mem::replace(&mut self.phase, Phase::Open) else { return };
        self.slot.set_who(account.user, account.login);
        let joined = self.permit.hub.join(account.user, Arc::clone(&self.slot));
        joined.replaced.iter().for_each(|slot| slot.ask_close(CloseCode::Replaced));
        self.permit.expiries.note(account.expires_s, self.slot.serial, self.permit.now().wall);
        // An EndLogin may have arrived between the check of the token and the join.
        if self.permit.logins.has_ended(account.login) {
            self.slot.ask_close(CloseCode::LoggedOut);
        }
        if joined.seated {
            self.ready(&timer);
        } else {
            self.phase = Phase::Seating(timer);
            self.permit.seats.mark(account.user);
        }
    }

    /// Sends `ready`. The timer of the handshake tells when it began.
    fn ready(&mut self, timer: &Timer) {
        self.was_ready = true;
        let left = timer.deadline().saturating_duration_since(Instant::now());
        self.permit.metrics.ready(self.slot.form, HANDSHAKE.saturating_sub(left));
    }

    fn send(&mut self, packets: Packets) {
        // This task runs: it needs no wake.
        self.slot.push(packets, Urgency::Keep, FrameClass::Control, &self.permit.metrics);
    }

    fn send_frame(&mut self, frame: Bytes) {
        self.slot.push_frame(frame, &self.permit.metrics);
    }

    /// Closes with a reason. Drops the waiting frames if the account may no longer receive them, or if the
    /// client does not read.
    fn close(&mut self, code: CloseCode) {
        let keep = !matches!(code, CloseCode::Slow | CloseCode::Unauthorized | CloseCode::LoggedOut);
        self.finish(close_frame(code), Some(code), keep);
    }

    /// Queues the last frame. With `keep` the waiting frames are written first, unless the socket still waits
    /// for its seat.
    fn finish(&mut self, last: Bytes, code: Option<CloseCode>, keep: bool) {
        if matches!(self.phase, Phase::Closing { .. }) {
            return;
        }
        let keep = keep && !matches!(self.phase, Phase::Seating(_));
        self.slot.outbox(&self.permit.metrics, |outbox| outbox.finish(last, keep));
        let timer = Box::pin(sleep(Duration::from_millis(CLOSE_MS_MAX)));
        self.phase = Phase::Closing { timer, code, shut: false };
        // No more frames are parsed; later bytes are discarded until the peer ends the stream.
        self.rest = Vec::new();
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        let asked = self.slot.take_asked();
        if asked.seated && matches!(self.phase, Phase::Seating(_)) {
            let phase = std::mem::replace(&mut self.phase, Phase::Open);
            if let Phase::Seating(timer) = phase {
                self.ready(&timer);
            }
        }
        if let Some(code) = asked.close {
            self.close(code);
        }
        if asked.visit && matches!(self.phase, Phase::Open) {
            self.visit();
        }
        self.poll_timer(cx)?;
        if !matches!(self.phase, Phase::Seating(_)) {
            self.read(cx)?;
        }
        if matches!(self.phase, Phase::Open) && self.has_expired() {
            self.close(CloseCode::Unauthorized);
        }
        match self.phase {
            // A frame may have begun the wait for a seat.
            Phase::Seating(_) => return Ok(()),
            // Or the close, whose timer must be started.
            Phase::Closing { .. } => self.poll_timer(cx)?,
            Phase::Opening(_) | Phase::Open => {}
        }
        self.write(cx)
    }

    /// The wheel visits the socket.
    fn visit(&mut self) {
        if self.assembler.is_stalled() || self.slot.is_slow(&self.permit.metrics) {
            return self.close(CloseCode::Slow);
        }
        self.decide(|session, turn, out| session.on_heartbeat(turn, out));
        if let Some(account) = self.session.account() {
            self.permit.expiries.note(account.expires_s, self.slot.serial, self.permit.now().wall);
        }
    }

    /// Whether the token has expired: then no more frames are written, even before the wheel's next visit.
    fn has_expired(&self) -> bool {
        let now_s = Timestamp::now().0 / 1_000;
        self.session.account().is_some_and(|account| account.expires_s <= now_s)
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        let (timer, code) = match &mut self.phase {
            Phase::Open => return Ok(()),
            Phase::Opening(timer) => (timer, CloseCode::HandshakeTimeout),
            // The directory is away: the client resumes, here or elsewhere.
            Phase::Seating(timer) => (timer, CloseCode::Fault),
            Phase::Closing { timer, code, .. } => {
                let code = *code;
                return if timer.as_mut().poll(cx).is_ready() { Err(Ended(code)) } else { Ok(()) };
            }
        };
        if timer.as_mut().poll(cx).is_ready() {
            self.close(code);
        }
        Ok(())
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        let mut scratch = Scratch::take();
        let outcome = self.read_with(cx, &mut scratch);
        scratch.give_back();
        outcome
    }

    fn read_with(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Ended> {
        // Bytes that came early, or waited for the seat, may hold whole frames already.
        let mut held = self.rest.len();
        if held > 0 {
            scratch.hold(&self.rest);
            held = self.parse(held, scratch);
        }
        for _ in 0..READS_MAX {
            if matches!(self.phase, Phase::Seating(_)) {
                break;
            }
            let end = held + READ_BYTES_MAX;
            scratch.grow(end);
            let mut free = ReadBuf::new(&mut scratch.buffer[held..end]);
            match Pin::new(&mut self.stream).poll_read(cx, &mut free) {
                Poll::Pending => return self.keep(scratch, held),
                Poll::Ready(Err(_)) => return Err(self.lost()),
                Poll::Ready(Ok(())) => {}
            }
            let came = free.filled().len();
            if came == 0 {
                return Err(self.lost());
            }
            if matches!(self.phase, Phase::Closing { .. }) {
                continue;
            }
            held = self.parse(held + came, scratch);
        }
        // There may be more; other sockets come first. The seat wakes the task by itself.
        if !matches!(self.phase, Phase::Seating(_)) {
            cx.waker().wake_by_ref();
        }
        self.keep(scratch, held)
    }

    /// Handles the whole frames among the first `len` bytes and moves the rest to the front.
    fn parse(&mut self, len: usize, scratch: &mut Scratch) -> usize {
        let (mut start, mut tally, now) = (0, Tally::default(), self.permit.now());
        let Scratch { buffer, actions } = scratch;
        while matches!(self.phase, Phase::Opening(_) | Phase::Open) {
            let mut handled = false;
            // A socket without an account may hold little memory.
            let bytes_max = match self.phase {
                Phase::Open => FRAME_BYTES_MAX,
                _ => FRAME_BYTES_BEFORE_AUTH_MAX,
            };
            match self.assembler.next_within(&mut buffer[start..len], bytes_max) {
                Ok(parsed) => {
                    start += parsed.consumed;
                    let class = match parsed.frame {
                        Some(frame) => {
                            handled = true;
                            let is_text = matches!(frame, Frame::Text(_));
                            with_turn(&self.permit, now, |turn| self.session.on_frame(frame, turn, actions));
                            if is_text { class(actions) } else { FrameClass::Control }
                        }
                        // The beginning of a long frame.
                        None => FrameClass::Other,
                    };
                    tally.add(class, u64::from(handled), parsed.consumed);
                }
                Err(code) => actions.push(Action::Close(code)),
            }
            self.perform(actions);
            if !handled {
                break;
            }
        }
        self.permit.metrics.came.count(&tally);
        if matches!(self.phase, Phase::Closing { .. }) {
            return 0;
        }
        buffer.copy_within(start..len, 0);
        len - start
    }

    fn keep(&mut self, scratch: &Scratch, held: usize) -> Result<(), Ended> {
        if held == 0 {
            if self.rest.capacity() > 0 {
                self.rest = Vec::new();
            }
        } else if self.rest[..] != scratch.buffer[..held] {
            self.rest = scratch.buffer[..held].to_vec();
        }
        Ok(())
    }

    /// The result for a stream that the peer has closed.
    fn lost(&self) -> Ended {
        match &self.phase {
            Phase::Closing { code, .. } => Ended(*code),
            Phase::Opening(_) | Phase::Seating(_) | Phase::Open => Ended(None),
        }
    }

    /// Writes the waiting frames, as many bytes as the kernel takes.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        loop {
            let taken = self.slot.outbox(&self.permit.metrics, Outbox::take);
            let Some(mut queue) = taken else { return self.shut(cx) };
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = queue.slices(&mut slices);
            let outcome = match &slices[..filled] {
                // A plain write of one slice is faster than a vectored one.
                [only] => Pin::new(&mut self.stream).poll_write(cx, only),
                slices => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
            };
            let blocked = match outcome {
                Poll::Ready(Ok(written)) => {
                    let mut tally = Tally::default();
                    // Few frames have a ticket; no clock is read for the others.
                    let (recorder, mut now) = (&self.permit.recorder, None);
                    queue.advance(written, &mut tally, |out| {
                        recorder.written(out, *now.get_or_insert_with(Timestamp::now));
                    });
                    self.permit.metrics.writes.increment(1);
                    self.permit.metrics.written.count(&tally);
                    false
                }
                Poll::Ready(Err(_)) => return Err(self.lost()),
                Poll::Pending => true,
            };
            let is_written = queue.is_empty();
            let give_back = |outbox: &mut Outbox| outbox.give_back(queue);
            if !is_written && !self.slot.outbox(&self.permit.metrics, give_back) {
                self.slot.ask_close(CloseCode::Slow);
                return Ok(());
            }
            if blocked {
                return Ok(());
            }
        }
    }

    /// Everything is written: if the socket is closing, shuts down the gateway's half of the stream.
    fn shut(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        if let Phase::Closing { shut, .. } = &mut self.phase
            && !*shut
        {
            *shut = true;
            if let Poll::Ready(Err(_)) = Pin::new(&mut self.stream).poll_shutdown(cx) {
                return Err(self.lost());
            }
            // The peer may have ended its half already: poll again.
            cx.waker().wake_by_ref();
        }
        Ok(())
    }
}

/// The class of a client's text, from the actions that it causes.
fn class(actions: &[Action]) -> FrameClass {
    let class = actions.iter().find_map(|action| match action {
        Action::Accept(_) | Action::Beat(_) => Some(FrameClass::Control),
        Action::Publish { reply, .. } => {
            Some(FrameClass::of_lane(reply.event.and_then(|row| row.way.lane())))
        }
        _ => None,
    });
    class.unwrap_or(FrameClass::Other)
}

fn with_turn<T>(node: &Node, now: Now, decide: impl FnOnce(&Turn<'_>) -> T) -> T {
    let verify = |token: &str, now: Timestamp| -> Result<Account, Reject> { node.account(token, now) };
    decide(&Turn { now, limits: &node.limits, events: &node.config.events, verify: &verify })
}

impl Future for SocketTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // Before taking the requests, so that a later request wakes the task.
        this.slot.register(cx.waker());
        match this.turn(cx) {
            Ok(()) => Poll::Pending,
            Err(Ended(code)) => {
                this.permit.metrics.closed(code, this.was_ready);
                Poll::Ready(())
            }
        }
    }
}

impl Drop for SocketTask {
    /// Runs also if a panic ends the task, so that the hub and the directory never keep a dead socket.
    fn drop(&mut self) {
        self.slot.outbox(&self.permit.metrics, Outbox::close);
        if self.permit.hub.leave(&self.slot)
            && let Some((user, _)) = self.slot.who()
        {
            self.permit.seats.mark(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_socket_is_a_memory_budget() {
        let bytes = std::mem::size_of::<SocketTask>();
        assert!(bytes <= 256, "{bytes} bytes");
    }
}
