//! Where RabbitMQ, Redis and PostgreSQL are. A peer that is not named is absent: `main` decides
//! whether that means "in this process" or an error.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::env::{Env, Secret};
use crate::bus::{BusConfig, QueueKind};
use crate::directory::DirectoryConfig;

/// The peers that the environment names.
#[derive(Clone, Debug)]
pub struct Peers {
    /// `AMQP_URL`, `RABBITMQ_URL` (one, or the nodes of a cluster comma-separated), or
    /// `RABBITMQ_HOST`, `_PORT`, `_USER`, `_PASSWORD`, `_VHOST`;
    /// `CHATCHIT_QUEUES` is `classic` (one broker, the default) or `quorum` (a cluster).
    pub bus: Option<BusConfig>,
    /// `REDIS_NODES` (comma-separated `host:port` or URLs, `rediss://` with TLS), `REDIS_URL`, or `REDIS_HOST`, `_PORT`;
    /// `REDIS_PASSWORD` goes to nodes without their own.
    pub directory: Option<DirectoryConfig>,
    /// `DATABASE_URL`, or `POSTGRES_HOST`, `_PORT`, `_USER`, `_PASSWORD`, `_DB`, `_SSLMODE`.
    pub database_url: Option<Secret>,
    /// `DATABASE_REPLICA_URL`: a streaming replica of it that pages of histories may be read from.
    pub database_replica_url: Option<Secret>,
}

impl Peers {
    /// Reads the section. `CHATCHIT_CA_FILE` names authorities in PEM that are trusted for `amqps://`
    /// beside the machine's, for `rediss://` instead of them, and for PostgreSQL as `sslrootcert` of URLs
    /// that have none. `CHATCHIT_PREFIX` (default `chatchit`) begins every queue and key, so
    /// that two systems may share their peers.
    pub fn from_env(env: &mut Env) -> Self {
        let prefix = prefix(env);
        Self {
            bus: bus(env, &prefix),
            directory: directory(env, &prefix),
            database_url: database(env),
            database_replica_url: postgres_url(env, "DATABASE_REPLICA_URL"),
        }
    }
}

impl BusConfig {
    /// Whether all of its nodes are on this machine.
    pub fn is_here(&self) -> bool {
        let is_loopback = |url: &str| {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            let authority = rest.split(['/', '?']).next().unwrap_or_default();
            let host = authority.rsplit('@').next().unwrap_or_default();
            let name = match host.strip_prefix('[') {
                Some(v6) => v6.split(']').next().unwrap_or_default(),
                None => host.split(':').next().unwrap_or_default(),
            };
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        };
        self.url.split(',').all(|url| is_loopback(url.trim()))
    }
}

fn prefix(env: &mut Env) -> String {
    let read = |text: &str| {
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        let fits = (1..=32).contains(&text.len());
        (fits && text.bytes().all(plain)).then(|| text.to_owned())
    };
    env.parsed(&["CHATCHIT_PREFIX"], "1 to 32 of a-z, 0-9, - and _", read)
        .unwrap_or_else(|| "chatchit".to_owned())
}

fn bus(env: &mut Env, prefix: &str) -> Option<BusConfig> {
    let queues = env
        .parsed(&["CHATCHIT_QUEUES"], "classic or quorum", |text| match text {
            "classic" => Some(QueueKind::Classic),
            "quorum" => Some(QueueKind::Quorum),
            _ => None,
        })
        .unwrap_or(QueueKind::Classic);
    let url = match env.text(&["AMQP_URL", "RABBITMQ_URL"]) {
        Some(url) => {
            let urls: Vec<&str> = url.split(',').map(str::trim).collect();
            if !urls.iter().all(|url| has_scheme(url, &["amqp", "amqps"])) {
                env.problem(
                    "AMQP_URL (or RABBITMQ_URL) should be amqp:// or amqps://, several comma-separated; a comma in a \
                     password is %2C"
                        .into(),
                );
            }
            urls.join(",")
        }
        None => {
            let host = env.text(&["RABBITMQ_HOST"])?;
            let port = env.number(&["RABBITMQ_PORT"], 5672_u16);
            let user = env.text(&["RABBITMQ_USER"]).unwrap_or_else(|| "guest".into());
            let password = env.text(&["RABBITMQ_PASSWORD"]).unwrap_or_else(|| "guest".into());
            let vhost = env.text(&["RABBITMQ_VHOST"]).unwrap_or_else(|| "/".into());
            format!("amqp://{}:{}@{host}:{port}/{}", quoted(&user), quoted(&password), quoted(&vhost))
        }
    };
    Some(BusConfig { url, prefix: prefix.to_owned(), queues, ca_file: ca_file(env) })
}

