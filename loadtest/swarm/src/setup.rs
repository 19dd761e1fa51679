//! Accounts and conversations for a run, made over REST.
//!
//! Passwords are slow to hash by design, so accounts and their tokens are kept in a file between
//! runs. Conversations are new in every run: their histories start at seq 1.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use common::auth::Signer;
use common::config::{AuthConfig, Secret};
use protocol::ids::{LoginId, UserId};
use protocol::{Account, Person, Role, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::evidence::SEQ_MAX;
use crate::options::Options;
use crate::rest::Rest;

/// Most concurrent REST calls.
const CALLS_MAX: usize = 8;
/// Lifetime of the tokens that swarm signs.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3_600);
/// The first id of accounts that exist only in tokens, above the ids of rows.
const MADE_UP_ID: i64 = 1 << 40;
/// The password of the accounts, which exist only for the load and hold no data.
const PASSWORD: &str = "Swarm-Passw0rd";

/// An account for the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    /// The server's id.
    pub id: i64,
    /// The access token.
    pub token: String,
}

/// A conversation created for the run.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// The server's id.
    pub id: i64,
    /// Indexes of its members; the first one created it.
    pub members: Vec<u32>,
}

/// The first `count` accounts, from the file or made now.
///
/// # Errors
/// The server refuses, or the file cannot be written.
pub async fn users(options: &Options, count: u32) -> anyhow::Result<Vec<User>> {
    let path = cache_path(options);
    let mut known: Vec<User> =
        std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    if !known.is_empty() {
        sign(options, &mut known[..1]);
        if !is_known(options, &known[0]).await? {
            known.clear();
        }
    }
    let had = known.len() as u32;
    if had < count {
        let calls = (had..count).map(|index| {
            let options = options.clone();
            async move { account(&options, index).await }
        });
        known.extend(at_once(calls).await.context("making accounts")?);
        let bytes = serde_json::to_vec(&known)?;
        std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    known.truncate(count as usize);
    sign(options, &mut known);
    Ok(known)
}

/// Accounts for sockets that take part in nothing. With the secret they need no row.
///
/// # Errors
/// The server refuses.
pub async fn bystanders(options: &Options, first: u32, count: u32) -> anyhow::Result<Vec<User>> {
    let Some(secret) = &options.jwt_secret else {
        return Ok(users(options, first + count).await?.split_off(first as usize));
    };
    let user = |at: u32| {
        let id = MADE_UP_ID + i64::from(at);
        User { id, token: token(secret, id) }
    };
    Ok((0..count).map(user).collect())
}

/// New conversations: the c-th one is of users c, c+1, ... (wrapping), spread so that all are in
/// some if there is room.
///
/// # Errors
/// The server refuses.
pub async fn conversations(options: &Options, users: &[User]) -> anyhow::Result<Vec<Conversation>> {
    let count = users.len() as u32;
    let stride = (count / options.conversations.max(1)).max(1);
    let calls = (0..options.conversations).map(|index| {
        let members: Vec<u32> =
            (0..options.members).map(|member| (index * stride + member) % count).collect();
        let (options, ids) = (options.clone(), members.iter().map(|at| users[*at as usize].id));
        let participants: Vec<_> = ids.skip(1).map(|id| json!({ "userId": id, "type": "MEMBER" })).collect();
        let token = users[members[0] as usize].token.clone();
        async move {
            let body = json!({ "title": format!("swarm {index}"), "participants": participants });
            let mut rest = Rest::new(&options.urls, index as usize);
            let data = rest.data("POST", "/conversations/create", Some(&token), Some(&body)).await?;
            let id = data["id"].as_i64().context("a new conversation has an id")?;
            anyhow::Ok(Conversation { id, members })
        }
    });
    at_once(calls).await.context("making conversations")
}

/// Runs calls, [`CALLS_MAX`] at once; results in the order of the calls.
pub async fn at_once<T: Send + 'static>(
    calls: impl IntoIterator<Item = impl Future<Output = anyhow::Result<T>> + Send + 'static>,
) -> anyhow::Result<Vec<T>> {
    let mut running = JoinSet::new();
    let mut results = vec![];
    for (at, call) in calls.into_iter().enumerate() {
        if running.len() >= CALLS_MAX
            && let Some(result) = running.join_next().await
        {
            results.push(result?);
        }
        running.spawn(async move { (at, call.await) });
    }
    while let Some(result) = running.join_next().await {
        results.push(result?);
    }
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

fn cache_path(options: &Options) -> PathBuf {
    let mut name = options.cache.as_os_str().to_owned();
    name.push(format!("-{}-{}.json", options.urls[0].port, options.seed));
    name.into()
}

async fn is_known(options: &Options, user: &User) -> anyhow::Result<bool> {
    let mut rest = Rest::new(&options.urls, 0);
    let (status, value) = rest.call("GET", "/users/me", Some(&user.token), None).await?;
    if status == 404 && value["message"].as_str().is_some_and(|text| text.starts_with("Cannot GET")) {
        // No such route: the list of conversations at least proves that the token is valid.
        let path = "/conversations?page=1&size=1";
        return Ok(rest.call("GET", path, Some(&user.token), None).await?.0 == 200);
    }
    Ok(status == 200)
}

async fn account(options: &Options, index: u32) -> anyhow::Result<User> {
    let email = format!("swarm-{}-{index}@example.test", options.seed);
    let mut rest = Rest::new(&options.urls, index as usize);
    let body = json!({
        "email": email, "password": PASSWORD, "phone": format!("+999{:03}{index:07}", options.seed % 1_000),
        "firstName": "Swarm", "lastName": format!("No{index}"), "role": "USER", "isActive": true,
    });
    let (status, answer) = rest.call("POST", "/auth/register", None, Some(&body)).await?;
    match status {
        201 if options.jwt_secret.is_some() => {
            if let Some(id) = answer["data"]["id"].as_i64() {
                return Ok(User { id, token: String::new() });
            }
        }
        // 400, 409: it was there already, or the login says what is wrong.
        201 | 400 | 409 => {}
        _ => bail!("registering {email}: {status} {answer}"),
    }
    let body = json!({ "email": email, "password": PASSWORD });
    let data = rest.data("POST", "/auth/login", None, Some(&body)).await?;
    let token = data["accessToken"].as_str().map(str::to_owned);
    let id = data["user"]["id"].as_i64();
    id.zip(token).map(|(id, token)| User { id, token }).with_context(|| format!("login said {data}"))
}

/// Signs tokens if the options have the secret.
fn sign(options: &Options, users: &mut [User]) {
    let Some(secret) = &options.jwt_secret else { return };
    for user in users {
        user.token = token(secret, user.id);
    }
}

/// An access token for an account.
pub fn token(secret: &str, user: i64) -> String {
    let access_secret = Secret::new(secret);
    let signer = Signer::new(&AuthConfig { access_secret, access_ttl: TOKEN_TTL, refresh_ttl: TOKEN_TTL });
    let (now, id) = (Timestamp::now(), UserId(user));
    let account = Account { user: id, login: LoginId(0), role: Role::User, expires_s: signer.expires_s(now) };
    let person = Person {
        id,
        first_name: "Swarm".into(),
        last_name: format!("No{id}"),
        email: "swarm@example.test".into(),
    };
    signer.sign(&account, &person, now)
}

/// The whole history of a conversation, newest first, as JSON pages handed to `page`.
///
/// # Errors
/// It cannot be read.
pub async fn history(
    rest: &mut Rest,
    token: &str,
    conversation: i64,
    down_to: u64,
    mut page: impl FnMut(Value),
) -> anyhow::Result<()> {
    let mut before = SEQ_MAX;
    loop {
        let path = format!("/conversations/{conversation}/message?before={before}&limit=100");
        let data = rest.data("GET", &path, Some(token), None).await?;
        let rows = data["result"].as_array().context("a page of history has rows")?;
        let lowest = rows.iter().filter_map(|row| row["seq"].as_u64()).min();
        page(data);
        match lowest {
            Some(lowest) if lowest > down_to.max(1) && lowest < before => before = lowest,
            _ => return Ok(()),
        }
    }
}
