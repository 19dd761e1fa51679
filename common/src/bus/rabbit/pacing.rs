//! When the next batch of a lane may go: it depends on the unconfirmed batches, and on its size.
//!
//! Nagle's rule (RFC 896): a small batch waits while any batch of its lane is unconfirmed, and grows
//! meanwhile. The broker pays for every AMQP message, whatever its size, so on a busy lane batches of
//! two would cost it a core, and all programs would wait for that core. An idle lane adds no delay.
//! Where confirms are slow (a quorum of brokers, a slow disk) a small batch waits for a few
//! milliseconds only, because the cost is the number of AMQP messages, not those in flight.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::limits::{LANE_BATCH_ENVELOPES_SMALL, LANE_BATCH_GAP_MS, LANE_BATCHES_UNCONFIRMED_MAX};

/// The places of a lane, for all its shards together.
pub(super) struct Pacing {
    free: Arc<Semaphore>,
    /// Whose turn it is to be small, in the order of asking, so that no shard starves; and when the
    /// last small batch went.
    turn: Mutex<Option<Instant>>,
}

impl Pacing {
    /// All free.
    pub(super) fn new() -> Self {
        Self { free: Arc::new(Semaphore::new(LANE_BATCHES_UNCONFIRMED_MAX)), turn: Mutex::new(None) }
    }

    /// Waits for the place of a batch of about this many envelopes. Cancel-safe.
    pub(super) async fn take(&self, envelopes: usize) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        let one = || async { Arc::clone(&self.free).acquire_owned().await.ok() };
        if envelopes >= LANE_BATCH_ENVELOPES_SMALL {
            return one().await;
        }
        let mut last = self.turn.lock().await;
        let gap_ends = last.map_or_else(Instant::now, |last| last + Duration::from_millis(LANE_BATCH_GAP_MS));
        let place = tokio::select! {
            biased;
            // It needs one; that it could have them all says that nothing is unconfirmed.
            all = Arc::clone(&self.free).acquire_many_owned(LANE_BATCHES_UNCONFIRMED_MAX as u32) => {
                all.ok().and_then(|mut all| all.split(1))
            }
            () = sleep_until(gap_ends) => one().await,
        };
        *last = Some(Instant::now());
        place
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const LARGE: usize = LANE_BATCH_ENVELOPES_SMALL;
    const GAP: Duration = Duration::from_millis(LANE_BATCH_GAP_MS);

    /// How long it takes to have a place.
    async fn waited(places: &Pacing, envelopes: usize) -> (Duration, OwnedSemaphorePermit) {
        let start = Instant::now();
        let place = places.take(envelopes).await.unwrap();
        (start.elapsed(), place)
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_lane_makes_nobody_wait() {
        let places = Pacing::new();
        for _ in 0..100 {
            assert_eq!(waited(&places, 1).await.0, Duration::ZERO, "confirmed before the next comes");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_small_waits_for_a_confirm_or_a_gap_and_what_is_large_does_not() {
        let places = Arc::new(Pacing::new());
        let (_, first) = waited(&places, 1).await;
        let (large, second) = waited(&places, LARGE).await;
        assert_eq!(large, Duration::ZERO);
        let (small, third) = waited(&places, 1).await;
        assert_eq!(small, GAP, "confirms are slow: the gap ends it");
        let full = timeout(10 * GAP, places.take(LARGE)).await;
        assert!(full.is_err(), "no more than {LANE_BATCHES_UNCONFIRMED_MAX} are unconfirmed");

        let waiting = tokio::spawn({
            let places = Arc::clone(&places);
            async move { waited(&places, 1).await.0 }
        });
        tokio::task::yield_now().await;
        drop((first, second, third));
        assert_eq!(waiting.await.unwrap(), Duration::ZERO, "everything was confirmed");
    }

    #[tokio::test(start_paused = true)]
    async fn small_ones_go_in_the_order_of_asking() {
        let places = Arc::new(Pacing::new());
        let (order, mut went) = tokio::sync::mpsc::channel(6);
        let _unconfirmed = places.take(1).await;
        for shard in 0..6 {
            let (places, order) = (Arc::clone(&places), order.clone());
            tokio::spawn(async move {
                let place = places.take(1).await;
                order.send(shard).await.unwrap();
                drop(place);
            });
            tokio::task::yield_now().await;
        }
        drop(order);
        let mut seen = vec![];
        while let Some(shard) = went.recv().await {
            seen.push(shard);
        }
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    }
}
