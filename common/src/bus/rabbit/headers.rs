//! Headers of a batch: its publish time and its trace.
//!
//! The time is the publisher's wall clock. AMQP's own property has whole seconds, for the broker's
//! page and other tools; ours has milliseconds. An envelope from the retry ladder has none, because its
//! age says nothing about the lane.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use protocol::{Timestamp, TraceContext};

const AT: &str = "x-chatchit-at";

/// The properties with the publish time.
pub(super) fn published(properties: BasicProperties, at: Timestamp) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(AT.into(), AMQPValue::LongLongInt(at.0));
    properties.with_headers(headers).with_timestamp(at.0.max(0).cast_unsigned() / 1_000)
}

/// The properties with W3C's header for AMQP. A batch may belong to several traces and has room for one: it is the first
/// sampled one's; every message carries its own in its body.
pub(super) fn in_trace(properties: BasicProperties, context: &TraceContext) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert("traceparent".into(), AMQPValue::LongString(context.to_string().into()));
    properties.with_headers(headers)
}

/// The publish time. None: the header is missing.
pub(super) fn published_at(properties: &BasicProperties) -> Option<Timestamp> {
    match properties.headers().as_ref()?.inner().get(AT)? {
        AMQPValue::LongLongInt(at) => Some(Timestamp(*at)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_published_when_is_read_as_it_was_written() {
        let plain = BasicProperties::default();
        assert_eq!(published_at(&plain), None);
        let stamped = published(plain, Timestamp(1_234_567));
        assert_eq!(published_at(&stamped), Some(Timestamp(1_234_567)));
        assert_eq!(*stamped.timestamp(), Some(1_234));
        let traced = in_trace(stamped, &TraceContext::begun(7, 9));
        assert_eq!(published_at(&traced), Some(Timestamp(1_234_567)), "both are there");
        let header =
            traced.headers().as_ref().and_then(|headers| headers.inner().get("traceparent").cloned());
        let text = TraceContext::begun(7, 9).to_string();
        assert_eq!(header, Some(AMQPValue::LongString(text.into())));
    }
}
