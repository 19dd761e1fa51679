//! The swarm binary: arguments in, report out, exit code as the verdict says.

use std::io::Write as _;
use std::process::ExitCode;

use swarm::options::{HELP, Options};
use swarm::run::run;

/// Something acknowledged was lost, doubled or reordered, or could not be verified.
const EXIT_NOT_CLEAN: u8 = 1;
/// The run could not be set up.
const EXIT_SETUP: u8 = 2;

fn main() -> ExitCode {
    let outcome = Options::parse(std::env::args().skip(1)).and_then(|options| {
        let Some(options) = options else { return Ok((HELP.to_owned(), true)) };
        let report = run(&options)?;
        let text = if options.json { serde_json::to_string_pretty(&report)? } else { report.to_string() };
        Ok((text, report.is_clean))
    });
    match outcome {
        Ok((text, is_clean)) => {
            // A closed pipe changes nothing about the verdict.
            let _ = writeln!(std::io::stdout(), "{text}");
            if is_clean { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NOT_CLEAN) }
        }
        Err(err) => {
            eprintln!("swarm: {err:#}");
            ExitCode::from(EXIT_SETUP)
        }
    }
}
