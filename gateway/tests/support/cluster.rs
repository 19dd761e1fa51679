//! Gateways and workers in this process, in a world of their own.
//!
//! On the memory backends the clock of tokio stands still: it does not even advance by itself when
//! everything waits for I/O, because a parked blocking task holds it. Time passes by
//! [`Cluster::pass`], and a story that hangs is ended by the machine's clock.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use common::auth::{Signer, Verifier};
use common::bus::{Envelope, Subject};
use common::config::{AuthConfig, Env};
use common::lifecycle::Lifecycle;
use common::limits::PRESENCE_TICK_MS;
use gateway::Gateway;
use protocol::events::Events;
use protocol::ids::{ConversationId, LoginId, NodeId, UserId};
use protocol::{self, Account, Control, Person, Role, Timestamp};
use testing::{Kind, World};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker::Worker;
use worker::features::{self, Feature};
use worker::store::Store;

use super::client::TestClient;

/// Longer than any story takes; one that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub struct Cluster {
    world: World,
    kind: Kind,
    product: Product,
    auth: AuthConfig,
    signer: Signer,
    gateways: Vec<Process>,
    workers: Vec<Process>,
    patience: CancellationToken,
    /// Dropped with the cluster: then the parked task ends.
    _clock: mpsc::Sender<()>,
}

impl Deref for Cluster {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// What the cluster's programs know: all that a feature adds.
pub struct Product {
    pub features: Vec<&'static Feature>,
    pub events: Arc<Events>,
    /// Beyond the product's own: name and SQL.
    pub migrations: &'static [(&'static str, &'static str)],
}

impl Default for Product {
    fn default() -> Self {
        Self { features: features::ALL.to_vec(), events: Arc::default(), migrations: &[] }
    }
}

/// One program, as far as it matters here.
struct Process {
    node: NodeId,
    addr: Option<SocketAddr>,
    lifecycle: Lifecycle,
    done: JoinHandle<anyhow::Result<()>>,
}

/// Someone with an account.
#[derive(Clone, Debug)]
pub struct Someone {
    pub person: Person,
    pub login: LoginId,
}

impl Cluster {
    /// Two gateways and one worker. None: this machine lacks what this kind needs, and the story is left out.
    pub async fn start(kind: Kind) -> Option<Self> {
        Self::start_with(kind, Product::default()).await
    }

    /// The same of another product.
    pub async fn start_with(kind: Kind, product: Product) -> Option<Self> {
        let world = World::start(kind, "story").await?;
        if !product.migrations.is_empty() {
            world.store.migrate_with(product.migrations).await.unwrap();
        }
        let patience = CancellationToken::new();
        let (clock, parked) = mpsc::channel::<()>();
        let impatient = patience.clone();
        tokio::task::spawn_blocking(move || {
            if parked.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                impatient.cancel();
            }
        });
        if kind == Kind::Memory {
            tokio::time::pause();
        }
        let auth = AuthConfig::from_env(&mut Env::from_pairs([("CHATCHIT_ENV", "development")]));
        let mut cluster = Self {
            world,
            kind,
            product,
            signer: Signer::new(&auth),
            auth,
            gateways: vec![],
            workers: vec![],
            patience,
            _clock: clock,
        };
        cluster.add_worker().await;
        cluster.add_gateway().await;
        cluster.add_gateway().await;
        Some(cluster)
    }

