//! Values on an operator's command line. Pure: a word in, a value or a sentence out.

use std::time::Duration;

use common::bus::{Pattern, Which};
use common::limits::CONTROL_WAIT_MS_MAX;
use protocol::ids::{ConversationId, Guid, LoginId, NodeId, UserId};
use worker::rest::text;

/// A user, as a person names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// By id.
    Id(UserId),
    /// By e-mail, as it is stored.
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

/// An id or an e-mail.
pub fn whose(text: &str) -> Result<Whose, String> {
    let email = text::email(text);
    if text::is_email(&email) {
        return Ok(Whose::Email(email));
    }
    positive(&email)
        .map(|id| Whose::Id(UserId(id)))
        .map_err(|_| "a user is named by id (a positive number) or by e-mail".to_owned())
}

/// An e-mail as it is stored.
pub fn email(text: &str) -> Result<String, String> {
    let email = text::email(text);
    if text::is_email(&email) { Ok(email) } else { Err("it is not an e-mail address".to_owned()) }
}

/// A login of a user.
pub fn login(text: &str) -> Result<LoginId, String> {
    positive(text).map(LoginId)
}

/// The place of a message in its conversation.
pub fn seq(text: &str) -> Result<u64, String> {
    positive(text).map(i64::unsigned_abs)
}

/// A conversation's id.
pub fn conversation(text: &str) -> Result<ConversationId, String> {
    positive(text).map(ConversationId)
}

/// The sender's name of a message.
pub fn guid(text: &str) -> Result<Guid, String> {
    Guid::new(text).map_err(|err| err.to_string())
}

/// A place in the quarantine.
pub fn place(text: &str) -> Result<usize, String> {
    let place = text.parse().ok().filter(|place| *place > 0);
    place.ok_or("`chatchit quarantine ls` counts places from 1".to_owned())
}

/// A place in the quarantine, or `all`.
pub fn which(text: &str) -> Result<Which, String> {
    match text {
        "all" => Ok(Which::All),
        nth => place(nth).map(Which::Nth),
    }
}

/// The id of a node.
pub fn node(text: &str) -> Result<NodeId, String> {
    let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = text.parse().ok().filter(|_| is_id);
    id.ok_or("a node's id has 16 hexadecimal digits: `chatchit nodes` shows them".to_owned())
}

/// A length of time, in seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0);
    let time = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    time.ok_or("a number of seconds above 0 is needed".to_owned())
}

/// How long to wait for answers, in seconds.
pub fn wait(text: &str) -> Result<Duration, String> {
    let longest = Duration::from_millis(CONTROL_WAIT_MS_MAX);
    let time = seconds(text)?;
    if time > longest {
        return Err(format!("at most {} seconds", longest.as_secs()));
    }
    Ok(time)
}

/// A pattern of subjects that can be watched.
pub fn watched(text: &str) -> Result<Pattern, String> {
    let pattern = Pattern::new(text).map_err(|err| format!("{err} (a pattern: control.*, control.>, >)"))?;
    match text.split('.').next().unwrap_or_default() {
        head @ ("high" | "medium" | "low" | "deliver" | "api") => Err(format!(
            "{head}.* goes straight to its one queue: watching it would take envelopes away from their consumer"
        )),
        _ => Ok(pattern),
    }
}

fn positive(text: &str) -> Result<i64, String> {
    text.parse().ok().filter(|id| *id > 0).ok_or("a positive number is needed".to_owned())
}
