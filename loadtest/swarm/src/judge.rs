//! The verdict on the observations of a run. Pure: evidence in, counts and examples out.
//!
//! *Lost*: acknowledged, and not in the history; or in the history, and a member did not see it
//! even after the final `sync`. *Doubled*: one guid in two rows, two messages under one seq, or
//! two answers that contradict each other. *Reordered*: see [`order`]. *Gaps*: seqs missing from
//! 1..=head of a history. *Unread*: a history that could not be read, which proves nothing.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::evidence::{Conversation, Evidence, Key, Record};

/// Examples kept per run.
const EXAMPLES_MAX: usize = 20;

/// The verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Messages put on the wire at least once.
    pub sent: u64,
    /// Of these, acknowledged by the server.
    pub acknowledged: u64,
    /// Of the sent ones, in the history (acknowledged or not).
    pub persisted: u64,
    /// Persisted messages times the members who should see them.
    pub expected: u64,
    /// Of these, seen.
    pub delivered: u64,
    /// Of these, seen live, without `sync` or history.
    pub delivered_live: u64,
    /// Acknowledged and not persisted.
    pub lost: u64,
    /// Persisted and not seen by a member.
    pub undelivered: u64,
    /// One guid twice, two messages under one seq, or contradicting answers.
    pub doubled: u64,
    /// Out of the order the sender may rely on, or shown live out of order.
    pub reordered: u64,
    /// Seqs missing from histories.
    pub gaps: u64,
    /// Histories that could not be read.
    pub unread: u64,
    /// Live deliveries of what the same connection had seen already (allowed).
    pub repeats: u64,
    /// Live deliveries that filled what a connection had missed, before its first `synced` did (allowed).
    pub filled: u64,
    /// Rows in the histories that are not of this run (none expected in fresh conversations).
    pub foreign: u64,
    /// Refused for good, by code.
    pub refused: BTreeMap<String, u64>,
    /// The first findings, in words.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Whether no acknowledged message was lost, doubled or reordered, none is missing, and all histories were read.
    pub fn is_clean(&self) -> bool {
        self.lost + self.undelivered + self.doubled + self.reordered + self.gaps + self.unread == 0
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }
}

/// Judges a run.
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    // (conversation, key) -> seq, from the histories.
    let mut rows: HashMap<Key, (u32, u64)> = HashMap::new();
    for (index, conversation) in evidence.conversations.iter().enumerate() {
        history(&mut verdict, &mut rows, index as u32, conversation);
    }
    for (sender, records) in evidence.records.iter().enumerate() {
        for (count, record) in records.iter().enumerate() {
            let key = Key::new(sender as u32, count as u32);
            message(&mut verdict, evidence, key, record, rows.get(&key).copied());
        }
        order(&mut verdict, evidence, sender as u32, records, &rows);
    }
    for conversation in &evidence.conversations {
        views(&mut verdict, conversation);
    }
    verdict
}

fn history(
    verdict: &mut Verdict,
    rows: &mut HashMap<Key, (u32, u64)>,
    index: u32,
    conversation: &Conversation,
) {
    let id = conversation.id;
    let Some(history) = &conversation.history else {
        verdict.unread += 1;
        verdict.example(|| format!("conversation {id}: the history could not be read"));
        return;
    };
    let mut by_seq = history.clone();
    by_seq.sort_unstable_by_key(|row| row.seq);
    let mut expect = 1;
    for row in &by_seq {
        if row.seq < expect {
            verdict.doubled += 1;
            verdict.example(|| format!("conversation {id}: two rows under seq {}", row.seq));
            continue;
        }
        if row.seq > expect {
            verdict.gaps += row.seq - expect;
            verdict.example(|| format!("conversation {id}: no seq {expect} to {}", row.seq - 1));
        }
        expect = row.seq + 1;
    }
    for row in &by_seq {
        if row.key.parts().is_none() {
            verdict.foreign += 1;
        } else if let Some((_, first)) = rows.insert(row.key, (index, row.seq)) {
            verdict.doubled += 1;
            verdict.example(|| {
                format!("conversation {id}: message {:?} under seq {first} and {}", row.key.parts(), row.seq)
            });
        }
    }
}

