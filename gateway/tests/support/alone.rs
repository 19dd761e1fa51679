//! One gateway with nobody behind it: for what it answers by itself.

use std::net::SocketAddr;
use std::time::Duration;

use common::auth::{Signer, Verifier};
use common::bus::{Bus, Pattern};
use common::config::{AuthConfig, Env};
use common::directory::Directory;
use common::lifecycle::Lifecycle;
use gateway::Gateway;
use protocol::ids::{LoginId, NodeId, UserId};
use protocol::{Account, ApiResponse, Person, ResponseHeaders, Role, Timestamp};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::TestClient;

/// See the module.
pub struct Alone {
    pub addr: SocketAddr,
    pub bus: Bus,
    pub directory: Directory,
    pub node: NodeId,
    signer: Signer,
    lifecycle: Lifecycle,
    done: JoinHandle<anyhow::Result<()>>,
}

impl Alone {
    /// A gateway with these settings.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_on(Bus::memory(), Directory::memory(), settings).await
    }

    /// One more in the same cluster.
    pub async fn start_beside(&self, settings: &[(&str, &str)]) -> Self {
        Self::start_on(self.bus.clone(), self.directory.clone(), settings).await
    }

    async fn start_on(bus: Bus, directory: Directory, settings: &[(&str, &str)]) -> Self {
        let defaults = [("BIND", "127.0.0.1"), ("PORT", "0"), ("ADMIN_PORT", "0"), ("DRAIN_MS", "0")];
        let mut env = Env::from_pairs(defaults.into_iter().chain(settings.iter().copied()));
        let config = gateway::GatewayConfig::from_env(&mut env);
        env.finish().unwrap();
        let auth = AuthConfig::from_env(&mut Env::from_pairs([("CHATCHIT_ENV", "development")]));
        let node = NodeId::random();
        let verifier = Verifier::new(&auth);
        let gateway = Gateway::bind(config, node, bus.clone(), directory.clone(), verifier).await.unwrap();
        let (addr, lifecycle) = (gateway.addr().unwrap(), Lifecycle::manual());
        let done = tokio::spawn(gateway.run(lifecycle.clone()));
        Self { addr, bus, directory, node, signer: Signer::new(&auth), lifecycle, done }
    }

    /// A valid token of this user.
    pub fn token(&self, user: i64) -> String {
        self.token_until(user, self.signer.expires_s(Timestamp::now()))
    }

    /// One that ends then.
    pub fn token_until(&self, user: i64, expires_s: i64) -> String {
        let now = Timestamp::now();
        let account = Account { user: UserId(user), login: LoginId(user), role: Role::User, expires_s };
        let name = format!("user {user}");
        let person =
            Person { id: account.user, first_name: name.clone(), last_name: name.clone(), email: name };
        self.signer.sign(&account, &person, now)
    }

    /// A worker that gives every REST request the same answer, so much later.
    pub async fn serve(&self, after: Duration, status: u16, body: Vec<u8>) -> JoinHandle<()> {
        let mut requests = self.bus.queue_subscribe(Pattern::new("api.*").unwrap(), "api").await.unwrap();
        let answer = protocol::encode(&ApiResponse { status, body, headers: ResponseHeaders::default() });
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                if !after.is_zero() {
                    tokio::time::sleep(after).await;
                }
                request.reply(answer.clone());
            }
        })
    }

    /// Upgrades with these header lines. Err: the status of the refusal.
    pub async fn upgrade(&self, path: &str, headers: &str) -> Result<(TestClient, String), u16> {
        TestClient::upgrade(self.addr, path, headers, None, CancellationToken::new()).await
    }

    /// The user's socket, ready.
    pub async fn connect(&self, user: i64) -> TestClient {
        let header = format!("Authorization: Bearer {}\r\n", self.token(user));
        let (mut client, _) = self.upgrade("/ws", &header).await.unwrap();
        client.expect(super::ready()).await;
        client
    }

    /// Begins to drain; does not wait.
    pub fn drain(&self) {
        self.lifecycle.drain();
    }

    /// As with a second signal: ends at once.
    pub async fn abort(self) {
        self.lifecycle.abort();
        self.done.await.unwrap().unwrap();
    }

    /// Drains and waits.
    pub async fn finish(self) {
        self.lifecycle.drain();
        self.done.await.unwrap().unwrap();
        assert_eq!(self.directory.live_nodes().await.unwrap(), []);
    }
}
