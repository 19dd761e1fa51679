//! The queue of one plain subscriber: bounded; when it is full, the oldest arrivals are dropped and reported as
//! [`Arrival::Lapse`].

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::arrival::Arrival;
use super::envelope::Envelope;
use super::metrics;
use crate::limits::{BATCH_ENVELOPES_MAX, SUBSCRIPTION_ENVELOPES_MAX};

#[derive(Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    notify: Notify,
    closed: CancellationToken,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Envelope>,
    lapsed: bool,
}

/// The subscriber's end; dropping it closes the mailbox.
pub(super) struct MailboxReader(pub(super) Arc<Mailbox>);

impl Mailbox {
    pub(super) fn push(&self, envelopes: impl IntoIterator<Item = Envelope>) {
        let mut state = self.lock();
        if self.closed.is_cancelled() {
            return;
        }
        state.waiting.extend(envelopes);
        let over = state.waiting.len().saturating_sub(SUBSCRIPTION_ENVELOPES_MAX);
        if over > 0 {
            state.waiting.drain(..over);
            state.lapsed = true;
            metrics::shed("slow_subscriber").increment(over as u64);
        }
        drop(state);
        self.notify.notify_one();
    }

    pub(super) fn lapse(&self) {
        self.lock().lapsed = true;
        self.notify.notify_one();
    }

    pub(super) fn close(&self) {
        self.closed.cancel();
        self.notify.notify_one();
    }

    /// Waits until there is no reader or no writer any more.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    fn take(&self) -> Option<Option<Arrival>> {
        let mut state = self.lock();
        if std::mem::take(&mut state.lapsed) {
            return Some(Some(Arrival::Lapse));
        }
        if state.waiting.is_empty() {
            return self.closed.is_cancelled().then_some(None);
        }
        let end = state.waiting.len().min(BATCH_ENVELOPES_MAX);
        Some(Some(Arrival::Envelopes(state.waiting.drain(..end).collect())))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl MailboxReader {
    /// Safe to cancel: nothing is taken before it is returned.
    pub(super) async fn next(&mut self) -> Option<Arrival> {
        loop {
            if let Some(taken) = self.0.take() {
                return taken;
            }
            self.0.notify.notified().await;
        }
    }
}

impl Drop for MailboxReader {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::bus::Subject;

    #[tokio::test]
    async fn a_slow_subscriber_loses_the_oldest_and_hears_of_it() {
        let mailbox = Arc::new(Mailbox::default());
        let mut reader = MailboxReader(mailbox.clone());
        let subject = Subject::new("control.gateways").unwrap();
        let envelope = |key| Envelope { subject: subject.clone(), key, body: Bytes::new() };
        mailbox.push((0..=SUBSCRIPTION_ENVELOPES_MAX as u64).map(envelope));

        assert!(matches!(reader.next().await, Some(Arrival::Lapse)));
        let Some(Arrival::Envelopes(first)) = reader.next().await else { panic!("envelopes") };
        assert_eq!(first[0].key, 1);
        assert_eq!(first.len(), BATCH_ENVELOPES_MAX);
        mailbox.close();
        let mut rest = first.len();
        while let Some(Arrival::Envelopes(more)) = reader.next().await {
            rest += more.len();
        }
        assert_eq!(rest, SUBSCRIPTION_ENVELOPES_MAX);
    }
}
