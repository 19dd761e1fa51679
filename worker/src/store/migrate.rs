//! Brings the schema up to date.
//!
//! Migrations use a separate connection: they may take longer than statements, and the advisory lock,
//! under which one program at a time migrates, ends with the connection.
//!
//! A program also runs on a schema that a later version has migrated, so that a version can be rolled
//! back. A migration first *expands*: it adds what the new version needs and leaves what the previous
//! version needs. A later one *contracts*, and records it in `schema_floor`: the newest migration that
//! programs must know from then on.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use common::limits::{MIGRATION_LOCK_MS_MAX, MIGRATION_MS_MAX, STATEMENT_GRACE_MS, STORE_WAIT_MS_MAX};
use refinery::{Migration, Runner};
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_util::task::AbortOnDropHandle;

use super::pool;

mod embedded {
    #![allow(missing_docs, reason = "written by refinery's macro")]
    refinery::embed_migrations!("migrations");
}

/// The key of the advisory lock: "chatchit" in ASCII.
const LOCK: i64 = 0x6368_6174_6368_6974;

/// Applies the missing migrations and returns their names. Any number of programs may call this at once: one
/// migrates, the others wait and then find nothing to do.
pub(super) async fn run(url: &str, more: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
    let most = Duration::from_millis(MIGRATION_MS_MAX + STATEMENT_GRACE_MS);
    timeout(most, migrated(url, more)).await.context("it takes too long")?
}

async fn migrated(url: &str, more: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
    // No lock timeout yet: the program waits for another program's whole migration.
    let (settings, tls) = pool::settings(url, MIGRATION_MS_MAX, 0, "")?;
    let wait = Duration::from_millis(STORE_WAIT_MS_MAX);
    let connecting = timeout(wait, settings.connect(tls)).await.context("no connection in time")?;
    let (mut client, connection) = connecting.context("connecting to migrate")?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    client.execute("select pg_advisory_lock($1)", &[&LOCK]).await?;
    // While a table change waits for a lock, all later statements on that table wait behind it. So it
    // gives up after a timeout, as statements do, and the program is started again.
    client.batch_execute(&format!("set lock_timeout = {MIGRATION_LOCK_MS_MAX}")).await?;
    let mut known = embedded::migrations::runner().get_migrations().clone();
    for (name, sql) in more {
        known.push(Migration::unapplied(name, sql).with_context(|| format!("{name} names no migration"))?);
    }
    let runner = Runner::new(&known).set_abort_missing(false);
    let known = runner.get_migrations().iter().map(|one| one.version()).max().unwrap_or_default();
    fits(&client, i64::from(known)).await?;
    let report = runner.run_async(&mut client).await?;
    client.execute("select pg_advisory_unlock($1)", &[&LOCK]).await?;
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
}

/// Checks that a program that knows migrations up to `known` may run on this schema.
async fn fits(client: &Client, known: i64) -> anyhow::Result<()> {
    client.batch_execute("create table if not exists schema_floor (migration bigint not null)").await?;
    let row = client.query_one("select coalesce(max(migration), 0) from schema_floor", &[]).await?;
    let floor: i64 = row.try_get(0)?;
    ensure!(
        known >= floor,
        "this version knows the schema up to migration {known}, and the database needs {floor}: start a newer \
         version, or restore the database of before"
    );
    Ok(())
}
