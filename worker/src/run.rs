//! Start, run, drain.
//!
//! A draining worker announces it first: its shards go to the others at once. Then it finishes its work
//! in progress, gives back the waiting batches, and answers the requests it has begun, within
//! [`WORKER_DRAIN_MS_MAX`]. Work that it could not finish, or all of it after an abort, comes back from
//! the broker to another worker: nothing depends on a clean end.

use std::sync::Arc;
use std::time::Duration;

use common::bus::{Arrival, Bus, GroupSubscription, Pattern, Subject, Subscription};
use common::control::Ear;
use common::directory::Directory;
use common::health::Readiness;
use common::lanes::{Apart, Consumer, Engine};
use common::lifecycle::Lifecycle;
use common::limits::WORKER_DRAIN_MS_MAX;
use common::recorder::Recorder;
use common::roster::Roster;
use protocol::control::{Part, Says};
use protocol::ids::NodeId;
use protocol::{self, Downlink};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::config::WorkerConfig;
use crate::ctx::Ctx;
use crate::dispatch::Dispatcher;
use crate::feature::{Feature, Hear, Task};
use crate::operator::Inspector;
use crate::peers;
use crate::requests::{self, Answerer};
use crate::rest::{Pools, RestState};
use crate::roll_call::{self, BEATS_SUBJECT};
use crate::store::Store;

/// The subjects of requests, and the group that answers them.
const REQUESTS_PATTERN: &str = "api.*";
const REQUESTS_GROUP: &str = "api";

/// One worker that stands by for all lanes, and does not work yet.
pub struct Worker {
    ctx: Ctx,
    readiness: Readiness,
    leaving: CancellationToken,
    finish_lanes: bool,
    consumer: Consumer,
    requests: GroupSubscription,
    rest: Arc<RestState>,
    answerer: Answerer,
    background: Vec<Task>,
    hears: Vec<Hear>,
    beats: Subscription,
    inbox: Subscription,
    ear: Ear,
    live: watch::Sender<Vec<NodeId>>,
}

