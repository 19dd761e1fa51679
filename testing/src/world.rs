//! The bus, the directory and the store of one system: in this process or on the real peers, apart from all others there. The
//! store is always a real PostgreSQL.

use common::bus::{Bus, BusConfig};
use common::config::{Env, Peers};
use common::directory::{Directory, DirectoryConfig};
use protocol::ids::{ConversationId, NodeId, UserId};
use tokio_postgres::Row;
use worker::features::accounts::NewAccount;
use worker::features::conversations::{NewConversation, NewParticipant, ParticipantType};
use worker::store::Store;

use crate::{Database, connect, left_out};

/// Connections of the store that a story itself uses.
const CONNECTIONS: usize = 4;

/// What a system is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In-process bus and directory.
    Memory,
    /// RabbitMQ and Redis Cluster.
    Real,
}

/// See the module.
pub struct World {
    /// As a program that only watches.
    pub bus: Bus,
    /// See `bus`.
    pub directory: Directory,
    /// See `bus`.
    pub store: Store,
    /// Of its database.
    pub url: String,
    real: Option<(BusConfig, DirectoryConfig)>,
}

impl World {
    /// Its name begins with `what`. None: this machine lacks a peer, and the test is left out.
    pub async fn start(kind: Kind, what: &str) -> Option<Self> {
        let url = Database::fresh(what).await?.url;
        let store = Store::connect(&url, CONNECTIONS).await.unwrap();
        if kind == Kind::Memory {
            return Some(Self { bus: Bus::memory(), directory: Directory::memory(), store, url, real: None });
        }
        let peers = Peers::from_env(&mut Env::from_process());
        let (Some(mut bus), Some(mut directory)) = (peers.bus, peers.directory) else {
            left_out("AMQP_URL or REDIS_NODES is not set (`deploy/with-peers` sets them)");
            return None;
        };
        bus.prefix = format!("{what}_{}", NodeId::random());
        directory.prefix.clone_from(&bus.prefix);
        let real = (bus, directory);
        let (bus, directory) = dial(&real, NodeId::random()).await;
        Some(Self { bus, directory, store, url, real: Some(real) })
    }

    /// The handles of one program of it. They may be opened in another runtime.
    pub fn handles(&self, node: NodeId) -> impl Future<Output = (Bus, Directory)> + Send + use<> {
        let (bus, directory, real) = (self.bus.clone(), self.directory.clone(), self.real.clone());
        async move {
            match real {
                None => (bus, directory),
                Some(real) => dial(&real, node).await,
            }
        }
    }

    /// An account of this name, with a password that no one can log in with.
    pub async fn account(&self, name: &str) -> UserId {
        let new = NewAccount {
            email: &format!("{name}@example.org"),
            phone: name,
            password: "-",
            first_name: name,
            middle_name: None,
            last_name: "Person",
            preferences: None,
        };
        self.store.create_account(new).await.unwrap().unwrap().id
    }

    /// A conversation of these people.
    pub async fn conversation_of(&self, people: &[UserId]) -> ConversationId {
        let participant =
            |user: &UserId| NewParticipant { user: *user, participant_type: ParticipantType::Member };
        let new = NewConversation {
            title: "a conversation",
            creator: people[0],
            channel_id: 0,
            avatar_url: "",
            participants: people.iter().map(participant).collect(),
        };
        self.store.create_conversation(&new).await.unwrap().unwrap()
    }

    /// Runs any SQL.
    pub async fn sql(&self, sql: &str) -> Vec<Row> {
        connect(&self.url).await.query(sql, &[]).await.unwrap()
    }
}

async fn dial((bus, directory): &(BusConfig, DirectoryConfig), node: NodeId) -> (Bus, Directory) {
    (Bus::connect(bus.clone(), node).await.unwrap(), Directory::connect(directory.clone()).await.unwrap())
}
