//! From an event's name to its handler: the table of all features.
//!
//! Handlers take a run of events of one kind, in order, and answer for each; one SQL statement
//! serves them all. Either the whole run was handled, or it halted and nothing may be assumed:
//! it is then handled again, which is safe because handlers are.

use std::sync::Arc;

use common::lanes::{Effects, Halt, Handle, LaneEvent};
use foldhash::HashMap;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use protocol::Reject;
use protocol::control::Stage;
use protocol::events::{ClientRow, Events};

use crate::ctx::Ctx;
use crate::feature::{EventRow, Feature};

/// The handlers of these features, by event.
pub(crate) struct Dispatcher {
    handlers: HashMap<&'static str, EventRow>,
    events: Arc<Events>,
}

impl Dispatcher {
    pub(crate) fn of(features: &[&Feature]) -> Self {
        let rows: Vec<EventRow> = features.iter().flat_map(|feature| feature.events).copied().collect();
        let known: Vec<&'static ClientRow> = rows.iter().map(|row| row.row).collect();
        let handlers = rows.into_iter().map(|row| (row.row.name, row)).collect();
        Self { handlers, events: Arc::new(Events::of(&[&known])) }
    }

    /// The names of refusals, for the lanes.
    pub(crate) fn events(&self) -> Arc<Events> {
        Arc::clone(&self.events)
    }

    /// As the lanes want it.
    pub(crate) fn into_handle(self, ctx: Ctx) -> Handle {
        let both = Arc::new((self, ctx));
        Arc::new(move |batch: &[LaneEvent]| -> BoxFuture<'_, _> {
            let both = Arc::clone(&both);
            async move { both.0.dispatch(&both.1, batch).await }.boxed()
        })
    }

    /// The events of a run, each with what came of it. A reject is answered to its sender.
    async fn dispatch(&self, ctx: &Ctx, batch: &[LaneEvent]) -> Result<Vec<Effects>, Halt> {
        let mut effects = Vec::with_capacity(batch.len());
        for run in batch.chunk_by(|one, other| one.uplink.event == other.uplink.event) {
            let name = run.first().map(|event| &*event.uplink.event).unwrap_or_default();
            // A younger program may know it: it climbs the retry ladder.
            let row = self.handlers.get(name);
            let row = row.ok_or_else(|| Halt::Fault(anyhow::anyhow!("no feature handles {name}")))?;
            let outcomes = (row.handle)(ctx, run).await?;
            // Invariant: a handler answers for each event it was given.
            debug_assert_eq!(outcomes.len(), run.len());
            effects.extend(run.iter().zip(outcomes).map(|(event, outcome)| self.settle(ctx, event, outcome)));
        }
        Ok(effects)
    }

    fn settle(&self, ctx: &Ctx, event: &LaneEvent, outcome: Result<Effects, Reject>) -> Effects {
        let LaneEvent { uplink, origin, .. } = event;
        let effects = outcome.unwrap_or_else(|reject| {
            ctx.noted(uplink, Stage::Refused(reject));
            Effects::refused(&self.events, uplink, reject)
        });
        let (since, context) = (Some(uplink.at), uplink.context);
        Effects { since, origin: *origin, context, key: uplink.key(), ..effects }
    }
}