impl Worker {
    /// Subscribes to everything. The database is expected to be migrated; the features are
    /// [`ALL`](crate::features::ALL) of the product.
    ///
    /// # Errors
    /// The bus or the store did not answer.
    pub async fn start(
        config: &WorkerConfig,
        features: &[&'static Feature],
        node: NodeId,
        store: Store,
        bus: Bus,
        directory: Directory,
    ) -> anyhow::Result<Self> {
        let readiness = Readiness::new("worker", node);
        let leaving = CancellationToken::new();
        let recorder = Recorder::new(config.trace_messages);
        let ctx = Ctx { recorder, ..Ctx::new(node, store, directory, bus.clone(), &config.auth) };
        ctx.store.ping().await?;
        for prepare in features.iter().flat_map(|feature| feature.prepares) {
            prepare(&ctx).await;
        }

        let beats = bus.subscribe(Pattern::from(Subject::new(BEATS_SUBJECT)?)).await?;
        let inbox = bus.subscribe(Pattern::from(Subject::deliver(node))).await?;
        let ear = Ear::open(&bus, node, Part::Worker).await?;
        let requests = bus.queue_subscribe(Pattern::new(REQUESTS_PATTERN)?, REQUESTS_GROUP).await?;
        let (live, heard) = watch::channel(vec![node]);
        let dispatcher = Dispatcher::of(features);
        let engine = Engine {
            node,
            fanout: ctx.fanout(),
            events: dispatcher.events(),
            readiness: readiness.clone(),
            apart: Apart::default(),
            leaving: leaving.clone(),
            handle: dispatcher.into_handle(ctx.clone()),
        };
        let consumer = Consumer::start(engine, config.slots, heard).await?;
        let pools = Pools { cheap: config.store_connections_rest, heavy: config.store_connections_heavy };
        let rest = Arc::new(RestState::new(&ctx, features.iter().flat_map(|feature| feature.routes), pools)?);
        Ok(Self {
            ctx,
            readiness,
            leaving,
            finish_lanes: config.finish_lanes,
            consumer,
            requests,
            answerer: Answerer::of(features, Arc::clone(&rest)),
            rest,
            background: features.iter().flat_map(|feature| feature.tasks).copied().collect(),
            hears: features.iter().flat_map(|feature| feature.hears).copied().collect(),
            beats,
            inbox,
            ear,
            live,
        })
    }

    /// This start of this worker.
    pub fn node(&self) -> NodeId {
        self.ctx.node
    }

    /// For the admin port.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Works until the lifecycle drains, then leaves. The bus stays open: the program that connected it
    /// drains it.
    ///
    /// # Errors
    /// None so far: work that fails is held, retried or set aside.
    pub async fn run(self, lifecycle: Lifecycle) -> anyhow::Result<()> {
        let Self {
            ctx,
            readiness,
            leaving,
            finish_lanes,
            consumer,
            requests,
            rest,
            answerer,
            background,
            hears,
            beats,
            inbox,
            ear,
            live,
        } = self;
        let draining = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (views, seen) = (consumer.views(), consumer.views());
        let inspector = Inspector {
            node: ctx.node,
            recorder: ctx.recorder.clone(),
            views,
            live: live.subscribe(),
            readiness: readiness.clone(),
            lifecycle: lifecycle.clone(),
        };
        tasks.spawn(consumer.run(draining.clone(), finish_lanes));
        tasks.spawn(requests::serve(answerer, requests, draining.clone()));
        for task in background {
            tasks.spawn(task(ctx.clone(), draining.clone()));
        }
        let watches = TaskTracker::new();
        let over = CancellationToken::new();
        watches.spawn(over.clone().run_until_cancelled_owned(hear_deliveries(ctx.clone(), hears, inbox)));
        watches.spawn(
            over.clone().run_until_cancelled_owned(common::peers::bus(ctx.bus.clone(), readiness.clone())),
        );
        watches.spawn(over.clone().run_until_cancelled_owned(peers::store(
            ctx.clone(),
            rest,
            readiness.clone(),
        )));
        watches
            .spawn(over.clone().run_until_cancelled_owned(peers::directory(ctx.clone(), readiness.clone())));
        let shards = peers::shards(seen, ctx.bus.clone(), readiness.clone());
        watches.spawn(over.clone().run_until_cancelled_owned(shards));
        watches.spawn(over.clone().run_until_cancelled_owned(inspector.listen(ear)));
        let roll_call = roll_call::answer(ctx.clone(), readiness.clone(), beats, live);
        watches.spawn(draining.clone().run_until_cancelled_owned(roll_call));
        let roster = Roster::new(ctx.node, Part::Worker, &ctx.directory, ctx.signer.secret_digest());
        watches.spawn(draining.clone().run_until_cancelled_owned(roster.keep(readiness.clone())));
        info!(node.id = %ctx.node, "Worker up");

        lifecycle.draining().await;
        info!(node.id = %ctx.node, "Draining");
        readiness.set("worker", Err("draining".into()));
        draining.cancel();
        roll_call::say(&ctx, Says::Bye).await;
        tasks.close();
        tokio::select! {
            done = timeout(Duration::from_millis(WORKER_DRAIN_MS_MAX), tasks.wait()) => if done.is_err() {
                warn!("Work in progress did not end in time: it goes back to the lanes");
            },
            () = lifecycle.aborting() => warn!("Aborting: work in progress goes back to the lanes"),
        }
        leaving.cancel();
        over.cancel();
        watches.close();
        watches.wait().await;
        info!(node.id = %ctx.node, "Worker gone");
        Ok(())
    }
}

/// Answers to what a route put on a lane come back like those of any socket.
async fn hear_deliveries(ctx: Ctx, hears: Vec<Hear>, mut inbox: Subscription) {
    while let Some(arrival) = inbox.next().await {
        let Arrival::Envelopes(envelopes) = arrival else { continue };
        for envelope in envelopes {
            match protocol::decode::<Downlink<'_>>(&envelope.body) {
                Ok(downlink) => hears.iter().for_each(|hear| hear(&ctx, &downlink)),
                Err(err) => warn!("A delivery cannot be read: {err}"),
            }
        }
    }
}
