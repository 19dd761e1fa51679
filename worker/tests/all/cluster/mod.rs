//! A cluster for stories about the worker: a fresh database, workers that can be killed, and
//! listeners in the place of gateways. On the memory bus and directory, or on the real ones.

#![allow(dead_code, reason = "each story uses its part")]

/// A line that can be cut.
pub mod proxy;

use std::collections::VecDeque;
use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;
use common::bus::{Arrival, Bus, Envelope, Pattern, PublishError, Subject, Subscription};
use common::config::Env;
use common::health::Readiness;
use common::lifecycle::Lifecycle;
use protocol::events::Events;
use protocol::events::message::SendMessage;
use protocol::ids::{ConversationId, NodeId, SocketId, UserId};
use protocol::{self, Downlink, Recipients, Sender, Timestamp, Uplink, Urgency};
use serde_json::Value;
use testing::{Kind, World};
use tokio::sync::oneshot;
use tokio::time::timeout;
use worker::store::Store;
use worker::{Worker, WorkerConfig};

/// Says to a listener that all before it has come.
const FENCE: &[u8] = b"a fence";

/// Longer than anything here takes; a story that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A world, and what can be started in it.
pub struct Cluster(World);

impl Deref for Cluster {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0
    }
}

impl Cluster {
    /// None: this machine lacks what this kind needs, and the story is left out.
    pub async fn start(kind: Kind) -> Option<Self> {
        World::start(kind, "worker").await.map(Self)
    }

    /// An account.
    pub async fn person(&self, name: &str) -> UserId {
        self.account(name).await
    }

    /// A conversation of these people.
    pub async fn conversation(&self, people: &[UserId]) -> ConversationId {
        self.conversation_of(people).await
    }

    /// A worker with a runtime of its own, so that it can die like a process.
    pub async fn worker(&self) -> Process {
        self.worker_with(&self.url, |_| {}).await
    }

    /// A worker that reaches PostgreSQL by another way, or is configured otherwise.
    pub async fn worker_with(
        &self,
        url: &str,
        change: impl FnOnce(&mut WorkerConfig) + Send + 'static,
    ) -> Process {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let lifecycle = Lifecycle::manual();
        let (up, is_up) = oneshot::channel();
        let node = NodeId::random();
        let handles = self.handles(node);
        let (url, life) = (url.to_owned(), lifecycle.clone());
        let done = runtime.spawn(async move {
            let (bus, directory) = handles.await;
            let mut env = Env::from_pairs([("CHATCHIT_ENV", "development")]);
            let mut config = WorkerConfig::from_env(&mut env);
            env.finish().unwrap();
            change(&mut config);
            let store = Store::connect(&url, config.store_connections).await.unwrap();
            let worker =
                Worker::start(&config, worker::features::ALL, node, store, bus, directory).await.unwrap();
            up.send(worker.readiness()).unwrap();
            worker.run(life).await.unwrap();
        });
        let readiness = timeout(PATIENCE, is_up).await.unwrap().unwrap();
        Process { runtime: Some(runtime), lifecycle, done: Some(done), readiness }
    }

    /// A listener in the place of a gateway that holds sockets of these users.
    pub async fn gateway(&self, users: &[UserId]) -> Gateway {
        let node = NodeId::random();
        let inbox = self.bus.subscribe(Pattern::from(Subject::deliver(node))).await.unwrap();
        self.directory.keep_node(node).await.unwrap();
        self.directory.seat(node, users).await.unwrap();
        let directory = self.directory.clone();
        let lease = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(2));
            loop {
                ticks.tick().await;
                // A lease that is late shows in what the story misses.
                let _ = directory.keep_node(node).await;
            }
        });
        let bus = self.bus.clone();
        Gateway { node, bus, inbox, heard: VecDeque::new(), is_fenced: true, lease }
    }

    /// Puts events on their lanes, in order, and waits until the bus has them.
    pub async fn publish(&self, uplinks: impl IntoIterator<Item = Uplink>) {
        self.publish_raw(uplinks.into_iter().map(|uplink| envelope(&uplink))).await;
    }

    /// The same with envelopes. On a busy machine a confirm may be late; the envelope is in the
    /// window then, and arrives: what does not is missed by the story.
    pub async fn publish_raw(&self, envelopes: impl IntoIterator<Item = Envelope>) {
        let (taken, mut outcomes) = tokio::sync::mpsc::channel(100_000);
        let mut count = 0;
        for envelope in envelopes {
            let taken = taken.clone();
            self.bus.enqueue(envelope, Box::new(move |outcome| taken.try_send(outcome).unwrap()));
            count += 1;
        }
        for _ in 0..count {
            let outcome = timeout(PATIENCE, outcomes.recv()).await.unwrap().unwrap();
            assert!(matches!(outcome, Ok(()) | Err(PublishError::Busy)), "{outcome:?}");
        }
    }
}

