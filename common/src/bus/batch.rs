//! Micro-batches without timers: what is unconfirmed, what gathers meanwhile. Pure.
//!
//! A window belongs to one destination. At most a few batches of it are unconfirmed; what is
//! pushed meanwhile waits and becomes the next batch. At low load a batch is one envelope and
//! waits for nothing; at high load batches grow by themselves.
//!
//! Envelopes lost with a connection are repeated on durable routes by the window, which is rewound, and
//! on transient ones by the caller: there the window is cleared.
//!
//! Invariant: batches are sent, and after [`Window::rewind`] sent again, in the order of their
//! serials, and each has the same envelopes every time.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;

use super::envelope::Envelope;
use super::outcome::Receipt;
use crate::limits::{BATCH_BYTES_MAX, BATCH_ENVELOPES_MAX, PUBLISH_WINDOW_ENVELOPES_MAX};
use protocol::TraceContext;

#[derive(Default)]
pub(super) struct Window {
    waiting: VecDeque<Waiting>,
    batches: VecDeque<Batch>,
    next_serial: u64,
    /// Envelopes waiting and in batches.
    envelopes: usize,
}

struct Waiting {
    envelope: Envelope,
    context: Option<TraceContext>,
    pending: Pending,
}

/// A receipt until it is called, and since when its envelope is here.
struct Pending {
    since: Instant,
    receipt: Option<Receipt>,
}

struct Batch {
    serial: u64,
    bytes: Bytes,
    context: Option<TraceContext>,
    pending: Vec<Pending>,
    /// None: to be sent (again).
    sent: Option<Instant>,
}

/// A batch to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub serial: u64,
    pub bytes: Bytes,
    pub envelopes: usize,
    /// Since when the oldest of its envelopes is here.
    pub since: Instant,
    /// Of the first of its envelopes that has one.
    pub context: Option<TraceContext>,
}

impl Window {
    /// The receipt comes back when the window is full.
    pub(super) fn push(
        &mut self,
        envelope: Envelope,
        context: Option<TraceContext>,
        receipt: Receipt,
        now: Instant,
    ) -> Result<(), Receipt> {
        if self.envelopes >= PUBLISH_WINDOW_ENVELOPES_MAX {
            return Err(receipt);
        }
        self.envelopes += 1;
        self.waiting.push_back(Waiting {
            envelope,
            context,
            pending: Pending { since: now, receipt: Some(receipt) },
        });
        Ok(())
    }

    /// The next batch to be sent, if fewer than `unconfirmed_max` are under way.
    pub(super) fn next(&mut self, unconfirmed_max: usize, now: Instant) -> Option<Outgoing> {
        if !self.batches.iter().any(|batch| batch.sent.is_none()) {
            if self.waiting.is_empty() || self.batches.len() >= unconfirmed_max {
                return None;
            }
            self.gather();
        }
        let batch = self.batches.iter_mut().find(|batch| batch.sent.is_none())?;
        batch.sent = Some(now);
        let since = batch.pending.first().map_or(now, |first| first.since);
        Some(Outgoing {
            serial: batch.serial,
            bytes: batch.bytes.clone(),
            envelopes: batch.pending.len(),
            since,
            context: batch.context,
        })
    }

    /// Envelopes that [`Self::next`] would give, if it gave one now.
    pub(super) fn next_len(&self) -> usize {
        let again = self.batches.iter().find(|batch| batch.sent.is_none());
        again.map_or(self.waiting.len(), |batch| batch.pending.len())
    }

    /// Whether [`Self::next`] would give one.
    pub(super) fn has_next(&self, unconfirmed_max: usize) -> bool {
        self.batches.iter().any(|batch| batch.sent.is_none())
            || (!self.waiting.is_empty() && self.batches.len() < unconfirmed_max)
    }

    /// The batch arrived, or never can: its receipts, to be called.
    pub(super) fn settle(&mut self, serial: u64) -> Vec<Receipt> {
        let Some(at) = self.batches.iter().position(|batch| batch.serial == serial) else {
            return Vec::new();
        };
        let batch = self.batches.remove(at);
        let pending = batch.map(|batch| batch.pending).unwrap_or_default();
        self.envelopes -= pending.len();
        pending.into_iter().filter_map(|pending| pending.receipt).collect()
    }

