//! The cluster under test: `deploy/cluster` in a folder of its own, gone when this is.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::line::Line;

/// Which programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Those beside this one.
    This,
    /// The same with one field more in whatever they write (`next-field`), in the folder `next` beside this.
    Next,
}

/// A running cluster.
pub struct Cluster {
    /// nginx.
    pub url: String,
    /// Signs tokens.
    pub secret: String,
    /// Where swarm keeps its accounts; they live as long as the cluster.
    pub accounts: PathBuf,
    /// Between the brokers and a gateway that is told to use it.
    pub line: Line,
    script: PathBuf,
    folder: PathBuf,
}

impl Cluster {
    /// Starts it, with these numbers of gateways, workers and brokers. Errors are on standard error
    /// already.
    pub fn up([gateways, workers, brokers]: [&str; 3]) -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let folder = std::env::temp_dir().join(format!("chatchit-chaos-{}", std::process::id()));
        let port = free_port().context("a port for nginx")?;
        let mut cluster = Self {
            url: format!("http://127.0.0.1:{port}"),
            secret: "a secret of the chaos run, for loopback only".into(),
            accounts: folder.join("accounts"),
            line: Line::new(),
            script: root.join("deploy/cluster"),
            folder,
        };
        let mut up = cluster.command(&["up"]);
        let here = std::env::current_exe()?.with_file_name("");
        up.env("CHATCHIT_BIN", here).env("PORT", port.to_string()).env("JWT_ACCESS_TOKEN", &cluster.secret);
        up.envs([("GATEWAYS", gateways), ("WORKERS", workers), ("BROKERS", brokers)]);
        // The load plays many users from one address and few sockets.
        for limit in ["RATE_SOCKET", "RATE_SOCKET_BYTES", "RATE_USER"] {
            up.env(format!("{limit}_PER_S"), "4000000000").env(format!("{limit}_BURST"), "4000000000");
        }
        up.envs([("LOGIN_SOCKETS_MAX", "4000000000"), ("USER_SOCKETS_MAX", "4000000000")]);
        ensure!(up.status()?.success(), "the cluster did not come up");
        // Below the folder, which may be a link.
        cluster.accounts = cluster.folder.canonicalize()?.join("accounts");
        Ok(cluster)
    }

    /// `deploy/cluster COMMAND PART …`; what it printed: the name of the part.
    ///
    /// # Errors
    /// With what it said.
    pub fn tell(&self, words: &[&str]) -> anyhow::Result<String> {
        let output = self.command(words).output().context("deploy/cluster")?;
        let said = String::from_utf8_lossy(&output.stderr);
        // Not all the words: some are secrets.
        ensure!(output.status.success(), "deploy/cluster {:?}: {said}", &words[..words.len().min(2)]);
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A part is restarted and reaches the peer that this variable names over the line from now on.
    ///
    /// # Errors
    /// With what `deploy/cluster` said.
    pub fn put_on_the_line(&self, part: &str, variable: &str) -> anyhow::Result<()> {
        let env = self.tell(&["env"])?;
        let export = format!("export {variable}='");
        let urls = env.lines().find_map(|line| line.strip_prefix(&export)?.strip_suffix('\''));
        let over = self.line.before(urls.context("the cluster says where its peers are")?)?;
        self.tell(&["with", part, &format!("{variable}={over}")]).map(drop)
    }

    /// All programs of a kind are replaced, one after the other.
    ///
    /// # Errors
    /// With what `deploy/cluster` said; or there is no other version.
    pub fn replace(&self, kind: &str, version: Version) -> anyhow::Result<()> {
        let here = std::env::current_exe()?.with_file_name("");
        let (this, next) = (here.join(kind), here.join("next").join(kind));
        let bytes = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
        // Else a row of the table would say what was not done.
        if bytes(&this)? == bytes(&next)? {
            bail!("{} is the same program as {}: `make chaos` builds both", this.display(), next.display());
        }
        let folder = if version == Version::Next { here.join("next") } else { here };
        let mut roll = self.command(&["roll", kind]);
        ensure!(roll.env("CHATCHIT_BIN", folder).status()?.success(), "the roll of {kind}s failed");
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.script);
        command.args(arguments).env("CLUSTER_DIR", &self.folder);
        command
    }
}

/// A port that nobody listens on, below those that outgoing connections get: nginx needs it half a
/// minute later.
fn free_port() -> Option<u16> {
    let start = std::process::id().wrapping_mul(7_919);
    let ports = (0..100).map(|step| 10_000 + (start.wrapping_add(step * 131) % 22_000) as u16);
    ports.into_iter().find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It says itself what is left.
        let _ = self.command(&["down"]).status();
    }
}
