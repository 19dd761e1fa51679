//! What can be done to the cluster and its clients, by real means only: signals, limits of the
//! system, restarts with other settings, commands to peers, people who misbehave.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::people::{self, Until};
use crate::cluster::Cluster;
use crate::pause;
use testing::person::exchange;

/// Done once.
pub enum Act {
    /// `deploy/cluster COMMAND PART` for some parts.
    Each(&'static str, &'static [&'static str]),
    /// This many seconds pass.
    Pass(u64),
    /// The part is restarted with this in its environment; without any, as it was made.
    With(&'static str, &'static [&'static str]),
    /// A signal, without waiting for its effect.
    Signal(&'static str, &'static str),
    /// To the database.
    Sql(&'static str),
    /// The limit of its file descriptors becomes this: few more than it has open.
    FewDescriptors(&'static str),
    /// The broker wants two thirds of what is free to be free.
    LittleDisk(&'static str),
    /// All clients of the load are gone at once.
    LoadDies,
    /// They are gone, and come again, to the gateways there are now.
    LoadComesAgain,
    /// A client sends messages that the database refuses.
    Poison,
    /// A program publishes bytes that no gateway can read to all gateways.
    Nonsense,
    /// Many want in at this gateway.
    Storm(&'static str),
}

/// Done again and again until the fault is mended.
#[derive(Clone, Copy)]
pub enum Repeat {
    /// The parts stand still for the first of these milliseconds, and go on for the second.
    Pulse(&'static [&'static str], u64, u64),
    /// The part is killed, and is back some seconds later.
    Restart(&'static str),
    /// A table is locked for most of the time.
    Lock,
}

/// The cluster, its load, and what goes on there.
pub struct Stage {
    load: Option<Child>,
    people: Until,
    repeats: Until,
    threads: Vec<JoinHandle<()>>,
    cluster: Arc<Cluster>,
}

impl Stage {
    /// Nobody is on it yet.
    pub fn new(cluster: Cluster) -> anyhow::Result<Self> {
        let (people, repeats) = (Until::default(), Until::default());
        Ok(Self { load: None, people, repeats, threads: Vec::new(), cluster: Arc::new(cluster) })
    }

    /// A variable of `deploy/cluster env`.
    pub fn env(&self, name: &str) -> anyhow::Result<String> {
        let text = self.cluster.tell(&["env"])?;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("export {name}='")));
        Ok(line.and_then(|line| line.strip_suffix('\'')).with_context(|| name.to_owned())?.to_owned())
    }

    /// The load and the people begin.
    pub fn load_begins(&mut self) -> anyhow::Result<()> {
        people::hush();
        people::come(self.ports()?, &self.people)?;
        self.load_goes_on()
    }

    /// A load that has ended begins again.
    pub fn load_goes_on(&mut self) -> anyhow::Result<()> {
        if let Some(load) = &mut self.load
            && load.try_wait()?.is_none()
        {
            return Ok(());
        }
        let swarm = std::env::current_exe()?.with_file_name("swarm");
        ensure!(swarm.exists(), "{} is not built", swarm.display());
        let log = File::create(self.cluster.accounts.with_file_name("load.log"))?;
        let mut command = Command::new(swarm);
        command.args(["--url", &self.cluster.url, "--senders", "20", "--conversations", "50"]);
        command.args(["--sockets", "600", "--rate", "100", "--seconds", "7200", "--deadline", "9000"]);
        command.args(["--pipeline", "4", "--jwt-secret", &self.cluster.secret]);
        command.arg("--cache").arg(&self.cluster.accounts);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.load = Some(command.spawn()?);
        Ok(())
    }

    fn load_dies(&mut self) {
        if let Some(mut load) = self.load.take() {
            // It may have ended by itself.
            let _ = load.kill();
            let _ = load.wait();
        }
    }

    fn ports(&self) -> anyhow::Result<[u16; 2]> {
        let text = self.env("GATEWAY_PORTS")?;
        let ports: Vec<u16> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        ports.try_into().map_err(|_| anyhow::anyhow!("two gateways"))
    }

    /// Begins a fault.
    pub fn begin(&mut self, acts: &[Act], repeats: &'static [Repeat]) -> anyhow::Result<()> {
        acts.iter().try_for_each(|act| self.act(act))?;
        for repeat in repeats {
            let (cluster, until, repeat) = (Arc::clone(&self.cluster), self.repeats.clone(), *repeat);
            let database = self.env("DATABASE_URL")?;
            self.threads.push(std::thread::spawn(move || repeat.goes_on(&cluster, &database, &until)));
        }
        Ok(())
    }

    /// Ends what repeats, and mends.
    pub fn end(&mut self, acts: &[Act]) -> anyhow::Result<()> {
        self.repeats.ends();
        for thread in self.threads.drain(..) {
            ensure!(thread.join().is_ok(), "what repeats panicked");
        }
        self.repeats = Until::default();
        acts.iter().try_for_each(|act| self.act(act))
    }

    /// Every part answers well.
    pub fn is_well(&self) -> anyhow::Result<()> {
        self.cluster.tell(&["status"]).map(drop)
    }

    fn act(&mut self, act: &Act) -> anyhow::Result<()> {
        match act {
            Act::Each(command, parts) => {
                parts.iter().try_for_each(|part| self.cluster.tell(&[command, part]).map(drop))?;
            }
            Act::Pass(seconds) => pause(Duration::from_secs(*seconds)),
            Act::With(part, settings) => {
                let mut words = vec!["with", part];
                words.extend(*settings);
                self.cluster.tell(&words)?;
            }
            Act::Signal(part, signal) => kill(&self.cluster, part, signal)?,
            Act::Sql(text) => sql(&self.env("DATABASE_URL")?, text)?,
            Act::FewDescriptors(part) => {
                let pid = pid(&self.cluster, part)?;
                let open = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
                // 0.9 of them are open then.
                let limit = format!("--nofile={}", open * 10 / 9 + 1);
                done(as_owner_of(&pid)?.args(["prlimit", "--pid", &pid, &limit]))?;
            }
            Act::LittleDisk(part) => {
                let folder = self.cluster.accounts.parent().map(PathBuf::from).unwrap_or_default();
                let output = Command::new("df").args(["--output=avail", "-B1"]).arg(folder).output()?;
                let text = String::from_utf8(output.stdout)?;
                let free: u64 = text.lines().last().unwrap_or_default().trim().parse().context("df")?;
                self.cluster.tell(&["fill", part, &(free / 3 * 2).to_string()])?;
            }
            Act::LoadDies => self.load_dies(),
            Act::LoadComesAgain => {
                self.load_dies();
                self.load_goes_on()?;
                pause(Duration::from_secs(15));
            }
            Act::Poison => people::poisons(self.ports()?[0], &self.repeats),
            Act::Nonsense => nonsense(&self.env("RABBIT_MANAGEMENT_URL")?)?,
            Act::Storm(part) => {
                let place = usize::from(*part == "gateway2");
                people::storm(self.ports()?[place], &self.repeats)?;
            }
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.people.ends();
        self.repeats.ends();
        self.load_dies();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Repeat {
    fn goes_on(self, cluster: &Cluster, database: &str, until: &Until) {
        while !until.is_over() {
            match self {
                Self::Pulse(parts, still, going) => {
                    // A part that is restarted meanwhile misses a beat.
                    parts.iter().for_each(|part| drop(kill(cluster, part, "STOP")));
                    pause(Duration::from_millis(still));
                    parts.iter().for_each(|part| drop(kill(cluster, part, "CONT")));
                    pause(Duration::from_millis(going));
                }
                Self::Restart(part) => {
                    let _ = cluster.tell(&["kill", part]);
                    pause(Duration::from_secs(2));
                    let _ = cluster.tell(&["start", part]);
                    // Prometheus has to see it.
                    pause(Duration::from_secs(8));
                }
                Self::Lock => {
                    let lock =
                        "begin; lock table messages in access exclusive mode; select pg_sleep(0.7); commit";
                    let _ = sql(database, lock);
                    pause(Duration::from_millis(300));
                }
            }
        }
    }
}

/// By the broker's management API: `http://user:password@127.0.0.1:port`.
fn nonsense(url: &str) -> anyhow::Result<()> {
    let (user, host) = url.trim_start_matches("http://").split_once('@').context("a user")?;
    let port = host.rsplit(':').next().and_then(|port| port.parse().ok()).context("a port")?;
    let basic = format!("Basic {}", STANDARD.encode(user));
    let body = json!({
        "properties": {}, "routing_key": "control.gateways", "payload": "nonsense", "payload_encoding": "string",
    });
    let path = "/api/exchanges/%2F/chatchit.topic/publish";
    let (_, answer) = exchange(port, "POST", path, Some(&basic), &body.to_string())?;
    ensure!(answer.contains("\"routed\":true"), "nobody got it: {answer}");
    Ok(())
}

fn pid(cluster: &Cluster, part: &str) -> anyhow::Result<String> {
    let path = cluster.accounts.with_file_name(format!("{part}.pid"));
    Ok(std::fs::read_to_string(&path).with_context(|| path.display().to_string())?.trim().to_owned())
}

/// Runs as who the process runs as: not even root may limit those of others everywhere.
fn as_owner_of(pid: &str) -> anyhow::Result<Command> {
    let [ours, owner] = [std::fs::metadata("/proc/self")?, std::fs::metadata(format!("/proc/{pid}"))?];
    let mut command = Command::new("env");
    if ours.uid() != owner.uid() {
        command = Command::new("setpriv");
        command.args(["--reuid", &owner.uid().to_string(), "--regid", &owner.gid().to_string()]);
        command.args(["--clear-groups", "--"]);
    }
    Ok(command)
}

/// A signal to a part and what it started.
fn kill(cluster: &Cluster, part: &str, signal: &str) -> anyhow::Result<()> {
    let group = format!("-{}", pid(cluster, part)?);
    done(Command::new("kill").args(["-s", signal, "--", &group]))
}

fn sql(database: &str, text: &str) -> anyhow::Result<()> {
    done(Command::new("psql").args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", text, database]))
}

/// Runs it; what it said when it failed.
fn done(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let name = command.get_program().to_string_lossy().into_owned();
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
