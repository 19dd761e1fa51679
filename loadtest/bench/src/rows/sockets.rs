//! Rows a and b: what a socket costs while it is idle, and while it opens.

use std::path::Path;
use std::time::Duration;

use common::ids::{NodeId, UserId};
use common::plumbing::{Bus, Envelope, Subject};
use common::protocol::{Audience, Downlink, Recipients, Urgency, encode};
use swarm::form::Form;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Places};
use crate::herd::{Herd, Kind};
use crate::outcome::{Bar, Outcome, Target, median, number};
use crate::peers::node;
use crate::process::{Started, Watched};
use crate::rows::tokens;

/// Between these the slope is taken.
const FEW: usize = 2_000;
const MANY: usize = 16_000;
/// Sockets opened per pass.
const UPGRADES: usize = 6_000;
const PASSES: usize = 3;
/// After this the memory is read: freed pages have gone back.
const REST: Duration = Duration::from_secs(3);

/// Sends one event to users of a gateway, as a worker would.
pub async fn deliver(
    bus: &Bus,
    gateway: &str,
    users: &[UserId],
    bytes: usize,
    times: usize,
) -> anyhow::Result<()> {
    let data = serde_json::json!({ "content": ".".repeat(bytes) }).to_string();
    let body = encode(&Downlink {
        to: Recipients::Users(users.to_vec()),
        except: None,
        audience: Audience::All,
        urgency: Urgency::Keep,
        event: "messageComing",
        data: &data,
        since: None,
        origin: None,
    });
    let subject = Subject::new(&format!("deliver.{}", gateway.parse::<NodeId>()?))?;
    let one = || bus.publish(Envelope { subject: subject.clone(), key: 0, body: body.clone() });
    for sent in futures_util::future::join_all((0..times).map(|_| one())).await {
        sent?;
    }
    Ok(())
}

/// The users behind [`tokens`].
pub fn users(from: usize, count: usize) -> Vec<UserId> {
    (from..from + count).map(|at| UserId(1_000_000 + at as i64)).collect()
}

/// Row a.
///
/// # Errors
/// A program does not do its part.
pub async fn idle(
    places: &Places,
    bus: &Bus,
    peers: Option<&Path>,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let cluster = Cluster::start(places, "bench-idle", false).await?;
    let ours = {
        let mut herd = Herd::new(&cluster.gateway().address, Kind::Speaks(Form::Native));
        let mut at = 0;
        let mut slope = Slope::default();
        for size in [FEW, MANY] {
            herd.open(&tokens(at, size - at)).await?;
            let before = herd.heard();
            herd.ping();
            herd.hear(before, size as u64).await?;
            let before = herd.heard();
            let node = herd.node().unwrap_or_default().to_owned();
            for batch in users(0, size).chunks(1_000) {
                deliver(bus, &node, batch, 200, 1).await?;
            }
            herd.hear(before, size as u64).await?;
            at = size;
            slope.note(size, &cluster.gateway().watched()).await;
        }
        herd.close().await;
        slope
    };
    drop(cluster);
    outcome.bars.push(Bar {
        what: "user-space bytes per idle, authenticated, deliverable socket".into(),
        arithmetic: ours.arithmetic(),
        found: Some(ours.bytes()),
        target: Target::Most(1_536.0, "B"),
    });
    for (script, form, target) in [
        ("socketio.mjs", Form::SocketIo, Target::Most(1.0 / 9.0, "of Socket.IO's")),
        ("ws.mjs", Form::Native, Target::None("of ws's")),
    ] {
        let mut bar = Bar {
            what: format!("the same, held against {script}"),
            arithmetic: "Node is not here".into(),
            found: None,
            target,
        };
        if let Some(folder) = peers {
            let theirs = theirs(places, folder, script, form).await?;
            bar.found = Some(ours.bytes() / theirs.bytes());
            bar.arithmetic = format!("{} B ÷ ({})", number(ours.bytes()), theirs.arithmetic());
        }
        outcome.bars.push(bar);
    }
    Ok(())
}

