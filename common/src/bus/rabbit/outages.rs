//! How long publishing was impossible, and the unconfirmed envelopes: counted once a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::super::metrics;
use super::super::outcome::Health;
use super::publisher::Publisher;
use crate::limits::MEASURE_MS;

/// Until the bus closes.
pub(super) async fn watch(
    publisher: Arc<Publisher>,
    mut health: watch::Receiver<Health>,
    closing: CancellationToken,
) {
    let mut ticks = interval(Duration::from_millis(MEASURE_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut outage = Outage {
        health: *health.borrow(),
        since: Instant::now(),
        blocked: Duration::ZERO,
        away: Duration::ZERO,
    };
    let (blocked, away) = (metrics::blocked_seconds("blocked"), metrics::blocked_seconds("away"));
    loop {
        tokio::select! {
            () = closing.cancelled() => return,
            _ = ticks.tick() => for (lane, envelopes) in publisher.in_flight() {
                metrics::in_flight(lane, envelopes);
            },
            changed = health.changed() => if changed.is_err() { return },
        }
        outage.note(*health.borrow_and_update(), Instant::now());
        blocked.increment(whole_seconds(&mut outage.blocked));
        away.increment(whole_seconds(&mut outage.away));
    }
}

/// How long it was how, less what is counted already.
struct Outage {
    health: Health,
    since: Instant,
    blocked: Duration,
    away: Duration,
}

impl Outage {
    fn note(&mut self, health: Health, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        match self.health {
            Health::Up => {}
            Health::Blocked => self.blocked += passed,
            Health::Down => self.away += passed,
        }
        (self.health, self.since) = (health, now);
    }
}

/// Takes the whole seconds out; the rest waits for the next time.
fn whole_seconds(time: &mut Duration) -> u64 {
    let whole = time.as_secs();
    *time -= Duration::from_secs(whole);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_counted_in_whole_seconds_and_nothing_of_it_is_lost() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut outage =
            Outage { health: Health::Up, since: start, blocked: Duration::ZERO, away: Duration::ZERO };
        outage.note(Health::Blocked, at(5_000));
        outage.note(Health::Blocked, at(5_700));
        assert_eq!(whole_seconds(&mut outage.blocked), 0);
        outage.note(Health::Down, at(6_400));
        assert_eq!(whole_seconds(&mut outage.blocked), 1);
        outage.note(Health::Up, at(8_400));
        assert_eq!((whole_seconds(&mut outage.blocked), whole_seconds(&mut outage.away)), (0, 2));
        assert_eq!(outage.blocked, Duration::from_millis(400));
    }
}
