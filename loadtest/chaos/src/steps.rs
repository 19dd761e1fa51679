//! What can be done to the cluster, step by step.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Version};
use crate::pause;

/// What `deploy/cluster` is told.
pub enum Step {
    /// A command for some parts, one after the other.
    Each(&'static str, &'static [&'static str]),
    /// A command for some parts at once: brokers wait for each other.
    All(&'static str, &'static [&'static str]),
    /// Seconds pass.
    Wait(u64),
    /// These steps again and again, until this many seconds have passed.
    Again(u64, &'static [Step]),
    /// Every part that is down is started.
    StartAll,
    /// The current Redis primary is killed, then these steps run, and the node is started after this many seconds.
    RedisPrimaryAwayFor(u64, &'static [Step]),
    /// A part is restarted, and its way to the peer that this variable names is a line that can be cut.
    OnTheLine(&'static str, &'static str),
    /// The line forwards nothing, and neither end learns that it is cut.
    CutLine,
    /// It passes again.
    MendLine,
    /// The wall clocks of these parts are so many seconds off. The first time it restarts them.
    Clock(&'static [&'static str], &'static str),
    /// All programs of a kind are replaced by those of a version, one after the other.
    Replace(&'static str, Version),
}

use Step::{
    Again, All, Clock, CutLine, Each, MendLine, OnTheLine, RedisPrimaryAwayFor, Replace, StartAll, Wait,
};

impl Step {
    /// How long it takes, about.
    pub fn seconds(&self) -> u64 {
        match self {
            Wait(seconds) | RedisPrimaryAwayFor(seconds, _) | Again(seconds, _) => *seconds,
            Each(..) | All(..) | OnTheLine(..) | Clock(..) | StartAll => 5,
            Replace(..) => 10,
            CutLine | MendLine => 0,
        }
    }

    /// Takes it.
    ///
    /// # Errors
    /// A command failed.
    pub fn take(&self, cluster: &Cluster) -> anyhow::Result<()> {
        match self {
            Each(command, parts) => {
                parts.iter().try_for_each(|part| cluster.tell(&[command, part]).map(drop))?
            }
            All(command, parts) => at_once(cluster, parts.iter().map(|part| vec![*command, part]))?,
            Wait(seconds) => pause(Duration::from_secs(*seconds)),
            Again(seconds, steps) => again(cluster, Duration::from_secs(*seconds), steps)?,
            StartAll => drop(cluster.tell(&["up"])?),
            RedisPrimaryAwayFor(seconds, steps) => {
                let part = cluster.tell(&["kill", "redis-primary"])?;
                steps.iter().try_for_each(|step| step.take(cluster))?;
                pause(Duration::from_secs(*seconds));
                cluster.tell(&["start", &part])?;
            }
            OnTheLine(part, variable) => cluster.put_on_the_line(part, variable)?,
            CutLine => cluster.line.cut(),
            MendLine => cluster.line.mend(),
            // To be restarted they wait for each other; to be set wrong they do not.
            Clock(parts, seconds @ "+0") => {
                parts.iter().try_for_each(|part| cluster.tell(&["clock", part, seconds]).map(drop))?;
            }
            Clock(parts, seconds) => at_once(cluster, parts.iter().map(|part| vec!["clock", part, seconds]))?,
            Replace(kind, version) => cluster.replace(kind, *version)?,
        }
        Ok(())
    }
}

/// One after the other, as often as the time allows.
#[expect(clippy::disallowed_methods, reason = "processes do not share our clock")]
fn again(cluster: &Cluster, time: Duration, steps: &[Step]) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut in_time = steps.iter().cycle().take_while(|_| begun.elapsed() < time);
    in_time.try_for_each(|step| step.take(cluster))
}

/// Some commands at the same time.
fn at_once<'a>(cluster: &Cluster, commands: impl Iterator<Item = Vec<&'a str>>) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let told: Vec<_> = commands.map(|words| scope.spawn(move || cluster.tell(&words))).collect();
        told.into_iter()
            .try_for_each(|told| told.join().map_err(|_| anyhow::anyhow!("a command panicked"))?.map(drop))
    })
}
