//! `quarantine`: what was set aside.

use common::bus::{Quarantined, Which};
use common::limits::QUARANTINE_SHOWN_MAX;
use protocol::Timestamp;
use serde_json::{Value, json};

use super::ending::{Ending, Failure};
use super::peers::{OperatorPeers, of_bus};
use super::print::{Out, age, count, row, span, table};
use super::redact;

/// All of it, a line each.
pub async fn ls(peers: &OperatorPeers, out: &Out, bodies: bool) -> Result<Ending, Failure> {
    let aside = look(peers, QUARANTINE_SHOWN_MAX).await?;
    let now = Timestamp::now();
    let views: Vec<Value> = (1..).zip(&aside).map(|(nth, one)| view(nth, one, now, bodies)).collect();
    let mut rows = vec![row(["N", "SUBJECT", "AGE", "ATTEMPTS", "USER", "GUID", "REASON"])];
    rows.extend(views.iter().map(row_of));
    let mut text = match aside.len() {
        0 => "the quarantine is empty".to_owned(),
        _ => table(&rows),
    };
    if aside.len() == QUARANTINE_SHOWN_MAX {
        text += &format!("\nthere may be more than {QUARANTINE_SHOWN_MAX}: `chatchit lanes` counts them");
    }
    out.say(&json!({ "quarantine": views }), &text)?;
    Ok(Ending::good(!aside.is_empty()))
}

/// One of it.
pub async fn show(peers: &OperatorPeers, out: &Out, nth: usize, bodies: bool) -> Result<Ending, Failure> {
    let aside = look(peers, nth).await?;
    let Some(one) = aside.get(nth - 1) else {
        let sentence = format!("there is no {nth}: {} in quarantine", count(aside.len(), "envelope"));
        out.say(&Value::Null, &sentence)?;
        return Ok(Ending::Partly);
    };
    let view = view(nth, one, Timestamp::now(), bodies);
    let fields =
        view.as_object().into_iter().flatten().chain(view["event"].as_object().into_iter().flatten());
    let fields = fields.filter(|(_, value)| !value.is_object() && !value.is_null());
    let rows: Vec<_> = fields.map(|(name, value)| row([name, &plain(value)])).collect();
    out.say(&view, &table(&rows))?;
    Ok(Ending::Good)
}

/// Back to the lanes.
pub async fn replay(peers: &OperatorPeers, out: &Out, which: Which) -> Result<Ending, Failure> {
    let bus = peers.bus().await?;
    let replayed = bus.replay(which).await;
    bus.drain().await;
    let now = Timestamp::now();
    let brief = |one: &Quarantined| {
        let event = redact::event(&one.envelope, false).unwrap_or_default();
        json!({
            "subject": one.envelope.subject.as_str(), "key": one.envelope.key, "user": event["user"],
            "guid": event["guid"], "ageMs": one.set_aside.map(|at| age(at, now)),
        })
    };
    let failed = replayed.failed.as_ref().map(ToString::to_string);
    let json = json!({
        "replayed": replayed.done.iter().map(brief).collect::<Vec<_>>(),
        "kept": replayed.kept.iter().map(brief).collect::<Vec<_>>(),
        "failed": failed,
    });
    let line = |one: &Quarantined| {
        let brief = brief(one);
        format!("{} of user {}, guid {}", one.envelope.subject, plain(&brief["user"]), plain(&brief["guid"]))
    };
    let mut lines: Vec<String> = replayed.done.iter().map(|one| format!("replayed {}", line(one))).collect();
    lines.extend(replayed.kept.iter().map(|one| format!("kept {}: no lane takes it", one.envelope.subject)));
    lines.push(format!("{} back on the lanes", count(replayed.done.len(), "envelope")));
    out.say(&json, &lines.join("\n"))?;
    match replayed.failed {
        Some(err) => Err(of_bus(err)),
        None => Ok(Ending::good(!replayed.done.is_empty() && replayed.kept.is_empty())),
    }
}

async fn look(peers: &OperatorPeers, limit: usize) -> Result<Vec<Quarantined>, Failure> {
    let bus = peers.bus().await?;
    let aside = bus.quarantined(limit).await;
    bus.drain().await;
    aside.map_err(of_bus)
}

fn view(nth: usize, one: &Quarantined, now: Timestamp, bodies: bool) -> Value {
    let mut view = json!({
        "n": nth,
        "subject": one.envelope.subject.as_str(),
        "lane": one.lane.name(),
        "key": one.envelope.key,
        "bytes": one.envelope.body.len(),
        "attempts": one.attempts,
        "reason": redact::reason(&one.reason, bodies),
        "setAside": one.set_aside,
        "ageMs": one.set_aside.map(|at| age(at, now)),
        "event": redact::event(&one.envelope, bodies),
    });
    if bodies && view["event"].is_null() {
        // What cannot be read is shown as it is.
        view["raw"] = one.envelope.body.escape_ascii().to_string().into();
    }
    view
}

fn row_of(view: &Value) -> Vec<String> {
    let event = &view["event"];
    let age = view["ageMs"].as_u64().map_or_else(|| "?".to_owned(), span);
    let cells = ["n", "subject", "attempts", "reason"].map(|name| plain(&view[name]));
    let [nth, subject, attempts, reason] = cells;
    row([&nth, &subject, &age, &attempts, &plain(&event["user"]), &plain(&event["guid"]), &reason])
}

/// A text without its quotes, and nothing as a dash.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use common::bus::{Envelope, Subject};
    use protocol::Lane;

    use super::*;

    #[test]
    fn what_cannot_be_read_shows_its_bytes_only_when_asked() {
        let subject = Subject::new("high.sendMessage").unwrap();
        let envelope = Envelope { subject, key: 7, body: "poison \u{1}".into() };
        let (reason, set_aside) = ("undecodable".to_owned(), Some(Timestamp(1_000)));
        let one = Quarantined { lane: Lane::High, envelope, attempts: 6, reason, set_aside };
        let shown = view(1, &one, Timestamp(63_000), false);
        assert!(!shown.to_string().contains("poison"), "{shown}");
        assert_eq!(row_of(&shown).join(" "), "1 high.sendMessage 1m02s 6 - - undecodable");
        assert_eq!(view(1, &one, Timestamp(0), true)["raw"], "poison \\x01");
        let older = Quarantined { set_aside: None, ..one };
        assert_eq!(row_of(&view(1, &older, Timestamp(0), false))[2], "?");
    }
}
