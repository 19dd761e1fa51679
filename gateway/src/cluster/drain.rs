//! The drain: not ready, move the sockets away one by one, give the seats back.
//!
//! The gateway refuses upgrades with 503 while the port is still open, so that a proxy tries the next
//! gateway; it answers REST to the end. It moves its sockets one by one, so that the other gateways see
//! an even stream of reconnects and no thundering herd. The budget of this stream is the cluster's:
//! gateways that drain at the same time share it through the directory. A native socket hears its time shortly before
//! (`server.going_away`), may open the next socket then, and is closed a moment later. A Socket.IO client
//! knows no such event: it is closed in its turn, and reconnects automatically.
//!
//! The duration follows from the number of sockets and the budget. It has a deadline: sockets that would
//! still be here then leave faster. A second signal ends the drain at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::directory::{ClusterRate, Directory};
use common::lifecycle::Lifecycle;
use common::limits::GOING_AWAY_GRACE_MS_MAX;
use protocol::events::ServerEvent;
use protocol::events::session::GoingAway;
use protocol::ids::NodeId;
use protocol::{CloseCode, Urgency};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use crate::cluster::hub::{Hub, SHARDS};
use crate::cluster::node::Node;
use crate::metrics::{FrameClass, Metrics};
use crate::socket::slot::Slot;
use crate::wire::{self, Form};

/// Time for the last frames and requests after the drain's deadline.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A share of sockets is spread over this time; then the gateway takes the next share from the cluster.
const STEP: Duration = Duration::from_millis(250);

/// Sockets told in one turn of this task, so that frames of the others continue meanwhile.
const TOLD_AT_ONCE: usize = 256;

/// Moves all sockets away, then leaves the cluster.
pub async fn drain(node: &Arc<Node>, lifecycle: &Lifecycle) {
    node.draining.cancel();
    node.readiness.set("drain", Err("draining".into()));
    info!(node.id = %node.id, sockets = node.hub.count(), "Draining");
    let pace = Pace::new(node.config.reconnects_per_s, node.config.drain);
    tokio::select! {
        () = move_away(&node.hub, &node.directory, &node.metrics, &pace) => {}
        () = lifecycle.aborting() => warn!(sockets = node.hub.count(), "Aborting the drain"),
    }
}

/// The speed at which sockets leave.
struct Pace {
    /// The cluster's budget.
    per_second: f64,
    /// The time at which the last socket leaves, since the drain began.
    deadline: Duration,
    /// How long a socket that was told stays open after its slot.
    grace: Duration,
}

/// The next share of sockets.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Share {
    count: usize,
    /// They leave one by one within this time.
    span: Duration,
    /// The deadline is too short for the budget.
    is_hurried: bool,
}

impl Pace {
    fn new(per_second: u32, deadline: Duration) -> Self {
        // At most a tenth of the drain, so that even the last close is within the deadline.
        let grace = Duration::from_millis(GOING_AWAY_GRACE_MS_MAX).min(deadline / 10);
        Self { per_second: f64::from(per_second.max(1)), deadline: deadline - grace, grace }
    }

    /// The share of this many sockets that are left after this time.
    fn next(&self, left: usize, passed: Duration) -> Share {
        let time_left = self.deadline.saturating_sub(passed);
        let needed = left as f64 / time_left.as_secs_f64();
        let is_hurried = needed > self.per_second;
        let per_second = if is_hurried { needed } else { self.per_second };
        // Without any time left the rate is infinite: the share is all of them.
        let count = left.min((per_second * STEP.as_secs_f64()).max(1.0) as usize);
        let span = Duration::from_secs_f64(count as f64 / per_second);
        Share { count, span, is_hurried }
    }
}

/// Tells the sockets, closes each in its turn, and waits until they are gone.
async fn move_away(hub: &Hub, directory: &Directory, metrics: &Metrics, pace: &Pace) {
    let start = Instant::now();
    let mut stay: Vec<Arc<Slot>> = (0..SHARDS).flat_map(|shard| hub.of_shard(shard)).collect();
    let (mut closes, mut was_hurried) = (Closes::default(), false);
    while !stay.is_empty() && hub.count() > 0 {
        let share = pace.next(stay.len(), start.elapsed());
        if share.is_hurried && !was_hurried && !pace.deadline.is_zero() {
            was_hurried = true;
            let per_s = share.count as f64 / share.span.as_secs_f64();
            warn!(
                per_s,
                "DRAIN_MS is too short for this many sockets: they leave faster than RECONNECTS_PER_S"
            );
        }
        if !share.is_hurried
            && let Some(wait) = ask_for(directory, pace, share.count).await
        {
            closes.until(hub, Instant::now() + wait.min(STEP)).await;
            continue;
        }
        let begun = Instant::now();
        for (index, socket) in stay.split_off(stay.len() - share.count).into_iter().enumerate() {
            if index % TOLD_AT_ONCE == TOLD_AT_ONCE - 1 {
                yield_now().await;
            }
            let slot = begun + share.span.mul_f64((index + 1) as f64 / share.count as f64);
            let is_told = tell(metrics, &socket, slot.saturating_duration_since(Instant::now()));
            closes.add(if is_told { slot + pace.grace } else { slot }, socket);
        }
        closes.until(hub, begun + share.span).await;
    }
    if let Some(last) = closes.last() {
        closes.until(hub, last).await;
    }
}

