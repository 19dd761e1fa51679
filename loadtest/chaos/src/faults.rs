//! The table of faults: what is done to which part, in order.

use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::pause;

/// One row.
pub struct Fault {
    /// As it stands in the table.
    pub name: &'static str,
    /// Before the load begins.
    before: &'static [Step],
    steps: &'static [Step],
    /// When the load has ended.
    after: &'static [Step],
}

/// What `deploy/cluster` is told.
enum Step {
    /// A command for some parts, one after the other.
    Each(&'static str, &'static [&'static str]),
    /// A command for some parts at once: brokers wait for each other.
    All(&'static str, &'static [&'static str]),
    /// Seconds pass.
    Wait(u64),
    /// The Redis primary of the moment is killed, and what was killed is started after so long.
    RedisPrimaryAwayFor(u64),
    /// A part is restarted, and its way to the brokers is a line that can be cut.
    OnTheLine(&'static str),
    /// Nothing passes that line, nor does anybody hear that it ended.
    CutLine,
    /// It passes again.
    MendLine,
    /// The wall clocks of these parts are so many seconds off. The first time it restarts them.
    Clock(&'static [&'static str], &'static str),
}

use Step::{All, Clock, CutLine, Each, MendLine, OnTheLine, RedisPrimaryAwayFor, Wait};

const BROKERS: &[&str] = &["rabbitmq1", "rabbitmq2", "rabbitmq3"];
const REDIS: &[&str] = &["redis1", "redis2", "redis3", "redis4", "redis5", "redis6"];
const OURS: &[&str] = &["gateway1", "worker1"];

const NOTHING: &[Step] = &[];

/// All of them.
pub const FAULTS: &[Fault] = &[
    fault(
        "a gateway killed (-9), back after 5 s",
        &[Each("kill", &["gateway1"]), Wait(5), Each("start", &["gateway1"])],
    ),
    fault("all gateways drained and replaced, one after the other", &[Each("roll", &["gateway"])]),
    Fault {
        before: &[OnTheLine("gateway1")],
        after: &[Each("with", &["gateway1"])],
        ..fault("a gateway cut off from the brokers for 20 s, unheard", &[CutLine, Wait(20), MendLine])
    },
    fault(
        "a worker killed (-9), back after 5 s",
        &[Each("kill", &["worker1"]), Wait(5), Each("start", &["worker1"])],
    ),
    fault("a worker frozen for 20 s", &[Each("freeze", &["worker1"]), Wait(20), Each("thaw", &["worker1"])]),
    fault(
        "one of three brokers stopped for 10 s",
        &[Each("stop", &["rabbitmq2"]), Wait(10), Each("start", &["rabbitmq2"])],
    ),
    fault(
        "all three brokers killed (-9), back after 10 s",
        &[All("kill", BROKERS), Wait(10), All("start", BROKERS)],
    ),
    fault("a full disk at the brokers for 10 s", &[All("fill", BROKERS), Wait(10), All("empty", BROKERS)]),
    fault("a Redis primary killed (-9), back after 10 s", &[RedisPrimaryAwayFor(10)]),
    fault(
        "PostgreSQL stopped for 5 s",
        &[Each("stop", &["postgres"]), Wait(5), Each("start", &["postgres"])],
    ),
    fault(
        "PostgreSQL killed (-9), back after 5 s",
        &[Each("kill", &["postgres"]), Wait(5), Each("start", &["postgres"])],
    ),
    // The tokens of the load live for a day.
    Fault {
        before: &[Clock(OURS, "+0")],
        after: &[Each("with", OURS)],
        ..fault(
            "the clocks of a gateway and a worker an hour ahead for 20 s, then back",
            &[Clock(OURS, "+3600"), Wait(20), Clock(OURS, "+0")],
        )
    },
    // Leases live for seconds, by the clocks of Redis. Last: it takes long to restart them.
    Fault {
        before: &[Clock(REDIS, "+0")],
        ..fault(
            "the clocks of all Redis nodes a minute ahead for 20 s, then back",
            &[Clock(REDIS, "+60"), Wait(20), Clock(REDIS, "+0")],
        )
    },
];

const fn fault(name: &'static str, steps: &'static [Step]) -> Fault {
    Fault { name, before: NOTHING, steps, after: NOTHING }
}

impl Fault {
    /// How long it lasts by itself; commands take their time on top.
    pub fn seconds(&self) -> u64 {
        let of = |step: &Step| match step {
            Wait(seconds) | RedisPrimaryAwayFor(seconds) => *seconds,
            Each(..) | All(..) | OnTheLine(_) | Clock(..) => 5,
            CutLine | MendLine => 0,
        };
        self.steps.iter().map(of).sum()
    }

    /// Makes ready what the fault needs.
    ///
    /// # Errors
    /// A command failed.
    pub fn prepare(&self, cluster: &Cluster) -> anyhow::Result<()> {
        self.before.iter().try_for_each(|step| step.take(cluster))
    }

    /// Does it; how long it took, commands included.
    ///
    /// # Errors
    /// A command failed.
    #[expect(clippy::disallowed_methods, reason = "processes do not share our clock")]
    pub fn happen(&self, cluster: &Cluster) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        self.steps.iter().try_for_each(|step| step.take(cluster))?;
        Ok(begun.elapsed())
    }

    /// Leaves the cluster as it was made.
    ///
    /// # Errors
    /// A command failed.
    pub fn clear_up(&self, cluster: &Cluster) -> anyhow::Result<()> {
        self.after.iter().try_for_each(|step| step.take(cluster))
    }
}

impl Step {
    fn take(&self, cluster: &Cluster) -> anyhow::Result<()> {
        match self {
            Each(command, parts) => {
                parts.iter().try_for_each(|part| cluster.tell(&[command, part]).map(drop))?
            }
            All(command, parts) => at_once(cluster, parts.iter().map(|part| vec![*command, part]))?,
            Wait(seconds) => pause(Duration::from_secs(*seconds)),
            RedisPrimaryAwayFor(seconds) => {
                let part = cluster.tell(&["kill", "redis-primary"])?;
                pause(Duration::from_secs(*seconds));
                cluster.tell(&["start", &part])?;
            }
            OnTheLine(part) => cluster.put_on_the_line(part)?,
            CutLine => cluster.line.cut(),
            MendLine => cluster.line.mend(),
            // To be restarted they wait for each other; to be set wrong they do not.
            Clock(parts, seconds @ "+0") => {
                parts.iter().try_for_each(|part| cluster.tell(&["clock", part, seconds]).map(drop))?;
            }
            Clock(parts, seconds) => at_once(cluster, parts.iter().map(|part| vec!["clock", part, seconds]))?,
        }
        Ok(())
    }
}

/// Some commands at the same time.
fn at_once<'a>(cluster: &Cluster, commands: impl Iterator<Item = Vec<&'a str>>) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let told: Vec<_> = commands.map(|words| scope.spawn(move || cluster.tell(&words))).collect();
        told.into_iter()
            .try_for_each(|told| told.join().map_err(|_| anyhow::anyhow!("a command panicked"))?.map(drop))
    })
}
