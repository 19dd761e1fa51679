//! The recent path of chat messages through this program: a flight recorder.
//!
//! A ring of fixed size in memory, allocated as it fills, that every task writes into without a lock:
//! a writer takes a place by adding to one counter, and fills it with plain stores. Entries older than the
//! ring are forgotten, and [`Recorder::since`] gives the time since when none was. Only an operator's
//! question reads it (`chatchit trace`); nothing that happens to a message depends on it.
//!
//! Names, ids and times are kept, never contents; of a guid only its hash.
//!
//! Torn entries: a reader looks at the key before and after the rest and drops what changed
//! meanwhile. Two writers meet in one place only when the whole ring goes round while one of them
//! stores six words.

use std::num::NonZeroU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};
use std::sync::{Arc, OnceLock};

use crate::config::Env;
use crate::limits::{TRACE_MESSAGES, TRACE_MESSAGES_MAX, TRACE_MILESTONES_MAX, TRACE_MILESTONES_PER_MESSAGE};
use protocol::control::{Milestone, Reply, Stage};
use protocol::ids::{ConversationId, UserId};
use protocol::{Origin, Timestamp};

/// Words of an entry beside its key: time, sender, conversation, and two whose meaning depends on its kind.
const WORDS: usize = 5;

/// Entries that are allocated together.
const PART: usize = 4_096;

/// The kind is in the lowest byte of the first word, the milliseconds above it.
const KIND_BITS: u32 = 8;

/// The ring of one program. Cheap to clone.
#[derive(Clone)]
pub struct Recorder(Option<Arc<Ring>>);

struct Ring {
    /// Entries begun so far.
    next: AtomicU64,
    parts: Box<[OnceLock<Part>]>,
    part_len: usize,
}

struct Part {
    /// Hashes of guids; apart from the rest, because a search reads all of them.
    keys: Box<[AtomicU64]>,
    entries: Box<[Entry]>,
}

type Entry = [AtomicU64; WORDS];

/// An entry that is added to later, for as long as it is in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(NonZeroU64);

/// `TRACE_MESSAGES` (65,536): number of recent messages whose path a program remembers, about
/// [`TRACE_MILESTONES_PER_MESSAGE`] entries of 48 bytes each; 0: none.
pub fn messages_from_env(env: &mut Env) -> usize {
    let messages = env.number(&["TRACE_MESSAGES"], TRACE_MESSAGES);
    if messages > TRACE_MESSAGES_MAX {
        env.problem(format!("TRACE_MESSAGES should be at most {TRACE_MESSAGES_MAX}, not {messages}"));
        return TRACE_MESSAGES;
    }
    messages
}

impl Recorder {
    /// Room for the path of about this many messages; 0: nothing is recorded.
    pub fn new(messages: usize) -> Self {
        let len = messages * TRACE_MILESTONES_PER_MESSAGE;
        let part_len = len.min(PART);
        let ring = || Ring {
            next: AtomicU64::new(0),
            parts: (0..len.div_ceil(part_len)).map(|_| OnceLock::new()).collect(),
            part_len,
        };
        Self((len > 0).then(|| Arc::new(ring())))
    }

    /// Whether anything is kept.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Writes a milestone down.
    pub fn note(&self, of: Origin, at: Timestamp, stage: Stage) -> Option<Ticket> {
        let ring = self.0.as_deref()?;
        let number = ring.next.fetch_add(1, Relaxed);
        let (part, at_part) = ring.place(number);
        let Part { keys, entries } = part.get_or_init(|| Part::new(ring.part_len));
        let (kind, a, b) = words(stage);
        // Nobody takes half an entry for a whole one: it has no key until it is.
        keys[at_part].store(0, Relaxed);
        fence(Release);
        let when = (at.0.max(0).cast_unsigned() << KIND_BITS) | kind;
        let values = [when, of.sender.0.cast_unsigned(), of.conversation.0.cast_unsigned(), a, b];
        entries[at_part].iter().zip(values).for_each(|(word, value)| word.store(value, Relaxed));
        keys[at_part].store(key(of.guid), Release);
        NonZeroU64::new(number + 1).map(Ticket)
    }

    /// The broker has confirmed what a gateway accepted.
    pub fn confirmed(&self, ticket: Option<Ticket>, at: Timestamp) {
        if let Some(entry) = self.entry(ticket) {
            entry[4].store(at.0.cast_unsigned(), Relaxed);
        }
    }

    /// One more socket's bytes were taken by the kernel.
    pub fn written(&self, ticket: Ticket, at: Timestamp) {
        if let Some(entry) = self.entry(Some(ticket)) {
            // The sockets found are above, those written to below.
            entry[3].fetch_add(1, Relaxed);
            entry[4].store(at.0.cast_unsigned(), Relaxed);
        }
    }

    /// The recorded milestones of messages with this guid, in the order of recording.
    pub fn of(&self, guid: u64) -> Vec<Milestone> {
        let Some(ring) = self.0.as_deref() else { return Vec::new() };
        let (wanted, end) = (key(guid), ring.next.load(Acquire));
        (end.saturating_sub(ring.len())..end).filter_map(|number| ring.read(number, wanted)).collect()
    }

