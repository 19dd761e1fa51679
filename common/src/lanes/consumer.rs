//! Takes batches off the lanes and gives them to slots: the only place that acknowledges, through
//! `attempt`.
//!
//! One task owns the schedule and the three consumers; each piece of work is a task of its own, at
//! most as many as there are slots. What waits here is bounded by the bus's prefetch.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use crate::bus::{BusError, LaneBatch, LaneConsumer, LaneView};
use crate::limits::{HOLD_MS_MAX, LANE_QUIET_MS, LANE_SHARDS};
use futures_util::FutureExt as _;
use protocol::Lane;
use protocol::ids::NodeId;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::lanes::attempt::Engine;
use crate::lanes::metrics;
use crate::lanes::schedule::Schedule;
use crate::lanes::share::share;

/// The lanes of this program.
pub struct Consumer {
    engine: Engine,
    lanes: [LaneConsumer; Lane::ALL.len()],
    schedule: Schedule<LaneBatch>,
    /// The live workers, sent with every heartbeat, changed or not.
    live: watch::Receiver<Vec<NodeId>>,
    /// The workers among which the shards were last divided.
    shared_with: Vec<NodeId>,
}

impl Consumer {
    /// Starts consumers or standbys for every lane, and takes no batch yet.
    ///
    /// # Errors
    /// The bus did not answer.
    pub async fn start(
        engine: Engine,
        slots: usize,
        live: watch::Receiver<Vec<NodeId>>,
    ) -> Result<Self, BusError> {
        let bus = &engine.fanout.bus;
        let lanes =
            [bus.consume(Lane::High).await?, bus.consume(Lane::Medium).await?, bus.consume(Lane::Low).await?];
        Ok(Self { engine, lanes, schedule: Schedule::new(slots), live, shared_with: Vec::new() })
    }

    /// A view of the shards held of each lane.
    pub fn views(&self) -> Vec<LaneView> {
        self.lanes.iter().map(LaneConsumer::view).collect()
    }

    /// Works until `draining`: then finishes work in progress and gives back the rest; or, with
    /// `finish`, works until nothing arrives any more.
    pub async fn run(mut self, draining: CancellationToken, finish: bool) {
        let mut under_way = JoinSet::new();
        self.hold_share();
        loop {
            self.hand_out(&mut under_way);
            let quiet = draining.is_cancelled() && under_way.is_empty();
            let gap_ends = self.schedule.gap_ends(Instant::now());
            let [high, medium, low] = &mut self.lanes;
            // All of these receives are cancel-safe.
            let arrived = tokio::select! {
                batch = high.next() => batch,
                batch = medium.next() => batch,
                batch = low.next() => batch,
                Some(done) = under_way.join_next() => {
                    self.finish(done);
                    continue;
                }
                Ok(()) = self.live.changed() => {
                    self.hold_share();
                    continue;
                }
                () = sleep_until(gap_ends.unwrap_or_else(Instant::now)), if gap_ends.is_some() => continue,
                () = draining.cancelled(), if !draining.is_cancelled() => {
                    if finish { continue } else { None }
                }
                () = sleep(Duration::from_millis(LANE_QUIET_MS)), if quiet => None,
            };
            let Some(batch) = arrived else { break };
            self.schedule.push(batch.lane, batch.shard, batch.envelopes.len(), batch);
        }

        // The bus ended, or the worker leaves: give back all work on hold.
        self.engine.leaving.cancel();
        self.lanes.iter().for_each(|lane| lane.hold(&[]));
        self.give_back("leaving", |_| true);
        info!(under_way = under_way.len(), "The lanes were given up: finishing work in progress");
        while let Some(done) = under_way.join_next().await {
            self.finish(done);
        }
    }

    /// Starts work while there are free slots.
    fn hand_out(&mut self, under_way: &mut JoinSet<(Lane, Vec<u16>)>) {
        self.give_back("revoked", LaneBatch::is_revoked);
        while let Some(work) = self.schedule.take(Instant::now()) {
            let engine = self.engine.clone();
            under_way.spawn(async move {
                let place = (work.lane, work.shards.clone());
                // Panics of handlers are caught in `attempt`, so this one is a bug of the lanes. Its batches
                // were dropped and thereby given back; the broker delivers them again.
                if AssertUnwindSafe(engine.carry_out(work)).catch_unwind().await.is_err() {
                    error!(lane = %place.0, shards = ?place.1, "A piece of work ended in a panic");
                    metrics::released(place.0, "panic", 1);
                    sleep(Duration::from_millis(HOLD_MS_MAX)).await;
                }
                place
            });
        }
        for lane in Lane::ALL {
            metrics::waiting(lane, self.schedule.waiting(lane));
        }
    }

    fn finish(&mut self, done: Result<(Lane, Vec<u16>), tokio::task::JoinError>) {
        match done {
            Ok((lane, shards)) => self.schedule.finish(lane, &shards),
            Err(err) => error!("A piece of work ended unexpectedly: {err}"),
        }
    }

    fn give_back(&mut self, reason: &'static str, unwanted: impl FnMut(&LaneBatch) -> bool) {
        for batch in self.schedule.evict(unwanted) {
            metrics::released(batch.lane, reason, 1);
            batch.release();
        }
    }

    /// Tells each lane which shards this worker takes.
    fn hold_share(&mut self) {
        let live = self.live.borrow_and_update().clone();
        if live != self.shared_with {
            self.engine.apart.forget_order();
            self.shared_with.clone_from(&live);
        }
        let node = self.engine.node;
        for (lane, consumer) in Lane::ALL.into_iter().zip(&self.lanes) {
            // The low lane is one queue that all workers take from.
            let shards = if lane == Lane::Low { vec![0] } else { share(lane, LANE_SHARDS, &live, node) };
            metrics::share(lane, shards.len(), live.len());
            consumer.hold(&shards);
        }
    }
}
