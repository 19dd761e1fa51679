//! What `deploy/` tells the programs is what the programs read: every variable by its name, every default as it is.
//! Whether Docker and Kubernetes take the files is for `deploy/check`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::config::Env;

type Pairs = BTreeMap<String, String>;

/// Where nothing is: a variable that is read complains about it by name.
const NOWHERE: &str = "/nonexistent/file";

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// `NAME=value`, `NAME=` and `#NAME=value`; sentences are none of these.
fn pair(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    is_name(name).then(|| (name.to_owned(), value.to_owned()))
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// `.env.example` as `make-env` fills it: each secret another one.
fn secrets() -> Pairs {
    let text = file("deploy/.env.example");
    let empty = text.lines().filter_map(pair).filter(|(_, value)| value.is_empty());
    empty.enumerate().map(|(n, (name, _))| (name, format!("{n:02}f1e2d3c4b5a69788796a5b4c3d2e1f0"))).collect()
}

/// What `.env.example` says holds without it.
fn defaults() -> Pairs {
    file("deploy/.env.example").lines().filter_map(|line| pair(line.strip_prefix('#')?)).collect()
}

/// `${NAME}`, `${NAME:-default}` and `${NAME:?sentence}`, as compose reads them.
fn interpolated(text: &str, env: &Pairs) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let (inside, behind) = after.split_once('}').unwrap();
        let (name, word) = inside.split_once(':').unwrap_or((inside, "-"));
        let value = env.get(name).filter(|value| !value.is_empty());
        out += before;
        match word.strip_prefix('-') {
            Some(default) => out += value.map_or(default, String::as_str),
            None => out += value.unwrap_or_else(|| panic!("compose would refuse: {inside}")),
        }
        rest = behind;
    }
    out + rest
}

/// The environment that compose.yaml gives to a program, if `env` is in `.env`.
fn given(program: &str, env: &Pairs) -> Pairs {
    let text = file("deploy/compose.yaml");
    let mut pairs = Pairs::new();
    // A canary is a client: it is not told what the programs share.
    let shared = (program != "canary").then(|| "x-programs:".to_owned());
    for block in shared.into_iter().chain([format!("x-{program}-settings:")]) {
        let lines = text.lines().skip_while(|line| !line.starts_with(&block)).skip(1);
        for line in lines.take_while(|line| line.starts_with(' ')) {
            let Some((name, value)) = line.trim().split_once(':') else { continue };
            if is_name(name) {
                pairs.insert(name.to_owned(), interpolated(value.trim().trim_matches('"'), env));
            }
        }
    }
    assert!(pairs.len() > 6, "the settings of {program} are found");
    pairs
}

/// What a program makes of an environment, in words.
fn understood(program: &str, pairs: &Pairs) -> String {
    let mut env = Env::from_pairs(pairs.clone());
    let config = match program {
        "gateway" => {
            return format!("{:?}", gateway::ClusterConfig::from_env(env).unwrap());
        }
        _ => worker::WorkerConfig::from_env(&mut env).for_a_cluster(&mut env),
    };
    env.finish().unwrap();
    format!("{config:?}")
}