fn directory(env: &mut Env, prefix: &str) -> Option<DirectoryConfig> {
    let password = env.text(&["REDIS_PASSWORD"]);
    let listed = match env.text(&["REDIS_NODES", "REDIS_URL"]) {
        Some(listed) => listed,
        None => {
            let host = env.text(&["REDIS_HOST"])?;
            format!("{host}:{}", env.number(&["REDIS_PORT"], 6379_u16))
        }
    };
    let nodes: Vec<_> = listed
        .split(',')
        .map(str::trim)
        .filter(|node| !node.is_empty())
        .map(|node| redis_url(node, password.as_deref()))
        .collect();
    if nodes.is_empty() || nodes.iter().any(|node| !has_scheme(node, &["redis", "rediss"])) {
        env.problem(
            "REDIS_NODES (or REDIS_URL) should be host:port, redis://host:port or rediss://host:port, comma-separated".into(),
        );
    }
    Some(DirectoryConfig { nodes, prefix: prefix.to_owned(), ca_file: ca_file(env) })
}

fn redis_url(node: &str, password: Option<&str>) -> String {
    let (scheme, rest) = node.split_once("://").unwrap_or(("redis", node));
    match password {
        Some(password) if !rest.contains('@') => format!("{scheme}://:{}@{rest}", quoted(password)),
        _ => format!("{scheme}://{rest}"),
    }
}

fn ca_file(env: &mut Env) -> Option<PathBuf> {
    env.text(&["CHATCHIT_CA_FILE"]).map(PathBuf::from)
}

/// A database's URL names its authorities itself, or they are those of all peers.
fn with_authorities(env: &mut Env, url: String) -> Secret {
    match ca_file(env) {
        Some(path) if !url.contains("sslrootcert=") => {
            let join = if url.contains('?') { '&' } else { '?' };
            Secret::new(format!("{url}{join}sslrootcert={}", quoted(&path.to_string_lossy())))
        }
        _ => Secret::new(url),
    }
}

fn database(env: &mut Env) -> Option<Secret> {
    if let Some(url) = postgres_url(env, "DATABASE_URL") {
        return Some(url);
    }
    let host = env.text(&["POSTGRES_HOST"])?;
    let port = env.number(&["POSTGRES_PORT"], 5432_u16);
    let user = env.text(&["POSTGRES_USER"]).unwrap_or_else(|| "postgres".into());
    // PostgreSQL's own default: the database is named like the user.
    let name = env.text(&["POSTGRES_DB"]).unwrap_or_else(|| user.clone());
    let password = env.text(&["POSTGRES_PASSWORD"]).map(|password| format!(":{}", quoted(&password)));
    let password = password.unwrap_or_default();
    let mode = env.text(&["POSTGRES_SSLMODE"]).map(|mode| format!("?sslmode={}", quoted(&mode)));
    let (user, name, mode) = (quoted(&user), quoted(&name), mode.unwrap_or_default());
    let url = format!("postgres://{user}{password}@{host}:{port}/{name}{mode}");
    Some(with_authorities(env, url))
}

fn postgres_url(env: &mut Env, name: &'static str) -> Option<Secret> {
    let url = env.text(&[name])?;
    if !has_scheme(&url, &["postgres", "postgresql"]) {
        env.problem(format!("{name} should begin with postgres:// or postgresql://"));
    }
    Some(with_authorities(env, url))
}

fn has_scheme(url: &str, schemes: &[&str]) -> bool {
    url.split_once("://").is_some_and(|(scheme, rest)| schemes.contains(&scheme) && !rest.is_empty())
}

