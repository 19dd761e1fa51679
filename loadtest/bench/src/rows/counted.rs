//! G9: what one chat message makes the parts do, counted, not timed: at saturation, from before
//! the load until its end. The programs' own metrics say it, and each part that they speak to is
//! asked for its own count.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use swarm::setup;
use tokio::runtime::Runtime;
use tokio::time::sleep;

use crate::cluster::{Cluster, Places};
use crate::dialect::Dialect;
use crate::herd::Herd;
use crate::outcome::{Outcome, Target, count, number};
use crate::peers::http;
use crate::rows::chain;

const SECONDS: u64 = 10;
/// PostgreSQL's sessions tell what they did when they have been idle for ten seconds.
const TOLD: Duration = Duration::from_secs(12);
/// Sockets of users who are in conversations.
const CONNECTS: u32 = 50;
/// What of Redis is between its nodes, or is asked by this bench.
const NOT_OURS: [&str; 9] =
    ["info", "ping", "replconf", "psync", "cluster", "role", "client", "config", "command"];

/// G9. Blocks.
///
/// # Errors
/// A program does not do its part, or the judge convicts.
pub fn run(places: &Places, runtime: &Runtime, outcome: &mut Outcome) -> anyhow::Result<()> {
    let cluster = runtime.block_on(Cluster::start(places, chain::PREFIX, true))?;
    let mut options = chain::options(places, &cluster);
    // Warms up: plans, caches, accounts.
    options.seconds = Some(2);
    chain::measure(&options, &[])?;
    options.seconds = Some(SECONDS);
    let counts = || runtime.block_on(Counts::take(places, &cluster));
    let before = counts()?;
    let measured = chain::measure(&options, &[])?;
    let after = counts()?;
    after.since(&before).tell(measured.report.verdict.persisted as f64, outcome);

    let before = runtime.block_on(statements(&cluster))?;
    let used = runtime.block_on(async {
        let people = setup::users(&options, CONNECTS).await?;
        let mut herd = Herd::new(&cluster.gateway().address, Dialect::Native);
        herd.open(&people.into_iter().map(|person| person.token).collect::<Vec<_>>()).await?;
        // Their contacts are told a little later.
        sleep(TOLD).await;
        let used = statements(&cluster).await? - before;
        herd.close().await;
        anyhow::Ok(used)
    })?;
    outcome.found(
        "G9",
        "SQL statements per connect, of people who are in eight conversations and more",
        used / f64::from(CONNECTS),
        Target::None(""),
        format!("{} ÷ {CONNECTS}; their contacts are told that they came", count(used)),
    );
    outcome.notes.push(format!(
        "G9: flat out for {SECONDS} s. The counts hold everything that the run does: making 200 conversations over REST, \
         the last `sync`, the reading of all histories, and what the programs do by the clock. Ours: the programs' \
         metrics. Witnesses: RabbitMQ's own count of messages published; PostgreSQL's of transactions (a statement \
         outside a transaction is one); Redis' of reads from its masters' sockets, its \
         replicas' among them."
    ));
    Ok(())
}

/// The number of SQL statements so far.
async fn statements(cluster: &Cluster) -> anyhow::Result<f64> {
    cluster.counted("worker_store_statement_seconds_count").await
}

/// The counters of all programs at one moment.
#[derive(Clone, Copy)]
struct Counts {
    amqp_batches: f64,
    amqp_published: f64,
    amqp_delivered: f64,
    statements: f64,
    transactions: f64,
    directory_calls: f64,
    redis_reads: f64,
    redis_commands: f64,
    downlinks: f64,
    encodes: f64,
    deliveries: f64,
    frames_out: f64,
    writes: f64,
}

