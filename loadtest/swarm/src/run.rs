//! One run, from set-up to verdict: the conductor. The sockets run on their own threads.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::evidence::{Conversation, Evidence, Record, Row, View};
use crate::form::Form;
use crate::guid::Run;
use crate::judge::judge;
use crate::options::{Forms, Options};
use crate::plan::{Load, Plan, mix};
use crate::player::Player;
use crate::report::Report;
use crate::rest::Rest;
use crate::setup::{self, User};
use crate::socket::{CONNECTING_MAX, Phase, READ_BYTES, Shared, Socket};
use crate::tally::{Progress, Tally};

/// Interval of the conductor's checks.
const LOOK: Duration = Duration::from_millis(20);
/// Accounts that idle sockets share.
const IDLE_USERS_MAX: u32 = 32;

/// Points of a run that a caller may want to measure between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// All sockets are open, and nothing has been sent.
    Opened,
    /// All messages are sent and acknowledged, or the time is over.
    Sent,
    /// All messages are delivered, or no more arrive.
    Settled,
}

/// Runs and judges. Blocks; must not be called from within a runtime.
///
/// # Errors
/// The run could not be set up.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    run_watched(options, |_, _| {})
}

/// Like [`run`], and calls `watch` at each [`Moment`].
///
/// # Errors
/// The run could not be set up.
pub fn run_watched(options: &Options, watch: impl FnMut(Moment, &Progress)) -> anyhow::Result<Report> {
    options.check()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(conduct(options, watch))
}

async fn conduct(options: &Options, watch: impl FnMut(Moment, &Progress)) -> anyhow::Result<Report> {
    let deadline = Instant::now() + Duration::from_secs(options.deadline_s);
    let active = active(options);
    let setup = async {
        let mut users = setup::users(options, active).await?;
        let conversations = setup::conversations(options, &users).await?;
        users.extend(setup::bystanders(options, active, options.sockets.min(IDLE_USERS_MAX)).await?);
        anyhow::Ok((users, conversations))
    };
    let (users, conversations) = timeout_at(deadline, setup).await.context("the set-up took too long")??;
    let mut played = play_within(options, &users, &conversations, watch).await?;
    histories(options, played.run, &users, &conversations, &mut played.evidence).await?;
    Ok(played.report())
}

/// The number of users that take part.
fn active(options: &Options) -> u32 {
    options.senders.max(if options.conversations > 0 { options.members } else { 0 })
}

/// A run that was played and not judged yet.
struct Played {
    run: Run,
    sockets: usize,
    open_s: f64,
    start_us: u64,
    tally: Tally,
    evidence: Evidence,
}

impl Played {
    fn report(&self) -> Report {
        Report::new(self.sockets, self.open_s, self.start_us, judge(&self.evidence), &self.tally)
    }
}

/// Plays with accounts and conversations that the caller made (or made up, for a gateway that
/// has no worker behind it). No history is read: the verdict is never clean.
///
/// # Errors
/// The sockets do not open.
pub fn play(
    options: &Options,
    users: &[User],
    conversations: &[setup::Conversation],
    watch: impl FnMut(Moment, &Progress),
) -> anyhow::Result<Report> {
    options.check()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(play_within(options, users, conversations, watch))?.report())
}

