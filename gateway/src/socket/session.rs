//! The decisions of one socket: frames become actions. A value: no I/O, no clock.
//!
//! Time, limits and the check of tokens come in with every [`Turn`]; decisions go out
//! as [`Action`]s, in order. After an [`Action::Close`] or [`Action::End`] the session is over
//! and must not be called again.
//!
//! Not here: bytes and frames of the two wire forms (`wire`), waiting for the broker's confirm
//! (`uplink.rs`), limits per user (the directory).

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use common::limits;
use protocol::events::message::guid_in;
use protocol::events::presence::GetOnlineUsers;
use protocol::events::session::{Pong, Ready, RefusalBody};
use protocol::events::{Acknowledged, ClientEvent as _, Events, Judged, Way};
use protocol::ids::{Guid, SocketId};
use protocol::{Account, CloseCode, PROTOCOL_VERSION, Reject, Sender, Timestamp, Uplink};

use crate::socket::rate::{Gcra, LocalRate};
use crate::transport::frame::Frame;
use crate::transport::packet::Packets;
use crate::wire::{Form, Misread, ReplyTo, Said};

/// The limits of each socket of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Frames per second.
    pub frames: LocalRate,
    /// Bytes of text per second.
    pub bytes: LocalRate,
    /// Frames that were refused or not understood; above this rate the gateway closes the socket.
    pub violations: LocalRate,
    /// Shortest time between two forwarded `typing` events of the same kind in one conversation.
    pub typing: Duration,
    /// Time from opening to a valid token.
    pub handshake: Duration,
    /// Time without a sign of life.
    pub silence: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            frames: LocalRate::per_second(limits::SOCKET_FRAMES_PER_S, limits::SOCKET_FRAMES_BURST),
            bytes: LocalRate::per_second(limits::SOCKET_BYTES_PER_S, limits::SOCKET_BYTES_BURST),
            violations: LocalRate::per_second(
                limits::SOCKET_VIOLATIONS_PER_S,
                limits::SOCKET_VIOLATIONS_BURST,
            ),
            typing: Duration::from_millis(limits::TYPING_MS_MIN),
            handshake: Duration::from_millis(limits::HANDSHAKE_MS_MAX),
            silence: Duration::from_millis(limits::HEARTBEAT_MS + limits::HEARTBEAT_TIMEOUT_MS),
        }
    }
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The node's uptime, by a steady clock.
    pub up: Duration,
    /// The wall clock's time.
    pub wall: Timestamp,
}

/// The inputs of a decision besides the session itself.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// The time.
    pub now: Now,
    /// The limits.
    pub limits: &'a SessionLimits,
    /// The events that clients may send.
    pub events: &'a Events,
    /// Checks a token: its account, if the token is valid and its login has not ended.
    pub verify: &'a dyn Fn(&str, Timestamp) -> Result<Account, Reject>,
}

/// What the socket's task is asked to do. Order matters and is kept.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Seat the socket in the hub: from now on it gets deliveries.
    Accept(Account),
    /// Publish on the event's lane; answer through `reply` when the broker has confirmed or failed.
    Publish {
        /// The event.
        uplink: Uplink,
        /// The way back to the client.
        reply: ReplyTo,
    },
    /// Ask a worker (`sync`); its answer goes through `reply`.
    Ask {
        /// The event.
        uplink: Uplink,
        /// The way back to the client.
        reply: ReplyTo,
    },
    /// Write these packets.
    Send(Packets),
    /// Ping the client, in the transport's own way.
    Ping,
    /// Answer the client's ping with its data.
    Pong(Bytes),
    /// Drop the frame and count it.
    Count(Dropped),
    /// The time that the client took to answer our ping.
    Beat(Duration),
    /// Write a close frame, then end the stream.
    Close(CloseCode),
    /// The client closes: answer it, then end the stream.
    End(Goodbye),
}

/// How a client closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goodbye {
    /// With a packet of its wire form.
    Form,
    /// By a close frame with this code, which is returned.
    Transport(Option<u16>),
}

/// Why a frame from a client was dropped. The values of the metric label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// It repeats the last `typing` event within the limit's time.
    TypingRepeated,
    /// An unknown event, on a wire form where that is not an error.
    UnknownEvent,
    /// A control frame above the rate.
    ControlFlood,
    /// It was refused for this reason.
    Rejected(Reject),
}

impl Dropped {
    /// The value of the metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::TypingRepeated => "typing_repeated",
            Self::UnknownEvent => "unknown_event",
            Self::ControlFlood => "control_flood",
            Self::Rejected(reject) => reject.code(),
        }
    }
}

