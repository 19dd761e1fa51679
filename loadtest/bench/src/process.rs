//! Programs under measurement: CPU and memory as the kernel accounts them, in `/proc`.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::time::ClockId;
use nix::unistd::Pid;
use swarm::options::Address;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

/// `_SC_CLK_TCK`: 100 on every Linux this runs on.
const TICKS_PER_S: f64 = 100.0;

/// A program that is watched, with everything it started if it is one that starts others.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The name in the results.
    pub name: String,
    pid: u32,
    with_children: bool,
}

impl Watched {
    /// One process.
    pub fn process(name: &str, pid: u32) -> Self {
        Self { name: name.into(), pid, with_children: false }
    }

    /// A process and all its child processes.
    pub fn family(name: &str, pid: u32) -> Self {
        Self { name: name.into(), pid, with_children: true }
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// CPU used so far, user and system, seconds.
    pub fn cpu_s(&self) -> f64 {
        if self.with_children {
            return self.relatives().map(|(_, stat)| stat.cpu_s).sum();
        }
        // Its clock has nanoseconds where /proc has ticks of 10 ms.
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(self.pid.cast_signed())).and_then(ClockId::now);
        clock.map_or(0.0, |used| Duration::from(used).as_secs_f64())
    }

    /// Resident memory, KiB.
    pub fn rss_kib(&self) -> u64 {
        if self.with_children {
            return self.relatives().map(|(pid, _)| status_kib(pid, "VmRSS:")).sum();
        }
        status_kib(self.pid, "VmRSS:")
    }

    /// It and what it started. A server's children may have sessions of their own (PostgreSQL's do): parents tell.
    fn relatives(&self) -> impl Iterator<Item = (u32, Stat)> {
        let all: HashMap<u32, Stat> = pids().filter_map(|pid| Some((pid, Stat::read(pid)?))).collect();
        let parents: HashMap<u32, u32> = all.iter().map(|(pid, stat)| (*pid, stat.parent)).collect();
        let oldest = self.pid;
        let is_family = move |mut pid: u32| {
            while pid != oldest {
                match parents.get(&pid) {
                    Some(parent) if *parent > 1 => pid = *parent,
                    _ => return false,
                }
            }
            true
        };
        all.into_iter().filter(move |(pid, _)| is_family(*pid))
    }

    /// Private memory of the process and of all its child processes, KiB.
    pub fn private_kib(&self) -> u64 {
        self.relatives().map(|(pid, _)| status_kib(pid, "RssAnon:")).sum()
    }
}

/// A line of /proc/<pid>/status; 0: it is gone.
fn status_kib(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

struct Stat {
    parent: u32,
    /// CPU seconds, including children that have ended.
    cpu_s: f64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses and may hold anything.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: u64 = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
        Some(Self { parent: fields.get(1)?.parse().ok()?, cpu_s: ticks as f64 / TICKS_PER_S })
    }
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The ids of started processes that have not ended.
fn running() -> MutexGuard<'static, BTreeSet<u32>> {
    static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for SIGINT or SIGTERM, then ends this program with all that it started: nothing is
/// dropped then.
pub async fn end_on_signal() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    let code = tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    };
    let pids: Vec<String> = running().iter().map(u32::to_string).collect();
    // Fails only for those that have ended already.
    let _ = Command::new("kill").arg("-KILL").args(pids).status();
    std::process::exit(code);
}

/// A program that this bench started, and that ends with the bench.
pub struct Started {
    child: Child,
    /// The address it listens on.
    pub address: Address,
    name: String,
}

impl Started {
    /// Starts `command` with its own free port in `PORT`, its output in a file, and waits until
    /// it listens.
    ///
    /// # Errors
    /// It does not start.
    pub async fn listening(name: &str, mut command: Command, logs: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        command.env("PORT", port.to_string());
        Self::listening_on(name, command, logs, port).await
    }

    /// Starts `command`, which knows its port, and waits until it listens.
    ///
    /// # Errors
    /// It does not start.
    pub async fn listening_on(name: &str, command: Command, logs: &Path, port: u16) -> anyhow::Result<Self> {
        let started = Self::spawn(name, command, logs, port)?;
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if Instant::now() >= end {
                bail!("{name} does not listen after 20 s; see {}", logs.display());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(started)
    }

    /// Starts `command`, its output in a file.
    ///
    /// # Errors
    /// It does not start.
    pub fn spawn(name: &str, mut command: Command, logs: &Path, port: u16) -> anyhow::Result<Self> {
        std::fs::create_dir_all(logs)?;
        let path: PathBuf = logs.join(format!("{name}.log"));
        let log = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        running().insert(child.id());
        Ok(Self { child, address: Address { host: "127.0.0.1".into(), port }, name: name.into() })
    }

    /// The process, for its figures.
    pub fn watched(&self) -> Watched {
        Watched::process(&self.name, self.child.id())
    }
}

/// A port that is free now.
///
/// # Errors
/// There is none.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Drop for Started {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        running().remove(&self.child.id());
    }
}