    /// One more gateway; its index.
    pub async fn add_gateway(&mut self) -> usize {
        let node = NodeId::random();
        let (bus, directory) = self.handles(node).await;
        let mut env = Env::from_pairs([
            ("BIND", "127.0.0.1"),
            ("PORT", "0"),
            ("ADMIN_PORT", "0"),
            ("DRAIN_MS", "0"),
            ("RATE_SOCKET_PER_S", "100000"),
            ("RATE_SOCKET_BURST", "100000"),
            ("RATE_SOCKET_BYTES_PER_S", "1000000000"),
            ("RATE_SOCKET_BYTES_BURST", "1000000000"),
            ("RATE_USER_PER_S", "100000"),
            ("RATE_USER_BURST", "100000"),
            ("CORS_ORIGINS", "https://chat.example"),
        ]);
        let events = Arc::clone(&self.product.events);
        let config = gateway::GatewayConfig { events, ..gateway::GatewayConfig::from_env(&mut env) };
        env.finish().unwrap();
        let verifier = Verifier::new(&self.auth);
        let gateway = Gateway::bind(config, node, bus, directory, verifier).await.unwrap();
        let addr = Some(gateway.addr().unwrap());
        let lifecycle = Lifecycle::manual();
        let done = tokio::spawn(gateway.run(lifecycle.clone()));
        self.gateways.push(Process { node, addr, lifecycle, done });
        self.gateways.len() - 1
    }

    /// One more worker.
    pub async fn add_worker(&mut self) {
        let node = NodeId::random();
        let (bus, directory) = self.handles(node).await;
        let mut env = Env::from_pairs([("CHATCHIT_ENV", "development"), ("ADMIN_PORT", "0")]);
        let config = worker::WorkerConfig::from_env(&mut env);
        env.finish().unwrap();
        let store = Store::connect(&self.url, 4).await.unwrap();
        let features = &self.product.features;
        let worker = Worker::start(&config, features, node, store, bus, directory).await.unwrap();
        let lifecycle = Lifecycle::manual();
        let done = tokio::spawn(worker.run(lifecycle.clone()));
        self.workers.push(Process { node, addr: None, lifecycle, done });
    }

    /// Someone new, with an account and a login.
    pub async fn someone(&self, name: &str) -> Someone {
        let id = self.account(name).await;
        let person = Person {
            id,
            first_name: name.to_owned(),
            last_name: "Person".to_owned(),
            email: format!("{name}@example.org"),
        };
        // Any login does: gateways only know the ended ones.
        Someone { login: LoginId(id.0 + 1_000), person }
    }

    /// A conversation of these people.
    pub async fn conversation(&self, people: &[&Someone]) -> ConversationId {
        let people: Vec<UserId> = people.iter().map(|someone| someone.person.id).collect();
        self.conversation_of(&people).await
    }

    /// A token that ends after so many seconds (or has ended).
    pub fn token(&self, someone: &Someone, seconds: i64) -> String {
        self.token_as(Role::User, someone, seconds)
    }

    /// The same of someone in this role.
    pub fn token_as(&self, role: Role, someone: &Someone, seconds: i64) -> String {
        let now = Timestamp::now();
        let expires_s = now.0 / 1_000 + seconds;
        let (user, login) = (someone.person.id, someone.login);
        let account = Account { user, login, role, expires_s };
        self.signer.sign(&account, &someone.person, now)
    }

    /// Where a gateway listens.
    pub fn addr(&self, gateway: usize) -> SocketAddr {
        self.gateways[gateway].addr.unwrap()
    }

    /// Someone's socket on a gateway, ready.
    pub async fn connect(&self, gateway: usize, someone: &Someone) -> TestClient {
        let token = self.token(someone, 3_600);
        let mut client = self.open(gateway, Some(&token)).await.unwrap();
        client.expect(super::ready()).await;
        client
    }

    /// The same with a small receive buffer in the kernel, for a socket that will not read.
    pub async fn connect_slowly(&self, gateway: usize, someone: &Someone) -> TestClient {
        let header = format!("Authorization: Bearer {}\r\n", self.token(someone, 3_600));
        let (addr, patience) = (self.addr(gateway), self.patience.clone());
        let opened = TestClient::upgrade(addr, "/ws", &header, Some(4_096), patience).await;
        let (mut client, _) = opened.unwrap();
        client.expect(super::ready()).await;
        client
    }

