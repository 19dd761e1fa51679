//! The finished deliveries of one channel, and the fewest acknowledgements that report them.
//! Pure.

use std::collections::BTreeMap;

use protocol::Timestamp;

#[derive(Default)]
pub(super) struct Ledger {
    open: BTreeMap<u64, Entry>,
    given_back: Vec<u64>,
    /// Handed out and not finished.
    out: usize,
}

struct Entry {
    state: State,
    /// Its publish time, if it carries one.
    at: Option<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Here,
    Out,
    Done,
}

/// The acknowledgements for the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Finished, and everything before it.
    Through(u64),
    /// Finished.
    One(u64),
    /// Requeue it for another consumer.
    GiveBack(u64),
}

impl Ledger {
    pub(super) fn arrived(&mut self, tag: u64, at: Option<Timestamp>) {
        self.open.insert(tag, Entry { state: State::Here, at });
    }

    pub(super) fn handed_out(&mut self, tag: u64) {
        self.turn(tag, State::Out);
        self.out += 1;
    }

    /// Acknowledged, whether it was handed out or not.
    pub(super) fn done(&mut self, tag: u64) {
        if self.turn(tag, State::Done) == Some(State::Out) {
            self.out -= 1;
        }
    }

    /// Not done. `now`: it goes back at once; else with the channel, in its old place.
    pub(super) fn returned(&mut self, tag: u64, now: bool) {
        if self.turn(tag, State::Here) == Some(State::Out) {
            self.out -= 1;
        }
        if now {
            self.open.remove(&tag);
            self.given_back.push(tag);
        }
    }

    /// Arrived, and the broker was told neither of the end nor of the return.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.out == 0
    }

    /// The number of unfinished deliveries, and the publish time of the oldest.
    pub(super) fn unfinished(&self) -> (usize, Option<Timestamp>) {
        let unfinished = || self.open.values().filter(|entry| entry.state != State::Done);
        (unfinished().count(), unfinished().filter_map(|entry| entry.at).min())
    }

    pub(super) fn words(&mut self) -> Vec<Word> {
        let mut words: Vec<Word> = self.given_back.drain(..).map(Word::GiveBack).collect();
        let mut through = None;
        while let Some(first) = self.open.first_entry().filter(|first| first.get().state == State::Done) {
            through = Some(first.remove_entry().0);
        }
        words.extend(through.map(Word::Through));
        let done = |(tag, entry): (&u64, &Entry)| (entry.state == State::Done).then_some(*tag);
        for tag in self.open.iter().filter_map(done).collect::<Vec<_>>() {
            self.open.remove(&tag);
            words.push(Word::One(tag));
        }
        words
    }

    /// Sets the state of a delivery; returns the state before.
    fn turn(&mut self, tag: u64, state: State) -> Option<State> {
        let entry = self.open.entry(tag);
        let before = match &entry {
            std::collections::btree_map::Entry::Occupied(known) => Some(known.get().state),
            std::collections::btree_map::Entry::Vacant(_) => None,
        };
        entry.or_insert(Entry { state, at: None }).state = state;
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_run_is_one_acknowledgement() {
        let mut ledger = Ledger::default();
        for tag in 1..=5 {
            ledger.arrived(tag, None);
            ledger.handed_out(tag);
        }
        assert_eq!(ledger.words(), []);
        for tag in [1, 2, 4] {
            ledger.done(tag);
        }
        assert_eq!(ledger.words(), [Word::Through(2), Word::One(4)]);
        ledger.returned(3, true);
        ledger.done(5);
        assert_eq!(ledger.words(), [Word::GiveBack(3), Word::Through(5)]);
        assert!(ledger.is_settled());
    }

    #[test]
    fn the_oldest_that_is_not_finished_is_known() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.unfinished(), (0, None));
        ledger.arrived(1, Some(Timestamp(30)));
        ledger.arrived(2, Some(Timestamp(10)));
        ledger.arrived(3, None);
        ledger.handed_out(2);
        assert_eq!(ledger.unfinished(), (3, Some(Timestamp(10))));
        ledger.done(2);
        assert_eq!(ledger.unfinished(), (2, Some(Timestamp(30))));
    }

    #[test]
    fn what_goes_back_with_the_channel_is_never_acknowledged() {
        let mut ledger = Ledger::default();
        for tag in 1..=2 {
            ledger.arrived(tag, None);
            ledger.handed_out(tag);
        }
        ledger.returned(1, false);
        assert!(!ledger.is_settled());
        ledger.done(2);
        assert!(ledger.is_settled());
        assert_eq!(ledger.words(), [Word::One(2)]);
        assert_eq!(ledger.words(), []);
    }
}
