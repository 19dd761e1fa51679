//! What an operator can ask for. Pure: arguments in, a command or a sentence out.

use std::time::Duration;

use common::bus::Pattern;
use common::bus::Which;
use common::limits::{CONTROL_WAIT_MS, CONTROL_WAIT_MS_MAX};
use protocol::ids::{ConversationId, Guid, LoginId, NodeId, UserId};

use super::help::{self, Page};
use super::trace::Hint;

/// A command, and how it should be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What.
    pub command: Command,
    /// As JSON instead of a table.
    pub json: bool,
    /// How long answers of programs are waited for.
    pub wait: Duration,
}

/// What to do; `help.rs` says the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Nodes,
    Lanes,
    QuarantineLs { bodies: bool },
    QuarantineShow { nth: usize, bodies: bool },
    QuarantineReplay(Which),
    Tail { pattern: Pattern, lasting: Option<Duration> },
    Sessions(Whose),
    Kick { whose: Whose, login: Option<LoginId> },
    Drain(NodeId),
    Trace { guid: Guid, hint: Hint },
    Migrate,
    UserCreate(NewUser),
    UserShow(Whose),
}

/// A user, as a person names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// By id.
    Id(UserId),
    /// By e-mail, lower-cased.
    Email(String),
}

impl std::fmt::Display for Whose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(user) => user.fmt(f),
            Self::Email(email) => email.fmt(f),
        }
    }
}

/// An account to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUser {
    pub email: String,
    pub name: String,
    pub phone: String,
    pub is_admin: bool,
    /// Else one is made, and printed once.
    pub password_from_stdin: bool,
}

/// What a line of arguments says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Do this.
    Do(Wanted),
    /// Print this.
    Help(String),
}

/// Reads the arguments after a command's name. None: the name is none of the operator's.
pub fn parse(name: &str, rest: &[String]) -> Option<Result<Parsed, String>> {
    let page = help::page(name)?;
    let asks_help = |word: &String| matches!(word.as_str(), "--help" | "-h");
    if rest.iter().any(asks_help) {
        return Some(Ok(Parsed::Help(page.text())));
    }
    let read = Line::read(page, rest).and_then(|line| line.wanted(page.name));
    Some(read.map(Parsed::Do).map_err(|sentence| format!("{sentence}\nusage: {}", page.usage())))
}

