//! One round: what was said through each gateway, and what became of it at each other one. No I/O
//! and no clock: times come in as arguments.
//!
//! A pair is *lost* when both ends stayed and nothing was heard by the deadline. One whose end went
//! away is *excused*: a client whose socket ends comes back and asks for what it missed, and what
//! was never acknowledged was never promised. That a gateway is away is counted for itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use common::limits::CANARY_REMEMBERED_MAX;
use tokio::time::Instant;

/// A door to the cluster: a gateway, or the front door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// At a gateway.
    Gateway(SocketAddr),
    /// Through the door before all of them.
    Front,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(addr) => addr.fmt(f),
            Self::Front => f.write_str("front"),
        }
    }
}

impl Place {
    /// Begins a sentence of the log.
    pub fn title(self) -> String {
        match self {
            Self::Gateway(addr) => format!("The gateway {addr}"),
            Self::Front => "The front door".to_owned(),
        }
    }
}

/// Why nothing was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// The gateway refused it until the deadline.
    Refused,
    /// The gateway did not answer.
    Unqueued,
    /// It was acknowledged, and not shown.
    Unheard,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Refused, Self::Unqueued, Self::Unheard];

    /// In metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unqueued => "unqueued",
            Self::Unheard => "unheard",
        }
    }
}

/// The result for a message between two gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundOutcome {
    /// It was heard this long after it was sent.
    Heard(Duration),
    /// Not heard by the deadline.
    Lost(Loss),
    /// One end went away.
    Excused,
}

/// A message from one gateway to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub from: Place,
    pub to: Place,
    pub guid: String,
    pub outcome: RoundOutcome,
}

/// A message that was sent.
#[derive(Debug)]
struct Said {
    from: Place,
    at: Instant,
    is_queued: bool,
    was_refused: bool,
    heard: BTreeMap<Place, Duration>,
}

/// The messages that were sent and heard.
#[derive(Debug, Default)]
pub struct Round {
    /// By guid.
    said: BTreeMap<String, Said>,
    ears: BTreeSet<Place>,
    /// Speakers and listeners that went away meanwhile.
    mute: BTreeSet<Place>,
    deaf: BTreeSet<Place>,
}

impl Round {
    /// With listeners at these gateways.
    pub fn new(ears: impl IntoIterator<Item = Place>) -> Self {
        Self { ears: ears.into_iter().collect(), ..Self::default() }
    }

    /// A message was sent here.
    pub fn says(&mut self, guid: String, from: Place, at: Instant) {
        let said = Said { from, at, is_queued: false, was_refused: false, heard: BTreeMap::new() };
        self.said.insert(guid, said);
    }

    /// The gateway acknowledged it.
    pub fn queued(&mut self, guid: &str) {
        if let Some(said) = self.said.get_mut(guid) {
            said.is_queued = true;
        }
    }

    /// The gateway refused it; the speaker repeats it.
    pub fn refused(&mut self, guid: &str) {
        if let Some(said) = self.said.get_mut(guid) {
            said.was_refused = true;
        }
    }

    /// It was heard here. Only the first time counts.
    pub fn heard(&mut self, guid: &str, to: Place, at: Instant) {
        if let Some(said) = self.said.get_mut(guid) {
            let after = at.saturating_duration_since(said.at);
            said.heard.entry(to).or_insert(after);
        }
    }

    /// The speaker's socket here has ended.
    pub fn is_mute(&mut self, place: Place) {
        self.mute.insert(place);
    }

    /// The listener's socket here has ended, at least for a while.
    pub fn is_deaf(&mut self, place: Place) {
        self.deaf.insert(place);
    }

    /// Whether nothing is waited for.
    pub fn is_over(&self) -> bool {
        self.pairs().iter().all(|pair| !matches!(pair.outcome, RoundOutcome::Lost(_)))
    }

    /// Every pair, as it stands.
    pub fn pairs(&self) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for (guid, said) in &self.said {
            for to in &self.ears {
                let outcome = self.outcome(said, to);
                pairs.push(Pair { from: said.from, to: *to, guid: guid.clone(), outcome });
            }
        }
        pairs.sort_by_key(|pair| (pair.from, pair.to));
        pairs
    }

    fn outcome(&self, said: &Said, to: &Place) -> RoundOutcome {
        match said.heard.get(to) {
            Some(after) => RoundOutcome::Heard(*after),
            None if self.deaf.contains(to) => RoundOutcome::Excused,
            None if said.is_queued => RoundOutcome::Lost(Loss::Unheard),
            None if self.mute.contains(&said.from) => RoundOutcome::Excused,
            None if said.was_refused => RoundOutcome::Lost(Loss::Refused),
            None => RoundOutcome::Lost(Loss::Unqueued),
        }
    }
}

