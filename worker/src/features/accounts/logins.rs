//! Logins and their refresh tokens.
//!
//! Invariants: a refresh token has one successor. It may be used again for
//! [`REFRESH_GRACE_MS`] after it was spent, for two tabs or a client whose answer was lost, until
//! that successor is used: every use gets the same successor. After that, using a spent token ends its
//! login, because two parties have it and one of them is a thief. Only digests of tokens come here.

use std::time::Duration;

use common::limits::{KNOWN_ADDRESSES_MAX, REFRESH_GRACE_MS};
use protocol::ids::{LoginId, UserId};

use super::digest::Digest;
use super::store::{AccountRow, account_row};
use crate::store::{Result, Statement, Store, ToSql, statement};

/// The result of a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The old token is spent, the new one is valid.
    Rotated {
        /// The user.
        account: Box<AccountRow>,
        /// The login that both tokens belong to.
        login: LoginId,
    },
    /// The token had been spent too long ago, or its successor was used: the login is over.
    Reused {
        /// The user.
        user: UserId,
        /// The login.
        login: LoginId,
        /// True: this call ended the login. False: it had ended before.
        has_ended_now: bool,
    },
    /// Never issued, expired, of a login that is over, or of an account that may not log in.
    Unknown,
}

/// A login to create.
#[derive(Clone, Copy, Debug)]
pub struct NewLogin<'a> {
    /// The user.
    pub user: UserId,
    /// Its first refresh token.
    pub first: &'a Digest,
    /// Its lifetime.
    pub refresh_ttl: Duration,
    /// The lifetime of access tokens.
    pub access_ttl: Duration,
    /// The network in which the right password was given.
    pub address: &'a Digest,
}

pub(crate) const STATEMENTS: &[Statement] = &[BEGIN, REFRESH, END, IS_KNOWN];

/// Locks the account's row, so that blocking the account either comes later and ends this login, or came
/// first and prevents it.
const BEGIN: Statement = statement(
    "begin_login",
    "
    with owner as materialized (
        select id from users where id = $1 and is_active and not is_blocked for share
    ), swept as (
        delete from logins l
         where l.user_id = $1
           -- An ended login stays until its last access token has expired.
           and (l.ended_at is null or l.ended_at < clock_timestamp() - make_interval(secs => $4))
           and not exists (select 1 from refresh_tokens t
                            where t.login_id = l.id and t.expires_at > clock_timestamp())
    ), begun as (
        insert into logins (user_id) select id from owner returning id
    ), token as (
        insert into refresh_tokens (digest, login_id, expires_at)
        select $2, id, clock_timestamp() + make_interval(secs => $3) from begun
    ), forgotten as (
        delete from known_addresses a
         using (select address from known_addresses
                 where user_id = $1 and address <> $5 order by seen_at desc offset $6) old
         where a.user_id = $1 and a.address = old.address
    ), known as (
        insert into known_addresses (user_id, address) select id, $5 from owner
            on conflict (user_id, address) do update set seen_at = clock_timestamp()
    )
    select id from begun",
);

const IS_KNOWN: Statement =
    statement("is_known_address", "select 1 from known_addresses where user_id = $1 and address = $2");

/// Several requests may use the same token at once: the row lock lets one pass after the other, and each
/// reads the token as the one before has left it. The use of a successor is written into the row
/// of the token it came from, so this row alone decides whether the token may be used again.
const REFRESH: Statement = statement(
    "refresh_login",
    "
    with token as materialized (
        select t.digest, t.login_id, t.parent, l.user_id,
               t.spent_at is not null as spent,
               t.spent_at > clock_timestamp() - make_interval(secs => $4) and not t.is_settled as again,
               l.ended_at is null and t.expires_at > clock_timestamp()
               and u.is_active and not u.is_blocked as good
          from refresh_tokens t
          join logins l on l.id = t.login_id
          join users u on u.id = l.user_id
         where t.digest = $1
           for no key update of t
    ), served as materialized (
        select * from token where good and (not spent or again)
    ), spent as (
        update refresh_tokens t set spent_at = clock_timestamp()
          from served
         where t.digest = served.digest and not served.spent
    ), settled as (
        update refresh_tokens t set is_settled = true
          from served
         where t.digest = served.parent and not served.spent
    ), added as (
        insert into refresh_tokens (digest, login_id, expires_at, parent)
        select $2, login_id, clock_timestamp() + make_interval(secs => $3), digest from served
            on conflict (digest) do nothing
    ), ended as (
        update logins l set ended_at = clock_timestamp()
          from token
         where l.id = token.login_id and token.spent and not token.again and l.ended_at is null
     returning l.id
    ), swept as (
        delete from refresh_tokens t
         using served
         where t.login_id = served.login_id and t.expires_at < clock_timestamp()
    )
    select token.login_id, token.spent and not token.again as reused, token.good,
           exists (select 1 from ended) as has_ended_now, u.*
      from token join users u on u.id = token.user_id",
);

const END: Statement = statement(
    "end_login",
    "update logins set ended_at = coalesce(ended_at, clock_timestamp())
                    where id = $1 and user_id = $2",
);

impl Store {
    /// Begins a login with its first refresh token, and deletes the user's logins whose refresh tokens can no
    /// longer be used. From now on the address is known for this account. None: the account was blocked
    /// meanwhile.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn begin_login(&self, new: NewLogin<'_>) -> Result<Option<LoginId>> {
        let (refresh, access) = (new.refresh_ttl.as_secs_f64(), new.access_ttl.as_secs_f64());
        let params: [&(dyn ToSql + Sync); 6] =
            [&new.user.0, &&new.first[..], &refresh, &access, &&new.address[..], &(KNOWN_ADDRESSES_MAX - 1)];
        let rows = self.query(&BEGIN, &params).await?;
        Ok(rows.first().map(|row| LoginId(row.get(0))))
    }

    /// Whether this account's right password was once given at this address.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn is_known_address(&self, user: UserId, address: &Digest) -> Result<bool> {
        Ok(!self.query(&IS_KNOWN, &[&user.0, &&address[..]]).await?.is_empty())
    }

    /// Spends a refresh token for the next one of the same login.
    ///
    /// # Errors
    /// The store has no answer. When the answer was lost on the way the token may be spent.
    pub async fn refresh_login(&self, shown: &Digest, next: &Digest, ttl: Duration) -> Result<Refreshed> {
        let grace = Duration::from_millis(REFRESH_GRACE_MS).as_secs_f64();
        let params: [&(dyn ToSql + Sync); 4] = [&&shown[..], &&next[..], &ttl.as_secs_f64(), &grace];
        let rows = self.query(&REFRESH, &params).await?;
        let Some(row) = rows.first() else { return Ok(Refreshed::Unknown) };
        let login = LoginId(row.get("login_id"));
        Ok(if row.get("reused") {
            Refreshed::Reused { user: UserId(row.get("id")), login, has_ended_now: row.get("has_ended_now") }
        } else if row.get("good") {
            Refreshed::Rotated { account: Box::new(account_row(row)), login }
        } else {
            Refreshed::Unknown
        })
    }

    /// Ends a login of this user. Idempotent.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn end_login(&self, user: UserId, login: LoginId) -> Result<()> {
        self.query(&END, &[&login.0, &user.0]).await.map(drop)
    }
}
