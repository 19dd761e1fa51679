//! Who is where: the seam, and its promises.
//!
//! * Everything a node has written here hangs on its lease: without [`Directory::keep_node`]
//!   within [`NODE_LEASE_MS`](crate::limits::NODE_LEASE_MS) its users are nowhere, at once and
//!   everywhere, by one expiry. An idle socket costs nothing here.
//! * Nothing here is the only copy of anything. A directory that lost data is refilled: nodes seat
//!   their users again when `keep_node` answers that the lease was new, heads come from the store.
//! * Every call has a deadline ([`DIRECTORY_MS_MAX`](crate::limits::DIRECTORY_MS_MAX)); its fault
//!   is the caller's to handle: retry, or tell the client `busy`.

use std::time::Duration;

use foldhash::HashMap;

use crate::ids::{ConversationId, LoginId, NodeId, UserId};

/// How to reach Redis Cluster.
#[derive(Clone)]
pub struct DirectoryConfig {
    /// `redis://[user:password@]host:port`, any nodes of the cluster.
    pub nodes: Vec<String>,
    /// Prefix of every key.
    pub prefix: String,
}

impl std::fmt::Debug for DirectoryConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirectoryConfig").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Directory(Never);

#[derive(Clone, Copy)]
enum Never {}

/// The directory did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the directory: {0}")]
pub struct DirectoryError(pub anyhow::Error);

/// A limit on how often something may happen, cluster-wide (GCRA).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// How many at once.
    pub burst: u32,
    /// How many in the long run.
    pub per_second: f64,
}

/// A value with the version that a change must name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Counts up from 1 with each change.
    pub version: u64,
    /// The value.
    pub value: Vec<u8>,
}

impl Directory {
    /// The directory of one process.
    #[expect(clippy::panic, reason = "skeleton")]
    pub fn memory() -> Self {
        panic!("skeleton")
    }

    /// Connects to the cluster. The first connection must succeed.
    pub async fn connect(_config: DirectoryConfig) -> Result<Self, DirectoryError> {
        Err(DirectoryError(anyhow::anyhow!("skeleton")))
    }

    /// Renews the lease of a node. True: the lease was new or had been lost, so the node must
    /// seat all its users again.
    pub async fn keep_node(&self, _node: NodeId) -> Result<bool, DirectoryError> {
        match self.0 {}
    }

    /// Ends the lease of a node, and with it everything that hangs on it.
    pub async fn forget_node(&self, _node: NodeId) -> Result<(), DirectoryError> {
        match self.0 {}
    }

    /// The nodes with a lease.
    pub async fn live_nodes(&self) -> Result<Vec<NodeId>, DirectoryError> {
        match self.0 {}
    }

    /// These users have a socket on this node. Idempotent.
    pub async fn seat(&self, _node: NodeId, _users: &[UserId]) -> Result<(), DirectoryError> {
        match self.0 {}
    }

    /// These users have no socket on this node any more. Idempotent.
    pub async fn unseat(&self, _node: NodeId, _users: &[UserId]) -> Result<(), DirectoryError> {
        match self.0 {}
    }

    /// The live nodes that hold sockets of these users; users without one are not in the answer.
    /// Presence is the same question: who is in the answer is online.
    pub async fn nodes_of(&self, _users: &[UserId]) -> Result<HashMap<UserId, Vec<NodeId>>, DirectoryError> {
        match self.0 {}
    }

    /// The conversations reached these seqs; heads only ever rise.
    pub async fn raise_heads(&self, _heads: &[(ConversationId, u64)]) -> Result<(), DirectoryError> {
        match self.0 {}
    }

    /// The heads that are known, in the order asked. None: ask the store.
    pub async fn heads(&self, _conversations: &[ConversationId]) -> Result<Vec<Option<u64>>, DirectoryError> {
        match self.0 {}
    }

    /// Takes tokens from the bucket of `key`. `Ok(Err(wait))`: not now; in so long.
    pub async fn take_tokens(
        &self,
        _key: &str,
        _cost: u32,
        _rate: Rate,
    ) -> Result<Result<(), Duration>, DirectoryError> {
        match self.0 {}
    }

    /// Reads a value.
    pub async fn value(&self, _key: &str) -> Result<Option<Versioned>, DirectoryError> {
        match self.0 {}
    }

    /// Writes a value if its version is still `expected` (0: it does not exist). False: somebody
    /// else was first. An empty value deletes.
    pub async fn compare_and_set(
        &self,
        _key: &str,
        _expected: u64,
        _value: &[u8],
        _ttl: Duration,
    ) -> Result<bool, DirectoryError> {
        match self.0 {}
    }

    /// A login ended before its tokens did: remember it until they have expired.
    pub async fn end_login(&self, _login: LoginId, _ttl: Duration) -> Result<(), DirectoryError> {
        match self.0 {}
    }

    /// All logins ended early whose tokens could still be valid.
    pub async fn ended_logins(&self) -> Result<Vec<LoginId>, DirectoryError> {
        match self.0 {}
    }
}
