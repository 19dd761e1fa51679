//! `lanes`: what waits.

use std::time::Duration;

use common::bus::LaneDepth;
use common::control::Asker;
use protocol::Timestamp;
use protocol::control::{HeldShard, Question, Reply};
use serde_json::{Value, json};

use super::ending::{Ending, Failure};
use super::peers::{OperatorPeers, of_bus};
use super::print::{Out, age, count, row, span, table};

/// The state of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shard {
    depth: LaneDepth,
    /// None: a consumer did not answer.
    unacked: Option<u32>,
    oldest: Oldest,
}

/// Since when the oldest event of a shard waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oldest {
    /// There is none.
    Nothing,
    /// A worker holds it and has read it.
    Since(Timestamp),
    /// It would have to be taken to be read.
    Unknown,
}

/// Asks the broker and the workers.
pub async fn lanes(peers: &OperatorPeers, out: &Out, wait: Duration) -> Result<Ending, Failure> {
    let bus = peers.bus().await?;
    let mut asker = Asker::open(&bus, peers.node).await.map_err(of_bus)?;
    let depths = bus.depths().await.map_err(of_bus)?;
    let in_line = depths.lanes.iter().map(|depth| depth.consumers as usize).max().unwrap_or_default();
    // Everybody in line has said something: nobody else will.
    let (answers, unasked) = match asker.ask(Question::Lanes, wait, |heard| heard.len() >= in_line).await {
        Ok(answers) => (answers, None),
        // The broker's own figures are worth showing.
        Err(err) => (Vec::new(), Some(err.to_string())),
    };
    bus.drain().await;
    let reports: Vec<Vec<HeldShard>> = answers
        .into_iter()
        .filter_map(|answer| match answer.said {
            Reply::Lanes(held) => Some(held),
            _ => None,
        })
        .collect();
    let shards: Vec<Shard> =
        standing_in(&depths.lanes).into_iter().map(|depth| judge(depth, &reports)).collect();

    let now = Timestamp::now();
    let is_whole = reports.len() >= in_line;
    let retries: Vec<Value> = depths
        .retries
        .iter()
        .map(|rung| json!({ "delayMs": rung.delay_ms, "waiting": rung.waiting }))
        .collect();
    let json = json!({
        "lanes": shards.iter().map(|shard| json_of(shard, now)).collect::<Vec<_>>(),
        "retries": retries,
        "quarantine": depths.quarantine,
        "workersInLine": in_line,
        "workersAnswered": reports.len(),
        "notAsked": unasked,
    });
    let mut rows = vec![row(["LANE", "SHARD", "WAITING", "UNACKED", "CONSUMERS", "OLDEST"])];
    rows.extend(shards.iter().map(|shard| row_of(shard, now)));
    let rungs: Vec<String> = depths
        .retries
        .iter()
        .map(|rung| format!("{} for {}", rung.waiting, span(u64::from(rung.delay_ms))))
        .collect();
    let text = format!(
        "{}\n\nretries     {}\nquarantine  {}\n{}",
        table(&rows),
        rungs.join(", "),
        depths.quarantine,
        unasked.unwrap_or_else(|| format!(
            "{} of {} in line answered",
            reports.len(),
            count(in_line, "worker")
        ))
    );
    out.say(&json, &text)?;
    Ok(Ending::good(is_whole))
}

/// Every worker consumes or stands by for every shard of every lane. Of an ordered lane's quorum queue the
/// broker counts only the active consumer; where it does so for a whole lane, the lane that it counts in full
/// gives the number.
fn standing_in(depths: &[LaneDepth]) -> Vec<LaneDepth> {
    let all = depths.iter().map(|depth| depth.consumers).max().unwrap_or_default();
    let is_served_only = |lane| depths.iter().all(|depth| depth.lane != lane || depth.consumers <= 1);
    let raised = |depth: &LaneDepth| {
        let consumers =
            if depth.consumers == 1 && is_served_only(depth.lane) { all } else { depth.consumers };
        LaneDepth { consumers, ..*depth }
    };
    depths.iter().map(raised).collect()
}

fn judge(depth: LaneDepth, reports: &[Vec<HeldShard>]) -> Shard {
    let is_whole = reports.len() >= depth.consumers as usize;
    let held = reports.iter().flatten().filter(|held| (held.lane, held.shard) == (depth.lane, depth.shard));
    let (mut unacked, mut oldest, mut is_read) = (0_u32, None, true);
    for held in held {
        unacked = unacked.saturating_add(held.unacked);
        is_read &= held.oldest.is_some();
        oldest = held.oldest.into_iter().chain(oldest).min();
    }
    let oldest = match oldest {
        // What is handed out stood before what waits.
        Some(since) if is_whole && is_read => Oldest::Since(since),
        None if is_whole && depth.waiting == 0 && unacked == 0 => Oldest::Nothing,
        _ => Oldest::Unknown,
    };
    Shard { depth, unacked: is_whole.then_some(unacked), oldest }
}