/// `PROGRAM --check` in this environment and no other: its exit code and what it says.
fn checked(program: &str, pairs: &Pairs) -> (Option<i32>, String) {
    let chatchit = PathBuf::from(env!("CARGO_BIN_EXE_chatchit"));
    let is_canary = program == "canary";
    let binary = if is_canary { chatchit } else { chatchit.with_file_name(program) };
    let mut command = Command::new(binary);
    let output =
        command.args(is_canary.then_some(program)).arg("--check").env_clear().envs(pairs).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Of these names, those that a program does not read.
fn unread(program: &str, names: impl IntoIterator<Item = String>) -> Vec<String> {
    let logs = file("common/src/telemetry.rs");
    let mut unread = Vec::new();
    for name in names {
        // Logging is the process's, not a section of its configuration.
        if name == "RUST_LOG" || name == "LOG_FORMAT" {
            let reader = if name == "RUST_LOG" { "try_from_default_env" } else { "\"LOG_FORMAT\"" };
            if !logs.contains(reader) {
                unread.push(name);
            }
            continue;
        }
        // The peers' parts are only read when the host is there and the URL is not.
        let hosts = ["RABBITMQ_HOST", "REDIS_HOST", "POSTGRES_HOST"];
        let mut pairs: Pairs = hosts.iter().map(|&host| (host.to_owned(), "peer".to_owned())).collect();
        pairs.remove(&name);
        pairs.insert(format!("{name}_FILE"), NOWHERE.to_owned());
        let mut env = Env::from_pairs(pairs);
        let complaint = format!("{name}_FILE cannot be read");
        if program == "canary" {
            let only = Pairs::from([(format!("{name}_FILE"), NOWHERE.to_owned())]);
            if !checked(program, &only).1.contains(&complaint) {
                unread.push(name);
            }
            continue;
        }
        let problems = match program {
            "gateway" => gateway::ClusterConfig::from_env(env).err(),
            _ => {
                worker::WorkerConfig::from_env(&mut env);
                env.finish().err()
            }
        };
        if !problems.is_some_and(|problems| problems.0.iter().any(|problem| problem.contains(&complaint))) {
            unread.push(name);
        }
    }
    unread
}

#[test]
fn a_variable_that_is_not_read_is_noticed() {
    let names = ["PORT", "RATE_USER_BURST", "NO_SUCH_VARIABLE"].map(str::to_owned);
    assert_eq!(unread("gateway", names.clone()), ["NO_SUCH_VARIABLE"]);
    assert_eq!(unread("worker", names.clone()), ["PORT", "RATE_USER_BURST", "NO_SUCH_VARIABLE"]);
    assert_eq!(unread("canary", names), ["PORT", "RATE_USER_BURST", "NO_SUCH_VARIABLE"]);
}

#[test]
fn programs_read_what_compose_gives_them() {
    for program in ["gateway", "worker", "canary"] {
        let given = given(program, &secrets());
        assert_eq!(unread(program, given.keys().cloned()), Vec::<String>::new(), "{program}");
    }
}

#[test]
fn programs_accept_the_sample_once_its_secrets_are_filled_in() {
    let mut everything = secrets();
    everything.extend(defaults());
    for (program, secret) in
        [("gateway", "JWT_ACCESS_TOKEN"), ("worker", "JWT_ACCESS_TOKEN"), ("canary", "CANARY_PASSWORD")]
    {
        for env in [&secrets(), &everything] {
            let (code, words) = checked(program, &given(program, env));
            assert_eq!((code, words.as_str()), (Some(0), ""), "{program}");
        }
        // The sample as it is, with nothing filled in, would give no secret.
        let mut empty = given(program, &secrets());
        empty.insert(secret.into(), String::new());
        let (code, words) = checked(program, &empty);
        assert!(code == Some(64) && words.contains(secret), "{program}: {words}");
    }
}

#[test]
fn the_sample_says_the_true_defaults() {
    for (name, value) in defaults() {
        let mut set = secrets();
        set.insert(name.clone(), value.clone());
        for program in ["gateway", "worker"] {
            let (without, with) = (given(program, &secrets()), given(program, &set));
            // The same environment, or an explicit value that changes nothing.
            if without != with {
                let (without, with) = (understood(program, &without), understood(program, &with));
                assert_eq!(without, with, "{program}: {name}={value} is not the default");
            }
        }
    }
    let email = format!("\"{}\"", defaults()["CANARY_EMAIL"]);
    assert!(file("src/canary/config.rs").contains(&email), "CANARY_EMAIL={email} is not the default");
    let log = &defaults()["RUST_LOG"];
    assert!(
        file("common/src/telemetry.rs").contains(&format!("\"{log}\"")),
        "RUST_LOG={log} is not the default"
    );
    // And where it is written twice, it is written alike.
    for path in ["deploy/compose.yaml", "deploy/compose.tls.yaml"] {
        for inside in file(path).split("${").skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()) {
            if let Some((name, default)) = inside.split_once(":-")
                && !default.is_empty()
            {
                assert_eq!(Some(default), defaults().get(name).map(String::as_str), "{path}: {name}");
            }
        }
    }
}

#[test]
fn compose_and_its_sample_name_the_same() {
    let both = file("deploy/compose.yaml") + &file("deploy/compose.tls.yaml");
    let used: BTreeSet<&str> =
        both.split("${").skip(1).map(|rest| rest.split([':', '}']).next().unwrap()).collect();
    let (secrets, defaults) = (secrets(), defaults());
    let named: BTreeSet<&str> = secrets.keys().chain(defaults.keys()).map(String::as_str).collect();
    assert_eq!(used, named);
    for secret in secrets.keys() {
        assert!(!both.contains(&format!("${{{secret}:-")), "{secret} has a default");
        assert!(both.contains(&format!("${{{secret}:?")), "compose starts without {secret}");
    }
}

