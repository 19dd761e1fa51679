//! Real programs on real peers, started, killed and looked at from outside.

#![allow(dead_code, reason = "each test binary uses its part")]

/// Programs: one process each.
pub mod program;

/// The operator's commands.
pub mod operator;

/// nginx in front of gateways.
pub mod nginx;

/// A load of correct clients.
pub mod load;

/// RabbitMQ's management API.
pub mod broker;

/// Prometheus, looking at programs.
pub mod prometheus;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

#[allow(unused_imports, reason = "each test program uses its part")]
pub use testing::{faults, now, person};

use self::program::Program;

/// Signs the tokens of every cluster here.
pub const SECRET: &str = "Zr4u7x!A%D*G-KaPdSgVkXp2s5v8y/B?";

/// Small sizes for every day, the full ones of `make proof`.
pub fn is_proof() -> bool {
    std::env::var("PROOF").is_ok_and(|size| size == "full")
}

/// Tests that need whole peers hold it for reading, the others for writing.
static WHOLE: RwLock<()> = RwLock::new(());

/// The peers that `tests/run` started are whole as long as this is held: a cluster of its own is all that a test breaks.
pub struct WholePeers(#[expect(dead_code, reason = "it is held")] RwLockReadGuard<'static, ()>);

impl WholePeers {
    /// None: there are none, and the test is left out.
    pub fn of_this_run() -> Option<Self> {
        testing::variable("AMQP_URL")?;
        Some(Self(WHOLE.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The peers, and the script that controls them. Holding it means that no other test of this program uses them meanwhile.
/// Whatever a test leaves broken is mended when it ends, so that one failure stays one.
pub struct Peers {
    script: PathBuf,
    broken: RefCell<BTreeSet<String>>,
    _alone: RwLockWriteGuard<'static, ()>,
}

impl Peers {
    /// None: there are none, and the test is left out.
    pub fn of_this_run() -> Option<Self> {
        let script = testing::variable("CHATCHIT_PEERS")?;
        testing::variable("AMQP_URL")?;
        let _alone = WHOLE.write().unwrap_or_else(PoisonError::into_inner);
        Some(Self { script: script.into(), broken: RefCell::default(), _alone })
    }

    /// `deploy/peers stop|start|kill|freeze|thaw|fill|empty PART`; returns the part it was.
    pub fn part(&self, command: &str, part: &str) -> String {
        let output = Command::new(&self.script).args([command, part]).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "peers {command} {part}: {words}");
        let part = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        match command {
            "start" | "thaw" | "empty" => self.broken.borrow_mut().remove(&part),
            _ => self.broken.borrow_mut().insert(part.clone()),
        };
        part
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        for part in self.broken.take() {
            let full = (part == "rabbitmq").then_some("empty");
            for command in ["thaw", "start"].into_iter().chain(full) {
                let outcome = Command::new(&self.script).args([command, &part]).output();
                eprintln!("mended {part} ({command}): {outcome:?}");
            }
        }
    }
}

/// Gateways and workers of one system, apart from all others on the same peers.
pub struct Cluster {
    pub gateways: Vec<Program>,
    pub workers: Vec<Program>,
    env: Vec<(String, String)>,
}

impl Cluster {
    /// Starts them and waits until all are ready.
    pub fn start(name: &str, gateways: usize, workers: usize) -> Self {
        Self::start_with(name, gateways, workers, &[])
    }

    /// The same, with more in the environment of the programs.
    pub fn start_with(name: &str, gateways: usize, workers: usize, more: &[(&str, &str)]) -> Self {
        let env = [
            ("CHATCHIT_PREFIX", format!("{name}-{}", std::process::id())),
            ("JWT_ACCESS_TOKEN", SECRET.to_owned()),
            ("RATE_SOCKET_PER_S", "100000".to_owned()),
            ("RATE_SOCKET_BURST", "100000".to_owned()),
            ("RATE_SOCKET_BYTES_PER_S", "100000000".to_owned()),
            ("RATE_SOCKET_BYTES_BURST", "100000000".to_owned()),
            ("RATE_USER_PER_S", "100000".to_owned()),
            ("RATE_USER_BURST", "100000".to_owned()),
            ("LOGIN_SOCKETS_MAX", "100000".to_owned()),
            ("USER_SOCKETS_MAX", "100000".to_owned()),
            ("DRAIN_MS", "1000".to_owned()),
            ("BIND", "127.0.0.1".to_owned()),
        ];
        let mut env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut cluster = Self { gateways: vec![], workers: vec![], env };
        cluster.workers = (0..workers).map(|_| cluster.worker()).collect();
        cluster.workers.iter_mut().for_each(Program::wait_until_ready);
        cluster.gateways = (0..gateways).map(|_| cluster.gateway(free_port())).collect();
        cluster.gateways.iter_mut().for_each(Program::wait_until_ready);
        cluster
    }

    /// One more worker, starting.
    pub fn worker(&self) -> Program {
        Program::start("worker", 0, &self.env)
    }

    /// One more worker with more in its environment, starting.
    pub fn worker_with(&self, more: &[(&str, &str)]) -> Program {
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Program::start("worker", 0, &self.env.iter().cloned().chain(more).collect::<Vec<_>>())
    }

    /// A gateway on this port, starting.
    pub fn gateway(&self, port: u16) -> Program {
        Program::start("gateway", port, &self.env)
    }

    /// A canary at all of its gateways, starting.
    pub fn canary(&self) -> Program {
        Program::start("canary", 0, &self.canary_env())
    }

    /// The same; its first gateway is the front door too, so that all is measured.
    pub fn canary_with_front(&self) -> Program {
        let front = self.urls().into_iter().take(1).map(|url| ("CANARY_FRONT".to_owned(), url));
        Program::start("canary", 0, &self.canary_env().into_iter().chain(front).collect::<Vec<_>>())
    }

    /// What a canary has to know.
    pub fn canary_env(&self) -> Vec<(String, String)> {
        let places: Vec<_> =
            self.gateways.iter().map(|gateway| format!("127.0.0.1:{}", gateway.port)).collect();
        [("CANARY_GATEWAYS", places.join(",")), ("CANARY_PASSWORD", "a canary's".to_owned())]
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec()
    }

    /// What its queues and keys begin with.
    pub fn prefix(&self) -> String {
        let (_, prefix) = self.env.iter().find(|(name, _)| name == "CHATCHIT_PREFIX").unwrap();
        prefix.clone()
    }

    /// `http://…` of every gateway.
    pub fn urls(&self) -> Vec<String> {
        self.gateways.iter().map(|gateway| format!("http://127.0.0.1:{}", gateway.port)).collect()
    }

    /// A counter of all gateways together; each has to answer.
    #[track_caller]
    pub fn of_gateways(&self, counter: &str) -> f64 {
        self.gateways.iter().map(|gateway| gateway.counter(counter)).sum()
    }

    /// A counter of all workers together; each has to answer.
    #[track_caller]
    pub fn of_workers(&self, counter: &str) -> f64 {
        self.workers.iter().map(|worker| worker.counter(counter)).sum()
    }
}

/// Looks until it holds; fails with `what` when it takes too long.
pub fn until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let start = now();
    while !holds() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        pause(Duration::from_millis(20));
    }
    start.elapsed()
}

/// Lets real time pass, for outages of a given length.
#[expect(clippy::disallowed_methods, reason = "an outage of ten seconds takes ten seconds")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A port that is free now and given to nobody else in this process, below those that outgoing
/// connections get.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Relaxed).wrapping_mul(7_919);
        let place = std::process::id().wrapping_mul(2_654_435_761).wrapping_add(step) % 22_000;
        let port = 10_000 + u16::try_from(place).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
