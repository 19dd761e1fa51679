//! Which programs run, as they write it into the directory themselves, and whether all of them sign with
//! the same secret.
//!
//! A program whose secret differs from that of the others refuses their tokens, and they refuse its
//! tokens; nothing else fails, so nothing else shows it. Programs therefore compare digests of their
//! secrets. The side with fewer programs reports itself (of two equal sides the younger):
//! only the operator knows which secret is right. Such a program stays ready, because during a change of
//! the secret the first programs with the new one are always few.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::Timestamp;
use protocol::control::{Card, Part};
use protocol::ids::NodeId;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use crate::control::host;
use crate::directory::{Directory, DirectoryError};
use crate::health::{Readiness, State};
use crate::limits::{CARD_KEPT_MS, ROSTER_MS};
use crate::version::VERSION;

/// The name of the part in [`Readiness`].
const PART: &str = "secret";

/// A program's own entry, and its look at those of the others.
pub struct Roster {
    directory: Directory,
    card: Card,
    /// The last report, so that each change is logged once.
    told: Option<String>,
}

/// All cards that can be read, those with a lease first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cards {
    /// Of programs that hold a lease.
    pub live: Vec<Card>,
    /// Of programs that ended without a farewell, or cannot reach the directory.
    pub lost: Vec<Card>,
}

impl Cards {
    /// Reads them.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn read(directory: &Directory) -> Result<Self, DirectoryError> {
        let (live, cards) = tokio::try_join!(directory.live_nodes(), directory.cards())?;
        let mut cards: Vec<Card> = cards.iter().filter_map(|bytes| protocol::decode(bytes).ok()).collect();
        cards.sort_by_key(|card| (card.part, card.started, card.node));
        let (live, lost) = cards.into_iter().partition(|card| live.contains(&card.node));
        Ok(Self { live, lost })
    }

    /// The card of a node, with or without a lease.
    pub fn of(&self, node: NodeId) -> Option<&Card> {
        self.live.iter().chain(&self.lost).find(|card| card.node == node)
    }
}

impl Roster {
    /// The entry of one start of a program.
    pub fn new(node: NodeId, part: Part, directory: &Directory, secret: u32) -> Self {
        let now = Timestamp::now();
        let card = Card {
            node,
            part,
            version: VERSION.to_owned(),
            host: host(),
            pid: std::process::id(),
            started: now,
            seen: now,
            secret,
        };
        Self { directory: directory.clone(), card, told: None }
    }

    /// Writes its entry and compares, until it is dropped. [`Directory::forget_node`] ends the entry.
    pub async fn keep(mut self, readiness: Readiness) {
        let mut ticks = interval(Duration::from_millis(ROSTER_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(err) = self.turn(&readiness).await {
                // The part `directory` of the readiness report says so too.
                debug!("The programs in the directory could not be read: {err:#}");
            }
        }
    }

    async fn turn(&mut self, readiness: &Readiness) -> Result<(), DirectoryError> {
        self.card.seen = Timestamp::now();
        self.directory.write_card(self.card.node, &protocol::encode(&self.card)).await?;
        let cards = Cards::read(&self.directory).await?;
        let is_old = |card: &&Card| self.card.seen.0 - card.seen.0 > CARD_KEPT_MS as i64;
        let old: Vec<NodeId> = cards.lost.iter().filter(is_old).map(|card| card.node).collect();
        self.directory.drop_cards(&old).await?;

        let odd = odd_ones(&cards.live);
        let is_odd = odd.iter().any(|card| card.node == self.card.node);
        let finding = match (odd.is_empty(), is_odd) {
            (true, _) => None,
            (false, true) => Some(sentence("its", others(&cards.live, self.card.secret))),
            (false, false) => Some(sentence("our", odd)),
        };
        let state = if is_odd { finding.clone().map(State::Degraded) } else { None };
        readiness.report_as(PART, state.unwrap_or(State::Ok));
        if self.told != finding {
            match &finding {
                Some(finding) => warn!(node.id = %self.card.node, "{finding}"),
                None => info!(node.id = %self.card.node, "All programs have the same JWT secret again"),
            }
            self.told = finding;
        }
        Ok(())
    }
}

/// The programs whose secret is not that of most; of two equal sides the younger.
fn odd_ones(cards: &[Card]) -> Vec<&Card> {
    let mut sides: BTreeMap<u32, (usize, Timestamp)> = BTreeMap::new();
    for card in cards {
        let (count, oldest) = sides.entry(card.secret).or_insert((0, card.started));
        (*count, *oldest) = (*count + 1, card.started.min(*oldest));
    }
    let most = sides.iter().max_by_key(|(_, (count, oldest))| (*count, std::cmp::Reverse(*oldest)));
    let Some((secret, _)) = most else { return Vec::new() };
    others(cards, *secret)
}

fn others(cards: &[Card], secret: u32) -> Vec<&Card> {
    cards.iter().filter(|card| card.secret != secret).collect()
}

fn sentence(whose: &str, differ: Vec<&Card>) -> String {
    let named: Vec<_> = differ.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = match differ.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and of {more} more"),
    };
    format!(
        "{whose} JWT secret differs from that of {}{more}, so they refuse each other's tokens: set the same \
         JWT_ACCESS_TOKEN for all programs and restart those that have the wrong one",
        named.join(", ")
    )
}

