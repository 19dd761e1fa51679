//! The table of event to handler.
//!
//! Handlers take a run of events of one kind, in order, and answer for each; one SQL statement
//! serves them all. Either the whole run was handled, or it halted and nothing may be assumed:
//! it is then handled again, which is safe because handlers are.

use common::directory::DirectoryError;
use common::ids::Guid;
use common::plumbing::PublishError;
use common::protocol::control::Stage;
use common::protocol::{
    ClientEvent, MessageRead, Origin, Reject, SendMessage, Sender, ServerEvent, Timestamp, Typing, Uplink,
};

use crate::ctx::Ctx;
use crate::effects::Effects;
use crate::handlers::{message, presence, typing};
use crate::store::StoreError;

/// An event off a lane.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// Who said what, when.
    pub uplink: Uplink,
    /// It may have been worked on before, here or elsewhere, by somebody who did not live to tell
    /// anybody: what it asked for may be done and still has to be told.
    pub again: bool,
    /// The chat message it brings, if the way of messages is remembered.
    pub origin: Option<Origin>,
}

/// An event as its handler sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a, E> {
    pub from: &'a Sender,
    pub at: Timestamp,
    pub event: &'a E,
    pub again: bool,
    pub origin: Option<Origin>,
}

/// What a handler answers for each event of its run.
pub(crate) type Outcomes = Result<Vec<Result<Effects, Reject>>, Halt>;

/// Why a run could not be handled.
#[derive(Debug)]
pub(crate) enum Halt {
    /// A peer is away: hold what you have and try again.
    Away(Peer, anyhow::Error),
    /// It can never work as it is: find the event that is to blame.
    Fault(anyhow::Error),
}

/// Whom a worker needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Store,
    Directory,
    Bus,
}

impl Peer {
    /// The value of the metric label `reason`, and the part in the readiness report.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Directory => "directory",
            Self::Bus => "bus",
        }
    }
}

/// The events of a run, each with what came of it. A reject is answered to its sender.
pub(crate) async fn dispatch(ctx: &Ctx, batch: &[Taken]) -> Result<Vec<Effects>, Halt> {
    let mut effects = Vec::with_capacity(batch.len());
    for run in batch.chunk_by(|one, other| one.uplink.event.name() == other.uplink.event.name()) {
        let outcomes = handle(ctx, run).await?;
        // Invariant: a handler answers for each event it was given.
        debug_assert_eq!(outcomes.len(), run.len());
        let settle = |(taken, outcome): (&Taken, Result<Effects, Reject>)| {
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
async fn handle(ctx: &Ctx, run: &[Taken]) -> Outcomes {
    match run.first().map(|taken| &taken.uplink.event) {
        Some(ClientEvent::SendMessage(_)) => message::send(ctx, &each(run, send_message)).await,
        Some(ClientEvent::MessageRead(_)) => message::read(ctx, &each(run, message_read)).await,
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

fn each<'a, E>(run: &'a [Taken], pick: fn(&ClientEvent) -> Option<&E>) -> Vec<Asked<'a, E>> {
    let asked = run.iter().filter_map(|taken| {
        let Taken { uplink, again, origin } = taken;
        let event = pick(&uplink.event)?;
        Some(Asked { from: &uplink.from, at: uplink.at, event, again: *again, origin: *origin })
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

impl From<StoreError> for Halt {
    fn from(err: StoreError) -> Self {
        match err {
            StoreError::Unavailable(err) => Self::Away(Peer::Store, err),
            StoreError::Fault(err) => Self::Fault(err),
            // Statements over a whole batch answer rejects for each of it.
            StoreError::Reject(reject) => {
                Self::Fault(anyhow::anyhow!("a reject for a whole batch: {reject}"))
            }
        }
    }
}

impl From<DirectoryError> for Halt {
    fn from(err: DirectoryError) -> Self {
        Self::Away(Peer::Directory, err.into())
    }
}

impl From<PublishError> for Halt {
    fn from(err: PublishError) -> Self {
        Self::Away(Peer::Bus, err.into())
    }
}
