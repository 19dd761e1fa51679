//! `nodes`: the running programs. `drain`: tell one of them to leave.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use common::control::{AskError, Asker};
use common::roster::Cards;
use protocol::Timestamp;
use protocol::control::{Answer, Card, Question, Reply, Who};
use protocol::ids::NodeId;
use serde_json::{Map, Value, json};

use super::ending::{Ending, Failure};
use super::peers::{OperatorPeers, of_ask, of_bus};
use super::print::{Out, age, count, row, span, table};

/// Asks all programs, and compares the answers with the leases.
pub async fn nodes(peers: &OperatorPeers, out: &Out, wait: Duration) -> Result<Ending, Failure> {
    peers.need(true, true, false)?;
    let bus = peers.bus().await?;
    let mut asker = Asker::open(&bus, peers.node).await.map_err(of_bus)?;
    let known = async {
        let directory = peers.directory().await?;
        let (live, cards) =
            tokio::try_join!(directory.live_nodes(), Cards::read(&directory)).context("Redis")?;
        Ok::<_, Failure>((live.into_iter().collect::<BTreeSet<NodeId>>(), cards))
    };
    let (answers, known) = tokio::join!(asker.ask(Question::Roll, wait, |_| false), known);
    let (live, cards) = match known {
        Ok((live, cards)) => (Ok(live), cards),
        Err(failure) => (Err(failure), Cards::default()),
    };
    let answers = match answers {
        Ok(answers) => answers,
        Err(err) => return unasked(out, err, live.as_ref().ok()),
    };
    bus.drain().await;

    let heard: BTreeSet<NodeId> = answers.iter().map(|answer| answer.who.node).collect();
    let names = |nodes: Vec<&NodeId>| nodes.into_iter().map(ToString::to_string).collect::<Vec<_>>();
    let now = Timestamp::now();
    let lost: Vec<&Card> = cards.lost.iter().filter(|card| !heard.contains(&card.node)).collect();
    let (silent, unleased, mut sentence) = match &live {
        Ok(live) => {
            let silent = names(live.difference(&heard).collect());
            let unleased = names(heard.difference(live).collect());
            let mut sentence = format!(
                "{} of {} with a lease answered within {}",
                live.intersection(&heard).count(),
                count(live.len(), "node"),
                span(wait.as_millis() as u64)
            );
            for node in live.difference(&heard) {
                sentence += &format!("\nsilent: {}", last_known(*node, cards.of(*node), now));
            }
            for card in &lost {
                sentence += &format!("\ngone without a farewell: {}", last_known(card.node, Some(card), now));
            }
            if !unleased.is_empty() {
                sentence += &format!("\nanswered, but without a lease: {}", unleased.join(", "));
            }
            (silent, unleased, sentence)
        }
        Err(failure) => {
            let answered = count(answers.len(), "node");
            (vec![], vec![], format!("{answered} answered; which nodes are silent is not known: {failure}"))
        }
    };
    let json = json!({
        "waitMs": wait.as_millis() as u64,
        "nodes": answers.iter().map(json_of).collect::<Vec<_>>(),
        "live": live.as_ref().ok().map(BTreeSet::len),
        "silent": silent,
        "lastKnown": cards.live.iter().filter(|card| !heard.contains(&card.node)).chain(lost.iter().copied())
            .map(|card| json_of_card(card, now)).collect::<Vec<_>>(),
        "withoutLease": unleased,
        "directory": live.as_ref().err().map_or_else(|| "ok".to_owned(), ToString::to_string),
    });
    let mut rows = vec![row(["ROLE", "NODE", "VERSION", "UP", "HOLDS", "LAG", "STATE", "PROCESS"])];
    rows.extend(answers.iter().map(row_of));
    for Answer { who, .. } in &answers {
        for (part, why) in &who.unwell {
            sentence += &format!("\n{} {}: {part}: {why}", who.part, process(who));
        }
    }
    out.say(&json, &format!("{}\n\n{sentence}", table(&rows)))?;
    Ok(Ending::good(live.is_ok() && silent.is_empty() && !answers.is_empty()))
}

/// A program that does not answer, as it described itself last.
fn last_known(node: NodeId, card: Option<&Card>, now: Timestamp) -> String {
    let Some(card) = card else { return format!("{node} (it has written nothing about itself)") };
    let (up, seen) = (span(age(card.started, card.seen)), span(age(card.seen, now)));
    format!("{card}, version {}, up {up}, last seen {seen} ago ({})", card.version, card.seen)
}

fn json_of_card(card: &Card, now: Timestamp) -> Value {
    json!({
        "role": card.part.to_string(), "node": card.node.to_string(), "version": card.version,
        "host": card.host, "pid": card.pid, "lastSeen": card.seen.to_string(),
        "lastSeenMs": age(card.seen, now),
    })
}

/// Then a missing answer means nothing: programs with a lease are listed without a judgement.
fn unasked(out: &Out, err: AskError, live: Option<&BTreeSet<NodeId>>) -> Result<Ending, Failure> {
    let leased: Option<Vec<String>> = live.map(|live| live.iter().map(ToString::to_string).collect());
    let json = json!({
        "notAsked": err.to_string(), "nodes": [], "live": live.map(BTreeSet::len), "leased": leased,
        "silent": null,
    });
    let known = leased.map_or_else(
        || "which nodes are there is not known".to_owned(),
        |leased| {
            format!("{} with a lease in the directory: {}", count(leased.len(), "node"), leased.join(", "))
        },
    );
    out.say(&json, &known)?;
    Err(of_ask(err))
}