async fn play_within(
    options: &Options,
    users: &[User],
    conversations: &[setup::Conversation],
    mut watch: impl FnMut(Moment, &Progress),
) -> anyhow::Result<Played> {
    let origin = Instant::now();
    let deadline = origin + Duration::from_secs(options.deadline_s);
    let run = Run::new(protocol::Timestamp::now().0.unsigned_abs(), run_seed(options.seed));
    let plans = plans(options, run, conversations)?;
    let sockets = plans.len();
    let progress = Arc::new(Progress::default());
    let (phase, phases) = watch::channel(Phase::Open);
    let mut threads = vec![];
    for thread in 0..options.threads {
        let mine: Vec<_> = plans
            .iter()
            .enumerate()
            .filter(|(at, _)| at % options.threads == thread)
            .map(|(at, plan)| (at as u64, plan.clone(), users[plan.user as usize].token.clone()))
            .collect();
        let (options, progress, phases) = (options.clone(), progress.clone(), phases.clone());
        let work = move || players(&options, origin, progress, phases, mine);
        threads.push(std::thread::Builder::new().name(format!("swarm-{thread}")).spawn(work)?);
    }
    drop(phases);

    let all_open = || progress.open.load(Relaxed) >= sockets as i64;
    let opened = look_until(Instant::now() + Duration::from_secs(options.connect_s), all_open).await;
    let (open, open_s) = (progress.open.load(Relaxed), origin.elapsed().as_secs_f64());
    let mut started = Instant::now();
    if opened {
        watch(Moment::Opened, &progress);
        started = Instant::now() + Duration::from_millis(20);
        send(options, origin, started, deadline, &phase, &progress).await;
        watch(Moment::Sent, &progress);
        settle(options, deadline, &progress).await;
        watch(Moment::Settled, &progress);
        phase.send_replace(Phase::Sync);
        let all_synced = || progress.synced.load(Relaxed) >= sockets as u64;
        look_until(Instant::now() + Duration::from_secs(options.sync_s), all_synced).await;
    }
    phase.send_replace(Phase::Stop);
    let mut tally = Tally::new();
    let of = |one: &setup::Conversation| Conversation { id: one.id, views: vec![], history: None };
    let conversations = conversations.iter().map(of).collect();
    let mut evidence = Evidence { conversations, records: vec![vec![]; users.len()] };
    for thread in threads {
        let Ok(result) = thread.join() else { bail!("a thread of the generator panicked") };
        let (counted, seen) = result?;
        tally.add(&counted);
        for (user, records, views) in seen {
            evidence.records[user as usize].extend(records);
            for (conversation, view) in views {
                evidence.conversations[conversation as usize].views.push((user, view));
            }
        }
    }
    if !opened {
        bail!("{open} of {sockets} sockets opened within {} s; {:?}", options.connect_s, tally.counts);
    }
    let start_us = (started - origin).as_micros() as u64;
    Ok(Played { run, sockets, open_s, start_us, tally, evidence })
}

/// Lets the senders send until they are through or the time is over.
async fn send(
    options: &Options,
    origin: Instant,
    started: Instant,
    deadline: Instant,
    phase: &watch::Sender<Phase>,
    progress: &Progress,
) {
    let start_us = (started - origin).as_micros() as u64;
    let stop_us = options.seconds.map_or(u64::MAX, |seconds| start_us + seconds * 1_000_000);
    phase.send_replace(Phase::Send { start_us, stop_us });
    if options.senders > 0 {
        look_until(deadline, || progress.through.load(Relaxed) >= u64::from(options.senders)).await;
    } else if let Some(seconds) = options.seconds {
        look_until(deadline.min(started + Duration::from_secs(seconds)), || false).await;
    }
}

fn plans(options: &Options, run: Run, conversations: &[setup::Conversation]) -> anyhow::Result<Vec<Plan>> {
    let active = active(options);
    let mut of_user = vec![vec![]; active as usize];
    for (index, conversation) in conversations.iter().enumerate() {
        for member in &conversation.members {
            of_user[*member as usize].push((
                index as u32,
                conversation.id,
                conversation.members.len() as u32,
            ));
        }
    }
    let senders = u64::from(options.senders.max(1));
    let total = options.messages.unwrap_or(u64::from(u32::MAX));
    let idle = Plan {
        run,
        user: 0,
        conversations: vec![],
        load: Load::Silent,
        messages: 0,
        pipeline: options.pipeline,
        bytes: options.bytes,
        resend_us: options.resend_ms * 1_000,
        seed: 0,
    };
    let mut plans = vec![];
    for (user, conversations) in (0_u32..).zip(of_user) {
        let index = u64::from(user);
        let sends = user < options.senders;
        if sends && conversations.is_empty() {
            bail!("sender {user} is in no conversation: more --conversations or --members");
        }
        let load = match options.rate {
            _ if !sends => Load::Silent,
            None => Load::Flat { window: options.window },
            Some(rate) => Load::Open {
                interval_us: ((senders as f64 / rate) * 1e6) as u64,
                phase_us: (index as f64 / rate * 1e6) as u64,
            },
        };
        // The first senders take what does not divide.
        let messages = total / senders + u64::from(index < total % senders);
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        let seed = mix(options.seed ^ mix(index));
        plans.push(Plan { user, conversations, load, messages, seed, ..idle.clone() });
    }
    let idle_users = options.sockets.clamp(1, IDLE_USERS_MAX);
    for serial in 0..options.sockets {
        plans.push(Plan { user: active + serial % idle_users, ..idle.clone() });
    }
    Ok(plans)
}

