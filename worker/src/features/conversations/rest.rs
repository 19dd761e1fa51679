//! Conversations: list, one, create.

use common::directory::ClusterRate;
use common::limits::{
    CONVERSATIONS_BURST, CONVERSATIONS_MADE_MAX, CONVERSATIONS_PER_S, MEMBERS_BURST, MEMBERS_PER_S,
    NAME_CHARS_MAX, PAGE_SIZE_MAX, PARTICIPANTS_MAX, PREVIEW_CHARS_MAX,
};
use garde::Validate;
use protocol::events::message::MessageView;
use protocol::ids::{ConversationId, UserId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cursor::ListCursor;
use super::store::{ConversationRow, NewConversation, NewParticipant, ParticipantType};
use crate::rest::fields::{Id, Label, MaybeId, MaybeLink, Objects};
use crate::rest::input::read;
use crate::rest::response::{Outcome, Refusal, located, ok};
use crate::rest::{Call, limit};

/// The rate of new conversations per user.
const CONVERSATIONS: ClusterRate =
    ClusterRate { burst: CONVERSATIONS_BURST, per_second: CONVERSATIONS_PER_S };

/// The rate of members that one user adds to conversations.
const MEMBERS: ClusterRate = ClusterRate { burst: MEMBERS_BURST, per_second: MEMBERS_PER_S };

/// Conversations per page, by default.
const SIZE: i64 = 10;

/// `GET /conversations`: the user's conversations, the last active first.
pub async fn list(call: Call<'_>) -> Outcome {
    let (user, query) = (call.user()?, &call.query);
    let page = i64::from(query.number("page")?.unwrap_or(1));
    let size = query.number("size")?.or(query.number("limit")?).map_or(SIZE, i64::from).min(PAGE_SIZE_MAX);
    let oldest_first = query.get("order").is_some_and(|order| order.eq_ignore_ascii_case("asc"));
    let search = query.get("search").unwrap_or_default();
    if search.chars().count() > NAME_CHARS_MAX || search.contains('\0') {
        return Err(Refusal::bad_request(format!(
            "search should have at most {NAME_CHARS_MAX} characters and no NUL"
        )));
    }

    let cursor = query.get("cursor").filter(|text| !text.is_empty()).map(ListCursor::parse);
    let found = match &cursor {
        Some(_) if oldest_first || query.get("page").is_some() => {
            return Err(Refusal::bad_request("A cursor goes with size and search only"));
        }
        Some(None) => return Err(Refusal::bad_request("The cursor is not understood: begin again without")),
        Some(Some(cursor)) => call.ctx.store.conversations_from(user, search, cursor, size).await?,
        None => call.ctx.store.conversations_of(user, search, oldest_first, size, (page - 1) * size).await?,
    };
    let active =
        |rows: &[ConversationRow]| rows.iter().map(|row| (row.id, row.updated_at)).collect::<Vec<_>>();
    let (listed_at, moved_at) = (active(&found.conversations), active(&found.moved));
    let next =
        ListCursor::after(cursor.flatten(), &listed_at, &moved_at, found.now, size).filter(|_| !oldest_first);
    let total = found.total;
    let data = json!({
        "page": page,
        "size": size,
        "totalPage": total.div_ceil(size.unsigned_abs()),
        "totalElement": total,
        "nextCursor": next.map(|next| next.to_string()),
        "moved": found.moved.into_iter().map(listed).collect::<Vec<Value>>(),
        "result": found.conversations.into_iter().map(listed).collect::<Vec<Value>>(),
    });
    ok(200, "", &data)
}

/// `GET /conversations/:id`: one conversation of the user.
pub async fn one(call: Call<'_>) -> Outcome {
    let (user, id) = (call.user()?, ConversationId(call.id("id")?));
    let found = call.ctx.store.conversation(user, id).await?;
    let row = found.ok_or_else(|| Refusal::not_found("Conversation not found or access denied"))?;
    ok(200, "", &view(&row))
}

/// `POST /conversations/create`: the creator becomes `LEAD`; all named users become members at once. It needs one
/// other user; two users may have several conversations, as in the original.
pub async fn create(call: Call<'_>) -> Outcome {
    let (ctx, user) = (call.ctx, call.user()?);
    let Creation { title, avatar_url, channel_id, participants } = read(&call.request.body)?;
    let participants = participants.into_list();
    let named = participants.iter().filter_map(Named::participant);
    // The creator may be named too: the creator is a member anyway, as the lead.
    let others: Vec<_> = named.filter(|one| one.user != user).collect();
    if others.is_empty() {
        return Err(Refusal::bad_request("At least one participant is required besides the creator"));
    }
    if others.len() >= PARTICIPANTS_MAX {
        return Err(Refusal::bad_request(format!("At most {PARTICIPANTS_MAX} participants are allowed")));
    }
    let mut ids: Vec<UserId> = others.iter().map(|one| one.user).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Refusal::bad_request("Duplicate participants are not allowed"));
    }
    let members = u32::try_from(others.len() + 1).unwrap_or(u32::MAX);
    limit(ctx, format!("rest.conversations.{user}"), 1, CONVERSATIONS).await?;
    limit(ctx, format!("rest.members.{user}"), members, MEMBERS).await?;
    if ctx.store.conversations_made(user).await? >= CONVERSATIONS_MADE_MAX {
        return Err(Refusal::forbidden(format!(
            "At most {CONVERSATIONS_MADE_MAX} conversations of your own"
        )));
    }
    let creator = NewParticipant { user, participant_type: ParticipantType::Lead };
    let new = NewConversation {
        title: &title.label(),
        creator: user,
        channel_id: channel_id.number().unwrap_or(0),
        avatar_url: avatar_url.link(),
        participants: std::iter::once(creator).chain(others).collect(),
    };
    let invalid = || Refusal::bad_request("One or more participants are invalid or inactive");
    let id = ctx.store.create_conversation(&new).await?.ok_or_else(invalid)?;
    let row = ctx.store.conversation(user, id).await?.ok_or_else(Refusal::failed)?;
    located(ok(201, "", &with_aliases(view(&row))), format!("/conversations/{id}"))
}

