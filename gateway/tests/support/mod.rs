//! A whole cluster in one process, and people who talk through it.

#![allow(dead_code, unused_imports, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed")]

/// Gateways, workers, a fresh database; the memory backends or the real ones.
mod cluster;

/// One gateway with nobody behind it.
mod alone;

/// What a person's program does: one native socket.
mod client;

/// What a person waits for, as sentences.
mod expect;

/// REST over a plain connection.
mod rest;

pub use self::alone::Alone;
pub use self::client::{Heard, TestClient};
pub use testing::Kind;

pub use self::cluster::{Cluster, Product};
pub use self::expect::*;
pub use self::rest::{Answer, request};

/// Runs a story on the memory backends with frozen time and on the real ones.
#[macro_export]
macro_rules! on_both {
    ($($story:ident;)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $story() {
                if let Some(cluster) = $crate::support::Cluster::start($crate::support::Kind::Memory).await {
                    super::$story(cluster).await;
                }
            })*
        }
        mod real {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                if let Some(cluster) = $crate::support::Cluster::start($crate::support::Kind::Real).await {
                    super::$story(cluster).await;
                }
            })*
        }
    };
}

/// Runs a story in which time must pass on the memory backends only: there it is frozen, and
/// passes by `cluster.pass`.
#[macro_export]
macro_rules! on_memory {
    ($($story:ident;)*) => {
        mod frozen {
            $(#[tokio::test]
            async fn $story() {
                if let Some(cluster) = $crate::support::Cluster::start($crate::support::Kind::Memory).await {
                    super::$story(cluster).await;
                }
            })*
        }
    };
}
