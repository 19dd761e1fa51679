//! The house rules that a machine can hold (ARCHITECTURE.md has the others). A rule that makes a
//! file worse is changed here, in the open, with its reason beside it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// Which file uses which.
mod imports;

/// Circles, doubles, lengths.
mod structure;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use protocol::events::{CLIENT, SERVER};
use protocol::{CloseCode, Reject};

/// Longest file. What does not fit is two things.
const FILE_LINES_MAX: usize = 500;

/// Package, and where it may be named. Load generators and benches stand outside the product: they
/// are peers that use the same packages from the other side.
const HOMES: &[(&str, &[&str])] = &[
    ("lapin", &["common/src/bus/rabbit", "common/tests/", "loadtest/bench/"]),
    ("redis", &["common/src/directory/", "common/tests/"]),
    (
        "tokio_postgres",
        &["worker/src/store/", "worker/tests/", "gateway/tests/", "testing/", "loadtest/bench/src/peers/"],
    ),
    ("deadpool_postgres", &["worker/src/store/", "worker/tests/"]),
    ("refinery", &["worker/src/store/"]),
    ("hyper", &["gateway/", "client/src/", "common/src/ops.rs", "loadtest/"]),
    ("hyper_util", &["gateway/", "client/src/", "common/src/ops.rs", "loadtest/"]),
    ("tokio_tungstenite", &["client/"]),
    (
        "tokio_rustls",
        &["client/", "worker/src/store/tls.rs", "worker/tests/", "common/tests/contract/tls.rs"],
    ),
    ("rustls_native_certs", &["client/src/trust.rs", "worker/src/store/tls.rs"]),
    ("fastwebsockets", &["gateway/", "loadtest/"]),
    ("jsonwebtoken", &["common/src/auth.rs", "loadtest/bench/peers/"]),
    (
        "rustls",
        &[
            "common/src/auth.rs",
            "client/",
            "worker/src/store/tls.rs",
            "worker/tests/",
            "common/tests/contract/tls.rs",
        ],
    ),
    ("metrics_exporter_prometheus", &["common/src/telemetry.rs"]),
    ("tracing_subscriber", &["common/src/telemetry.rs"]),
    ("opentelemetry", &["common/src/spans/"]),
    ("opentelemetry_sdk", &["common/src/spans/"]),
    ("opentelemetry_otlp", &["common/src/spans/"]),
    (
        "clap",
        &["common/src/arguments.rs", "src/cli.rs", "src/tool/command.rs", "src/tool/values.rs", "loadtest/"],
    ),
    ("matchit", &["worker/src/rest/"]),
    ("garde", &["worker/"]),
    ("argon2", &["worker/"]),
    ("bcrypt", &["worker/"]),
    ("rmp_serde", &["protocol/src/"]),
];

/// Package, and the crates that may list it among their dependencies.
const LISTED_BY: &[(&str, &[&str])] = &[
    ("lapin", &["common", "loadtest/bench"]),
    ("redis", &["common"]),
    ("tokio-postgres", &["worker", "testing", "loadtest/bench"]),
    ("deadpool-postgres", &["worker"]),
    ("refinery", &["worker"]),
    ("jsonwebtoken", &["common", "loadtest/swarm", "loadtest/bench/peers/socketioxide"]),
    ("fastwebsockets", &["gateway", "loadtest/swarm", "loadtest/bench"]),
    ("tokio-tungstenite", &["client"]),
    ("clap", &["common", "loadtest/swarm", "loadtest/chaos", "loadtest/bench"]),
    ("matchit", &["worker"]),
    ("garde", &["worker"]),
    ("argon2", &["worker"]),
    ("bcrypt", &["worker"]),
];

/// Decisions without I/O: no runtime, no clock, no randomness.
const PURE: &[&str] = &[
    "common/src/limits.rs",
    "common/src/limits/",
    "protocol/src/",
    "common/src/bus/subject.rs",
    "common/src/bus/envelope.rs",
    "gateway/src/socket/session.rs",
    "gateway/src/socket/session/",
    "gateway/src/socket/rate.rs",
    "gateway/src/wire/",
    "worker/src/effects.rs",
];

