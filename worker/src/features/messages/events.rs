//! Chat messages: send.

use common::lanes::{Effects, Outcomes, Request, latest_key};
use foldhash::{HashSet, HashSetExt};
use protocol::control::Stage;
use protocol::events::message::{
    ConversationKind, LoadLastMessage, MessageProcessed, MessageView, SendMessage,
};
use protocol::ids::ConversationId;
use protocol::{Forms, Person, Reject, Timestamp, TraceContext};

use crate::conversation::{NewMessage, People, Saved, SavedMessage, Wanted};
use crate::ctx::Ctx;
use crate::metrics;

/// `sendMessage`: saves the messages, then broadcasts them to the members of their conversations.
///
/// Idempotent: a repeated guid returns the row that the first run wrote. A client's own repeat is answered to
/// its sender only. A redelivered batch is broadcast again, because its previous worker may have died before
/// delivering all of it.
pub(crate) async fn send(ctx: &Ctx, batch: &[Request<'_, SendMessage>]) -> Outcomes {
    let mut outcomes: Vec<_> = batch.iter().map(|_| Ok(Effects::default())).collect();
    let mut wanted = Vec::with_capacity(batch.len());
    let mut places = Vec::with_capacity(batch.len());
    for (at, one) in batch.iter().enumerate() {
        let Some(guid) = one.guid.cloned() else {
            outcomes[at] = Err(Reject::Invalid);
            continue;
        };
        let new = NewMessage { sender: one.from.user, event: one.event.clone(), guid };
        wanted.push(Wanted { new, again: one.again });
        places.push(at);
    }
    let kept = ctx.owner.keep(&ctx.store, &wanted).await?;
    let committed = Timestamp::now();

    let mut told_again = HashSet::new();
    for ((at, Wanted { new, .. }), saved) in places.into_iter().zip(wanted).zip(kept.saved) {
        let (row, tell) = match saved {
            Saved::New(row) => (row, true),
            Saved::Repeat(row) => {
                metrics::repeated(if batch[at].again { "redelivered" } else { "client" });
                (row, batch[at].again && told_again.insert(row.message))
            }
            Saved::Refused(reject) => {
                outcomes[at] = Err(reject);
                continue;
            }
        };
        if let Some(of) = batch[at].origin {
            let stage = Stage::Committed { seq: row.seq, repeat: matches!(saved, Saved::Repeat(_)) };
            ctx.recorder.note(of, committed, stage);
        }
        let conversation = new.event.conversation;
        let processed =
            MessageProcessed { guid: new.guid.clone(), message: row.message, seq: row.seq, conversation };
        // First, so that the sender does not wait for deliveries to thousands of other members.
        let mut effects = Effects::default().reply(batch[at].from, processed);
        let people = kept.people.get(&conversation);
        let sender = people.and_then(|people| people.audience.member(new.sender));
        if let (true, Some(People { audience, room }), Some(sender)) = (tell, people, sender) {
            told_again.insert(row.message);
            let coming = view(new, row, audience.kind, sender, batch[at].context);
            let preview = LoadLastMessage { conversation_id: conversation };
            let key = preview_key(conversation);
            effects = effects.broadcast(room, coming).broadcast_latest(room, Forms::SocketIo, key, preview);
        }
        outcomes[at] = Ok(effects);
    }
    Ok(outcomes)
}

fn view(
    new: NewMessage,
    row: SavedMessage,
    kind: ConversationKind,
    sender: &Person,
    context: Option<TraceContext>,
) -> MessageView {
    let NewMessage { event, guid, .. } = new;
    MessageView {
        id: row.message,
        guid,
        conversation: event.conversation,
        kind,
        seq: row.seq,
        sender: sender.clone(),
        message_type: event.message_type,
        content: event.content,
        created_at: row.created_at,
        deleted_at: None,
        call_type: event.call_type,
        call_status: event.call_status,
        status: "SENT",
        attachments: event.attachments,
        traceparent: context.filter(TraceContext::is_sampled),
    }
}

/// The key of a conversation's preview, for [`Urgency::Latest`].
fn preview_key(conversation: ConversationId) -> u64 {
    latest_key("preview", &[conversation.0])
}
