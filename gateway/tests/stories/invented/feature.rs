//! Raised hands. (Of a feature of the product: `worker/src/features/<noun>/`, a file for each part.)

use std::collections::HashSet;
use std::time::Duration;

use common::lanes::{Effects, Halt, Outcomes, Request};
use protocol::ids::{ConversationId, UserId};
use protocol::{Reject, Sender};
use serde_json::json;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use worker::conversation::{admit, everyone};
use worker::features::Feature;
use worker::rest::Call;
use worker::rest::response::{Outcome, Refusal, ok};
use worker::rest::route::{delete, get};
use worker::store::{Result, Statement, Store, statement};
use worker::{Ctx, asked, on};

use super::events::{GetHands, HandRaised, Hands, HandsLowered, RaiseHand};

/// Hands that members of a conversation raise.
pub const FEATURE: Feature = Feature {
    events: &[on!(RaiseHand => raise)],
    requests: &[asked!(GetHands => hands)],
    routes: &[
        get("/conversations/{id}/hands", |call| Box::pin(raised(call))),
        delete("/hands/{id}", |call| Box::pin(lower(call))).admin(),
    ],
    statements: &[STATEMENTS],
    tasks: &[|ctx, draining| Box::pin(lower_when_all_are_up(ctx, draining))],
    ..Feature::named("hands")
};

/// Interval of the checks for conversations in which all hands are up.
const LOOK: Duration = Duration::from_millis(50);

const STATEMENTS: &[Statement] = &[RAISE, RAISED, LOWER, LOWER_ALL];

const RAISE: Statement = statement(
    "raise_hands",
    "
insert into raised_hands (conversation_id, user_id)
select * from unnest($1::bigint[], $2::bigint[])
    on conflict do nothing
returning conversation_id, user_id",
);

const RAISED: Statement =
    statement("raised_hands", "select user_id from raised_hands where conversation_id = $1 order by user_id");

const LOWER: Statement = statement("lower_hands", "delete from raised_hands where conversation_id = $1");

/// When two workers check at once, the statement returns a conversation to one of them.
const LOWER_ALL: Statement = statement(
    "lower_all_hands",
    "
with full_ones as (
    select p.conversation_id
      from participants p left join raised_hands h using (conversation_id, user_id)
     where p.conversation_id in (select conversation_id from raised_hands)
     group by p.conversation_id
    having count(*) = count(h.user_id)
), lowered as (
    delete from raised_hands using full_ones
     where raised_hands.conversation_id = full_ones.conversation_id
    returning raised_hands.conversation_id
)
select distinct conversation_id from lowered",
);

/// `raiseHand`: keep the hands, then tell their conversations. Safe to run twice: a hand is raised once.
async fn raise(ctx: &Ctx, batch: &[Request<'_, RaiseHand>]) -> Outcomes {
    let conversations: Vec<_> = batch.iter().map(|one| one.event.conversation).collect();
    let audiences = ctx.store.audiences(&conversations).await?;
    let admitted = |one: &Request<'_, RaiseHand>| {
        let audience = audiences.get(&one.event.conversation);
        admit(audience, one.from.user).map(|(audience, person)| (audience, person.clone()))
    };
    let may = |one: &&Request<'_, RaiseHand>| admitted(one).is_ok();
    let hands: Vec<_> = batch.iter().filter(may).map(|one| (one.event.conversation, one.from.user)).collect();
    let mut raised = keep(&ctx.store, &hands).await?;
    let outcomes = batch.iter().map(|one| {
        let (audience, user) = admitted(one)?;
        let conversation_id = one.event.conversation;
        if !raised.remove(&(conversation_id, user.id)) && !one.again {
            return Ok(Effects::default());
        }
        let told = HandRaised { conversation_id, user, timestamp: one.at };
        Ok(Effects::default().broadcast(&everyone(audience), told))
    });
    Ok(outcomes.collect::<Vec<std::result::Result<Effects, Reject>>>())
}

/// Keeps these hands; those that are new.
async fn keep(
    store: &Store,
    hands: &[(ConversationId, UserId)],
) -> Result<HashSet<(ConversationId, UserId)>> {
    let conversations: Vec<i64> = hands.iter().map(|(conversation, _)| conversation.0).collect();
    let users: Vec<i64> = hands.iter().map(|(_, user)| user.0).collect();
    let rows = store.query(&RAISE, &[&conversations, &users]).await?;
    Ok(rows.iter().map(|row| (ConversationId(row.get(0)), UserId(row.get(1)))).collect())
}

/// The users whose hands are up. None: the user is no member.
async fn seen(store: &Store, user: UserId, id: ConversationId) -> Result<Option<Vec<UserId>>> {
    let audiences = store.audiences(&[id]).await?;
    if admit(audiences.get(&id), user).is_err() {
        return Ok(None);
    }
    let rows = store.query(&RAISED, &[&id.0]).await?;
    Ok(Some(rows.iter().map(|row| UserId(row.get(0))).collect()))
}

/// `GET /conversations/:id/hands`: for members.
async fn raised(call: Call<'_>) -> Outcome {
    let users = seen(&call.ctx.store, call.user()?, ConversationId(call.id("id")?)).await?;
    ok(200, "", &json!({ "users": users.ok_or(Refusal::from(Reject::NotAMember))? }))
}

/// `getHands`: for members.
async fn hands(ctx: &Ctx, from: &Sender, event: &GetHands) -> std::result::Result<Hands, Reject> {
    // A feature of the product logs what failed.
    let users = seen(&ctx.store, from.user, event.conversation).await.map_err(|_| Reject::Busy)?;
    Ok(Hands { users: users.ok_or(Reject::NotAMember)? })
}

/// Lowers the hands of conversations in which all are up, and tells their members.
async fn lower_when_all_are_up(ctx: Ctx, draining: CancellationToken) {
    let mut ticks = interval(LOOK);
    while draining.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(halt) = lower_all(&ctx).await {
            eprintln!("hands stay up until the next look: {halt:?}");
        }
    }
}

async fn lower_all(ctx: &Ctx) -> std::result::Result<(), Halt> {
    let rows = ctx.store.query(&LOWER_ALL, &[]).await?;
    let conversations: Vec<_> = rows.iter().map(|row| ConversationId(row.get(0))).collect();
    let audiences = ctx.store.audiences(&conversations).await?;
    let effects = conversations.iter().filter_map(|id| {
        let told = HandsLowered { conversation_id: *id };
        Some(Effects::default().broadcast(&everyone(audiences.get(id)?), told))
    });
    ctx.tell(&effects.collect::<Vec<_>>()).await
}

/// `DELETE /hands/:id`: for administrators.
async fn lower(call: Call<'_>) -> Outcome {
    call.ctx.store.query(&LOWER, &[&call.id("id")?]).await?;
    ok(200, "", &())
}