/// Names that say nothing.
const EMPTY_WORDS: &[&str] = &["manager", "service", "util", "utils", "helper", "helpers", "base"];

/// Traits and types of other packages that are called so.
const THEIRS: &[&str] = &["service_fn", "Service"];

struct Source {
    /// From the root, with `/`.
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Lines of code with their numbers: comments cut off, texts emptied.
    fn code(&self) -> impl Iterator<Item = (usize, String)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, without_comment(line)))
    }

    /// As [`Self::code`], up to the tests at the end of the file.
    fn product_code(&self) -> impl Iterator<Item = (usize, String)> {
        self.code().take_while(|(_, line)| !line.contains("#[cfg(test)]"))
    }
}

fn without_comment(line: &str) -> String {
    let mut out = String::new();
    let (mut in_text, mut before) = (false, ' ');
    let mut chars = line.chars().peekable();
    while let Some(this) = chars.next() {
        if this == '"' && before != '\\' && before != '\'' {
            in_text = !in_text;
        } else if !in_text && this == '/' && chars.peek() == Some(&'/') {
            break;
        } else if !in_text {
            out.push(this);
        }
        before = this;
    }
    out
}

/// `word` as a word of its own.
fn says(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(is_part)
            && !line[at + word.len()..].chars().next().is_some_and(is_part)
    })
}

/// `word` as the name of a package: a path begins with it.
fn names_package(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + word.len()..];
        let is_path = after.starts_with("::") || (after.starts_with([';', ' ', ',']) && says(line, "use"));
        is_path && !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("common has a parent").to_owned()
}

fn sources() -> Vec<Source> {
    fn walk(folder: &Path, root: &Path, out: &mut Vec<Source>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = entry.file_name().into_string().unwrap();
            let skipped = [
                "target",
                "data",
                "node_modules",
                ".git",
                ".peers",
                ".cluster",
                "corpus",
                "artifacts",
                "Cargo.lock",
            ];
            if skipped.contains(&name.as_str()) || entry.file_type().unwrap().is_symlink() {
                continue;
            }
            if path.is_dir() {
                walk(&path, root, out);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                out.push(Source { path, text });
            }
        }
    }
    let (root, mut out) = (root(), Vec::new());
    walk(&root, &root, &mut out);
    assert!(out.len() > 50, "the sources are found");
    out
}

fn rust() -> Vec<Source> {
    sources().into_iter().filter(Source::is_rust).collect()
}

fn document(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|err| panic!("{path}: {err}"))
}

/// Fails with every finding, not with the first.
fn none(rule: &str, findings: Vec<String>) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

#[test]
fn every_package_has_one_home() {
    let mut found = Vec::new();
    for source in rust() {
        for (package, homes) in HOMES {
            if homes.iter().any(|home| source.path.starts_with(home))
                || source.path.starts_with("common/tests/tidy/")
            {
                continue;
            }
            let lines = source.code().filter(|(_, line)| names_package(line, package));
            found.extend(lines.map(|(number, _)| format!("{}:{number} names {package}", source.path)));
        }
    }
    for source in sources().iter().filter(|source| source.path.ends_with("/Cargo.toml")) {
        let folder = source.path.trim_end_matches("/Cargo.toml");
        // What only tests need is not in the product.
        let product = source.text.split("[dev-dependencies]").next().unwrap_or_default();
        for (package, crates) in LISTED_BY {
            let lists = product.lines().any(|line| line.split(['.', ' ', '=']).next() == Some(package));
            if lists && !crates.contains(&folder) && !folder.ends_with("fuzz") {
                found.push(format!("{} lists {package}", source.path));
            }
        }
    }
    none("a package is named outside its home", found);
}

#[test]
fn programs_do_not_know_each_other() {
    let mut found = Vec::new();
    for source in rust() {
        let strangers: &[&str] = match source.path.split_once("/src/").map(|(crate_, _)| crate_) {
            Some("protocol") => &["common", "gateway", "worker", "signaling", "client"],
            Some("common") => &["gateway", "worker", "signaling", "client"],
            Some("client") => &["protocol", "common", "gateway", "worker", "signaling"],
            Some("gateway") => &["worker", "signaling"],
            Some("worker") => &["gateway", "signaling"],
            _ => continue,
        };
        for (number, line) in source.code() {
            found.extend(
                strangers
                    .iter()
                    .filter(|other| names_package(&line, other))
                    .map(|other| format!("{}:{number} names {other}", source.path)),
            );
        }
    }
    none("programs meet in protocol and on the bus, nowhere else", found);
}