/// The body of a creation.
#[derive(Default, Deserialize, Validate)]
#[serde(rename_all = "camelCase", default)]
struct Creation {
    #[garde(dive)]
    title: Label,
    #[garde(dive)]
    avatar_url: MaybeLink,
    #[garde(dive)]
    channel_id: MaybeId,
    #[garde(dive)]
    participants: Objects<Named>,
}

/// A user to add to a new conversation.
#[derive(Default, Deserialize, Validate)]
#[serde(rename_all = "camelCase", default)]
struct Named {
    #[garde(dive)]
    user_id: Id,
    // The type of an unknown user is not checked.
    #[garde(if(cond = self.user_id.number().is_some(), custom(is_type)))]
    r#type: Value,
}

impl Named {
    fn participant(&self) -> Option<NewParticipant> {
        let (user, participant_type) = (self.user_id.number()?, participant_type(&self.r#type)?);
        Some(NewParticipant { user: UserId(user), participant_type })
    }
}

fn participant_type(value: &Value) -> Option<ParticipantType> {
    match value.as_str()? {
        text if text.eq_ignore_ascii_case("LEAD") => Some(ParticipantType::Lead),
        text if text.eq_ignore_ascii_case("MEMBER") => Some(ParticipantType::Member),
        _ => None,
    }
}

fn is_type(value: &Value, _: &()) -> garde::Result {
    participant_type(value).map(drop).ok_or_else(|| garde::Error::new("must be LEAD or MEMBER"))
}

/// In a list the last message is a preview: its text may be cut.
fn listed(mut row: ConversationRow) -> Value {
    if let Some(last) = &mut row.last_message {
        cut(last);
    }
    view(&row)
}

fn cut(message: &mut MessageView) {
    if let Some((end, _)) = message.content.char_indices().nth(PREVIEW_CHARS_MAX) {
        message.content.truncate(end);
    }
}

/// The contract's `ConversationVm`, plus what a client needs to catch up: the newest seq, how far this member
/// has read, and the number of members.
fn view(row: &ConversationRow) -> Value {
    json!({
        "id": row.id,
        "title": row.title,
        "creatorId": row.creator,
        "channelId": row.channel_id,
        "createdAt": row.created_at,
        "updatedAt": row.updated_at,
        "deletedAt": row.deleted_at,
        "avatarUrl": row.avatar_url,
        "conversationType": row.kind,
        "participants": row.participants,
        "participantCount": row.verified,
        "lastMessage": row.last_message,
        "headSeq": row.head,
        "changeSeq": row.change_seq,
        "readSeq": row.read,
        "unreadCount": row.head.saturating_sub(row.read),
    })
}

/// Adds snake-case names, in which the original's client reads a conversation that it has created.
fn with_aliases(mut view: Value) -> Value {
    view["avatar_url"] = view["avatarUrl"].clone();
    view["created_at"] = view["createdAt"].clone();
    for participant in view["participants"].as_array_mut().into_iter().flatten() {
        participant["user_id"] = participant["userId"].clone();
    }
    view
}