/// The words of a line, sorted.
struct Line<'a> {
    words: Vec<&'a str>,
    options: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Line<'a> {
    fn read(page: &Page, rest: &'a [String]) -> Result<Self, String> {
        let mut line = Self { words: Vec::new(), options: Vec::new() };
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            let Some((known, wants_value)) = page.option(word) else {
                if word.starts_with('-') {
                    return Err(format!("'{word}' is not understood"));
                }
                line.words.push(word);
                continue;
            };
            if line.has(known) {
                return Err(format!("{known} is given twice"));
            }
            let value = match wants_value {
                true => Some(rest.next().ok_or(format!("{known} needs a value"))?.as_str()),
                false => None,
            };
            line.options.push((word, value));
        }
        Ok(line)
    }

    fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(known, _)| *known == name)
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.options.iter().find(|(known, _)| *known == name).and_then(|(_, value)| *value)
    }

    fn wanted(&self, name: &str) -> Result<Wanted, String> {
        let wait = match self.value("--wait") {
            Some(text) => seconds("--wait", text)?,
            None => Duration::from_millis(CONTROL_WAIT_MS),
        };
        Ok(Wanted { command: self.command(name)?, json: self.has("--json"), wait })
    }

    fn command(&self, name: &str) -> Result<Command, String> {
        let bodies = self.has("--bodies");
        Ok(match (name, &self.words[..]) {
            ("nodes", []) => Command::Nodes,
            ("lanes", []) => Command::Lanes,
            ("quarantine", ["ls"]) => Command::QuarantineLs { bodies },
            ("quarantine", ["show", nth]) => Command::QuarantineShow { nth: place(nth)?, bodies },
            ("quarantine", ["replay", "all"]) => Command::QuarantineReplay(Which::All),
            ("quarantine", ["replay", nth]) => Command::QuarantineReplay(Which::Nth(place(nth)?)),
            ("tail", [pattern]) => Command::Tail {
                pattern: tapped(pattern)?,
                lasting: self.value("--for").map(|text| seconds("--for", text)).transpose()?,
            },
            ("sessions", [user]) => Command::Sessions(whose(user)?),
            ("kick", [user]) => Command::Kick {
                whose: whose(user)?,
                login: self
                    .value("--login")
                    .map(|text| positive("--login", text).map(LoginId))
                    .transpose()?,
            },
            ("drain", [node]) => Command::Drain(node_id(node)?),
            ("trace", [guid]) => Command::Trace { guid: guid_of(guid)?, hint: self.hint()? },
            ("migrate", []) => Command::Migrate,
            ("user", ["create"]) => Command::UserCreate(self.new_user()?),
            ("user", ["show", user]) => Command::UserShow(whose(user)?),
            (_, []) => return Err(format!("{name} what?")),
            (_, words) => return Err(format!("'{}' is not understood", words.join(" "))),
        })
    }

    fn hint(&self) -> Result<Hint, String> {
        let conversation =
            self.value("--conversation").map(|text| positive("--conversation", text).map(ConversationId));
        Ok(Hint {
            sender: self.value("--user").map(whose).transpose()?,
            conversation: conversation.transpose()?,
        })
    }

    fn new_user(&self) -> Result<NewUser, String> {
        let email = self.value("--email").ok_or("--email is needed")?.trim().to_lowercase();
        if !worker::rest::is_email(&email) {
            return Err(format!("'{email}' is no e-mail"));
        }
        let name = self.value("--name").or(email.split('@').next()).unwrap_or_default().to_owned();
        // Everybody has a phone number of their own in the schema; an operator may have none.
        let phone = self.value("--phone").map_or_else(|| format!("none:{email}"), str::to_owned);
        let password_from_stdin = self.has("--password-stdin");
        Ok(NewUser { email, name, phone, is_admin: self.has("--admin"), password_from_stdin })
    }
}

fn whose(text: &str) -> Result<Whose, String> {
    let text = text.trim().to_lowercase();
    if worker::rest::is_email(&text) {
        return Ok(Whose::Email(text));
    }
    positive("a user", &text)
        .map(|id| Whose::Id(UserId(id)))
        .map_err(|_| format!("'{text}' is no user's id or e-mail"))
}

fn guid_of(text: &str) -> Result<Guid, String> {
    Guid::new(text).map_err(|err| format!("'{text}' is no guid: {err}"))
}

fn positive(what: &str, text: &str) -> Result<i64, String> {
    text.parse().ok().filter(|id| *id > 0).ok_or(format!("{what} should be a positive number, not '{text}'"))
}

fn place(text: &str) -> Result<usize, String> {
    let place = text.parse().ok().filter(|place| *place > 0);
    place.ok_or(format!("'{text}' is no place: `chatchit quarantine ls` counts them from 1"))
}

fn node_id(text: &str) -> Result<NodeId, String> {
    let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = text.parse().ok().filter(|_| is_id);
    id.ok_or(format!("'{text}' is no node's id: `chatchit nodes` shows them, 16 hexadecimal digits"))
}

fn seconds(name: &str, text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    let time = number.map(Duration::from_secs_f64);
    let longest = Duration::from_millis(CONTROL_WAIT_MS_MAX);
    // Only waiting is bounded: somebody may want to look on all day.
    let fits = |time: &Duration| name != "--wait" || *time <= longest;
    time.filter(fits).ok_or(format!("{name} should be seconds, not '{text}'"))
}

