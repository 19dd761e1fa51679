//! Ours under measurement: release binaries of gateway and worker, on the peers that the
//! environment names (`deploy/with-peers` sets it).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use common::config::{Env, Peers};
use swarm::options::Address;
use swarm::rest::Rest;

use crate::peers::http;
use crate::process::{Started, Watched, free_port};

/// Signs the tokens of this bench; long enough for the programs to accept it.
pub const SECRET: &str = "a secret of the bench, for loopback only";

/// The addresses of the programs.
#[derive(Clone)]
pub struct Places {
    /// The folder of the release binaries.
    pub binaries: PathBuf,
    /// The folder for the output of the programs.
    pub logs: PathBuf,
    /// The folder of the peers' pid files.
    pub peers: PathBuf,
    /// The URL of RabbitMQ.
    pub amqp_url: String,
    /// The URL of RabbitMQ's management API, with user and password.
    pub management_url: String,
    /// The port of RabbitMQ's Prometheus metrics.
    pub scrape_port: u16,
    /// `host:port` of every Redis node.
    pub redis_nodes: Vec<String>,
    /// The URL of PostgreSQL.
    pub database_url: String,
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
            scrape_port: var("RABBIT_SCRAPE_PORT")?.parse()?,
            redis_nodes: var("REDIS_NODES")?.split(',').map(str::to_owned).collect(),
            database_url: var("DATABASE_URL")?,
        })
    }

    /// RabbitMQ, Redis and PostgreSQL, each with all its child processes.
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

/// The number of gateways and workers, and their settings.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The number of gateways, at least one.
    pub gateways: usize,
    /// The number of workers; 0: events stay in the lanes.
    pub workers: usize,
    /// True: the limits per socket, per user and of upgrades have their defaults. False: they are
    /// lifted, because one generator plays many users from few sockets and would measure the limits.
    pub limited: bool,
    /// More environment variables of the programs.
    pub env: Vec<(&'static str, String)>,
}

impl Layout {
    /// A layout of this many programs, without limits.
    pub fn of(gateways: usize, workers: usize) -> Self {
        Self { gateways, workers, limited: false, env: vec![] }
    }

    fn command(&self, places: &Places, prefix: &str, name: &str, admin_port: u16) -> Command {
        let mut command = Command::new(places.binaries.join(name));
        command
            .env("JWT_ACCESS_TOKEN", SECRET)
            .env("JWT_REFRESH_TOKEN", SECRET)
            .env("CHATCHIT_PREFIX", prefix)
            .env("BIND", "127.0.0.1")
            .env("ADMIN_PORT", admin_port.to_string())
            .env("RUST_LOG", "warn");
        if !self.limited {
            command.env("UPGRADES_PER_S", "4000000000");
            command.envs([("LOGIN_SOCKETS_MAX", "4000000000"), ("USER_SOCKETS_MAX", "4000000000")]);
            for limit in ["RATE_SOCKET", "RATE_SOCKET_BYTES", "RATE_USER"] {
                command.env(format!("{limit}_PER_S"), "4000000000");
                command.env(format!("{limit}_BURST"), "4000000000");
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Gateways and workers of one system, ended when this is dropped.
pub struct Cluster {
    /// The gateways, at least one.
    pub gateways: Vec<Started>,
    /// The workers, as many as the layout has.
    pub workers: Vec<Started>,
    /// The admin ports of all gateways and workers.
    admin_ports: Vec<u16>,
}

impl Cluster {
    /// Starts one gateway, and a worker if asked for, with their own queues.
    ///
    /// # Errors
    /// They do not start.
    pub async fn start(places: &Places, prefix: &str, with_worker: bool) -> anyhow::Result<Self> {
        Self::lay_out(places, prefix, &Layout::of(1, usize::from(with_worker))).await
    }

    /// Starts a layout with its own queues, and waits until REST is answered through every gateway.
    ///
    /// # Errors
    /// They do not start.
    pub async fn lay_out(places: &Places, prefix: &str, layout: &Layout) -> anyhow::Result<Self> {
        // A figure of several programs of a kind has their name without the number.
        let name = |kind: &str, count: usize, at: usize| match count {
            1 => kind.to_owned(),
            _ => format!("{kind}{}", at + 1),
        };
        let mut cluster = Self { gateways: vec![], workers: vec![], admin_ports: vec![] };
        for _ in 0..layout.workers + layout.gateways {
            cluster.admin_ports.push(free_port()?);
        }
        let mut admin_ports = cluster.admin_ports.clone().into_iter();
        let mut command = |kind: &str| layout.command(places, prefix, kind, admin_ports.next().unwrap_or(0));
        for at in 0..layout.workers {
            let command = command("worker");
            let name = name("worker", layout.workers, at);
            cluster.workers.push(Started::spawn(&name, command, &places.logs, 0)?);
        }
        for at in 0..layout.gateways {
            let command = command("gateway");
            let name = name("gateway", layout.gateways, at);
            cluster.gateways.push(Started::listening(&name, command, &places.logs).await?);
        }
        if layout.workers > 0 {
            for address in cluster.addresses() {
                answers(&address).await.context("the worker does not answer")?;
            }
        }
        Ok(cluster)
    }

    /// The first gateway.
    pub fn gateway(&self) -> &Started {
        &self.gateways[0]
    }

    /// The addresses of the gateways.
    pub fn addresses(&self) -> Vec<Address> {
        self.gateways.iter().map(|gateway| gateway.address.clone()).collect()
    }

    /// What the programs together have counted under a name, all labels.
    ///
    /// # Errors
    /// One does not answer.
    pub async fn counted(&self, name: &str) -> anyhow::Result<f64> {
        self.counted_with(name, "").await
    }

    /// The same, of the lines that have a label.
    ///
    /// # Errors
    /// One does not answer.
    pub async fn counted_with(&self, name: &str, label: &str) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for port in &self.admin_ports {
            sum += http::metric(&http::get(*port, "/metrics").await?, name, label);
        }
        Ok(sum)
    }

    /// The gateways and workers, for their figures.
    pub fn watched(&self) -> Vec<Watched> {
        self.gateways.iter().chain(&self.workers).map(Started::watched).collect()
    }
}

async fn answers(gateway: &Address) -> anyhow::Result<()> {
    let mut rest = Rest::new(std::slice::from_ref(gateway), 0);
    // Any answer but 5xx: the call repeats until then.
    rest.call("GET", "/conversations?page=1&size=1", None, None).await.map(drop)
}

/// The commit that this was built from, if it can be determined.
pub fn commit(root: &Path) -> String {
    let git = |args: &[&str]| {
        let out = Command::new("git").arg("-C").arg(root).args(args).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".into() };
    let is_changed = git(&["status", "--porcelain"]).is_some_and(|text| !text.is_empty());
    if is_changed { format!("{commit} with changes") } else { commit }
}