/// The protocol state of one socket.
#[derive(Debug)]
pub struct Session {
    socket: SocketId,
    /// The account. Before the socket has joined: the account of the request's token.
    account: Option<Account>,
    /// Time of the last sign of life; before the socket has joined: of its opening.
    seen: Duration32,
    /// Time of the last ping; none: the answer has arrived. (In four bytes: uptime 0 counts as 1.)
    pinged: Option<NonZeroU32>,
    frames: Gcra,
    bytes: Gcra,
    violations: Gcra,
    typing: LastTyping,
    /// The number of guids generated for this socket.
    guids: u32,
    form: Form,
    joined: bool,
}

const _: () = assert!(size_of::<Session>() <= 96, "an idle socket is a memory budget");

/// Milliseconds of uptime: 49 days, then it wraps, and so does the arithmetic.
#[derive(Clone, Copy, Debug, Default)]
struct Duration32(u32);

impl Duration32 {
    fn at(now: Now) -> Self {
        // Truncated on purpose: only differences are used.
        Self(now.up.as_millis() as u32)
    }

    fn until(self, now: Now) -> Duration {
        Duration::from_millis(u64::from(Self::at(now).0.wrapping_sub(self.0)))
    }
}

/// The last forwarded `typing`, hashed: a rare collision costs one announcement.
#[derive(Clone, Copy, Debug, Default)]
struct LastTyping {
    key: u32,
    at: Duration32,
}

impl Session {
    /// The session of a socket that was just opened. `account`: of the valid token of the request, if any.
    pub fn new(form: Form, socket: SocketId, account: Option<Account>, now: Now) -> Self {
        Self {
            socket,
            account,
            seen: Duration32::at(now),
            pinged: None,
            frames: Gcra::default(),
            bytes: Gcra::default(),
            violations: Gcra::default(),
            typing: LastTyping::default(),
            guids: 0,
            form,
            joined: false,
        }
    }

