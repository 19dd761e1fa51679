//! Raised hands. (Of a feature of the product: `worker/src/features/<noun>/`, a file for each part.)

use std::collections::HashSet;

use common::lanes::{Effects, Outcomes, Request};
use protocol::Reject;
use protocol::ids::{ConversationId, UserId};
use serde_json::json;
use worker::conversation::{admit, everyone};
use worker::features::Feature;
use worker::rest::Call;
use worker::rest::response::{Outcome, Refusal, ok};
use worker::rest::route::{delete, get};
use worker::store::{Result, Statement, Store, statement};
use worker::{Ctx, on};

use super::events::{HandRaised, RaiseHand};

/// Hands that members of a conversation raise.
pub const FEATURE: Feature = Feature {
    name: "hands",
    events: &[on!(RaiseHand => raise)],
    routes: &[
        get("/conversations/{id}/hands", |call| Box::pin(raised(call))),
        delete("/hands/{id}", |call| Box::pin(lower(call))).admin(),
    ],
    statements: &[STATEMENTS],
};

const STATEMENTS: &[Statement] = &[RAISE, RAISED, LOWER];

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

/// `GET /conversations/:id/hands`: for members.
async fn raised(call: Call<'_>) -> Outcome {
    let (store, user, id) = (&call.ctx.store, call.user()?, ConversationId(call.id("id")?));
    let audiences = store.audiences(&[id]).await?;
    admit(audiences.get(&id), user).map_err(Refusal::from)?;
    let rows = store.query(&RAISED, &[&id.0]).await?;
    let users: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    ok(200, "", &json!({ "users": users }))
}

/// `DELETE /hands/:id`: for administrators.
async fn lower(call: Call<'_>) -> Outcome {
    call.ctx.store.query(&LOWER, &[&call.id("id")?]).await?;
    ok(200, "", &())
}
