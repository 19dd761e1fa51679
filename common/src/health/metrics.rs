//! The names of what is measured here.

use ::metrics::gauge;

use super::usage::Usage;

/// Says which version runs: a line in the sky when one is rolled out.
pub fn version() {
    gauge!("build_info", "version" => crate::version::VERSION).set(1.0);
}

/// The score, and what each part is worth: 1, ½ or 0.
pub(super) fn measured(score: u8, parts: impl Iterator<Item = (&'static str, f64)>) {
    gauge!("health_score").set(f64::from(score));
    for (part, worth) in parts {
        gauge!("health_part_up", "part" => part).set(worth);
    }
}

/// Name, type and value of each line about the process.
pub(super) fn of_process(usage: &Usage, started: f64) -> [(&'static str, &'static str, f64); 7] {
    [
        ("process_resident_memory_bytes", "gauge", usage.resident_bytes as f64),
        ("process_virtual_memory_bytes", "gauge", usage.virtual_bytes as f64),
        ("process_cpu_seconds_total", "counter", usage.cpu_seconds),
        ("process_open_fds", "gauge", usage.fds as f64),
        ("process_max_fds", "gauge", usage.fds_max as f64),
        ("process_threads", "gauge", usage.threads as f64),
        ("process_start_time_seconds", "gauge", started),
    ]
}
