//! The canary: two accounts that send a message through every pair of gateways each ten seconds, and measure what
//! users get. It is a client and nothing else: REST, native sockets, no secret of the cluster.
//!
//! The speaker sends one message through each gateway; the listener has to hear each of them at
//! every gateway. So N messages judge N × N pairs. A pair that was not heard is in the log with its
//! guid, so that an operator can follow it through the cluster.
//!
//! It never ends because of a fault: it reconnects its sockets and repeats its login. Only a fault that repetition
//! cannot mend (the environment, a wrong password) ends it at the start.

/// Its configuration.
pub mod config;

/// One socket.
mod line;

/// The two accounts.
mod login;

/// Its metrics.
mod metrics;

/// Its printed report.
mod report;

/// The judgement of what was sent and heard.
mod round;

/// All gateways, round after round.
mod watch;

use std::process::ExitCode;

use anyhow::Context as _;
use common::config::EXIT_CONFIG;
use common::health::Readiness;
use common::lifecycle::Lifecycle;
use common::ops::Ops;
use common::telemetry;
use protocol::ids::NodeId;
use tracing::error;

use self::config::CanaryConfig;
use self::login::Tokens;
use self::watch::Watch;
use crate::account::WrongPassword;
use crate::cli::Canary;

/// Runs it, and returns the process's exit code, as the operator's commands do.
pub async fn run(config: CanaryConfig, wanted: Canary) -> anyhow::Result<ExitCode> {
    match wanted {
        Canary { check: true, .. } => Ok(ExitCode::SUCCESS),
        Canary { once: true, json, .. } => once(config, json).await,
        Canary { .. } => for_ever(config).await,
    }
}

async fn once(config: CanaryConfig, json: bool) -> anyhow::Result<ExitCode> {
    let (tokens, conversation) = match Tokens::take(&config, true).await {
        Ok(taken) => taken,
        Err(err) => {
            eprintln!("chatchit: {err:#}");
            let is_wrong = err.downcast_ref::<WrongPassword>().is_some();
            return Ok(ExitCode::from(if is_wrong { EXIT_CONFIG } else { 2 }));
        }
    };
    let report = Watch::new(&config, tokens, conversation).once().await;
    report.print(json)?;
    Ok(ExitCode::from(u8::from(!report.is_good())))
}

async fn for_ever(config: CanaryConfig) -> anyhow::Result<ExitCode> {
    // The first signal ends it: it owes nobody anything.
    let lifecycle = Lifecycle::install()?;
    telemetry::init_logs("canary");
    let metrics = telemetry::init_metrics();
    let readiness = Readiness::new("canary", NodeId::random());
    readiness.set("gateways", Err("not logged in yet".to_owned()));
    let ops = Ops::bind(config.admin).await.context("the admin port")?;
    tokio::spawn(ops.run(metrics, readiness.clone(), lifecycle.clone()));
    let watching = async {
        let (tokens, conversation) = Tokens::take(&config, false).await?;
        Watch::new(&config, tokens, conversation).run(readiness).await;
        anyhow::Ok(())
    };
    tokio::select! {
        ended = watching => match ended {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(err) => {
                error!("{err:#}");
                Ok(ExitCode::from(EXIT_CONFIG))
            }
        },
        () = lifecycle.draining() => Ok(ExitCode::SUCCESS),
    }
}
