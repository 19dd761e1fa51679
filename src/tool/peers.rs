//! OperatorPeers to what a command needs, and to nothing else.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use common::bus::{Bus, BusError};
use common::config::{AuthConfig, Env, Peers as Named};
use common::control::AskError;
use common::directory::Directory;
use protocol::ids::{NodeId, UserId};
use worker::rest::text::emails;
use worker::store::Store;

use super::ending::Failure;
use super::values::Whose;

/// One statement at a time.
const STORE_CONNECTIONS: usize = 1;

/// A fault of the bus, with all of its reasons.
pub fn of_bus(err: BusError) -> Failure {
    Failure::Failed(err.0.context("RabbitMQ"))
}

/// The programs could not be asked.
pub fn of_ask(err: AskError) -> Failure {
    Failure::Failed(err.into())
}

/// The peers that the environment names.
pub struct OperatorPeers {
    named: Named,
    /// How long an ended login must be remembered.
    pub access_ttl: Duration,
    /// The node id of this run, for answers.
    pub node: NodeId,
}

impl OperatorPeers {
    /// Reads the environment, and connects to nothing yet.
    pub fn read() -> Result<Self, Failure> {
        let mut env = Env::from_process();
        let (named, access_ttl) = (Named::from_env(&mut env), AuthConfig::access_ttl_from_env(&mut env));
        env.finish().map_err(|err| Failure::Environment(err.to_string()))?;
        Ok(Self { named, access_ttl, node: NodeId::random() })
    }

    /// Says everything that is missing, before anything is connected.
    pub fn need(&self, bus: bool, directory: bool, store: bool) -> Result<(), Failure> {
        let missing = [
            (bus && self.named.bus.is_none(), "AMQP_URL (or RABBITMQ_HOST)"),
            (directory && self.named.directory.is_none(), "REDIS_NODES (or REDIS_HOST)"),
            (store && self.named.database_url.is_none(), "DATABASE_URL (or POSTGRES_HOST)"),
        ];
        let names: Vec<&str> = missing.iter().filter(|(lacks, _)| *lacks).map(|(_, name)| *name).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Failure::Environment(format!("this needs {}: the same as the programs have", names.join(", "))))
    }

    /// The bus, as a visitor: nothing is declared.
    pub async fn bus(&self) -> Result<Bus, Failure> {
        self.need(true, false, false)?;
        let config = self.named.bus.clone().context("checked")?;
        let prefix = config.prefix.clone();
        let bus = Bus::visit(config, self.node).await;
        Ok(bus.map_err(|err| err.0.context(format!("RabbitMQ, prefix {prefix}")))?)
    }

    /// The directory.
    pub async fn directory(&self) -> Result<Directory, Failure> {
        self.need(false, true, false)?;
        let config = self.named.directory.clone().context("checked")?;
        Ok(Directory::connect(config).await.context("Redis")?)
    }

    /// The store.
    pub async fn store(&self) -> Result<Store, Failure> {
        self.need(false, false, true)?;
        let url = self.named.database_url.as_ref().context("checked")?;
        Ok(Store::connect(url.expose(), STORE_CONNECTIONS).await?)
    }

    /// The user's id; an e-mail is looked up. None: no account has it.
    pub async fn user(&self, whose: &Whose) -> Result<Option<UserId>, Failure> {
        match whose {
            Whose::Id(user) => Ok(Some(*user)),
            Whose::Email(email) => {
                let account = self.store().await?.account_by_email(&emails(email)).await;
                Ok(account.map_err(|err| anyhow!(err))?.map(|account| account.id))
            }
        }
    }
}
