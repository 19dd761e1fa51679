//! The table of faults: what is done to which part, in order, under which load, and how late anything may be.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Version};
use crate::load::Load;
use crate::steps::Step::{
    self, Again, All, Clock, CutLine, Each, MendLine, OnTheLine, RedisPrimaryAwayFor, Replace, StartAll, Wait,
};

/// One row.
pub struct Fault {
    /// As it stands in the table.
    pub name: &'static str,
    /// Meanwhile.
    pub load: Load,
    /// The limits of a row.
    pub bar: Bar,
    /// Before the load begins.
    before: &'static [Step],
    steps: &'static [Step],
    /// When the load has ended.
    after: &'static [Step],
}

/// What is asked beyond that nothing is lost, doubled or reordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// Nothing.
    None,
    /// Nothing is acknowledged or shown later than this many seconds after the last step.
    AfterTheEnd(u64),
    /// Nothing is acknowledged or shown later than this many seconds after it was due.
    Late(u64),
    /// No socket is closed.
    NobodyIsCut,
}

const BROKERS: &[&str] = &["rabbitmq1", "rabbitmq2", "rabbitmq3"];
const REDIS: &[&str] = &["redis1", "redis2", "redis3", "redis4", "redis5", "redis6"];
const OURS: &[&str] = &["gateway1", "worker1"];
const BUS: &str = "AMQP_URL";
const DATABASE: &str = "DATABASE_URL";

const NOTHING: &[Step] = &[];

/// All of them.
pub const FAULTS: &[Fault] = &[
    fault(
        "a gateway killed (-9), back after 5 s",
        &[Each("kill", &["gateway1"]), Wait(5), Each("start", &["gateway1"])],
    ),
    fault("all gateways drained and replaced, one after the other", &[Each("roll", &["gateway"])]),
    fault(
        "all programs replaced by those that write one field more, one after the other, and back",
        &[
            Replace("worker", Version::Next),
            Replace("gateway", Version::Next),
            Replace("gateway", Version::This),
            Replace("worker", Version::This),
        ],
    ),
    Fault {
        before: &[OnTheLine("gateway1", BUS)],
        after: &[Each("with", &["gateway1"])],
        ..fault("a gateway cut off from the brokers for 20 s, unheard", &[CutLine, Wait(20), MendLine])
    },
    fault(
        "a worker killed (-9), back after 5 s",
        &[Each("kill", &["worker1"]), Wait(5), Each("start", &["worker1"])],
    ),
    fault("a worker frozen for 20 s", &[Each("freeze", &["worker1"]), Wait(20), Each("thaw", &["worker1"])]),
    // Each comes back to shards that others may own by now. What it does not give away for having stood still is late once.
    Fault {
        bar: Bar::Late(20),
        ..fault(
            "two workers frozen for 7 s by turns, again and again, while shards move",
            &[
                Again(
                    30,
                    &[
                        Each("freeze", &["worker1"]),
                        Wait(7),
                        Each("thaw", &["worker1"]),
                        Each("freeze", &["worker2"]),
                        Wait(7),
                        Each("thaw", &["worker2"]),
                    ],
                ),
                Each("thaw", &["worker1", "worker2"]),
            ],
        )
    },
    // The other one takes its shards meanwhile.
    Fault {
        bar: Bar::Late(10),
        before: &[OnTheLine("worker1", DATABASE)],
        after: &[Each("with", &["worker1"])],
        ..fault("a worker cut off from PostgreSQL alone for 20 s, unheard", &[CutLine, Wait(20), MendLine])
    },
    fault(
        "a gateway and a worker killed (-9) by turns, again and again, for a minute",
        &[
            Again(
                60,
                &[
                    Each("kill", &["worker1"]),
                    Each("start", &["worker1"]),
                    Each("kill", &["gateway2"]),
                    Each("start", &["gateway2"]),
                    Each("kill", &["worker2"]),
                    Each("start", &["worker2"]),
                    Each("kill", &["gateway3"]),
                    Each("start", &["gateway3"]),
                ],
            ),
            StartAll,
        ],
    ),
    // Clients whose gateway was connected to it `sync`, over the queue of requests.
    Fault {
        bar: Bar::Late(10),
        ..fault(
            "one of three brokers stopped for 10 s",
            &[Each("stop", &["rabbitmq2"]), Wait(10), Each("start", &["rabbitmq2"])],
        )
    },
    fault(
        "all three brokers killed (-9), back after 10 s",
        &[All("kill", BROKERS), Wait(10), All("start", BROKERS)],
    ),
    Fault {
        bar: Bar::AfterTheEnd(5),
        ..fault(
            "all three brokers frozen for 15 s",
            &[All("freeze", BROKERS), Wait(15), All("thaw", BROKERS)],
        )
    },
    fault("a full disk at the brokers for 10 s", &[All("fill", BROKERS), Wait(10), All("empty", BROKERS)]),
    fault("a Redis primary killed (-9), back after 10 s", &[RedisPrimaryAwayFor(10, &[])]),
    fault(
        "a worker killed (-9) while a Redis primary fails over, both back after 10 s",
        &[RedisPrimaryAwayFor(10, &[Each("kill", &["worker1"])]), Each("start", &["worker1"])],
    ),
    fault("Redis forgets everything, three times", &[Again(6, &[Each("flush", &["redis"]), Wait(2)])]),
    fault(
        "PostgreSQL stopped for 5 s",
        &[Each("stop", &["postgres"]), Wait(5), Each("start", &["postgres"])],
    ),
    fault(
        "PostgreSQL killed (-9), back after 5 s",
        &[Each("kill", &["postgres"]), Wait(5), Each("start", &["postgres"])],
    ),
    Fault {
        bar: Bar::AfterTheEnd(10),
        ..fault(
            "PostgreSQL frozen for 10 s",
            &[Each("freeze", &["postgres"]), Wait(10), Each("thaw", &["postgres"])],
        )
    },
    fault(
        "a session of PostgreSQL killed (-9) in the middle of a commit, again and again, for 20 s",
        &[Again(20, &[Each("wound", &["postgres"]), Wait(1)])],
    ),
    Fault {
        load: Load::OneRoom,
        bar: Bar::NobodyIsCut,
        ..fault("none: 50 people send flat out in one conversation", NOTHING)
    },
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
    Fault { name, load: Load::Steady, bar: Bar::None, before: NOTHING, steps, after: NOTHING }
}

