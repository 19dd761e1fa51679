//! `user block` and `user unblock`.

use anyhow::{Context as _, anyhow};
use common::bus::{Envelope, Subject};
use protocol::ids::{LoginId, UserId};
use protocol::{self, Control};
use serde_json::json;

use super::ending::{Ending, Failure};
use super::peers::OperatorPeers;
use super::print::{Out, count};
use super::sockets::{GATEWAYS_SUBJECT, nobody};
use super::values::Whose;

/// Blocks an account. The database comes first, because that alone refuses the user's next requests; then it
/// tells the gateways to close the user's sockets.
pub async fn block(peers: &OperatorPeers, out: &Out, whose: &Whose) -> Result<Ending, Failure> {
    peers.need(true, true, true)?;
    let Some((user, ended)) = write(peers, whose, true).await? else { return nobody(out, whose) };
    let told = tell(peers, user, &ended).await;
    told.context(
        "the account is blocked, and workers close its sockets within seconds of reaching the other peers",
    )?;
    let text = format!("user {user} is blocked; {} ended", count(ended.len(), "login"));
    out.say(&json!({ "user": user, "found": true, "isBlocked": true, "endedLogins": ended }), &text)?;
    Ok(Ending::Good)
}

/// Takes a block away: the user may log in again.
pub async fn unblock(peers: &OperatorPeers, out: &Out, whose: &Whose) -> Result<Ending, Failure> {
    peers.need(false, false, true)?;
    let Some((user, _)) = write(peers, whose, false).await? else { return nobody(out, whose) };
    let json = json!({ "user": user, "found": true, "isBlocked": false });
    out.say(&json, &format!("user {user} is not blocked; logins that ended stay ended"))?;
    Ok(Ending::Good)
}

/// The user, and its ended logins whose tokens may still be valid. None: the user does not exist.
async fn write(
    peers: &OperatorPeers,
    whose: &Whose,
    is_blocked: bool,
) -> Result<Option<(UserId, Vec<LoginId>)>, Failure> {
    let Some(user) = peers.user(whose).await? else { return Ok(None) };
    let store = peers.store().await?;
    if !store.set_blocked(user, is_blocked).await.map_err(|err| anyhow!(err))? {
        return Ok(None);
    }
    let ended = store.ended_logins_of(user, peers.access_ttl).await.map_err(|err| anyhow!(err))?;
    Ok(Some((user, ended)))
}

async fn tell(peers: &OperatorPeers, user: UserId, ended: &[LoginId]) -> anyhow::Result<()> {
    let ttls: Vec<_> = ended.iter().map(|login| (*login, peers.access_ttl)).collect();
    peers.directory().await?.end_logins(&ttls).await.context("Redis")?;
    let bus = peers.bus().await?;
    for login in ended {
        let subject = Subject::new(GATEWAYS_SUBJECT).context("a subject")?;
        let body = protocol::encode(&Control::EndLogin { user, login: *login });
        bus.publish(Envelope { subject, key: 0, body }).await.context("RabbitMQ")?;
    }
    bus.drain().await;
    Ok(())
}