#[test]
fn pure_is_pure() {
    let impure = ["tokio", "std::time::SystemTime", "getrandom", "Timestamp::now", "tracing", "metrics"];
    let mut found = Vec::new();
    for source in rust().iter().filter(|source| PURE.iter().any(|pure| source.path.starts_with(pure))) {
        // Timestamp::now and NodeId::random stand beside their types: the one reader of each.
        let is_reader = |line: &str| match source.path.as_str() {
            "protocol/src/time.rs" => line.contains("std::time"),
            "protocol/src/ids.rs" => line.contains("getrandom"),
            _ => false,
        };
        for (number, line) in source.product_code().filter(|(_, line)| !is_reader(line)) {
            found.extend(
                impure
                    .iter()
                    .filter(|word| line.contains(&format!("{word}::")) || line.contains(&format!("{word}(")))
                    .map(|word| format!("{}:{number} says {word}", source.path)),
            );
        }
    }
    none("a decision does no I/O and reads no clock", found);
}

#[test]
fn only_the_edge_sees_the_environment() {
    let is_edge = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        ["main.rs", "config.rs", "env.rs", "telemetry.rs", "build.rs", "options.rs"].contains(&name)
            || path.starts_with("src/")
            || path.starts_with("loadtest/")
            || path.starts_with("testing/")
            || path.contains("tests/")
    };
    let mut found = Vec::new();
    for source in rust().iter().filter(|source| !is_edge(&source.path)) {
        let lines = source.product_code().filter(|(_, line)| line.contains("env::var"));
        found.extend(lines.map(|(number, _)| format!("{}:{number}", source.path)));
    }
    none("the environment is read in main.rs and config.rs", found);
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut found = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        let is_code = source.is_rust() || source.path.starts_with("deploy/");
        if is_code && lines > FILE_LINES_MAX {
            found.push(format!("{} has {lines} lines", source.path));
        }
        if source.is_rust() && !source.text.starts_with("//!") {
            found.push(format!("{} does not begin with what it is for", source.path));
        }
    }
    for (path, most) in [("README.md", 150), ("ARCHITECTURE.md", 420)] {
        let lines = document(path).lines().count();
        if lines > most {
            found.push(format!("{path} has {lines} lines, {most} are read"));
        }
    }
    none("a file is one thing", found);
}

#[test]
fn names_say_something() {
    let mut found = Vec::new();
    for source in rust() {
        let parts = source.path.trim_end_matches(".rs").split(['/', '_', '-']);
        let empty =
            parts.filter(|part| EMPTY_WORDS.contains(part)).map(|part| format!("{} ({part})", source.path));
        found.extend(empty);
        for (number, line) in source.code() {
            let mut words = line
                .split_whitespace()
                .skip_while(|word| !["struct", "enum", "trait", "mod", "type"].contains(word));
            let Some(name) = words.nth(1) else { continue };
            let name = name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
            let is_empty = |word: &str| EMPTY_WORDS.contains(&word.to_lowercase().as_str());
            if !THEIRS.contains(&name) && words_of(name).iter().any(|word| is_empty(word)) {
                found.push(format!("{}:{number} {name}", source.path));
            }
        }
    }
    none("manager, service, util, helper and base name nothing", found);
}

/// `OutboxOfBase`, `outbox_of_base` -> Outbox, Of, Base
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() {
            words.push(String::new());
        }
        if c != '_' {
            words.last_mut().expect("never empty").push(c);
        }
    }
    words
}

#[test]
fn nothing_is_left_for_later_and_nothing_points_outside() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !source.path.starts_with("common/tests/tidy/")) {
        for (index, line) in source.text.lines().enumerate() {
            for word in ["TODO", "FIXME", "XXX", "HACK", "/work/", "/tmp/target"] {
                let hit = if word.starts_with('/') { line.contains(word) } else { says(line, word) };
                if hit {
                    found.push(format!("{}:{} {word}", source.path, index + 1));
                }
            }
        }
    }
    none("what is not done is an issue, and no file knows the machine it was written on", found);
}

