//! A span, before it is exported.

use std::time::SystemTime;

use protocol::TraceContext;

/// Which side of which kind of call a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something is put on the bus.
    Producer,
    /// Something is taken off it.
    Consumer,
    /// The database is asked and waited for.
    Client,
}

/// The value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A word out of few.
    Word(&'static str),
    /// A number.
    Count(usize),
}

/// Something that is being done.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "only the exporter reads them"))]
pub struct Span {
    /// Out of few: no ids.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) own: TraceContext,
    pub(super) parent: Option<TraceContext>,
    pub(super) links: Vec<TraceContext>,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) begun: SystemTime,
}

impl Span {
    pub(super) fn new(
        own: TraceContext,
        parent: Option<TraceContext>,
        name: &'static str,
        kind: Kind,
    ) -> Self {
        Self { name, kind, own, parent, links: vec![], attributes: vec![], begun: now() }
    }

    /// The parent of the spans that other programs create for it.
    pub fn context(&self) -> TraceContext {
        self.own
    }

    /// It serves another trace too.
    pub fn link(&mut self, other: TraceContext) {
        self.links.push(other);
    }

    /// Says more about it.
    pub fn with(mut self, name: &'static str, value: Value) -> Self {
        self.attributes.push((name, value));
        self
    }
}

#[expect(clippy::disallowed_methods, reason = "milliseconds are too coarse, and nothing decides by it")]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}