/// Tells one node to drain.
pub async fn drain(
    peers: &OperatorPeers,
    out: &Out,
    wait: Duration,
    node: NodeId,
) -> Result<Ending, Failure> {
    let bus = peers.bus().await?;
    let mut asker = Asker::open(&bus, peers.node).await.map_err(of_bus)?;
    let answers = asker.ask(Question::Drain(node), wait, |heard| !heard.is_empty()).await;
    let answers = answers.map_err(of_ask)?;
    bus.drain().await;
    let Some(Answer { who, said: Reply::Draining { already }, .. }) = answers.first() else {
        let sentence = format!(
            "{node} did not answer within {}: `chatchit nodes` lists who does",
            span(wait.as_millis() as u64)
        );
        out.say(&json!({ "node": node.to_string(), "draining": false }), &sentence)?;
        return Ok(Ending::Partly);
    };
    let json = json!({
        "node": node.to_string(), "draining": true, "already": already,
        "role": who.part.to_string(), "host": who.host, "pid": who.pid,
    });
    let word = if *already { "drains already" } else { "drains" };
    out.say(&json, &format!("{} {node} on {} {word}", who.part, process(who)))?;
    Ok(Ending::Good)
}

fn json_of(answer: &Answer) -> Value {
    let Answer { who, said, .. } = answer;
    let unwell: Map<_, _> = who.unwell.iter().map(|(part, why)| (part.clone(), why.clone().into())).collect();
    let (sockets, shards) = holds(said);
    json!({
        "role": who.part.to_string(), "node": who.node.to_string(), "version": who.version, "upMs": who.up_ms,
        "sockets": sockets, "shards": shards, "lagMs": who.lag_ms, "ready": who.ready,
        "draining": who.draining, "unwell": unwell, "host": who.host, "pid": who.pid,
    })
}

fn row_of(answer: &Answer) -> Vec<String> {
    let Answer { who, said, .. } = answer;
    let holds = match holds(said) {
        (Some(sockets), _) => count(usize::try_from(sockets).unwrap_or(usize::MAX), "socket"),
        (_, Some(shards)) => count(shards as usize, "shard"),
        _ => "?".to_owned(),
    };
    let unwell: Vec<&str> = who.unwell.iter().map(|(part, _)| part.as_str()).collect();
    let state = match (who.draining, who.ready) {
        (true, _) => "draining".to_owned(),
        (_, true) if unwell.is_empty() => "ready".to_owned(),
        (_, true) => format!("ready, degraded: {}", unwell.join(", ")),
        _ => format!("not ready: {}", unwell.join(", ")),
    };
    let (node, up, lag) = (who.node.to_string(), span(who.up_ms), format!("{}ms", who.lag_ms));
    row([&who.part.to_string(), &node, &who.version, &up, &holds, &lag, &state, &process(who)])
}

fn holds(said: &Reply) -> (Option<u64>, Option<u32>) {
    match said {
        Reply::Here { sockets, shards } => (*sockets, *shards),
        _ => (None, None),
    }
}

fn process(who: &Who) -> String {
    format!("{}:{}", who.host, who.pid)
}

#[cfg(test)]
mod tests {
    use protocol::control::Part;

    use super::*;

    #[test]
    fn a_silent_program_is_shown_as_it_described_itself_last() {
        let card = Card {
            node: NodeId(1),
            part: Part::Gateway,
            version: "0.1.0".into(),
            host: "h".into(),
            pid: 2,
            started: Timestamp(1_000),
            seen: Timestamp(62_000),
            secret: 3,
        };
        let said = last_known(NodeId(1), Some(&card), Timestamp(70_000));
        let expected = "gateway h:2 (0000000000000001), version 0.1.0, up 1m01s, last seen 8s ago";
        assert!(said.starts_with(expected), "{said}");
        assert!(last_known(NodeId(7), None, Timestamp(0)).starts_with("0000000000000007"));
        let json = json_of_card(&card, Timestamp(70_000));
        assert_eq!((&json["host"], &json["lastSeenMs"]), (&json!("h"), &json!(8_000)));
        assert!(json.get("secret").is_none());
    }

    fn answer(ready: bool, draining: bool) -> Answer {
        let unwell = if ready { vec![] } else { vec![("bus".to_owned(), "away".to_owned())] };
        let who = Who {
            node: NodeId(1),
            part: Part::Worker,
            version: "0.1.0".into(),
            host: "h".into(),
            pid: 2,
            up_ms: 61_000,
            lag_ms: 3,
            ready,
            draining,
            unwell,
        };
        Answer { number: 1, who, said: Reply::Here { sockets: None, shards: Some(16) } }
    }

    #[test]
    fn a_node_is_a_row() {
        let cells = row_of(&answer(true, false)).join(" ");
        assert_eq!(cells, "worker 0000000000000001 0.1.0 1m01s 16 shards 3ms ready h:2");
        assert!(row_of(&answer(false, false)).contains(&"not ready: bus".to_owned()));
        assert!(row_of(&answer(false, true)).contains(&"draining".to_owned()));
        let mut degraded = answer(true, false);
        degraded.who.unwell = vec![("secret".to_owned(), "differs".to_owned())];
        assert!(row_of(&degraded).contains(&"ready, degraded: secret".to_owned()));
        let json = json_of(&answer(false, false));
        assert_eq!((&json["unwell"]["bus"], &json["sockets"]), (&json!("away"), &Value::Null));
    }
}
