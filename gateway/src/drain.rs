//! Leaving politely: not ready, move the sockets away one by one, give the seats back.
//!
//! Upgrades are refused with 503 while the port is still open, so that a proxy tries the next
//! gateway; REST is answered to the end. Every socket has a slot of its own, so that the others see
//! an even stream of reconnects within a budget and never a herd. A native socket hears its slot at
//! the start (`server.going_away`), may open the next one then, and is closed a moment later. A
//! Socket.IO client knows no such event: it is closed in its slot, and comes again by itself.
//!
//! How long it takes follows from the number of sockets and the budget. All of it has a deadline,
//! and a second signal ends it at once.

use std::sync::Arc;
use std::time::Duration;

use common::lifecycle::Lifecycle;
use common::limits::GOING_AWAY_GRACE_MS_MAX;
use common::protocol::{CloseCode, ServerEvent, Urgency};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use crate::hub::SHARDS;
use crate::node::Node;
use crate::slot::Slot;
use crate::wire::{self, Form};

/// How long the last frames and requests may take after the drain's time.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Sockets told in one turn of this task: the others' frames go on meanwhile.
const TOLD_AT_ONCE: usize = 256;

/// Moves all sockets away, then lets go of the cluster.
pub async fn drain(node: &Arc<Node>, lifecycle: &Lifecycle) {
    node.draining.cancel();
    node.readiness.set("drain", Err("draining".into()));
    tokio::select! {
        () = move_away(node) => {}
        () = lifecycle.aborting() => warn!(sockets = node.hub.count(), "Aborting the drain"),
    }
}

/// When each of so many sockets leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slots {
    count: u32,
    /// The time of the last one.
    span: Duration,
    /// How long a socket that knows its slot stays open after it.
    grace: Duration,
}

impl Slots {
    /// The budget's pace; a faster one where the deadline would come first.
    fn new(count: usize, per_second: u32, deadline: Duration) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        // A tenth of a short drain, so that the last close is in time, too.
        let grace = Duration::from_millis(GOING_AWAY_GRACE_MS_MAX).min(deadline / 10);
        let wanted = Duration::from_secs_f64(f64::from(count) / f64::from(per_second.max(1)));
        Self { count, span: wanted.min(deadline - grace), grace }
    }

    /// The slot of one of them.
    fn of(&self, index: usize) -> Duration {
        self.span.mul_f64((index + 1) as f64 / f64::from(self.count.max(1)))
    }

    fn per_second(&self) -> f64 {
        f64::from(self.count) / self.span.as_secs_f64()
    }
}

/// Tells the sockets, closes each in its slot, and waits until they are gone.
async fn move_away(node: &Node) {
    let start = Instant::now();
    let sockets: Vec<Arc<Slot>> = (0..SHARDS).flat_map(|shard| node.hub.of_shard(shard)).collect();
    let slots = Slots::new(sockets.len(), node.config.reconnects_per_s, node.config.drain);
    info!(node.id = %node.id, sockets = sockets.len(), for_s = slots.span.as_secs_f64(), "Draining");
    if slots.per_second() > 1.01 * f64::from(node.config.reconnects_per_s) && slots.span > Duration::ZERO {
        warn!(
            per_s = slots.per_second(),
            "DRAIN_MS is too short for so many: they leave beyond RECONNECTS_PER_S"
        );
    }
    let mut closes = Vec::with_capacity(sockets.len());
    for (index, socket) in sockets.into_iter().enumerate() {
        if index % TOLD_AT_ONCE == TOLD_AT_ONCE - 1 {
            yield_now().await;
        }
        let due = slots.of(index);
        let is_told = tell(node, &socket, due.saturating_sub(start.elapsed()));
        closes.push((if is_told { due + slots.grace } else { due }, socket));
    }
    closes.sort_unstable_by_key(|(due, _)| *due);
    for (due, socket) in closes {
        // Who has moved already is waited for no more.
        if node.hub.count() == 0 {
            return;
        }
        // A timer is never early, and up to a millisecond late.
        if start + due > Instant::now() {
            sleep_until(start + due).await;
        }
        socket.ask_close(CloseCode::GoingAway);
    }
}

/// Tells a socket its slot. False: it would not understand, or nobody has said yet whose it is.
fn tell(node: &Node, socket: &Slot, slot: Duration) -> bool {
    if socket.form != Form::Native || socket.who().is_none() {
        return false;
    }
    let event = ServerEvent::GoingAway { in_ms: u64::try_from(slot.as_millis()).unwrap_or(u64::MAX) };
    let frame = wire::event_frame(socket.form, event.name(), &event.data());
    if socket.push(frame, Urgency::Keep, &node.metrics) {
        socket.wake();
    }
    true
}

/// Waits for what is under way. The port is closed; whoever connected the bus flushes it.
pub async fn last_words(node: &Arc<Node>, lifecycle: &Lifecycle) {
    // Sockets that opened behind the drain's back.
    for shard in 0..SHARDS {
        node.hub.of_shard(shard).iter().for_each(|slot| slot.ask_close(CloseCode::GoingAway));
    }
    node.tasks.close();
    tokio::select! {
        done = timeout(LAST_WORDS, node.tasks.wait()) => if done.is_err() {
            warn!(sockets = node.hub.count(), tasks = node.tasks.len(), "Tasks were left behind");
        },
        () = lifecycle.aborting() => {}
    }
}

/// Gives the lease and all seats back. Nothing that could renew it runs any more.
pub async fn forget(node: &Node) {
    match node.directory.forget_node(node.id).await {
        Ok(()) => info!(node.id = %node.id, "Drained"),
        // It ends by itself.
        Err(err) => warn!(error = %err, "The directory was not told that this node left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn each_socket_has_a_slot_and_the_length_follows_from_the_budget() {
        let slots = Slots::new(1_000, 100, ms(60_000));
        assert_eq!((slots.span, slots.grace), (ms(10_000), ms(GOING_AWAY_GRACE_MS_MAX)));
        assert_eq!([0, 1, 499, 999].map(|index| slots.of(index)), [ms(10), ms(20), ms(5_000), ms(10_000)]);
        assert_eq!(Slots::new(1, 100, ms(60_000)).of(0), ms(10));
        assert_eq!(Slots::new(0, 100, ms(60_000)).span, Duration::ZERO);
    }

    #[test]
    fn no_drain_is_longer_than_its_deadline_and_even_then_there_is_no_herd() {
        let slots = Slots::new(1_000, 100, ms(2_000));
        assert_eq!((slots.span, slots.grace), (ms(1_800), ms(200)));
        assert!(slots.of(999) + slots.grace <= ms(2_000));
        let steps: Vec<_> = (1..1_000).map(|index| slots.of(index) - slots.of(index - 1)).collect();
        assert!(steps.iter().all(|step| (ms(1)..ms(3)).contains(step)), "{steps:?}");
        assert_eq!(Slots::new(1_000, 100, Duration::ZERO).of(7), Duration::ZERO);
        assert_eq!(Slots::new(1_000, 0, ms(1_000)).of(999), ms(900), "no budget is the smallest one");
    }
}
