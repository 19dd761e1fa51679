//! The operator's commands: look at a running cluster, and do to it what is not a client's business.
//!
//! They are peers of the programs, not clients: they talk over the bus, to the directory and to the
//! store, with the same secrets. Each connects only to what it needs, changes nothing when it only
//! looks, and shows names and ids, never contents.

/// Arguments to a command, and its help.
pub mod command;

/// Values among the arguments.
mod values;

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

/// `user block`, `user unblock`.
mod blocking;

/// `trace`.
mod trace;

use std::process::ExitCode;

use common::config::EXIT_CONFIG;

use self::command::{Accounts, Command, Quarantine};
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
pub async fn run(command: Command) -> ExitCode {
    match carry_out(&command).await {
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

async fn carry_out(command: &Command) -> Result<Outcome, Failure> {
    let (peers, out) = (Peers::read()?, Out { json: command.form().json });
    match command {
        Command::Nodes(asked) => nodes::nodes(&peers, &out, asked.wait).await,
        Command::Drain { node, asked } => nodes::drain(&peers, &out, asked.wait, *node).await,
        Command::Lanes(asked) => lanes::lanes(&peers, &out, asked.wait).await,
        Command::Quarantine(Quarantine::Ls { contents, .. }) => {
            quarantine::ls(&peers, &out, contents.bodies).await
        }
        Command::Quarantine(Quarantine::Show { nth, contents, .. }) => {
            quarantine::show(&peers, &out, *nth, contents.bodies).await
        }
        Command::Quarantine(Quarantine::Replay { which, .. }) => {
            quarantine::replay(&peers, &out, *which).await
        }
        Command::Tail { pattern, lasting, .. } => tail::tail(&peers, &out, pattern, *lasting).await,
        Command::Sessions { user, asked } => sockets::sessions(&peers, &out, asked.wait, &user.whose).await,
        Command::Kick { user, login, asked } => {
            sockets::kick(&peers, &out, asked.wait, &user.whose, *login).await
        }
        Command::Trace { guid, hint, asked } => trace::trace(&peers, &out, asked.wait, guid, hint).await,
        Command::Migrate(_) => accounts::migrate(&peers, &out).await,
        Command::User(Accounts::Create(new)) => accounts::create(&peers, &out, new).await,
        Command::User(Accounts::Block { user, .. }) => blocking::block(&peers, &out, &user.whose).await,
        Command::User(Accounts::Unblock { user, .. }) => blocking::unblock(&peers, &out, &user.whose).await,
        Command::User(Accounts::Show { user, .. }) => accounts::show(&peers, &out, &user.whose).await,
    }
}
