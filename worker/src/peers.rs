//! Keeps the worker's lines of the readiness report: also of a worker that has nothing to do.

use std::sync::Arc;
use std::time::Duration;

use common::bus::{Bus, Health, LaneView};
use common::health::Readiness;
use common::limits::{BEAT_MS, PEERS_WATCH_MS, SHARD_ASTRAY_MS, WRITE_WATCH_MS};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::ctx::Ctx;
use crate::rest::RestState;

/// PostgreSQL. A server that answers is not one that keeps: once the store is down, whatever for,
/// it is down until a write succeeds. From time to time one is tried although nothing is wrong.
pub(crate) async fn store(ctx: Ctx, rest: Arc<RestState>, readiness: Readiness) {
    let mut ticks = interval(Duration::from_millis(PEERS_WATCH_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut room = ctx.store.room();
    let mut written = Instant::now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // Said at once, not with the next look.
            Ok(()) = room.changed() => {}
        }
        ctx.store.measure();
        rest.measure();
        let lack = room.borrow_and_update().clone();
        if let Some(lack) = &lack {
            readiness.set("store", Err(lack.clone()));
        }
        let was_down = readiness.report().iter().any(|(part, state)| *part == "store" && state.is_down());
        let writes = lack.is_some() || was_down || written.elapsed().as_millis() >= WRITE_WATCH_MS.into();
        let asked = async { if writes { ctx.store.can_write().await } else { ctx.store.ping().await } };
        let answer = match timeout(Duration::from_millis(PEERS_WATCH_MS), asked).await {
            Ok(answer) => answer.map_err(|err| err.to_string()),
            Err(_) => Err("PostgreSQL does not answer in time".to_owned()),
        };
        if writes && answer.is_ok() {
            written = Instant::now();
        }
        readiness.set("store", answer);
    }
}

/// Redis.
pub(crate) async fn directory(ctx: Ctx, readiness: Readiness) {
    let mut ticks = interval(Duration::from_millis(PEERS_WATCH_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        readiness.set("directory", ctx.directory.live_nodes().await.map(drop).map_err(|err| err.to_string()));
    }
}

/// The lanes: whether this worker is in line for every shard. Without a connection to the broker it is in line for none;
/// that is one cause with one name, and the part `bus` has it.
pub(crate) async fn shards(views: Vec<LaneView>, bus: Bus, readiness: Readiness) {
    let mut ticks = interval(Duration::from_millis(BEAT_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let health = bus.health();
    let mut up_since = Instant::now();
    loop {
        ticks.tick().await;
        if *health.borrow() == Health::Down {
            up_since = Instant::now();
        }
        if up_since.elapsed() < Duration::from_millis(SHARD_ASTRAY_MS) {
            readiness.set("lanes", Ok(()));
            continue;
        }
        let astray = views.iter().filter_map(|view| {
            let shards = view.astray(Duration::from_millis(SHARD_ASTRAY_MS));
            (!shards.is_empty())
                .then(|| format!("not in line for the shards {shards:?} of the lane {}", view.lane()))
        });
        let astray: Vec<_> = astray.collect();
        readiness.set("lanes", if astray.is_empty() { Ok(()) } else { Err(astray.join("; ")) });
    }
}
