//! What people do meanwhile.

use anyhow::Context as _;
use swarm::options::Options;

use crate::cluster::Cluster;

/// Messages per second: enough that each second of an outage shows, little enough that the
/// cluster, the generator and the fault share two cores.
const RATE: u64 = 300;

/// Messages of senders at full speed.
const FLAT_OUT: u64 = 5_000;

/// How much, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// 300 messages per second, due at fixed times, in 100 conversations, and 300 sockets that only wait.
    Steady,
    /// 50 people in one conversation; all read, and each sends as soon as the last message was acknowledged.
    OneRoom,
}

impl Load {
    /// For this many seconds.
    ///
    /// # Errors
    /// swarm does not take the options.
    pub fn options(self, cluster: &Cluster, seconds: u64) -> anyhow::Result<Options> {
        let mut arguments = vec![
            ("--url", cluster.url.clone()),
            ("--settle", "60".into()),
            ("--deadline", (seconds + 240).to_string()),
            ("--cache", cluster.accounts.display().to_string()),
            ("--jwt-secret", cluster.secret.clone()),
        ];
        let own: &[(&str, u64)] = match self {
            Self::Steady => &[
                ("--senders", 30),
                ("--conversations", 100),
                ("--sockets", 300),
                ("--rate", RATE),
                ("--messages", RATE * seconds),
                ("--pipeline", 4),
            ],
            Self::OneRoom => &[
                ("--senders", 50),
                ("--conversations", 1),
                ("--members", 50),
                ("--messages", FLAT_OUT),
                ("--pipeline", 64),
            ],
        };
        arguments.extend(own.iter().map(|(name, value)| (*name, value.to_string())));
        let words = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        Options::read(words).context("options of a run")
    }
}
