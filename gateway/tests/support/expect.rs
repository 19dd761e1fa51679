//! What a person waits for, as sentences.

use std::fmt;

use serde_json::Value;

/// An event with what must be true of its data.
pub struct Expect {
    event: &'static str,
    fields: Vec<(&'static str, Value)>,
}

impl Expect {
    /// Any event of this name.
    pub fn named(event: &'static str) -> Self {
        Self { event, fields: vec![] }
    }

    /// With this field; `a.b` is a field of a field.
    pub fn with(mut self, path: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((path, value.into()));
        self
    }

    /// Whether this is it.
    pub fn fits(&self, event: &str, data: &Value) -> bool {
        let at = |path: &str| path.split('.').fold(data, |value, field| &value[field]);
        self.event == event && self.fields.iter().all(|(path, value)| at(path) == value)
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.event, self.fields)
    }
}

pub fn ready() -> Expect {
    Expect::named("ready")
}

pub fn queued(guid: &str) -> Expect {
    Expect::named("messageQueued").with("guid", guid)
}

pub fn processed(guid: &str) -> Expect {
    Expect::named("messageProcessed").with("guid", guid)
}

pub fn message_from(name: &str, content: &str) -> Expect {
    Expect::named("messageComing").with("sender.firstName", name).with("content", content)
}

pub fn typing_of(name: &str) -> Expect {
    Expect::named("typing").with("user.firstName", name)
}

pub fn refused(event: &'static str, code: &str) -> Expect {
    Expect::named(event).with("code", code)
}
