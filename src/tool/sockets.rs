//! `sessions`: the open sockets of a user. `kick`: close them, and end a login.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use common::bus::{Bus, Envelope, Subject};
use common::control::Asker;
use common::directory::Directory;
use protocol::control::{Answer, Question, Reply, SocketView};
use protocol::ids::{LoginId, NodeId, UserId};
use protocol::{self, Control, Timestamp};
use serde_json::{Value, json};

use super::ending::{Ending, Failure};
use super::peers::{OperatorPeers, of_ask, of_bus};
use super::print::{Out, age, count, row, span, table};
use super::values::Whose;

/// The subject on which every gateway hears that a login ended.
pub const GATEWAYS_SUBJECT: &str = "control.gateways";

/// The gateways that answered, and those that should have.
struct Heard {
    answers: Vec<Answer>,
    /// Gateways that the directory names for the user and that did not answer.
    silent: Vec<String>,
}

/// The sockets of a user, from their gateways.
pub async fn sessions(
    peers: &OperatorPeers,
    out: &Out,
    wait: Duration,
    whose: &Whose,
) -> Result<Ending, Failure> {
    peers.need(true, true, matches!(whose, Whose::Email(_)))?;
    let Some(user) = peers.user(whose).await? else { return nobody(out, whose) };
    let (bus, directory) = (peers.bus().await?, peers.directory().await?);
    let heard = ask(peers, &bus, &directory, user, Question::Sockets(user), wait).await?;
    bus.drain().await;

    let now = Timestamp::now();
    let (mut total, mut views) = (0, Vec::new());
    for answer in &heard.answers {
        if let Reply::Sockets { sockets, total: of_node } = &answer.said {
            total += *of_node as usize;
            views.extend(sockets);
        }
    }
    let json = json!({
        "user": user, "total": total, "silent": heard.silent,
        "sockets": views.iter().map(|view| json_of(view, now)).collect::<Vec<_>>(),
    });
    let mut rows = vec![row(["SOCKET", "NODE", "FORM", "LOGIN", "SINCE", "ADDRESS"])];
    rows.extend(views.iter().map(|view| {
        let (socket, node) = (view.socket.to_string(), view.socket.node.to_string());
        let since = format!("{} ago", span(age(view.since, now)));
        row([&socket, &node, &view.form, &view.login.to_string(), &since, "unknown"])
    }));
    let table = if views.is_empty() { String::new() } else { format!("{}\n\n", table(&rows)) };
    let text = format!("{table}user {user} has {}{}", count(total, "open socket"), silence(&heard));
    out.say(&json, &text)?;
    Ok(Ending::good(total > 0 && heard.silent.is_empty()))
}

/// Closes them.
pub async fn kick(
    peers: &OperatorPeers,
    out: &Out,
    wait: Duration,
    whose: &Whose,
    login: Option<LoginId>,
) -> Result<Ending, Failure> {
    peers.need(true, true, login.is_some() || matches!(whose, Whose::Email(_)))?;
    let Some(user) = peers.user(whose).await? else { return nobody(out, whose) };
    let (bus, directory) = (peers.bus().await?, peers.directory().await?);
    if let Some(login) = login
        && !end_login(peers, &bus, &directory, user, login).await?
    {
        let sentence = format!("user {user} has no login {login}: `chatchit user show {user}` lists them");
        out.say(&json!({ "user": user, "login": login, "found": false }), &sentence)?;
        return Ok(Ending::Partly);
    }
    let heard = ask(peers, &bus, &directory, user, Question::Kick { user, ended: login }, wait).await;
    let heard = heard.map_err(|failure| match (login, failure) {
        // What was done is said beside what was not.
        (Some(login), Failure::Failed(err)) => Failure::Failed(
            err.context(format!("login {login} has ended, and its sockets may still be open")),
        ),
        (_, failure) => failure,
    })?;
    bus.drain().await;

    let closed = heard.answers.iter().filter_map(|answer| match answer.said {
        Reply::Closed(closed) if closed > 0 => Some((answer.who.node.to_string(), closed)),
        _ => None,
    });
    let closed: Vec<(String, u32)> = closed.collect();
    let total: u32 = closed.iter().map(|(_, closed)| closed).sum();
    let by_node: serde_json::Map<String, Value> =
        closed.iter().map(|(node, closed)| (node.clone(), (*closed).into())).collect();
    let json = json!({
        "user": user, "found": true, "closed": total, "byNode": by_node, "endedLogin": login,
        "silent": heard.silent,
    });
    let ended = login.map_or_else(String::new, |login| format!("login {login} of user {user} has ended\n"));
    let closed = format!("{} on {}", count(total as usize, "socket"), count(closed.len(), "gateway"));
    out.say(&json, &format!("{ended}closed {closed}{}", silence(&heard)))?;
    Ok(Ending::good((total > 0 || login.is_some()) && heard.silent.is_empty()))
}

/// The same three steps as a logout, each of which may be repeated: the store, the directory, the
/// gateways. False: the user has no such login.
async fn end_login(
    peers: &OperatorPeers,
    bus: &Bus,
    directory: &Directory,
    user: UserId,
    login: LoginId,
) -> Result<bool, Failure> {
    let store = peers.store().await?;
    if !store.has_login(user, login).await.map_err(|err| anyhow!(err))? {
        return Ok(false);
    }
    store.end_login(user, login).await.map_err(|err| anyhow!(err))?;
    directory.end_login(login, peers.access_ttl).await.context("Redis")?;
    let subject = Subject::new(GATEWAYS_SUBJECT).context("a subject")?;
    let body = protocol::encode(&Control::EndLogin { user, login });
    bus.publish(Envelope { subject, key: 0, body }).await.context("RabbitMQ")?;
    Ok(true)
}

async fn ask(
    peers: &OperatorPeers,
    bus: &Bus,
    directory: &Directory,
    user: UserId,
    question: Question,
    wait: Duration,
) -> Result<Heard, Failure> {
    let seats = directory.nodes_of(&[user]).await.context("Redis")?.remove(&user).unwrap_or_default();
    let mut asker = Asker::open(bus, peers.node).await.map_err(of_bus)?;
    let answers = asker.ask(question, wait, |_| false).await.map_err(of_ask)?;
    let heard: BTreeSet<NodeId> = answers.iter().map(|answer| answer.who.node).collect();
    let silent = seats.iter().filter(|node| !heard.contains(node)).map(ToString::to_string).collect();
    Ok(Heard { answers, silent })
}

pub fn nobody(out: &Out, whose: &Whose) -> Result<Ending, Failure> {
    out.say(&json!({ "user": null, "found": false }), &format!("there is no user {whose}"))?;
    Ok(Ending::Partly)
}

fn silence(heard: &Heard) -> String {
    match heard.silent.as_slice() {
        [] => String::new(),
        silent => format!("; silent, though the directory has the user there: {}", silent.join(", ")),
    }
}

fn json_of(view: &SocketView, now: Timestamp) -> Value {
    json!({
        "socket": view.socket.to_string(), "node": view.socket.node.to_string(), "form": view.form,
        "login": view.login, "since": view.since, "ageMs": age(view.since, now), "address": null,
    })
}
