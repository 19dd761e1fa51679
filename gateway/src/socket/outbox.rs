//! The bounded queue of bytes waiting for one socket. A value: no I/O, no lock of its own.
//!
//! An empty outbox has no allocation. Above `OUTBOX_SHED_BYTES` it drops stale frames
//! (`Urgency::Latest`); a newer frame with the same key replaces the older one.
//!
//! A client is slow when it does not read the waiting bytes for a time ([`Outbox::is_late`]), not because
//! much arrived at once: a burst that its task had no turn to write says nothing about the client.
//! `OUTBOX_BYTES_MAX` is the hard limit: then the outbox is full and the gateway closes the socket.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use common::limits::{OUTBOX_BYTES_MAX, OUTBOX_SHED_BYTES};
use common::recorder::Ticket;
use protocol::Urgency;
use tokio::time::Instant;

use crate::metrics::{FrameClass, Tally};
use crate::socket::allowance::Allowance;

/// The queue of one socket.
#[derive(Debug, Default)]
pub struct Outbox {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Nothing waits; the first push allocates.
    #[default]
    Empty,
    Waiting(Box<Queue>),
    /// The last frame is queued: further pushes are dropped.
    Finishing(Box<Queue>),
    /// The socket is gone, or all was written: further pushes are dropped.
    Closed,
}

/// The waiting frames; the task takes them out to write them.
#[derive(Debug, Default)]
pub struct Queue {
    frames: VecDeque<Waiting>,
    bytes: usize,
    /// The number of frames that are `Latest`.
    stale: usize,
    /// The first frame is partly written: it can no longer be dropped.
    half_written: bool,
    /// Set while more bytes wait than may wait without a time limit.
    mark: Option<Mark>,
}

/// The bytes that waited when the limit was passed, and how many of them still wait.
#[derive(Clone, Copy, Debug)]
struct Mark {
    since: Instant,
    /// Bytes in front of the mark that still wait.
    left: usize,
}

#[derive(Debug)]
struct Waiting {
    bytes: Bytes,
    latest: Option<u64>,
    class: FrameClass,
    is_frame: bool,
    /// Set if the recorder notes when the frame is written.
    ticket: Option<Ticket>,
}

impl Waiting {
    fn control(bytes: Bytes) -> Self {
        Self { bytes, latest: None, class: FrameClass::Control, is_frame: true, ticket: None }
    }
}

/// The result of a push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Nothing waited before: the socket's task sleeps and must be woken.
    pub first: bool,
    /// Frames that a newer one replaced.
    pub replaced: u32,
    /// Stale frames that were dropped.
    pub shed: u32,
    /// The frame did not fit: the socket is too slow.
    pub full: bool,
}

impl Outbox {
    /// Queues the 101 response before anything else. It is not a frame and is never dropped,
    /// because without it the client would not understand the frames after it.
    pub fn answer(&mut self, answer: Bytes) {
        let mut queue = Box::new(Queue { half_written: true, ..Queue::default() });
        queue.bytes = answer.len();
        queue.frames.push_back(Waiting { is_frame: false, ..Waiting::control(answer) });
        self.state = State::Waiting(queue);
    }

    /// Queues packets, laid out as the transport writes them, or a frame of its own.
    pub fn push(
        &mut self,
        bytes: Bytes,
        urgency: Urgency,
        class: FrameClass,
        ticket: Option<Ticket>,
    ) -> Pushed {
        let mut pushed = Pushed::default();
        let queue = match &mut self.state {
            State::Closed | State::Finishing(_) => return pushed,
            State::Waiting(queue) => queue,
            empty @ State::Empty => {
                pushed.first = true;
                *empty = State::Waiting(Box::default());
                let State::Waiting(queue) = empty else { return pushed };
                queue
            }
        };
        let latest = match urgency {
            Urgency::Keep => None,
            Urgency::Latest(key) => Some(key),
        };
        queue.push(Waiting { bytes, latest, class, is_frame: true, ticket }, &mut pushed);
        pushed
    }

