//! The same story on both backends of the directory.

use std::future::Future;
use std::time::Duration;

use common::config::{Env, Peers};
use common::directory::{Directory, DirectoryConfig};
use protocol::ids::{NodeId, UserId};

const PATIENCE: Duration = Duration::from_secs(30);

/// Where handles come from: two of them are two programs.
#[derive(Clone)]
pub enum Source {
    Memory(Directory),
    Redis(DirectoryConfig),
}

impl Source {
    pub async fn handle(&self) -> Directory {
        match self {
            Self::Memory(directory) => directory.clone(),
            Self::Redis(config) => Directory::connect(config.clone()).await.unwrap(),
        }
    }
}

/// The same story on both backends. In one process time is paused, so waiting costs nothing.
pub fn contract<F: Future<Output = ()>>(story: impl Fn(Source) -> F) {
    let builder = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all();
        builder
    };
    let memory = Source::Memory(Directory::memory());
    builder().start_paused(true).build().unwrap().block_on(story(memory));

    let Some(_) = crate::support::peers::variable("REDIS_NODES") else { return };
    let config = Peers::from_env(&mut Env::from_process()).directory.expect("REDIS_NODES names a cluster");
    let config = DirectoryConfig { prefix: format!("contract-{}", NodeId::random()), ..config };
    builder().build().unwrap().block_on(story(Source::Redis(config)));
}

pub fn users(ids: std::ops::RangeInclusive<i64>) -> Vec<UserId> {
    ids.map(UserId).collect()
}

/// Asks until it is so.
pub async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never: {what}"));
}