#[test]
fn what_clients_see_is_in_the_protocol_document() {
    let text = document("protocol/PROTOCOL.md");
    let headings: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("#### ")?.split_whitespace().next()).collect();
    let mut found = Vec::new();
    let says = CLIENT.concat().into_iter().map(|row| row.name);
    let names: BTreeSet<&str> = says.chain(SERVER.concat().into_iter().map(|row| row.name)).collect();
    for name in &names {
        if !headings.contains(name) {
            found.push(format!("the event {name} has no heading"));
        }
    }
    for name in &headings {
        // `auth` is the handshake's own frame, before there are events.
        let known = names.contains(name) || *name == "auth";
        if !known {
            found.push(format!("the heading {name} is no event"));
        }
    }
    for reject in Reject::ALL {
        if !text.contains(&format!("| `{}` | {} |", reject.code(), reject.status())) {
            found.push(format!("the reject {} with its status is missing", reject.code()));
        }
    }
    for code in CloseCode::ALL {
        if !text.contains(&format!("| {} | `{}` |", code.number(), code.label())) {
            found.push(format!("the close code {} {} is missing", code.number(), code.label()));
        }
    }
    none("PROTOCOL.md follows the code", found);
}

/// The quoted texts of a file, without its tests.
fn quoted(source: &Source) -> impl Iterator<Item = &str> {
    let product = source.text.split("#[cfg(test)]").next().unwrap_or_default();
    product.split('"').enumerate().filter_map(|(at, text)| (at % 2 == 1).then_some(text))
}

#[test]
fn metrics_and_their_document_name_the_same() {
    let prefixes = [
        "gateway_",
        "worker_",
        "lanes_",
        "bus_",
        "directory_",
        "store_",
        "process_",
        "health_",
        "build_",
        "chatchit_",
    ];
    let is_name = |word: &str| {
        prefixes.iter().any(|prefix| word.starts_with(prefix))
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let mut in_code = BTreeSet::new();
    for source in rust().iter().filter(|source| source.path.ends_with("metrics.rs")) {
        in_code.extend(quoted(source).filter(|text| is_name(text)).map(str::to_owned));
    }
    let text = document("METRICS.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let in_document: BTreeSet<String> = rows.filter(|name| is_name(name)).map(str::to_owned).collect();
    let mut found: Vec<_> =
        in_code.difference(&in_document).map(|name| format!("{name} is measured, not documented")).collect();
    found.extend(in_document.difference(&in_code).map(|name| format!("{name} is documented, not measured")));
    // A program that names a metric elsewhere reads its own Prometheus text: `common/src/vitals.rs` is for that.
    for source in rust().iter().filter(|source| structure::is_product(&source.path)) {
        let names =
            quoted(source).filter(|text| !source.path.ends_with("metrics.rs") && in_code.contains(*text));
        found.extend(names.map(|name| format!("{}: {name} is named outside of metrics.rs", source.path)));
    }
    none("METRICS.md follows the code", found);
}

#[test]
fn documents_name_what_exists() {
    let makefile = document("Makefile");
    let targets: Vec<&str> =
        makefile.lines().filter_map(|line| line.split_once(':').map(|(name, _)| name)).collect();
    let mut found = Vec::new();
    for path in ["README.md", "ARCHITECTURE.md"] {
        let text = document(path);
        for command in text.split(['`', '\n']).filter_map(|part| part.trim().strip_prefix("make ")) {
            let target = command.split_whitespace().next().unwrap_or_default();
            let is_target = target.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            if is_target && !targets.contains(&target) {
                found.push(format!("{path}: make {target}"));
            }
        }
        for word in text.split('`').skip(1).step_by(2) {
            let is_file =
                word.contains('/') && [".rs", ".md", ".toml", ".sh"].iter().any(|end| word.ends_with(end));
            if is_file && !word.contains([' ', '*', '<', '{']) && !root().join(word).exists() {
                found.push(format!("{path}: {word}"));
            }
        }
    }
    none("a document names a file or a target that is not there", found);
}
