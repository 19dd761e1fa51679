//! Depths at the broker: passive declares, which create nothing and take nothing.

use anyhow::Context as _;
use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;

use super::super::inspect::{Depths, LaneDepth, RungDepth};
use super::super::topology::{LANES, Names};
use super::connection::Live;
use crate::limits::RETRY_LADDER_MS;

pub(super) async fn depths(live: &Live, names: &Names) -> anyhow::Result<Depths> {
    let channel = live.channel().await?;
    let mut lanes = Vec::new();
    for row in LANES {
        for shard in 0..row.shards {
            let (waiting, consumers) = count(live, &channel, &names.lane(row.lane, shard)).await?;
            lanes.push(LaneDepth { lane: row.lane, shard, waiting, consumers });
        }
    }
    let mut retries = Vec::new();
    for (rung, delay_ms) in RETRY_LADDER_MS.into_iter().enumerate() {
        let (waiting, _) = count(live, &channel, &names.rung(rung)).await?;
        retries.push(RungDepth { delay_ms, waiting });
    }
    let (quarantine, _) = count(live, &channel, &names.quarantine()).await?;
    live.answer(channel.close(200, "looked".into())).await?;
    Ok(Depths { lanes, retries, quarantine })
}

/// Messages ready, and consumers.
async fn count(live: &Live, channel: &Channel, queue: &str) -> anyhow::Result<(u32, u32)> {
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    let declared = live.answer(channel.queue_declare(queue.into(), options, FieldTable::default())).await;
    let declared = declared.with_context(|| format!("the queue {queue}"))?;
    Ok((declared.message_count(), declared.consumer_count()))
}