/// A pattern whose envelopes pass where one can look on.
fn tapped(text: &str) -> Result<Pattern, String> {
    let pattern = Pattern::new(text).map_err(|err| format!("{err} (a pattern: control.*, control.>, >)"))?;
    match text.split('.').next().unwrap_or_default() {
        head @ ("high" | "medium" | "low" | "deliver" | "api") => {
            Err(format!("{head}.* goes straight to its one queue: nobody can look on without taking it away"))
        }
        _ => Ok(pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Parsed, String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        parse(&words[0], &words[1..]).expect("an operator's command")
    }

    fn check(text: &str, command: Command) {
        let wait = Duration::from_millis(CONTROL_WAIT_MS);
        assert_eq!(line(text), Ok(Parsed::Do(Wanted { command, json: false, wait })), "{text}");
    }

    #[test]
    fn commands() {
        check("nodes", Command::Nodes);
        check("quarantine ls", Command::QuarantineLs { bodies: false });
        check("quarantine show 3 --bodies", Command::QuarantineShow { nth: 3, bodies: true });
        check("quarantine replay 1", Command::QuarantineReplay(Which::Nth(1)));
        check("quarantine replay all", Command::QuarantineReplay(Which::All));
        check("sessions 7", Command::Sessions(Whose::Id(UserId(7))));
        let email = Whose::Email("an@b.vn".to_owned());
        check("kick An@B.vn --login 3", Command::Kick { whose: email, login: Some(LoginId(3)) });
        check("drain 00000000000000ab", Command::Drain(NodeId(0xab)));
        let hint = Hint { sender: Some(Whose::Id(UserId(7))), conversation: Some(ConversationId(3)) };
        let guid = Guid::new("g-1").unwrap();
        check("trace g-1 --user 7 --conversation 3", Command::Trace { guid: guid.clone(), hint });
        check("trace g-1", Command::Trace { guid, hint: Hint::default() });
        let pattern = Pattern::new("control.>").unwrap();
        check("tail control.> --for 2", Command::Tail { pattern, lasting: Some(Duration::from_secs(2)) });
        let user = NewUser {
            email: "an@b.vn".into(),
            name: "an".into(),
            phone: "none:an@b.vn".into(),
            is_admin: true,
            password_from_stdin: false,
        };
        check("user create --admin --email an@b.vn", Command::UserCreate(user));
        let wait = Duration::from_millis(2_500);
        let wanted = Wanted { command: Command::Lanes, json: true, wait };
        assert_eq!(line("lanes --wait 2.5 --json"), Ok(Parsed::Do(wanted)));
    }

    #[test]
    fn what_is_not_understood_is_said_with_the_usage() {
        for bad in [
            "nodes now",
            "nodes --wait",
            "nodes --wait 0",
            "nodes --wait nan",
            "nodes --wait 61",
            "nodes --bodies",
            "nodes --json --json",
            "quarantine",
            "quarantine show",
            "quarantine show 0",
            "quarantine replay x",
            "tail",
            "tail high.*",
            "tail deliver.0000000000000001",
            "tail api.auth",
            "tail a>",
            "sessions",
            "sessions 0",
            "sessions -1",
            "sessions bob",
            "kick 7 --login x",
            "drain 12",
            "drain 00000000000000zz",
            "trace",
            "trace a b",
            "trace é",
            "trace g --user bob",
            "trace g --conversation 0",
            "migrate up",
            "user create",
            "user create --email x",
            "user destroy 7",
        ] {
            let sentence = line(bad).expect_err(bad);
            assert!(sentence.contains("usage: chatchit "), "{bad}: {sentence}");
        }
        assert_eq!(parse("listen", &[]), None);
    }

    #[test]
    fn every_command_has_its_help() {
        for page in help::PAGES {
            let Ok(Parsed::Help(text)) = line(&format!("{} --help", page.name)) else {
                panic!("{}", page.name)
            };
            assert!(text.starts_with(&format!("usage: chatchit {}", page.name)), "{text}");
            assert!(text.contains("Needs: ") && text.contains("--json"), "{text}");
        }
    }
}
