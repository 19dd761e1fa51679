//! The directory, which holds who is where: the seam, and its promises.
//!
//! * Everything a node has written here depends on its lease: without [`Directory::keep_node`]
//! within [`NODE_LEASE_MS`](crate::limits::NODE_LEASE_MS) its users are nowhere, at once and
//! everywhere, by one expiry. An idle socket costs nothing here.
//! * Nothing here is the only copy. A directory that lost data is refilled: nodes write
//! their users' seats again when `keep_node` returns true.
//! * Every call has a deadline ([`DIRECTORY_MS_MAX`](crate::limits::DIRECTORY_MS_MAX)); the caller
//! handles its fault: it retries, or tells the client `busy`. A call that failed may still
//! have happened; all of them may be repeated (only tokens would be taken twice).
//!
//! Two backends behind one closed enum: one process, and Redis Cluster. `directory_contract.rs`
//! runs over both.

/// What it is asked for and what it answers.
mod answer;

/// Every Redis key, its hash tag and its ttl.
mod keys;

/// The directory of one process.
mod memory;

/// The names of everything measured in the directory.
mod metrics;

/// The directory in Redis Cluster: the only place that says `redis`.
mod redis;

use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;

use self::answer::COMPLETE;
pub use self::answer::{
    ClusterRate, DirectoryConfig, DirectoryError, EndedLogins, Presence, Reaped, Versioned,
};
use self::memory::Memory;
use self::redis::Redis;
use protocol::ids::{LoginId, NodeId, UserId};

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Directory(Backend);

#[derive(Clone)]
enum Backend {
    Memory(Arc<Memory>),
    Redis(Redis),
}

impl Directory {
    /// The directory of one process.
    pub fn memory() -> Self {
        Self(Backend::Memory(Arc::default()))
    }

    /// Connects to the cluster. The first connection must succeed.
    pub async fn connect(config: DirectoryConfig) -> Result<Self, DirectoryError> {
        Ok(Self(Backend::Redis(Redis::connect(config).await.map_err(DirectoryError)?)))
    }

