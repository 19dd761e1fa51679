//! Which fault is to fire which alert, and what else may fire with it. Faults of one group happen at
//! once: they touch different parts, or one needs the other's patience.

use super::acts::Act::{
    self, Each, FewDescriptors, LittleDisk, LoadComesAgain, LoadDies, Nonsense, Pass, Poison, Signal, Sql,
    Storm, With,
};
use super::acts::Repeat::{self, Lock, Pulse, Restart};

/// An alert that a fault is to fire.
pub struct Wanted {
    pub alert: &'static str,
    /// Seconds from the fault: the rule's window and patience, two looks of Prometheus, and a minute.
    pub within: u64,
    /// It wants a quarter of an hour, and is waited for at the end.
    pub is_later: bool,
}

/// A fault.
pub struct Case {
    /// As it stands in the table.
    pub name: &'static str,
    pub fires: &'static [Wanted],
    /// What may fire as well.
    pub also: &'static [&'static str],
    /// Made ready before: not the fault yet.
    pub prepare: &'static [Act],
    pub begin: &'static [Act],
    /// Goes on until it is mended.
    pub repeats: &'static [Repeat],
    pub end: &'static [Act],
}

impl Case {
    /// Whether it is made for this alert.
    pub fn fires(&self, alert: &str) -> bool {
        self.fires.iter().any(|one| one.alert == alert)
    }

    /// Whether this alert may fire of it.
    pub fn expects(&self, alert: &str) -> bool {
        self.fires(alert) || self.also.contains(&alert)
    }
}

const fn wanted(alert: &'static str, within: u64) -> Wanted {
    Wanted { alert, within, is_later: false }
}

const fn later(alert: &'static str) -> Wanted {
    Wanted { alert, within: 25 * 60, is_later: true }
}

const NOTHING: &[Act] = &[];
const NO_REPEAT: &[Repeat] = &[];
const REDIS: &[&str] = &["redis1", "redis2", "redis3", "redis4", "redis5", "redis6"];
const GATEWAYS: &[&str] = &["gateway1", "gateway2"];
const WORKERS: &[&str] = &["worker1", "worker2"];

/// Nothing listens on the port `discard` here.
const NO_REPLICA: &[&str] = &["DATABASE_REPLICA_URL=postgres://nobody@127.0.0.1:9/chatchit"];

/// What people notice when anything they wait for is late.
const LATE: [&str; 7] = [
    "DeliverySlow",
    "DeliverySlowForDays",
    "CanaryFails",
    "CanaryFailsForDays",
    "LaneBehind",
    "RestFails",
    "RequestsUnanswered",
];

/// The same, and the parts that say why; and what is counted over a quarter of an hour, because parts
/// were restarted before as well.
const PEER_AWAY: &[&str] = &[
    LATE[0],
    LATE[1],
    LATE[2],
    LATE[3],
    LATE[4],
    LATE[5],
    LATE[6],
    "PartDown",
    "PresenceLate",
    "EventsRefused",
    "EventsRefusedForDays",
    "CanaryCannotReach",
    "Lapses",
    "BusFlaps",
    "BusAway",
    "RetriesClimb",
    "SocketsVanish",
    "ProgramDown",
    "DirectorySlow",
    "PoolFull",
    "DoorClosed",
    "ProgramRestarts",
];

