//! `trace`: where a message is.

/// From what many programs remember to where a message is now.
mod story;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use common::bus::Bus;
use common::control::Asker;
use common::limits::QUARANTINE_SHOWN_MAX;
use protocol::control::{Answer, Question, Reply, Stage};
use protocol::ids::{ConversationId, Guid, NodeId, UserId};
use protocol::{self, Origin, Timestamp, Uplink};
use serde_json::{Value, json};

use self::story::{Aside, Program, Story, Whereabouts, stories};
use super::command::Hint;
use super::ending::{Ending, Failure};
use super::peers::{OperatorPeers, of_ask, of_bus};
use super::print::{Out, age, count, row, span, table};
use super::redact;

type Stories = BTreeMap<(ConversationId, UserId), Story>;

/// The programs that answered, and those that should have.
struct Heard {
    answers: Vec<Answer>,
    /// None: the directory did not answer, so it is not known which programs run.
    silent: Option<Vec<String>>,
    /// Nothing before this is remembered by all of them.
    since: Option<Timestamp>,
    /// They remember nothing: `TRACE_MESSAGES=0`.
    off: Vec<String>,
    /// Why no program could be asked.
    unasked: Option<String>,
}

impl Heard {
    /// Whether every program that is there has answered.
    fn is_whole(&self) -> bool {
        self.unasked.is_none() && self.silent.as_ref().is_some_and(Vec::is_empty)
    }
}

/// Asks the programs, then the quarantine, then the database, and prints where the message is.
pub async fn trace(
    peers: &OperatorPeers,
    out: &Out,
    wait: Duration,
    guid: &Guid,
    hint: &Hint,
) -> Result<Ending, Failure> {
    peers.need(true, true, true)?;
    let bus = peers.bus().await?;
    let mut asker = Asker::open(&bus, peers.node).await.map_err(of_bus)?;
    let heard = ask(peers, &mut asker, guid, wait).await?;
    let mut found = remembered(&heard.answers);
    look_aside(&bus, guid, &mut found).await?;
    // After them, so that what was committed while they answered is seen.
    let store = look_up(peers, guid, hint, &mut found).await;
    if found.values().any(|story| story.now() == Whereabouts::Committed) {
        // Waiting for who is silent takes time in which it may have been told.
        ask_again(&mut asker, guid, wait, &heard.answers, &mut found).await?;
    }
    bus.drain().await;

    let now = Timestamp::now();
    let store_says = store.as_ref().err().map(ToString::to_string);
    let was_asked = heard.unasked.is_none();
    let sentences: Vec<String> =
        found.iter().map(|(of, story)| sentence(*of, story, now, was_asked)).collect();
    let json = json!({
        "guid": guid.as_str(),
        "messages": found.iter().zip(&sentences).map(|((of, story), text)| json_of(*of, story, text)).collect::<Vec<_>>(),
        "unknown": found.is_empty(),
        "programs": heard.answers.len(),
        "rememberedSince": heard.since,
        "remembersNothing": heard.off,
        "silent": heard.silent,
        "notAsked": heard.unasked,
        "database": store_says.clone().unwrap_or_else(|| "ok".to_owned()),
    });
    let mut parts: Vec<String> =
        found.iter().zip(&sentences).map(|((_, story), text)| text_of(story, text)).collect();
    if found.is_empty() {
        parts.push(unknown(guid, hint, heard.is_whole()));
    }
    parts.push(limits_of(&heard, store_says.as_deref()));
    out.say(&json, &parts.join("\n\n"))?;
    Ok(Ending::good(!found.is_empty() && heard.is_whole() && store.is_ok()))
}

fn remembered(answers: &[Answer]) -> Stories {
    stories(answers.iter().filter_map(|answer| match &answer.said {
        Reply::Trace { milestones, .. } => Some((answer.who.clone(), milestones.clone())),
        _ => None,
    }))
}

/// The milestones of the programs that have answered so far.
async fn ask_again(
    asker: &mut Asker,
    guid: &Guid,
    wait: Duration,
    before: &[Answer],
    found: &mut Stories,
) -> Result<(), Failure> {
    let question = Question::Trace(Origin::hash(guid));
    if before.is_empty() {
        return Ok(());
    }
    let answers = asker.ask(question, wait, |heard| heard.len() >= before.len()).await;
    for (of, fresh) in remembered(&answers.map_err(of_ask)?) {
        let story = found.entry(of).or_default();
        // Who answered before may be gone now.
        if fresh.milestones.len() >= story.milestones.len() {
            story.milestones = fresh.milestones;
        }
    }
    Ok(())
}

