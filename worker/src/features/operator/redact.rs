//! An operator empties a message: a court order, a leak, a person's right to be forgotten.

use common::lanes::{Effects, Outcomes, Request};
use protocol::events::row::{Acknowledged, Judged, Way, read_json};
use protocol::ids::ConversationId;
use protocol::{Lane, Reject};
use serde::{Deserialize, Serialize};

use crate::conversation::everyone;
use crate::ctx::Ctx;
use crate::features::messages::{Missing, Standing};

/// `redactMessage`: an operator's order on a conversation's lane. No client can send it: it is in no table
/// of a gateway, and a gateway makes lane subjects from its table only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedactMessage {
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The message.
    pub seq: u64,
}

protocol::client_events! {
    RedactMessage = "redactMessage" {
        way: Way::Lane(Lane::High),
        acknowledged: Acknowledged::Queued,
        refusal: None,
        judged: |event| Judged { conversation: Some(event.conversation_id), ..Judged::default() },
    }
}

impl RedactMessage {
    fn read(data: &str) -> Result<Self, Reject> {
        read_json(data)
    }
}

/// Empties the message, and sends its new form to all members.
///
/// Safe to run twice: a repeat is one more change with the same outcome.
pub(super) async fn redact(ctx: &Ctx, batch: &[Request<'_, RedactMessage>]) -> Outcomes {
    let mut outcomes = Vec::with_capacity(batch.len());
    for RedactMessage { conversation_id: conversation, seq } in batch.iter().map(|one| *one.event) {
        let Some(change_seq) = ctx.store.redact_message(conversation, seq).await? else {
            outcomes.push(Err(Reject::NotFound));
            continue;
        };
        // The members are read from PostgreSQL, not from memory: no write here checks a copy.
        let audiences = ctx.store.audiences(&[conversation]).await?;
        let standing = Standing { head: seq, change_seq, version: 0, read: 0 };
        let one = Missing { conversation, seq, change_seq: change_seq - 1, standing };
        let changes = ctx.store.changes_after(&[one], 1).await?;
        let effects = changes.into_iter().filter(|change| change.seq == seq).fold(
            Effects::default(),
            |effects, change| match audiences.get(&conversation) {
                Some(audience) => effects.broadcast(&everyone(audience), change),
                None => effects,
            },
        );
        outcomes.push(Ok(effects));
    }
    Ok(outcomes)
}