fn json_of(shard: &Shard, now: Timestamp) -> Value {
    let LaneDepth { lane, shard: number, waiting, consumers } = shard.depth;
    let (is_known, oldest_ms) = match shard.oldest {
        Oldest::Nothing => (true, None),
        Oldest::Since(since) => (true, Some(age(since, now))),
        Oldest::Unknown => (false, None),
    };
    json!({
        "lane": lane.name(), "shard": number, "waiting": waiting, "unacked": shard.unacked,
        "consumers": consumers, "oldestMs": oldest_ms, "oldestKnown": is_known,
    })
}

fn row_of(shard: &Shard, now: Timestamp) -> Vec<String> {
    let LaneDepth { lane, shard: number, waiting, consumers } = shard.depth;
    let unacked = shard.unacked.map_or_else(|| "?".to_owned(), |unacked| unacked.to_string());
    let oldest = match shard.oldest {
        Oldest::Nothing => "-".to_owned(),
        Oldest::Since(since) => span(age(since, now)),
        Oldest::Unknown => "?".to_owned(),
    };
    let [number, waiting, consumers] = [number.into(), waiting, consumers].map(|one: u32| one.to_string());
    row([lane.name(), &number, &waiting, &unacked, &consumers, &oldest])
}

#[cfg(test)]
mod tests {
    use protocol::Lane;

    use super::*;

    #[test]
    fn what_is_not_known_is_said_to_be_unknown() {
        let depth = |waiting, consumers| LaneDepth { lane: Lane::High, shard: 3, waiting, consumers };
        let held = |shard, unacked, oldest: Option<i64>| HeldShard {
            lane: Lane::High,
            shard,
            unacked,
            oldest: oldest.map(Timestamp),
        };
        let check = |depth, reports: &[Vec<HeldShard>], unacked, oldest| {
            assert_eq!(judge(depth, reports), Shard { depth, unacked, oldest });
        };
        check(depth(0, 2), &[vec![], vec![held(2, 9, Some(1))]], Some(0), Oldest::Nothing);
        check(depth(5, 2), &[vec![held(3, 2, Some(70))], vec![]], Some(2), Oldest::Since(Timestamp(70)));
        check(depth(5, 2), &[vec![held(3, 2, Some(70))]], None, Oldest::Unknown);
        check(depth(5, 0), &[], Some(0), Oldest::Unknown);
        check(depth(0, 1), &[vec![held(3, 1, None)]], Some(1), Oldest::Unknown);
        let both = [vec![held(3, 1, Some(9))], vec![held(3, 1, Some(4))]];
        check(depth(0, 2), &both, Some(2), Oldest::Since(Timestamp(4)));
    }

    #[test]
    fn of_quorum_queues_those_in_line_are_those_of_the_lane_that_is_counted() {
        let check = |high: [u32; 2], low, seen: [u32; 3]| {
            let depth = |lane, consumers| LaneDepth { lane, shard: 0, waiting: 0, consumers };
            let depths = [depth(Lane::High, high[0]), depth(Lane::High, high[1]), depth(Lane::Low, low)];
            let in_line: Vec<_> = standing_in(&depths).iter().map(|depth| depth.consumers).collect();
            assert_eq!(in_line, seen, "{high:?}, {low}");
        };
        check([1, 1], 3, [3, 3, 3]);
        check([1, 0], 3, [3, 0, 3]);
        check([1, 1], 1, [1, 1, 1]);
        // Where more than one is counted each is: one that is missing is missing.
        check([2, 1], 2, [2, 1, 2]);
    }

    #[test]
    fn a_shard_is_a_row() {
        let depth = LaneDepth { lane: Lane::Low, shard: 0, waiting: 7, consumers: 2 };
        let shard = Shard { depth, unacked: None, oldest: Oldest::Since(Timestamp(1_000)) };
        assert_eq!(row_of(&shard, Timestamp(4_000)).join(" "), "low 0 7 ? 2 3s");
        let json = json_of(&shard, Timestamp(4_000));
        assert_eq!((&json["unacked"], &json["oldestMs"]), (&Value::Null, &json!(3_000)));
    }
}