async fn ask(
    peers: &OperatorPeers,
    asker: &mut Asker,
    guid: &Guid,
    wait: Duration,
) -> Result<Heard, Failure> {
    let live = async {
        let live = peers.directory().await?.live_nodes().await.context("Redis")?;
        Ok::<_, Failure>(live.into_iter().collect::<BTreeSet<NodeId>>())
    };
    let live = live.await.ok();
    let nodes = |heard: &[Answer]| heard.iter().map(|answer| answer.who.node).collect::<BTreeSet<_>>();
    // Everybody who has a lease has answered: whoever has none is not waited for.
    let is_enough = |heard: &[Answer]| {
        live.as_ref().is_some_and(|live| !live.is_empty() && nodes(heard).is_superset(live))
    };
    let (answers, unasked) = match asker.ask(Question::Trace(Origin::hash(guid)), wait, is_enough).await {
        Ok(answers) => (answers, None),
        // The database may know it all the same.
        Err(err) => (Vec::new(), Some(err.to_string())),
    };
    let heard = nodes(&answers);
    let live = live.filter(|_| unasked.is_none());
    let silent = live.map(|live| live.difference(&heard).map(ToString::to_string).collect());
    let now = Timestamp::now();
    let off = answers.iter().filter(|one| matches!(one.said, Reply::Trace { is_on: false, .. }));
    Ok(Heard {
        since: answers.iter().map(|answer| remembers_since(answer, now)).max(),
        off: off.map(|answer| answer.who.node.to_string()).collect(),
        silent,
        answers,
        unasked,
    })
}

/// A ring that has not gone round remembers everything since its program began.
fn remembers_since(answer: &Answer, now: Timestamp) -> Timestamp {
    let began = Timestamp(now.0 - i64::try_from(answer.who.up_ms).unwrap_or(i64::MAX));
    match answer.said {
        Reply::Trace { since: Some(since), .. } => since,
        _ => began,
    }
}

/// Whether it is in quarantine.
async fn look_aside(bus: &Bus, guid: &Guid, found: &mut Stories) -> Result<(), Failure> {
    // Looking takes what is there and gives it back: not for nothing.
    if bus.depths().await.map_err(of_bus)?.quarantine == 0 {
        return Ok(());
    }
    let aside = bus.quarantined(QUARANTINE_SHOWN_MAX).await.map_err(of_bus)?;
    for (nth, one) in (1..).zip(&aside) {
        let Ok(uplink) = protocol::decode::<Uplink>(&one.envelope.body) else { continue };
        if let Some(conversation) = uplink.conversation.filter(|_| uplink.guid.as_ref() == Some(guid)) {
            let reason = redact::reason(&one.reason, false);
            let story = found.entry((conversation, uplink.from.user)).or_default();
            story.aside = Some(Aside { nth, attempts: one.attempts, reason });
        }
    }
    Ok(())
}

/// Asks the database for the message, if a program or the operator names its sender or conversation.
async fn look_up(
    peers: &OperatorPeers,
    guid: &Guid,
    hint: &Hint,
    found: &mut Stories,
) -> Result<(), Failure> {
    let store = peers.store().await?;
    let mut places: Vec<_> = found.keys().copied().collect();
    let sender = match &hint.sender {
        Some(whose) => Some(peers.user(whose).await?.with_context(|| format!("there is no user {whose}"))?),
        None => None,
    };
    places.extend(match (sender, hint.conversation) {
        (Some(sender), Some(conversation)) => vec![(conversation, sender)],
        (Some(sender), None) => store.places_of_sender(sender).await.map_err(|err| anyhow!(err))?,
        (None, Some(conversation)) => {
            store.places_of_conversation(conversation).await.map_err(|err| anyhow!(err))?
        }
        (None, None) => vec![],
    });
    for kept in store.kept_messages(guid, &places).await.map_err(|err| anyhow!(err))? {
        found.entry((kept.conversation, kept.sender)).or_default().kept = Some(kept);
    }
    Ok(())
}

