//! The worker's own section of the environment, read once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use common::bus::BusConfig;
use common::config::{AuthConfig, Env, Peers};
use common::limits::{STORE_CONNECTIONS_HEAVY, STORE_CONNECTIONS_MAX, STORE_CONNECTIONS_REST};
use common::{recorder, spans};

/// The configuration of a worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// `WORK_SLOTS` (4): pieces of work at once. More take more connections to PostgreSQL and make
    /// smaller batches.
    pub slots: usize,
    /// `STORE_CONNECTIONS` (8): connections to PostgreSQL for the lanes. To the read replica, as many
    /// again, of this and of the two below.
    pub store_connections: usize,
    /// `STORE_CONNECTIONS_REST` (4): connections to PostgreSQL for REST routes that cost little.
    pub store_connections_rest: usize,
    /// `STORE_CONNECTIONS_HEAVY` (4): connections to PostgreSQL for pages and searches over REST.
    pub store_connections_heavy: usize,
    /// `ADMIN_BIND` (127.0.0.1) and `ADMIN_PORT` (9091): health and metrics. Port 0: none.
    pub admin: Option<SocketAddr>,
    /// `WORKER_THREADS`: threads of the runtime; 0 is one per core.
    pub worker_threads: usize,
    /// Whether a worker that leaves works its lanes off first. Not from the environment: for a
    /// program whose bus ends with it. On RabbitMQ the lanes outlive the worker.
    pub finish_lanes: bool,
    /// `TRACE_MESSAGES` (65,536): of how many messages the way is remembered, for `chatchit trace`; 0: of
    /// none.
    pub trace_messages: usize,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`: where spans of recorded messages go, if anywhere.
    pub collector: Option<String>,
    /// RabbitMQ, Redis, PostgreSQL.
    pub peers: Peers,
    /// How tokens are made.
    pub auth: AuthConfig,
}

impl WorkerConfig {
    /// Reads the section; problems stay in `env` until its `finish`.
    pub fn from_env(env: &mut Env) -> Self {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let admin = SocketAddr::new(env.number(&["ADMIN_BIND"], here), env.number(&["ADMIN_PORT"], 9091));
        let slots = env.number(&["WORK_SLOTS"], 4_usize);
        let store_connections = env.number(&["STORE_CONNECTIONS"], STORE_CONNECTIONS_MAX);
        if slots == 0 || slots > 64 {
            env.problem(format!("WORK_SLOTS should be 1 to 64, not {slots}"));
        }
        let store_connections_rest = env.number(&["STORE_CONNECTIONS_REST"], STORE_CONNECTIONS_REST);
        let store_connections_heavy = env.number(&["STORE_CONNECTIONS_HEAVY"], STORE_CONNECTIONS_HEAVY);
        for (name, connections) in [
            ("STORE_CONNECTIONS", store_connections),
            ("STORE_CONNECTIONS_REST", store_connections_rest),
            ("STORE_CONNECTIONS_HEAVY", store_connections_heavy),
        ] {
            if connections == 0 || connections > 256 {
                env.problem(format!("{name} should be 1 to 256, not {connections}"));
            }
        }
        Self {
            slots,
            store_connections,
            store_connections_rest,
            store_connections_heavy,
            admin: (admin.port() != 0).then_some(admin),
            worker_threads: env.number(&["WORKER_THREADS"], 0),
            finish_lanes: false,
            trace_messages: recorder::messages_from_env(env),
            collector: spans::collector_from_env(env),
            peers: Peers::from_env(env),
            auth: AuthConfig::from_env(env),
        }
    }

    /// The peers, all of which a worker of its own process needs. What is missing is noted in
    /// `env`.
    pub fn for_a_cluster(self, env: &mut Env) -> Self {
        let missing = [
            (self.peers.bus.is_none(), "AMQP_URL (or RABBITMQ_HOST)"),
            (self.peers.directory.is_none(), "REDIS_NODES (or REDIS_HOST)"),
            (self.peers.database_url.is_none(), "DATABASE_URL (or POSTGRES_HOST)"),
        ];
        let is_here = self.peers.bus.as_ref().is_none_or(BusConfig::is_here);
        self.auth.refuse_weak_unless(is_here, "the broker's (AMQP_URL)", env);
        for (_, name) in missing.into_iter().filter(|(missing, _)| *missing) {
            env.problem(format!("{name} is needed"));
        }
        self
    }

    /// The runtime this configuration asks for.
    pub fn runtime(&self) -> std::io::Result<tokio::runtime::Runtime> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        if self.worker_threads > 0 {
            builder.worker_threads(self.worker_threads);
        }
        builder.enable_all().build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_together() {
        let mut env = Env::from_pairs([("WORK_SLOTS", "0"), ("CHATCHIT_ENV", "development")]);
        WorkerConfig::from_env(&mut env).for_a_cluster(&mut env);
        assert_eq!(env.finish().unwrap_err().0.len(), 4);
    }

    #[test]
    fn a_worker_of_a_cluster_has_a_secret_even_in_development() {
        let problems = |broker: &'static str| {
            let mut env = Env::from_pairs([
                ("CHATCHIT_ENV", "development"),
                ("AMQP_URL", broker),
                ("REDIS_NODES", "127.0.0.1:7000"),
                ("DATABASE_URL", "postgres://127.0.0.1/chat"),
            ]);
            WorkerConfig::from_env(&mut env).for_a_cluster(&mut env);
            env.finish().err().map_or(0, |err| err.0.len())
        };
        for here in ["amqp://localhost/x", "amqp://u:p@127.0.0.1:5672/%2f", "amqp://[::1]:5672"] {
            assert_eq!(problems(here), 0, "{here}");
        }
        for elsewhere in ["amqp://rabbit", "amqp://127.0.0.1,amqp://rabbit:5672", "amqp://localhost@rabbit/"]
        {
            assert_eq!(problems(elsewhere), 1, "{elsewhere}");
        }
    }

    #[test]
    fn the_defaults_are_enough_beside_the_peers() {
        let mut env = Env::from_pairs([
            ("CHATCHIT_ENV", "development"),
            ("AMQP_URL", "amqp://127.0.0.1"),
            ("REDIS_NODES", "127.0.0.1:7000"),
            ("DATABASE_URL", "postgres://127.0.0.1/chat"),
        ]);
        let config = WorkerConfig::from_env(&mut env).for_a_cluster(&mut env);
        assert_eq!((env.finish(), config.slots), (Ok(()), 4));
    }
}
