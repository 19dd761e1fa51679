//! The operator's commands: look at a running cluster, and do to it what is not a client's business.
//!
//! They are peers of the programs, not clients: they use the bus, the directory and the
//! store, with the same secrets. Each connects only to what it needs, changes nothing unless that is its
//! purpose, and shows names and ids, never contents.

/// Arguments to a command, and its help.
pub mod command;

/// Values among the arguments.
mod values;

/// How a command ends.
mod ending;

/// OperatorPeers to what a command needs.
mod peers;

/// Tables, ages, JSON.
pub mod print;

/// The parts of an envelope that may be shown.
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

/// `redact`.
mod redaction;

/// `trace`.
mod trace;

use std::process::ExitCode;

use common::config::EXIT_CONFIG;

use self::command::{Accounts, OperatorCommand, QuarantineCommand};
use self::ending::{Ending, Failure};
use self::peers::OperatorPeers;
use self::print::Out;

/// Executes the command, and returns the process's exit code.
pub async fn run(command: OperatorCommand) -> ExitCode {
    match carry_out(&command).await {
        Ok(Ending::Good) => ExitCode::SUCCESS,
        Ok(Ending::Partly) => ExitCode::from(1),
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

async fn carry_out(command: &OperatorCommand) -> Result<Ending, Failure> {
    let (peers, out) = (OperatorPeers::read()?, Out { json: command.form().json });
    match command {
        OperatorCommand::Nodes(asked) => nodes::nodes(&peers, &out, asked.wait).await,
        OperatorCommand::Drain { node, asked } => nodes::drain(&peers, &out, asked.wait, *node).await,
        OperatorCommand::Lanes(asked) => lanes::lanes(&peers, &out, asked.wait).await,
        OperatorCommand::Quarantine(QuarantineCommand::Ls { contents, .. }) => {
            quarantine::ls(&peers, &out, contents.bodies).await
        }
        OperatorCommand::Quarantine(QuarantineCommand::Show { nth, contents, .. }) => {
            quarantine::show(&peers, &out, *nth, contents.bodies).await
        }
        OperatorCommand::Quarantine(QuarantineCommand::Replay { which, .. }) => {
            quarantine::replay(&peers, &out, *which).await
        }
        OperatorCommand::Tail { pattern, lasting, .. } => tail::tail(&peers, &out, pattern, *lasting).await,
        OperatorCommand::Sessions { user, asked } => {
            sockets::sessions(&peers, &out, asked.wait, &user.whose).await
        }
        OperatorCommand::Kick { user, login, asked } => {
            sockets::kick(&peers, &out, asked.wait, &user.whose, *login).await
        }
        OperatorCommand::Trace { guid, hint, asked } => {
            trace::trace(&peers, &out, asked.wait, guid, hint).await
        }
        OperatorCommand::Redact { conversation, seq, .. } => {
            redaction::redact(&peers, &out, *conversation, *seq).await
        }
        OperatorCommand::Migrate(_) => accounts::migrate(&peers, &out).await,
        OperatorCommand::User(Accounts::Create(new)) => accounts::create(&peers, &out, new).await,
        OperatorCommand::User(Accounts::Block { user, .. }) => {
            blocking::block(&peers, &out, &user.whose).await
        }
        OperatorCommand::User(Accounts::Unblock { user, .. }) => {
            blocking::unblock(&peers, &out, &user.whose).await
        }
        OperatorCommand::User(Accounts::Show { user, .. }) => accounts::show(&peers, &out, &user.whose).await,
    }
}
