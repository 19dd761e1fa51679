//! The gateway's own section of the environment, read once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::bus::BusConfig;
use common::config::{AuthConfig, ConfigError, Env, Peers};
use common::directory::DirectoryConfig;
use common::limits;
use common::{recorder, spans};
use protocol::events::Events;

use crate::cluster::hub::Joins;
use crate::socket::rate::LocalRate;
use crate::socket::session::SessionLimits;

/// The origins whose pages may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Any page, as in the original: the token is in a header or a frame, never in a cookie.
    Any,
    /// Only these.
    These(Vec<String>),
}

/// The addresses that a gateway listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// All addresses of IPv6 and IPv4.
    All,
    /// This machine only: `::1` and 127.0.0.1, because `localhost` is either.
    Loopback,
    /// This one.
    At(IpAddr),
}

impl Bind {
    /// Whether other machines cannot connect.
    pub fn is_loopback(self) -> bool {
        match self {
            Self::All => false,
            Self::Loopback => true,
            Self::At(address) => address.is_loopback(),
        }
    }

    fn read(text: &str) -> Option<Self> {
        match text.trim() {
            "all" => Some(Self::All),
            text => text.parse().ok().map(Self::At),
        }
    }
}

impl std::fmt::Display for Bind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all addresses"),
            Self::Loopback => f.write_str("the loopback addresses"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// The configuration of a gateway.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// `BIND`: the address to listen on, or `all` (the default).
    pub bind: Bind,
    /// `PORT` (8080); 0: any free port.
    pub port: u16,
    /// `ADMIN_BIND` (127.0.0.1) and `ADMIN_PORT` (9090): health and metrics. Port 0: none.
    pub admin: Option<SocketAddr>,
    /// `WORKER_THREADS`: threads of the runtime; 0 is one per core.
    pub worker_threads: usize,
    /// `SOCKETS_MAX` (200,000): open connections; the gateway closes further ones at once.
    pub sockets_max: usize,
    /// `UPGRADES_PER_S` (5,000): sockets that may be opened per second; above that the answer is 503.
    pub upgrades_per_s: u32,
    /// `ADDRESS_LINES_MAX` (5,000): connections of one client address at once (IPv6: of a /64).
    pub address_lines_max: u32,
    /// `ADDRESS_UPGRADES_PER_S` (500): sockets that one client address may open per second.
    pub address_upgrades_per_s: u32,
    /// `LOGIN_SOCKETS_MAX` (20) and `USER_SOCKETS_MAX` (100): sockets of one login, of one user, on this
    /// gateway; one more closes the oldest.
    pub joins: Joins,
    /// `OUTBOXES_BYTES_MAX` (1 GiB): bytes that may wait for all sockets together; the more is waiting, the
    /// less each slow socket is allowed.
    pub outboxes_bytes_max: usize,
    /// `CORS_ORIGINS`: comma separated, `*` for any (the default).
    pub origins: Origins,
    /// `QUERY_TOKEN` (false): whether `?token=` is accepted. URLs end up in logs.
    pub query_token: bool,
    /// `RECONNECTS_PER_S` (2,500): sockets per second that all draining gateways together move
    /// away.
    pub reconnects_per_s: u32,
    /// `DRAIN_MS` (30,000): the longest time for that; then they are moved faster.
    pub drain: Duration,
    /// `TRUSTED_PROXIES`: addresses or networks (`10.0.0.0/8`) whose `X-Forwarded-For` is trusted.
    pub proxies: Vec<Network>,
    /// `RATE_SOCKET_PER_S` and `RATE_SOCKET_BURST` (frames), `RATE_SOCKET_BYTES_PER_S` and
    /// `RATE_SOCKET_BYTES_BURST`: what one socket may send.
    pub session: SessionLimits,
    /// `RATE_USER_PER_S` and `RATE_USER_BURST`: events of all sockets of one user on this node.
    pub user_rate: LocalRate,
    /// `TRACE_MESSAGES` (65,536): number of recent messages whose path is remembered, for `chatchit trace`; 0:
    /// none.
    pub trace_messages: usize,
    /// `OTEL_TRACES_SAMPLER_ARG` (0): fraction of the messages without a `traceparent` that start a
    /// trace; 0 to 1.
    pub trace_ratio: f64,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`: where spans of sampled messages are sent, if anywhere.
    pub collector: Option<String>,
    /// The events that clients may send. Not from the environment: the product's table.
    pub events: Arc<Events>,
}

/// The configuration of the gateway's own binary, with its peers.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The gateway's own section.
    pub gateway: GatewayConfig,
    /// RabbitMQ.
    pub bus: BusConfig,
    /// Redis Cluster.
    pub directory: DirectoryConfig,
    /// How tokens are checked.
    pub auth: AuthConfig,
}

impl ClusterConfig {
    /// Reads everything.
    ///
    /// # Errors
    /// Everything that is wrong with the environment.
    pub fn from_env(mut env: Env) -> Result<Self, ConfigError> {
        let gateway = GatewayConfig::from_env(&mut env);
        let auth = AuthConfig::from_env(&mut env);
        auth.refuse_weak_unless(gateway.bind.is_loopback(), "BIND", &mut env);
        let Peers { bus, directory, .. } = Peers::from_env(&mut env);
        if bus.is_none() {
            env.problem("AMQP_URL (or RABBITMQ_HOST) is missing".into());
        }
        if directory.is_none() {
            env.problem("REDIS_NODES (or REDIS_URL, REDIS_HOST) is missing".into());
        }
        env.finish()?;
        match (bus, directory) {
            (Some(bus), Some(directory)) => Ok(Self { gateway, bus, directory, auth }),
            _ => Err(ConfigError(vec!["a peer is missing".into()])),
        }
    }
}

/// An address with how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl GatewayConfig {
    /// Reads the section; problems stay in `env` until its `finish`.
    pub fn from_env(env: &mut Env) -> Self {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let bind = env.parsed(&["BIND"], "an address such as 127.0.0.1 or ::, or `all`", Bind::read);
        let admin = SocketAddr::new(env.number(&["ADMIN_BIND"], here), env.number(&["ADMIN_PORT"], 9090));
        let origins = origins(&env.text(&["CORS_ORIGINS"]).unwrap_or_default());
        let proxies = env.parsed(&["TRUSTED_PROXIES"], "addresses or networks, comma separated", networks);
        Self {
            bind: bind.unwrap_or(Bind::All),
            port: env.number(&["PORT"], 8080),
            admin: (admin.port() != 0).then_some(admin),
            worker_threads: env.number(&["WORKER_THREADS"], 0),
            sockets_max: env.number(&["SOCKETS_MAX"], 200_000),
            upgrades_per_s: env.number(&["UPGRADES_PER_S"], limits::UPGRADES_PER_S),
            address_lines_max: env.number(&["ADDRESS_LINES_MAX"], limits::ADDRESS_LINES_MAX),
            address_upgrades_per_s: env.number(&["ADDRESS_UPGRADES_PER_S"], limits::ADDRESS_UPGRADES_PER_S),
            joins: Joins {
                of_login: env.number(&["LOGIN_SOCKETS_MAX"], limits::LOGIN_SOCKETS_MAX),
                of_user: env.number(&["USER_SOCKETS_MAX"], limits::USER_SOCKETS_MAX),
            },
            outboxes_bytes_max: env.number(&["OUTBOXES_BYTES_MAX"], limits::OUTBOXES_BYTES_MAX),
            origins,
            query_token: env.flag(&["QUERY_TOKEN"], false),
            reconnects_per_s: env.number(&["RECONNECTS_PER_S"], limits::RECONNECTS_PER_S),
            drain: Duration::from_millis(env.number(&["DRAIN_MS"], limits::DRAIN_MS_MAX)),
            proxies: proxies.unwrap_or_default(),
            session: SessionLimits {
                frames: rate(env, "RATE_SOCKET", limits::SOCKET_FRAMES_PER_S, limits::SOCKET_FRAMES_BURST),
                bytes: rate(env, "RATE_SOCKET_BYTES", limits::SOCKET_BYTES_PER_S, limits::SOCKET_BYTES_BURST),
                ..SessionLimits::default()
            },
            user_rate: rate(env, "RATE_USER", limits::USER_EVENTS_PER_S, limits::USER_EVENTS_BURST),
            trace_messages: recorder::messages_from_env(env),
            collector: spans::collector_from_env(env),
            events: Arc::default(),
            trace_ratio: env
                .parsed(&["OTEL_TRACES_SAMPLER_ARG"], "a number from 0 to 1", ratio)
                .unwrap_or_default(),
        }
    }
}

fn rate(env: &mut Env, name: &str, per_second: u32, burst: u32) -> LocalRate {
    let per_second = env.number(&[&format!("{name}_PER_S")], per_second);
    LocalRate::per_second(per_second, env.number(&[&format!("{name}_BURST")], burst))
}

fn ratio(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio))
}

fn origins(text: &str) -> Origins {
    let list: Vec<String> = words(text).map(|origin| origin.trim_end_matches('/').to_owned()).collect();
    if list.is_empty() || list.iter().any(|origin| origin == "*") {
        Origins::Any
    } else {
        Origins::These(list)
    }
}

fn networks(text: &str) -> Option<Vec<Network>> {
    words(text).map(Network::parse).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

impl GatewayConfig {
    /// A runtime with as many threads as configured.
    ///
    /// # Errors
    /// The system cannot create the threads.
    pub fn runtime(&self) -> std::io::Result<tokio::runtime::Runtime> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        if self.worker_threads > 0 {
            builder.worker_threads(self.worker_threads);
        }
        builder.enable_all().build()
    }
}

impl Origins {
    /// Whether a page of this origin may call.
    pub fn allow(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(list) => list.iter().any(|known| known.eq_ignore_ascii_case(origin)),
        }
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, bits)| (a, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
        (bits <= most).then_some(Self { address, bits })
    }

    /// Whether the address is of this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differ = u32::from(ours) ^ u32::from(theirs);
                differ.leading_zeros() >= self.bits
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differ = u128::from(ours) ^ u128::from(theirs);
                differ.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_a_list_or_any() {
        assert_eq!(origins(""), Origins::Any);
        assert_eq!(origins("https://a, *"), Origins::Any);
        let some = origins("https://chat.example/, http://localhost:3000");
        assert!(some.allow("https://chat.example") && some.allow("http://LOCALHOST:3000"));
        assert!(!some.allow("https://evil.example"));
    }

    #[test]
    fn networks_hold_their_addresses() {
        let networks = networks("10.0.0.0/8, 127.0.0.1, ::1, 0.0.0.0/0").unwrap();
        let check = |index: usize, address: &str, expect: bool| {
            assert_eq!(networks[index].contains(address.parse().unwrap()), expect, "{index} {address}");
        };
        check(0, "10.9.8.7", true);
        check(0, "11.0.0.1", false);
        check(1, "127.0.0.1", true);
        check(1, "::ffff:127.0.0.1", true);
        check(1, "127.0.0.2", false);
        check(2, "::1", true);
        check(3, "8.8.8.8", true);
        check(3, "::1", false);
        assert_eq!(super::networks("10.0.0.0/33"), None);
    }
}
