//! The gateway binary: reads the configuration, runs one node, and drains it at the end.
//! What a gateway *is* starts in `lib.rs`.

use std::process::ExitCode;

use common::arguments::{self, Arguments};
use common::auth::Verifier;
use common::config::{EXIT_CONFIG, Env};
use common::{bus::Bus, directory::Directory, lifecycle::Lifecycle, ops::Ops, spans, telemetry};
use gateway::{ClusterConfig, Gateway};
use protocol::ids::NodeId;
use tracing::info;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ABOUT: &str = "One gateway: holds the sockets of clients, passes on what they send, and delivers";

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Arguments = match arguments::read("gateway", ABOUT) {
        Ok(arguments) => arguments,
        Err(code) => return Ok(code),
    };
    let config = match ClusterConfig::from_env(Env::from_process()) {
        Ok(_) if arguments.check => return Ok(ExitCode::SUCCESS),
        Ok(config) => config,
        Err(err) => {
            eprintln!("gateway: {err}");
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    telemetry::init_logs("gateway");
    config.auth.warn_if_weak();
    config.gateway.runtime()?.block_on(run(config))?;
    Ok(ExitCode::SUCCESS)
}

async fn run(config: ClusterConfig) -> anyhow::Result<()> {
    // The first SIGTERM drains, a second one aborts.
    let lifecycle = Lifecycle::install()?;
    let metrics = telemetry::init_metrics();

    let id = NodeId::random();
    let bus = Bus::connect(config.bus, id).await?;
    let directory = Directory::connect(config.directory).await?;
    let admin = config.gateway.admin;

    spans::start("chatchit-gateway", id, config.gateway.collector.as_deref())?;
    let verifier = Verifier::new(&config.auth);
    let gateway = Gateway::bind(config.gateway, id, bus.clone(), directory, verifier).await?;
    info!(node.id = %gateway.node(), "Gateway listening on {}", gateway.addr()?);
    tokio::spawn(Ops::bind(admin).await?.run(metrics, gateway.readiness(), lifecycle.clone()));
    gateway.run(lifecycle).await?;
    bus.drain().await;
    spans::finish().await;
    Ok(())
}