    /// The socket's wire form.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The socket's account, once it has joined.
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref().filter(|_| self.joined)
    }

    /// How long the handshake may still take; None once the socket has joined. Then call
    /// [`Session::on_heartbeat`].
    pub fn handshake_left(&self, turn: &Turn<'_>) -> Option<Duration> {
        (!self.joined).then(|| turn.limits.handshake.saturating_sub(self.seen.until(turn.now)))
    }

    /// The upgrade is complete: sends the first events to the client.
    pub fn on_open(&mut self, turn: &Turn<'_>, out: &mut Vec<Action>) {
        out.extend(self.form.opening(self.socket).map(Action::Send));
        if self.form.joins_by_request() && self.account.is_some() {
            self.join(turn, out);
        }
    }

    /// A frame arrived.
    pub fn on_frame(&mut self, frame: Frame<'_>, turn: &Turn<'_>, out: &mut Vec<Action>) {
        self.sign_of_life(turn);
        match frame {
            Frame::Text(text) => self.on_text(text, turn, out),
            Frame::Binary(_) => out.push(Action::Close(CloseCode::Unsupported)),
            Frame::Ping(payload) if self.is_allowed(payload.len(), turn, out) => {
                out.push(Action::Pong(Bytes::copy_from_slice(payload)));
            }
            Frame::Ping(_) => {}
            Frame::Pong => {
                self.on_pong(turn, out);
                self.is_allowed(0, turn, out);
            }
            Frame::Close(code) => out.push(Action::End(Goodbye::Transport(code))),
        }
    }

    /// The wheel visits the socket, or the handshake has timed out.
    pub fn on_heartbeat(&mut self, turn: &Turn<'_>, out: &mut Vec<Action>) {
        let since = self.seen.until(turn.now);
        if !self.joined {
            if since >= turn.limits.handshake {
                out.push(Action::Close(CloseCode::HandshakeTimeout));
            }
        } else if since >= turn.limits.silence {
            out.push(Action::Close(CloseCode::NoPong));
        } else if self.is_expired(turn) {
            out.push(Action::Close(CloseCode::Unauthorized));
        } else {
            // The next answer belongs to the oldest ping without one.
            self.pinged = self.pinged.or(NonZeroU32::new(Duration32::at(turn.now).0.max(1)));
            out.push(self.form.ping().map_or(Action::Ping, Action::Send));
        }
    }

    fn on_pong(&mut self, turn: &Turn<'_>, out: &mut Vec<Action>) {
        let pinged = self.pinged.take().map(|pinged| Duration32(pinged.get()));
        out.extend(pinged.map(|pinged| Action::Beat(pinged.until(turn.now))));
    }

    fn on_text(&mut self, text: &str, turn: &Turn<'_>, out: &mut Vec<Action>) {
        if self.joined && self.is_expired(turn) {
            return out.push(Action::Close(CloseCode::Unauthorized));
        }
        let wait = self.charge(text.len(), turn);
        if wait.is_some() && self.is_one_violation_too_many(turn) {
            return out.push(Action::Close(CloseCode::RateLimited));
        }
        match self.form.read(text) {
            Ok(Said::Auth(token)) => self.on_auth(token.as_deref(), turn, out),
            Ok(Said::Event { name, data, tag }) if self.joined => {
                let event = turn.events.find(&name);
                let mut reply = ReplyTo { form: self.form, event, guid: None, tag };
                match wait {
                    Some(wait) => {
                        name_message(&mut reply, data);
                        self.refuse(&reply, Reject::RateLimited, Some(wait), out);
                    }
                    None => self.on_event(data, reply, turn, out),
                }
            }
            Ok(Said::Event { .. }) => out.push(Action::Close(CloseCode::Unauthorized)),
            Ok(Said::Asked(answer)) => out.push(Action::Send(answer)),
            Ok(Said::Pong) => self.on_pong(turn, out),
            Ok(Said::Nothing) => {}
            Ok(Said::Goodbye) => out.push(Action::End(Goodbye::Form)),
            Err(Misread::Close(code)) => out.push(Action::Close(code)),
            Err(Misread::Reject(reject)) => {
                let reply = ReplyTo { form: self.form, event: None, guid: None, tag: None };
                self.blame(&reply, reject, turn, out);
            }
        }
    }

    fn on_auth(&mut self, token: Option<&str>, turn: &Turn<'_>, out: &mut Vec<Action>) {
        let verified = match (token, &self.account) {
            (Some(token), _) => (turn.verify)(token, turn.now.wall).ok(),
            (None, Some(account)) => Some(account.clone()),
            (None, None) => None,
        };
        match (verified, &mut self.account) {
            // A joined socket may send the next token of the same login before the old one expires.
            (Some(next), Some(account)) if self.joined => {
                if (next.user, next.login) == (account.user, account.login) {
                    account.expires_s = account.expires_s.max(next.expires_s);
                    out.push(Action::Send(self.welcome()));
                } else {
                    out.push(Action::Close(CloseCode::Unauthorized));
                }
            }
            (Some(account), slot) => {
                *slot = Some(account);
                self.join(turn, out);
            }
            (None, _) => match self.form.unwelcome(token.is_some()) {
                // The client may try again with another token until the handshake's time is up.
                Some(answer) if !self.joined && !self.is_one_violation_too_many(turn) => {
                    out.push(Action::Send(answer));
                }
                _ => out.push(Action::Close(CloseCode::Unauthorized)),
            },
        }
    }

    fn join(&mut self, turn: &Turn<'_>, out: &mut Vec<Action>) {
        if self.is_expired(turn) {
            return out.push(Action::Close(CloseCode::Unauthorized));
        }
        let Some(account) = &self.account else { return };
        self.joined = true;
        self.seen = Duration32::at(turn.now);
        out.push(Action::Accept(account.clone()));
        out.push(Action::Send(self.welcome()));
        if self.form.is_told_who_is_online() {
            let from = Sender { user: self.user(), socket: Some(self.socket) };
            let row = GetOnlineUsers::ROW;
            let uplink = Uplink::new(row, from, turn.now.wall, "null", Judged::default());
            let event = Some(row);
            let reply = ReplyTo { form: self.form, event, guid: None, tag: None };
            out.push(Action::Publish { uplink, reply });
        }
    }

    fn welcome(&self) -> Packets {
        self.form.welcome(Ready {
            protocol: PROTOCOL_VERSION,
            user_id: self.user(),
            socket_id: self.socket,
            heartbeat_ms: limits::HEARTBEAT_MS,
            frame_bytes_max: limits::FRAME_BYTES_MAX,
        })
    }

    fn on_event(&mut self, data: &str, mut reply: ReplyTo, turn: &Turn<'_>, out: &mut Vec<Action>) {
        let Some(row) = reply.event else {
            if self.form.ignores_unknown_events() {
                return out.push(Action::Count(Dropped::UnknownEvent));
            }
            return self.blame(&reply, Reject::UnknownEvent, turn, out);
        };
        let judged = match (row.judge)(data) {
            Ok(judged) => judged,
            Err(reject) => {
                name_message(&mut reply, data);
                return self.blame(&reply, reject, turn, out);
            }
        };
        if judged.fold.is_some_and(|fold| self.is_repeated(fold, turn)) {
            return out.push(Action::Count(Dropped::TypingRepeated));
        }
        if row.acknowledged == Acknowledged::MessageQueued {
            // Never from the frame's `id`: clients count from 1 on every socket.
            reply.guid = Some(judged.guid.clone().unwrap_or_else(|| self.next_guid()));
        }
        let from = Sender { user: self.user(), socket: Some(self.socket) };
        let judged = Judged { guid: reply.guid.clone(), ..judged };
        let uplink =
            Uplink { tag: reply.tag_of_answer(), ..Uplink::new(row, from, turn.now.wall, data, judged) };
        out.push(match row.way {
            Way::Lane(_) => Action::Publish { uplink, reply },
            Way::Request { .. } => Action::Ask { uplink, reply },
            Way::Session => {
                let pong = Pong { timestamp: turn.now.wall, user_id: self.user() };
                Action::Send(reply.answered(&pong.into()))
            }
        });
    }

    /// Charges a frame; control frames count against the same rates.
    fn is_allowed(&mut self, bytes: usize, turn: &Turn<'_>, out: &mut Vec<Action>) -> bool {
        let allowed = self.charge(bytes, turn).is_none();
        if !allowed && self.is_one_violation_too_many(turn) {
            out.push(Action::Close(CloseCode::RateLimited));
        } else if !allowed {
            out.push(Action::Count(Dropped::ControlFlood));
        }
        allowed
    }

    /// Answers a client's mistake; closes the socket after too many of them.
    fn blame(&mut self, reply: &ReplyTo, reject: Reject, turn: &Turn<'_>, out: &mut Vec<Action>) {
        if self.is_one_violation_too_many(turn) {
            return out.push(Action::Close(CloseCode::RateLimited));
        }
        self.refuse(reply, reject, None, out);
    }

    fn refuse(&self, reply: &ReplyTo, reject: Reject, wait: Option<Duration>, out: &mut Vec<Action>) {
        out.push(Action::Count(Dropped::Rejected(reject)));
        // Rounded up, so that a client that waits this long is accepted.
        let retry_in_ms = wait.map(|wait| wait.as_millis() as u64 + 1);
        out.push(Action::Send(reply.refused(RefusalBody { retry_in_ms, ..RefusalBody::of(reject) })));
    }

    /// `Some(wait)` if the socket is over its rate.
    fn charge(&mut self, bytes: usize, turn: &Turn<'_>) -> Option<Duration> {
        let frames = self.frames.take(turn.limits.frames, 1, turn.now.up);
        frames.and_then(|()| self.bytes.take(turn.limits.bytes, bytes, turn.now.up)).err()
    }

    fn is_one_violation_too_many(&mut self, turn: &Turn<'_>) -> bool {
        self.violations.take(turn.limits.violations, 1, turn.now.up).is_err()
    }

    fn is_repeated(&mut self, key: u32, turn: &Turn<'_>) -> bool {
        let repeated = self.typing.key == key && self.typing.at.until(turn.now) < turn.limits.typing;
        if !repeated {
            self.typing = LastTyping { key, at: Duration32::at(turn.now) };
        }
        repeated
    }

    /// Generates a guid that no other message of this sender has: the socket's id and a counter.
    fn next_guid(&mut self) -> Guid {
        self.guids += 1;
        let SocketId { node, serial } = self.socket;
        Guid::new(&format!("temp_{node}_{serial:x}_{}", self.guids)).expect("49 characters at most")
    }

    fn sign_of_life(&mut self, turn: &Turn<'_>) {
        if self.joined {
            self.seen = Duration32::at(turn.now);
        }
    }

    fn is_expired(&self, turn: &Turn<'_>) -> bool {
        self.account.as_ref().is_some_and(|account| account.expires_s <= turn.now.wall.0 / 1_000)
    }

    fn user(&self) -> protocol::ids::UserId {
        self.account.as_ref().map_or(protocol::ids::UserId(0), |account| account.user)
    }
}

/// Adds the guid of a refused message, so that the client knows which one to repeat.
fn name_message(reply: &mut ReplyTo, data: &str) {
    if reply.event.is_some_and(|row| row.acknowledged == Acknowledged::MessageQueued) {
        reply.guid = guid_in(data);
    }
}

#[cfg(test)]
mod tests;
