//! Everything in one process: peers, one gateway, one worker, until a signal.
//!
//! A peer that the environment names is used; one that it does not name is stood in for: the bus
//! and the directory by this process itself, PostgreSQL by a private one under the data folder.
//! Which is which is said at the start. Nothing is ever swapped while it runs.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use common::auth::Verifier;
use common::bus::Bus;
use common::config::Secret;
use common::directory::Directory;
use common::lifecycle::Lifecycle;
use common::ops::Ops;
use common::{spans, telemetry};
use gateway::Gateway;
use protocol::ids::NodeId;
use worker::store::Store;
use worker::{Worker, features};

use crate::config::ProcessConfig;
use crate::data::Data;
use crate::postgres::Postgres;

/// Runs until a signal; a private PostgreSQL is stopped in any case.
pub async fn run(config: ProcessConfig, data: Data) -> anyhow::Result<()> {
    // The first signal drains, a second one aborts.
    let lifecycle = Lifecycle::install()?;
    telemetry::init_logs("chatchit");
    match config.worker.peers.database_url.clone() {
        Some(url) => together(config, &data, url, "yours (DATABASE_URL)", lifecycle).await,
        None => {
            let postgres = Postgres::start(&data).await?;
            let url = postgres.url().clone();
            let ended = together(config, &data, url, "private, in the data folder", lifecycle).await;
            postgres.stop().await;
            ended
        }
    }
}

async fn together(
    config: ProcessConfig,
    data: &Data,
    database_url: Secret,
    database: &str,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let metrics = telemetry::init_metrics();
    let verifier = Verifier::new(&config.worker.auth);
    let connections = config.worker.store_connections;
    let mut store = Store::connect(database_url.expose(), connections).await?;
    if let Some(replica) = &config.worker.peers.database_replica_url {
        store = store.with_replica(replica.expose(), connections)?;
    }
    store.migrate().await.context("the database could not be migrated")?;

    let (node, peers) = (NodeId::random(), config.worker.peers.clone());
    let (bus, bus_kind) = match peers.bus {
        Some(rabbit) => (Bus::connect(rabbit, node).await?, "RabbitMQ (AMQP_URL)"),
        None => (Bus::memory(), "in this process"),
    };
    let (directory, directory_kind) = match peers.directory {
        Some(redis) => (Directory::connect(redis).await?, "Redis (REDIS_NODES)"),
        None => (Directory::memory(), "in this process"),
    };
    spans::start("chatchit", node, config.gateway.collector.as_deref())?;
    let worker =
        Worker::start(&config.worker, features::ALL, NodeId::random(), store, bus.clone(), directory.clone())
            .await?;
    let (admin, has_admin_port) = (config.gateway.admin, config.has_admin_port);
    let gateway = Gateway::bind(config.gateway, node, bus.clone(), directory, verifier).await?;
    let addr = gateway.addr()?;

    let free_port = (!has_admin_port).then_some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let wanted = free_port.or(admin);
    let ops = Ops::bind(wanted).await.context("the admin port")?;
    let admin_addr = ops.addr();
    let readiness = gateway.readiness().with("chatchit", worker.readiness());
    tokio::spawn(ops.run(metrics, readiness, lifecycle.clone()));
    welcome(addr.port(), admin_addr, data, [bus_kind, directory_kind, database])?;

    // The gateway leaves first: what its clients were promised is then worked off.
    let worker_lifecycle = Lifecycle::manual();
    let working = tokio::spawn(worker.run(worker_lifecycle.clone()));
    let (worker_leaves, all) = (worker_lifecycle.clone(), lifecycle.clone());
    // An operator who tells only the worker to leave means the process: half of one is none.
    tokio::spawn(async move {
        worker_leaves.draining().await;
        all.drain();
    });
    let served = gateway.run(lifecycle.clone()).await;
    worker_lifecycle.drain();
    let worked = tokio::select! {
        worked = working => worked.context("the worker panicked")?,
        () = lifecycle.aborting() => Ok(()),
    };
    bus.drain().await;
    spans::finish().await;
    served.and(worked)
}

/// The first screen: where it is, what it stands on, and what to paste.
fn welcome(port: u16, admin: Option<SocketAddr>, data: &Data, kinds: [&str; 3]) -> anyhow::Result<()> {
    let [bus, directory, database] = kinds;
    let program = std::env::current_exe()?;
    let here = std::env::current_dir()?;
    let program = match program.strip_prefix(&here) {
        Ok(inside) => format!("./{}", inside.display()),
        Err(_) => program.display().to_string(),
    };
    let url = if port == crate::config::port() && std::env::var_os("PORT").is_none() {
        String::new()
    } else {
        format!(" --url http://127.0.0.1:{port}")
    };
    let folder = match std::env::var_os("CHATCHIT_DATA") {
        Some(_) => format!("CHATCHIT_DATA={} ", data.folder().display()),
        None => String::new(),
    };
    let admin = admin.map_or_else(String::new, |admin| format!("\n  metrics    http://{admin}/metrics"));
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "\nChatChit is up at http://127.0.0.1:{port}
  sockets    ws://127.0.0.1:{port}/ws and Socket.IO at http://127.0.0.1:{port}
  bus        {bus}
  directory  {directory}
  database   {database}{admin}

Paste into a second terminal (bob listens):
  {folder}{program} listen --as bob{url}
and into a third (alice speaks):
  {folder}{program} say --as alice --to bob{url} \"xin chào\"
After a restart it is all still there:
  {folder}{program} history --as bob --with alice{url}\n"
    )?;
    Ok(out.flush()?)
}
