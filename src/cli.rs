//! What `chatchit` can be told. Pure: arguments in, a command or a sentence out.

use crate::canary;
use crate::tool::command::{self, Parsed, Wanted};
use crate::tool::help;

/// The beginning of `chatchit help`; the operator's commands follow (`tool/help.rs`).
const HELP: &str = "\
chatchit                    everything in one process; see README.md for the environment
chatchit --check            read the configuration, say what is wrong with it, end

Two people to try it with:
chatchit listen [--as NAME] [--url URL]
chatchit say [--as NAME] [--to NAME] [--url URL] TEXT
chatchit history [--as NAME] [--with NAME] [--url URL]
NAME is anybody (alice and bob if left out), URL is http://host:port of a gateway.

The canary: two people who talk through every pair of gateways and measure it (README.md):
chatchit canary             each 10 s, until a signal; health and metrics on ADMIN_PORT
chatchit canary --once [--json]   one round, a table; the exit code is 1 when anything was lost
chatchit canary --check     read its configuration, say what is wrong with it, end

For the operator of a cluster (`chatchit help COMMAND` says more):
";

/// `chatchit help`
pub fn help() -> String {
    format!("{HELP}{}", help::overview())
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run everything.
    Serve,
    /// Read the configuration and end.
    Check,
    /// Print it.
    Help(String),
    /// Watch the gateways as a client.
    Canary(canary::Wanted),
    /// An operator's.
    Operate(Wanted),
    /// Be a person.
    Demo(Demo),
}

/// A person's side of the demo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demo {
    Listen { who: String, url: String },
    Say { who: String, to: String, text: String, url: String },
    History { who: String, with: String, url: String },
}

impl Demo {
    /// Where the gateway is.
    pub fn url(&self) -> &str {
        match self {
            Self::Listen { url, .. } | Self::Say { url, .. } | Self::History { url, .. } => url,
        }
    }
}

/// Reads the arguments after the program's name. `port` completes a missing URL.
pub fn parse(arguments: &[String], port: u16) -> Result<Command, String> {
    let Some((first, rest)) = arguments.split_first() else { return Ok(Command::Serve) };
    match (first.as_str(), rest) {
        ("--check", []) => return Ok(Command::Check),
        ("--help" | "-h" | "help", []) => return Ok(Command::Help(help())),
        ("help", [name]) if help::page(name).is_some() => {
            return Ok(Command::Help(help::page(name).map(help::Page::text).unwrap_or_default()));
        }
        ("canary", options) => return canary(options).map(Command::Canary),
        ("listen" | "say" | "history", _) => {}
        _ => {
            return match command::parse(first, rest) {
                Some(Ok(Parsed::Do(wanted))) => Ok(Command::Operate(wanted)),
                Some(Ok(Parsed::Help(text))) => Ok(Command::Help(text)),
                Some(Err(sentence)) => Err(sentence),
                None => Err(format!("'{first}' is not understood: `chatchit help` lists what is")),
            };
        }
    }
    let mut names: [(&str, Option<String>); 4] =
        [("--as", None), ("--to", None), ("--with", None), ("--url", None)];
    let mut text = Vec::new();
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        match names.iter_mut().find(|(name, _)| name == word) {
            Some((name, value)) => *value = Some(rest.next().ok_or(format!("{name} needs a value"))?.clone()),
            None if word.starts_with("--") => return Err(format!("'{word}' is not understood\n{HELP}")),
            None => text.push(word.clone()),
        }
    }
    let [who, to, with, url] = names.map(|(_, value)| value);
    for name in [&who, &to, &with].into_iter().flatten() {
        if !(1..=32).contains(&name.len()) || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(format!("'{name}' should be a name of 1 to 32 letters and digits"));
        }
    }
    let or = |name: Option<String>, other: &str| name.unwrap_or_else(|| other.to_owned());
    let url = or(url, &format!("http://127.0.0.1:{port}"));
    let demo = match first.as_str() {
        "listen" => Demo::Listen { who: or(who, "bob"), url },
        "history" => Demo::History { who: or(who, "bob"), with: or(with, "alice"), url },
        _ if text.is_empty() => return Err("say what?".to_owned()),
        _ => Demo::Say { who: or(who, "alice"), to: or(to, "bob"), text: text.join(" "), url },
    };
    Ok(Command::Demo(demo))
}

fn canary(options: &[String]) -> Result<canary::Wanted, String> {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    match options[..] {
        [] => Ok(canary::Wanted::Run),
        ["--check"] => Ok(canary::Wanted::Check),
        ["--once"] => Ok(canary::Wanted::Once { json: false }),
        ["--once", "--json"] | ["--json", "--once"] => Ok(canary::Wanted::Once { json: true }),
        _ => Err(format!(
            "'canary {}' is not understood\nusage: chatchit canary [--once [--json] | --check]",
            options.join(" ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[&str]) -> Result<Command, String> {
        parse(&line.iter().map(|&word| word.to_owned()).collect::<Vec<_>>(), 8080)
    }

    #[test]
    fn commands() {
        let url = "http://127.0.0.1:8080".to_owned();
        let (alice, bob) = ("alice".to_owned(), "bob".to_owned());
        assert_eq!(read(&[]), Ok(Command::Serve));
        assert_eq!(read(&["--check"]), Ok(Command::Check));
        let said =
            Demo::Say { who: alice.clone(), to: bob.clone(), text: "xin chào".into(), url: url.clone() };
        assert_eq!(read(&["say", "xin chào"]), Ok(Command::Demo(said.clone())));
        assert_eq!(read(&["say", "--to", "bob", "xin", "chào"]), Ok(Command::Demo(said)));
        assert_eq!(read(&["listen", "--as", "alice"]), Ok(Command::Demo(Demo::Listen { who: alice, url })));
        assert_eq!(read(&["canary"]), Ok(Command::Canary(canary::Wanted::Run)));
        let once = canary::Wanted::Once { json: true };
        assert_eq!(read(&["canary", "--once", "--json"]), Ok(Command::Canary(once)));
        for bad in [
            &["canary", "--json"][..],
            &["canary", "bob"],
            &["fly"],
            &["say"],
            &["listen", "--as"],
            &["listen", "--as", "a b"],
            &["--check", "x"],
            &["help", "x"],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_operator_s_commands_are_listed_and_explained() {
        let Ok(Command::Help(text)) = read(&["help"]) else { panic!("help") };
        for page in help::PAGES {
            assert!(text.contains(&format!("\n  {}", page.name)), "{}", page.name);
            assert_eq!(read(&["help", page.name]), Ok(Command::Help(page.text())));
        }
        assert!(matches!(read(&["nodes", "--json"]), Ok(Command::Operate(_))));
        assert!(read(&["nodes", "--yaml"]).unwrap_err().contains("usage: chatchit nodes"));
    }
}
