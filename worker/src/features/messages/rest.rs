//! Histories, a message, sending.

use common::limits::{API_ANSWER_BYTES_MAX, HISTORY_SIZE_MAX};
use common::random;
use protocol::events::ClientEvent as _;
use protocol::events::message::{MessageView, SendMessage};
use protocol::ids::{ConversationId, Guid, MessageId, UserId};
use protocol::{Reject, Timestamp};
use serde_json::{Value, json};

use super::answers::Answer;
use super::history::{History, HistoryPage};
use crate::ctx::Ctx;
use crate::rest::input::Query;
use crate::rest::limit;
use crate::rest::response::{Outcome, Refusal, ok};

/// Messages of a page, when nobody says how many.
const SIZE: u32 = 20;

/// What a message takes in an answer beside its content, at most.
const MESSAGE_BYTES: usize = 2 * 1024;

/// What a page of a history was asked for.
struct Asked {
    number: u32,
    size: u32,
    page: HistoryPage,
}

/// `GET /conversations/:id/message`: oldest first. `?page=&size=&order=` as in the original, where
/// the first page of `desc` is the newest; or `?before=<seq>&limit=`, which pages without a count.
pub async fn history(ctx: &Ctx, user: UserId, id: i64, query: &Query<'_>) -> Outcome {
    let asked = asked(query, "size")?;
    let found = ctx.store.history(user, ConversationId(id), asked.page).await?;
    let mut found = found.ok_or_else(|| Refusal::not_found("No messages found for this conversation"))?;
    fit(&mut found);
    let data = json!({
        "page": asked.number,
        "size": asked.size,
        "totalPage": found.head.div_ceil(asked.size.into()),
        "totalElement": found.head,
        "nextBefore": next_before(&found),
        "result": found.messages,
    });
    ok(200, "", &data)
}

/// `GET /chat/conversations/:id/messages`: the same, newest first, in the other shape.
pub async fn chat_history(ctx: &Ctx, user: UserId, id: i64, query: &Query<'_>) -> Outcome {
    let asked = asked(query, "limit")?;
    let found = ctx.store.history(user, ConversationId(id), asked.page).await?;
    let mut found = found.ok_or_else(|| Refusal::from(Reject::NotAMember))?;
    fit(&mut found);
    let next = next_before(&found);
    found.messages.reverse();
    let data = json!({
        "data": found.messages,
        "meta": {
            "total": found.head,
            "page": asked.number,
            "limit": asked.size,
            "totalPages": found.head.div_ceil(asked.size.into()),
            "nextBefore": next,
        },
    });
    ok(200, "", &data)
}

/// `GET /chat/messages/:id`. Somebody else's message is not found: ids are no secret, but who has
/// how many is nobody's business.
pub async fn one(ctx: &Ctx, user: UserId, id: i64) -> Outcome {
    let found = ctx.store.message(user, MessageId(id)).await?;
    ok(200, "", &found.ok_or_else(|| Refusal::not_found("Message not found"))?)
}

/// `POST /chat/messages`: through the lane, like from a socket, so that there is one order. The
/// answer is the row.
pub async fn send(ctx: &Ctx, user: UserId, body: &[u8]) -> Outcome {
    let text = std::str::from_utf8(body).map_err(|_| Refusal::bad_request("The body is not UTF-8"))?;
    let mut event = match SendMessage::parse(text) {
        Ok(event) => event,
        Err(Reject::Malformed) => return Err(Refusal::bad_request("The body is not JSON")),
        Err(Reject::Invalid) => return Err(Refusal::invalid(vec![WRONG.to_owned()])),
        Err(reject) => return Err(reject.into()),
    };
    limit(ctx, format!("send.rest.{user}"), ctx.desk.rates.send_user).await?;
    let guid = match event.guid.take() {
        Some(guid) => guid,
        None => Guid::new(&random::uuid_v7(Timestamp::now())).map_err(|_| Refusal::failed())?,
    };
    event.guid = Some(guid);
    // Traces begin at gateways, which know how many are recorded.
    event.context = None;
    let conversation = event.conversation;

    match ctx.desk.answers.send(ctx, user, &event).await? {
        Answer::Processed(message) => {
            let view = ctx.store.message_of(user, conversation, message).await?;
            ok(201, "", &view.ok_or_else(|| Refusal::not_found("Message not found"))?)
        }
        Answer::Rejected(reject) => Err(reject.into()),
    }
}

/// What may be wrong with a message; the event's reader does not say which.
const WRONG: &str = "conversationId must be an integer number, messageType a known type, content or \
                     attachments not empty, guid visible ASCII";

fn asked(query: &Query<'_>, size_name: &str) -> Result<Asked, Refusal> {
    let number = |name: &str| {
        query.number(name).map_err(|()| Refusal::bad_request("Page and size must be positive integers"))
    };
    let size = number(size_name)?.or(number("limit")?).or(number("size")?).unwrap_or(SIZE);
    let size = size.min(HISTORY_SIZE_MAX);
    let page = number("page")?.unwrap_or(1);
    Ok(match query.get("before") {
        Some(before) => {
            let before = before.parse().map_err(|_| Refusal::bad_request("before must be a seq"))?;
            Asked { number: 1, size, page: HistoryPage::Before { before, limit: size } }
        }
        None => {
            let oldest_first = query.get("order").is_some_and(|order| order.eq_ignore_ascii_case("asc"));
            Asked { number: page, size, page: HistoryPage::Page { page, size, from_newest: !oldest_first } }
        }
    })
}

/// Keeps the newest that fit an answer.
fn fit(found: &mut History) {
    let mut bytes = MESSAGE_BYTES;
    let fitting = found.messages.iter().rev().take_while(|message| {
        bytes += written_bytes(message);
        bytes <= API_ANSWER_BYTES_MAX
    });
    let dropped = found.messages.len() - fitting.count();
    found.messages.drain(..dropped);
}

/// At most: JSON writes a control character in six bytes.
fn written_bytes(message: &MessageView) -> usize {
    let escaped = |text: &str| {
        text.len()
            + 5 * text.bytes().filter(|byte| *byte < 0x20).count()
            + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count()
    };
    let attachments: usize =
        message.attachments.iter().map(|one| 40 + escaped(&one.file_url) + escaped(&one.thumb_url)).sum();
    let names = &message.sender;
    let person = escaped(&names.first_name) + escaped(&names.last_name) + escaped(&names.email);
    600 + escaped(&message.content) + attachments + 2 * person
}

/// The seq to ask `before` for what is older; null at the beginning.
fn next_before(found: &History) -> Value {
    found.messages.first().map(|message| message.seq).filter(|seq| *seq > 1).into()
}
