//! The stream of one HTTP connection, with the deadlines that hyper does not keep: for the arrival of a request head,
//! for the next request of a kept connection, and for the client to read an answer.
//!
//! After an accepted upgrade hyper writes only the 101 response. This stream holds it back: that saves
//! one system call and one packet for each socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use common::limits::{API_ANSWER_BYTES_MAX, HANDSHAKE_MS_MAX, HTTP_IDLE_MS_MAX};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::edge::handshake::Agreed;
use crate::edge::shares::Shares;
use crate::metrics;

/// Interval of checks on an answer that a client does not read.
const LOOK: Duration = Duration::from_secs(1);

/// What the connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    /// The rest of a request head: nothing else happens on the connection.
    Head,
    /// The gateway, which is answering a request.
    Answer,
    /// The client, which may send the next request.
    Idle,
}

/// The state that the stream and the service of one connection share.
#[derive(Default)]
pub struct Course {
    agreed: Mutex<Option<Agreed>>,
    stage: AtomicU8,
}

impl Course {
    /// A request head has arrived.
    pub fn asked(&self) {
        self.stage.store(Stage::Answer as u8, Ordering::Relaxed);
    }

    /// The answer is being written.
    pub fn answered(&self) {
        self.stage.store(Stage::Idle as u8, Ordering::Relaxed);
    }

    /// The connection becomes a socket.
    pub fn agree(&self, agreed: Agreed) {
        *self.agreed.lock() = Some(agreed);
    }

    /// Takes the agreement of the upgrade.
    pub fn take_agreed(&self) -> Option<Agreed> {
        self.agreed.lock().take()
    }

    fn is_agreed(&self) -> bool {
        self.agreed.lock().is_some()
    }

    fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Head,
            1 => Stage::Answer,
            _ => Stage::Idle,
        }
    }
}

/// See the module.
pub struct Stream {
    tcp: TokioIo<TcpStream>,
    course: Arc<Course>,
    shares: Arc<Shares>,
    answer: Vec<u8>,
    /// The deadline, and the stage that it was set in.
    waiting: Option<(Stage, Pin<Box<Sleep>>)>,
    taking: Option<Taking>,
}

/// An answer that the kernel does not take.
struct Taking {
    since: Instant,
    written: usize,
    look: Pin<Box<Sleep>>,
}

impl Stream {
    /// A connection that was just accepted.
    pub fn new(tcp: TcpStream, course: Arc<Course>, shares: Arc<Shares>) -> Self {
        Self { tcp: TokioIo::new(tcp), course, shares, answer: Vec::new(), waiting: None, taking: None }
    }

    /// The connection, and the answer to its upgrade.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.tcp.into_inner(), self.answer)
    }

    /// Nothing has arrived: how much longer may it take?
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stage = self.course.stage();
        let limit = match stage {
            Stage::Head => HANDSHAKE_MS_MAX,
            Stage::Idle => HTTP_IDLE_MS_MAX,
            // The body has a deadline of its own, and so has the worker.
            Stage::Answer => return Poll::Pending,
        };
        if self.waiting.as_ref().is_none_or(|(of, _)| *of != stage) {
            self.waiting = Some((stage, Box::pin(sleep(Duration::from_millis(limit)))));
        }
        let Some((_, timer)) = &mut self.waiting else { return Poll::Pending };
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Evaluates the result of a write.
    fn taken(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match (&outcome, &mut self.taking) {
            (Poll::Pending, _) => {}
            (Poll::Ready(Ok(written)), Some(taking)) => {
                taking.written += written;
                // Other answers may be behind it: who takes as much as one has taken one.
                if taking.written >= API_ANSWER_BYTES_MAX {
                    self.taking = None;
                }
                return outcome;
            }
            _ => return outcome,
        }
        let now = Instant::now();
        let begin = || Taking { since: now, written: 0, look: Box::pin(sleep(LOOK)) };
        let taking = self.taking.get_or_insert_with(begin);
        loop {
            ready!(taking.look.as_mut().poll(cx));
            let now = Instant::now();
            if now.saturating_duration_since(taking.since) >= self.shares.patience() {
                metrics::api_failed("not_taken");
                // The kernel lets go of what it holds, too.
                let _ = self.tcp.inner().set_zero_linger();
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            taking.look.as_mut().reset(now + LOOK);
        }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        free: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.tcp).poll_read(cx, free);
        if outcome.is_pending() {
            return self.wait(cx);
        }
        if self.course.stage() == Stage::Idle {
            // The next head has begun, and has as long as the first one.
            self.course.stage.store(Stage::Head as u8, Ordering::Relaxed);
            self.waiting = None;
        }
        outcome
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.course.is_agreed() {
            self.answer.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        let outcome = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        self.taken(cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Asked for only when all was written.
        self.taking = None;
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.course.is_agreed() {
            slices.iter().for_each(|slice| self.answer.extend_from_slice(slice));
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let outcome = Pin::new(&mut self.tcp).poll_write_vectored(cx, slices);
        self.taken(cx, outcome)
    }
}