/// The fault of a message that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The same socket had it already.
    Doubled,
    /// A later one of the conversation came before it.
    Reordered,
}

/// The last message that one socket heard.
#[derive(Debug, Default)]
pub struct Hearer {
    seq: i64,
    guids: VecDeque<String>,
}

impl Hearer {
    /// Judges what came. `seq` is its number in the conversation.
    pub fn hears(&mut self, guid: &str, seq: i64) -> Option<Fault> {
        if self.guids.iter().any(|known| known == guid) {
            return Some(Fault::Doubled);
        }
        if self.guids.len() == CANARY_REMEMBERED_MAX {
            self.guids.pop_front();
        }
        self.guids.push_back(guid.to_owned());
        let is_late = seq < self.seq;
        self.seq = self.seq.max(seq);
        is_late.then_some(Fault::Reordered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(port: u16) -> Place {
        Place::Gateway(([127, 0, 0, 1], port).into())
    }

    fn round(start: Instant) -> Round {
        let mut round = Round::new([place(1), place(2)]);
        round.says("a".into(), place(1), start);
        round.says("b".into(), place(2), start);
        round
    }

    fn outcomes(round: &Round) -> Vec<RoundOutcome> {
        round.pairs().into_iter().map(|pair| pair.outcome).collect()
    }

    #[test]
    fn what_is_heard_everywhere_is_over() {
        let start = Instant::now();
        let mut round = round(start);
        let ms = Duration::from_millis;
        for (guid, to, after) in [("a", 1, 5), ("a", 2, 7), ("b", 1, 9), ("b", 2, 11)] {
            assert!(!round.is_over());
            round.queued(guid);
            round.heard(guid, place(to), start + ms(after));
        }
        round.heard("a", place(1), start + ms(900));
        round.heard("somebody else's", place(1), start);
        assert!(round.is_over());
        assert_eq!(outcomes(&round), [5, 7, 9, 11].map(|after| RoundOutcome::Heard(ms(after))));
    }

    #[test]
    fn what_is_not_heard_is_lost_for_a_reason() {
        let start = Instant::now();
        let mut round = round(start);
        round.queued("a");
        round.heard("a", place(1), start);
        round.refused("b");
        let lost = RoundOutcome::Lost;
        let heard = RoundOutcome::Heard(Duration::ZERO);
        assert_eq!(outcomes(&round), [heard, lost(Loss::Unheard), lost(Loss::Refused), lost(Loss::Refused)]);
        let silent = super::tests::round(start);
        assert_eq!(outcomes(&silent), [lost(Loss::Unqueued); 4]);
    }

    #[test]
    fn an_end_that_went_away_is_excused_and_an_acknowledgement_binds() {
        let start = Instant::now();
        let mut round = round(start);
        round.queued("a");
        // Gateway 1 dies: what it acknowledged still has to be heard at the other one.
        round.is_mute(place(1));
        round.is_deaf(place(1));
        let lost = RoundOutcome::Lost;
        let expect =
            [RoundOutcome::Excused, lost(Loss::Unheard), RoundOutcome::Excused, lost(Loss::Unqueued)];
        assert_eq!(outcomes(&round), expect);
        // And what it did not acknowledge was never promised.
        round.is_mute(place(2));
        assert_eq!(outcomes(&round)[3], RoundOutcome::Excused);
    }

    #[test]
    fn repeats_and_wrong_order_are_noticed() {
        let mut ear = Hearer::default();
        assert_eq!(ear.hears("a", 5), None);
        assert_eq!(ear.hears("b", 7), None);
        assert_eq!(ear.hears("a", 5), Some(Fault::Doubled));
        assert_eq!(ear.hears("c", 6), Some(Fault::Reordered));
        assert_eq!(ear.hears("d", 8), None);
        for number in 0..2 * CANARY_REMEMBERED_MAX {
            assert_eq!(ear.hears(&number.to_string(), 9), None);
        }
        assert_eq!(ear.guids.len(), CANARY_REMEMBERED_MAX);
    }
}
