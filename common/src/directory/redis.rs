//! The directory in Redis Cluster: the only place that uses `redis`.
//!
//! `keys.rs` has the layout, `scripts/` what happens atomically. Each command goes to one slot;
//! what concerns many users goes out as one command per bucket, all at once.
//!
//! **Liveness** is judged by the clock of the Redis master that holds the leases. A list of live
//! nodes is kept for [`LIVE_NODES_MS_MAX`], less when a lease ends sooner, and read again at once
//! when a seat is younger than it. When *no* node renewed for half a lease, Redis was away, not the
//! nodes: then leases stay valid for [`LEASE_GRACE_MS`], because a failover would otherwise empty the directory.
//!
//! **Lost writes.** Replication is asynchronous: a failover may lose the last seats of one master,
//! a restart without persistence all of them. [`Redis::keep_node`] therefore also answers true
//! once after the cluster's epoch rose (every failover raises it), when a mark that it leaves in
//! every bucket is gone, and when it could not look. Until then, at most a third of a lease, the
//! answers of `nodes_of` may miss seats that Redis lost in silence. The
//! other side, a seat that comes back from the dead, costs a delivery to a gateway that does not hold the
//! user; the gateway then unseats the user again.

/// The programs' descriptions of themselves.
mod cards;

/// The connection to the cluster: one command or one script, within its deadline.
mod link;

/// Logins that ended before their tokens.
mod logins;

/// Users who came and went, and whose contacts must be told.
mod presence;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ::redis::{FromRedisValue, cmd};
use anyhow::{Context as _, anyhow};
use foldhash::{HashMap, HashMapExt as _};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use self::link::{ANSWER, Lua, RedisLink, ScriptCall};
use super::answer::{ClusterRate, DirectoryConfig, DirectoryError, Versioned, no_lease};
use super::keys::{self, BUCKETS, Keys, SEATS_TTL, Seat};
use super::metrics::{self, bounded};
use crate::limits::{
    DIRECTORY_COMMANDS_MAX, DIRECTORY_FIELDS_MAX, DIRECTORY_SWEEP_FIELDS, LEASE_GRACE_MS, LIVE_NODES_MS_MAX,
    NODE_LEASE_MS, PRESENCE_GRACE_MS,
};
use protocol::ids::{NodeId, UserId};

/// How long users without a seat are still online, in µs, as the scripts count.
const GRACE_US: u64 = PRESENCE_GRACE_MS * 1_000;

/// The handle.
#[derive(Clone)]
pub(super) struct Redis(Arc<Shared>);

struct Shared {
    link: RedisLink,
    keys: Keys,
    /// The last list of live nodes, and until when it may be used.
    live: Mutex<Option<(Instant, Arc<Live>)>>,
    /// One reader of the list at a time; the others use what it brings.
    reading_live: tokio::sync::Mutex<()>,
    /// The nodes of this process.
    kept: Mutex<HashMap<NodeId, Kept>>,
}

/// The nodes with a lease, as of a moment.
struct Live {
    seats: HashMap<NodeId, u64>,
    /// Those whose lease has ended and whose seats were not yet cleared.
    fading: Vec<Fading>,
    /// µs on the clock of Redis.
    at: u64,
}

/// A node without a lease.
struct Fading {
    node: NodeId,
    since: u64,
    /// How long ago its lease ended, µs.
    ended_us: u64,
}

/// What this process knows about a node that it keeps.
#[derive(Default)]
struct Kept {
    /// The beginning of its lease.
    since: u64,
    /// Why the node must be told to seat its users again.
    owed: Option<&'static str>,
    /// The highest epoch of the cluster seen so far.
    epoch: Option<u64>,
    /// The node left its mark in every bucket.
    is_marked: bool,
    /// Where the sweep stands in each bucket.
    cursors: [u64; BUCKETS],
}