    /// The answer to an operator's question.
    pub fn said(&self, guid: u64) -> Reply {
        let mut milestones = self.of(guid);
        let older = milestones.len().saturating_sub(TRACE_MILESTONES_MAX);
        milestones.drain(..older);
        Reply::Trace { milestones, since: self.since(), is_on: self.is_on() }
    }

    /// Since when nothing was forgotten; None: nothing was, since the program began.
    pub fn since(&self) -> Option<Timestamp> {
        let ring = self.0.as_deref()?;
        let next = ring.next.load(Acquire);
        let oldest = ring.entry(next).filter(|_| next > ring.len())?;
        Some(moment(oldest[0].load(Relaxed)))
    }

    fn entry(&self, ticket: Option<Ticket>) -> Option<&Entry> {
        let ring = self.0.as_deref()?;
        let number = ticket?.0.get() - 1;
        let is_there = ring.next.load(Relaxed) - number <= ring.len();
        ring.entry(number).filter(|_| is_there)
    }
}

impl Ring {
    fn len(&self) -> u64 {
        (self.parts.len() * self.part_len) as u64
    }

    /// The part of an entry, and its place there.
    fn place(&self, number: u64) -> (&OnceLock<Part>, usize) {
        let place = (number % self.len()) as usize;
        (&self.parts[place / self.part_len], place % self.part_len)
    }

    fn entry(&self, number: u64) -> Option<&Entry> {
        let (part, place) = self.place(number);
        Some(&part.get()?.entries[place])
    }

    fn read(&self, number: u64, wanted: u64) -> Option<Milestone> {
        let (part, place) = self.place(number);
        let Part { keys, entries } = part.get()?;
        if keys[place].load(Acquire) != wanted {
            return None;
        }
        let [when, sender, conversation, a, b] = entries[place].each_ref().map(|word| word.load(Relaxed));
        fence(Acquire);
        let is_same = keys[place].load(Relaxed) == wanted;
        let stage = stage((when & 0xff, a, b)).filter(|_| is_same)?;
        Some(Milestone {
            sender: UserId(sender.cast_signed()),
            conversation: ConversationId(conversation.cast_signed()),
            at: moment(when),
            stage,
        })
    }
}

impl Part {
    fn new(len: usize) -> Self {
        Self {
            keys: (0..len).map(|_| AtomicU64::new(0)).collect(),
            entries: (0..len).map(|_| [const { AtomicU64::new(0) }; WORDS]).collect(),
        }
    }
}

/// 0 is not a valid key.
fn key(guid: u64) -> u64 {
    guid.max(1)
}

fn moment(when: u64) -> Timestamp {
    Timestamp((when >> KIND_BITS).cast_signed())
}

fn some_moment(word: u64) -> Option<Timestamp> {
    (word != 0).then(|| Timestamp(word.cast_signed()))
}

/// What only [`Recorder::confirmed`] and [`Recorder::written`] add is not there yet.
fn words(stage: Stage) -> (u64, u64, u64) {
    match stage {
        Stage::Accepted { socket, .. } => (1, socket.map_or(0, |serial| serial + 1), 0),
        Stage::Unconfirmed => (2, 0, 0),
        Stage::Taken { attempt, again } => (3, attempt.into(), again.into()),
        Stage::Committed { seq, repeat } => (4, seq, repeat.into()),
        Stage::Refused(reject) => (5, reject as u64, 0),
        Stage::Published { node, users } => (6, node.0, users.into()),
        Stage::NoRoute { node } => (7, node.0, 0),
        Stage::Nobody => (8, 0, 0),
        Stage::Delayed { attempt } => (9, attempt.into(), 0),
        Stage::Quarantined => (10, 0, 0),
        Stage::GivenBack => (11, 0, 0),
        Stage::Written { found, .. } => (12, u64::from(found) << 32, 0),
    }
}

