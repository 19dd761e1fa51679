//! Logging and the Prometheus exporter: the only place that uses `metrics_exporter_prometheus`.
//!
//! Logs go to standard error: `RUST_LOG` filters them (default `info`, less of the peers' drivers,
//! which report every attempt to reconnect), `LOG_FORMAT` is `json`
//! (one object per line) or `pretty`; without it, a terminal gets `pretty` and anything else
//! `json`. Both functions may be called again by a second program in the same process.
//!
//! Not here: the names of metrics. Each program has them in its `metrics.rs`.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::health::{self, process};
use crate::vitals::SECONDS;

/// Bytes, from a small frame to the largest batch.
const BYTES: [f64; 9] =
    [64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0];

/// Counts: batches, recipients, nodes.
const COUNTS: [f64; 12] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 4_096.0];

/// The default of `RUST_LOG`.
const DEFAULT_FILTER: &str = "info,redis=error,lapin=error";

/// Starts logging. `program` names the process in the first line; a second call changes nothing.
pub fn init_logs(program: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    // It would write whole returned requests, bodies and all: a request's body may hold a password.
    let filter = filter.add_directive("lapin::returned_messages=off".parse().expect("a plain directive"));
    let format = std::env::var("LOG_FORMAT").unwrap_or_default();
    let is_pretty = format == "pretty" || (format != "json" && std::io::stderr().is_terminal());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error means that logging runs already.
    let _ = if is_pretty {
        logs.compact().with_ansi(std::io::stderr().is_terminal()).try_init()
    } else {
        logs.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    };
    tracing::info!(program, version = crate::version::VERSION, "Starting {program}");
}

/// The metrics of this process. Cheap to clone.
#[derive(Clone)]
pub struct MetricsHandle(PrometheusHandle);

impl MetricsHandle {
    /// The text that Prometheus scrapes: the metrics, and the kernel's numbers of the process.
    pub fn render(&self) -> String {
        let mut text = self.0.render();
        process::render(&mut text);
        text
    }

    /// Folds raw samples into their buckets. Without it, or a scrape, memory grows with every
    /// sample; `ops` calls it every few seconds.
    pub fn run_upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// Starts measuring. The recorder is the process's: programs in one process share it.
pub fn init_metrics() -> MetricsHandle {
    static HANDLE: OnceLock<MetricsHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let recorder = builder().build_recorder();
            let handle = MetricsHandle(recorder.handle());
            if metrics::set_global_recorder(recorder).is_err() {
                // Only if somebody went round this function; then nothing would be measured here.
                tracing::error!("Another metrics recorder is installed: /metrics stays empty");
            }
            health::version();
            process::uptime();
            handle
        })
        .clone()
}

fn builder() -> PrometheusBuilder {
    PrometheusBuilder::new()
        .set_buckets(&COUNTS)
        .and_then(|b| b.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS))
        .and_then(|b| b.set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &BYTES))
        .expect("the lists of buckets are not empty")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_have_buckets_that_fit_their_unit() {
        let handle = init_metrics();
        metrics::histogram!("telemetry_test_seconds").record(0.004);
        metrics::histogram!("telemetry_test_bytes").record(100.0);
        metrics::histogram!("telemetry_test_envelopes").record(3.0);
        metrics::counter!("telemetry_test_total").increment(2);
        handle.run_upkeep();
        let text = init_metrics().render();
        for line in [
            "telemetry_test_seconds_bucket{le=\"0.005\"} 1",
            "telemetry_test_bytes_bucket{le=\"64\"} 0",
            "telemetry_test_bytes_bucket{le=\"256\"} 1",
            "telemetry_test_envelopes_bucket{le=\"4\"} 1",
            "telemetry_test_total 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn logging_may_start_twice() {
        init_logs("one");
        init_logs("two");
    }
}