impl Fault {
    /// Whether its name contains this word, in whatever case.
    pub fn is_named(&self, word: &str) -> bool {
        self.name.to_lowercase().contains(&word.to_lowercase())
    }

    /// How long it lasts by itself; commands take their time on top.
    pub fn seconds(&self) -> u64 {
        self.steps.iter().map(Step::seconds).sum()
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

impl Bar {
    /// Why what was seen does not do. `late`: the longest that anything took to be acknowledged or shown.
    pub fn missed(self, late: Duration, lasted: Duration, closed: u64) -> Option<String> {
        let limit = match self {
            Self::None => return None,
            Self::NobodyIsCut => return (closed > 0).then(|| format!("{closed} sockets were closed")),
            Self::AfterTheEnd(seconds) => lasted + Duration::from_secs(seconds),
            Self::Late(seconds) => Duration::from_secs(seconds),
        };
        let seconds = (late.as_secs_f64(), limit.as_secs_f64());
        (late > limit).then(|| format!("something took {:.1} s, {:.1} s is the limit", seconds.0, seconds.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_can_be_missed() {
        let s = Duration::from_secs;
        assert_eq!(Bar::None.missed(s(90), s(1), 7), None);
        assert_eq!(Bar::Late(8).missed(s(8), s(20), 7), None);
        assert!(Bar::Late(8).missed(s(9), s(20), 0).is_some());
        assert_eq!(Bar::AfterTheEnd(5).missed(s(20), s(15), 7), None);
        assert!(Bar::AfterTheEnd(5).missed(s(21), s(15), 0).is_some());
        assert_eq!(Bar::NobodyIsCut.missed(s(90), s(1), 0), None);
        assert!(Bar::NobodyIsCut.missed(s(1), s(1), 1).is_some());
    }

    #[test]
    fn every_row_has_its_own_name() {
        let names: std::collections::BTreeSet<_> = FAULTS.iter().map(|fault| fault.name).collect();
        assert_eq!(names.len(), FAULTS.len());
    }
}
