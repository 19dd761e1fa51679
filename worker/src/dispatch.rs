//! The table of event to handler.
//!
//! Handlers take a run of events of one kind, in order, and answer for each; one SQL statement
//! serves them all. Either the whole run was handled, or it halted and nothing may be assumed:
//! it is then handled again, which is safe because handlers are.

use protocol::control::Stage;
use protocol::ids::Guid;
use protocol::{ClientEvent, MessageRead, Reject, SendMessage, ServerEvent, Typing, Uplink};

use crate::ctx::Ctx;
use crate::effects::Effects;
use crate::features::{messages, presence, typing};
use crate::work::{Halt, LaneEvent, Outcomes, Request};

/// The events of a run, each with what came of it. A reject is answered to its sender.
pub(crate) async fn dispatch(ctx: &Ctx, batch: &[LaneEvent]) -> Result<Vec<Effects>, Halt> {
    let mut effects = Vec::with_capacity(batch.len());
    for run in batch.chunk_by(|one, other| one.uplink.event.name() == other.uplink.event.name()) {
        let outcomes = handle(ctx, run).await?;
        // Invariant: a handler answers for each event it was given.
        debug_assert_eq!(outcomes.len(), run.len());
        let settle = |(taken, outcome): (&LaneEvent, Result<Effects, Reject>)| {
            let effects = outcome.unwrap_or_else(|reject| {
                ctx.noted(&taken.uplink, Stage::Refused(reject));
                refuse(&taken.uplink, reject)
            });
            Effects { since: Some(taken.uplink.at), origin: taken.origin, ..effects }
        };
        effects.extend(run.iter().zip(outcomes).map(settle));
    }
    Ok(effects)
}

/// Exactly one match: which handler an event belongs to.
async fn handle(ctx: &Ctx, run: &[LaneEvent]) -> Outcomes {
    match run.first().map(|taken| &taken.uplink.event) {
        Some(ClientEvent::SendMessage(_)) => messages::send(ctx, &each(run, send_message)).await,
        Some(ClientEvent::MessageRead(_)) => messages::read(ctx, &each(run, message_read)).await,
        Some(ClientEvent::Typing(_)) => typing::relay(ctx, &each(run, typing_event)).await,
        Some(ClientEvent::GetOnlineUsers) => presence::online(ctx, &each(run, online_users)).await,
        Some(ClientEvent::Sync(_) | ClientEvent::Ping) => {
            Err(Halt::Fault(anyhow::anyhow!("this event travels on no lane")))
        }
        None => Ok(Vec::new()),
    }
}

/// What the sender of a refused event hears.
pub(crate) fn refuse(uplink: &Uplink, reject: Reject) -> Effects {
    let event = Some(uplink.event.name());
    let guid = guid(&uplink.event).cloned();
    let rejected = ServerEvent::Rejected { event, reject, guid, retry_in_ms: None };
    Effects { origin: uplink.origin(), ..Effects::default().reply(&uplink.from, rejected) }
}

fn guid(event: &ClientEvent) -> Option<&Guid> {
    match event {
        ClientEvent::SendMessage(event) => event.guid.as_ref(),
        _ => None,
    }
}

fn each<'a, E>(run: &'a [LaneEvent], pick: fn(&ClientEvent) -> Option<&E>) -> Vec<Request<'a, E>> {
    let asked = run.iter().filter_map(|taken| {
        let LaneEvent { uplink, again, origin } = taken;
        let event = pick(&uplink.event)?;
        Some(Request { from: &uplink.from, at: uplink.at, event, again: *again, origin: *origin })
    });
    asked.collect()
}

fn send_message(event: &ClientEvent) -> Option<&SendMessage> {
    if let ClientEvent::SendMessage(event) = event { Some(event) } else { None }
}

fn message_read(event: &ClientEvent) -> Option<&MessageRead> {
    if let ClientEvent::MessageRead(event) = event { Some(event) } else { None }
}

fn typing_event(event: &ClientEvent) -> Option<&Typing> {
    if let ClientEvent::Typing(event) = event { Some(event) } else { None }
}

fn online_users(event: &ClientEvent) -> Option<&()> {
    if matches!(event, ClientEvent::GetOnlineUsers) { Some(&()) } else { None }
}
