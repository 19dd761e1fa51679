//! The operator's commands: look at a running cluster, and do to it what is not a client's business.
//!
//! They are peers of the programs, not clients: they talk over the bus, to the directory and to the
//! store, with the same secrets. Each connects only to what it needs, changes nothing when it only
//! looks, and shows names and ids, never contents.

/// Arguments to a command.
pub mod command;

/// What is said with `--help`.
pub mod help;

/// Connections to what a command needs.
mod peers;

/// Tables, ages, JSON.
pub mod print;

/// What may be shown of an envelope.
mod redact;

/// `nodes`, `drain`.
mod nodes;

/// `lanes`.
mod lanes;

/// `quarantine`.
mod quarantine;

/// `tail`.
mod tail;

/// `sessions`, `kick`.
mod sockets;

/// `user`, `migrate`.
mod accounts;

/// `trace`.
mod trace;

use std::process::ExitCode;

use common::config::EXIT_CONFIG;

use self::command::{Command, Wanted};
use self::peers::Peers;
use self::print::Out;

/// What a command that did not fail came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it.
    Good,
    /// Nothing there, nobody answered, or only a part of it.
    Partly,
}

impl Outcome {
    fn good(is_good: bool) -> Self {
        if is_good { Self::Good } else { Self::Partly }
    }
}

/// Why a command has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The environment lacks something.
    #[error("{0}")]
    Environment(String),
    /// A peer did not answer, or something else went wrong.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl From<std::io::Error> for Failure {
    fn from(err: std::io::Error) -> Self {
        Self::Failed(err.into())
    }
}

/// Does it, and says how the process ends.
pub async fn run(wanted: Wanted) -> ExitCode {
    match carry_out(&wanted).await {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Partly) => ExitCode::from(1),
        Err(Failure::Environment(sentence)) => {
            eprintln!("chatchit: {sentence}");
            ExitCode::from(EXIT_CONFIG)
        }
        Err(failure) => {
            eprintln!("chatchit: {failure}");
            ExitCode::from(2)
        }
    }
}

async fn carry_out(wanted: &Wanted) -> Result<Outcome, Failure> {
    let (peers, out) = (Peers::read()?, Out { json: wanted.json });
    let wait = wanted.wait;
    match &wanted.command {
        Command::Nodes => nodes::nodes(&peers, &out, wait).await,
        Command::Drain(node) => nodes::drain(&peers, &out, wait, *node).await,
        Command::Lanes => lanes::lanes(&peers, &out, wait).await,
        Command::QuarantineLs { bodies } => quarantine::ls(&peers, &out, *bodies).await,
        Command::QuarantineShow { nth, bodies } => quarantine::show(&peers, &out, *nth, *bodies).await,
        Command::QuarantineReplay(which) => quarantine::replay(&peers, &out, *which).await,
        Command::Tail { pattern, lasting } => tail::tail(&peers, &out, pattern, *lasting).await,
        Command::Sessions(whose) => sockets::sessions(&peers, &out, wait, whose).await,
        Command::Kick { whose, login } => sockets::kick(&peers, &out, wait, whose, *login).await,
        Command::Trace { guid, hint } => trace::trace(&peers, &out, wait, guid, hint).await,
        Command::Migrate => accounts::migrate(&peers, &out).await,
        Command::UserCreate(new) => accounts::create(&peers, &out, new).await,
        Command::UserShow(whose) => accounts::show(&peers, &out, whose).await,
    }
}
