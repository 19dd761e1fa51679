//! G10: what RabbitMQ notices of users that are online: nothing.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Places};
use crate::dialect::Dialect;
use crate::herd::Herd;
use crate::outcome::{Outcome, Target, median, number};
use crate::peers::broker::{self, Topology};
use crate::process::Watched;
use crate::rows::tokens;

const PREFIX: &str = "bench-broker";
const USERS: usize = 15_000;
/// Time over which CPU and memory are measured.
const WINDOW: Duration = Duration::from_secs(10);
const WINDOWS: usize = 3;
/// What its own count of memory and CPU may differ by: it collects garbage when it likes.
const NOISE: f64 = 1.1;

/// G10.
///
/// # Errors
/// A program does not do its part.
pub async fn run(places: &Places, outcome: &mut Outcome) -> anyhow::Result<()> {
    let cluster = Cluster::start(places, PREFIX, true).await?;
    let programs = places.watched()?;
    let rabbit = programs.iter().find(|program| program.name == "rabbitmq");
    let rabbit = rabbit.ok_or_else(|| anyhow::anyhow!("RabbitMQ is one of the peers"))?;
    let empty = Seen::look(places, rabbit).await?;
    let mut herd = Herd::new(&cluster.gateway().address, Dialect::Native);
    herd.open(&tokens(0, USERS)).await?;
    let full = Seen::look(places, rabbit).await?;
    let alive = herd.alive().await;
    ensure!(alive == USERS, "{alive} of {USERS} sockets answer");
    tell(&empty, &full, outcome);
    herd.close().await;
    Ok(())
}

fn tell(empty: &Seen, full: &Seen, outcome: &mut Outcome) {
    let changes = empty.topology.differences(&full.topology);
    outcome.found(
        "G10",
        format!(
            "changes of queues, bindings, connections and declares with {USERS} users online, against none"
        ),
        changes as f64,
        Target::Exactly(0),
        format!("with none: {}; with {USERS}: {}", empty.topology, full.topology),
    );
    for (what, empty, full, unit) in [
        ("CPU", &empty.cpu_ms_per_s, &full.cpu_ms_per_s, "ms per second"),
        ("resident memory", &empty.rss_mib, &full.rss_mib, "MiB"),
    ] {
        outcome.found(
            "G10",
            format!("{what} of RabbitMQ with {USERS} idle users, held against that with none"),
            median(full.clone()) / median(empty.clone()),
            Target::Most(NOISE, "×"),
            format!("{} ÷ {} {unit}", windows(full), windows(empty)),
        );
    }
    outcome.notes.push(format!(
        "G10: one gateway and one worker; each user has a socket, is in the directory and has its heartbeats. CPU and \
         memory in {WINDOWS} windows of {} s, the middle one counts: within {NOISE} is no more than these differ.",
        WINDOW.as_secs()
    ));
}

fn windows(values: &[f64]) -> String {
    let each: Vec<String> = values.iter().map(|value| number(*value)).collect();
    format!("{} ({})", number(median(values.to_vec())), each.join(", "))
}

/// The figures of RabbitMQ.
struct Seen {
    topology: Topology,
    cpu_ms_per_s: Vec<f64>,
    rss_mib: Vec<f64>,
}

impl Seen {
    async fn look(places: &Places, rabbit: &Watched) -> anyhow::Result<Self> {
        let topology = broker::topology(places, PREFIX).await?;
        let (mut cpu_ms_per_s, mut rss_mib) = (vec![], vec![]);
        for _ in 0..WINDOWS {
            let (start, before) = (Instant::now(), rabbit.cpu_s());
            sleep(WINDOW).await;
            cpu_ms_per_s.push((rabbit.cpu_s() - before) * 1e3 / start.elapsed().as_secs_f64());
            rss_mib.push(rabbit.rss_kib() as f64 / 1_024.0);
        }
        Ok(Self { topology, cpu_ms_per_s, rss_mib })
    }
}