fn sentence(
    (conversation, sender): (ConversationId, UserId),
    story: &Story,
    now: Timestamp,
    was_asked: bool,
) -> String {
    let whose = format!("The message of user {sender} to conversation {conversation}");
    let ago = |since: Timestamp| format!("{} ago", span(age(since, now)));
    let place = story.kept.map_or_else(String::new, |kept| format!(" as seq {}", kept.seq));
    match story.now() {
        Whereabouts::Accepted => format!("{whose} is at its gateway; the broker has not confirmed it yet."),
        Whereabouts::Unconfirmed => format!(
            "{whose} was not confirmed by the broker in time. Its sender heard busy and may repeat it; it may \
             still arrive."
        ),
        Whereabouts::Confirmed { since } => format!(
            "{whose} has waited in its lane{}: the broker has it, and no worker that answered has taken it.",
            since.map_or_else(String::new, |since| format!(" for {}", span(age(since, now))))
        ),
        Whereabouts::Taken { worker, attempt, since } => {
            format!("{whose} has been with worker {worker} for {}, attempt {attempt}.", span(age(since, now)))
        }
        Whereabouts::Delayed { attempt, since } => format!(
            "{whose} has failed {}, the last time {}. It waits on the retry ladder.",
            count(attempt.into(), "time"),
            ago(since)
        ),
        Whereabouts::Quarantined => {
            let Some(Aside { nth, attempts, reason }) = &story.aside else { return whose };
            format!(
                "{whose} is in quarantine after {}: {reason} (`chatchit quarantine show {nth}`).",
                count((*attempts).into(), "attempt")
            )
        }
        Whereabouts::Refused(reject) => {
            format!("{whose} was refused: {}, and its sender was told.", reject.code())
        }
        Whereabouts::Committed if !was_asked => {
            format!(
                "{whose} is in the database{place}; the programs could not be asked about its deliveries."
            )
        }
        Whereabouts::Committed if story.milestones.is_empty() => format!(
            "{whose} is in the database{place}; its deliveries are older than what the programs remember."
        ),
        // The program that delivered it may be gone.
        Whereabouts::Committed => {
            format!("{whose} is in the database{place}; no program that answered remembers a delivery of it.")
        }
        Whereabouts::Nobody => {
            format!("{whose} is in the database{place}; no member was connected.")
        }
        Whereabouts::Published { nodes } => format!(
            "{whose} is in the database{place} and on its way to {}; no socket there has it yet.",
            count(nodes, "gateway")
        ),
        Whereabouts::Queued { found, gateways } => format!(
            "{whose} is in the database{place} and waits in the outboxes of {} on {}.",
            count(found as usize, "socket"),
            count(gateways, "gateway")
        ),
        Whereabouts::Written { written, found, gateways } => format!(
            "{whose} is in the database{place} and was written to {written} of {} on {}; no other member has said \
             that it was read.",
            count(found as usize, "socket"),
            count(gateways, "gateway")
        ),
        Whereabouts::Read { read, others } => {
            format!("{whose} is in the database{place} and was read by {read} of {others} others.")
        }
    }
}

fn unknown(guid: &Guid, hint: &Hint, is_whole: bool) -> String {
    if !is_whole {
        return format!("It is not known where message {guid} is: not every program answered.");
    }
    let more = match hint {
        Hint { sender: None, conversation: None } => {
            ", or it is older than what the programs remember. With --user or --conversation, the database is asked too"
        }
        _ => ", and the database does not have it there",
    };
    format!("No program knows a message {guid}: no gateway has accepted it{more}.")
}

/// The sources of the answer, and what is missing.
fn limits_of(heard: &Heard, store: Option<&str>) -> String {
    let mut lines = vec![match heard.since {
        _ if heard.unasked.is_some() => heard.unasked.clone().unwrap_or_default(),
        Some(since) => {
            format!("{} answered; all remember since {since}", count(heard.answers.len(), "program"))
        }
        None => "no program answered".to_owned(),
    }];
    if !heard.off.is_empty() {
        lines.push(format!("remember nothing (TRACE_MESSAGES=0): {}", heard.off.join(", ")));
    }
    match heard.silent.as_deref() {
        None if heard.unasked.is_some() => {}
        None => {
            lines.push("which programs were silent is not known: the directory did not answer".to_owned())
        }
        Some([]) => {}
        Some(silent) => {
            lines.push(format!("silent programs, whose part of the story is missing: {}", silent.join(", ")));
        }
    }
    lines.extend(store.map(|why| format!("the database was not asked: {why}")));
    lines.join("\n")
}

fn text_of(story: &Story, sentence: &str) -> String {
    let mut rows = vec![row(["TIME", "STAGE", "WHERE", "PROCESS", "WHAT"])];
    for (place, one) in &story.milestones {
        let (name, about) = about(one.stage, place);
        rows.push(row([
            &one.at.to_string(),
            name,
            &format!("{} {}", place.role, place.node),
            &place.process,
            &words(&about),
        ]));
    }
    if let Some(kept) = story.kept {
        let what =
            format!("message {}, seq {}, read by {} of {}", kept.message, kept.seq, kept.read, kept.others);
        rows.push(row([&kept.created_at.to_string(), "in the database", "PostgreSQL", "", &what]));
    }
    format!("{sentence}\n\n{}", table(&rows))
}

