//! Spans as OTLP over HTTP in JSON, by OpenTelemetry's own exporter: a thread of its own, and a queue
//! with a limit (`OTEL_BSP_*`).

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanLinks, SpanProcessor as _};
use tracing::{info, warn};

use super::span::{Kind, Span, Value};
use crate::limits::{SPAN_LINKS_MAX, SPANS_FLUSH_MS_MAX};
use crate::version::VERSION;
use protocol::TraceContext;
use protocol::ids::NodeId;

/// The process's.
static EXPORTER: OnceLock<Exporter> = OnceLock::new();

struct Exporter {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

pub(super) fn is_on() -> bool {
    EXPORTER.get().is_some()
}

pub(super) fn start(name: &'static str, node: NodeId, collector: &str) -> anyhow::Result<()> {
    if is_on() {
        return Ok(());
    }
    let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpJson);
    let exporter = exporter.with_endpoint(collector).build().context("the exporter of spans")?;
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    let version = VERSION;
    let resource = Resource::builder()
        .with_service_name(name)
        .with_attribute(KeyValue::new("service.version", version))
        .with_attribute(KeyValue::new("service.instance.id", node.to_string()))
        .build();
    processor.set_resource(&resource);
    let scope = InstrumentationScope::builder("chatchit").with_version(version).build();
    info!(collector, "Spans of recorded traces go to a collector");
    // Another program of this process may have been faster: then this one ends here.
    let _ = EXPORTER.set(Exporter { processor, scope });
    Ok(())
}

pub(super) async fn finish() {
    let ended = tokio::task::spawn_blocking(|| match EXPORTER.get() {
        Some(exporter) => exporter.processor.shutdown_with_timeout(Duration::from_millis(SPANS_FLUSH_MS_MAX)),
        None => Ok(()),
    });
    if let Ok(Err(err)) = ended.await {
        warn!("The last spans may be missing: {err}");
    }
}

pub(super) fn export(span: Span, failed: Option<&'static str>, ended: SystemTime) {
    let Some(exporter) = EXPORTER.get() else { return };
    let Span { name, kind, own, parent, links, mut attributes, begun } = span;
    attributes.extend(of_kind(kind));
    attributes.extend(failed.map(|failed| ("error.type", Value::Word(failed))));
    let dropped_links = links.len().saturating_sub(SPAN_LINKS_MAX);
    let links = links.iter().take(SPAN_LINKS_MAX);
    let mut span_links = SpanLinks::default();
    span_links.links = links.map(|link| Link::new(context(*link, true), vec![], 0)).collect();
    span_links.dropped_count = u32::try_from(dropped_links).unwrap_or(u32::MAX);
    exporter.processor.on_end(SpanData {
        span_context: context(own, false),
        parent_span_id: parent.map_or(SpanId::INVALID, |parent| SpanId::from(parent.span())),
        parent_span_is_remote: kind != Kind::Client && parent.is_some(),
        span_kind: match kind {
            Kind::Producer => SpanKind::Producer,
            Kind::Consumer => SpanKind::Consumer,
            Kind::Client => SpanKind::Client,
        },
        name: name.into(),
        start_time: begun,
        end_time: ended.max(begun),
        attributes: attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect(),
        dropped_attributes_count: 0,
        events: Default::default(),
        links: span_links,
        status: failed.map_or(Status::Unset, Status::error),
        instrumentation_scope: exporter.scope.clone(),
    });
}

/// What OpenTelemetry's conventions want of every span of a kind.
fn of_kind(kind: Kind) -> impl Iterator<Item = (&'static str, Value)> {
    let words: &[_] = match kind {
        Kind::Producer => &[("messaging.system", "rabbitmq"), ("messaging.operation.type", "send")],
        Kind::Consumer => &[("messaging.system", "rabbitmq"), ("messaging.operation.type", "process")],
        Kind::Client => &[("db.system.name", "postgresql")],
    };
    words.iter().map(|(name, word)| (*name, Value::Word(word)))
}

fn context(of: TraceContext, is_remote: bool) -> SpanContext {
    let (trace, span) = (TraceId::from(of.trace()), SpanId::from(of.span()));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, is_remote, TraceState::NONE)
}

impl From<Value> for opentelemetry::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Word(word) => word.into(),
            Value::Count(count) => i64::try_from(count).unwrap_or(i64::MAX).into(),
        }
    }
}
