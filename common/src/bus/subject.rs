//! Dotted addresses, parsed and validated once. Pure.
//!
//! The rule is NATS's: tokens of visible ASCII without `.`, `*`, `>`; in a pattern `*` stands for
//! exactly one token and `>`, only at the tail, for one or more.

use std::fmt;
use std::sync::Arc;

use protocol::Lane;
use protocol::ids::NodeId;

/// Bytes of a subject; AMQP's routing keys end at 255.
const SUBJECT_BYTES_MAX: usize = 200;

/// The destination of an envelope.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

/// The subjects that a subscriber wants.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Arc<str>);

/// Why a text is not a subject or pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no valid subject")]
pub struct BadSubject(String);

impl Subject {
    /// Parses a subject.
    pub fn new(text: &str) -> Result<Self, BadSubject> {
        let plain = |token: &str| !matches!(token, "*" | ">");
        if well_formed(text) && text.split('.').all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(BadSubject(text.into()))
        }
    }

    /// The lane subject of an event: `<lane>.<event>`.
    ///
    /// # Errors
    /// The name is not a token.
    pub fn on_lane(lane: Lane, event: &str) -> Result<Self, BadSubject> {
        Self::new(&format!("{lane}.{event}"))
    }

    /// A gateway's own subject: `deliver.<node>`.
    pub fn deliver(node: NodeId) -> Self {
        Self(format!("deliver.{node}").into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first token.
    pub fn head(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }

    /// The lane, when the first token names one.
    pub fn lane(&self) -> Option<Lane> {
        Lane::ALL.into_iter().find(|lane| lane.name() == self.head())
    }
}

impl Pattern {
    /// Parses a pattern.
    pub fn new(text: &str) -> Result<Self, BadSubject> {
        let mut tokens = text.split('.').rev();
        tokens.next();
        if well_formed(text) && tokens.all(|token| token != ">") {
            Ok(Self(text.into()))
        } else {
            Err(BadSubject(text.into()))
        }
    }

    /// Whether a subject is wanted.
    pub fn matches(&self, subject: &Subject) -> bool {
        let mut wanted = self.0.split('.');
        let mut given = subject.0.split('.');
        loop {
            match (wanted.next(), given.next()) {
                (Some(">"), Some(_)) | (None, None) => return true,
                (Some("*"), Some(_)) => {}
                (Some(want), Some(token)) if want == token => {}
                _ => return false,
            }
        }
    }

    /// The same rule as an AMQP topic binding: `>` is `*.#`.
    pub fn as_amqp(&self) -> String {
        match self.0.strip_suffix('>') {
            Some(head) => format!("{head}*.#"),
            None => self.0.to_string(),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Subject> for Pattern {
    fn from(subject: Subject) -> Self {
        Self(subject.0)
    }
}

fn well_formed(text: &str) -> bool {
    let token = |token: &str| {
        let wild = matches!(token, "*" | ">");
        let visible = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'>' | b'#');
        !token.is_empty() && (wild || token.bytes().all(visible))
    };
    text.len() <= SUBJECT_BYTES_MAX && text.split('.').all(token)
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_nats() {
        let check = |pattern: &str, subject: &str, expect: bool| {
            let matched = Pattern::new(pattern).unwrap().matches(&Subject::new(subject).unwrap());
            assert_eq!(matched, expect, "{pattern} {subject}");
        };
        check("high.sendMessage", "high.sendMessage", true);
        check("high.*", "high.sendMessage", true);
        check("high.*", "high", false);
        check("high.*", "high.a.b", false);
        check("high.>", "high.a.b", true);
        check("high.>", "high", false);
        check(">", "a", true);
        check("*.b", "a.b", true);
        check("a.b", "a", false);
    }

    #[test]
    fn bad_subjects_are_refused() {
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a.*", ">", "a.#", "é"] {
            assert!(Subject::new(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a.>.b", "a>", "a*", "#"] {
            assert!(Pattern::new(bad).is_err(), "{bad:?}");
        }
    }
}
