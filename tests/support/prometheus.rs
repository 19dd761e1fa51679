//! A real Prometheus with the configuration and the rules of `deploy/prometheus`, only faster: a test has no minutes.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{free_port, until};

/// A start on a busy machine.
const READY: Duration = Duration::from_secs(30);

/// A process with its data, both gone when dropped.
pub struct Prometheus {
    port: u16,
    child: Child,
    folder: PathBuf,
}

impl Prometheus {
    /// None: it is not installed, and the test is left out. `targets`: a file of `targets/`, and the ports asked there.
    pub fn start(name: &str, targets: &[(&str, Vec<u16>)]) -> Option<Self> {
        let is_here = Command::new("prometheus").arg("--version").output().is_ok();
        if testing::is_left_out(
            is_here,
            "Prometheus is not on this machine (`deploy/need prometheus` installs it)",
        ) {
            return None;
        }
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("targets")).unwrap();
        fs::create_dir_all(folder.join("rules")).unwrap();
        // Every length of time becomes a second: what is scraped how often, and when rules are reckoned.
        let config: Vec<String> =
            fs::read_to_string(from.join("prometheus.yml")).unwrap().lines().map(faster).collect();
        fs::write(folder.join("prometheus.yml"), config.join("\n")).unwrap();
        for entry in fs::read_dir(from.join("rules")).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), folder.join("rules").join(entry.file_name())).unwrap();
            }
        }
        let port = free_port();
        for (file, ports) in targets.iter().chain(&[("prometheus", vec![port])]) {
            let list: Vec<_> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
            let text = format!("- targets: [{}]\n", list.join(", "));
            fs::write(folder.join(format!("targets/{file}.yml")), text).unwrap();
        }
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--log.level=warn");
        command.stdin(Stdio::null()).stderr(fs::File::create(folder.join("log")).unwrap());
        let mut prometheus = Self { port, child: command.spawn().unwrap(), folder };
        prometheus.wait_until_ready();
        Some(prometheus)
    }

    fn wait_until_ready(&mut self) {
        until(READY, "Prometheus is ready", || {
            let ended = self.child.try_wait().unwrap();
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(ended.is_none(), "Prometheus ended: {}", log());
            self.ask("/-/ready").is_some_and(|(status, _)| status == 200)
        });
    }

    /// `GET`, and what it says; None: no answer. HTTP/1.0, so that the body comes in one piece.
    fn ask(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// `/api/v1/…`: its `data`, or what is wrong with the question.
    pub fn api(&self, path: &str) -> Result<Value, String> {
        let (status, body) = self.ask(&format!("/api/v1/{path}")).ok_or("no answer")?;
        let mut answer: Value = serde_json::from_str(&body).map_err(|err| format!("{status}: {err}"))?;
        if answer["status"] == "success" {
            Ok(answer["data"].take())
        } else {
            Err(format!("{status}: {}", answer["error"]))
        }
    }

    /// What the query gives, and gave in the last seconds: its values, as Prometheus writes them.
    pub fn values(&self, query: &str, seconds: u64) -> Result<Vec<String>, String> {
        let query: String = format!("({query})[{seconds}s:2s]").bytes().map(escaped).collect();
        let data = self.api(&format!("query?query={query}"))?;
        let series = data["result"].as_array().ok_or("no result")?;
        let points = series.iter().flat_map(|one| one["values"].as_array().into_iter().flatten());
        Ok(points.filter_map(|point| point[1].as_str().map(str::to_owned)).collect())
    }
}

/// A line of the configuration with its lengths of time cut to a second.
fn faster(line: &str) -> String {
    match line.split_once(':') {
        Some((name, _)) if name.trim().ends_with("_interval") || name.trim() == "scrape_timeout" => {
            format!("{name}: 1s")
        }
        _ => line.to_owned(),
    }
}

fn escaped(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
