//! The kernel's numbers of this process, under the names that every Prometheus client uses.
//! Linux: from `/proc/self`. Read at each scrape, so that the numbers are current.

use std::fmt::Write as _;
use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

use super::metrics;
use super::usage::Usage;
use protocol::Timestamp;

/// The kernel counts processor time in hundredths of a second: `USER_HZ`, the same on every architecture
/// that Rust's Linux targets have.
const TICKS_PER_S: f64 = 100.0;

/// Reads it. None: the system is not Linux, or has no `/proc`.
pub fn usage() -> Option<Usage> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    // The second field is a name in brackets that may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|field| field.parse::<f64>().ok());
    let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    Some(Usage {
        resident_bytes: number(&status, "VmRSS:")? * 1_024,
        virtual_bytes: number(&status, "VmSize:")? * 1_024,
        cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS_PER_S,
        threads: number(&status, "Threads:")?,
        fds: open_fds()?,
        fds_max: open_files?.split_whitespace().next()?.parse().unwrap_or(u64::MAX),
    })
}

/// Memory in RAM: cheaper than all of [`usage`].
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some(number(&status, "VmRSS:")? * 1_024)
}

fn number(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Since 6.2 Linux reports the number as the folder's size; before, the entries are counted, which
/// takes some milliseconds for ten thousand.
fn open_fds() -> Option<u64> {
    let told = fs::metadata("/proc/self/fd").ok()?.len();
    if told > 0 {
        return Some(told);
    }
    let counted = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    // The one that reads them.
    Some(counted.saturating_sub(1))
}

/// Uptime of the process, from the first call.
pub fn uptime() -> Duration {
    began().0.elapsed()
}

/// When this process began, by both clocks.
fn began() -> (Instant, Timestamp) {
    static BEGAN: OnceLock<(Instant, Timestamp)> = OnceLock::new();
    *BEGAN.get_or_init(|| (Instant::now(), Timestamp::now()))
}

/// The same as text for Prometheus.
pub fn render(out: &mut String) {
    let Some(usage) = usage() else { return };
    let started = began().1.0 as f64 / 1_000.0;
    for (name, kind, value) in metrics::of_process(&usage, started) {
        // Writing into a text does not fail.
        let _ = writeln!(out, "# TYPE {name} {kind}\n{name} {value}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let before = usage().expect("Linux");
        assert!(
            before.resident_bytes > 1_000_000 && before.virtual_bytes > before.resident_bytes,
            "{before:?}"
        );
        assert!(before.threads >= 1 && before.fds_max >= before.fds, "{before:?}");
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        // Other tests of this process open files meanwhile, but not so many.
        let after = usage().unwrap();
        assert!(after.fds >= before.fds + 30, "{before:?} {after:?}");
        drop(files);
        let mut text = String::new();
        render(&mut text);
        assert!(
            text.contains("# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total "),
            "{text}"
        );
    }
}