fn message(verdict: &mut Verdict, evidence: &Evidence, key: Key, record: &Record, row: Option<(u32, u64)>) {
    let conversation = &evidence.conversations[record.conversation as usize];
    let name = || format!("conversation {}: message {:?}", conversation.id, key.parts().unwrap_or_default());
    verdict.sent += u64::from(record.attempts > 0);
    verdict.acknowledged += u64::from(record.acknowledged_tick.is_some());
    if let Some(code) = &record.refused {
        *verdict.refused.entry(code.clone()).or_default() += 1;
    }
    if record.contradicted {
        verdict.doubled += 1;
        verdict.example(|| format!("{}: messageProcessed twice, with different answers", name()));
    }
    let Some((index, seq)) = row else {
        // An unread history is counted once, as unread.
        if record.acknowledged_tick.is_some() && conversation.history.is_some() {
            verdict.lost += 1;
            verdict.example(|| format!("{}: acknowledged, not in the history", name()));
        }
        return;
    };
    verdict.persisted += 1;
    if index != record.conversation {
        verdict.doubled += 1;
        verdict.example(|| format!("{}: in another conversation's history", name()));
    }
    if record.processed.is_some_and(|(told, _)| told != seq) {
        verdict.doubled += 1;
        verdict
            .example(|| format!("{}: processed as {:?}, in the history as {seq}", name(), record.processed));
    }
    let members = &conversation.views;
    verdict.expected += members.len() as u64;
    for (user, view) in members {
        match view.seen.get((seq - 1) as usize) {
            Some(seen) if *seen == key => verdict.delivered += 1,
            Some(seen) if *seen != Key::NONE => {
                verdict.doubled += 1;
                verdict.example(|| format!("{}: user {user} saw another message under seq {seq}", name()));
            }
            _ => {
                verdict.undelivered += 1;
                verdict.example(|| format!("{}: seq {seq} never seen by user {user}", name()));
            }
        }
    }
}

/// What a sender may rely on, within one conversation: if a was acknowledged before b was first
/// put on the wire, or both went out once, over the same connection, a before b, and both were
/// acknowledged, then a's seq is below b's. (Between a refused message and those pipelined
/// behind it there is no order to rely on.)
fn order(
    verdict: &mut Verdict,
    evidence: &Evidence,
    sender: u32,
    records: &[Record],
    rows: &HashMap<Key, (u32, u64)>,
) {
    let mut conversations: BTreeMap<u32, Vec<(&Record, u64, u32)>> = BTreeMap::new();
    for (count, record) in records.iter().enumerate() {
        if let Some((_, seq)) = rows.get(&Key::new(sender, count as u32)) {
            conversations.entry(record.conversation).or_default().push((record, *seq, count as u32));
        }
    }
    for (index, mut sent) in conversations {
        let id = evidence.conversations[index as usize].id;
        sent.sort_unstable_by_key(|(record, ..)| record.first_sent_tick);
        let mut acknowledged: Vec<_> = sent
            .iter()
            .filter_map(|(record, seq, count)| Some((record.acknowledged_tick?, *seq, *count)))
            .collect();
        acknowledged.sort_unstable();
        let mut settled = acknowledged.into_iter().peekable();
        let mut settled_max = (0, 0);
        let mut pipelined_max: HashMap<u32, (u64, u32)> = HashMap::new();
        for (record, seq, count) in sent {
            while let Some((_, seq, count)) = settled.next_if(|(tick, ..)| *tick < record.first_sent_tick) {
                settled_max = settled_max.max((seq, count));
            }
            let once = record.attempts == 1 && record.acknowledged_tick.is_some();
            let before = match pipelined_max.get(&record.connection) {
                Some(pipelined) if once => settled_max.max(*pipelined),
                _ => settled_max,
            };
            if before.0 > seq {
                verdict.reordered += 1;
                verdict.example(|| {
                    format!(
                        "conversation {id}: user {sender} sent {} before {count}, seqs are {} and {seq}",
                        before.1, before.0
                    )
                });
            }
            if once {
                let max = pipelined_max.entry(record.connection).or_default();
                *max = (*max).max((seq, count));
            }
        }
    }
}