type Seen = (u32, Vec<Record>, Vec<(u32, View)>);

/// One thread: all its sockets until the conductor says stop.
fn players(
    options: &Options,
    origin: Instant,
    progress: Arc<Progress>,
    phases: watch::Receiver<Phase>,
    plans: Vec<(u64, Plan, String)>,
) -> anyhow::Result<(Tally, Vec<Seen>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let shared = Rc::new(Shared {
        urls: options.urls.clone(),
        origin,
        phase: phases,
        progress: progress.clone(),
        tally: RefCell::new(Tally::new()),
        connecting: Semaphore::new(CONNECTING_MAX),
        buffer: RefCell::new(vec![0; READ_BYTES]),
    });
    let mut players = vec![];
    for (serial, plan, token) in plans {
        let form = match options.form {
            Forms::Native => Form::Native,
            Forms::SocketIo => Form::SocketIo,
            Forms::Both if (serial / options.urls.len() as u64).is_multiple_of(2) => Form::Native,
            Forms::Both => Form::SocketIo,
        };
        let player = Rc::new(RefCell::new(Player::new(plan, progress.clone())));
        players.push(player.clone());
        let socket = Socket {
            shared: shared.clone(),
            player,
            form,
            token,
            serial,
            fetched: Rc::new(Notify::new()),
            fetching: Rc::new(Cell::new(false)),
        };
        local.spawn_local(socket.run());
    }
    runtime.block_on(local);
    let seen = players
        .into_iter()
        .filter_map(Rc::into_inner)
        .map(|player| player.into_inner().into_evidence())
        .collect();
    let shared = Rc::into_inner(shared).context("all tasks of the thread have ended")?;
    Ok((shared.tally.into_inner(), seen))
}

/// Waits until all deliveries were seen, or nothing moves any more.
async fn settle(options: &Options, deadline: Instant, progress: &Progress) {
    let patience = Duration::from_secs(options.settle_s);
    let (mut mark, mut moved) = (progress.mark(), Instant::now());
    let is_complete = || {
        let acknowledged = progress.acknowledged.load(Relaxed);
        progress.processed.load(Relaxed) >= acknowledged
            && progress.shown.load(Relaxed) >= progress.expected.load(Relaxed)
    };
    while !is_complete() && moved.elapsed() < patience && Instant::now() < deadline {
        sleep(LOOK).await;
        if progress.mark() != mark {
            (mark, moved) = (progress.mark(), Instant::now());
        }
    }
}

async fn look_until(deadline: Instant, is_so: impl Fn() -> bool) -> bool {
    while !is_so() {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(LOOK).await;
    }
    true
}

/// Reads all histories; one that cannot be read stays None.
async fn histories(
    options: &Options,
    run: Run,
    users: &[User],
    conversations: &[setup::Conversation],
    evidence: &mut Evidence,
) -> anyhow::Result<()> {
    let calls = conversations.iter().enumerate().map(|(index, conversation)| {
        let (id, token) = (conversation.id, users[conversation.members[0] as usize].token.clone());
        let mut rest = Rest::new(&options.urls, index);
        async move {
            let mut rows = vec![];
            let read = setup::history(&mut rest, &token, id, 1, |page| {
                for row in page["result"].as_array().into_iter().flatten() {
                    let guid = row["guid"].as_str().unwrap_or_default();
                    rows.push(Row {
                        seq: row["seq"].as_u64().unwrap_or(0),
                        key: run.key(guid),
                        id: row["id"].as_i64().unwrap_or(0),
                    });
                }
            });
            Ok(read.await.is_ok().then_some(rows))
        }
    });
    for (conversation, history) in evidence.conversations.iter_mut().zip(setup::at_once(calls).await?) {
        conversation.history = history;
    }
    Ok(())
}

/// A seed that differs for each run, also within one process.
fn run_seed(seed: u64) -> u64 {
    let now = protocol::Timestamp::now().0.unsigned_abs();
    mix(seed ^ mix(now ^ u64::from(std::process::id()) << 44))
}
