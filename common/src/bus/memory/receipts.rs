//! Publishers of one durable lane that wait until their envelope is kept.
//!
//! This bus keeps nothing that survives the process, so it cannot confirm an envelope by itself. It
//! confirms when a consumer does: [`LaneBatch::kept`](super::super::LaneBatch::kept), or the
//! acknowledgement. A publisher that waits longer than [`PUBLISH_BUSY_MS`] hears *busy*; its
//! envelope stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep_until};

use super::super::metrics;
use super::super::outcome::{PublishError, Receipt};
use crate::limits::PUBLISH_BUSY_MS;
use protocol::Lane;

pub(super) struct Receipts {
    lane: Lane,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By number, and so by age.
    waiting: BTreeMap<u64, Pending>,
    next: u64,
    /// A task looks for what is overdue.
    has_clock: bool,
}

struct Pending {
    receipt: Receipt,
    since: Instant,
}

impl Receipts {
    pub(super) fn new(lane: Lane) -> Self {
        Self { lane, state: Mutex::default() }
    }

    /// Keeps a receipt until it is called, and gives it a number.
    pub(super) fn wait(self: &Arc<Self>, receipt: Receipt) -> u64 {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, Pending { receipt, since: Instant::now() });
        if !std::mem::replace(&mut state.has_clock, true) {
            tokio::spawn(self.clone().watch());
        }
        number
    }

    /// Their envelopes survive any crash from here on.
    pub(super) fn kept(&self, numbers: Vec<u64>) {
        self.call(&numbers, Ok(()));
    }

    /// Their envelopes are not known to be kept.
    pub(super) fn busy(&self, numbers: &[u64]) {
        self.call(numbers, Err(PublishError::Busy));
    }

    /// The bus ends: nothing is kept any more.
    pub(super) fn end(&self) {
        let numbers: Vec<_> = self.lock().waiting.keys().copied().collect();
        self.busy(&numbers);
    }

    /// Receipts that were not called yet.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Called outside of every lock: a receipt answers a socket.
    fn call(&self, numbers: &[u64], outcome: Result<(), PublishError>) {
        if numbers.is_empty() {
            return;
        }
        let mut state = self.lock();
        let called: Vec<_> = numbers.iter().filter_map(|number| state.waiting.remove(number)).collect();
        drop(state);
        metrics::publishes(Some(self.lane), outcome).increment(called.len() as u64);
        called.into_iter().for_each(|pending| (pending.receipt)(outcome));
    }

    /// Says *busy* when a receipt is due. Ends when there is none.
    async fn watch(self: Arc<Self>) {
        loop {
            let due = {
                let mut state = self.lock();
                let Some(oldest) = state.waiting.values().next() else {
                    state.has_clock = false;
                    return;
                };
                oldest.since + Duration::from_millis(PUBLISH_BUSY_MS)
            };
            sleep_until(due).await;
            let overdue: Vec<_> = {
                let (state, now) = (self.lock(), Instant::now());
                let limit = Duration::from_millis(PUBLISH_BUSY_MS);
                let is_overdue = |(_, pending): &(_, &Pending)| now - pending.since >= limit;
                state.waiting.iter().take_while(is_overdue).map(|(number, _)| *number).collect()
            };
            self.busy(&overdue);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
