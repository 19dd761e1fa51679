//! The spans of a piece of work, in the traces of the messages in it.
//!
//! A piece of work serves many messages, so it has its own trace, with a child span for each statement that it
//! runs. Each recorded message has a span in its own trace, and the two are linked both ways.

use crate::spans::{Kind, Span, Value};
use protocol::{Lane, TraceContext, Uplink};

/// The spans of one piece of work. Empty nearly always: few messages are recorded.
#[derive(Default)]
pub(crate) struct WorkSpans {
    batch: Option<Span>,
    messages: Vec<Span>,
}

impl WorkSpans {
    /// Starts the span of a message, and makes it the parent of everything that the message causes.
    pub fn take(&mut self, uplink: &mut Uplink) {
        if uplink.guid.is_none() {
            return;
        }
        let span = Span::below(uplink.context, "process sendMessage", Kind::Consumer);
        let Some(mut span) = span else { return };
        if self.batch.is_none() {
            self.batch = Span::root("process batch", Kind::Consumer);
        }
        if let Some(batch) = &mut self.batch {
            batch.link(span.context());
            span.link(batch.context());
        }
        uplink.context = Some(span.context());
        self.messages.push(span);
    }

    /// The parent of the requests that the piece makes to other programs.
    pub fn context(&self) -> Option<TraceContext> {
        self.batch.as_ref().map(Span::context)
    }

    /// Ends the spans: the work was done, or given back.
    pub fn end(self, lane: Lane, events: usize, failed: Option<&'static str>) {
        for span in self.messages.into_iter().chain(self.batch) {
            let span = span
                .with("messaging.destination.name", Value::Word(lane.name()))
                .with("messaging.batch.message_count", Value::Count(events));
            span.end(failed);
        }
    }
}
