//! Dashboards and alerts ask for what the programs measure, and get an answer. Real programs, a real Prometheus.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::faults::silent_while_well;
use crate::support::load::Load;
use crate::support::person::{Person, http};
use crate::support::prometheus::Prometheus;
use crate::support::{Cluster, WholePeers, pause};
use serde_json::{Value, json};

/// Parts of queries that find nothing as long as all is well, and the fault that fills them.
const ONLY_A_FAULT_HERE: &[(&str, &str)] = &[
    ("health_part_up{job=~\"gateway|worker|canary\",instance=~\".*\"}) < 1", "a peer that is away"),
    ("gateway_api_requests_total{status=\"5xx\"}", "a REST request that no worker answers"),
    ("bus_request_seconds_count{result!=\"answered\"}", "a request that no worker answers"),
];

const DASHBOARDS: [&str; 5] = ["overview", "gateway", "lanes", "messaging", "stores"];

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// A panel: its dashboard, its title, its queries.
struct Panel {
    dashboard: &'static str,
    json: Value,
}

impl Panel {
    fn title(&self) -> &str {
        self.json["title"].as_str().unwrap()
    }

    fn queries(&self) -> Vec<&str> {
        self.json["targets"].as_array().unwrap().iter().map(|one| one["expr"].as_str().unwrap()).collect()
    }
}

fn panels() -> Vec<Panel> {
    let mut out = Vec::new();
    for dashboard in DASHBOARDS {
        let all: Value =
            serde_json::from_str(&file(&format!("grafana/dashboards/{dashboard}.json"))).unwrap();
        let all = all["panels"].as_array().unwrap().clone();
        out.extend(all.into_iter().filter(|one| one["type"] != "row").map(|json| Panel { dashboard, json }));
    }
    assert!(out.len() > 50, "the panels are found");
    out
}

/// The blocks of `alerts.yml`, by the alert's name.
fn alerts() -> Vec<(String, String)> {
    let text = file("deploy/prometheus/rules/alerts.yml");
    let blocks = text.split("- alert: ").skip(1);
    blocks.map(|block| (block.lines().next().unwrap().to_owned(), block.to_owned())).collect()
}

/// What is asked in a query: names, as far as they could be a metric's.
fn names(query: &str) -> BTreeSet<&str> {
    let ours = [
        "gateway_",
        "worker_",
        "lanes_",
        "bus_",
        "directory_",
        "process_",
        "health_",
        "build_info",
        "chatchit_",
    ];
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| ours.iter().any(|prefix| word.starts_with(prefix))).collect()
}

/// Fails with every finding, not with the first.
fn none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

