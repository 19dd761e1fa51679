//! Spans of sampled chat messages, sent to an OpenTelemetry collector.
//!
//! The gateway that accepts a message decides whether it is sampled; here programs create its
//! spans: published, processed, each statement meanwhile, delivered. Names and
//! attributes follow OpenTelemetry's conventions for messaging and databases. Ids and texts of
//! users are in none of them.
//!
//! The exporter is behind the feature `otlp`: without it nothing here does anything, and the compiler
//! leaves it out. Like logs and metrics it is the process's: programs in one process share it. A
//! collector that is slow or away costs spans, never messages: what does not fit its queue is dropped.

/// What is said of something that is being done.
mod span;

/// OTLP over HTTP: the only place that says `opentelemetry`.
#[cfg(feature = "otlp")]
mod otlp;

use std::future::Future;

#[cfg(feature = "otlp")]
use self::span::now;
pub use self::span::{Kind, Span, Value};
use crate::config::Env;
use protocol::TraceContext;
use protocol::ids::NodeId;

impl Span {
    /// Begins one below `parent`. None: that is not sampled, or there is no collector.
    pub fn below(parent: Option<TraceContext>, name: &'static str, kind: Kind) -> Option<Self> {
        let parent = parent.filter(|parent| is_on() && parent.is_sampled())?;
        Some(Self::new(parent.below(random()), Some(parent), name, kind))
    }

    /// Begins one with a trace of its own.
    pub fn root(name: &'static str, kind: Kind) -> Option<Self> {
        let trace = || u128::from(random()) << 64 | u128::from(random());
        is_on().then(|| Self::new(TraceContext::begun(trace(), random()), None, name, kind))
    }

    /// It is over. `failed`: why it came to nothing, in a word out of few.
    pub fn end(self, failed: Option<&'static str>) {
        #[cfg(feature = "otlp")]
        otlp::export(self, failed, now());
        #[cfg(not(feature = "otlp"))]
        let _ = (self, failed);
    }
}

/// Whether a collector is configured.
pub fn is_on() -> bool {
    #[cfg(feature = "otlp")]
    return otlp::is_on();
    #[cfg(not(feature = "otlp"))]
    false
}

/// `OTEL_EXPORTER_OTLP_ENDPOINT`, to which `/v1/traces` is added, or
/// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, which is taken as it is: where spans go. None: nowhere.
pub fn collector_from_env(env: &mut Env) -> Option<String> {
    let all = env.text(&["OTEL_EXPORTER_OTLP_ENDPOINT"]);
    let all = all.map(|all| format!("{}/v1/traces", all.trim_end_matches('/')));
    let collector = env.text(&["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]).or(all)?;
    if !cfg!(feature = "otlp") {
        env.problem("OTEL_EXPORTER_OTLP_ENDPOINT wants a program built with `--features otlp`".into());
    } else if !collector.starts_with("http://") {
        // TLS to a collector of another machine is the business of the one on this machine.
        env.problem(format!("the collector of spans should be http://host:port, not {collector}"));
    }
    Some(collector)
}

/// Begins to send spans to `collector`, if there is one; `name` is the program's there. A second call
/// changes nothing.
///
/// # Errors
/// The exporter could not be created. A collector that is away is not an error.
pub fn start(name: &'static str, node: NodeId, collector: Option<&str>) -> anyhow::Result<()> {
    #[cfg(feature = "otlp")]
    if let Some(collector) = collector {
        otlp::start(name, node, collector)?;
    }
    #[cfg(not(feature = "otlp"))]
    let _ = (name, node, collector);
    Ok(())
}

/// Sends what waits, and nothing from then on. Waits for the collector for
/// [`SPANS_FLUSH_MS_MAX`](crate::limits::SPANS_FLUSH_MS_MAX) at most.
pub async fn finish() {
    #[cfg(feature = "otlp")]
    otlp::finish().await;
}

tokio::task_local! {
    static WITHIN: TraceContext;
}

/// Does `work`; what it asks of others belongs below `context`.
pub async fn within<F: Future>(context: Option<TraceContext>, work: F) -> F::Output {
    match context {
        Some(context) => WITHIN.scope(context, work).await,
        None => work.await,
    }
}

/// The trace that the running task works for, if it is sampled.
pub fn current() -> Option<TraceContext> {
    if !is_on() {
        return None;
    }
    WITHIN.try_with(|context| *context).ok()
}

fn random() -> u64 {
    u64::from_le_bytes(crate::random::bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_collects_is_not_begun() {
        let sampled = Some(TraceContext::begun(7, 9));
        assert!(Span::below(sampled, "publish", Kind::Producer).is_none());
        assert!(Span::root("process", Kind::Consumer).is_none());
        assert_eq!(current(), None);
    }

    #[test]
    fn the_address_is_read_as_others_read_it() {
        let read = |pairs: &[(&str, &str)]| {
            let mut env = Env::from_pairs(pairs.iter().copied());
            let found = collector_from_env(&mut env);
            (found, env.finish().err().map(|err| err.to_string()))
        };
        assert_eq!(read(&[]), (None, None));
        let (found, problem) = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/")]);
        assert_eq!(found.as_deref(), Some("http://127.0.0.1:4318/v1/traces"));
        assert_eq!(problem.is_some(), !cfg!(feature = "otlp"), "{problem:?}");
        let (found, _) = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://one"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://two/here"),
        ]);
        assert_eq!(found.as_deref(), Some("http://two/here"));
        let (_, problem) = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")]);
        assert!(problem.is_some());
    }
}
