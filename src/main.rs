//! `chatchit`: all programs in one process, people to try it with, the canary, and the operator's
//! commands.
//!
//! Configuration, then the peers (`serve.rs`), then everything until a signal. What a gateway or
//! a worker *is* stands in their own `lib.rs`; here they are only put together.

/// What the command line says.
mod cli;

/// The environment, completed with what `./data` keeps.
mod config;

/// The folder of what is kept.
mod data;

/// A private PostgreSQL.
mod postgres;

/// Everything in one process.
mod serve;

/// The client's side of HTTP and of a socket.
mod wire;

/// People who log in.
mod account;

/// Two people on the command line.
mod demo;

/// Two people who measure what people get.
mod canary;

/// The operator's commands.
mod tool;

use std::io::Write as _;
use std::process::ExitCode;

use common::config::{EXIT_CONFIG, Env};

use crate::cli::Command;
use crate::config::Config;
use crate::data::Data;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = |sentence: &str| {
        eprintln!("chatchit: {sentence}");
        Ok(ExitCode::from(EXIT_CONFIG))
    };
    let command = match cli::parse(&arguments, config::port()) {
        Ok(command) => command,
        Err(sentence) => return usage(&sentence),
    };
    match command {
        Command::Help(text) => writeln!(std::io::stdout(), "{text}")?,
        Command::Operate(wanted) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            return Ok(runtime.block_on(tool::run(wanted)));
        }
        Command::Check => {
            if let Err(err) = Config::check() {
                return usage(&err.to_string());
            }
        }
        Command::Canary(wanted) => {
            let mut env = Env::from_process();
            let config = canary::config::Config::from_env(&mut env);
            if let Err(err) = env.finish() {
                return usage(&err.to_string());
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            return runtime.block_on(canary::run(config, wanted));
        }
        Command::Demo(demo) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(demo::run(demo, &Data::open()?))?;
        }
        Command::Serve => {
            let mut data = Data::open()?;
            data.lock()?;
            match Config::read(&data) {
                Ok(config) => config.gateway.runtime()?.block_on(serve::run(config, data))?,
                Err(err) => return usage(&format!("{err:#}")),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
