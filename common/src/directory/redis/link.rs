//! The connection to the cluster: one command or one script, within its deadline.
//!
//! The client retries, follows redirects and repairs dropped connections by itself. It does
//! not notice a master that hangs with its connection open, and would ask it without end. When an
//! answer is missing, the whole connection is rebuilt from the nodes that answer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::redis::cluster::{ClusterClient, ClusterClientBuilder};
use ::redis::cluster_async::ClusterConnection;
use ::redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use ::redis::{
    Cmd, ErrorKind, FromRedisValue, ProtocolVersion, RedisError, Script, ServerErrorKind, TlsCertificates,
    ToRedisArgs, cmd, from_redis_value,
};
use anyhow::{Context as _, anyhow};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::directory::metrics;
use crate::limits::{DIRECTORY_CONNECT_MS_MAX, DIRECTORY_MS_MAX};

/// Any single answer.
pub(super) const ANSWER: Duration = Duration::from_millis(DIRECTORY_MS_MAX);

/// The connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct RedisLink(Arc<Shared>);

struct Shared {
    client: ClusterClient,
    connection: Mutex<ClusterConnection>,
    is_rebuilding: AtomicBool,
}

impl RedisLink {
    pub(super) async fn open(nodes: Vec<String>, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let is_secret = nodes.iter().any(|node| node.starts_with("rediss://"));
        let mut builder = ClusterClientBuilder::new(nodes);
        if let Some(path) = ca_file.filter(|_| is_secret) {
            let read = std::fs::read(path);
            let root_cert = read.with_context(|| format!("the certificates in {}", path.display()))?;
            builder = builder.certs(TlsCertificates { client_tls: None, root_cert: Some(root_cert) });
        }
        let client = builder
            // RESP3 for its notice of a closed connection: it is repaired before it is needed.
            .use_protocol(ProtocolVersion::RESP3)
            .retries(3)
            .min_retry_wait(20)
            .max_retry_wait(200)
            .connection_timeout(ANSWER)
            .response_timeout(ANSWER)
            .overall_response_timeout(Some(ANSWER))
            .build()
            .context("the addresses of Redis Cluster")?;
        let connection = Self::connection(&client).await?;
        let is_rebuilding = AtomicBool::new(false);
        Ok(Self(Arc::new(Shared { client, connection: Mutex::new(connection), is_rebuilding })))
    }

    async fn connection(client: &ClusterClient) -> anyhow::Result<ClusterConnection> {
        let limit = Duration::from_millis(DIRECTORY_CONNECT_MS_MAX);
        let opened = timeout(limit, client.get_async_connection()).await;
        let opened = opened.map_err(|_| anyhow!("no connection within {limit:?}"))?;
        opened.context("Redis must run as a cluster (cluster-enabled yes) and answer")
    }

    /// Asks the master of the command's slot.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> anyhow::Result<T> {
        Ok(self.try_ask(command).await??)
    }

    /// Asks any node.
    pub(super) async fn ask_anyone<T: FromRedisValue>(&self, command: Cmd) -> anyhow::Result<T> {
        let anywhere = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
        let mut connection = self.0.connection.lock().clone();
        let answer = self.in_time(connection.route_command(command, anywhere)).await??;
        Ok(from_redis_value(answer)?)
    }

    /// Runs a script; sends its source where it is not known yet (a new master, a restart).
    pub(super) async fn call<T: FromRedisValue>(&self, call: ScriptCall) -> anyhow::Result<T> {
        const UNKNOWN: ErrorKind = ErrorKind::Server(ServerErrorKind::NoScript);
        match self.try_ask(&call.command("EVALSHA", &call.lua.sha)).await? {
            Err(err) if err.kind() == UNKNOWN => self.ask(&call.command("EVAL", call.lua.source)).await,
            answer => Ok(answer?),
        }
    }

    async fn try_ask<T: FromRedisValue>(&self, command: &Cmd) -> anyhow::Result<Result<T, RedisError>> {
        let mut connection = self.0.connection.lock().clone();
        self.in_time(command.query_async(&mut connection)).await
    }

    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, RedisError>>,
    ) -> anyhow::Result<Result<T, RedisError>> {
        match timeout(ANSWER, answer).await {
            Ok(Err(err)) if err.is_timeout() => {
                self.rebuild();
                Err(err.into())
            }
            Ok(answer) => Ok(answer),
            Err(_) => {
                self.rebuild();
                Err(anyhow!("Redis did not answer within {ANSWER:?}"))
            }
        }
    }

    /// Rebuilds the connection in the background, once at a time and once a second at most.
    fn rebuild(&self) {
        if self.0.is_rebuilding.swap(true, Ordering::Relaxed) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            match Self::connection(&this.0.client).await {
                Ok(connection) => {
                    *this.0.connection.lock() = connection;
                    metrics::rebuilt(true);
                    warn!("Redis did not answer in time: the connection was rebuilt");
                }
                Err(fault) => {
                    metrics::rebuilt(false);
                    warn!("Redis did not answer in time and cannot be reconnected: {fault:#}");
                }
            }
            sleep(ANSWER).await;
            this.0.is_rebuilding.store(false, Ordering::Relaxed);
        });
    }
}

/// A script.
pub(super) struct Lua {
    source: &'static str,
    sha: String,
}

impl Lua {
    pub(super) fn new(source: &'static str) -> Self {
        Self { source, sha: Script::new(source).get_hash().to_owned() }
    }

    /// A call on these keys, all of one slot.
    pub(super) fn on<const N: usize>(&'static self, keys: [String; N]) -> ScriptCall {
        let mut words = Vec::new();
        N.write_redis_args(&mut words);
        keys.as_slice().write_redis_args(&mut words);
        ScriptCall { lua: self, words }
    }
}

/// A script with its keys and arguments.
pub(super) struct ScriptCall {
    lua: &'static Lua,
    /// The number of keys, the keys, the arguments.
    words: Vec<Vec<u8>>,
}

impl ScriptCall {
    pub(super) fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        arg.write_redis_args(&mut self.words);
        self
    }

    fn command(&self, verb: &str, script: &str) -> Cmd {
        let mut command = cmd(verb);
        command.arg(script).arg(&self.words);
        command
    }
}
