//! Start, run, drain.
//!
//! A worker that leaves says so first: its shards go to the others at once. Then it finishes what
//! it works on, gives back what waits, and answers the requests it has begun, within
//! [`WORKER_DRAIN_MS_MAX`]. What it could not finish, or all of it after an abort, comes back from
//! the broker to another worker: nothing depends on a polite end.

use std::time::Duration;

use common::bus::{Arrival, Bus, Envelope, GroupSubscription, Health, Pattern, Subject, Subscription};
use common::control::Ear;
use common::directory::Directory;
use common::health::{Readiness, State};
use common::lanes::share::Roll;
use common::lanes::{Apart, Consumer, Engine};
use common::lifecycle::Lifecycle;
use common::limits::{BEAT_MS, PEERS_WATCH_MS, WORKER_DRAIN_MS_MAX};
use common::recorder::Recorder;
use protocol::control::{Beat, Part, Says};
use protocol::ids::NodeId;
use protocol::{self, Downlink};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::config::Config;
use crate::ctx::Ctx;
use crate::dispatch::Dispatcher;
use crate::features::{self, accounts, presence};
use crate::operator::Desk;
use crate::requests;
use crate::store::Store;

/// Where workers hear each other.
const BEATS_SUBJECT: &str = "control.workers";

/// What REST and `sync` are asked on, and the group that answers.
const REQUESTS_PATTERN: &str = "api.*";
const REQUESTS_GROUP: &str = "api";

/// One worker, in line for everything, not working yet.
pub struct Worker {
    ctx: Ctx,
    readiness: Readiness,
    leaving: CancellationToken,
    finish_lanes: bool,
    consumer: Consumer,
    requests: GroupSubscription,
    beats: Subscription,
    inbox: Subscription,
    ear: Ear,
    live: watch::Sender<Vec<NodeId>>,
}

impl Worker {
    /// Subscribes to everything. The database is expected to be migrated.
    ///
    /// # Errors
    /// The bus or the store did not answer.
    pub async fn start(
        config: &Config,
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
        accounts::look_for_ended_logins(&ctx).await;

        let beats = bus.subscribe(Pattern::from(Subject::new(BEATS_SUBJECT)?)).await?;
        let inbox = bus.subscribe(Pattern::from(Subject::deliver(node))).await?;
        let ear = Ear::open(&bus, node, Part::Worker).await?;
        let requests = bus.queue_subscribe(Pattern::new(REQUESTS_PATTERN)?, REQUESTS_GROUP).await?;
        let (live, heard) = watch::channel(vec![node]);
        let dispatcher = Dispatcher::of(features::ALL);
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
        let finish_lanes = config.finish_lanes;
        Ok(Self { ctx, readiness, leaving, finish_lanes, consumer, requests, beats, inbox, ear, live })
    }

    /// This start of this worker.
    pub fn node(&self) -> NodeId {
        self.ctx.node
    }

    /// For the admin port.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Works until the lifecycle drains, then leaves. The bus stays open: whoever connected it
    /// drains it.
    ///
    /// # Errors
    /// None so far: whatever happens while it works is held, retried or set aside.
    pub async fn run(self, lifecycle: Lifecycle) -> anyhow::Result<()> {
        let Self { ctx, readiness, leaving, finish_lanes, consumer, requests, beats, inbox, ear, live } =
            self;
        let draining = CancellationToken::new();
        let tasks = TaskTracker::new();
        let desk = Desk {
            node: ctx.node,
            recorder: ctx.recorder.clone(),
            views: consumer.views(),
            live: live.subscribe(),
            readiness: readiness.clone(),
            lifecycle: lifecycle.clone(),
        };
        tasks.spawn(consumer.run(draining.clone(), finish_lanes));
        tasks.spawn(requests::serve(ctx.clone(), requests, draining.clone()));
        tasks.spawn(presence::watch(ctx.clone(), draining.clone()));
        tasks.spawn(accounts::watch_ended_logins(ctx.clone(), draining.clone()));
        let helpers = TaskTracker::new();
        let over = CancellationToken::new();
        helpers.spawn(over.clone().run_until_cancelled_owned(hear_answers(ctx.clone(), inbox)));
        helpers.spawn(over.clone().run_until_cancelled_owned(watch_bus(ctx.bus.clone(), readiness.clone())));
        helpers.spawn(over.clone().run_until_cancelled_owned(watch_peers(ctx.clone(), readiness.clone())));
        helpers.spawn(over.clone().run_until_cancelled_owned(desk.listen(ear)));
        let roll_call = roll_call(ctx.clone(), beats, live);
        helpers.spawn(draining.clone().run_until_cancelled_owned(roll_call));
        info!(node.id = %ctx.node, "Worker up");

        lifecycle.draining().await;
        info!(node.id = %ctx.node, "Draining");
        readiness.set("worker", Err("draining".into()));
        draining.cancel();
        say(&ctx, Says::Bye).await;
        tasks.close();
        tokio::select! {
            done = timeout(Duration::from_millis(WORKER_DRAIN_MS_MAX), tasks.wait()) => if done.is_err() {
                warn!("What is under way did not end in time; it goes back to the lanes");
            },
            () = lifecycle.aborting() => warn!("Aborting; what is under way goes back to the lanes"),
        }
        leaving.cancel();
        over.cancel();
        helpers.close();
        helpers.wait().await;
        info!(node.id = %ctx.node, "Worker gone");
        Ok(())
    }
}

