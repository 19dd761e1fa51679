//! Announces each second that this worker is alive, and tells its consumer which other workers are.
//!
//! A worker that cannot work says *bye* instead, as long as that lasts, and takes no shard while
//! another worker can: no message waits at a worker that cannot handle it.

use std::time::Duration;

use common::bus::{Arrival, Envelope, Subject, Subscription};
use common::health::Readiness;
use common::lanes::share::Roll;
use common::limits::{BEAT_MS, BEATS_MISSED_MAX, UNFIT_MS};
use protocol::control::{Beat, Says};
use protocol::ids::NodeId;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::ctx::Ctx;

/// The subject of the workers' heartbeats.
pub(crate) const BEATS_SUBJECT: &str = "control.workers";

/// Whether this worker can work. Pure: the time comes in.
struct Fitness {
    /// The time of its own last heartbeat that came back: it shows how fast the connection to the broker is.
    own_beat: Instant,
    /// Since when its store is away.
    store_away: Option<Instant>,
    /// The time of its last check.
    looked: Instant,
}

impl Fitness {
    fn new(now: Instant) -> Self {
        Self { own_beat: now, store_away: None, looked: now }
    }

    /// Called each [`BEAT_MS`]. A worker that is called much later was frozen, and knows nothing of its peers yet: if
    /// it gave its shards away for that, messages would wait once more, for the next worker.
    fn looks(&mut self, now: Instant) {
        if now - self.looked >= Duration::from_millis(2 * BEAT_MS) {
            self.own_beat = now;
            self.store_away = None;
        }
        self.looked = now;
    }

    fn store_is(&mut self, away: bool, now: Instant) {
        self.store_away = away.then(|| self.store_away.unwrap_or(now));
    }

    /// Why it cannot work.
    fn lack(&self, now: Instant) -> Option<&'static str> {
        let store = self.store_away.is_some_and(|since| now - since >= Duration::from_millis(UNFIT_MS));
        let silence_max = Duration::from_millis(BEAT_MS * u64::from(BEATS_MISSED_MAX));
        let line = now.saturating_duration_since(self.own_beat) >= silence_max;
        if store { Some("its store is away") } else { line.then_some("its line to the broker is slow") }
    }
}

/// The workers that share the lanes: the live ones, without this worker while it lacks something. If it is alone,
/// or no other worker can work either, it stays, because no worker could take its shards.
fn sharers(roll: &mut Roll, node: NodeId, is_fit: bool, now: Instant) -> Vec<NodeId> {
    let mut live = roll.live(now);
    if !is_fit && live.len() > 1 {
        live.retain(|one| *one != node);
    }
    live
}

/// Answers to the roll call until the bus ends.
pub(crate) async fn answer(
    ctx: Ctx,
    readiness: Readiness,
    mut beats: Subscription,
    live: watch::Sender<Vec<NodeId>>,
) {
    let mut roll = Roll::new(ctx.node);
    let mut fitness = Fitness::new(Instant::now());
    let mut lack = None;
    let mut ticks = interval(Duration::from_millis(BEAT_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    say(&ctx, Says::Hello).await;
    loop {
        let known = sharers(&mut roll, ctx.node, lack.is_none(), Instant::now());
        tokio::select! {
            arrival = beats.next() => match arrival {
                Some(Arrival::Envelopes(envelopes)) => {
                    for envelope in envelopes {
                        let Ok(beat) = protocol::decode::<Beat>(&envelope.body) else { continue };
                        if beat.node == ctx.node {
                            fitness.own_beat = Instant::now();
                            continue;
                        }
                        roll.on_beat(beat, Instant::now());
                        if beat.says == Says::Hello && lack.is_none() {
                            say(&ctx, Says::Here).await;
                        }
                    }
                    // A change is told at once; that nothing changed, with the next tick.
                    let heard = sharers(&mut roll, ctx.node, lack.is_none(), Instant::now());
                    if heard != known {
                        live.send_replace(heard);
                    }
                }
                Some(Arrival::Lapse) => {
                    roll.on_lapse(Instant::now());
                    fitness.own_beat = Instant::now();
                }
                None => return,
            },
            _ = ticks.tick() => {
                fitness.looks(Instant::now());
                let away = readiness.report().iter().any(|(part, state)| *part == "store" && state.is_down());
                fitness.store_is(away, Instant::now());
                let before = std::mem::replace(&mut lack, fitness.lack(Instant::now()));
                match lack {
                    Some(lack) if before.is_none() => warn!("This worker gives its shards to others: {lack}"),
                    None if before.is_some() => info!("This worker can work again, and takes its share"),
                    _ => {}
                }
                say(&ctx, if lack.is_none() { Says::Here } else { Says::Bye }).await;
                live.send_replace(sharers(&mut roll, ctx.node, lack.is_none(), Instant::now()));
            }
        }
    }
}

/// Beats are transient, and one more comes in a second: a bus that is away is not waited for.
pub(crate) async fn say(ctx: &Ctx, says: Says) {
    let body = protocol::encode(&Beat { node: ctx.node, says });
    let Ok(subject) = Subject::new(BEATS_SUBJECT) else { return };
    if let Err(err) = ctx.bus.publish(Envelope { subject, key: 0, body }).await {
        tracing::debug!("The broker did not take a heartbeat: {err}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_cannot_work_shares_nothing_while_another_can() {
        let (me, other) = (NodeId(5), NodeId(2));
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut fitness = Fitness::new(start);
        fitness.store_is(true, at(0));
        assert_eq!(fitness.lack(at(UNFIT_MS - 1)), None, "a moment is nothing");
        assert_eq!(fitness.lack(at(UNFIT_MS)), Some("its store is away"));
        fitness.store_is(false, at(UNFIT_MS));
        assert_eq!(fitness.lack(at(UNFIT_MS)), None);
        let silent = BEAT_MS * u64::from(BEATS_MISSED_MAX);
        assert_eq!(fitness.lack(at(silent)), Some("its line to the broker is slow"));
        fitness.own_beat = at(silent);
        assert_eq!(fitness.lack(at(silent)), None);

        // It stood still, not its line.
        for ms in (silent..3 * silent).step_by(usize::try_from(BEAT_MS).unwrap()) {
            fitness.looks(at(ms));
        }
        assert!(fitness.lack(at(3 * silent)).is_some(), "it looked all the time, and heard nothing");
        fitness.looks(at(9 * silent));
        assert_eq!(fitness.lack(at(9 * silent)), None);

        let mut roll = Roll::new(me);
        assert_eq!(sharers(&mut roll, me, false, at(0)), [me], "there is nobody else");
        roll.on_beat(Beat { node: other, says: Says::Here }, at(0));
        assert_eq!(sharers(&mut roll, me, false, at(1)), [other]);
        assert_eq!(sharers(&mut roll, me, true, at(1)), [other, me]);
        roll.on_beat(Beat { node: other, says: Says::Bye }, at(2));
        assert_eq!(sharers(&mut roll, me, false, at(3)), [me], "the other cannot work either");
    }
}