fn words(about: &Value) -> String {
    let fields = about.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    fields.map(|(name, value)| format!("{name} {}", plain(value))).collect::<Vec<_>>().join(", ")
}

fn json_of((conversation, sender): (ConversationId, UserId), story: &Story, sentence: &str) -> Value {
    let stages = story.milestones.iter().map(|(place, one)| {
        let (stage, about) = about(one.stage, place);
        json!({
            "stage": stage, "at": one.at, "role": place.role, "node": place.node.to_string(),
            "process": place.process, "about": about,
        })
    });
    json!({
        "sender": sender,
        "conversation": conversation,
        "now": story.now().name(),
        "sentence": sentence,
        "stages": stages.collect::<Vec<_>>(),
        "kept": story.kept.map(|kept| json!({
            "message": kept.message, "seq": kept.seq, "createdAt": kept.created_at, "read": kept.read,
            "others": kept.others,
        })),
        "quarantine": story.aside.as_ref().map(|aside| json!({
            "n": aside.nth, "attempts": aside.attempts, "reason": aside.reason,
        })),
    })
}

/// The name of a stage, and its details.
fn about(stage: Stage, place: &Program) -> (&'static str, Value) {
    match stage {
        Stage::Accepted { socket, confirmed } => {
            let socket = socket.map(|serial| format!("{}-{serial:x}", place.node));
            let from = if socket.is_none() { "REST" } else { "a socket" };
            ("accepted", json!({ "from": from, "socket": socket, "confirmedAt": confirmed }))
        }
        Stage::Unconfirmed => ("unconfirmed", json!({ "senderHeard": "busy" })),
        Stage::Taken { attempt, again } => ("taken", json!({ "attempt": attempt, "handedOutBefore": again })),
        Stage::Committed { seq, repeat } => ("committed", json!({ "seq": seq, "repeat": repeat })),
        Stage::Refused(reject) => ("refused", json!({ "code": reject.code() })),
        Stage::Published { node, users } => {
            ("published", json!({ "gateway": node.to_string(), "users": users }))
        }
        Stage::NoRoute { node } => ("no route", json!({ "gateway": node.to_string() })),
        Stage::Nobody => ("nobody connected", Value::Null),
        Stage::Delayed { attempt } => ("delayed", json!({ "failed": attempt })),
        Stage::Quarantined => ("quarantined", Value::Null),
        Stage::GivenBack => ("given back", Value::Null),
        Stage::Written { found, written, last } => {
            ("written", json!({ "sockets": found, "written": written, "lastAt": last }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_said_with_what_is_known_of_it() {
        let place = Program { node: NodeId(0xab), role: "gateway", process: "h:1".into() };
        let check = |stage, name: &str, text: &str| {
            let (found, about) = about(stage, &place);
            assert_eq!((found, words(&about).as_str()), (name, text));
        };
        let accepted = Stage::Accepted { socket: Some(31), confirmed: Some(Timestamp(0)) };
        let said = "confirmedAt 1970-01-01T00:00:00.000Z, from a socket, socket 00000000000000ab-1f";
        check(accepted, "accepted", said);
        check(Stage::Accepted { socket: None, confirmed: None }, "accepted", "from REST");
        check(Stage::Nobody, "nobody connected", "");
        check(Stage::Taken { attempt: 2, again: true }, "taken", "attempt 2, handedOutBefore true");
    }

    #[test]
    fn what_the_answer_rests_on_is_said() {
        let heard = |silent: Option<Vec<String>>| Heard {
            answers: vec![],
            silent,
            since: Some(Timestamp(0)),
            off: vec![],
            unasked: None,
        };
        assert!(
            limits_of(&heard(Some(vec![])), None).starts_with("0 programs answered; all remember since 1970")
        );
        assert!(limits_of(&heard(Some(vec!["ab".into()])), None).contains("silent"));
        assert!(limits_of(&heard(None), Some("away")).contains("the database was not asked: away"));
        let guid = Guid::new("g").unwrap();
        assert!(unknown(&guid, &Hint::default(), true).contains("--user"));
        let unasked = Heard { unasked: Some("the programs could not be asked: x".into()), ..heard(None) };
        assert_eq!(limits_of(&unasked, None), "the programs could not be asked: x");
        assert!(!unasked.is_whole() && !heard(Some(vec!["ab".into()])).is_whole());
        let sentence = unknown(&guid, &Hint::default(), false);
        assert!(!sentence.contains("no gateway") && sentence.contains("not known"), "{sentence}");
        let hint = Hint { sender: None, conversation: Some(ConversationId(7)) };
        assert!(unknown(&guid, &hint, true).contains("does not have it"));
    }
}
