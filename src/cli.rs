//! The command line of `chatchit`. Pure: arguments in, a command or an error out.

use clap::{Args, Parser, Subcommand};

use crate::tool::command as operator;

/// What `chatchit` is, in its help.
pub const ABOUT: &str =
    "ChatChit in one process, people to try it with, a canary, and the operator's commands";

/// The command line.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(
    args_conflicts_with_subcommands = true,
    infer_long_args = false,
    after_help = "Without a command, everything runs in this one process (README.md lists the environment).\n\
        `chatchit help COMMAND` explains a command.\n\n",
    after_long_help = "Without a command, everything runs in this one process (README.md lists the environment).\n\
        `chatchit help COMMAND` explains a command.\n\n\
        Exit codes: 0 good; 1 nothing found, no answer, or only a part; 2 failed; 64 the command line or\n\
        the environment is not understood."
)]
pub struct CommandLine {
    /// Read the environment, report everything that is wrong with it, and exit
    #[arg(long)]
    pub check: bool,
    /// The command.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands beside running everything.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Be a person.
    #[command(flatten)]
    Demo(Demo),
    Canary(Canary),
    /// Look at a cluster, and act on it.
    #[command(flatten)]
    Operate(operator::OperatorCommand),
}

/// A person's side of the demo.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Demo {
    /// Demo: print the messages that reach a person, until Ctrl-C
    Listen {
        /// The person who listens
        #[arg(long = "as", value_name = "NAME", default_value = "bob", value_parser = name)]
        who: String,
        #[command(flatten)]
        at: At,
    },
    /// Demo: send a message from one person to another
    Say {
        /// The person who speaks
        #[arg(long = "as", value_name = "NAME", default_value = "alice", value_parser = name)]
        who: String,
        /// The person spoken to
        #[arg(long, value_name = "NAME", default_value = "bob", value_parser = name)]
        to: String,
        #[command(flatten)]
        at: At,
        /// The words; several arguments are joined with spaces
        #[arg(required = true)]
        text: Vec<String>,
    },
    /// Demo: print the conversation of two people
    History {
        /// The person who reads
        #[arg(long = "as", value_name = "NAME", default_value = "bob", value_parser = name)]
        who: String,
        /// The other person
        #[arg(long, value_name = "NAME", default_value = "alice", value_parser = name)]
        with: String,
        #[command(flatten)]
        at: At,
    },
}

/// The server of the demo.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct At {
    /// A gateway, or what stands in front of it: http://host:port or https://host
    /// [default: http://127.0.0.1:PORT]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// Measure what users get: send a message through every pair of gateways
///
/// A round takes place each 10 s until a signal; health and metrics are on ADMIN_PORT. With --once, one
/// round, printed as a table. README.md lists what it reads from the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
#[command(
    after_help = "Exit codes of --once: 0 every pair was heard; 1 a message was lost or a gateway not reached;\n\
        2 no login; 64 the environment is not understood, or the password is wrong."
)]
pub struct Canary {
    /// One round, a table of every pair, and exit
    #[arg(long)]
    pub once: bool,
    /// Print the round as JSON
    #[arg(long, requires = "once")]
    pub json: bool,
    /// Read the environment, report everything that is wrong with it, and exit
    #[arg(long, conflicts_with = "once")]
    pub check: bool,
}

fn name(text: &str) -> Result<String, String> {
    if !(1..=32).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err("a name has 1 to 32 letters and digits".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn read(line: &[&str]) -> Result<CommandLine, clap::Error> {
        common::arguments::parse("chatchit", ABOUT, [&["chatchit"], line].concat())
    }

    fn command(line: &[&str]) -> Option<Command> {
        read(line).map_or_else(|err| panic!("{err}"), |line| line.command)
    }

    #[test]
    fn commands() {
        assert_eq!(command(&[]), None);
        assert!(read(&["--check"]).is_ok_and(|line| line.check));
        let (who, to, at) = ("alice".to_owned(), "bob".to_owned(), At { url: None });
        let said = |text: &[&str]| {
            let text = text.iter().map(|&word| word.to_owned()).collect();
            Some(Command::Demo(Demo::Say { who: who.clone(), to: to.clone(), at: at.clone(), text }))
        };
        assert_eq!(command(&["say", "xin chào"]), said(&["xin chào"]));
        assert_eq!(command(&["say", "--to", "bob", "xin", "chào"]), said(&["xin", "chào"]));
        let listen = Demo::Listen { who: who.clone(), at: at.clone() };
        assert_eq!(command(&["listen", "--as", "alice"]), Some(Command::Demo(listen)));
        let canary = |once, json| Some(Command::Canary(Canary { once, json, check: false }));
        assert_eq!(command(&["canary"]), canary(false, false));
        assert_eq!(command(&["canary", "--once", "--json"]), canary(true, true));
        assert!(matches!(command(&["nodes", "--json"]), Some(Command::Operate(_))));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            &["canary", "--json"][..],
            &["canary", "--once", "--check"],
            &["canary", "bob"],
            &["fly"],
            &["say"],
            &["listen", "--as"],
            &["listen", "--as", "a b"],
            &["--check", "x"],
            &["--check", "nodes"],
            &["--chec"],
            &["help", "x"],
            &["nodes", "--yaml"],
        ] {
            assert!(read(bad).is_err_and(|err| err.use_stderr()), "{bad:?}");
        }
    }

    #[test]
    fn every_command_is_listed_and_explained() {
        let help = |line: &[&str]| {
            let err = read(line).expect_err("a text");
            assert_eq!(err.kind(), ErrorKind::DisplayHelp, "{line:?}");
            err.to_string()
        };
        let overview = help(&["help"]);
        let names = ["listen", "say", "history", "canary"].into_iter().chain(operator::NAMES);
        for name in names {
            assert!(overview.contains(&format!("\n  {name} ")), "{name}: {overview}");
            let page = help(&["help", name]);
            assert!(page.contains(&format!("Usage: chatchit {name}")), "{page}");
            assert_eq!(page, help(&[name, "--help"]), "the same both ways");
        }
        for name in operator::NAMES {
            let page = help(&["help", name]);
            assert!(page.contains("Reads ") && page.contains("Exit codes"), "{page}");
        }
    }
}