    /// Takes everything out to be written; [`Outbox::give_back`] puts back what could not be
    /// written.
    pub fn take(&mut self) -> Option<Box<Queue>> {
        match std::mem::take(&mut self.state) {
            State::Waiting(queue) => Some(queue),
            State::Empty => None,
            State::Finishing(queue) => {
                self.state = State::Closed;
                Some(queue)
            }
            State::Closed => {
                self.state = State::Closed;
                None
            }
        }
    }

    /// Puts back what was not written, before later frames. False: too much waits now.
    pub fn give_back(&mut self, mut rest: Box<Queue>) -> bool {
        match std::mem::take(&mut self.state) {
            // Only the socket's own task takes and closes, so this is the rest of the last frames.
            State::Closed => self.state = State::Finishing(rest),
            State::Finishing(_) | State::Empty => self.state = State::Waiting(rest),
            State::Waiting(newer) => {
                rest.bytes += newer.bytes;
                rest.stale += newer.stale;
                rest.frames.extend(newer.frames);
                let fits = rest.bytes <= OUTBOX_BYTES_MAX;
                self.state = State::Waiting(rest);
                return fits;
            }
        }
        true
    }

    /// Queues the last frame of the socket's life. Unless `keep` is set, it drops the waiting frames,
    /// except the rest of a partly written one. Later pushes are dropped.
    pub fn finish(&mut self, last: Bytes, keep: bool) {
        let mut queue = self.take().unwrap_or_default();
        if !keep {
            queue.frames.truncate(usize::from(queue.half_written));
            queue.bytes = queue.frames.iter().map(|frame| frame.bytes.len()).sum();
            queue.stale = 0;
        }
        queue.bytes += last.len();
        queue.frames.push_back(Waiting::control(last));
        self.state = State::Finishing(queue);
    }

    /// Closes the outbox: later pushes are dropped.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Whether the client is too slow: more waits than is allowed, and the client has not read within its time
    /// what waited when the limit was passed.
    pub fn is_late(&mut self, allowance: Allowance, now: Instant) -> bool {
        let State::Waiting(queue) = &mut self.state else { return false };
        if queue.bytes <= allowance.bytes {
            return false;
        }
        let mark = queue.mark.get_or_insert(Mark { since: now, left: queue.bytes });
        now.saturating_duration_since(mark.since) >= allowance.patience
    }

    /// The number of waiting bytes.
    pub fn bytes(&self) -> usize {
        match &self.state {
            State::Waiting(queue) | State::Finishing(queue) => queue.bytes,
            State::Empty | State::Closed => 0,
        }
    }
}

impl Queue {
    fn push(&mut self, frame: Waiting, pushed: &mut Pushed) {
        let (latest, len) = (frame.latest, frame.bytes.len());
        if latest.is_some() && self.stale > 0 {
            // A half-written head has lost its key, so it is never replaced.
            if let Some(older) = self.frames.iter_mut().find(|frame| frame.latest == latest) {
                self.bytes = self.bytes - older.bytes.len() + len;
                *older = frame;
                pushed.replaced = 1;
                return;
            }
        }
        if self.bytes + len > OUTBOX_SHED_BYTES {
            if self.stale > 0 {
                pushed.shed += self.shed();
            }
            if latest.is_some() && self.bytes + len > OUTBOX_SHED_BYTES {
                pushed.shed += 1;
                return;
            }
        }
        if self.bytes + len > OUTBOX_BYTES_MAX {
            pushed.full = true;
            return;
        }
        self.bytes += len;
        self.stale += usize::from(latest.is_some());
        self.frames.push_back(frame);
    }