fn views(verdict: &mut Verdict, conversation: &Conversation) {
    let id = conversation.id;
    for (user, view) in &conversation.views {
        verdict.repeats += view.repeats;
        verdict.delivered_live += view.live;
        verdict.filled += view.filled;
        verdict.reordered += view.backwards;
        if let Some((seq, after)) = view.step_back {
            verdict.example(|| {
                let steps = view.backwards;
                format!("conversation {id}: user {user} saw {steps} step(s) back, the first to seq {seq} after {after}")
            });
        }
        verdict.doubled += view.conflicts.len() as u64;
        if let Some((seq, first, second)) = view.conflicts.first() {
            verdict.example(|| {
                format!("conversation {id}: user {user} saw {first:?} and {second:?} under seq {seq}")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Row, View};

    /// Two members, one sender, four messages, each acknowledged before the next: nothing wrong.
    fn innocent() -> Evidence {
        let mut view = View::new();
        let mut history = vec![];
        let mut records = vec![];
        for count in 0..4 {
            let (seq, key) = (u64::from(count) + 1, Key::new(0, count));
            view.show(seq, key, true);
            history.push(Row { seq, key, id: 100 + seq as i64 });
            records.push(Record {
                first_sent_tick: seq * 10,
                attempts: 1,
                connection: 1,
                acknowledged_tick: Some(seq * 10 + 5),
                processed: Some((seq, 100 + seq as i64)),
                ..Record::default()
            });
        }
        let views = vec![(0, view.clone()), (1, view)];
        Evidence {
            conversations: vec![Conversation { id: 9, views, history: Some(history) }],
            records: vec![records],
        }
    }

    fn history(evidence: &mut Evidence) -> &mut Vec<Row> {
        evidence.conversations[0].history.as_mut().unwrap()
    }

    #[track_caller]
    fn convict(plant: impl FnOnce(&mut Evidence), count: impl Fn(&Verdict) -> u64, expect: u64) {
        let mut evidence = innocent();
        plant(&mut evidence);
        let verdict = judge(&evidence);
        assert_eq!(count(&verdict), expect, "{verdict:#?}");
        assert!(!verdict.is_clean() && !verdict.examples.is_empty());
    }

    #[test]
    fn the_innocent_are_acquitted() {
        let verdict = judge(&innocent());
        assert!(verdict.is_clean(), "{verdict:#?}");
        assert_eq!((verdict.sent, verdict.acknowledged, verdict.persisted), (4, 4, 4));
        assert_eq!((verdict.expected, verdict.delivered, verdict.delivered_live), (8, 8, 8));
    }

    #[test]
    fn a_planted_loss_is_found() {
        convict(|evidence| assert!(history(evidence).pop().is_some()), |verdict| verdict.lost, 1);
        // Never acknowledged: not lost, whether it is there or not.
        let mut evidence = innocent();
        history(&mut evidence).pop();
        evidence.records[0][3].acknowledged_tick = None;
        evidence.records[0][3].processed = None;
        assert!(judge(&evidence).is_clean());
    }

    #[test]
    fn a_planted_missing_delivery_is_found() {
        convict(
            |evidence| evidence.conversations[0].views[1].1.seen[2] = Key::NONE,
            |verdict| verdict.undelivered,
            1,
        );
    }

    #[test]
    fn planted_doubles_are_found() {
        let twice = |evidence: &mut Evidence| {
            let row = Row { seq: 5, id: 105, ..history(evidence)[1] };
            history(evidence).push(row);
        };
        convict(twice, |verdict| verdict.doubled.min(1), 1);
        let one_seq = |evidence: &mut Evidence| {
            history(evidence).push(Row { seq: 4, key: Key::FOREIGN, id: 200 });
        };
        convict(one_seq, |verdict| verdict.doubled, 1);
        convict(|evidence| evidence.records[0][0].contradicted = true, |verdict| verdict.doubled, 1);
        let another_seq = |evidence: &mut Evidence| evidence.records[0][0].processed = Some((3, 103));
        convict(another_seq, |verdict| verdict.doubled, 1);
        let other_view = |evidence: &mut Evidence| {
            evidence.conversations[0].views[0].1.show(2, Key::new(0, 3), false);
        };
        convict(other_view, |verdict| verdict.doubled, 1);
    }

    /// Swaps the seqs of messages 1 and 2 everywhere.
    fn swap(evidence: &mut Evidence) {
        history(evidence)[1].key = Key::new(0, 2);
        history(evidence)[2].key = Key::new(0, 1);
        for (_, view) in &mut evidence.conversations[0].views {
            view.seen.swap(1, 2);
        }
        for record in &mut evidence.records[0] {
            record.processed = None;
        }
    }

    #[test]
    fn a_planted_reorder_is_found() {
        convict(swap, |verdict| verdict.reordered, 1);
        // Pipelined over one connection: 2 was sent before 1 was acknowledged.
        let pipelined = |evidence: &mut Evidence| {
            swap(evidence);
            evidence.records[0][1].acknowledged_tick = Some(32);
        };
        convict(pipelined, |verdict| verdict.reordered, 1);
        convict(
            |evidence| {
                let view = &mut evidence.conversations[0].views[0].1;
                (view.backwards, view.step_back) = (1, Some((1, 2)));
            },
            |verdict| verdict.reordered,
            1,
        );
        // The first of two pipelined ones was refused and sent again: no order to rely on.
        let mut evidence = innocent();
        swap(&mut evidence);
        evidence.records[0][1].acknowledged_tick = Some(38);
        evidence.records[0][1].attempts = 2;
        assert!(judge(&evidence).is_clean());
    }

    #[test]
    fn a_planted_gap_is_found() {
        let gap = |evidence: &mut Evidence| {
            history(evidence)[3].seq = 6;
            evidence.records[0][3].processed = None;
            for (_, view) in &mut evidence.conversations[0].views {
                let key = view.seen.pop().unwrap();
                view.show(6, key, false);
            }
        };
        convict(gap, |verdict| verdict.gaps, 2);
    }

    #[test]
    fn an_unread_history_acquits_nobody() {
        convict(|evidence| evidence.conversations[0].history = None, |verdict| verdict.unread, 1);
    }
}