#[test]
fn what_is_committed_is_what_the_sources_say() {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/build");
    let is_here = Command::new("python3").arg("--version").output().is_ok();
    if testing::is_left_out(is_here, "python3 is not on this machine (`deploy/need python` installs it)") {
        return;
    }
    let output = Command::new(build).arg("--check").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_panel_has_a_question_a_unit_and_named_lines() {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for panel in panels() {
        let name = format!("{}: {}", panel.dashboard, panel.title());
        let text = |pointer: &str| panel.json.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if !text("/description").contains('?') {
            found.push(format!("{name} asks nothing"));
        }
        if text("/fieldConfig/defaults/unit").is_empty() {
            found.push(format!("{name} has no unit"));
        }
        if panel.queries().is_empty() {
            found.push(format!("{name} has no query"));
        }
        let targets = panel.json["targets"].as_array().unwrap();
        let legends: BTreeSet<_> = targets.iter().map(|one| one["legendFormat"].as_str().unwrap()).collect();
        if legends.len() < targets.len() || legends.contains("") {
            found.push(format!("{name} has two lines of one name, or one without"));
        }
        if !seen.insert(name.clone()) {
            found.push(format!("{name} is there twice"));
        }
    }
    none("a panel answers one question", &found);
}

#[test]
fn what_is_asked_is_measured_and_what_is_measured_is_shown() {
    let document = file("METRICS.md");
    let measured: BTreeSet<&str> =
        document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let panels = panels();
    let recorded = file("deploy/prometheus/rules/recorded.yml");
    let alerts = file("deploy/prometheus/rules/alerts.yml");
    let is_code = |line: &&str| !line.trim_start().starts_with('#');
    let queries: Vec<&str> = panels
        .iter()
        .flat_map(Panel::queries)
        .chain(recorded.lines().chain(alerts.lines()).filter(is_code))
        .collect();
    let asked: BTreeSet<&str> = queries.iter().flat_map(|query| names(query)).collect();
    let mut found = Vec::new();
    let mut shown = BTreeSet::new();
    for name in asked {
        let ends = ["_bucket", "_count", "_sum"];
        let stem = ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        match [name, stem].into_iter().find(|one| measured.contains(one)) {
            Some(metric) => drop(shown.insert(metric)),
            None => found.push(format!("{name} is asked for and not in METRICS.md")),
        }
    }
    found
        .extend(measured.difference(&shown).map(|name| format!("{name} is measured, and no panel shows it")));
    none("dashboards follow METRICS.md", &found);
}

#[test]
fn every_alert_has_its_section_and_its_tests() {
    let runbook = file("deploy/RUNBOOK.md");
    let (_, chapter) = runbook.split_once("\n## Alerts\n").unwrap();
    let chapter = chapter.split("\n## ").next().unwrap();
    let sections: Vec<&str> = chapter.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let cases: String = ["promises", "programs", "lanes", "stores", "canary"]
        .map(|name| file(&format!("deploy/prometheus/rules/tests/{name}.yml")))
        .concat();
    let alerts = alerts();
    assert!(alerts.len() >= 15, "the alerts are found");
    let mut found = Vec::new();
    for (alert, block) in &alerts {
        let severity =
            ["page", "ticket"].into_iter().find(|word| block.contains(&format!("severity: {word} ")));
        let anchor = format!("runbook_url: deploy/RUNBOOK.md#{}\n", alert.to_lowercase());
        for (what, is_there) in [
            ("a severity", severity.is_some()),
            ("a summary", block.contains("summary: ")),
            ("a description", block.contains("description: ")),
            ("a link to its section", block.contains(&anchor)),
            ("a section", sections.contains(&alert.as_str())),
            ("a case that fires", cases.contains(&format!("- name: {alert} fires\n"))),
            ("a case that is silent", cases.contains(&format!("- name: {alert} is silent\n"))),
        ] {
            if !is_there {
                found.push(format!("{alert} has not {what}"));
            }
        }
        let section =
            chapter.split("\n### ").find(|text| text.lines().next() == Some(alert)).unwrap_or_default();
        let means = format!("**Means** ({})", severity.unwrap_or_default());
        for either in [&[means.as_str()][..], &["**Look"], &["**Do**", "**Look, do**"]] {
            if !either.iter().any(|word| section.contains(word)) {
                found.push(format!("the section of {alert} does not say {}", either[0]));
            }
        }
    }
    for section in sections {
        if !alerts.iter().any(|(alert, _)| alert == section) {
            found.push(format!("the section {section} is of no alert"));
        }
    }
    none("whoever is called knows why and what to do", &found);
}

#[test]
fn the_runbook_names_panels_that_exist() {
    let runbook = file("deploy/RUNBOOK.md");
    let (before, chapter) = runbook.split_once("\n## Alerts\n").unwrap();
    let panels = panels();
    let titles: BTreeSet<&str> = panels.iter().map(Panel::title).collect();
    // What is set the same way and is no panel: chapters, and words of other programs.
    let others = ["Look", "Targets", "Get messages", "flow"];
    let mut found = Vec::new();
    for word in chapter.replace("**", "").replace('\n', " ").split('*').skip(1).step_by(2) {
        let is_chapter = before.contains(&format!("**{word}.**")) || before.contains(&format!("## {word}\n"));
        if !titles.contains(word) && !others.contains(&word) && !is_chapter {
            found.push(word.to_owned());
        }
    }
    none("the runbook names a panel that is not there", &found);
}

#[test]
fn rules_fire_and_are_silent_as_their_cases_say() {
    let is_here = Command::new("promtool").arg("--version").output().is_ok();
    if testing::is_left_out(is_here, "promtool is not on this machine (`deploy/need prometheus` installs it)")
    {
        return;
    }
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/rules/tests");
    let files = std::fs::read_dir(rules).unwrap().map(|entry| entry.unwrap().path());
    let output = Command::new("promtool").args(["test", "rules"]).args(files).output().unwrap();
    let words =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
}

/// Two who do what the load does not, again and again: they come and go, sync, read, type, ask, and make mistakes.
struct Pair {
    alice: Person,
    bob: Person,
    conversation: i64,
    ports: [u16; 2],
}

impl Pair {
    fn new(ports: [u16; 2]) -> Self {
        let (alice, bob) = (Person::new(ports[0], "alice"), Person::new(ports[1], "bob"));
        let conversation = alice.creates_conversation_with(ports[0], &[&bob]);
        Self { alice, bob, conversation, ports }
    }

    fn meets(&self, round: usize) {
        let [here, there] = self.ports;
        let conversation = self.conversation;
        let (mut ours, mut theirs) = (self.alice.opens_socket(here), self.bob.opens_socket(there));
        let traced = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let say = json!({
            "conversationId": conversation, "guid": round.to_string(), "content": "xin chào", "traceparent": traced
        });
        ours.says("sendMessage", &say);
        let message = ours.hears("messageProcessed")["messageId"].take();
        // The same again, as after a reconnect.
        ours.says("sendMessage", &say);
        ours.hears("messageProcessed");
        theirs.hears("messageComing");
        // The second time nothing is new to the gateway; in the next round, from a new socket, to the worker.
        for _ in 0..2 {
            theirs.says("typing", &json!({ "conversationId": conversation, "isTyping": true }));
        }
        theirs.says("messageRead", &json!({ "conversationId": conversation, "messageId": message }));
        theirs.says("getOnlineUsers", &json!({}));
        theirs.says("sync", &json!({ "conversations": { conversation.to_string(): 0 } }));
        theirs.hears("synced");
        assert!(!self.alice.reads(here, conversation).is_empty());
        // Without a token, and without an upgrade.
        assert_eq!(http(here, "GET", "/conversations", None, "").unwrap().0, 401);
        assert_eq!(http(here, "GET", "/ws", None, "").unwrap().0, 426);
    }
}

/// As Grafana asks when everything is chosen.
fn as_asked(query: &str) -> String {
    query
        .replace("$__rate_interval", "15s")
        .replace("$job", "gateway|worker|canary")
        .replace("$instance", ".*")
        .replace("$broker", ".*")
}

/// An alert that is silent gives nothing, because its comparison holds for nothing: asked for the comparison's outcome,
/// it says 0, if what it compares is there.
fn compared(query: &str) -> String {
    [" > ", " < ", " == ", " != "]
        .iter()
        .fold(query.to_owned(), |text, sign| text.replace(sign, &format!("{sign}bool ")))
}

/// What may be empty, and why.
fn excuses() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    ONLY_A_FAULT_HERE.iter().chain(silent_while_well())
}