impl Counts {
    async fn take(places: &Places, cluster: &Cluster) -> anyhow::Result<Self> {
        sleep(TOLD).await;
        let (redis_reads, redis_commands) = redis(places)?;
        let rabbit = http::get(places.scrape_port, "/metrics").await?;
        Ok(Self {
            amqp_batches: cluster.counted("bus_batch_envelopes_count").await?,
            amqp_published: http::metric(&rabbit, "rabbitmq_global_messages_received_total", ""),
            amqp_delivered: http::metric(&rabbit, "rabbitmq_global_messages_delivered_total", ""),
            statements: statements(cluster).await?,
            transactions: transactions(places)?,
            directory_calls: cluster.counted("directory_call_seconds_count").await?,
            redis_reads,
            redis_commands,
            downlinks: cluster.counted("gateway_downlinks_total").await?,
            encodes: cluster.counted("gateway_frames_built_total").await?,
            deliveries: cluster.counted("gateway_deliveries_total").await?,
            frames_out: cluster.counted("gateway_frames_out_total").await?,
            writes: cluster.counted("gateway_writes_total").await?,
        })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            amqp_batches: self.amqp_batches - before.amqp_batches,
            amqp_published: self.amqp_published - before.amqp_published,
            amqp_delivered: self.amqp_delivered - before.amqp_delivered,
            statements: self.statements - before.statements,
            transactions: self.transactions - before.transactions,
            directory_calls: self.directory_calls - before.directory_calls,
            redis_reads: self.redis_reads - before.redis_reads,
            redis_commands: self.redis_commands - before.redis_commands,
            downlinks: self.downlinks - before.downlinks,
            encodes: self.encodes - before.encodes,
            deliveries: self.deliveries - before.deliveries,
            frames_out: self.frames_out - before.frames_out,
            writes: self.writes - before.writes,
        }
    }

    fn tell(&self, messages: f64, outcome: &mut Outcome) {
        let seen = |ours: f64, what: &str, theirs: f64, of: &str| {
            format!("{} {what} ÷ {} messages; {of}: {}", count(ours), count(messages), count(theirs))
        };
        // The larger of both counts: neither hides what the other has seen.
        let rows = [
            (
                "AMQP messages",
                self.amqp_batches.max(self.amqp_published),
                seen(self.amqp_batches, "batches published", self.amqp_published, "RabbitMQ counts"),
            ),
            (
                "SQL statements",
                self.statements.max(self.transactions),
                seen(self.statements, "statements", self.transactions, "PostgreSQL counts transactions"),
            ),
            (
                "Redis round trips",
                self.directory_calls.max(self.redis_reads),
                format!(
                    "{}, with {} commands in them",
                    seen(
                        self.directory_calls,
                        "calls",
                        self.redis_reads,
                        "Redis counts reads of its sockets"
                    ),
                    count(self.redis_commands)
                ),
            ),
        ];
        for (what, counted, arithmetic) in rows {
            let what = format!("{what} per chat message at saturation");
            outcome.found("G9", what, counted / messages, Target::Most(0.1, ""), arithmetic);
        }
        outcome.found(
            "G9",
            "encodes per event and gateway, and form",
            self.encodes / self.downlinks,
            Target::Most(1.0, ""),
            format!(
                "{} frames built ÷ {} events that came ({} per chat message) for {} deliveries, one form in use",
                count(self.encodes),
                count(self.downlinks),
                number(self.downlinks / messages),
                count(self.deliveries)
            ),
        );
        outcome.found(
            "G9",
            "`write()` calls per frame to a client, at saturation",
            self.writes / self.frames_out,
            Target::None(""),
            format!(
                "{} ÷ {}; RabbitMQ handed out {} batches",
                count(self.writes),
                count(self.frames_out),
                count(self.amqp_delivered)
            ),
        );
    }
}

fn transactions(places: &Places) -> anyhow::Result<f64> {
    let query = "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()";
    let out =
        Command::new("psql").args(["-XqAt", &places.database_url, "-c", query]).output().context("psql")?;
    ensure!(out.status.success(), "psql: {}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8_lossy(&out.stdout).trim().parse()?)
}

/// How often the masters read from a socket of a client, and the commands that they carried out,
/// those in scripts too.
fn redis(places: &Places) -> anyhow::Result<(f64, f64)> {
    let (mut reads, mut commands) = (0.0, 0.0);
    for node in &places.redis_nodes {
        let (host, port) = node.rsplit_once(':').context("host:port")?;
        let out = Command::new("redis-cli").args(["-h", host, "-p", port, "info", "everything"]).output()?;
        let text = String::from_utf8_lossy(&out.stdout);
        // A replica repeats what its master did.
        if text.contains("role:master") {
            let read = text.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
            reads += read.context("a count of reads")?.trim().parse::<f64>()?;
            commands += calls(&text);
        }
    }
    Ok((reads, commands))
}

fn calls(info: &str) -> f64 {
    let stats = info.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
    let ours = stats.filter(|(name, _)| {
        let name = name.split('|').next().unwrap_or_default();
        !NOT_OURS.contains(&name)
    });
    ours.filter_map(|(_, rest)| rest.split(',').next()?.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_asked_of_redis_is_counted() {
        let info = "role:master\r\ncmdstat_hset:calls=3,usec=1\r\ncmdstat_cluster|slots:calls=5,usec=1\r\n\
                    cmdstat_ping:calls=9,usec=1\r\ncmdstat_evalsha:calls=2,usec=7\r\n";
        assert_eq!(calls(info), 5.0);
    }
}
