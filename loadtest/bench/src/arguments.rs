//! The command line of `bench`. No other file here reads arguments.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{against, hold, keeper, peers, soak};

/// `EX_USAGE`, as in all programs: the command line is not valid.
const EXIT_USAGE: u8 = 64;

/// What to do.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    about = "Takes ratios of ChatChit against peer programs and the bare kernel, in one run",
    args_conflicts_with_subcommands = true,
    subcommand_value_name = "COMMAND",
    after_help = "Exit codes: 0 done; 1 failed, or a bar of hold or soak is missed; 64 the command line is not understood."
)]
pub struct Arguments {
    /// Something else than the table
    #[command(subcommand)]
    pub mode: Option<Mode>,
    /// Take only these rows (g1 ... g13, limit, rooms, profile), and do not write loadtest/RESULTS.md
    // A misspelt row would be missed only after the others.
    #[arg(value_name = "ROW", value_parser = row)]
    pub rows: Vec<String>,
}

/// What this program does beside the table.
#[derive(Debug, Subcommand)]
pub enum Mode {
    /// Hold very many idle sockets while some talk
    Hold(hold::Wanted),
    /// Load with half of saturation for a long time
    Soak(soak::Wanted),
    /// Measure what remembering the way of messages costs
    Trace {
        /// Pairs of passes, with it and without it; 30 without this argument
        pairs: Option<usize>,
    },
    /// Record flame graphs of gateway and worker
    Flame,
    /// Take rows of this build and of another commit's in turn, and print the ratios
    Against(against::Wanted),
    /// The bare chain
    #[command(hide = true)]
    BareChain(peers::chain::Load),
    /// The bare accept loop, on $PORT
    #[command(hide = true, name = peers::accept::ARGUMENT)]
    AcceptLoop,
    /// The bare write loop, on $PORT
    #[command(hide = true, name = peers::write::ARGUMENT)]
    WriteLoop,
    /// A process that keeps a part of the sockets
    #[command(hide = true, name = keeper::ARGUMENT)]
    KeepSockets {
        /// JSON
        part: String,
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

fn row(name: &str) -> Result<String, String> {
    match crate::ROWS.iter().any(|(names, _)| names.contains(&name)) {
        true => Ok(name.to_owned()),
        false => Err("no row has this name".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(words.split_whitespace())
    }

    #[test]
    fn rows_or_a_command_are_understood() {
        assert!(line("bench").is_ok_and(|all| all.rows.is_empty() && all.mode.is_none()));
        assert!(line("bench g1 chain").is_ok_and(|some| some.rows == ["g1", "chain"]));
        for command in
            ["hold 300 3", "hold 300 3 FILE", "soak 60", "trace", "trace 3", "flame", "against HEAD~1 g4"]
        {
            assert!(line(&format!("bench {command}")).is_ok_and(|one| one.mode.is_some()), "{command}");
        }
        for bad in [
            "g99",
            "hold",
            "hold 5 3",
            "hold 300 1",
            "soak 59",
            "soak x",
            "soak 90000",
            "trace x",
            "g1 flame",
            "against",
        ] {
            assert!(line(&format!("bench {bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn processes_of_the_bench_find_their_part() {
        let part = |name: &str| line(&format!("bench {name}")).map(|arguments| arguments.mode);
        assert!(matches!(part(peers::accept::ARGUMENT), Ok(Some(Mode::AcceptLoop))));
        assert!(matches!(part(peers::write::ARGUMENT), Ok(Some(Mode::WriteLoop))));
        assert!(matches!(part(&format!("{} {{}}", keeper::ARGUMENT)), Ok(Some(Mode::KeepSockets { .. }))));
        assert!(matches!(
            part("bare-chain --seconds 1 --bytes 150"),
            Ok(Some(Mode::BareChain(load))) if load.rate.is_none()
        ));
    }
}
