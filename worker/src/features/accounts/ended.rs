//! Logins that ended, from the store to the directory and the gateways.
//!
//! A logout writes all three itself. This task completes what a logout could not do (it failed half-way, or the
//! directory lost its data), and announces logins that ended without one: the account was blocked in the
//! database.

use std::time::Duration;

use common::limits::{ENDED_LOGINS_LOOK_MS, ENDED_LOGINS_MARK_MS, ENDED_LOGINS_PAGE, ENDED_LOGINS_RECENT_MS};
use protocol::Timestamp;
use protocol::ids::{LoginId, UserId};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::announce::tell_gateways;
use crate::ctx::Ctx;
use crate::metrics;
use crate::store::rows::moment;
use crate::store::{Result, Row, Statement, Store, statement};

/// A login that ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedLogin {
    /// The login.
    pub login: LoginId,
    /// The user.
    pub user: UserId,
    /// When it ended, by the database's clock.
    pub ended_at: Timestamp,
    /// The time for which its last access token may still be valid.
    pub remaining: Duration,
}

pub(crate) const STATEMENTS: &[Statement] = &[ENDED];

/// Uses the index `logins_ended`, so the cost of a page depends only on the rows in it.
const ENDED: Statement = statement(
    "ended_logins",
    "select id, user_id, ended_at,
            extract(epoch from ended_at - clock_timestamp())::float8 + $2 as remaining
       from logins
      where (ended_at, id) > (timestamptz 'epoch' + $3 * interval '1 millisecond', $4::bigint)
        and ended_at > clock_timestamp() - make_interval(secs => $1)
      order by ended_at, id
      limit $5",
);

impl Store {
    /// One page of the logins that ended at most `since` ago and whose access tokens may still be valid, oldest
    /// end first, after `after`.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn ended_logins(
        &self,
        since: Duration,
        access_ttl: Duration,
        after: Option<EndedLogin>,
    ) -> Result<Vec<EndedLogin>> {
        let ttl = access_ttl.as_secs_f64();
        let since = since.as_secs_f64().min(ttl);
        let (at, id) = after.map_or((0.0, 0), |last| (last.ended_at.0 as f64, last.login.0));
        let rows = self.query(&ENDED, &[&since, &ttl, &at, &id, &ENDED_LOGINS_PAGE]).await?;
        let ended = |row: &Row| EndedLogin {
            login: LoginId(row.get("id")),
            user: UserId(row.get("user_id")),
            ended_at: moment(row, "ended_at"),
            remaining: Duration::try_from_secs_f64(row.get("remaining")).unwrap_or_default(),
        };
        Ok(rows.iter().map(ended).collect())
    }
}

/// Runs [`look`] every few seconds, until `draining`.
pub(crate) async fn watch(ctx: Ctx, draining: CancellationToken) {
    let mut ticks = interval(Duration::from_millis(ENDED_LOGINS_LOOK_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while draining.run_until_cancelled(ticks.tick()).await.is_some() {
        look(&ctx).await;
    }
}

/// Tells the directory and the gateways of ended logins that they do not know. The next look retries failures.
pub async fn look(ctx: &Ctx) {
    if let Err(reason) = fill(ctx).await {
        metrics::ended_logins_failed();
        warn!(
            "The directory may not know all ended logins; the next check is in {ENDED_LOGINS_LOOK_MS} ms: {reason}"
        );
    }
}

async fn fill(ctx: &Ctx) -> std::result::Result<(), String> {
    let is_complete = ctx.directory.has_all_ended_logins().await.map_err(|err| err.to_string())?;
    let since = if is_complete { Duration::from_millis(ENDED_LOGINS_RECENT_MS) } else { ctx.access_ttl };
    let (mut last, mut filled) = (None, 0);
    loop {
        let page =
            ctx.store.ended_logins(since, ctx.access_ttl, last).await.map_err(|err| err.to_string())?;
        let ended: Vec<_> = page.iter().map(|one| (one.login, one.remaining)).collect();
        let news = ctx.directory.end_logins(&ended).await.map_err(|err| err.to_string())?;
        filled += news.len();
        // After a loss gateways read the directory by themselves until it is complete.
        if is_complete {
            for one in page.iter().filter(|one| news.contains(&one.login)) {
                tell_gateways(ctx, one.user, one.login).await.map_err(|_| "the bus is busy".to_owned())?;
            }
        }
        last = page.last().copied();
        if i64::try_from(page.len()).unwrap_or(i64::MAX) < ENDED_LOGINS_PAGE {
            break;
        }
    }
    let mark = Duration::from_millis(ENDED_LOGINS_MARK_MS);
    ctx.directory.mark_ended_logins(mark).await.map_err(|err| err.to_string())?;
    metrics::ended_logins_filled(filled);
    if !is_complete {
        info!(logins = filled, "The directory knows all ended logins");
    }
    Ok(())
}