/// All groups, in the order in which they are run: what a quarter of an hour follows comes first.
pub const GROUPS: &[&[Case]] = &[
    &[Case {
        name: "the broker's disk is full",
        fires: &[
            wanted("BrokerAlarm", 90),
            wanted("BrokerBlocks", 210),
            wanted("EventsRefused", 300),
            later("EventsRefusedForDays"),
        ],
        also: PEER_AWAY,
        prepare: NOTHING,
        begin: &[Each("fill", &["rabbitmq1"])],
        repeats: NO_REPEAT,
        end: &[Each("empty", &["rabbitmq1"])],
    }],
    &[Case {
        name: "the broker is killed (-9)",
        fires: &[wanted("BusAway", 150)],
        also: PEER_AWAY,
        prepare: NOTHING,
        begin: &[Each("kill", &["rabbitmq1"])],
        repeats: NO_REPEAT,
        end: &[Each("start", &["rabbitmq1"])],
    }],
    &[Case {
        name: "the broker is killed and started again and again",
        fires: &[wanted("BusFlaps", 240), wanted("Lapses", 240)],
        also: PEER_AWAY,
        prepare: NOTHING,
        begin: NOTHING,
        repeats: &[Restart("rabbitmq1")],
        end: &[Each("start", &["rabbitmq1"])],
    }],
    &[Case {
        name: "a Redis node stands still, and then all of them",
        fires: &[wanted("DirectoryFails", 240)],
        also: PEER_AWAY,
        prepare: NOTHING,
        // The first has seats and not the leases: only the sweep notices.
        begin: &[Each("freeze", &["redis1"]), Pass(5), Each("freeze", REDIS)],
        repeats: NO_REPEAT,
        end: &[Each("thaw", REDIS)],
    }],
    &[
        Case {
            name: "PostgreSQL refuses two messages a second, and what is no envelope is on the bus",
            fires: &[
                wanted("QuarantineFills", 150),
                wanted("EventsLost", 330),
                wanted("StoreFaults", 420),
                wanted("RetriesClimb", 780),
                later("EventsLostForDays"),
            ],
            also: PEER_AWAY,
            prepare: NOTHING,
            begin: &[
                Sql("create function poison() returns trigger language plpgsql as \
                     $$ begin raise exception 'poison'; end $$; \
                     create trigger poison before insert on messages for each row \
                     when (new.content = 'poison') execute function poison()"),
                Poison,
                Nonsense,
            ],
            repeats: NO_REPEAT,
            end: &[Sql("drop trigger poison on messages; drop function poison()")],
        },
        Case {
            name: "PostgreSQL says of every message that its disk is full",
            fires: &[wanted("StoreFull", 60)],
            also: PEER_AWAY,
            prepare: NOTHING,
            begin: &[Sql("create function full_disk() returns trigger language plpgsql as \
                          $$ begin raise exception 'could not extend file' using errcode = '53100'; end $$; \
                          create trigger full_disk before insert on messages execute function full_disk()")],
            repeats: NO_REPEAT,
            end: &[Sql("drop trigger full_disk on messages; drop function full_disk()")],
        },
        Case {
            name: "a read replica that nobody runs",
            fires: &[wanted("ReplicaPaused", 780)],
            also: &[],
            prepare: NOTHING,
            begin: &[With("worker1", NO_REPLICA), With("worker2", NO_REPLICA)],
            repeats: NO_REPEAT,
            end: &[With("worker1", &[]), With("worker2", &[])],
        },
        Case {
            name: "the broker wants two thirds of the free disk to be free",
            fires: &[wanted("BrokerNearlyFull", 780)],
            also: &[],
            prepare: NOTHING,
            begin: &[LittleDisk("rabbitmq1")],
            repeats: NO_REPEAT,
            end: &[Each("empty", &["rabbitmq1"])],
        },
        Case {
            name: "all Redis nodes stand still for 150 ms of each 600",
            fires: &[wanted("DirectorySlow", 780)],
            also: PEER_AWAY,
            prepare: NOTHING,
            begin: NOTHING,
            repeats: &[Pulse(REDIS, 150, 450)],
            end: NOTHING,
        },
        Case {
            name: "a gateway is full and leaves, one socket a second",
            fires: &[wanted("DrainStuck", 240)],
            also: &["CanaryCannotReach", "DoorClosed", "ProgramDown"],
            prepare: &[
                With("gateway2", &["DRAIN_MS=400000", "RECONNECTS_PER_S=1", "SOCKETS_MAX=280"]),
                LoadComesAgain,
            ],
            begin: &[Signal("gateway2", "TERM")],
            repeats: NO_REPEAT,
            end: &[Each("kill", &["gateway2"]), With("gateway2", &[])],
        },
        Case {
            name: "the canary is killed (-9)",
            fires: &[wanted("CanarySilent", 300)],
            also: &[],
            prepare: NOTHING,
            begin: &[Each("kill", &["canary"])],
            repeats: NO_REPEAT,
            end: &[Each("start", &["canary"])],
        },
    ],
    &[
        Case {
            name: "40 a second want in at a gateway that opens one",
            fires: &[wanted("DoorClosed", 420)],
            // A promise's windows look at an hour: what was late before may tell now.
            also: &["SocketsVanish", "CanaryCannotReach", "DeliverySlow", "DeliverySlowForDays"],
            prepare: &[With("gateway2", &["UPGRADES_PER_S=1"])],
            begin: &[Storm("gateway2")],
            repeats: NO_REPEAT,
            end: &[With("gateway2", &[])],
        },
        Case {
            name: "all workers are killed (-9)",
            fires: &[
                wanted("NoWorker", 150),
                wanted("LaneBehind", 150),
                wanted("ProgramDown", 210),
                wanted("CanaryFails", 300),
                wanted("RestFails", 420),
                wanted("RequestsUnanswered", 420),
                later("CanaryFailsForDays"),
                later("DeliverySlow"),
                later("DeliverySlowForDays"),
            ],
            also: PEER_AWAY,
            prepare: NOTHING,
            begin: &[Each("kill", WORKERS)],
            repeats: NO_REPEAT,
            end: &[Each("start", WORKERS)],
        },
        Case {
            name: "a gateway may have few more descriptors than it has open",
            fires: &[wanted("DescriptorsNearlyOut", 420)],
            also: &["DoorClosed"],
            prepare: NOTHING,
            begin: &[FewDescriptors("gateway1")],
            repeats: NO_REPEAT,
            end: &[With("gateway1", &[])],
        },
    ],
    &[Case {
        name: "PostgreSQL is killed (-9), and 600 clients go",
        fires: &[wanted("StoreAway", 240), wanted("PartDown", 240), wanted("PresenceLate", 480)],
        also: PEER_AWAY,
        prepare: NOTHING,
        // That they went is to be told, to contacts whom only PostgreSQL knows.
        begin: &[Each("kill", &["postgres"]), LoadDies],
        repeats: NO_REPEAT,
        end: &[Each("start", &["postgres"])],
    }],
    &[
        Case {
            name: "one connection to PostgreSQL for each worker, and a table that is locked most of the time",
            fires: &[wanted("PoolFull", 420)],
            also: PEER_AWAY,
            prepare: NOTHING,
            begin: &[With("worker1", &["STORE_CONNECTIONS=1"]), With("worker2", &["STORE_CONNECTIONS=1"])],
            repeats: &[Lock],
            end: &[With("worker1", &[]), With("worker2", &[])],
        },
        Case {
            name: "a gateway stands still for 1.5 s of each 1.7",
            fires: &[wanted("RuntimeLate", 150)],
            also: PEER_AWAY,
            prepare: NOTHING,
            begin: NOTHING,
            repeats: &[Pulse(&["gateway1"], 1_500, 200)],
            end: NOTHING,
        },
    ],
    &[Case {
        name: "all gateways are killed (-9)",
        fires: &[wanted("NoGateway", 150), wanted("CanaryCannotReach", 240)],
        also: PEER_AWAY,
        prepare: NOTHING,
        begin: &[Each("kill", GATEWAYS)],
        repeats: NO_REPEAT,
        end: &[Each("start", GATEWAYS)],
    }],
    &[
        Case {
            name: "a worker is killed and started again and again, and a table is locked most of the time",
            fires: &[wanted("ProgramRestarts", 180)],
            also: PEER_AWAY,
            prepare: NOTHING,
            begin: NOTHING,
            // What it had begun goes on when the lock is gone, beside who does it in its place.
            repeats: &[Restart("worker2"), Lock],
            end: &[Each("start", &["worker2"])],
        },
        Case {
            name: "a worker is started with another JWT secret",
            fires: &[wanted("SecretsDiffer", 240)],
            also: PEER_AWAY,
            prepare: NOTHING,
            begin: &[With("worker1", &["JWT_ACCESS_TOKEN=another-secret-than-that-of-all-others"])],
            repeats: NO_REPEAT,
            end: &[With("worker1", &[])],
        },
        Case {
            name: "600 clients are gone at once",
            fires: &[wanted("SocketsVanish", 180)],
            also: &[],
            prepare: &[LoadComesAgain],
            begin: &[LoadDies],
            repeats: NO_REPEAT,
            end: NOTHING,
        },
    ],
];

/// Alerts that cannot fire here, and why.
pub const NOT_HERE: &[(&str, &str)] =
    &[("VersionsMixed", "not here: the rule waits for an hour, longer than all of this takes")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alert_of_the_rules_has_a_fault_or_a_reason() {
        let rules = super::super::alert_names().unwrap();
        let all = GROUPS.iter().flat_map(|group| group.iter());
        let mut known: Vec<&str> = all.clone().flat_map(|case| case.fires).map(|one| one.alert).collect();
        known.extend(NOT_HERE.iter().map(|(alert, _)| *alert));
        for alert in &rules {
            assert_eq!(known.iter().filter(|known| *known == alert).count(), 1, "{alert}");
        }
        let also = all.flat_map(|case| case.also);
        for name in known.iter().chain(also) {
            assert!(rules.contains(*name), "{name} is no alert");
        }
    }
}
