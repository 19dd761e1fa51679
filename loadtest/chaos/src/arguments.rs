//! The command line of `chaos`. Nothing else here reads arguments.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::faults::FAULTS;

/// As everywhere: the command line is not understood.
const EXIT_USAGE: u8 = 64;

/// What to do.
#[derive(Debug, Parser)]
#[command(
    name = "chaos",
    about = "Starts a cluster and breaks it under load: one row per fault",
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 every run is clean; 1 a run is not clean, or could not be made; 64 the command line is not \
                  understood."
)]
pub struct Arguments {
    /// Make every alert fire instead
    #[command(subcommand)]
    pub mode: Option<Mode>,
    /// Run only the faults whose names contain one of these words, and do not write the runbook
    // A misspelt word would run nothing, or everything but what was meant.
    #[arg(value_name = "WORD", value_parser = word)]
    pub words: Vec<String>,
}

/// What else this program does.
#[derive(Debug, Subcommand)]
pub enum Mode {
    /// Make every alert fire, and measure how long it takes
    Alerts {
        /// Only the faults of these alerts, comma-separated; all without it
        #[arg(long, value_name = "ALERT", value_delimiter = ',')]
        only: Vec<String>,
    },
}

impl Arguments {
    /// Reads the command line of this process.
    ///
    /// # Errors
    /// How to exit: 0 after `--help`, which is printed; 64 when an argument is not understood, which is said
    /// on standard error.
    pub fn read() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|err| {
            // A closed pipe changes nothing about how it ends.
            let _ = err.print();
            if err.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS }
        })
    }
}

fn word(word: &str) -> Result<String, String> {
    match FAULTS.iter().any(|fault| fault.is_named(word)) {
        true => Ok(word.to_owned()),
        false => Err("no fault has a name that contains this word".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_faults_and_alerts_are_a_command() {
        let line = |words: &str| Arguments::try_parse_from(words.split_whitespace());
        assert!(line("chaos").is_ok_and(|all| all.words.is_empty() && all.mode.is_none()));
        assert!(line("chaos worker redis").is_ok_and(|some| some.words == ["worker", "redis"]));
        for bad in ["chaos wroker", "chaos worker alerts", "chaos --only NoWorker", "chaos alerts worker"] {
            assert!(line(bad).is_err(), "{bad}");
        }
        let alerts = line("chaos alerts --only NoWorker,BusAway").map(|arguments| arguments.mode);
        assert!(
            matches!(alerts, Ok(Some(Mode::Alerts { only })) if only == ["NoWorker", "BusAway"]),
            "alerts of a list"
        );
    }
}