#[test]
fn each_variable_of_the_sample_has_its_reason_above_it() {
    let text = file("deploy/.env.example");
    let mut before = "";
    for line in text.lines() {
        let is_pair = |line: &str| pair(line.trim_start_matches('#')).is_some();
        let fits = before.starts_with("# ") || is_pair(before);
        assert!(!is_pair(line) || (fits && !before.starts_with("# ----")), "no reason above {line}");
        before = line;
    }
}

#[test]
fn the_chart_offers_what_the_programs_read() {
    let schema: serde_json::Value =
        serde_json::from_str(&file("deploy/helm/chatchit/values.schema.json")).unwrap();
    for program in ["gateway", "worker", "canary"] {
        let offered = &schema["properties"][program]["properties"]["env"]["properties"];
        let offered: BTreeSet<String> = offered.as_object().unwrap().keys().cloned().collect();
        assert!(offered.len() > 1, "the schema is read");
        assert_eq!(unread(program, offered.clone()), Vec::<String>::new(), "{program}");

        // What the chart sets itself is read too, and cannot be set a second time.
        let shared = (program != "canary").then(|| file("deploy/helm/chatchit/templates/_pod.tpl"));
        let templates =
            shared.unwrap_or_default() + &file(&format!("deploy/helm/chatchit/templates/{program}.yaml"));
        let set: BTreeSet<String> = templates
            .split(['\n', '"', ' '])
            .filter(|word| is_name(word) && word.contains('_') || *word == "PORT" || *word == "BIND")
            .map(str::to_owned)
            .collect();
        assert!(set.len() > 4, "the templates are read: {set:?}");
        assert_eq!(unread(program, set.clone()), Vec::<String>::new(), "{program}");
        assert!(set.is_disjoint(&offered), "{program}: {set:?} and {offered:?}");
    }
}

/// Without it all clients behind the Ingress share the limits of one address.
#[test]
fn the_chart_asks_for_the_proxies_that_its_ingress_is() {
    let ingress = file("deploy/helm/chatchit/templates/ingress.yaml");
    let (asked, _) = ingress.split_once("apiVersion").unwrap();
    assert!(
        asked.contains("if not .Values.gateway.env.TRUSTED_PROXIES") && asked.contains("fail \"gateway.env")
    );
    assert!(file("deploy/helm/chatchit/ci/everything-values.yaml").contains("TRUSTED_PROXIES"));
}

#[test]
fn images_are_built_with_the_compiler_of_the_workspace() {
    let toolchain = file("rust-toolchain.toml");
    let channel = toolchain.split('"').nth(1).unwrap();
    assert!(file("deploy/Dockerfile").contains(&format!("ARG RUST={channel}\n")), "{channel}");
    // Images, chart and sample are of the version that is built.
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(defaults()["CHATCHIT_VERSION"], version);
    assert!(file("deploy/helm/chatchit/Chart.yaml").contains(&format!("appVersion: \"{version}\"")));
}

#[test]
fn the_chart_and_compose_know_the_names_of_queues_metrics_and_probes() {
    let chart = file("deploy/helm/chatchit/templates/keda.yaml");
    assert!(chart.contains(r"^%s\\.lane\\.%s\\.[0-9]+$"), "queues of a lane are matched by their names");
    let topology = file("common/src/bus/topology.rs");
    assert!(topology.contains("{}.lane.{lane}.{shard}"), "queues are called otherwise now: see keda.yaml");
    let hpa = file("deploy/helm/chatchit/templates/autoscaling.yaml");
    assert!(hpa.contains("gateway_sockets_open") && file("METRICS.md").contains("`gateway_sockets_open`"));
    let metrics = file("METRICS.md");
    assert!(chart.contains("bus_lane_(unacked_oldest|backlog)_seconds"), "how late the lanes are");
    for name in ["bus_lane_unacked_oldest_seconds", "bus_lane_backlog_seconds"] {
        assert!(metrics.contains(&format!("| `{name}` | `lane` |")), "{name}");
    }
    let ops = file("common/src/ops.rs");
    for path in ["/livez", "/readyz", "/health", "/health/detailed", "/metrics"] {
        assert!(ops.contains(&format!("\"{path}\"")), "{path}");
    }
}