impl Redis {
    pub(super) async fn connect(config: DirectoryConfig) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Shared {
            link: RedisLink::open(config.nodes, config.ca_file.as_deref()).await?,
            keys: Keys::new(&config.prefix),
            live: Mutex::default(),
            reading_live: tokio::sync::Mutex::default(),
            kept: Mutex::default(),
        })))
    }

    pub(super) async fn keep_node(&self, node: NodeId) -> Result<bool, DirectoryError> {
        bounded("keep_node", ANSWER * 3, async {
            let since = self.renew(node).await?;
            self.kept(node, |kept| {
                if kept.since != since {
                    let reason = if kept.since == 0 { NEW } else { "lost_lease" };
                    *kept = Kept { since, owed: Some(reason), epoch: kept.epoch, ..Kept::default() };
                }
            });
            if let Err(fault) = self.find_loss(node).await {
                // The lease is renewed; what was not found now is found next time.
                metrics::sweep_failed();
                warn!(node.id = %node, "The directory could not be swept: {fault:#}");
                return Ok(self.kept(node, |kept| kept.owed.take_if(|owed| *owed == NEW).is_some()));
            }
            let Some(reason) = self.kept(node, |kept| kept.owed) else { return Ok(false) };
            self.kept(node, |kept| kept.owed = None);
            metrics::reseat(reason);
            info!(node.id = %node, reason, "The node writes its users' seats again");
            Ok(true)
        })
        .await
    }

    /// Looks whether seats of this node may have been lost since the last time.
    async fn find_loss(&self, node: NodeId) -> anyhow::Result<()> {
        let epoch = self.epoch().await?;
        self.kept(node, |kept| {
            if kept.epoch.is_some_and(|seen| epoch > seen) {
                kept.owed.get_or_insert("failover");
            }
            kept.epoch = kept.epoch.max(Some(epoch));
        });
        self.sweep(node).await
    }

    /// A step of the sweep in every bucket: removes what dead nodes left, renews the node's mark.
    /// A mark that is gone says that seats are, too; so does a step whose outcome is unknown,
    /// because it may have renewed the mark.
    async fn sweep(&self, node: NodeId) -> anyhow::Result<()> {
        let live = self.live_since(0).await?;
        // Who sat on a dead node is looked for by `reap`, which knows since when.
        let records = live.records(None);
        let (since, cursors, owed) = self.kept(node, |kept| {
            let owed = kept.owed.replace(kept.owed.unwrap_or("unknown"));
            (kept.since, kept.cursors, owed)
        });
        let steps = cursors.into_iter().enumerate().map(|(bucket, cursor)| {
            let call = SWEEP
                .on([self.0.keys.seats(bucket), self.0.keys.due(bucket)])
                .arg(cursor)
                .arg(DIRECTORY_SWEEP_FIELDS)
                .arg(&records[..])
                .arg(live.at)
                .arg(keys::mark(node))
                .arg(&Seat { node, since }.bytes()[..])
                .arg(millis(SEATS_TTL))
                .arg(GRACE_US);
            self.0.link.call::<(u64, u8, u64)>(call)
        });
        let steps = futures_util::future::try_join_all(steps).await?;
        self.kept(node, |kept| {
            let is_lost = kept.is_marked && steps.iter().any(|(_, has_mark, _)| *has_mark == 0);
            kept.owed = owed.or(is_lost.then_some("lost_seats"));
            kept.is_marked = true;
            for (cursor, (next, ..)) in kept.cursors.iter_mut().zip(steps) {
                *cursor = next;
            }
        });
        Ok(())
    }

    fn kept<T>(&self, node: NodeId, change: impl FnOnce(&mut Kept) -> T) -> T {
        change(self.0.kept.lock().entry(node).or_default())
    }

    /// Renews the lease; answers its beginning.
    async fn renew(&self, node: NodeId) -> anyhow::Result<u64> {
        let call = KEEP.on([self.0.keys.leases(), self.0.keys.since()]);
        let call = call.arg(node.to_string()).arg(NODE_LEASE_MS * 1_000).arg(LEASE_GRACE_MS * 1_000);
        self.0.link.call(call).await
    }

    /// The cluster's current epoch, as far as one node of it knows.
    async fn epoch(&self) -> anyhow::Result<u64> {
        let mut ask = cmd("CLUSTER");
        ask.arg("INFO");
        let text: String = self.0.link.ask_anyone(ask).await?;
        let line = text.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:"));
        line.and_then(|epoch| epoch.trim().parse().ok()).context("CLUSTER INFO says no epoch")
    }

    pub(super) async fn forget_node(&self, node: NodeId) -> Result<(), DirectoryError> {
        bounded("forget_node", ANSWER * 2, async {
            self.end_lease(node).await?;
            self.unlink_cards(&[node]).await
        })
        .await
    }

    /// The node's description of itself stays: it left without a drain, and operators ask what it was.
    async fn end_lease(&self, node: NodeId) -> anyhow::Result<()> {
        let call = FORGET.on([self.0.keys.leases(), self.0.keys.since()]).arg(node.to_string());
        self.0.link.call::<u64>(call).await?;
        self.0.kept.lock().remove(&node);
        *self.0.live.lock() = None;
        Ok(())
    }

    pub(super) async fn live_nodes(&self) -> Result<Vec<NodeId>, DirectoryError> {
        bounded("live_nodes", ANSWER * 2, async {
            Ok(self.live_since(u64::MAX).await?.seats.keys().copied().collect())
        })
        .await
    }

    /// The live nodes, from memory if it may be used and is not older than `at` (µs on the clock
    /// of Redis; `u64::MAX`: read it now).
    async fn live_since(&self, at: u64) -> anyhow::Result<Arc<Live>> {
        if let Some(live) = self.remembered_live(at) {
            return Ok(live);
        }
        let _reading = self.0.reading_live.lock().await;
        if let Some(live) = self.remembered_live(at) {
            return Ok(live);
        }
        let asked = Instant::now();
        let call = LIVE.on([self.0.keys.leases(), self.0.keys.since()]);
        let call = call.arg(NODE_LEASE_MS * 1_000).arg(LEASE_GRACE_MS * 1_000);
        let answer: Vec<String> = self.0.link.call(call).await?;
        let [now, first_end, nodes @ ..] = &answer[..] else {
            return Err(anyhow!("the list of live nodes is no list"));
        };
        let (mut seats, mut fading) = (HashMap::with_capacity(nodes.len() / 3), Vec::new());
        for node in nodes.chunks_exact(3) {
            let (id, since) = (node[0].parse()?, node[1].parse()?);
            if node[2].is_empty() {
                seats.insert(id, since);
            } else {
                fading.push(Fading { node: id, since, ended_us: node[2].parse()? });
            }
        }
        let live = Arc::new(Live { seats, fading, at: now.parse()? });
        let usable = Duration::from_micros(first_end.parse()?).min(Duration::from_millis(LIVE_NODES_MS_MAX));
        *self.0.live.lock() = Some((asked + usable, Arc::clone(&live)));
        Ok(live)
    }

    fn remembered_live(&self, at: u64) -> Option<Arc<Live>> {
        let remembered = self.0.live.lock();
        let (until, live) = remembered.as_ref()?;
        (live.at >= at && Instant::now() < *until).then(|| Arc::clone(live))
    }

    pub(super) async fn seat(&self, node: NodeId, users: &[UserId]) -> Result<(), DirectoryError> {
        let known = self.0.kept.lock().get(&node).map(|kept| kept.since);
        let since = match known {
            Some(since) => since,
            // Kept by another handle.
            None => {
                bounded("seat", ANSWER * 2, async {
                    let live = self.live_since(u64::MAX).await?;
                    live.seats.get(&node).copied().ok_or_else(|| no_lease(node).0)
                })
                .await?
            }
        };
        let record = Seat { node, since }.bytes();
        let calls = per_bucket(users, |user| user.0).map(|(bucket, users)| {
            let call = SEAT.on([self.0.keys.seats(bucket), self.0.keys.due(bucket)]);
            let call = call.arg(&record[..]).arg(millis(SEATS_TTL));
            users.into_iter().fold(call, |call, user| call.arg(user.0))
        });
        self.call_all("seat", calls.collect()).await
    }

    pub(super) async fn unseat(&self, node: NodeId, users: &[UserId]) -> Result<(), DirectoryError> {
        let calls = per_bucket(users, |user| user.0).map(|(bucket, users)| {
            let call = UNSEAT.on([self.0.keys.seats(bucket), self.0.keys.due(bucket)]);
            let call = call.arg(&node.0.to_be_bytes()[..]).arg(GRACE_US);
            users.into_iter().fold(call, |call, user| call.arg(user.0))
        });
        self.call_all("unseat", calls.collect()).await
    }

    pub(super) async fn nodes_of(
        &self,
        users: &[UserId],
    ) -> Result<HashMap<UserId, Vec<NodeId>>, DirectoryError> {
        let asks: Vec<_> = per_bucket(users, |user| user.0).collect();
        let deadline = ANSWER * (2 + waves(asks.len()));
        bounded("nodes_of", deadline, async {
            let seats = self.fields(asks, |bucket| self.0.keys.seats(bucket), |user| user.0).await?;
            let seats: Vec<(UserId, Vec<u8>)> =
                seats.into_iter().filter_map(|(user, bytes)| Some((user, bytes?))).collect();
            let newest =
                seats.iter().flat_map(|(_, bytes)| Seat::read_all(bytes)).map(|seat| seat.since).max();
            // Invariant: no seat of a living node is overlooked because the list was older than it.
            let Some(newest) = newest else { return Ok(HashMap::new()) };
            let live = self.live_since(newest).await?;
            let mut found = HashMap::with_capacity(seats.len());
            for (user, bytes) in &seats {
                let alive =
                    Seat::read_all(bytes).filter(|seat| live.seats.get(&seat.node) == Some(&seat.since));
                let nodes: Vec<_> = alive.map(|seat| seat.node).collect();
                if !nodes.is_empty() {
                    found.insert(*user, nodes);
                }
            }
            Ok(found)
        })
        .await
    }

    pub(super) async fn take_tokens(
        &self,
        key: &str,
        cost: u32,
        rate: ClusterRate,
    ) -> Result<Result<(), Duration>, DirectoryError> {
        let wait = self.draw("take_tokens", key, i64::from(cost), rate).await?;
        Ok(if wait == 0 { Ok(()) } else { Err(Duration::from_micros(wait)) })
    }

    pub(super) async fn give_tokens(
        &self,
        key: &str,
        count: u32,
        rate: ClusterRate,
    ) -> Result<(), DirectoryError> {
        self.draw("give_tokens", key, -i64::from(count), rate).await.map(drop)
    }

    async fn draw(
        &self,
        name: &'static str,
        key: &str,
        tokens: i64,
        rate: ClusterRate,
    ) -> Result<u64, DirectoryError> {
        let each = 1_000_000.0 / rate.per_second;
        let call = TAKE.on([self.0.keys.rate(key)]).arg(each).arg(tokens).arg(rate.burst);
        bounded(name, ANSWER * 2, self.0.link.call::<u64>(call)).await
    }

    pub(super) async fn value(&self, key: &str) -> Result<Option<Versioned>, DirectoryError> {
        bounded("value", ANSWER * 2, async {
            let mut get = cmd("HMGET");
            get.arg(self.0.keys.value(key)).arg("v").arg("d");
            let (version, value): (Option<u64>, Option<Vec<u8>>) = self.0.link.ask(&get).await?;
            Ok(version.zip(value).map(|(version, value)| Versioned { version, value }))
        })
        .await
    }

    pub(super) async fn compare_and_set(
        &self,
        key: &str,
        expected: u64,
        value: &[u8],
        ttl: Duration,
    ) -> Result<bool, DirectoryError> {
        let writer = NodeId::random().to_string();
        let call = SWAP.on([self.0.keys.value(key)]);
        let call = call.arg(expected).arg(value).arg(millis(ttl).max(1)).arg(writer);
        bounded("compare_and_set", ANSWER * 2, async { Ok(self.0.link.call::<u8>(call).await? == 1) }).await
    }

    /// Fields of one hash per bucket, with the things they stand for.
    async fn fields<T: Copy, V: FromRedisValue>(
        &self,
        asks: Vec<(usize, Vec<T>)>,
        key: impl Fn(usize) -> String,
        id: impl Fn(T) -> i64,
    ) -> anyhow::Result<Vec<(T, Option<V>)>> {
        let answers = asks.into_iter().map(|(bucket, things)| {
            let mut get = cmd("HMGET");
            get.arg(key(bucket));
            for thing in &things {
                get.arg(id(*thing));
            }
            async move {
                let values: Vec<Option<V>> = self.0.link.ask(&get).await?;
                Ok::<_, anyhow::Error>(things.into_iter().zip(values).collect::<Vec<_>>())
            }
        });
        let answers = stream::iter(answers).buffer_unordered(DIRECTORY_COMMANDS_MAX);
        Ok(answers.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    async fn call_all(&self, name: &'static str, calls: Vec<ScriptCall>) -> Result<(), DirectoryError> {
        bounded(name, ANSWER * (1 + waves(calls.len())), async {
            let answers = calls.into_iter().map(|call| self.0.link.call::<i64>(call));
            stream::iter(answers)
                .buffer_unordered(DIRECTORY_COMMANDS_MAX)
                .try_for_each(async |_| Ok(()))
                .await
        })
        .await
    }
}

/// Why a node seats its users for the first time; every other reason is a loss.
const NEW: &str = "new_lease";

/// Things by bucket, as many at a time as one command may carry.
fn per_bucket<T: Copy>(things: &[T], id: impl Fn(&T) -> i64) -> impl Iterator<Item = (usize, Vec<T>)> {
    keys::by_bucket(things, id).into_iter().enumerate().flat_map(|(bucket, things)| {
        let chunks: Vec<_> = things.chunks(DIRECTORY_FIELDS_MAX).map(<[T]>::to_vec).collect();
        chunks.into_iter().map(move |chunk| (bucket, chunk))
    })
}

/// The number of commands for this many, with [`DIRECTORY_COMMANDS_MAX`] in each.
fn waves(commands: usize) -> u32 {
    u32::try_from(commands.div_ceil(DIRECTORY_COMMANDS_MAX)).unwrap_or(u32::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(static $name: LazyLock<Lua> = LazyLock::new(|| {
            Lua::new(include_str!(concat!("scripts/", $file)))
        });)*
    };
}

scripts! {
    KEEP = "keep.lua";
    LIVE = "live.lua";
    FORGET = "forget.lua";
    SEAT = "seat.lua";
    UNSEAT = "unseat.lua";
    SWEEP = "sweep.lua";
    CLAIM = "claim.lua";
    TOLD = "told.lua";
    TAKE = "take.lua";
    SWAP = "swap.lua";
}