    /// A socket with a token in its request, or none. Err: the status of the refusal.
    pub async fn open(&self, gateway: usize, token: Option<&str>) -> Result<TestClient, u16> {
        TestClient::open(self.addr(gateway), token, self.patience.clone()).await
    }

    /// Friends with one conversation, each on the next gateway, ready.
    pub async fn friends<const N: usize>(&self, names: [&str; N]) -> (ConversationId, [TestClient; N]) {
        let mut people = Vec::new();
        for name in names {
            people.push(self.someone(name).await);
        }
        let conversation = self.conversation(&people.iter().collect::<Vec<_>>()).await;
        let mut clients = Vec::new();
        for (index, someone) in people.iter().enumerate() {
            let mut client = self.connect(index % self.gateways.len(), someone).await;
            client.me = Some(someone.clone());
            clients.push(client);
        }
        (conversation, clients.try_into().ok().unwrap())
    }

    /// Ends a login everywhere, as logging out does.
    pub async fn end_login(&self, someone: &Someone) {
        let (user, login) = (someone.person.id, someone.login);
        self.directory.end_login(login, Duration::from_secs(3_600)).await.unwrap();
        let subject = Subject::new("control.gateways").unwrap();
        let body = protocol::encode(&Control::EndLogin { user, login });
        self.bus.publish(Envelope { subject, key: 0, body }).await.unwrap();
    }

    /// The gateways on which the directory sees this user.
    pub async fn nodes_of(&self, user: UserId) -> Vec<NodeId> {
        self.directory.nodes_of(&[user]).await.unwrap().remove(&user).unwrap_or_default()
    }

    /// The node of a gateway.
    pub fn node(&self, gateway: usize) -> NodeId {
        self.gateways[gateway].node
    }

    /// As with SIGTERM; does not wait.
    pub fn drain(&self, gateway: usize) {
        self.gateways[gateway].lifecycle.drain();
    }

    /// Lets frozen time pass in small steps, so that everything due happens in its order, and no
    /// faster than the database answers: what a worker asks it meanwhile must not be late by this.
    pub async fn pass(&self, duration: Duration) {
        assert_eq!(self.kind, Kind::Memory, "time passes by itself on the real peers");
        const STEP: Duration = Duration::from_millis(100);
        let mut left = duration;
        while left > Duration::ZERO {
            let step = left.min(STEP);
            tokio::time::advance(step).await;
            left -= step;
            self.store.ping().await.unwrap();
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Lets workers look around: frozen time passes a little, on the real peers it does by itself.
    pub async fn a_moment(&self) {
        if self.kind == Kind::Memory {
            self.pass(Duration::from_millis(2 * PRESENCE_TICK_MS)).await;
        }
    }

    /// One wants to hear nothing from the other any more.
    pub async fn blocks(&self, user: UserId, blocked: UserId) {
        let (UserId(user), UserId(blocked)) = (user, blocked);
        self.sql(&format!("insert into blocks (user_id, blocked_id) values ({user}, {blocked})")).await;
    }

    /// Drains everything; fails if something was left behind.
    pub async fn finish(mut self) {
        let nodes: Vec<NodeId> = self.gateways.iter().map(|gateway| gateway.node).collect();
        let processes: Vec<Process> = self.gateways.drain(..).chain(self.workers.drain(..)).collect();
        assert_eq!(self.bus.quarantined(10).await.unwrap(), [], "something was set aside");
        for mut process in processes {
            process.lifecycle.drain();
            loop {
                tokio::select! {
                    done = &mut process.done => break done.unwrap().unwrap(),
                    () = self.patience.cancelled() => panic!("a program did not drain"),
                    () = self.step() => {}
                }
            }
        }
        let live = self.directory.live_nodes().await.unwrap();
        assert!(nodes.iter().all(|node| !live.contains(node)), "a gateway left its lease behind");
    }

    async fn step(&self) {
        match self.kind {
            Kind::Memory => self.pass(Duration::from_millis(100)).await,
            Kind::Real => std::future::pending().await,
        }
    }
}
