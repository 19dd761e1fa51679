//! The questions to the directory, and its answers.

use std::path::PathBuf;

use anyhow::anyhow;

use protocol::ids::{LoginId, NodeId, UserId};

/// The address of Redis Cluster.
#[derive(Clone)]
pub struct DirectoryConfig {
    /// `redis://[user:password@]host:port`, any nodes of the cluster.
    pub nodes: Vec<String>,
    /// Prefix of every key.
    pub prefix: String,
    /// Authorities in PEM that are trusted instead of the machine's, for `rediss://`.
    pub ca_file: Option<PathBuf>,
}

impl std::fmt::Debug for DirectoryConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirectoryConfig").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// The directory did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the directory: {0:#}")]
pub struct DirectoryError(pub anyhow::Error);

/// A limit on how often something may happen, cluster-wide (GCRA).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClusterRate {
    /// The burst.
    pub burst: u32,
    /// The rate.
    pub per_second: f64,
}

/// A user whose contacts do not know yet whether it is online.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Presence {
    /// The user.
    pub user: UserId,
    /// It has a seat on a live node.
    pub is_online: bool,
}

/// The result of a search for dead nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Dead nodes whose seats were cleared.
    pub nodes: u64,
    /// Users whose last seat went with them.
    pub users: u64,
}

/// A value with the version that a change must name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Counts up from 1 with each change.
    pub version: u64,
    /// The value.
    pub value: Vec<u8>,
}

/// The mark among the ended logins: no login has this id, and programs that do not know it take it
/// for one.
pub(super) const COMPLETE: LoginId = LoginId(-1);

/// Logins that ended before their tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndedLogins {
    /// Those that are known here.
    pub logins: Vec<LoginId>,
    /// Nothing was lost: these are all.
    pub is_complete: bool,
}

pub(super) fn no_lease(node: NodeId) -> DirectoryError {
    DirectoryError(anyhow!("node {node} has no lease: keep it before seating anybody on it"))
}
