//! The part of a socket that other tasks may touch: its outbox, and requests for the next run of
//! its task. The task itself is in `socket.rs`; only the task writes to the stream.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::limits::OUTBOX_LATE_BYTES_MIN;
use common::recorder::Ticket;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use protocol::ids::{LoginId, UserId};
use protocol::{CloseCode, Urgency};
use tokio::time::Instant;

use crate::metrics::{FrameClass, Metrics};
use crate::socket::outbox::Outbox;
use crate::transport::packet::Packets;
use crate::wire::Form;

/// Request: the wheel visited the socket.
const VISIT: u8 = 1;
/// Request: the directory has the user's seat, so deliveries reach this socket.
const SEATED: u8 = 2;

/// The requests to a socket's task since its last run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// Check the heartbeat and the token.
    pub visit: bool,
    /// The user is seated: send `ready`.
    pub seated: bool,
    /// Close, for this reason.
    pub close: Option<CloseCode>,
}

/// The shared part of a socket; see the module.
pub struct Slot {
    /// The number of this socket, counted within the node.
    pub serial: u64,
    /// The wire form of this socket.
    pub form: Form,
    /// The node's uptime when the socket was opened, in seconds.
    pub since_s: u32,
    who: OnceLock<(UserId, LoginId)>,
    asks: AtomicU8,
    /// The reason to close: index into [`CloseCode::ALL`] plus one; 0: none.
    close: AtomicU8,
    /// Whether a request (`sync`) is in progress.
    asking: AtomicU8,
    outbox: Mutex<Outbox>,
    waker: AtomicWaker,
}

impl Slot {
    /// A slot without an account yet.
    pub fn new(serial: u64, form: Form, up: Duration) -> Self {
        Self {
            serial,
            form,
            since_s: u32::try_from(up.as_secs()).unwrap_or(u32::MAX),
            who: OnceLock::new(),
            asks: AtomicU8::new(0),
            close: AtomicU8::new(0),
            asking: AtomicU8::new(0),
            outbox: Mutex::default(),
            waker: AtomicWaker::new(),
        }
    }

    /// The account of this socket, once it is known.
    pub fn who(&self) -> Option<(UserId, LoginId)> {
        self.who.get().copied()
    }

    /// Sets the account. Only the first call counts.
    pub fn set_who(&self, user: UserId, login: LoginId) {
        // A second account on one socket is refused by the session; ignoring it here is safe.
        let _ = self.who.set((user, login));
    }

    /// Queues packets. True: the task must be woken.
    pub fn push(&self, packets: Packets, urgency: Urgency, class: FrameClass, metrics: &Metrics) -> bool {
        self.push_noted(packets, urgency, class, None, metrics)
    }

    /// Like `push`, for packets whose write time is recorded.
    pub fn push_noted(
        &self,
        packets: Packets,
        urgency: Urgency,
        class: FrameClass,
        ticket: Option<Ticket>,
        metrics: &Metrics,
    ) -> bool {
        self.queue(packets.into_frames(), urgency, class, ticket, metrics)
    }

    /// Queues a control frame of the transport. True: the task must be woken.
    pub fn push_frame(&self, frame: Bytes, metrics: &Metrics) -> bool {
        self.queue(frame, Urgency::Keep, FrameClass::Control, None, metrics)
    }

    fn queue(
        &self,
        bytes: Bytes,
        urgency: Urgency,
        class: FrameClass,
        ticket: Option<Ticket>,
        metrics: &Metrics,
    ) -> bool {
        let pushed = self.outbox(metrics, |outbox| {
            let mut pushed = outbox.push(bytes, urgency, class, ticket);
            pushed.full |= Self::is_late(outbox, metrics);
            pushed
        });
        if pushed.replaced > 0 {
            metrics.outbox_replaced.increment(1);
        }
        if pushed.shed > 0 {
            metrics.outbox_shed.increment(u64::from(pushed.shed));
        }
        if pushed.full {
            self.ask_close(CloseCode::Slow);
        }
        pushed.first || pushed.full
    }

    /// Runs a closure on the locked outbox: short, never across an await. The change of the waiting bytes
    /// is counted afterwards. (Bytes that the task has taken out to write count for no outbox meanwhile.)
    pub fn outbox<T>(&self, metrics: &Metrics, change: impl FnOnce(&mut Outbox) -> T) -> T {
        let mut outbox = self.outbox.lock();
        let before = outbox.bytes();
        let outcome = change(&mut outbox);
        let after = outbox.bytes();
        drop(outbox);
        metrics.outboxes.changed(before, after);
        outcome
    }

    /// Whether the client reads too slowly.
    pub fn is_slow(&self, metrics: &Metrics) -> bool {
        self.outbox(metrics, |outbox| Self::is_late(outbox, metrics))
    }

    fn is_late(outbox: &mut Outbox, metrics: &Metrics) -> bool {
        // Nearly always few bytes wait, and no clock is read.
        outbox.bytes() > OUTBOX_LATE_BYTES_MIN && outbox.is_late(metrics.outboxes.allowance(), Instant::now())
    }

    /// Asks the task to check its heartbeat.
    pub fn ask_visit(&self) {
        self.asks.fetch_or(VISIT, Ordering::AcqRel);
        self.wake();
    }

    /// Tells the task that its user is seated.
    pub fn ask_ready(&self) {
        self.asks.fetch_or(SEATED, Ordering::AcqRel);
        self.wake();
    }

    /// Asks the task to close. The first reason counts.
    pub fn ask_close(&self, code: CloseCode) {
        let index = CloseCode::ALL.iter().position(|known| *known == code).unwrap_or_default();
        let number = u8::try_from(index + 1).unwrap_or(u8::MAX);
        let _ = self.close.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire);
        self.wake();
    }

    /// Whether the socket was asked to close.
    pub fn is_closing(&self) -> bool {
        self.close.load(Ordering::Acquire) != 0
    }

    /// Takes all requests to the task since its last run.
    pub fn take_asked(&self) -> Wake {
        let asks = self.asks.swap(0, Ordering::AcqRel);
        let close = match self.close.load(Ordering::Acquire) {
            0 => None,
            number => CloseCode::ALL.get(usize::from(number) - 1).copied(),
        };
        Wake { visit: asks & VISIT != 0, seated: asks & SEATED != 0, close }
    }

    /// Starts a request. False: one is in progress.
    pub fn start_request(&self) -> bool {
        self.asking.swap(1, Ordering::AcqRel) == 0
    }

    /// Ends the request, so that the next one may start.
    pub fn end_request(&self) {
        self.asking.store(0, Ordering::Release);
    }

    /// Wakes the socket's task.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Sets the waker of the socket's task.
    pub fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_taken_once_and_the_first_close_stands() {
        let slot = Slot::new(1, Form::Native, Duration::ZERO);
        slot.ask_visit();
        slot.ask_close(CloseCode::Slow);
        slot.ask_close(CloseCode::GoingAway);
        let first = slot.take_asked();
        assert_eq!(first, Wake { visit: true, seated: false, close: Some(CloseCode::Slow) });
        assert!(!slot.take_asked().visit);
    }

    #[test]
    fn a_slot_is_small() {
        assert!(std::mem::size_of::<Slot>() <= 104, "{}", std::mem::size_of::<Slot>());
    }
}
