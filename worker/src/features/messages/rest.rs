//! REST: histories, one message, sending.

use common::limits::{HISTORY_PAGED_SEQS_MAX, HISTORY_SIZE_MAX};
use common::random;
use protocol::events::ClientEvent as _;
use protocol::events::message::SendMessage;
use protocol::ids::{ConversationId, Guid, MessageId};
use protocol::{Reject, Timestamp};
use serde_json::{Value, json};

use super::answers::{Answers, SendOutcome};
use super::history::{History, HistoryPage};
use super::pages::{self, Numbered, Start};
use crate::rest::Call;
use crate::rest::input::{Query, without_mark};
use crate::rest::response::{Outcome, Refusal, ok};

/// Messages per page, by default.
const SIZE: u32 = 20;

/// The page of a history that the client asks for.
enum Asked {
    Numbered(Numbered),
    Before { before: u64, limit: u32 },
}

/// A page, and its metadata.
struct Page {
    history: History,
    number: u32,
    /// The number of seqs in it; fewer than requested if more do not fit an answer.
    size: u64,
    pages: u64,
}

/// `GET /conversations/:id/message`: oldest first. `?page=&size=&order=` as in the original, where
/// the first page of `desc` is the newest; or `?before=<seq>&limit=`, which pages without a count.
pub async fn history(call: Call<'_>) -> Outcome {
    let found = page(&call, "size").await?;
    let found = found.ok_or_else(|| Refusal::not_found("No messages found for this conversation"))?;
    let data = json!({
        "page": found.number,
        "size": found.size,
        "totalPage": found.pages,
        "totalElement": found.history.head,
        "changeSeq": found.history.change_seq,
        "nextBefore": next_before(&found.history),
        "result": found.history.messages,
    });
    ok(200, "", &data)
}

/// `GET /chat/conversations/:id/messages`: the same history, newest first, in the shape with `meta`.
pub async fn chat_history(call: Call<'_>) -> Outcome {
    let found = page(&call, "limit").await?;
    let mut found = found.ok_or_else(|| Refusal::from(Reject::NotAMember))?;
    let next = next_before(&found.history);
    found.history.messages.reverse();
    let data = json!({
        "data": found.history.messages,
        "meta": {
            "total": found.history.head,
            "changeSeq": found.history.change_seq,
            "page": found.number,
            "limit": found.size,
            "totalPages": found.pages,
            "nextBefore": next,
        },
    });
    ok(200, "", &data)
}

async fn page(call: &Call<'_>, size_name: &str) -> Result<Option<Page>, Refusal> {
    let (user, id) = (call.user()?, ConversationId(call.id("id")?));
    let store = &call.ctx.store;
    match asked(&call.query, size_name)? {
        Asked::Before { before, limit } => {
            let found = store.history(user, id, HistoryPage::Before { before, limit }).await?;
            let Some(mut history) = found else { return Ok(None) };
            pages::fit_newest(&mut history.messages);
            let (size, pages) = (u64::from(limit), history.head.div_ceil(limit.into()));
            Ok(Some(Page { history, number: 1, size, pages }))
        }
        Asked::Numbered(asked) => {
            let (start, part) = match asked.sure() {
                Some(passed) => (Start { head: 0, passed, pages: 0 }, asked.fixed()),
                None => match store.start_of_page(user, id, asked).await? {
                    Some(start) => (start, asked.part(start)),
                    None => return Ok(None),
                },
            };
            let Some(mut history) = store.history(user, id, part).await? else { return Ok(None) };
            let start = match asked.sure() {
                Some(passed) => {
                    let all = history.head.div_ceil(asked.size.into());
                    Start { head: history.head, passed, pages: all.min(u64::from(asked.page) - 1) }
                }
                None => start,
            };
            history.head = start.head;
            let size = asked.fit(start, &mut history.messages);
            Ok(Some(Page { history, number: asked.page, size, pages: asked.pages(start, size) }))
        }
    }
}

/// `GET /chat/messages/:id`. A non-member gets 404: ids are not secret, but it must not show
/// which messages exist.
pub async fn one_or_history(call: Call<'_>) -> Outcome {
    if call.query.pages() {
        return chat_history(call).await;
    }
    let (user, id) = (call.user()?, MessageId(call.id("id")?));
    let found = call.ctx.store.message(user, id).await?;
    ok(200, "", &found.ok_or_else(|| Refusal::not_found("Message not found"))?)
}

/// `POST /chat/messages`: sends the message through its lane, as from a socket, so that there is one order.
/// Answers with the saved row.
pub async fn send(call: Call<'_>) -> Outcome {
    let (ctx, user) = (call.ctx, call.user()?);
    let text = std::str::from_utf8(without_mark(&call.request.body))
        .map_err(|_| Refusal::bad_request("The body is not UTF-8"))?;
    let mut event = match SendMessage::parse(text) {
        Ok(event) => event,
        Err(Reject::Malformed) => return Err(Refusal::bad_request("The body is not JSON")),
        Err(Reject::Invalid) => return Err(Refusal::invalid(vec![WRONG.to_owned()])),
        Err(reject) => return Err(reject.into()),
    };
    let guid = match event.guid.take() {
        Some(guid) => guid,
        None => Guid::new(&random::uuid_v7(Timestamp::now())).map_err(|_| Refusal::failed())?,
    };
    event.guid = Some(guid);
    // Only gateways start traces, because they limit how many are sampled.
    event.context = None;
    let conversation = event.conversation;

    match ctx.own::<Answers>().send(ctx, user, &event).await? {
        SendOutcome::Processed(message) => {
            let view = ctx.store.message_of(user, conversation, message).await?;
            ok(201, "", &view.ok_or_else(|| Refusal::not_found("Message not found"))?)
        }
        SendOutcome::Rejected(reject) => Err(reject.into()),
    }
}

/// The possible mistakes in a message; the parser of the event does not tell which.
const WRONG: &str = "conversationId must be an integer number, messageType a known type, content or \
                     attachments not empty, guid visible ASCII";

fn asked(query: &Query<'_>, size_name: &str) -> Result<Asked, Refusal> {
    let size = query.number(size_name)?.or(query.number("limit")?).or(query.number("size")?).unwrap_or(SIZE);
    let size = size.min(HISTORY_SIZE_MAX);
    let page = query.number("page")?.unwrap_or(1);
    Ok(match query.get("before") {
        Some(before) => {
            let before = before.parse().map_err(|_| Refusal::bad_request("before must be a seq"))?;
            Asked::Before { before, limit: size }
        }
        None => {
            let oldest_first = query.get("order").is_some_and(|order| order.eq_ignore_ascii_case("asc"));
            let asked = Numbered { page, size, oldest_first };
            if asked.sure().is_none() && u64::from(page) * u64::from(size) > HISTORY_PAGED_SEQS_MAX {
                return Err(Refusal::bad_request("The page is too deep. Ask with before=<seq>"));
            }
            Asked::Numbered(asked)
        }
    })
}

/// The value of `before` for the next older page; null at the beginning of the history.
fn next_before(found: &History) -> Value {
    found.messages.first().map(|message| message.seq).filter(|seq| *seq > 1).into()
}
