//! `migrate`, `user create`, `user show`: what an operator does to the database.

use std::io::BufRead as _;

use anyhow::{anyhow, bail};
use common::limits::{NAME_CHARS_MAX, PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};
use common::random;
use protocol::{Role, Timestamp};
use serde_json::{Value, json};
use worker::features::accounts::Passwords;
use worker::features::accounts::{Conflict, NewAccount};
use worker::features::operator::LoginRow;
use worker::rest::text;

use super::command::NewUser;
use super::ending::{Ending, Failure};
use super::peers::OperatorPeers;
use super::print::{Out, age, count, row, span, table};
use super::values::Whose;

/// Hexadecimal digits of a password that is made here: 128 bits.
const PASSWORD_DIGITS: usize = 32;

/// Logins shown.
const LOGINS_SHOWN_MAX: i64 = 100;

/// Brings the schema up to date.
pub async fn migrate(peers: &OperatorPeers, out: &Out) -> Result<Ending, Failure> {
    let applied = peers.store().await?.migrate_and_tell().await?;
    let text = match applied.as_slice() {
        [] => "nothing to apply: the schema is up to date".to_owned(),
        applied => applied.iter().map(|name| format!("applied {name}\n")).collect(),
    };
    out.say(&json!({ "applied": applied }), &text)?;
    Ok(Ending::Good)
}

/// Makes an account.
pub async fn create(peers: &OperatorPeers, out: &Out, new: &NewUser) -> Result<Ending, Failure> {
    peers.need(false, false, true)?;
    let made =
        (!new.password_stdin).then(|| random::secret().chars().take(PASSWORD_DIGITS).collect::<String>());
    let name = new.name.as_deref().or(new.email.split('@').next()).unwrap_or_default();
    // Each account has a phone number of its own in the schema; an operator's may have none.
    let phone = new.phone.clone().unwrap_or_else(|| format!("none:{}", new.email));
    let password = match &made {
        Some(made) => made.clone(),
        None => checked(std::io::stdin().lock().lines().next().transpose()?.unwrap_or_default())?,
    };
    if [&*new.email, name, &*phone].iter().any(|text| text.chars().count() > NAME_CHARS_MAX) {
        return Err(anyhow!("an e-mail, a name and a phone have at most {NAME_CHARS_MAX} characters").into());
    }
    let store = peers.store().await?;
    let hash = Passwords::default().hash(text::password(&password)).await;
    let hash = hash.map_err(|reject| anyhow!("the password could not be hashed: {reject:?}"))?;
    let account = NewAccount {
        email: &new.email,
        phone: &phone,
        password: &hash,
        first_name: name,
        middle_name: None,
        last_name: "",
        preferences: None,
    };
    let role = if new.admin { Role::Admin } else { Role::User };
    let id = match store.create_account_of(account, role).await.map_err(|err| anyhow!(err))? {
        Ok(id) => id,
        Err(taken) => {
            let what = match taken {
                Conflict::Email => "e-mail",
                Conflict::Phone => "phone number",
            };
            out.say(
                &json!({ "id": null, "taken": what }),
                &format!("another account has this {what} already"),
            )?;
            return Ok(Ending::Partly);
        }
    };
    let json = json!({ "id": id, "email": new.email, "role": role, "password": made });
    let secret = made.map_or_else(String::new, |made| format!("\npassword (shown this once): {made}"));
    out.say(&json, &format!("user {id}, {} {}{secret}", word(role), new.email))?;
    Ok(Ending::Good)
}

/// Shows one, without its hash, and its logins.
pub async fn show(peers: &OperatorPeers, out: &Out, whose: &Whose) -> Result<Ending, Failure> {
    let store = peers.store().await?;
    let account = match whose {
        Whose::Id(user) => store.account(*user).await,
        Whose::Email(email) => store.account_by_email(&text::emails(email)).await,
    };
    let Some(account) = account.map_err(|err| anyhow!(err))? else {
        out.say(&json!({ "id": null }), "there is no such user")?;
        return Ok(Ending::Partly);
    };
    let logins = store.logins_of(account.id, LOGINS_SHOWN_MAX).await.map_err(|err| anyhow!(err))?;
    let now = Timestamp::now();
    let name = format!("{} {}", account.first_name, account.last_name);
    let json = json!({
        "id": account.id, "email": account.email, "phone": account.phone, "name": name.trim(),
        "role": account.role, "isActive": account.is_active, "isBlocked": account.is_blocked,
        "createdAt": account.created_at,
        "logins": logins.iter().map(json_of).collect::<Vec<_>>(),
    });
    let standing = if account.in_good_standing() { "in good standing" } else { "may not log in" };
    let mut rows = vec![row(["LOGIN", "BEGUN", "STATE"])];
    rows.extend(logins.iter().map(|login| {
        let begun = format!("{} ago", span(age(login.created_at, now)));
        row([&login.id.to_string(), &begun, state(login)])
    }));
    let logins = if logins.is_empty() { count(0, "login") } else { table(&rows) };
    let text = format!(
        "user {}, {} {}, {}, phone {}\n{standing}, made at {}\n\n{logins}",
        account.id,
        word(account.role),
        account.email,
        name.trim(),
        account.phone,
        account.created_at
    );
    out.say(&json, &text)?;
    Ok(Ending::Good)
}

/// The same bounds as at the front door.
fn checked(password: String) -> anyhow::Result<String> {
    if text::password(&password).chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        bail!(
            "the first line of standard input should be a password of {PASSWORD_CHARS_MIN} characters to {PASSWORD_BYTES_MAX} bytes"
        );
    }
    Ok(password)
}

fn json_of(login: &LoginRow) -> Value {
    json!({
        "id": login.id, "createdAt": login.created_at, "endedAt": login.ended_at,
        "expiresAt": login.expires_at, "state": state(login),
    })
}

fn state(login: &LoginRow) -> &'static str {
    match (login.ended_at, login.expires_at) {
        (Some(_), _) => "ended",
        (None, Some(_)) => "open",
        (None, None) => "expired",
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Admin => "administrator",
    }
}

#[cfg(test)]
mod tests {
    use protocol::ids::LoginId;

    use super::*;

    #[test]
    fn a_password_is_as_long_as_everybodys() {
        assert!(checked("12345".into()).is_err());
        assert!(checked("x".repeat(PASSWORD_BYTES_MAX + 1)).is_err());
        assert_eq!(checked("sáu ký".into()).unwrap(), "sáu ký");
    }

    #[test]
    fn a_login_is_open_until_it_ends_or_expires() {
        let at = Some(Timestamp(1));
        let login = LoginRow { id: LoginId(1), created_at: Timestamp(0), ended_at: None, expires_at: at };
        assert_eq!(state(&login), "open");
        assert_eq!(state(&LoginRow { expires_at: None, ..login.clone() }), "expired");
        assert_eq!(state(&LoginRow { ended_at: at, expires_at: None, ..login }), "ended");
    }
}
