//! E-mail, password, profile: rows of `users`.

use protocol::ids::UserId;
use protocol::{Person, Role, Timestamp};

use crate::store::rows::{missing, moment};
use crate::store::{Result, Row, Statement, Store, conflict, statement};

/// An account as it stands in its row.
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct AccountRow {
    pub id: UserId,
    pub email: String,
    pub phone: String,
    /// The password's hash; no answer contains it.
    pub password: String,
    pub role: Role,
    pub is_active: bool,
    pub is_blocked: bool,
    pub first_name: String,
    pub middle_name: Option<String>,
    pub last_name: String,
    /// The user's preferences: JSON as text.
    pub preferences: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl std::fmt::Debug for AccountRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountRow").field("id", &self.id).finish_non_exhaustive()
    }
}

impl AccountRow {
    /// Whether the account is active and not blocked, and so may log in and use the product.
    pub fn in_good_standing(&self) -> bool {
        self.is_active && !self.is_blocked
    }

    /// The account as other users see it.
    pub fn person(&self) -> Person {
        Person {
            id: self.id,
            first_name: self.first_name.clone(),
            last_name: self.last_name.clone(),
            email: self.email.clone(),
        }
    }
}

/// An account to create. Every account starts as an ordinary, active user.
#[derive(Clone, Copy)]
#[expect(missing_docs, reason = "the names say it")]
pub struct NewAccount<'a> {
    /// As [`email`](crate::rest::text::email) writes it.
    pub email: &'a str,
    pub phone: &'a str,
    /// The password's hash.
    pub password: &'a str,
    pub first_name: &'a str,
    pub middle_name: Option<&'a str>,
    pub last_name: &'a str,
    pub preferences: Option<&'a str>,
}

/// Why an account cannot be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Another account has this e-mail.
    Email,
    /// Another account has this phone number.
    Phone,
}

/// A condition of every statement that reads or writes for a user: the account is in good standing.
macro_rules! in_good_standing {
    ($user:literal) => {
        concat!(
            "exists (select 1 from users s where s.id = ",
            $user,
            " and s.is_active and not s.is_blocked)"
        )
    };
}
pub(crate) use in_good_standing;

macro_rules! account_columns {
    () => {
        "id, email, phone, password, role, is_active, is_blocked, first_name, middle_name, last_name, \
         preferences, created_at, updated_at"
    };
}

pub(crate) const STATEMENTS: &[Statement] = &[CREATE, BY_EMAIL, BY_ID, UPGRADE_PASSWORD];

const CREATE: Statement = statement(
    "create_account",
    concat!(
        "insert into users (email, phone, password, first_name, middle_name, last_name, preferences) ",
        "values ($1, $2, $3, $4, $5, $6, $7) returning ",
        account_columns!()
    ),
);

const BY_EMAIL: Statement = statement(
    "account_by_email",
    concat!(
        "select ",
        account_columns!(),
        " from users where email = any($1)
      order by array_position($1, email) limit 1"
    ),
);

const BY_ID: Statement =
    statement("account", concat!("select ", account_columns!(), " from users where id = $1"));

const UPGRADE_PASSWORD: Statement =
    statement("upgrade_password", "update users set password = $3 where id = $1 and password = $2");

impl Store {
    /// Creates an account.
    ///
    /// # Errors
    /// The store does not answer. `Ok(Err(_))`: another account has that e-mail or phone.
    pub async fn create_account(
        &self,
        new: NewAccount<'_>,
    ) -> Result<std::result::Result<AccountRow, Conflict>> {
        let outcome = self
            .query(
                &CREATE,
                &[
                    &new.email,
                    &new.phone,
                    &new.password,
                    &new.first_name,
                    &new.middle_name,
                    &new.last_name,
                    &new.preferences,
                ],
            )
            .await;
        match outcome {
            Ok(rows) => rows.first().map(account_row).map(Ok).ok_or_else(missing),
            Err(err) => match conflict(&err) {
                Some("users_email_key") => Ok(Err(Conflict::Email)),
                Some("users_phone_key") => Ok(Err(Conflict::Phone)),
                _ => Err(err),
            },
        }
    }

    /// The account with this e-mail, in any of the forms in which it may be stored
    /// ([`emails`](crate::rest::text::emails)); the first match counts.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn account_by_email(&self, ways: &[String]) -> Result<Option<AccountRow>> {
        let rows = self.query(&BY_EMAIL, &[&ways]).await?;
        Ok(rows.first().map(account_row))
    }

    /// The account with this id.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn account(&self, user: UserId) -> Result<Option<AccountRow>> {
        let rows = self.query(&BY_ID, &[&user.0]).await?;
        Ok(rows.first().map(account_row))
    }

    /// Replaces a password's hash, unless it has changed meanwhile.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn upgrade_password(&self, user: UserId, old: &str, new: &str) -> Result<()> {
        self.query(&UPGRADE_PASSWORD, &[&user.0, &old, &new]).await.map(drop)
    }
}

pub(super) fn account_row(row: &Row) -> AccountRow {
    AccountRow {
        id: UserId(row.get("id")),
        email: row.get("email"),
        phone: row.get("phone"),
        password: row.get("password"),
        role: if row.get::<_, &str>("role") == "ADMIN" { Role::Admin } else { Role::User },
        is_active: row.get("is_active"),
        is_blocked: row.get("is_blocked"),
        first_name: row.get("first_name"),
        middle_name: row.get("middle_name"),
        last_name: row.get("last_name"),
        preferences: row.get("preferences"),
        created_at: moment(row, "created_at"),
        updated_at: moment(row, "updated_at"),
    }
}