#[test]
fn every_query_has_an_answer_from_real_programs() {
    let Some(_peers) = WholePeers::of_this_run() else { return };
    let cluster = Cluster::start("dashboards", 2, 2);
    let of = |programs: &[crate::support::program::Program]| programs.iter().map(|one| one.admin).collect();
    let mut canary = cluster.canary_with_front();
    canary.wait_until_ready();
    let broker: u16 = std::env::var("RABBIT_SCRAPE_PORT").unwrap().parse().unwrap();
    let targets = [
        ("gateways", of(&cluster.gateways)),
        ("workers", of(&cluster.workers)),
        ("rabbitmq", vec![broker]),
        ("canary", vec![canary.admin]),
    ];
    let Some(prometheus) = Prometheus::start("dashboards", &targets) else { return };

    // Longer than a heartbeat takes to come.
    let load = Load::begin_with(&cluster.urls().join(","), 1_680, 60.0, &[("--sockets", "20")]);
    let pair = Pair::new([cluster.gateways[0].port, cluster.gateways[1].port]);
    for round in 0.. {
        pair.meets(round);
        if load.is_over() {
            break;
        }
        pause(Duration::from_millis(700));
    }
    load.ends_clean();

    let mut queries = Vec::new();
    for panel in panels() {
        let name = format!("{}: {}", panel.dashboard, panel.title());
        queries.extend(panel.queries().into_iter().map(|query| (name.clone(), as_asked(query))));
    }
    let rules = prometheus.api("rules").unwrap();
    let groups = rules["groups"].as_array().unwrap();
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        let name = format!("rule {}", rule["name"].as_str().unwrap());
        assert_eq!(rule["health"], "ok", "{name}: {}", rule["lastError"]);
        queries.push((name, compared(rule["query"].as_str().unwrap())));
    }
    assert!(queries.len() > 200, "panels and rules are asked");

    let (mut found, mut excused) = (Vec::new(), BTreeSet::new());
    for (name, query) in &queries {
        let is_number = |value: &String| value != "NaN";
        match prometheus.values(query, 40) {
            Err(error) => found.push(format!("{name}: {error}: {query}")),
            Ok(values) if values.iter().any(is_number) => {}
            Ok(values) => match excuses().find(|(part, _)| query.contains(part)) {
                Some((part, _)) => drop(excused.insert(*part)),
                None => found.push(format!("{name}: {} values, no number: {query}", values.len())),
            },
        }
    }
    let unused = ONLY_A_FAULT_HERE.iter().filter(|(part, _)| !excused.contains(part));
    found.extend(
        unused.map(|(part, fault)| format!("{part} is there, and not because {fault}: excuse it no more")),
    );
    none("a query has no answer", &found);
}