/// A worker that can be drained or killed.
pub struct Process {
    runtime: Option<tokio::runtime::Runtime>,
    lifecycle: Lifecycle,
    done: Option<tokio::task::JoinHandle<()>>,
    pub readiness: Readiness,
}

impl Process {
    /// As with SIGTERM: returns when it has left.
    pub async fn drain(mut self) {
        self.lifecycle.drain();
        timeout(PATIENCE, self.done.take().unwrap()).await.unwrap().unwrap();
    }

    /// As with SIGKILL: nothing of it runs any further.
    pub fn kill(self) {}
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a gateway was told.
pub struct Gateway {
    pub node: NodeId,
    bus: Bus,
    inbox: Subscription,
    heard: VecDeque<Heard>,
    /// The fence that was sent last has come.
    is_fenced: bool,
    lease: tokio::task::JoinHandle<()>,
}

/// One delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    pub event: String,
    pub data: Value,
    pub to: Recipients,
    pub urgency: Urgency,
}

impl Gateway {
    /// Who speaks, from a socket of this gateway.
    pub fn sender(&self, user: UserId, serial: u64) -> Sender {
        Sender { user, socket: Some(SocketId { node: self.node, serial }) }
    }

    /// The next delivery.
    pub async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return heard;
            }
            self.listen().await;
        }
    }

    async fn listen(&mut self) {
        let arrival = timeout(PATIENCE, self.inbox.next()).await.expect("something is heard in time");
        let Some(Arrival::Envelopes(envelopes)) = arrival else { panic!("the inbox lapsed or closed") };
        self.hear(&envelopes);
    }

    /// Who comes and goes is told whenever a worker has looked; gateways' stories are about that.
    fn hear(&mut self, envelopes: &[Envelope]) {
        let is_presence =
            |heard: &Heard| ["userOnline", "userOffline", "listOnline"].contains(&heard.event.as_str());
        for envelope in envelopes {
            if envelope.body == FENCE {
                self.is_fenced = true;
            } else {
                self.heard.extend(Some(read(envelope)).filter(|heard| !is_presence(heard)));
            }
        }
    }

    /// The next deliveries until one is this event, that one last.
    pub async fn until(&mut self, event: &str) -> Heard {
        loop {
            let heard = self.next().await;
            if heard.event == event {
                return heard;
            }
        }
    }

    /// So many deliveries of this event; the others are passed over.
    pub async fn count(&mut self, event: &str, count: usize) -> Vec<Heard> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            all.push(self.until(event).await);
        }
        all
    }

    /// What has been delivered so far and was not looked at. Call it when the worker has drained: all that it delivers is with
    /// the bus then, and comes before the fence that is sent now.
    pub async fn rest(&mut self) -> Vec<Heard> {
        let fence =
            Envelope { subject: Subject::deliver(self.node), key: 0, body: Bytes::from_static(FENCE) };
        self.bus.publish(fence).await.unwrap();
        self.is_fenced = false;
        while !self.is_fenced {
            self.listen().await;
        }
        self.heard.drain(..).collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.lease.abort();
    }
}

fn read(envelope: &Envelope) -> Heard {
    let downlink: Downlink<'_> = protocol::decode(&envelope.body).unwrap();
    Heard {
        event: downlink.event.to_owned(),
        data: serde_json::from_str(downlink.data).unwrap(),
        to: downlink.to.clone(),
        urgency: downlink.urgency,
    }
}

/// An envelope as a gateway writes it.
pub fn envelope(uplink: &Uplink) -> Envelope {
    let lane = Events::default().find(&uplink.event).unwrap().way.lane().unwrap();
    let subject = Subject::on_lane(lane, &uplink.event).unwrap();
    Envelope { subject, key: uplink.key(), body: protocol::encode(uplink) }
}

/// `sendMessage` as a gateway accepted it.
pub fn says(from: Sender, conversation: ConversationId, guid: &str, content: &str) -> Uplink {
    let data = serde_json::json!({ "conversationId": conversation, "guid": guid, "content": content });
    Uplink::of::<SendMessage>(from, Timestamp::now(), &data.to_string()).unwrap()
}

/// Runs a story on both kinds.
#[macro_export]
macro_rules! on_both {
    ($($(#[$doc:meta])* $story:ident;)*) => {
        mod memory {
            $($(#[$doc])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                if let Some(cluster) = $crate::cluster::Cluster::start(testing::Kind::Memory).await {
                    super::$story(cluster).await;
                }
            })*
        }
        mod real {
            $($(#[$doc])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                if let Some(cluster) = $crate::cluster::Cluster::start(testing::Kind::Real).await {
                    super::$story(cluster).await;
                }
            })*
        }
    };
}
