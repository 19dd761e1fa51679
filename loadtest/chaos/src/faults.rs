//! The table of faults: what is done to which part, in order.

use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::pause;

/// One row.
pub struct Fault {
    /// As it stands in the table.
    pub name: &'static str,
    steps: &'static [Step],
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
}

use Step::{All, Each, RedisPrimaryAwayFor, Wait};

const BROKERS: &[&str] = &["rabbitmq1", "rabbitmq2", "rabbitmq3"];

/// All of them.
pub const FAULTS: &[Fault] = &[
    Fault {
        name: "a gateway killed (-9), back after 5 s",
        steps: &[Each("kill", &["gateway1"]), Wait(5), Each("start", &["gateway1"])],
    },
    Fault {
        name: "all gateways drained and replaced, one after the other",
        steps: &[Each("roll", &["gateway"])],
    },
    Fault {
        name: "a worker killed (-9), back after 5 s",
        steps: &[Each("kill", &["worker1"]), Wait(5), Each("start", &["worker1"])],
    },
    Fault {
        name: "a worker frozen for 20 s",
        steps: &[Each("freeze", &["worker1"]), Wait(20), Each("thaw", &["worker1"])],
    },
    Fault {
        name: "one of three brokers stopped for 10 s",
        steps: &[Each("stop", &["rabbitmq2"]), Wait(10), Each("start", &["rabbitmq2"])],
    },
    Fault {
        name: "all three brokers killed (-9), back after 10 s",
        steps: &[All("kill", BROKERS), Wait(10), All("start", BROKERS)],
    },
    Fault {
        name: "a full disk at the brokers for 10 s",
        steps: &[All("fill", BROKERS), Wait(10), All("empty", BROKERS)],
    },
    Fault { name: "a Redis primary killed (-9), back after 10 s", steps: &[RedisPrimaryAwayFor(10)] },
    Fault {
        name: "PostgreSQL stopped for 5 s",
        steps: &[Each("stop", &["postgres"]), Wait(5), Each("start", &["postgres"])],
    },
    Fault {
        name: "PostgreSQL killed (-9), back after 5 s",
        steps: &[Each("kill", &["postgres"]), Wait(5), Each("start", &["postgres"])],
    },
];

impl Fault {
    /// How long it lasts by itself; commands take their time on top.
    pub fn seconds(&self) -> u64 {
        let of = |step: &Step| match step {
            Wait(seconds) | RedisPrimaryAwayFor(seconds) => *seconds,
            Each(..) | All(..) => 5,
        };
        self.steps.iter().map(of).sum()
    }

    /// Does it; how long it took, commands included.
    ///
    /// # Errors
    /// A command failed.
    #[expect(clippy::disallowed_methods, reason = "processes do not share our clock")]
    pub fn happen(&self, cluster: &Cluster) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        for step in self.steps {
            match step {
                Each(command, parts) => {
                    for part in *parts {
                        cluster.tell(command, part)?;
                    }
                }
                All(command, parts) => std::thread::scope(|scope| {
                    let told: Vec<_> =
                        parts.iter().map(|part| scope.spawn(|| cluster.tell(command, part))).collect();
                    told.into_iter().try_for_each(|told| {
                        told.join().map_err(|_| anyhow::anyhow!("{command} panicked"))?.map(drop)
                    })
                })?,
                Wait(seconds) => pause(Duration::from_secs(*seconds)),
                RedisPrimaryAwayFor(seconds) => {
                    let part = cluster.tell("kill", "redis-primary")?;
                    pause(Duration::from_secs(*seconds));
                    cluster.tell("start", &part)?;
                }
            }
        }
        Ok(begun.elapsed())
    }
}
