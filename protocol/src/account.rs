//! Accounts: the user of a token, and what other users see of it.

use serde::{Deserialize, Serialize};

use crate::ids::{LoginId, UserId};

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Role {
    /// An ordinary user.
    User,
    /// May use `/admin`.
    Admin,
}

/// The user of a valid token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The account's id.
    pub user: UserId,
    /// The login the token descends from.
    pub login: LoginId,
    /// The role at the time the token was made.
    pub role: Role,
    /// The end of the token, in seconds since the epoch.
    pub expires_s: i64,
}

/// A person as other members of a conversation see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub struct Person {
    pub id: UserId,
    pub first_name: String,
    pub last_name: String,
    pub email: String,
}
