//! The worker binary: configuration in, one worker up, drained on the way out.
//! What a worker *is* starts in `lib.rs`.

use std::process::ExitCode;

use anyhow::Context as _;
use common::arguments::{self, Arguments};
use common::config::{EXIT_CONFIG, Env};
use common::{bus::Bus, directory::Directory, lifecycle::Lifecycle, ops::Ops, spans, telemetry};
use protocol::ids::NodeId;
use worker::{Worker, WorkerConfig, features, store::Store};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ABOUT: &str = "One worker: carries out what clients send, keeps it in the database, and answers REST";

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Arguments = match arguments::read("worker", ABOUT) {
        Ok(arguments) => arguments,
        Err(code) => return Ok(code),
    };
    let mut env = Env::from_process();
    let config = WorkerConfig::from_env(&mut env).for_a_cluster(&mut env);
    if let Err(err) = env.finish() {
        eprintln!("worker: {err}");
        return Ok(ExitCode::from(EXIT_CONFIG));
    }
    if arguments.check {
        return Ok(ExitCode::SUCCESS);
    }
    telemetry::init_logs("worker");
    config.auth.warn_if_weak();
    config.runtime()?.block_on(run(config))?;
    Ok(ExitCode::SUCCESS)
}

async fn run(config: WorkerConfig) -> anyhow::Result<()> {
    // The first SIGTERM drains, a second one aborts.
    let lifecycle = Lifecycle::install()?;
    let metrics = telemetry::init_metrics();
    let peers = config.peers.clone();

    let url = peers.database_url.context("checked")?;
    let mut store = Store::connect(url.expose(), config.store_connections).await?;
    if let Some(replica) = &peers.database_replica_url {
        store = store.with_replica(replica.expose(), config.store_connections)?;
    }
    store.migrate().await?;
    let directory = Directory::connect(peers.directory.context("checked")?).await?;
    let node = NodeId::random();
    let bus = Bus::connect(peers.bus.context("checked")?, node).await?;

    spans::start("chatchit-worker", node, config.collector.as_deref())?;
    let worker = Worker::start(&config, features::ALL, node, store, bus.clone(), directory).await?;
    tokio::spawn(Ops::bind(config.admin).await?.run(metrics, worker.readiness(), lifecycle.clone()));
    worker.run(lifecycle).await?;
    bus.drain().await;
    spans::finish().await;
    Ok(())
}
