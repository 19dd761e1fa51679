//! The machine and the versions that the figures belong to.

use std::path::Path;
use std::process::Command;

use crate::cluster::{Places, commit};
use crate::peers::broker;

/// Describes the machine and the versions, as (name, value).
pub async fn describe(places: &Places) -> Vec<(&'static str, String)> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory_kib = memory_kib("MemTotal");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    vec![
        ("cpu", format!("{} × {cores} cores", field(&read("/proc/cpuinfo"), "model name"))),
        ("memory", format!("{:.1} GiB", memory_kib as f64 / 1_048_576.0)),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("ChatChit", format!("{} at commit {}", env!("CARGO_PKG_VERSION"), commit(&root))),
        ("RabbitMQ", broker::version(places).await.unwrap_or_else(|_| "unknown".into())),
        ("Redis", first_line("redis-server", &["--version"])),
        ("PostgreSQL", postgres()),
    ]
}

/// Reads a line of /proc/meminfo, KiB.
pub fn memory_kib(name: &str) -> u64 {
    let value = field(&read("/proc/meminfo"), name);
    value.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The pages used by the buffers of all TCP sockets.
pub fn tcp_pages() -> u64 {
    let sockets = field(&read("/proc/net/sockstat"), "TCP");
    sockets.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The value of a line `NAME: VALUE`.
fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_once(':').map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

fn first_line(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output();
    let text = out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("not here").to_owned()
}

fn postgres() -> String {
    let mut found: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/postgres"))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    let newest = found.pop().map_or_else(|| "postgres".into(), |path| path.to_string_lossy().into_owned());
    first_line(&newest, &["--version"])
}