    fn shed(&mut self) -> u32 {
        let before = self.frames.len();
        self.frames.retain(|frame| frame.latest.is_none());
        self.bytes = self.frames.iter().map(|frame| frame.bytes.len()).sum();
        self.stale = 0;
        u32::try_from(before - self.frames.len()).unwrap_or(u32::MAX)
    }

    /// Fills in the first frames as slices for one vectored write; returns their number.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pairs = slices.iter_mut().zip(&self.frames);
        pairs.map(|(slice, frame)| *slice = IoSlice::new(&frame.bytes)).count()
    }

    /// Notes that this many bytes were written, and counts them in `tally`, a frame with its last byte. `is_out`
    /// gets the tickets of the frames that are written.
    pub fn advance(&mut self, mut written: usize, tally: &mut Tally, mut is_out: impl FnMut(Ticket)) {
        self.bytes -= written.min(self.bytes);
        self.mark = self.mark.and_then(|Mark { since, left }| {
            let left = left.saturating_sub(written).min(self.bytes);
            (left > 0).then_some(Mark { since, left })
        });
        while let Some(head) = self.frames.front_mut() {
            if written < head.bytes.len() {
                tally.add(head.class, 0, written);
                head.bytes.advance(written);
                if written > 0 {
                    // From now on it is neither replaced nor shed.
                    self.half_written = true;
                    self.stale -= usize::from(head.latest.take().is_some());
                }
                return;
            }
            tally.add(head.class, u64::from(head.is_frame), head.bytes.len());
            if let Some(ticket) = head.ticket {
                is_out(ticket);
            }
            written -= head.bytes.len();
            self.stale -= usize::from(head.latest.is_some());
            self.half_written = false;
            self.frames.pop_front();
        }
    }

    /// Whether all was written.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(outbox: &mut Outbox) -> String {
        let Some(queue) = outbox.take() else { return String::new() };
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = queue.slices(&mut slices);
        slices[..filled].iter().map(|slice| String::from_utf8_lossy(slice).into_owned()).collect()
    }

    fn push(outbox: &mut Outbox, bytes: impl Into<Bytes>, urgency: Urgency) -> Pushed {
        outbox.push(bytes.into(), urgency, FrameClass::High, None)
    }

    fn bytes(len: usize) -> Bytes {
        vec![b'x'; len].into()
    }

    #[test]
    fn order_is_kept_and_the_first_push_wakes() {
        let mut outbox = Outbox::default();
        assert!(push(&mut outbox, "a", Urgency::Keep).first);
        assert!(!push(&mut outbox, "b", Urgency::Keep).first);
        assert_eq!(text(&mut outbox), "ab");
        assert!(push(&mut outbox, "c", Urgency::Keep).first);
    }

    #[test]
    fn the_latest_value_takes_the_place_of_the_older() {
        let mut outbox = Outbox::default();
        push(&mut outbox, "1", Urgency::Latest(7));
        push(&mut outbox, "-", Urgency::Keep);
        let pushed = push(&mut outbox, "2", Urgency::Latest(7));
        assert_eq!(pushed, Pushed { replaced: 1, ..Pushed::default() });
        assert_eq!(text(&mut outbox), "2-");
    }

    #[test]
    fn a_half_written_frame_is_neither_replaced_nor_thrown_away() {
        let mut outbox = Outbox::default();
        push(&mut outbox, "abc", Urgency::Latest(7));
        let mut queue = outbox.take().unwrap();
        queue.advance(1, &mut Tally::default(), drop);
        push(&mut outbox, "def", Urgency::Latest(8));
        assert!(outbox.give_back(queue));
        assert_eq!(push(&mut outbox, "xyz", Urgency::Latest(7)).replaced, 0);
        assert_eq!(outbox.bytes(), 8);
        outbox.finish("!".into(), false);
        assert!(!push(&mut outbox, "?", Urgency::Keep).first);
        assert_eq!(text(&mut outbox), "bc!");
        assert_eq!(push(&mut outbox, "?", Urgency::Keep), Pushed::default());
    }

    #[test]
    fn the_answer_to_the_upgrade_is_never_taken_back() {
        let mut outbox = Outbox::default();
        outbox.answer("101;".into());
        push(&mut outbox, "ready", Urgency::Keep);
        outbox.finish("bye".into(), false);
        assert_eq!(text(&mut outbox), "101;bye");
    }

    #[test]
    fn stale_frames_go_first_and_then_the_outbox_is_full() {
        let mut outbox = Outbox::default();
        push(&mut outbox, bytes(OUTBOX_SHED_BYTES / 2), Urgency::Latest(1));
        push(&mut outbox, bytes(OUTBOX_SHED_BYTES / 2), Urgency::Latest(2));
        assert_eq!(push(&mut outbox, bytes(100), Urgency::Keep).shed, 2);
        assert_eq!(outbox.bytes(), 100);
        assert_eq!(push(&mut outbox, bytes(OUTBOX_BYTES_MAX - 100), Urgency::Keep), Pushed::default());
        assert_eq!(push(&mut outbox, bytes(1), Urgency::Latest(1)).shed, 1);
        assert!(push(&mut outbox, bytes(1), Urgency::Keep).full);
        assert_eq!(outbox.bytes(), OUTBOX_BYTES_MAX);
    }

    #[test]
    fn slow_is_who_does_not_take_what_waits_for_a_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let allowance = Allowance { bytes: 100, patience: Duration::from_millis(1_000) };
        let mut outbox = Outbox::default();
        push(&mut outbox, bytes(100), Urgency::Keep);
        assert!(!outbox.is_late(allowance, at(0)) && !outbox.is_late(allowance, at(60_000)), "it is little");
        push(&mut outbox, bytes(100), Urgency::Keep);
        assert!(!outbox.is_late(allowance, at(60_000)) && !outbox.is_late(allowance, at(60_999)));
        assert!(outbox.is_late(allowance, at(61_000)), "nothing was taken");

        // Much waits all the time, and all of it is taken in its time.
        for second in 61..100 {
            let mut queue = outbox.take().unwrap();
            queue.advance(200, &mut Tally::default(), drop);
            push(&mut outbox, bytes(200), Urgency::Keep);
            if !queue.is_empty() {
                outbox.give_back(queue);
            }
            assert!(!outbox.is_late(allowance, at(second * 1_000)), "{second}");
        }
        // A trickle is not enough.
        let mut queue = outbox.take().unwrap();
        queue.advance(1, &mut Tally::default(), drop);
        outbox.give_back(queue);
        assert!(outbox.is_late(allowance, at(100_000)));
    }

    #[test]
    fn a_closed_outbox_holds_nothing() {
        let mut outbox = Outbox::default();
        outbox.close();
        assert_eq!(push(&mut outbox, bytes(10), Urgency::Keep), Pushed::default());
        assert_eq!((outbox.bytes(), outbox.take().is_none()), (0, true));
        assert!(std::mem::size_of::<Outbox>() <= 16);
    }

    #[test]
    fn writing_in_pieces_gives_the_same_bytes() {
        for step in 1..9 {
            let mut outbox = Outbox::default();
            for part in ["one", "", "two", "three"] {
                push(&mut outbox, part, Urgency::Keep);
            }
            let (mut written, mut tally) = (Vec::new(), Tally::default());
            while let Some(mut queue) = outbox.take() {
                let mut slices = [IoSlice::new(&[]); 2];
                let filled = queue.slices(&mut slices);
                let all: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                let count = all.len().min(step);
                written.extend_from_slice(&all[..count]);
                queue.advance(count, &mut tally, drop);
                if !queue.is_empty() {
                    outbox.give_back(queue);
                }
            }
            assert_eq!(written, b"onetwothree", "{step}");
            assert_eq!(tally.of(FrameClass::High), (4, 11), "each frame once, {step}");
        }
    }
}