/// Programs that a sentence names; it gives the number of the others.
const NAMED_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    async fn starts(directory: &Directory, node: u64, part: Part, secret: u32) -> Readiness {
        let readiness = Readiness::new("test", NodeId(node));
        directory.keep_node(NodeId(node)).await.unwrap();
        let mut roster = Roster::new(NodeId(node), part, directory, secret);
        // The order of their ids is that of their starts.
        roster.card.started = Timestamp(node.cast_signed());
        tokio::spawn(roster.keep(readiness.clone()));
        let directory = directory.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                directory.keep_node(NodeId(node)).await.unwrap();
            }
        });
        readiness
    }

    async fn looked_twice() {
        tokio::time::sleep(Duration::from_millis(2 * ROSTER_MS + 1)).await;
    }

    fn reason(readiness: &Readiness) -> Option<String> {
        readiness
            .report()
            .iter()
            .find_map(|(part, state)| (*part == PART).then(|| state.reason().map(str::to_owned)))?
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_another_secret_than_most_names_them_and_stays_ready() {
        let directory = Directory::memory();
        let gateway = starts(&directory, 1, Part::Gateway, 7).await;
        let worker = starts(&directory, 2, Part::Worker, 7).await;
        looked_twice().await;
        assert_eq!((reason(&gateway), reason(&worker)), (None, None));
        let odd = starts(&directory, 3, Part::Worker, 8).await;
        looked_twice().await;
        let said = reason(&odd).unwrap();
        assert!(said.contains("gateway") && said.contains(&NodeId(2).to_string()), "{said}");
        assert!(said.contains("JWT_ACCESS_TOKEN"), "{said}");
        assert!(odd.is_ready(), "during a change of the secret the first ones are few");
        assert_eq!((reason(&gateway), reason(&worker)), (None, None));
        directory.forget_node(NodeId(1)).await.unwrap();
        assert_eq!(
            Cards::read(&directory).await.unwrap().of(NodeId(1)),
            None,
            "a farewell takes the card along"
        );
    }

    #[test]
    fn of_two_equal_sides_the_younger_is_odd() {
        let card = |node: u64, secret| Card {
            node: NodeId(node),
            part: Part::Worker,
            version: String::new(),
            host: "h".into(),
            pid: 1,
            started: Timestamp(node.cast_signed()),
            seen: Timestamp(0),
            secret,
        };
        let odd = |cards: &[Card]| odd_ones(cards).iter().map(|card| card.node.0).collect::<Vec<_>>();
        assert!(odd(&[]).is_empty());
        assert!(odd(&[card(1, 5), card(2, 5)]).is_empty());
        assert_eq!(odd(&[card(2, 5), card(1, 9)]), [2]);
        assert_eq!(odd(&[card(1, 9), card(2, 5), card(3, 5)]), [1]);
        assert_eq!(odd(&[card(1, 9), card(2, 5), card(3, 4)]), [2, 3]);
    }

    #[test]
    fn a_sentence_names_some_and_counts_the_rest() {
        let card = Card {
            node: NodeId(1),
            part: Part::Gateway,
            version: String::new(),
            host: "h".into(),
            pid: 1,
            started: Timestamp(0),
            seen: Timestamp(0),
            secret: 1,
        };
        let many = vec![&card; 5];
        assert!(sentence("its", many).contains("and of 2 more"), "all of them are told of");
    }
}
