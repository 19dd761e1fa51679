//! Register, log in, refresh, log out.
//!
//! A login is a family of refresh tokens. Its end is written to the store first, then to the
//! directory (for gateways that start later), then announced to every gateway. Each step is
//! idempotent, so if one fails the client gets `busy` and repeats them all.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::random;
use garde::Validate;
use protocol::ids::{LoginId, UserId};
use protocol::{Account, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::info;

use super::announce::tell_end;
use super::digest::{Digest, digest, digest_text};
use super::guesses::{Try, may_register, network, remembered};
use super::logins::{NewLogin, Refreshed};
use super::passwords::{Passwords, Verdict};
use super::profile as users;
use super::store::{AccountRow, Conflict, NewAccount};
use crate::ctx::Ctx;
use crate::metrics;
use crate::rest::fields::{Email, Label, MaybeLabel, MaybeObject, Password, Text};
use crate::rest::input::read;
use crate::rest::response::{Outcome, Refusal, ok};
use crate::rest::{Call, text};

/// The answer to every refused login, whatever the reason.
const REFUSED: &str = "Email or password is incorrect";

/// The body of a registration.
#[derive(Default, Deserialize, Validate)]
#[serde(rename_all = "camelCase", default)]
struct Registration {
    #[garde(dive)]
    email: Email,
    #[garde(dive)]
    password: Password,
    #[garde(dive)]
    phone: Label,
    #[garde(dive)]
    first_name: Label,
    #[garde(dive)]
    middle_name: MaybeLabel,
    #[garde(dive)]
    last_name: Label,
    #[garde(dive)]
    preferences: MaybeObject,
}

/// The body of a login.
#[derive(Default, Deserialize, Validate)]
#[serde(default)]
struct Credentials {
    #[garde(dive)]
    email: Email,
    #[garde(dive)]
    password: Password,
}

/// The body of a refresh.
#[derive(Default, Deserialize, Validate)]
#[serde(rename_all = "camelCase", default)]
struct Refreshing {
    #[garde(dive)]
    refresh_token: Text,
}

/// `POST /auth/register`: creates an account, always with the role of a user. The answer says whether the e-mail
/// or the phone number is taken, after as long as creating an account takes.
pub async fn register(call: Call<'_>) -> Outcome {
    let Call { ctx, request, .. } = call;
    let body: Registration = read(&request.body)?;
    let emails = body.email.ways();
    let network = network(request.address);
    may_register(ctx, &network).await?;

    let passwords = ctx.own::<Passwords>();
    let _share = passwords.share(&network)?;
    let password = passwords.hash(text::password(body.password.text())).await?;
    let (phone, first_name, last_name) =
        (body.phone.label(), body.first_name.label(), body.last_name.label());
    let (middle_name, preferences) = (body.middle_name.label(), body.preferences.json());
    let new = NewAccount {
        email: &emails[0],
        phone: phone.trim(),
        password: &password,
        first_name: &first_name,
        middle_name: middle_name.as_deref(),
        last_name: &last_name,
        preferences: preferences.as_deref(),
    };
    let made = match ctx.store.account_by_email(&emails).await? {
        Some(_) => Err(Conflict::Email),
        None => ctx.store.create_account(new).await?,
    };
    match made {
        Ok(account) => ok(201, "Register success", &users::row_view(&account)),
        Err(Conflict::Email) => Err(Refusal::bad_request("User email already exists!")),
        Err(Conflict::Phone) => Err(Refusal::bad_request("Phone number is already taken")),
    }
}

/// `POST /auth/login`: begins a login. All refusals have the same text and take as long.
pub async fn login(call: Call<'_>) -> Outcome {
    let Call { ctx, request, .. } = call;
    let body: Credentials = read(&request.body)?;
    let (emails, password) = (body.email.ways(), body.password.text());
    let network = network(request.address);
    let mut guess = Try::of(ctx, &digest_text(&emails[0]), &network).await?;
    let account = match owner(ctx, &mut guess, &emails, password, &network).await {
        Ok(Some(account)) => account,
        Ok(None) => {
            metrics::login_refused("wrong");
            return Err(Refusal::unauthorized(REFUSED));
        }
        Err(refusal) => {
            guess.give_back().await?;
            return Err(refusal);
        }
    };
    guess.give_back().await?;
    let (token, first) = new_refresh_token();
    let new = NewLogin {
        user: account.id,
        first: &first,
        refresh_ttl: ctx.refresh_ttl,
        access_ttl: ctx.access_ttl,
        address: &remembered(account.id, &network),
    };
    // None: the account was blocked while its password was checked.
    let login = ctx.store.begin_login(new).await?.ok_or_else(|| Refusal::unauthorized(REFUSED))?;
    ok(200, "Login success", &tokens(ctx, &account, login, &token))
}

/// The account of this e-mail and password. None: they do not match, or the account may not log in.
async fn owner(
    ctx: &Ctx,
    guess: &mut Try<'_>,
    emails: &[String],
    password: &str,
    network: &str,
) -> Result<Option<AccountRow>, Refusal> {
    let account = ctx.store.account_by_email(emails).await?;
    // An e-mail without an account is looked up as well, so that it takes as long.
    let user = account.as_ref().map_or(UserId(0), |account| account.id);
    if !ctx.store.is_known_address(user, &remembered(user, network)).await? {
        guess.count_stranger(&digest_text(&emails[0]), network).await?;
    }
    let passwords = ctx.own::<Passwords>();
    let _share = passwords.share(network).inspect_err(|_| metrics::login_refused("busy"))?;
    let kept = account.as_ref().map(|account| account.password.clone());
    let verdict = passwords.judge(text::passwords(password), kept).await?;
    let account = match (account, &verdict) {
        (Some(account), Verdict::Right | Verdict::RightButOld(_)) if account.in_good_standing() => account,
        _ => return Ok(None),
    };
    if let Verdict::RightButOld(hash) = &verdict {
        ctx.store.upgrade_password(account.id, &account.password, hash).await?;
    }
    Ok(Some(account))
}

/// `POST /auth/refresh`: exchanges a refresh token for the next one and a new access token. A token that was
/// spent some time ago, or whose successor was used, ends its login, because two parties have it.
pub async fn refresh(call: Call<'_>) -> Outcome {
    let Call { ctx, request, .. } = call;
    let body: Refreshing = read(&request.body)?;
    let shown = body.refresh_token.text();

    let token = ctx.signer.successor(shown);
    match ctx.store.refresh_login(&digest(shown), &digest(&token), ctx.refresh_ttl).await? {
        Refreshed::Rotated { account, login } => {
            ok(200, "Token refreshed", &tokens(ctx, &account, login, &token))
        }
        Refreshed::Reused { user, login, has_ended_now: true } => {
            info!(user.id = %user, login.id = %login, "A spent refresh token was used again: its login ends");
            tell_end(ctx, user, login).await?;
            Err(Refusal::unauthorized("Refresh token is invalid"))
        }
        Refreshed::Reused { .. } | Refreshed::Unknown => {
            Err(Refusal::unauthorized("Refresh token is invalid"))
        }
    }
}

/// `POST /auth/logout`: ends the login that the token descends from, with its tokens and sockets.
pub async fn logout(call: Call<'_>) -> Outcome {
    let (ctx, account) = (call.ctx, call.account()?);
    ctx.store.end_login(account.user, account.login).await?;
    tell_end(ctx, account.user, account.login).await?;
    ok(200, "Logout successful", &json!({ "message": "Logout successful" }))
}

fn tokens(ctx: &Ctx, account: &AccountRow, login: LoginId, refresh_token: &str) -> Value {
    let now = Timestamp::now();
    let expires_s = ctx.signer.expires_s(now);
    let claims = Account { user: account.id, login, role: account.role, expires_s };
    json!({
        "accessToken": ctx.signer.sign(&claims, &account.person(), now),
        "refreshToken": refresh_token,
        "tokenType": "Bearer",
        "expiresIn": ctx.access_ttl.as_secs(),
        "user": users::login_view(account),
    })
}

/// Creates a refresh token of 256 random bits, and the digest that the store keeps.
fn new_refresh_token() -> (String, Digest) {
    let token = URL_SAFE_NO_PAD.encode(random::bytes::<32>());
    let digest = digest(&token);
    (token, digest)
}
