//! The observations of a run, in the form that the judge reads. Pure data; nothing here decides.

/// A message of this run: sender and the sender's own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(u64);

impl Key {
    /// No message was seen at this seq yet.
    pub const NONE: Self = Self(u64::MAX);
    /// A message, but not one of this run.
    pub const FOREIGN: Self = Self(u64::MAX - 1);

    /// The `count`-th message of a sender.
    pub fn new(sender: u32, count: u32) -> Self {
        Self(u64::from(sender) << 32 | u64::from(count))
    }

    /// Sender and count; None: not a message of this run.
    pub fn parts(self) -> Option<(u32, u32)> {
        (self < Self::FOREIGN).then_some(((self.0 >> 32) as u32, self.0 as u32))
    }
}

/// What happened to one message, as its sender knows. Ticks count everything that one sender
/// does or hears, so that "before" is exact where a clock would not be.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Index of the conversation.
    pub conversation: u32,
    /// When it was due, µs since the run's origin. Latency counts from here.
    pub scheduled_us: u64,
    /// When it was last put on the wire, µs since the run's origin.
    pub last_sent_us: u64,
    /// Tick of the first time on the wire.
    pub first_sent_tick: u64,
    /// How often it was put on the wire.
    pub attempts: u32,
    /// Which connection of the sender carried it first.
    pub connection: u32,
    /// Tick of the first acknowledgement (`messageQueued`, or `messageProcessed` if that came
    /// first).
    pub acknowledged_tick: Option<u64>,
    /// Seq and row id from `messageProcessed`.
    pub processed: Option<(u64, i64)>,
    /// A second `messageProcessed` had another seq or row.
    pub contradicted: bool,
    /// Refused for good, with this code.
    pub refused: Option<String>,
}

/// The messages that one member saw in one conversation.
#[derive(Clone, Debug)]
pub struct View {
    /// The message of each seq, at index seq - 1.
    pub seen: Vec<Key>,
    /// All of 1..=contiguous was seen.
    pub contiguous: u64,
    /// Live deliveries of a seq already seen on the same connection.
    pub repeats: u64,
    /// Live deliveries, first seen, below one seen earlier on the same connection.
    pub backwards: u64,
    /// The first of these: which seq, and what had been seen before it.
    pub step_back: Option<(u64, u64)>,
    /// Live deliveries, first seen, below one seen earlier, before this connection heard where it stands (`synced`).
    pub filled: u64,
    /// A seq shown with two different messages: `(seq, first, second)`.
    pub conflicts: Vec<(u64, Key, Key)>,
    /// Messages shown live, not through `sync` or history.
    pub live: u64,
    live_max: u64,
    /// This connection does not know yet what it missed: it has just come again.
    is_behind: bool,
}

/// Highest valid seq: higher ones count as nonsense, so that no memory is allocated for them.
pub const SEQ_MAX: u64 = 100_000_000;

impl View {
    /// A view of a conversation without messages.
    pub fn new() -> Self {
        Self {
            seen: vec![],
            contiguous: 0,
            repeats: 0,
            backwards: 0,
            filled: 0,
            step_back: None,
            conflicts: vec![],
            live: 0,
            live_max: 0,
            is_behind: false,
        }
    }

    /// A new connection: the order of live deliveries starts anew.
    pub fn reconnected(&mut self) {
        self.live_max = 0;
        self.is_behind = true;
    }

    /// The connection has received what it missed.
    pub fn synced(&mut self) {
        self.is_behind = false;
    }

    /// A message was shown. True: for the first time.
    pub fn show(&mut self, seq: u64, key: Key, live: bool) -> bool {
        if seq == 0 || seq > SEQ_MAX {
            self.conflicts.push((seq, Key::NONE, key));
            return false;
        }
        let at = (seq - 1) as usize;
        if self.seen.len() <= at {
            self.seen.resize(at + 1, Key::NONE);
        }
        let first = self.seen[at];
        if first == Key::NONE {
            self.seen[at] = key;
            while self.seen.get(self.contiguous as usize).is_some_and(|key| *key != Key::NONE) {
                self.contiguous += 1;
            }
        } else if first != key {
            self.conflicts.push((seq, first, key));
        }
        if live {
            if seq > self.live_max {
                self.live_max = seq;
            } else if first == Key::NONE && self.is_behind {
                self.filled += 1;
            } else if first == Key::NONE {
                self.backwards += 1;
                self.step_back.get_or_insert((seq, self.live_max));
            } else {
                self.repeats += 1;
            }
            self.live += u64::from(first == Key::NONE);
        }
        first == Key::NONE
    }

    /// Whether a seq above `contiguous` was seen, so that messages are missing.
    pub fn has_hole(&self) -> bool {
        self.contiguous < self.seen.len() as u64
    }
}

impl Default for View {
    fn default() -> Self {
        Self::new()
    }
}

/// A row of the history, as read over REST at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The seq in the conversation.
    pub seq: u64,
    /// The guid of the message.
    pub key: Key,
    /// The row's id.
    pub id: i64,
}

/// The observations of one conversation.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// The conversation's id on the server.
    pub id: i64,
    /// The view of each member, by index of the user.
    pub views: Vec<(u32, View)>,
    /// The rows of the history, in any order; None: it could not be read.
    pub history: Option<Vec<Row>>,
}

/// Everything the judge needs.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The conversations, by index.
    pub conversations: Vec<Conversation>,
    /// The records of messages, by index of the sender, then by count.
    pub records: Vec<Vec<Record>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_tells_holes_repeats_and_steps_back_apart() {
        let mut view = View::new();
        let key = |count| Key::new(0, count);
        assert!(view.show(1, key(1), true));
        assert!(view.show(3, key(3), true));
        assert!(view.has_hole());
        assert!(view.show(2, key(2), false), "a hole filled by sync is no step back");
        assert!(!view.has_hole());
        assert!(!view.show(3, key(3), true));
        assert_eq!((view.contiguous, view.repeats, view.backwards), (3, 1, 0));
        assert!(view.show(5, key(5), true) && view.show(4, key(4), true));
        assert_eq!((view.backwards, view.step_back), (1, Some((4, 5))));
        // A new connection receives new messages before those it missed; a dead worker's messages are delivered again.
        view.reconnected();
        assert!(view.show(8, key(8), true) && view.show(7, key(7), true));
        assert_eq!((view.backwards, view.filled), (1, 1));
        view.synced();
        assert!(view.show(6, key(6), true));
        assert_eq!((view.backwards, view.filled), (2, 1));
        assert!(!view.show(4, key(9), false));
        assert_eq!(view.conflicts, [(4, key(4), key(9))]);
    }
}
