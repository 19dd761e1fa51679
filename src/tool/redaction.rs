//! `redact`.

use anyhow::{Context as _, anyhow};
use common::bus::{Envelope, Subject};
use protocol::events::ClientEvent as _;
use protocol::ids::{ConversationId, UserId};
use protocol::{self, Lane, Sender, Timestamp, Uplink};
use serde_json::json;
use worker::features::operator::RedactMessage;

use super::ending::{Ending, Failure};
use super::peers::OperatorPeers;
use super::print::Out;

/// Empties a message. The order goes through the lane of its conversation, so the conversation's owner
/// executes it after everything that was sent there before.
pub async fn redact(
    peers: &OperatorPeers,
    out: &Out,
    conversation_id: ConversationId,
    seq: u64,
) -> Result<Ending, Failure> {
    peers.need(true, false, false)?;
    let from = Sender { user: UserId(0), socket: None };
    let order = RedactMessage { conversation_id, seq };
    let data = serde_json::to_string(&order).map_err(|err| anyhow!(err))?;
    let uplink = Uplink::of::<RedactMessage>(from, Timestamp::now(), &data)
        .map_err(|reject| anyhow!("the order is refused: {}", reject.sentence()))?;
    let subject = Subject::on_lane(Lane::High, RedactMessage::ROW.name).context("a subject")?;
    let envelope = Envelope { subject, key: uplink.key(), body: protocol::encode(&uplink) };
    let bus = peers.bus().await?;
    let sent = bus.publish(envelope).await;
    bus.drain().await;
    sent.context("RabbitMQ did not take the order: repeat it")?;
    let json = json!({ "conversation": conversation_id, "seq": seq, "ordered": true });
    let text = format!(
        "message {seq} of conversation {conversation_id} is on its way to be emptied; the conversation's \
         members hear of it when it is"
    );
    out.say(&json, &text)?;
    Ok(Ending::Good)
}
