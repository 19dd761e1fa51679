//! Users who came and went, and whose contacts must be told: `scripts/seat.lua` explains the data.
//!
//! Seats and unseats put a user on the bucket's list `due` when its contacts do not know its current
//! state. A worker claims the user there, announces it, and reports that. When a worker dies half-way,
//! another one claims its users again; the sweep finds what Redis lost.

use std::time::Duration;

use futures_util::future::try_join_all;
use tracing::info;

use super::{
    ANSWER, CLAIM, Fading, GRACE_US, Live, Redis, SWEEP, Seat, TOLD, bounded, millis, per_bucket, waves,
};
use crate::directory::answer::{DirectoryError, Presence, Reaped};
use crate::directory::keys::{BUCKETS, SEATS_TTL};
use crate::limits::{DIRECTORY_REAP_FIELDS, DIRECTORY_REAP_MS_MAX, NODE_LEASE_MS, PRESENCE_CLAIM_MS};
use protocol::ids::{NodeId, UserId};

impl Redis {
    pub(in crate::directory) async fn reap(&self, judge: NodeId) -> Result<Reaped, DirectoryError> {
        let limit = Duration::from_millis(DIRECTORY_REAP_MS_MAX);
        bounded("reap", limit, async {
            let live = self.live_since(0).await?;
            let mut reaped = Reaped::default();
            let kept_us = live.seats.get(&judge).map_or(0, |since| live.at.saturating_sub(*since));
            if kept_us < NODE_LEASE_MS * 1_000 {
                return Ok(reaped);
            }
            for dead in &live.fading {
                // One is enough; should it fail, another one may try when its time is over.
                let claim = format!("reap:{}", dead.node);
                if self.compare_and_set(&claim, 0, &[1], limit).await? {
                    let users = self.clear(&live, dead).await?;
                    self.end_lease(dead.node).await?;
                    info!(node.id = %dead.node, users, "A node is dead: its users have no seat there any more");
                    reaped.nodes += 1;
                    reaped.users += users;
                }
            }
            Ok(reaped)
        })
        .await
    }

    /// Removes all seats of a dead node. Users without another one are offline a grace after the
    /// node's last sign of life. Answers how many these are.
    async fn clear(&self, live: &Live, dead: &Fading) -> anyhow::Result<u64> {
        let silent_us = dead.ended_us + NODE_LEASE_MS * 1_000;
        let grace = i64::try_from(GRACE_US)? - i64::try_from(silent_us)?;
        let records = live.records(Some(dead.node));
        let buckets = (0..BUCKETS).map(async |bucket| {
            let (mut cursor, mut users) = (0_u64, 0);
            loop {
                let call = SWEEP
                    .on([self.0.keys.seats(bucket), self.0.keys.due(bucket)])
                    .arg(cursor)
                    .arg(DIRECTORY_REAP_FIELDS)
                    .arg(&records[..])
                    .arg(live.at)
                    .arg("")
                    .arg("")
                    .arg(millis(SEATS_TTL))
                    .arg(grace);
                let (next, _, gone): (u64, u8, u64) = self.0.link.call(call).await?;
                users += gone;
                if next == 0 {
                    return Ok::<_, anyhow::Error>(users);
                }
                cursor = next;
            }
        });
        Ok(try_join_all(buckets).await?.into_iter().sum())
    }

    pub(in crate::directory) async fn claim_presence(
        &self,
        users_max: usize,
    ) -> Result<Vec<Presence>, DirectoryError> {
        bounded("claim_presence", ANSWER * 2, async {
            let live = self.live_since(0).await?;
            let records = live.records(None);
            let per_bucket = users_max.div_ceil(BUCKETS).max(1);
            let claims = (0..BUCKETS).map(|bucket| {
                let keys = &self.0.keys;
                let call = CLAIM
                    .on([keys.seats(bucket), keys.due(bucket), keys.telling(bucket)])
                    .arg(per_bucket)
                    .arg(PRESENCE_CLAIM_MS * 1_000)
                    .arg(&records[..])
                    .arg(live.at);
                self.0.link.call::<Vec<i64>>(call)
            });
            let claimed = try_join_all(claims).await?;
            let pairs = claimed.iter().flat_map(|bucket| bucket.chunks_exact(2));
            Ok(pairs.map(|pair| Presence { user: UserId(pair[0]), is_online: pair[1] == 1 }).collect())
        })
        .await
    }

    pub(in crate::directory) async fn told_presence(&self, told: &[Presence]) -> Result<(), DirectoryError> {
        let calls = per_bucket(told, |told| told.user.0).map(|(bucket, told)| {
            let keys = &self.0.keys;
            let call = TOLD.on([keys.seats(bucket), keys.due(bucket), keys.telling(bucket)]).arg(GRACE_US);
            told.into_iter().fold(call, |call, told| call.arg(told.user.0).arg(u8::from(told.is_online)))
        });
        self.call_all("told_presence", calls.collect()).await
    }

    pub(in crate::directory) async fn online(&self, users: &[UserId]) -> Result<Vec<UserId>, DirectoryError> {
        let asks: Vec<_> = per_bucket(users, |user| user.0).collect();
        let deadline = ANSWER * (2 + waves(asks.len()));
        bounded("online", deadline, async {
            let seats = self.fields(asks, |bucket| self.0.keys.seats(bucket), |user| user.0).await?;
            let seats: Vec<(UserId, Vec<u8>)> =
                seats.into_iter().filter_map(|(user, bytes)| Some((user, bytes?))).collect();
            let newest = seats.iter().flat_map(|(_, bytes)| Seat::read_all(bytes)).map(|seat| seat.since);
            let live = match newest.max() {
                Some(newest) => Some(self.live_since(newest).await?),
                None => None,
            };
            let is_live = |seat: Seat| {
                live.as_ref().is_some_and(|live| live.seats.get(&seat.node) == Some(&seat.since))
            };
            let is_online = |bytes: &[u8]| Seat::is_told(bytes) || Seat::read_all(bytes).any(is_live);
            Ok(seats.iter().filter(|(_, bytes)| is_online(bytes)).map(|(user, _)| *user).collect())
        })
        .await
    }
}

impl Live {
    /// The seats that count, as the scripts read them: of living nodes, and of those dead ones
    /// whose users are still to be looked for. Without those of `except`.
    pub(super) fn records(&self, except: Option<NodeId>) -> Vec<u8> {
        let live = self.seats.iter().map(|(node, since)| Seat { node: *node, since: *since });
        let fading = self.fading.iter().map(|dead| Seat { node: dead.node, since: dead.since });
        let seats = live.chain(fading).filter(|seat| Some(seat.node) != except);
        seats.flat_map(Seat::bytes).collect()
    }
}
