//! The rows of the table, by goal, each with its peers in the same passes.

/// G1 and G2: what a socket costs while it is idle.
pub mod idle;

/// G3: what it costs to open a socket.
pub mod upgrades;

/// G4: frames accepted and durably confirmed.
pub mod accepted;

/// G5, G6 and G7: the whole chain, persisted, routed, delivered.
pub mod chain;

/// The whole chain, compared with the bare chain.
pub mod limit;

/// Rooms of thousands.
pub mod rooms;

/// The cost of `trace`, which remembers the path of messages.
pub mod trace;

/// G8: one event to a large room.
pub mod fanout;

/// G9: figures that are counted, not timed.
pub mod counted;

/// G10: the broker's load from users that are online.
pub mod broker;

/// G12: messages beside a flood of typing.
pub mod lanes;

/// G13: what it costs to be many programs instead of few, and what it gains.
pub mod scale;

use common::bus::{Bus, BusConfig, Envelope, QueueKind, Subject};
use protocol::ids::{NodeId, UserId};
use protocol::{Downlink, Forms, Lane, Recipients, Urgency, encode};

use crate::cluster::Places;
use crate::herd::content;

/// The first id of users that exist only for the gateway.
const FIRST: usize = 1_000_000;

/// Tokens of users that exist only for the gateway.
pub fn tokens(from: usize, count: usize) -> Vec<String> {
    let token = |at: usize| swarm::setup::token(crate::cluster::SECRET, (FIRST + at) as i64);
    (from..from + count).map(token).collect()
}

/// The users behind [`tokens`].
pub fn users(from: usize, count: usize) -> Vec<UserId> {
    (from..from + count).map(|at| UserId((FIRST + at) as i64)).collect()
}

/// A connection to RabbitMQ as a worker has one.
///
/// # Errors
/// RabbitMQ is away.
pub async fn bus(places: &Places, prefix: &str) -> anyhow::Result<Bus> {
    let config = BusConfig {
        url: places.amqp_url.clone(),
        prefix: prefix.into(),
        queues: QueueKind::Classic,
        ca_file: None,
    };
    Ok(Bus::connect(config, NodeId::random()).await?)
}

/// Sends numbered contents to users of a gateway, as a worker would.
///
/// # Errors
/// RabbitMQ does not take them.
pub async fn deliver(
    bus: &Bus,
    node: &str,
    users: &[UserId],
    first: u64,
    times: usize,
    bytes: usize,
) -> anyhow::Result<()> {
    let subject = Subject::new(&format!("deliver.{}", node.parse::<NodeId>()?))?;
    let to = Recipients::Users(users.to_vec());
    let publish = |number| {
        let data = serde_json::json!({ "content": content(number, bytes) }).to_string();
        let body = encode(&Downlink {
            to: to.clone(),
            forms: Forms::All,
            urgency: Urgency::Keep,
            event: "messageComing",
            data: &data,
            lane: Some(Lane::High),
            since: None,
            origin: None,
            outcome: None,
            context: None,
            tag: None,
        });
        bus.publish(Envelope { subject: subject.clone(), key: 0, body })
    };
    for sent in futures_util::future::join_all((first..first + times as u64).map(publish)).await {
        sent?;
    }
    Ok(())
}
