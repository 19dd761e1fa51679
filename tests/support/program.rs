//! One process of ours: started with an environment, asked over its admin port, ended.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::person::http;
use super::{free_port, until};

/// Every metric there is.
const METRICS: &str = include_str!("../../METRICS.md");

/// A start on a busy machine, migrations included.
const READY: Duration = Duration::from_secs(60);

/// A process, killed when dropped.
pub struct Program {
    pub port: u16,
    pub admin: u16,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `gateway`, `worker`, or `chatchit canary`.
    pub fn start(name: &str, port: u16, env: &[(String, String)]) -> Self {
        let chatchit = PathBuf::from(env!("CARGO_BIN_EXE_chatchit"));
        let is_canary = name == "canary";
        let binary = if is_canary { chatchit } else { chatchit.with_file_name(name) };
        assert!(binary.exists(), "{} is not built: `make test` does it", binary.display());
        let admin = free_port();
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{admin}.log"));
        let mut command = Command::new(binary);
        command
            .args(is_canary.then_some(name))
            .envs(env.iter().cloned())
            .env("PORT", port.to_string())
            .env("ADMIN_PORT", admin.to_string());
        command.env("RUST_LOG", "info").env("LOG_FORMAT", "json").env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        Self { port, admin, child: command.spawn().unwrap(), log }
    }

    /// Waits for `/readyz`.
    pub fn wait_until_ready(&mut self) {
        let (admin, log) = (self.admin, self.log.clone());
        until(READY, "ready", || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}; see {}", log.display());
            http(admin, "GET", "/readyz", None, "").is_ok_and(|(status, _)| status == 200)
        });
    }

    /// What `/readyz` says: its status, and the parts that are not well.
    pub fn readiness(&self) -> String {
        let Ok((status, body)) = http(self.admin, "GET", "/readyz", None, "") else { return "gone".into() };
        let report: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        let parts = report["parts"].as_object().into_iter().flatten();
        let unwell: Vec<&str> =
            parts.filter(|(_, state)| *state != "ok").map(|(part, _)| part.as_str()).collect();
        if unwell.is_empty() { status.to_string() } else { format!("{status}: {}", unwell.join(", ")) }
    }

    /// An answer of the admin port: status and body.
    pub fn asks(&self, path: &str) -> (u16, String) {
        http(self.admin, "GET", path, None, "").unwrap()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The sum over all labels of a metric. None: it is not there, or the process does not answer; neither is zero.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = http(self.admin, "GET", "/metrics", None, "").ok()?;
        sum(&text, name, "\n")
    }

    /// What a counter has come to. One that nothing has moved yet is not shown, and is zero; the process has to answer, and
    /// METRICS.md has to list the name.
    #[track_caller]
    pub fn counter(&self, name: &str) -> f64 {
        self.counter_but(name, "\n")
    }

    /// The same without the lines that say this.
    #[track_caller]
    pub fn counter_but(&self, name: &str, without: &str) -> f64 {
        let listed = name.split('{').next().unwrap_or(name).trim_end_matches("_count");
        assert!(METRICS.contains(&format!("`{listed}`")), "METRICS.md does not list {listed}");
        let (status, text) = self.asks("/metrics");
        assert_eq!(status, 200, "{text}");
        sum(&text, name, without).unwrap_or(0.0)
    }

    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub fn begin_drain(&self) {
        self.signal("-TERM");
    }

    /// `-STOP`, `-CONT` and the like.
    pub fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.id().to_string()]).status().unwrap().success());
    }

    /// Of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// SIGTERM, and waits for the end.
    pub fn drain(&mut self) -> ExitStatus {
        self.begin_drain();
        self.ends()
    }

    /// Waits for the end of a drain that began.
    pub fn ends(&mut self) -> ExitStatus {
        let mut status = None;
        until(Duration::from_secs(60), "drained", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

/// The sum of the lines of this metric that do not say `without`. None: there is no such line.
fn sum(text: &str, name: &str, without: &str) -> Option<f64> {
    let is_it = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    let lines = text.lines().filter(|line| is_it(line) && !line.contains(without));
    let mut values = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).peekable();
    values.peek().is_some().then(|| values.sum())
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<_> = text.lines().rev().take(15).collect();
            eprintln!("--- the end of {}", self.log.display());
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        } else {
            let _ = std::fs::remove_file(&self.log);
        }
    }
}