/// Of each service of compose.yaml its lines, with those of the anchors that it takes in.
fn services() -> BTreeMap<String, String> {
    let text = file("deploy/compose.yaml");
    let block = |begin: &str, depth: usize| {
        let lines = text.lines().skip_while(|line| !line.starts_with(begin)).skip(1);
        let is_inside =
            |line: &&str| line.trim().is_empty() || line.chars().take_while(|c| *c == ' ').count() > depth;
        lines.take_while(is_inside).collect::<Vec<_>>().join("\n")
    };
    let whole = |mut lines: String| {
        while let Some((before, rest)) = lines.split_once("<<: *") {
            let name = rest.lines().next().unwrap();
            lines = format!("{before}{}{}", block(&format!("x-{name}:"), 0), &rest[name.len()..]);
        }
        lines
    };
    let all = block("services:", 0);
    let names = all.lines().filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'));
    let names = names.filter(|name| !name.starts_with([' ', '#']));
    names.map(|name| (name.to_owned(), whole(block(&format!("  {name}:"), 2)))).collect()
}

#[test]
fn no_container_gains_rights_and_every_image_is_one_version() {
    let services = services();
    assert!(services.len() > 15, "{:?}", services.keys());
    for (name, lines) in &services {
        assert!(lines.contains("no-new-privileges:true"), "{name} may gain rights");
        let image = lines.lines().find_map(|line| line.trim().strip_prefix("image: ")).unwrap();
        let tag = image.rsplit_once(':').unwrap().1;
        assert!(tag.contains("CHATCHIT_VERSION") || tag.contains('.'), "{image} is a tag that moves");
        // What these need is said in deploy/README.md.
        let keeps = |names: &[&str]| names.contains(&name.as_str());
        assert!(lines.contains("cap_drop: [ALL]") != keeps(&["pgadmin"]), "{name}: capabilities");
        let writes = keeps(&["rabbitmq", "pgadmin", "redis-commander"]);
        assert!(lines.contains("read_only: true") != writes, "{name}: a filesystem that is written to");
    }
}

#[test]
fn no_secret_is_on_a_command_line_of_a_container() {
    for (name, lines) in services() {
        let mut words = String::new();
        for begin in ["    command:", "    entrypoint:"] {
            let block = lines.lines().skip_while(|line| !line.starts_with(begin));
            let mut block =
                block.enumerate().take_while(|(at, line)| *at == 0 || line.starts_with("      - "));
            words.extend(block.by_ref().map(|(_, line)| line));
        }
        // `$$NAME` is the shell's in the container, which puts it into a file.
        let expanded = words.replace("$$", "");
        for secret in secrets().keys() {
            assert!(!expanded.contains(&format!("${{{secret}")), "{name}: {secret}");
        }
    }
}

#[test]
fn a_redis_node_of_compose_has_its_password_and_does_not_show_it() {
    let works = Command::new("redis-server").arg("--version").output().is_ok();
    if testing::is_left_out(works, "redis-server is not on this machine") {
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("redis-node-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let port = crate::support::free_port();
    let own = format!("\nport {port}\nbind 127.0.0.1\ndir {}\n", folder.display());
    let config = file("deploy/redis/redis.conf").replace("\nport 6379\ndir /data\n", &own);
    assert!(config.contains(&own), "redis.conf begins otherwise now");
    std::fs::write(folder.join("redis.conf"), config).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/redis/start-node");
    let mut node = Command::new("sh");
    node.arg(script).arg(folder.join("redis.conf")).env("REDISCLI_AUTH", "a-secret").stdout(Stdio::null());
    let mut node = node.spawn().unwrap();
    let asks = |password: &str| {
        let mut ask = Command::new("redis-cli");
        ask.args(["-p", &port.to_string(), "config", "get", "masterauth"]).env("REDISCLI_AUTH", password);
        String::from_utf8(ask.output().unwrap().stdout).unwrap()
    };
    crate::support::until(Duration::from_secs(20), "it answers", || asks("a-secret").contains("a-secret"));
    assert!(!asks("").contains("masterauth"), "nobody gets in without the password");
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", node.id())).unwrap();
    assert!(line.contains("redis-server") && !line.contains("a-secret"), "{line}");
    node.kill().unwrap();
    node.wait().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}
