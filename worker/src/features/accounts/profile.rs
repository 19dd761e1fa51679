//! Accounts as their owners see them. No view has a password.

use protocol::{Reject, Role};
use serde_json::{Value, json};

use super::store::AccountRow;
use crate::rest::Call;
use crate::rest::response::{Outcome, Refusal, ok};

/// What the original returns in place of a password.
const STARS: &str = "*********";

/// `GET /users/me`: the account behind the token.
pub async fn me(call: Call<'_>) -> Outcome {
    let user = call.user()?;
    let account = call.ctx.store.account(user).await?;
    let account = account.ok_or_else(|| Refusal::not_found(format!("User with ID {user} not found")))?;
    if !account.in_good_standing() {
        return Err(Reject::Unauthorized.into());
    }
    ok(200, "Get current user information success", &profile_view(&account))
}

/// An account as the contract's `UserVm`.
fn profile_view(account: &AccountRow) -> Value {
    json!({
        "id": account.id,
        "phone": account.phone,
        "email": account.email,
        "password": STARS,
        "firstName": account.first_name,
        "type": role(account.role),
        "middleName": account.middle_name,
        "lastName": account.last_name,
        "isActive": account.is_active,
        "isReported": null,
        "isBlocked": account.is_blocked,
        "preferences": account.preferences,
        "createdAt": account.created_at,
        "updatedAt": account.updated_at,
    })
}

/// An account as the contract's `LoginUser`.
pub fn login_view(account: &AccountRow) -> Value {
    json!({
        "id": account.id,
        "email": account.email,
        "firstName": account.first_name,
        "lastName": account.last_name,
        "isActive": account.is_active,
    })
}

/// The answer to a registration: the original's row, without the hash.
pub fn row_view(account: &AccountRow) -> Value {
    json!({
        "id": account.id,
        "phone": account.phone,
        "email": account.email,
        "role": role(account.role),
        "is_blocked": account.is_blocked,
        "is_active": account.is_active,
        "first_name": account.first_name,
        "middle_name": account.middle_name,
        "last_name": account.last_name,
        "preferences": account.preferences,
        "level_left": null,
        "level_right": null,
        "created_at": account.created_at,
        "updated_at": account.updated_at,
    })
}

fn role(role: Role) -> &'static str {
    match role {
        Role::User => "USER",
        Role::Admin => "ADMIN",
    }
}