fn stage((kind, a, b): (u64, u64, u64)) -> Option<Stage> {
    use protocol::Reject;
    use protocol::ids::NodeId;
    // Truncated on purpose: these were written from types of this size.
    Some(match kind {
        1 => Stage::Accepted { socket: a.checked_sub(1), confirmed: some_moment(b) },
        2 => Stage::Unconfirmed,
        3 => Stage::Taken { attempt: a as u8, again: b != 0 },
        4 => Stage::Committed { seq: a, repeat: b != 0 },
        5 => Stage::Refused(*Reject::ALL.get(usize::try_from(a).ok()?)?),
        6 => Stage::Published { node: NodeId(a), users: b as u32 },
        7 => Stage::NoRoute { node: NodeId(a) },
        8 => Stage::Nobody,
        9 => Stage::Delayed { attempt: a as u8 },
        10 => Stage::Quarantined,
        11 => Stage::GivenBack,
        12 => Stage::Written { found: (a >> 32) as u32, written: a as u32, last: some_moment(b) },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Reject;
    use protocol::ids::{Guid, NodeId};

    fn of(guid: &str, sender: i64) -> Origin {
        let guid = Origin::hash(&Guid::new(guid).unwrap());
        Origin { guid, sender: UserId(sender), conversation: ConversationId(7) }
    }

    fn stages(recorder: &Recorder, guid: &str) -> Vec<Stage> {
        recorder.of(of(guid, 1).guid).into_iter().map(|one| one.stage).collect()
    }

    #[test]
    fn every_stage_comes_back_as_it_was_written() {
        let recorder = Recorder::new(16);
        let all = [
            Stage::Accepted { socket: Some(0), confirmed: None },
            Stage::Accepted { socket: None, confirmed: None },
            Stage::Unconfirmed,
            Stage::Taken { attempt: 3, again: true },
            Stage::Committed { seq: u64::MAX, repeat: false },
            Stage::Refused(Reject::NotAMember),
            Stage::Refused(Reject::Malformed),
            Stage::Published { node: NodeId(u64::MAX), users: 9 },
            Stage::NoRoute { node: NodeId(4) },
            Stage::Nobody,
            Stage::Delayed { attempt: 5 },
            Stage::Quarantined,
            Stage::GivenBack,
            Stage::Written { found: u32::MAX, written: 0, last: None },
        ];
        for stage in all {
            recorder.note(of("a", 1), Timestamp(5), stage);
            recorder.note(of("b", 1), Timestamp(6), Stage::Nobody);
        }
        assert_eq!(stages(&recorder, "a"), all);
        let last = *recorder.of(of("a", 1).guid).last().unwrap();
        assert_eq!(
            (last.sender, last.conversation, last.at),
            (UserId(1), ConversationId(7), Timestamp(5)),
            "who, where and when"
        );
        for (place, reject) in Reject::ALL.iter().enumerate() {
            assert_eq!(*reject as usize, place, "a reject is kept by its place");
        }
    }

    #[test]
    fn what_comes_later_is_added_to_what_was_noted() {
        let recorder = Recorder::new(4);
        let ticket =
            recorder.note(of("a", 1), Timestamp(5), Stage::Accepted { socket: Some(2), confirmed: None });
        recorder.confirmed(ticket, Timestamp(6));
        let found = Stage::Written { found: 3, written: 0, last: None };
        let ticket = recorder.note(of("a", 1), Timestamp(7), found).unwrap();
        recorder.written(ticket, Timestamp(8));
        recorder.written(ticket, Timestamp(9));
        let seen = stages(&recorder, "a");
        assert_eq!(
            seen,
            [
                Stage::Accepted { socket: Some(2), confirmed: Some(Timestamp(6)) },
                Stage::Written { found: 3, written: 2, last: Some(Timestamp(9)) },
            ]
        );
    }

    #[test]
    fn what_is_older_than_the_ring_is_forgotten_and_that_is_said() {
        let recorder = Recorder::new(2);
        let size = 2 * TRACE_MILESTONES_PER_MESSAGE as i64;
        let ticket = recorder.note(of("old", 1), Timestamp(1), Stage::Nobody).unwrap();
        for at in 2..=size {
            recorder.note(of("new", 1), Timestamp(at), Stage::Nobody);
        }
        assert_eq!((recorder.since(), stages(&recorder, "old").len()), (None, 1));
        recorder.note(of("new", 1), Timestamp(size + 1), Stage::Nobody);
        assert_eq!((recorder.since(), stages(&recorder, "old").len()), (Some(Timestamp(2)), 0));
        recorder.written(ticket, Timestamp(99));
        assert!(
            stages(&recorder, "new").iter().all(|stage| *stage == Stage::Nobody),
            "a late word is dropped"
        );
        assert_eq!(stages(&recorder, "new").len() as i64, size);
    }

    #[test]
    fn a_ring_of_no_size_keeps_nothing() {
        let recorder = Recorder::new(0);
        assert!(!recorder.is_on());
        assert_eq!(recorder.note(of("a", 1), Timestamp(5), Stage::Nobody), None);
        recorder.confirmed(None, Timestamp(6));
        assert_eq!((stages(&recorder, "a"), recorder.since()), (vec![], None));
        let mut env = Env::from_pairs([("TRACE_MESSAGES", "0")]);
        assert_eq!(messages_from_env(&mut env), 0);
        let mut env = Env::from_pairs([("TRACE_MESSAGES", "999999999")]);
        messages_from_env(&mut env);
        assert!(env.finish().is_err());
    }

    #[test]
    fn many_may_write_at_once() {
        let recorder = Recorder::new(10_000);
        std::thread::scope(|scope| {
            for sender in 0..4 {
                let recorder = &recorder;
                scope.spawn(move || {
                    (0..1_000).for_each(|seq| {
                        let stage = Stage::Committed { seq, repeat: false };
                        recorder.note(of("a", sender), Timestamp(sender), stage);
                    });
                });
            }
        });
        let all = recorder.of(of("a", 0).guid);
        for sender in 0..4 {
            let of_one = all.iter().filter(|one| one.sender.0 == sender && one.at.0 == sender);
            let seqs = of_one.map(|one| one.stage).collect::<Vec<_>>();
            let expect: Vec<_> = (0..1_000).map(|seq| Stage::Committed { seq, repeat: false }).collect();
            assert_eq!(seqs, expect);
        }
    }
}