/// Says each second that this worker is there, and tells the consumer who else is.
async fn roll_call(ctx: Ctx, mut beats: Subscription, live: watch::Sender<Vec<NodeId>>) {
    let mut roll = Roll::new(ctx.node);
    let mut ticks = interval(Duration::from_millis(BEAT_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    say(&ctx, Says::Hello).await;
    loop {
        let known = roll.live(Instant::now());
        tokio::select! {
            arrival = beats.next() => match arrival {
                Some(Arrival::Envelopes(envelopes)) => {
                    for envelope in envelopes {
                        let Ok(beat) = protocol::decode::<Beat>(&envelope.body) else { continue };
                        if beat.node == ctx.node {
                            continue;
                        }
                        roll.on_beat(beat, Instant::now());
                        if beat.says == Says::Hello {
                            say(&ctx, Says::Here).await;
                        }
                    }
                    // A change is told at once; that nothing changed, with the next tick.
                    let heard = roll.live(Instant::now());
                    if heard != known {
                        live.send_replace(heard);
                    }
                }
                Some(Arrival::Lapse) => roll.on_lapse(Instant::now()),
                None => return,
            },
            _ = ticks.tick() => {
                say(&ctx, Says::Here).await;
                live.send_replace(roll.live(Instant::now()));
            }
        }
    }
}

/// Beats are transient, and one more comes in a second: a bus that is away is not waited for.
async fn say(ctx: &Ctx, says: Says) {
    let body = protocol::encode(&Beat { node: ctx.node, says });
    let Ok(subject) = Subject::new(BEATS_SUBJECT) else { return };
    if let Err(err) = ctx.bus.publish(Envelope { subject, key: 0, body }).await {
        tracing::debug!("A beat was not taken: {err}");
    }
}

/// Answers to what the API put on a lane come back like those of any socket.
async fn hear_answers(ctx: Ctx, mut inbox: Subscription) {
    while let Some(arrival) = inbox.next().await {
        let Arrival::Envelopes(envelopes) = arrival else { continue };
        for envelope in envelopes {
            match protocol::decode::<Downlink<'_>>(&envelope.body) {
                Ok(downlink) => ctx.desk.answers.hear(&downlink),
                Err(err) => warn!("A delivery cannot be read: {err}"),
            }
        }
    }
}

/// Keeps the readiness report's line about the bus.
async fn watch_bus(bus: Bus, readiness: Readiness) {
    let mut health = bus.health();
    loop {
        let state = match *health.borrow_and_update() {
            Health::Up => State::Ok,
            // An alarm of the whole broker: other workers can do no more than this one.
            Health::Blocked => State::Degraded("the broker refuses publishes".to_owned()),
            Health::Down => State::Down("there is no connection to the broker".to_owned()),
        };
        readiness.report_as("bus", state);
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps the lines about the other peers: also of a worker that has nothing to do.
async fn watch_peers(ctx: Ctx, readiness: Readiness) {
    let mut ticks = interval(Duration::from_millis(PEERS_WATCH_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        ctx.store.measure();
        readiness.set("store", ctx.store.ping().await.map_err(|err| err.to_string()));
        readiness.set("directory", ctx.directory.live_nodes().await.map(drop).map_err(|err| err.to_string()));
    }
}
