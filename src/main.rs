//! `chatchit`: all programs in one process, people to try it with, the canary, and the operator's
//! commands.
//!
//! Configuration, then the peers (`serve.rs`), then everything until a signal. What a gateway or
//! a worker *is* stands in their own `lib.rs`; here they are only put together.

/// The command line.
mod cli;

/// The environment, completed with what `./data` keeps.
mod config;

/// The folder of what is kept.
mod data;

/// A private PostgreSQL.
mod postgres;

/// Everything in one process.
mod serve;

/// Accounts of people who log in.
mod account;

/// Two people on the command line.
mod demo;

/// The canary: a client that measures what users get.
mod canary;

/// The operator's commands.
mod tool;

use std::process::ExitCode;

use common::arguments;
use common::config::{EXIT_CONFIG, Env};

use crate::cli::{Command, CommandLine};
use crate::config::ProcessConfig;
use crate::data::Data;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<ExitCode> {
    let line: CommandLine = match arguments::read("chatchit", cli::ABOUT) {
        Ok(line) => line,
        Err(code) => return Ok(code),
    };
    match line.command {
        None if line.check => check(),
        None => serve(),
        Some(Command::Demo(command)) => {
            client_runtime()?.block_on(demo::run(command, &Data::open()?))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Canary(wanted)) => {
            let mut env = Env::from_process();
            let config = canary::config::CanaryConfig::from_env(&mut env);
            match env.finish() {
                Ok(()) => client_runtime()?.block_on(canary::run(config, wanted)),
                Err(err) => Ok(misconfigured(&err.into())),
            }
        }
        Some(Command::Operate(command)) => Ok(client_runtime()?.block_on(tool::run(command))),
    }
}

fn check() -> anyhow::Result<ExitCode> {
    Ok(match ProcessConfig::check() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => misconfigured(&err.into()),
    })
}

fn serve() -> anyhow::Result<ExitCode> {
    let mut data = Data::open()?;
    data.lock()?;
    match ProcessConfig::read(&data) {
        Ok(config) => config.gateway.runtime()?.block_on(serve::run(config, data))?,
        Err(err) => return Ok(misconfigured(&err)),
    }
    Ok(ExitCode::SUCCESS)
}

/// One thread is enough for a client.
fn client_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn misconfigured(err: &anyhow::Error) -> ExitCode {
    eprintln!("chatchit: {err:#}");
    ExitCode::from(EXIT_CONFIG)
}