    /// Renews the lease of a node; call it every third of
    /// [`NODE_LEASE_MS`](crate::limits::NODE_LEASE_MS). True: the lease was new or had been lost,
    /// so the node must seat all its users again.
    pub async fn keep_node(&self, node: NodeId) -> Result<bool, DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => Ok(memory.keep_node(node)),
            Backend::Redis(redis) => redis.keep_node(node).await,
        }
    }

    /// Ends the lease of a node, and with it everything that hangs on it.
    pub async fn forget_node(&self, node: NodeId) -> Result<(), DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => {
                memory.forget_node(node);
                Ok(())
            }
            Backend::Redis(redis) => redis.forget_node(node).await,
        }
    }

    /// Keeps what a program says about itself, until [`Self::forget_node`].
    pub async fn write_card(&self, node: NodeId, card: &[u8]) -> Result<(), DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => {
                memory.write_card(node, card);
                Ok(())
            }
            Backend::Redis(redis) => redis.write_card(node, card).await,
        }
    }

    /// What programs said about themselves: those with a lease, and those that ended without a farewell.
    pub async fn cards(&self) -> Result<Vec<Vec<u8>>, DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => Ok(memory.cards()),
            Backend::Redis(redis) => redis.cards().await,
        }
    }

    /// Drops what is too old to be of use.
    pub async fn drop_cards(&self, nodes: &[NodeId]) -> Result<(), DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => {
                memory.drop_cards(nodes);
                Ok(())
            }
            Backend::Redis(redis) => redis.drop_cards(nodes).await,
        }
    }

    /// The nodes with a lease.
    pub async fn live_nodes(&self) -> Result<Vec<NodeId>, DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => Ok(memory.live_nodes()),
            Backend::Redis(redis) => redis.live_nodes().await,
        }
    }

    /// These users, any number of them, have a socket on this node. Idempotent. A fault when the
    /// node has no lease: keep it first.
    pub async fn seat(&self, node: NodeId, users: &[UserId]) -> Result<(), DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => memory.seat(node, users),
            Backend::Redis(redis) => redis.seat(node, users).await,
        }
    }

    /// These users have no socket on this node any more. Idempotent.
    pub async fn unseat(&self, node: NodeId, users: &[UserId]) -> Result<(), DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => {
                memory.unseat(node, users);
                Ok(())
            }
            Backend::Redis(redis) => redis.unseat(node, users).await,
        }
    }

    /// The live nodes that hold sockets of these users; users without one are not in the answer.
    pub async fn nodes_of(&self, users: &[UserId]) -> Result<HashMap<UserId, Vec<NodeId>>, DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => Ok(memory.nodes_of(users)),
            Backend::Redis(redis) => redis.nodes_of(users).await,
        }
    }

    /// Clears the seats of dead nodes: users without another one are offline
    /// [`PRESENCE_GRACE_MS`](crate::limits::PRESENCE_GRACE_MS) after the node was last heard of.
    /// One worker must call this about every second; all may. It does nothing unless `judge`, the caller's
    /// node, has kept its own lease for the length of one: otherwise Redis may have lost the leases, or its
    /// clock was set, and the nodes renew them in a moment.
    pub async fn reap(&self, judge: NodeId) -> Result<Reaped, DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => Ok(memory.reap(judge)),
            Backend::Redis(redis) => redis.reap(judge).await,
        }
    }

    /// Claims some users whose contacts must be told that they came online, or went offline more than the grace
    /// period ago. No other worker gets them for [`PRESENCE_CLAIM_MS`](crate::limits::PRESENCE_CLAIM_MS); then
    /// they are returned again, unless [`Directory::told_presence`] was called. About `users_max` at once,
    /// rounded up to a whole number per bucket.
    pub async fn claim_presence(&self, users_max: usize) -> Result<Vec<Presence>, DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => Ok(memory.claim_presence(users_max)),
            Backend::Redis(redis) => redis.claim_presence(users_max).await,
        }
    }

    /// The contacts of claimed users were told. Users who came or went meanwhile are claimed again.
    pub async fn told_presence(&self, told: &[Presence]) -> Result<(), DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => {
                memory.told_presence(told);
                Ok(())
            }
            Backend::Redis(redis) => redis.told_presence(told).await,
        }
    }

    /// Which of these users are online, as contacts see it: with a seat, or with one until a moment ago.
    pub async fn online(&self, users: &[UserId]) -> Result<Vec<UserId>, DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => Ok(memory.online(users)),
            Backend::Redis(redis) => redis.online(users).await,
        }
    }

    /// Takes tokens from the bucket of `key`. `Ok(Err(wait))`: not now, but after `wait`. A fault when
    /// the rate is invalid or the cost exceeds the burst, because no wait would help.
    pub async fn take_tokens(
        &self,
        key: &str,
        cost: u32,
        rate: ClusterRate,
    ) -> Result<Result<(), Duration>, DirectoryError> {
        let is_sane = rate.per_second.is_finite() && rate.per_second >= RATE_PER_SECOND_MIN;
        if !is_sane || cost > rate.burst {
            return Err(DirectoryError(anyhow::anyhow!("{cost} tokens can never be had at {rate:?}")));
        }
        match &self.0 {
            Backend::Memory(memory) => Ok(memory.take_tokens(key, cost, rate)),
            Backend::Redis(redis) => redis.take_tokens(key, cost, rate).await,
        }
    }

    /// Reads a value.
    pub async fn value(&self, key: &str) -> Result<Option<Versioned>, DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => Ok(memory.value(key)),
            Backend::Redis(redis) => redis.value(key).await,
        }
    }

    /// Writes a value if its version is still `expected` (0: it does not exist). False: another program
    /// was first. An empty value deletes; after that versions begin at 1 again.
    pub async fn compare_and_set(
        &self,
        key: &str,
        expected: u64,
        value: &[u8],
        ttl: Duration,
    ) -> Result<bool, DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => Ok(memory.compare_and_set(key, expected, value, ttl)),
            Backend::Redis(redis) => redis.compare_and_set(key, expected, value, ttl).await,
        }
    }

    /// Gives tokens back that were taken for something that did not count after all.
    pub async fn give_tokens(&self, key: &str, count: u32, rate: ClusterRate) -> Result<(), DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => {
                memory.give_tokens(key, count, rate);
                Ok(())
            }
            Backend::Redis(redis) => redis.give_tokens(key, count, rate).await,
        }
    }

    /// Logins ended before their tokens did: remember each until its tokens have expired. Returns
    /// those that were not known here.
    pub async fn end_logins(&self, ended: &[(LoginId, Duration)]) -> Result<Vec<LoginId>, DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => Ok(memory.end_logins(ended)),
            Backend::Redis(redis) => redis.end_logins(ended).await,
        }
    }

    /// The same for one.
    pub async fn end_login(&self, login: LoginId, ttl: Duration) -> Result<(), DirectoryError> {
        self.end_logins(&[(login, ttl)]).await.map(drop)
    }

    /// All logins ended early whose tokens could still be valid.
    pub async fn ended_logins(&self) -> Result<EndedLogins, DirectoryError> {
        let mut logins = match &self.0 {
            Backend::Memory(memory) => memory.ended_logins(),
            Backend::Redis(redis) => redis.ended_logins().await?,
        };
        let all = logins.len();
        logins.retain(|login| *login != COMPLETE);
        Ok(EndedLogins { is_complete: logins.len() < all, logins })
    }

    /// Whether all ended logins are here: nothing was lost since [`Self::mark_ended_logins`].
    pub async fn has_all_ended_logins(&self) -> Result<bool, DirectoryError> {
        match &self.0 {
            Backend::Memory(memory) => Ok(memory.ended_logins().contains(&COMPLETE)),
            Backend::Redis(redis) => redis.has_all_ended_logins().await,
        }
    }

    /// Marks the directory as complete: it holds all ended logins of the store. A directory that loses its data
    /// loses this mark too. The mark is valid for `ttl`.
    pub async fn mark_ended_logins(&self, ttl: Duration) -> Result<(), DirectoryError> {
        self.end_login(COMPLETE, ttl).await
    }
}

/// Slower than one token in a day is not a rate.
const RATE_PER_SECOND_MIN: f64 = 1.0 / 86_400.0;
