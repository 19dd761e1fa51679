//! Ours under measurement: release binaries of gateway and worker, on the peers that the
//! environment names (`deploy/with-peers` sets it).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use common::config::{Env, Peers};
use swarm::rest::Rest;

use crate::process::{Started, Watched};

/// Signs the tokens of this bench; long enough for the programs to accept it.
pub const SECRET: &str = "a secret of the bench, for loopback only";

/// Where things are.
pub struct Places {
    /// Release binaries.
    pub binaries: PathBuf,
    /// Output of the programs.
    pub logs: PathBuf,
    /// Pid files of the peers.
    pub peers: PathBuf,
    /// RabbitMQ.
    pub amqp_url: String,
    /// RabbitMQ's management API, with user and password.
    pub management_url: String,
}

impl Places {
    /// From the environment and from where this program is.
    ///
    /// # Errors
    /// The peers are not named: started without `make bench`.
    pub fn find() -> anyhow::Result<Self> {
        let binaries = std::env::current_exe()?.parent().context("a program is in a folder")?.to_owned();
        for name in ["gateway", "worker"] {
            if !binaries.join(name).exists() {
                bail!("{} is not built: run make bench", binaries.join(name).display());
            }
        }
        let peers = Peers::from_env(&mut Env::from_process());
        let bus = peers.bus.context("no AMQP_URL: run make bench")?;
        let var = |name: &str| std::env::var(name).with_context(|| format!("no {name}: run make bench"));
        Ok(Self {
            logs: binaries.join("bench-logs"),
            binaries,
            peers: var("PEERS_DIR")?.into(),
            amqp_url: bus.url,
            management_url: var("RABBIT_MANAGEMENT_URL")?,
        })
    }

    /// RabbitMQ, Redis, PostgreSQL, each with everything it started.
    pub fn watched(&self) -> anyhow::Result<Vec<Watched>> {
        let mut watched = vec![];
        for part in ["rabbitmq", "postgres", "redis1", "redis2", "redis3", "redis4", "redis5", "redis6"] {
            let path = self.peers.join(format!("{part}.pid"));
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            watched.push(Watched::family(part, text.trim().parse()?));
        }
        Ok(watched)
    }
}

/// One gateway, and a worker if asked for.
pub struct Cluster {
    /// The gateway.
    pub gateway: Started,
    worker: Option<Started>,
}

impl Cluster {
    /// Starts them with their own queues.
    ///
    /// # Errors
    /// They do not start.
    pub async fn start(places: &Places, prefix: &str, with_worker: bool) -> anyhow::Result<Self> {
        let command = |name: &str| {
            let mut command = Command::new(places.binaries.join(name));
            command
                .env("JWT_ACCESS_TOKEN", SECRET)
                .env("JWT_REFRESH_TOKEN", SECRET)
                .env("CHATCHIT_PREFIX", prefix)
                .env("BIND", "127.0.0.1")
                .env("ADMIN_PORT", "0")
                .env("RUST_LOG", "warn");
            // One generator plays many users from few sockets: limits per socket and per user
            // would measure themselves.
            command.env("UPGRADES_PER_S", "4000000000");
            for limit in ["RATE_SOCKET", "RATE_SOCKET_BYTES", "RATE_USER"] {
                command.env(format!("{limit}_PER_S"), "4000000000");
                command.env(format!("{limit}_BURST"), "4000000000");
            }
            command
        };
        let worker = match with_worker {
            true => Some(Started::spawn("worker", command("worker"), &places.logs, 0)?),
            false => None,
        };
        let gateway = Started::listening("gateway", command("gateway"), &places.logs).await?;
        let cluster = Self { gateway, worker };
        if with_worker {
            cluster.answers().await.context("the worker does not answer")?;
        }
        Ok(cluster)
    }

    /// The programs.
    pub fn watched(&self) -> Vec<Watched> {
        let programs = [Some(&self.gateway), self.worker.as_ref()];
        programs.into_iter().flatten().map(Started::watched).collect()
    }

    async fn answers(&self) -> anyhow::Result<()> {
        let mut rest = Rest::new(std::slice::from_ref(&self.gateway.address), 0);
        // Any answer but 5xx: the call repeats until then.
        rest.call("GET", "/conversations?page=1&size=1", None, None).await.map(drop)
    }
}

/// The commit this was built from, if that can be known.
pub fn commit(root: &Path) -> String {
    let git = |args: &[&str]| {
        let out = Command::new("git").arg("-C").arg(root).args(args).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".into() };
    let is_changed = git(&["status", "--porcelain"]).is_some_and(|text| !text.is_empty());
    if is_changed { format!("{commit} with changes") } else { commit }
}
