//! `nodes`: who is there. `drain`: tell one of them to leave.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use common::control::{AskError, Asker};
use protocol::control::{Answer, Part, Question, Reply, Who};
use protocol::ids::NodeId;
use serde_json::{Map, Value, json};

use super::ending::{Ending, Failure};
use super::peers::{OperatorPeers, of_ask, of_bus};
use super::print::{Out, count, row, span, table};

/// Asks everybody, and compares with the leases.
pub async fn nodes(peers: &OperatorPeers, out: &Out, wait: Duration) -> Result<Ending, Failure> {
    peers.need(true, true, false)?;
    let bus = peers.bus().await?;
    let mut asker = Asker::open(&bus, peers.node).await.map_err(of_bus)?;
    let live = async {
        let live = peers.directory().await?.live_nodes().await.context("Redis")?;
        Ok::<_, Failure>(live.into_iter().collect::<BTreeSet<NodeId>>())
    };
    let (answers, live) = tokio::join!(asker.ask(Question::Roll, wait, |_| false), live);
    let answers = match answers {
        Ok(answers) => answers,
        Err(err) => return unasked(out, err, live.as_ref().ok()),
    };
    bus.drain().await;

    let heard: BTreeSet<NodeId> = answers.iter().map(|answer| answer.who.node).collect();
    let names = |nodes: Vec<&NodeId>| nodes.into_iter().map(ToString::to_string).collect::<Vec<_>>();
    let (silent, unleased, sentence) = match &live {
        Ok(live) => {
            let silent = names(live.difference(&heard).collect());
            let unleased = names(heard.difference(live).collect());
            let mut sentence = format!(
                "{} of {} with a lease answered within {}",
                live.intersection(&heard).count(),
                count(live.len(), "node"),
                span(wait.as_millis() as u64)
            );
            if !silent.is_empty() {
                sentence += &format!("\nsilent: {}", silent.join(", "));
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
        "withoutLease": unleased,
        "directory": live.as_ref().err().map_or_else(|| "ok".to_owned(), ToString::to_string),
    });
    let mut rows = vec![row(["ROLE", "NODE", "VERSION", "UP", "HOLDS", "LAG", "STATE", "PROCESS"])];
    rows.extend(answers.iter().map(row_of));
    out.say(&json, &format!("{}\n\n{sentence}", table(&rows)))?;
    Ok(Ending::good(live.is_ok() && silent.is_empty() && !answers.is_empty()))
}

/// No silence means anything then: those with a lease are listed, and nothing is said of them.
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
        "role": role(who.part), "host": who.host, "pid": who.pid,
    });
    let word = if *already { "drains already" } else { "drains" };
    out.say(&json, &format!("{} {node} on {} {word}", role(who.part), process(who)))?;
    Ok(Ending::Good)
}

fn json_of(answer: &Answer) -> Value {
    let Answer { who, said, .. } = answer;
    let unwell: Map<_, _> = who.unwell.iter().map(|(part, why)| (part.clone(), why.clone().into())).collect();
    let (sockets, shards) = holds(said);
    json!({
        "role": role(who.part), "node": who.node.to_string(), "version": who.version, "upMs": who.up_ms,
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
        (_, true) => "ready".to_owned(),
        _ => format!("not ready: {}", unwell.join(", ")),
    };
    let (node, up, lag) = (who.node.to_string(), span(who.up_ms), format!("{}ms", who.lag_ms));
    row([role(who.part), &node, &who.version, &up, &holds, &lag, &state, &process(who)])
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

fn role(part: Part) -> &'static str {
    match part {
        Part::Gateway => "gateway",
        Part::Worker => "worker",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let json = json_of(&answer(false, false));
        assert_eq!((&json["unwell"]["bus"], &json["sockets"]), (&json!("away"), &Value::Null));
    }
}