/// Takes a share of the budget of all draining gateways. `Some(wait)`: try again after that.
async fn ask_for(directory: &Directory, pace: &Pace, count: usize) -> Option<Duration> {
    let burst = (pace.per_second * STEP.as_secs_f64()).max(1.0) as u32;
    let rate = ClusterRate { burst, per_second: pace.per_second };
    let cost = u32::try_from(count).unwrap_or(u32::MAX);
    match directory.take_tokens("drain", cost, rate).await {
        Ok(taken) => taken.err(),
        Err(err) => {
            warn!(error = %err, "It is not known whether other gateways drain: keeping our own pace");
            None
        }
    }
}

/// The sockets that were told, by the time at which they are closed.
#[derive(Default)]
struct Closes(BTreeMap<(Instant, u64), Arc<Slot>>);

impl Closes {
    fn add(&mut self, due: Instant, socket: Arc<Slot>) {
        self.0.insert((due, socket.serial), socket);
    }

    fn last(&self) -> Option<Instant> {
        self.0.last_key_value().map(|((due, _), _)| *due)
    }

    /// Closes each socket whose time comes before `end`; returns earlier if no socket is left.
    async fn until(&mut self, hub: &Hub, end: Instant) {
        while hub.count() > 0 {
            let next = self.0.first_entry().filter(|entry| entry.key().0 <= end);
            let due = next.as_ref().map_or(end, |entry| entry.key().0);
            // A timer is never early, and up to a millisecond late.
            if due > Instant::now() {
                sleep_until(due).await;
            }
            match next {
                Some(entry) => entry.remove().ask_close(CloseCode::GoingAway),
                None => return,
            }
        }
    }
}

/// Tells a socket its time. False: its form has no such event, or it has no account yet.
fn tell(metrics: &Metrics, socket: &Slot, slot: Duration) -> bool {
    if socket.form != Form::Native || socket.who().is_none() {
        return false;
    }
    let in_ms = u64::try_from(slot.as_millis()).unwrap_or(u64::MAX);
    let event = ServerEvent::from(GoingAway { in_ms });
    let packet = wire::event_packet(socket.form, event.name(), event.data());
    if socket.push(packet, Urgency::Keep, FrameClass::Control, metrics) {
        socket.wake();
    }
    true
}

/// Waits for work in progress. The port is closed; the program that connected the bus flushes it.
pub async fn last_words(node: &Arc<Node>, lifecycle: &Lifecycle) {
    // Sockets that opened while the drain was running.
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

/// Gives the lease and all seats back. No task that could renew the lease runs any more.
pub async fn forget(directory: &Directory, node: NodeId) {
    match directory.forget_node(node).await {
        Ok(()) => info!(node.id = %node, "Drained"),
        // The lease expires by itself.
        Err(err) => warn!(error = %err, "The directory was not told that this node left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// All shares until no socket is left: the start of each, and the share.
    fn shares(count: usize, pace: &Pace) -> Vec<(Duration, Share)> {
        let (mut left, mut passed, mut shares) = (count, Duration::ZERO, vec![]);
        while left > 0 {
            let share = pace.next(left, passed);
            shares.push((passed, share));
            left -= share.count;
            passed += share.span;
        }
        shares
    }

    #[test]
    fn the_length_of_a_drain_follows_from_the_budget() {
        let pace = Pace::new(100, ms(60_000));
        assert_eq!(pace.grace, ms(GOING_AWAY_GRACE_MS_MAX));
        let all = shares(1_000, &pace);
        assert!(all.iter().all(|(_, share)| *share == Share { count: 25, span: STEP, is_hurried: false }));
        assert_eq!(all.len(), 40, "ten seconds");
        assert_eq!(pace.next(1, ms(0)), Share { count: 1, span: ms(10), is_hurried: false });
        // Less than one in a step.
        assert_eq!(Pace::new(2, ms(60_000)).next(9, ms(0)).span, ms(500));
    }

    #[test]
    fn no_drain_is_longer_than_its_deadline_and_even_then_there_is_no_herd() {
        let pace = Pace::new(100, ms(2_000));
        assert_eq!((pace.deadline, pace.grace), (ms(1_800), ms(200)));
        let all = shares(1_000, &pace);
        assert!(all.iter().all(|(_, share)| share.is_hurried && (138..=140).contains(&share.count)
            || share.count < 138), "{all:?}");
        let (begin, last) = all[all.len() - 1];
        assert!(begin + last.span <= ms(1_801), "{all:?}");
        // Others took the budget, or this task was late: what is left goes in the time that is left.
        assert!(!Pace::new(100, ms(10_000)).next(300, ms(5_000)).is_hurried);
        assert!(Pace::new(100, ms(10_000)).next(500, ms(5_000)).is_hurried);
        let now = Share { count: 7, span: ms(0), is_hurried: true };
        assert_eq!(Pace::new(100, ms(0)).next(7, ms(1)), now);
    }
}
