//! Statements of the operator's commands: accounts of any role, and the logins of an account.

use std::time::Duration;

use protocol::ids::{LoginId, UserId};
use protocol::{Role, Timestamp};

use crate::features::accounts::{Conflict, NewAccount};
use crate::store::rows::{maybe_moment, missing, moment};
use crate::store::{Result, Row, Statement, Store, ToSql, conflict, statement};

/// A login as an operator sees it: no token, no digest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct LoginRow {
    pub id: LoginId,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// Until when it can be refreshed. None: it cannot be refreshed any more.
    pub expires_at: Option<Timestamp>,
}

pub(crate) const STATEMENTS: &[Statement] = &[CREATE, LOGINS, HAS_LOGIN, BLOCK, ENDED_OF];

const CREATE: Statement = statement(
    "create_account_of",
    "
            insert into users (email, phone, password, first_name, last_name, role)
            values ($1, $2, $3, $4, $5, $6) returning id",
);

const LOGINS: Statement = statement(
    "logins_of",
    "
            select l.id, l.created_at, l.ended_at,
                   (select max(t.expires_at) from refresh_tokens t
                     where t.login_id = l.id and t.spent_at is null
                       and t.expires_at > clock_timestamp() and l.ended_at is null) as expires_at
              from logins l
             where l.user_id = $1
             order by l.id desc
             limit $2",
);

const HAS_LOGIN: Statement = statement("has_login", "select 1 from logins where id = $1 and user_id = $2");

/// A trigger ends the logins of an account that is blocked.
const BLOCK: Statement = statement(
    "set_blocked",
    "update users set is_blocked = $2, updated_at = clock_timestamp() where id = $1 returning id",
);

const ENDED_OF: Statement = statement(
    "ended_logins_of",
    "select id from logins
      where user_id = $1 and ended_at > clock_timestamp() - make_interval(secs => $2)",
);

impl Store {
    /// Blocks an account, and so ends its logins; or unblocks it. False: the account does not
    /// exist.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn set_blocked(&self, user: UserId, is_blocked: bool) -> Result<bool> {
        Ok(!self.query(&BLOCK, &[&user.0, &is_blocked]).await?.is_empty())
    }

    /// The ended logins of a user whose access tokens may still be valid.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn ended_logins_of(&self, user: UserId, access_ttl: Duration) -> Result<Vec<LoginId>> {
        let rows = self.query(&ENDED_OF, &[&user.0, &access_ttl.as_secs_f64()]).await?;
        Ok(rows.iter().map(|row| LoginId(row.get("id"))).collect())
    }

    /// Creates an account of this role, in one statement: it never has another role.
    ///
    /// # Errors
    /// The store does not answer. `Ok(Err(_))`: another account has that e-mail or phone.
    pub async fn create_account_of(
        &self,
        new: NewAccount<'_>,
        role: Role,
    ) -> Result<std::result::Result<UserId, Conflict>> {
        let role = match role {
            Role::User => "USER",
            Role::Admin => "ADMIN",
        };
        let NewAccount { email, phone, password, first_name, last_name, .. } = new;
        let params: [&(dyn ToSql + Sync); 6] = [&email, &phone, &password, &first_name, &last_name, &role];
        match self.query(&CREATE, &params).await {
            Ok(rows) => rows.first().map(|row| Ok(UserId(row.get(0)))).ok_or_else(missing),
            Err(err) => match conflict(&err) {
                Some("users_email_key") => Ok(Err(Conflict::Email)),
                Some("users_phone_key") => Ok(Err(Conflict::Phone)),
                _ => Err(err),
            },
        }
    }

    /// The newest logins of a user.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn logins_of(&self, user: UserId, limit: i64) -> Result<Vec<LoginRow>> {
        let rows = self.query(&LOGINS, &[&user.0, &limit]).await?;
        let login = |row: &Row| LoginRow {
            id: LoginId(row.get("id")),
            created_at: moment(row, "created_at"),
            ended_at: maybe_moment(row, "ended_at"),
            expires_at: maybe_moment(row, "expires_at"),
        };
        Ok(rows.iter().map(login).collect())
    }

    /// Whether this is a login of this user, ended or not.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn has_login(&self, user: UserId, login: LoginId) -> Result<bool> {
        Ok(!self.query(&HAS_LOGIN, &[&login.0, &user.0]).await?.is_empty())
    }
}
