//! The environment of everything in one process. The programs read their own sections; what is
//! missing and can be made here (the secret of the tokens) is made once and kept.

use std::path::PathBuf;
use std::time::Duration;

use common::config::{ConfigError, Env};
use common::random;

use crate::data::Data;

/// There is no other gateway to move the sockets to: Ctrl-C should not take long.
const DRAIN: Duration = Duration::from_millis(500);

const SECRET: &str = "JWT_ACCESS_TOKEN";
const SECRET_FILE: &str = "JWT_ACCESS_TOKEN_FILE";

/// The configuration of the programs.
pub struct ProcessConfig {
    /// The gateway's section.
    pub gateway: gateway::GatewayConfig,
    /// The worker's section, and the peers that the environment names.
    pub worker: worker::WorkerConfig,
    /// Whether `ADMIN_PORT` was given: without it, a free port is taken.
    pub has_admin_port: bool,
}

/// `CHATCHIT_CA_FILE`: certificates in PEM of authorities that the demo and the canary trust beside
/// those of the machine.
pub fn authorities() -> Option<PathBuf> {
    Env::from_process().text(&["CHATCHIT_CA_FILE"]).map(PathBuf::from)
}

/// `PORT`, as the demo commands guess it.
pub fn port() -> u16 {
    Env::from_process().number(&["PORT"], 8080)
}

impl ProcessConfig {
    /// Reads the environment; a missing secret comes from the data folder.
    pub fn read(data: &Data) -> anyhow::Result<Self> {
        let secret = data.secret("access.secret", random::secret)?;
        Ok(Self::with(secret.expose())?)
    }

    /// Reads the environment and keeps nothing.
    pub fn check() -> Result<(), ConfigError> {
        Self::with(&random::secret()).map(drop)
    }

    fn with(secret: &str) -> Result<Self, ConfigError> {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let mut env = if is_set(SECRET) || is_set(SECRET_FILE) {
            Env::from_process()
        } else {
            let given = std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
            let made = (SECRET.to_owned(), secret.to_owned());
            Env::from_pairs(given.filter(|(name, _)| name != SECRET).chain([made]))
        };
        let has_admin_port = env.text(&["ADMIN_PORT"]).is_some();
        let has_bind = env.text(&["BIND"]).is_some();
        let has_drain = env.text(&["DRAIN_MS"]).is_some();
        let mut config = Self {
            gateway: gateway::GatewayConfig::from_env(&mut env),
            worker: worker::WorkerConfig::from_env(&mut env),
            has_admin_port,
        };
        env.finish()?;
        // A bus in this process ends with it: what was promised is worked off before.
        config.worker.finish_lanes = config.worker.peers.bus.is_none();
        // Every client that reaches it may register: an operator who wants other machines to reach it sets BIND.
        if !has_bind {
            config.gateway.bind = gateway::Bind::Loopback;
        }
        if !has_drain {
            config.gateway.drain = DRAIN;
        }
        Ok(config)
    }
}
