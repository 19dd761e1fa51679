//! G12: messages beside ten times as many typing events, which people's second devices send.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use swarm::form::{Form, Writer};
use swarm::options::{Address, Options};
use swarm::run::{Moment, run_watched};
use swarm::setup::{self, User};
use swarm::socket::upgrade;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::{MissedTickBehavior, interval};

use crate::cluster::{Cluster, Places};
use crate::outcome::{Outcome, Target, median, number};
use crate::rows::chain;

const PASSES: usize = 3;
const SECONDS: u64 = 8;
/// Messages per second, and how many times as many typing events.
const RATE_PER_S: f64 = 500.0;
const TIMES: f64 = 10.0;
/// Time between two lots of typing events of one socket.
const TICK: Duration = Duration::from_millis(20);

/// G12. Blocks.
///
/// # Errors
/// A program does not do its part, or the judge convicts.
pub fn run(places: &Places, runtime: &Runtime, outcome: &mut Outcome) -> anyhow::Result<()> {
    let cluster = runtime.block_on(Cluster::start(places, chain::PREFIX, true))?;
    let mut options = chain::options(places, &cluster);
    options.rate = Some(RATE_PER_S);
    options.seconds = Some(SECONDS);
    let people = runtime.block_on(setup::users(&options, options.senders))?;
    let conversations = runtime.block_on(setup::conversations(&options, &people))?;
    // Each types in the conversations that it began.
    let typists: Vec<Typist> = people
        .iter()
        .enumerate()
        .map(|(at, user)| {
            let began = conversations.iter().filter(|conversation| conversation.members[0] as usize == at);
            Typist { user: user.clone(), conversations: began.map(|conversation| conversation.id).collect() }
        })
        .filter(|typist| !typist.conversations.is_empty())
        .collect();
    ensure!(!typists.is_empty(), "nobody began a conversation");

    let (mut quiet, mut loud, mut typed, mut worked) = ([vec![], vec![]], [vec![], vec![]], vec![], vec![]);
    for pass in 0..=PASSES {
        crate::say(&format!("  pass {pass} of {PASSES} ..."));
        let alone = talk(&options, None)?;
        let before = runtime.block_on(low_events(&cluster))?;
        let flood = Flood::of(&cluster.gateway().address, &typists);
        let beside = talk(&options, Some(&flood))?;
        let seen = runtime.block_on(low_events(&cluster))? - before;
        // The first pass warms up.
        if pass > 0 {
            for (of, latency) in [(&mut quiet, alone), (&mut loud, beside)] {
                of[0].push(latency[0]);
                of[1].push(latency[1]);
            }
            typed.push(flood.typed.load(Relaxed) as f64 / SECONDS as f64);
            worked.push(seen / SECONDS as f64);
        }
    }
    let ([quiet_p99, quiet_p50], [loud_p99, loud_p50]) = (quiet.map(median), loud.map(median));
    outcome.found(
        "G12",
        "p99 of a message, due → shown to a member, beside ten times as many typing events, held against without them",
        loud_p99 / quiet_p99,
        Target::Most(1.5, "×"),
        format!(
            "{} ms ÷ {} ms (p50: {} and {} ms), at {}/s with {} typing events per second, of which {} were worked on",
            number(loud_p99),
            number(quiet_p99),
            number(loud_p50),
            number(quiet_p50),
            number(RATE_PER_S),
            number(median(typed)),
            number(median(worked))
        ),
    );
    outcome.notes.push(format!(
        "G12: typing comes from a second device of each of {} people, in the conversations that they began; whoever \
         talks there is shown it. The limits per socket and user are lifted, else most of it would not pass the gateway.",
        typists.len()
    ));
    Ok(())
}

/// p99 and p50 of messages, ms.
fn talk(options: &Options, flood: Option<&Flood>) -> anyhow::Result<[f64; 2]> {
    let mut typing = None;
    let report = run_watched(options, |moment, _| match moment {
        Moment::Opened => typing = flood.map(Flood::begin),
        Moment::Sent => drop(flood.map(|flood| flood.is_over.store(true, Relaxed))),
        Moment::Settled => {}
    })
    .context("talking beside typing")?;
    ensure!(report.is_clean, "the judge convicted:\n{report}");
    if let Some(typing) = typing {
        typing.join().map_err(|_| anyhow::anyhow!("the typists panicked"))??;
    }
    Ok([report.delivered.p99, report.delivered.p50])
}

/// The number of low-lane events that the worker has handled.
async fn low_events(cluster: &Cluster) -> anyhow::Result<f64> {
    cluster.counted_with("lanes_events_total", "lane=\"low\"").await
}

/// The second device of a user.
#[derive(Clone)]
struct Typist {
    user: User,
    conversations: Vec<i64>,
}

/// All typists, for the time of one run.
struct Flood {
    gateway: Address,
    typists: Arc<Vec<Typist>>,
    is_over: Arc<AtomicBool>,
    typed: Arc<AtomicU64>,
}

impl Flood {
    fn of(gateway: &Address, typists: &[Typist]) -> Self {
        let typists = Arc::new(typists.to_vec());
        let (is_over, typed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        Self { gateway: gateway.clone(), typists, is_over, typed }
    }

    /// Starts the typists on their own thread, until the run is over.
    fn begin(&self) -> std::thread::JoinHandle<anyhow::Result<()>> {
        let Self { gateway, typists, is_over, typed } = self;
        let (gateway, typists, is_over, typed) =
            (gateway.clone(), typists.clone(), is_over.clone(), typed.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let per_tick = RATE_PER_S * TIMES * TICK.as_secs_f64() / typists.len() as f64;
            let typing =
                typists.iter().map(|typist| type_along(&gateway, typist, per_tick, &is_over, &typed));
            runtime.block_on(try_join_all(typing)).map(drop)
        })
    }
}

/// Types, and discards everything that it receives.
async fn type_along(
    gateway: &Address,
    typist: &Typist,
    per_tick: f64,
    is_over: &AtomicBool,
    typed: &AtomicU64,
) -> anyhow::Result<()> {
    let (mut stream, _) = upgrade(gateway, None, Form::Native, &typist.user.token).await?;
    let mut writer = Writer::new(Form::Native, 7);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut due, mut at) = (0.0, 0_usize);
    while !is_over.load(Relaxed) {
        tick.tick().await;
        due += per_tick;
        while due >= 1.0 {
            due -= 1.0;
            // Begins, goes on to the next conversation, and stops there when it comes again: what
            // only repeats the last one is not relayed.
            let conversation = typist.conversations[at % typist.conversations.len()];
            let is_typing = (at / typist.conversations.len()).is_multiple_of(2);
            writer.event("typing", |out| {
                out.push_str(&format!("{{\"conversationId\":{conversation},\"isTyping\":{is_typing}}}"));
            });
            at += 1;
            typed.fetch_add(1, Relaxed);
        }
        stream.write_all(&std::mem::take(&mut writer.out)).await?;
        read_away(&stream)?;
    }
    Ok(())
}

fn read_away(stream: &TcpStream) -> anyhow::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.try_read(&mut buffer) {
            Ok(0) => anyhow::bail!("the gateway closed the socket of a typist"),
            Ok(_) => {}
            Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(err) => return Err(err.into()),
        }
    }
}