    /// The connection was lost: everything unconfirmed is sent again, in order, under the same
    /// serials.
    pub(super) fn rewind(&mut self) {
        self.batches.iter_mut().for_each(|batch| batch.sent = None);
    }

    /// Receipts of envelopes that have been here since `limit` or longer. The envelopes stay.
    pub(super) fn overdue(&mut self, limit: Instant) -> Vec<Receipt> {
        let sent = self.batches.iter_mut().flat_map(|batch| &mut batch.pending);
        let waiting = self.waiting.iter_mut().map(|waiting| &mut waiting.pending);
        // In the order in which they came.
        let overdue = sent.chain(waiting).take_while(|pending| pending.since <= limit);
        overdue.filter_map(|pending| pending.receipt.take()).collect()
    }

    /// The same where callers repeat what was not taken: when anything is overdue, all that waits
    /// goes, for nothing may overtake what its caller brings again. What was sent is sent.
    pub(super) fn withdraw(&mut self, limit: Instant) -> Vec<Receipt> {
        let mut receipts = self.overdue(limit);
        if self.waiting.front().is_some_and(|first| first.pending.since <= limit) {
            self.envelopes -= self.waiting.len();
            receipts.extend(self.waiting.drain(..).filter_map(|waiting| waiting.pending.receipt));
        }
        receipts
    }

    /// The connection was lost, and callers repeat what was not taken: everything goes, so that it
    /// does not come twice, and late.
    pub(super) fn clear(&mut self) -> Vec<Receipt> {
        self.envelopes = 0;
        let sent = self.batches.drain(..).flat_map(|batch| batch.pending);
        let waiting = self.waiting.drain(..).map(|waiting| waiting.pending);
        sent.chain(waiting).filter_map(|pending| pending.receipt).collect()
    }

    /// Since when the broker owes a confirm.
    pub(super) fn oldest_sent(&self) -> Option<Instant> {
        self.batches.iter().filter_map(|batch| batch.sent).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.envelopes == 0
    }

    /// Envelopes waiting and unconfirmed.
    pub(super) fn envelopes(&self) -> usize {
        self.envelopes
    }

    fn gather(&mut self) {
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            bytes += waiting.envelope.encoded_len();
            bytes <= BATCH_BYTES_MAX
        };
        // One envelope always fits: ENVELOPE_BYTES_MAX < BATCH_BYTES_MAX.
        let count = self.waiting.iter().take(BATCH_ENVELOPES_MAX).take_while(fits).count();
        let bytes = Envelope::encode_batch(self.waiting.iter().take(count).map(|waiting| &waiting.envelope));
        let context = self.waiting.iter().take(count).find_map(|waiting| waiting.context);
        let pending = self.waiting.drain(..count).map(|waiting| waiting.pending).collect();
        let serial = self.next_serial;
        self.next_serial += 1;
        self.batches.push_back(Batch { serial, bytes, context, pending, sent: None });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bus::Subject;

    fn push(window: &mut Window, key: u64, now: Instant) -> Result<(), ()> {
        let subject = Subject::new("high.sendMessage").unwrap();
        let envelope = Envelope { subject, key, body: Bytes::from_static(b"body") };
        window.push(envelope, None, Box::new(|_| {}), now).map_err(|_| ())
    }

    fn keys(outgoing: &Outgoing) -> Vec<u64> {
        Envelope::decode_batch(outgoing.bytes.clone()).unwrap().iter().map(|envelope| envelope.key).collect()
    }

    #[test]
    fn what_gathers_while_batches_are_unconfirmed_is_the_next_batch() {
        let (mut window, now) = (Window::default(), Instant::now());
        for key in 0..4 {
            push(&mut window, key, now).unwrap();
            assert_eq!(keys(&window.next(4, now).unwrap()), [key], "nothing to wait for");
        }
        for key in 4..7 {
            push(&mut window, key, now).unwrap();
            assert_eq!(window.next(4, now), None, "four are unconfirmed");
        }
        assert_eq!(window.settle(1).len(), 1);
        assert_eq!(keys(&window.next(4, now).unwrap()), [4, 5, 6]);
    }