async fn theirs(places: &Places, folder: &Path, script: &str, form: Form) -> anyhow::Result<Slope> {
    let server = node::start(places, folder, script).await?;
    let mut herd = Herd::new(&server.address, Kind::Speaks(form));
    let mut slope = Slope::default();
    let mut at = 0;
    for size in [FEW, MANY] {
        herd.open(&tokens(at, size - at)).await?;
        let before = herd.heard();
        herd.ping();
        herd.hear(before, size as u64).await?;
        let before = herd.heard();
        node::fan_out(&server, 1, 200).await?;
        herd.hear(before, size as u64).await?;
        at = size;
        slope.note(size, &server.watched()).await;
    }
    herd.close().await;
    Ok(slope)
}

#[derive(Default)]
struct Slope(Vec<(usize, u64)>);

impl Slope {
    async fn note(&mut self, sockets: usize, program: &Watched) {
        sleep(REST).await;
        self.0.push((sockets, program.rss_kib()));
    }

    fn bytes(&self) -> f64 {
        match self.0[..] {
            [(few, small), (many, large)] => (large as f64 - small as f64) * 1_024.0 / (many - few) as f64,
            _ => f64::NAN,
        }
    }

    fn arithmetic(&self) -> String {
        match self.0[..] {
            [(few, small), (many, large)] => {
                format!("RSS {large} KiB at {many} sockets − {small} KiB at {few}, ÷ {}", many - few)
            }
            _ => String::new(),
        }
    }
}

/// Row b.
///
/// # Errors
/// A program does not do its part.
pub async fn upgrades(places: &Places, peers: Option<&Path>, outcome: &mut Outcome) -> anyhow::Result<()> {
    let cluster = Cluster::start(places, "bench-upgrades", false).await?;
    let mut accept = std::process::Command::new(std::env::current_exe()?);
    accept.arg("accept-loop");
    let accept = Started::listening("accept-loop", accept, &places.logs).await?;
    let socket_io = match peers {
        Some(folder) => Some(node::start(places, folder, "socketio.mjs").await?),
        None => None,
    };
    let mut found = [vec![], vec![], vec![]];
    for pass in 0..=PASSES {
        let mut rows = vec![
            (0, cluster.gateway(), Kind::Speaks(Form::Native), UPGRADES),
            (1, &accept, Kind::Mute, UPGRADES),
        ];
        // Node is slower by far: fewer give as many ticks.
        rows.extend(socket_io.as_ref().map(|server| (2, server, Kind::Speaks(Form::SocketIo), UPGRADES / 3)));
        for (row, server, kind, count) in rows {
            let rate = per_core_second(server, kind, count).await?;
            // The first pass warms up.
            if pass > 0 {
                found[row].push(rate);
            }
        }
    }
    let [ours, bare, theirs] = found.map(median);
    let figure = |rate: f64| format!("{} per core-second", number(rate));
    outcome.bars.push(Bar {
        what: "authenticated upgrades per gateway core-second, held against Socket.IO's".into(),
        arithmetic: format!("{} ÷ {}", figure(ours), figure(theirs)),
        found: socket_io.as_ref().map(|_| ours / theirs),
        target: Target::Least(15.0, "×"),
    });
    outcome.bars.push(Bar {
        what: "the same, held against a bare accept and handshake loop".into(),
        arithmetic: format!("{} ÷ {}", figure(ours), figure(bare)),
        found: Some(ours / bare),
        target: Target::None("×"),
    });
    Ok(())
}

async fn per_core_second(server: &Started, kind: Kind, count: usize) -> anyhow::Result<f64> {
    let tokens = tokens(0, count);
    let mut herd = Herd::new(&server.address, kind);
    let program = server.watched();
    let before = program.cpu_s();
    herd.open(&tokens).await?;
    let used = program.cpu_s() - before;
    herd.close().await;
    settle(&program).await;
    Ok(count as f64 / used)
}

/// Waits until a program has nothing more to do.
async fn settle(program: &Watched) {
    let end = Instant::now() + Duration::from_secs(15);
    let mut before = program.cpu_s();
    loop {
        sleep(Duration::from_millis(500)).await;
        let now = program.cpu_s();
        if now - before < 0.02 || Instant::now() > end {
            return;
        }
        before = now;
    }
}
