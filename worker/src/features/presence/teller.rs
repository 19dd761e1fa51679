//! Announces which users came online and went offline.
//!
//! The directory knows whose contacts must be told (`Directory::claim_presence`); every worker checks it
//! twice a second and claims what it can announce. A gateway that dies announces nothing, so workers
//! also clear the seats of dead nodes. Each worker keeps a lease itself: only a program with a lease can tell a dead
//! node from a Redis that was away, even when no gateway is left.

use std::time::Duration;

use common::directory::Presence;
use common::limits::{NODE_LEASE_MS, PRESENCE_TELL_MS_MAX, PRESENCE_TICK_MS, PRESENCE_USERS_MAX};
use protocol::ids::UserId;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::events as presence;
use crate::ctx::Ctx;
use crate::metrics;
use common::lanes::{Effects, Halt, To};

/// Checks and announces until `draining`.
pub(crate) async fn watch(ctx: Ctx, draining: CancellationToken) {
    let mut ticks = interval(Duration::from_millis(PRESENCE_TICK_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let lease = Duration::from_millis(NODE_LEASE_MS / 3);
    let mut renew_at = Instant::now();
    // Lower after a failure: one user with very many contacts must not delay the others.
    let mut users_max = PRESENCE_USERS_MAX;
    while draining.run_until_cancelled(ticks.tick()).await.is_some() {
        if Instant::now() >= renew_at {
            renew_at = Instant::now() + lease;
            if let Err(err) = ctx.directory.keep_node(ctx.node).await {
                debug!("The lease of this worker could not be renewed: {err:#}");
            }
        }
        while !draining.is_cancelled() {
            match turn(&ctx, users_max).await {
                Ok(told) => {
                    users_max = (users_max * 2).min(PRESENCE_USERS_MAX);
                    if told == 0 {
                        break;
                    }
                }
                Err(reason) => {
                    users_max = 1;
                    metrics::presence_failed(reason);
                    break;
                }
            }
        }
    }
    if let Err(err) = ctx.directory.forget_node(ctx.node).await {
        // The lease expires by itself.
        debug!("The lease of this worker could not be given back: {err:#}");
    }
}

/// Clears the seats of dead nodes, and announces some users. Returns their number, or why it failed.
async fn turn(ctx: &Ctx, users_max: usize) -> Result<usize, &'static str> {
    let reaped = ctx.directory.reap(ctx.node).await.map_err(|err| away(&Halt::from(err)))?;
    if reaped.nodes > 0 {
        info!(nodes = reaped.nodes, users = reaped.users, "Dead nodes were cleared");
        metrics::reaped(reaped.nodes, reaped.users);
    }
    let changes = ctx.directory.claim_presence(users_max).await.map_err(|err| away(&Halt::from(err)))?;
    if changes.is_empty() {
        return Ok(0);
    }
    match timeout(Duration::from_millis(PRESENCE_TELL_MS_MAX), tell(ctx, &changes)).await {
        Ok(Ok(())) => {}
        Ok(Err(halt)) => return Err(away(&halt)),
        // Another worker may claim by now what is not announced.
        Err(_) => return Err("late"),
    }
    let online = changes.iter().filter(|change| change.is_online).count();
    metrics::presence_told(online, changes.len() - online);
    ctx.directory.told_presence(&changes).await.map_err(|err| away(&Halt::from(err)))?;
    Ok(changes.len())
}

async fn tell(ctx: &Ctx, changes: &[Presence]) -> Result<(), Halt> {
    let news = presence::news(ctx, changes).await?;
    ctx.tell(&news).await?;
    let mut watchers: Vec<UserId> = news.iter().flat_map(recipients).collect();
    watchers.sort_unstable();
    watchers.dedup();
    // Only users with a socket can see the list.
    let seated = ctx.directory.nodes_of(&watchers).await?;
    watchers.retain(|watcher| seated.contains_key(watcher));
    for some in watchers.chunks(PRESENCE_USERS_MAX) {
        let lists = presence::lists(ctx, some).await?;
        ctx.tell(&lists).await?;
    }
    Ok(())
}

fn recipients(effects: &Effects) -> impl Iterator<Item = UserId> {
    let rooms = effects.told.iter().filter_map(|told| match &told.to {
        To::Users(users) => Some(users),
        To::Socket(_) => None,
    });
    rooms.flat_map(|users| users.iter().copied())
}

fn away(halt: &Halt) -> &'static str {
    match halt {
        Halt::Away(peer, err) => {
            debug!(peer = peer.name(), "Presence announcements wait: {err:#}");
            peer.name()
        }
        Halt::Stuck(cause, err) => {
            debug!(cause = cause.name(), "Presence announcements wait: {err:#}");
            cause.name()
        }
        Halt::Fault(err) => {
            warn!("Presence could not be announced: {err:#}");
            "fault"
        }
    }
}