    #[test]
    fn after_a_lost_connection_the_same_batches_go_first_and_in_order() {
        let (mut window, now) = (Window::default(), Instant::now());
        let mut first = Vec::new();
        for key in 0..3 {
            push(&mut window, key, now).unwrap();
            first.extend(window.next(4, now));
        }
        push(&mut window, 3, now).unwrap();
        push(&mut window, 4, now).unwrap();
        window.settle(1);
        window.rewind();
        assert_eq!(window.next(4, now).as_ref(), Some(&first[0]));
        assert_eq!(window.next(4, now).as_ref(), Some(&first[2]));
        assert_eq!(keys(&window.next(4, now).unwrap()), [3, 4]);
        assert_eq!(window.next(4, now), None);
    }

    #[test]
    fn batches_are_bounded_in_envelopes_and_bytes() {
        let (mut window, now) = (Window::default(), Instant::now());
        for key in 0..=BATCH_ENVELOPES_MAX as u64 {
            push(&mut window, key, now).unwrap();
        }
        assert_eq!(window.next(4, now).unwrap().envelopes, BATCH_ENVELOPES_MAX);
        assert_eq!(window.next(4, now).unwrap().envelopes, 1);

        let body = Bytes::from(vec![0; BATCH_BYTES_MAX / 3]);
        for key in 0..4 {
            let envelope = Envelope { subject: Subject::new("high.a").unwrap(), key, body: body.clone() };
            window.push(envelope, None, Box::new(|_| {}), now).ok().unwrap();
        }
        assert_eq!(window.next(4, now).unwrap().envelopes, 2);
    }

    #[test]
    fn a_batch_belongs_to_the_first_trace_in_it_also_when_it_is_sent_again() {
        let (mut window, now) = (Window::default(), Instant::now());
        let context = |trace| Some(TraceContext::begun(trace, 1));
        let push = |window: &mut Window, context| {
            let envelope = Envelope { subject: Subject::new("high.a").unwrap(), key: 0, body: Bytes::new() };
            window.push(envelope, context, Box::new(|_| {}), now).ok().unwrap();
        };
        [None, context(1), context(2)].into_iter().for_each(|one| push(&mut window, one));
        assert_eq!(window.next(1, now).unwrap().context, context(1));
        push(&mut window, None);
        window.rewind();
        assert_eq!(window.next(1, now).unwrap().context, context(1));
        window.settle(0);
        assert_eq!(window.next(1, now).unwrap().context, None);
    }

    #[test]
    fn a_full_window_gives_the_receipt_back() {
        let (mut window, now) = (Window::default(), Instant::now());
        for key in 0..PUBLISH_WINDOW_ENVELOPES_MAX as u64 {
            push(&mut window, key, now).unwrap();
        }
        assert_eq!(push(&mut window, 0, now), Err(()));
        let serial = window.next(4, now).unwrap().serial;
        assert_eq!(push(&mut window, 0, now), Err(()), "unconfirmed ones count");
        window.settle(serial);
        assert_eq!(push(&mut window, 0, now), Ok(()));
    }

    #[test]
    fn an_overdue_receipt_is_called_once_and_its_envelope_stays() {
        let (mut window, start) = (Window::default(), Instant::now());
        push(&mut window, 0, start).unwrap();
        let serial = window.next(4, start).unwrap().serial;
        push(&mut window, 1, start + Duration::from_millis(1)).unwrap();
        assert_eq!(window.overdue(start).len(), 1);
        assert_eq!(window.overdue(start).len(), 0);
        assert_eq!(window.oldest_sent(), Some(start));
        assert!(window.settle(serial).is_empty(), "already called");
        assert_eq!(keys(&window.next(4, start).unwrap()), [1]);
        assert!(!window.is_empty());
    }

    #[test]
    fn what_its_caller_brings_again_is_taken_back_and_nothing_overtakes_it() {
        let (mut window, start) = (Window::default(), Instant::now());
        push(&mut window, 0, start).unwrap();
        let serial = window.next(1, start).unwrap().serial;
        push(&mut window, 1, start).unwrap();
        push(&mut window, 2, start + Duration::from_millis(1)).unwrap();
        assert_eq!(window.withdraw(start).len(), 3, "also the one that is not overdue");
        assert!(window.settle(serial).is_empty());
        assert_eq!(window.next(1, start), None);
        assert!(window.is_empty());

        push(&mut window, 3, start).unwrap();
        window.next(1, start).unwrap();
        push(&mut window, 4, start).unwrap();
        assert_eq!(window.clear().len(), 2);
        assert_eq!((window.next(1, start), window.is_empty()), (None, true));
    }
}
