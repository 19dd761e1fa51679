//! Logins and their refresh tokens.
//!
//! Invariants: a refresh token is spent once; whoever shows a spent one ends its login, because
//! two have it and one of them is a thief. Only digests of tokens come here.

use std::time::Duration;

use protocol::ids::{LoginId, UserId};

use super::store::{AccountRow, account_row};
use crate::store::rows::missing;
use crate::store::{Result, Statement, Store, ToSql, statement};

/// SHA-256 of a refresh token.
pub type Digest = [u8; 32];

/// What became of a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The old token is spent, the new one counts.
    Rotated {
        /// Whose.
        account: Box<AccountRow>,
        /// Of which login.
        login: LoginId,
    },
    /// It had been spent before: the login is over.
    Reused {
        /// Whose.
        user: UserId,
        /// Which.
        login: LoginId,
    },
    /// Never issued, expired, of a login that is over, or of an account that may not log in.
    Unknown,
}

pub(crate) const STATEMENTS: &[Statement] = &[BEGIN, REFRESH, END];

const BEGIN: Statement = statement(
    "begin_login",
    "
    with swept as (
        delete from logins l
         where l.user_id = $1
           and not exists (select 1 from refresh_tokens t
                            where t.login_id = l.id and t.expires_at > clock_timestamp())
    ), begun as (
        insert into logins (user_id) values ($1) returning id
    ), token as (
        insert into refresh_tokens (digest, login_id, expires_at)
        select $2, id, clock_timestamp() + make_interval(secs => $3) from begun
    )
    select id from begun",
);

/// Two who show the same token at once: the row lock lets one pass, and the other then reads `spent`
/// as the first has written it.
const REFRESH: Statement = statement(
    "refresh_login",
    "
    with token as materialized (
        select t.digest, t.login_id, l.user_id, t.spent_at is not null as spent,
               l.ended_at is null and t.expires_at > clock_timestamp()
               and u.is_active and not u.is_blocked as good
          from refresh_tokens t
          join logins l on l.id = t.login_id
          join users u on u.id = l.user_id
         where t.digest = $1
           for no key update of t
    ), spent as (
        update refresh_tokens t set spent_at = clock_timestamp()
          from token
         where t.digest = token.digest and token.good and not token.spent
     returning t.login_id
    ), added as (
        insert into refresh_tokens (digest, login_id, expires_at)
        select $2, login_id, clock_timestamp() + make_interval(secs => $3) from spent
    ), ended as (
        update logins l set ended_at = clock_timestamp()
          from token
         where l.id = token.login_id and token.spent and l.ended_at is null
    ), swept as (
        delete from refresh_tokens t
         using spent
         where t.login_id = spent.login_id and t.expires_at < clock_timestamp()
    )
    select token.login_id, token.spent, token.good, u.*
      from token join users u on u.id = token.user_id",
);

const END: Statement = statement(
    "end_login",
    "update logins set ended_at = coalesce(ended_at, clock_timestamp())
                    where id = $1 and user_id = $2",
);

impl Store {
    /// Begins a login with its first refresh token, and forgets the user's logins that have none
    /// left that could be used.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn begin_login(&self, user: UserId, first: &Digest, ttl: Duration) -> Result<LoginId> {
        let rows = self.query(&BEGIN, &[&user.0, &&first[..], &ttl.as_secs_f64()]).await?;
        rows.first().map(|row| LoginId(row.get(0))).ok_or_else(missing)
    }

    /// Spends a refresh token for a new one of the same login.
    ///
    /// # Errors
    /// The store has no answer. When the answer was lost on the way the token may be spent.
    pub async fn refresh_login(&self, shown: &Digest, next: &Digest, ttl: Duration) -> Result<Refreshed> {
        let params: [&(dyn ToSql + Sync); 3] = [&&shown[..], &&next[..], &ttl.as_secs_f64()];
        let rows = self.query(&REFRESH, &params).await?;
        let Some(row) = rows.first() else { return Ok(Refreshed::Unknown) };
        let login = LoginId(row.get("login_id"));
        Ok(if row.get("spent") {
            Refreshed::Reused { user: UserId(row.get("id")), login }
        } else if row.get("good") {
            Refreshed::Rotated { account: Box::new(account_row(row)), login }
        } else {
            Refreshed::Unknown
        })
    }

    /// Ends a login of this user; again is fine.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn end_login(&self, user: UserId, login: LoginId) -> Result<()> {
        self.query(&END, &[&login.0, &user.0]).await.map(drop)
    }
}
