//! The smallest Redis Cluster there is: three masters, no replicas. Otherwise like the one of
//! `deploy/peers` (`deploy/lib/redis.sh`), so that only the number differs.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::{Instant, sleep};

use crate::cluster::Places;
use crate::process::{Started, Watched, free_port};

const MASTERS: usize = 3;
/// Timeout for the cluster to become complete.
const COMPLETE: Duration = Duration::from_secs(20);

/// The servers; ended, and their data deleted, when this is dropped.
pub struct Masters {
    servers: Vec<Started>,
    folder: PathBuf,
}

impl Masters {
    /// Starts them and makes them a cluster.
    ///
    /// # Errors
    /// They do not become one.
    pub async fn start(places: &Places) -> anyhow::Result<Self> {
        let folder = places.logs.join("redis-small");
        // Of a run that was ended by a signal: these were nodes of another cluster.
        let _ = std::fs::remove_dir_all(&folder);
        let mut masters = Self { servers: vec![], folder };
        for at in 1..=MASTERS {
            let data = masters.folder.join(at.to_string());
            std::fs::create_dir_all(&data)?;
            let (port, bus) = (free_port()?, free_port()?);
            let mut server = Command::new("redis-server");
            server
                .args([
                    "--port",
                    &port.to_string(),
                    "--cluster-port",
                    &bus.to_string(),
                    "--bind",
                    "127.0.0.1",
                ])
                .arg("--dir")
                .arg(data)
                .args(["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"])
                .args(["--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no"])
                .args(["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""])
                .args(["--maxmemory-policy", "noeviction", "--set-proc-title", "no"]);
            masters.servers.push(Started::spawn(&format!("redis-small{at}"), server, &places.logs, port)?);
        }
        for server in &masters.servers {
            masters.until(|| tell(server, &["ping"]).contains("PONG")).await.context("redis-server")?;
        }
        let nodes = masters.nodes();
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(nodes.split(','))
            .args(["--cluster-replicas", "0", "--cluster-yes"])
            .output()?;
        ensure!(made.status.success(), "redis-cli: {}", String::from_utf8_lossy(&made.stdout));
        for server in &masters.servers {
            let is_complete = || {
                let info = tell(server, &["cluster", "info"]);
                info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
            };
            masters.until(is_complete).await.context("a Redis Cluster of three")?;
        }
        Ok(masters)
    }

    /// The value of `REDIS_NODES`.
    pub fn nodes(&self) -> String {
        let nodes = self.servers.iter().map(|server| format!("127.0.0.1:{}", server.address.port));
        nodes.collect::<Vec<_>>().join(",")
    }

    /// The processes, for their figures.
    pub fn watched(&self) -> impl Iterator<Item = Watched> {
        self.servers
            .iter()
            .zip(1..)
            .map(|(server, at)| Watched::process(&format!("redis{at}"), server.watched().pid()))
    }

    async fn until(&self, is_so: impl Fn() -> bool) -> anyhow::Result<()> {
        let end = Instant::now() + COMPLETE;
        while !is_so() {
            ensure!(Instant::now() < end, "not within {COMPLETE:?}");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

impl Drop for Masters {
    fn drop(&mut self) {
        self.servers.clear();
        // It is in the folder for such things.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn tell(server: &Started, words: &[&str]) -> String {
    let port = server.address.port.to_string();
    let output = Command::new("redis-cli").args(["-h", "127.0.0.1", "-p", &port]).args(words).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