/// Percent-encodes everything that could end a part of a URL.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(pairs: &[(&str, &str)]) -> (Peers, Vec<String>) {
        let mut env = Env::from_pairs(pairs.iter().copied());
        let peers = Peers::from_env(&mut env);
        (peers, env.finish().err().map_or_else(Vec::new, |err| err.0))
    }

    #[test]
    fn nothing_named_is_nothing_there() {
        let (peers, problems) = peers(&[]);
        assert!(peers.bus.is_none() && peers.directory.is_none());
        assert!(peers.database_url.is_none() && peers.database_replica_url.is_none());
        assert!(problems.is_empty());
    }

    #[test]
    fn urls_are_taken_as_they_are() {
        let (peers, problems) = peers(&[
            ("AMQP_URL", "amqp://u:p@mq:5672/%2f"),
            ("REDIS_NODES", "r1:7000, redis://:own@r2:7001"),
            ("REDIS_PASSWORD", "p@ss"),
            ("DATABASE_URL", "postgres://u:p@db/chat"),
            ("DATABASE_REPLICA_URL", "postgresql://u:p@db2/chat"),
            ("CHATCHIT_PREFIX", "blue"),
            ("CHATCHIT_QUEUES", "quorum"),
        ]);
        assert!(problems.is_empty(), "{problems:?}");
        let bus = peers.bus.unwrap();
        assert_eq!((bus.url.as_str(), bus.queues), ("amqp://u:p@mq:5672/%2f", QueueKind::Quorum));
        let directory = peers.directory.unwrap();
        assert_eq!(directory.nodes, ["redis://:p%40ss@r1:7000", "redis://:own@r2:7001"]);
        assert_eq!(directory.prefix, "blue");
        assert_eq!(peers.database_replica_url.unwrap().expose(), "postgresql://u:p@db2/chat");
    }

    #[test]
    fn authorities_are_named_once_for_all_peers() {
        let (peers, problems) = peers(&[
            ("AMQP_URL", "amqps://u:p@mq"),
            ("REDIS_NODES", "rediss://r1:7000"),
            ("DATABASE_URL", "postgres://u:p@db/chat?sslmode=verify-full"),
            ("DATABASE_REPLICA_URL", "postgres://db2/chat?sslrootcert=own.pem"),
            ("CHATCHIT_CA_FILE", "/etc/our ca.pem"),
        ]);
        assert!(problems.is_empty(), "{problems:?}");
        let file = Some(PathBuf::from("/etc/our ca.pem"));
        assert_eq!((peers.bus.unwrap().ca_file, peers.directory.unwrap().ca_file), (file.clone(), file));
        let url = "postgres://u:p@db/chat?sslmode=verify-full&sslrootcert=%2Fetc%2Four%20ca.pem";
        assert_eq!(peers.database_url.unwrap().expose(), url);
        let replica = peers.database_replica_url.unwrap();
        assert_eq!(replica.expose(), "postgres://db2/chat?sslrootcert=own.pem");
    }

    #[test]
    fn the_original_names_make_the_same_urls() {
        let (peers, problems) = peers(&[
            ("RABBITMQ_HOST", "mq"),
            ("RABBITMQ_USER", "admin"),
            ("RABBITMQ_PASSWORD", "a/b"),
            ("REDIS_HOST", "r"),
            ("POSTGRES_HOST", "db"),
            ("POSTGRES_USER", "chat"),
            ("POSTGRES_PASSWORD", "p:w"),
        ]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(peers.bus.unwrap().url, "amqp://admin:a%2Fb@mq:5672/%2F");
        assert_eq!(peers.directory.unwrap().nodes, ["redis://r:6379"]);
        assert_eq!(peers.database_url.unwrap().expose(), "postgres://chat:p%3Aw@db:5432/chat");
    }

    #[test]
    fn what_cannot_work_is_said() {
        let check = |name: &str, value: &str| {
            let (peers, problems) = peers(&[(name, value)]);
            assert_eq!(problems.len(), 1, "{name}={value}: {problems:?}");
            assert!(!format!("{peers:?}").contains("pw"), "no password is printed");
        };
        check("AMQP_URL", "http://u:pw@mq");
        check("AMQP_URL", "amqp://u:pw@mq1,mq2");
        check("REDIS_NODES", "http://:pw@r:7000");
        check("REDIS_NODES", " , ");
        check("DATABASE_URL", "mysql://u:pw@db");
        check("DATABASE_REPLICA_URL", "u:pw@db2/chat");
        check("CHATCHIT_PREFIX", "Not a prefix");
        check("CHATCHIT_QUEUES", "mirrored");
    }
}
