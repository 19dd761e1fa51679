//! The scenarios of `loadtest/scenarios`, each in its smallest size: a real k6, through nginx, against real programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::nginx::Nginx;
use crate::support::{Cluster, WholePeers};
use protocol::CloseCode;
use protocol::events::{CLIENT, SERVER};
use serde_json::Value;

const SCENARIOS: [&str; 6] = ["connect", "chat", "fanout", "reconnect", "slow-reader", "rest"];

/// Upgrades per second of each gateway: few, so that the smallest storm is too much.
const UPGRADES_PER_S: u32 = 30;

/// The first k6 that has `k6/websockets`. None, with a notice: there is none. That is the only thing that `make test` does
/// without: it is no package of Debian's, and is built with a Go that Debian 12 does not have.
fn k6() -> Option<PathBuf> {
    let home = std::env::var("HOME").unwrap_or_default();
    let candidates = [PathBuf::from("k6"), Path::new(&home).join("go/bin/k6")];
    let found = candidates.into_iter().find(|path| {
        let Ok(output) = Command::new(path).arg("version").output() else { return false };
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = words.split_once(" v").map(|(_, rest)| rest).unwrap_or_default();
        let mut parts = version.split(['.', ' ']).map_while(|part| part.parse::<u32>().ok());
        parts.next().zip(parts.next()) >= Some((1, 6))
    });
    if found.is_none() {
        eprintln!("LEFT OUT: no k6 from 1.6 on is on this machine (`deploy/need k6` builds one)");
    }
    found
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest/scenarios")
}

/// Runs k6 in its smallest profile.
fn play(k6: &Path, script: &str, settings: &[(&str, String)]) -> Output {
    let mut command = Command::new(k6);
    command.args(["run", "--quiet", "--no-usage-report", "-e", "PROFILE=smoke"]);
    for (name, value) in settings {
        command.args(["-e".to_owned(), format!("{name}={value}")]);
    }
    command.arg(scripts().join(format!("{script}.js"))).output().unwrap()
}

#[test]
fn every_scenario_passes_in_its_smallest_size() {
    let Some(_peers) = WholePeers::of_this_run() else { return };
    let Some(k6) = k6() else { return };
    let budget = UPGRADES_PER_S.to_string();
    let settings = [("TRUSTED_PROXIES", "127.0.0.0/8"), ("UPGRADES_PER_S", &*budget)];
    let cluster = Cluster::start_with("k6", 2, 2, &settings);
    let ports = [cluster.gateways[0].port, cluster.gateways[1].port];
    let Some(nginx) = Nginx::in_front_of(&ports, &[]) else { return };
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("k6-{}", std::process::id()));
    std::fs::create_dir_all(&out).unwrap();

    let mut settings =
        vec![("URL", format!("http://127.0.0.1:{}", nginx.port)), ("OUT", out.display().to_string())];
    let made = play(&k6, "accounts", &settings);
    assert!(made.status.success(), "accounts: {}", String::from_utf8_lossy(&made.stderr));
    settings.push(("PEOPLE", out.join("people.json").display().to_string()));
    settings.push(("BUDGET", (2 * UPGRADES_PER_S).to_string()));

    // One after the other: each asks about the whole cluster. All are heard, not only the first that failed.
    let mut failed = vec![];
    for scenario in SCENARIOS {
        let output = play(&k6, scenario, &settings);
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        eprintln!("{words}");
        let text = std::fs::read_to_string(out.join(format!("{scenario}.json"))).unwrap_or_default();
        let result: Value = serde_json::from_str(&text).unwrap_or_default();
        if !output.status.success() || result["passed"] != true || result["scenario"] != scenario {
            failed.push(format!("{words}{}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));

    // The two that need the cluster to say no heard it from where they think.
    assert!(cluster.of_gateways("gateway_upgrades_refused_total{reason=\"budget\"}") > 0.0);
    assert!(cluster.of_gateways("gateway_sockets_closed_total{reason=\"slow\"}") > 0.0);
    std::fs::remove_dir_all(out).unwrap();
}

#[test]
fn the_judge_finds_what_is_wrong() {
    let Some(k6) = k6() else { return };
    let output = play(&k6, "judging", &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The texts in double quotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

#[test]
fn scenarios_say_and_hear_what_the_protocol_knows() {
    let text = std::fs::read_to_string(scripts().join("lib/protocol.js")).unwrap();
    let part = |name: &str| {
        let (_, rest) = text.split_once(&format!("export const {name} = {{")).unwrap();
        rest.split_once('}').unwrap().0
    };
    let says = quoted(part("SAYS"));
    assert!(
        says.len() > 1 && says.iter().all(|name| CLIENT.concat().iter().any(|row| row.name == *name)),
        "{says:?}"
    );
    let hears = quoted(part("HEARS"));
    assert!(
        hears.len() > 5 && hears.iter().all(|name| SERVER.concat().iter().any(|row| row.name == *name)),
        "{hears:?}"
    );
    let mut closes = 0;
    for line in part("CLOSES").lines().filter_map(|line| line.trim().strip_suffix(',')) {
        let (label, number) = line.split_once(": ").unwrap();
        let known = CloseCode::ALL.iter().find(|code| code.label() == label);
        assert_eq!(known.map(|code| code.number().to_string()).as_deref(), Some(number), "{label}");
        closes += 1;
    }
    assert!(closes > 0);

    // And nobody else names an event: a misspelt one would not be found.
    let folders = [scripts(), scripts().join("lib")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    for path in files.map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|end| end != "js") || path.ends_with("lib/protocol.js") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let names = quoted(&text).into_iter().filter(|word| says.contains(word) || hears.contains(word));
        assert_eq!(names.collect::<Vec<_>>(), [""; 0], "{}", path.display());
    }
}
