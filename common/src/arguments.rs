//! Command lines: their arguments, and how a program ends when it does not understand them.
//! The only dependency of gateway and worker on `clap`.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::config::EXIT_CONFIG;
use crate::version::VERSION;

/// What a program that runs until a signal can be told: everything else is in the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Parser)]
#[command(
    after_help = "Everything else is read from the environment: see README.md, \"With your own peers\".\n\
    Exit codes: 0 good; 1 failed; 64 the command line or the environment is not understood."
)]
pub struct Arguments {
    /// Read the environment, report everything that is wrong with it, and exit
    #[arg(long)]
    pub check: bool,
}

/// Reads the command line of this process as `P`, for the program of this name.
///
/// # Errors
/// How to exit: 0 after `--help` and `--version`, which are printed; 64 when an argument is not
/// understood, which is said on standard error.
pub fn read<P: Parser>(name: &'static str, about: &'static str) -> Result<P, ExitCode> {
    match parse(name, about, std::env::args_os()) {
        Ok(arguments) => Ok(arguments),
        Err(err) => {
            // A closed pipe changes nothing about how it ends.
            let _ = err.print();
            Err(if err.use_stderr() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::SUCCESS })
        }
    }
}

/// The same, of any words. The first one is the name of the program.
///
/// # Errors
/// What is wrong; or the text that `--help` or `--version` asks for.
pub fn parse<P: Parser, W: Into<std::ffi::OsString> + Clone>(
    name: &'static str,
    about: &'static str,
    words: impl IntoIterator<Item = W>,
) -> Result<P, clap::Error> {
    let mut command =
        <P as CommandFactory>::command().name(name).bin_name(name).about(about).version(VERSION);
    let mut matches = command.try_get_matches_from_mut(words)?;
    P::from_arg_matches_mut(&mut matches).map_err(|err| err.format(&mut command))
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn line(words: &str) -> Result<Arguments, ErrorKind> {
        parse("gateway", "Holds sockets", words.split(' ')).map_err(|err| err.kind())
    }

    #[test]
    fn a_program_runs_checks_or_refuses() {
        assert_eq!(line("gateway"), Ok(Arguments { check: false }));
        assert_eq!(line("gateway --check"), Ok(Arguments { check: true }));
        assert_eq!(line("gateway --version"), Err(ErrorKind::DisplayVersion));
        assert_eq!(line("gateway --help"), Err(ErrorKind::DisplayHelp));
        for unknown in
            ["gateway --chekc", "gateway --check=1", "gateway -x", "gateway run", "gateway --check x"]
        {
            let err = parse::<Arguments, _>("gateway", "", unknown.split(' ')).expect_err(unknown);
            assert!(err.use_stderr(), "{unknown}: {err}");
        }
    }

    #[test]
    fn the_version_has_the_commit() {
        let err = parse::<Arguments, _>("gateway", "", ["gateway", "--version"]).expect_err("a text");
        assert_eq!(err.to_string(), format!("gateway {VERSION}\n"));
    }
}
