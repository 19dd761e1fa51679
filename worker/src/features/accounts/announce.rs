//! Tells the cluster that a login is over.

use common::bus::{Envelope, Subject};
use protocol::Control;
use protocol::ids::{LoginId, UserId};
use tracing::warn;

use crate::ctx::Ctx;
use crate::rest::response::Refusal;

/// The subject on which every gateway hears that a login ended.
const CONTROL_SUBJECT: &str = "control.gateways";

/// Tells the directory, then the gateways, that a login is over.
pub(super) async fn tell_end(ctx: &Ctx, user: UserId, login: LoginId) -> Result<(), Refusal> {
    ctx.directory.end_login(login, ctx.access_ttl).await?;
    tell_gateways(ctx, user, login).await
}

/// Tells every gateway that a login is over.
pub(super) async fn tell_gateways(ctx: &Ctx, user: UserId, login: LoginId) -> Result<(), Refusal> {
    let body = protocol::encode(&Control::EndLogin { user, login });
    let subject = Subject::new(CONTROL_SUBJECT).map_err(|_| Refusal::failed())?;
    ctx.bus.publish(Envelope { subject, key: 0, body }).await.map_err(|err| {
        warn!("The end of a login was not announced: {err}");
        Refusal::busy()
    })
}
