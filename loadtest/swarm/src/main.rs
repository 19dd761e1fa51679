//! The swarm binary: arguments in, report out, exit code as the verdict says.

use std::io::Write as _;
use std::process::ExitCode;

use swarm::options::Options;
use swarm::run::run;

/// Something acknowledged was lost, doubled or reordered, or could not be verified.
const EXIT_NOT_CLEAN: u8 = 1;
/// The run could not be set up.
const EXIT_SETUP: u8 = 2;

/// `EX_USAGE`, as in all programs: the command line is not valid.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(err) => {
            let _ = err.print();
            return if err.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = run(&options).and_then(|report| {
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
