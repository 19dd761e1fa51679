//! Which shards of a lane this program takes, from the set of live workers. Pure.
//!
//! Every worker sends a heartbeat each second, and computes the same assignment from the same set of live
//! workers, without asking any other program (rendezvous hashing): each shard has a fixed score for each
//! worker (a hash), the highest scores are granted first, and no worker gets more than
//! ceil(shards / workers). For a moment after a worker came or went two workers may disagree; that
//! costs only a detour, because the broker lets only one consumer of a shard work.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::limits::{BEAT_MS, BEATS_MISSED_MAX};
use protocol::Lane;
use protocol::control::{Beat, Says};
use protocol::ids::NodeId;
use tokio::time::Instant;

use crate::lanes::effects::mix;

/// The workers that are alive, as one of them knows.
#[derive(Debug)]
pub struct Roll {
    node: NodeId,
    heard: BTreeMap<NodeId, Instant>,
}

impl Roll {
    /// A set with this worker only.
    pub fn new(node: NodeId) -> Self {
        Self { node, heard: BTreeMap::new() }
    }

    /// Notes the heartbeat of a worker.
    pub fn on_beat(&mut self, beat: Beat, now: Instant) {
        match beat.says {
            Says::Hello | Says::Here => self.heard.insert(beat.node, now),
            Says::Bye => self.heard.remove(&beat.node),
        };
    }

    /// Notes that no message could be received for a while, so that no worker counts as dead for that time.
    pub fn on_lapse(&mut self, now: Instant) {
        for heard in self.heard.values_mut() {
            *heard = now;
        }
    }

    /// The live workers, this one included, in the same order everywhere. Forgets the dead.
    pub fn live(&mut self, now: Instant) -> Vec<NodeId> {
        let silence_max = Duration::from_millis(BEAT_MS * u64::from(BEATS_MISSED_MAX));
        self.heard.retain(|_, heard| now.saturating_duration_since(*heard) < silence_max);
        let mut live: Vec<NodeId> = self.heard.keys().copied().collect();
        if let Err(at) = live.binary_search(&self.node) {
            live.insert(at, self.node);
        }
        live
    }
}

/// The shards of a lane that `node` takes when these are alive.
pub fn share(lane: Lane, shards: u16, live: &[NodeId], node: NodeId) -> Vec<u16> {
    let owners = assign(lane, shards, live);
    (0..shards).filter(|shard| owners.get(usize::from(*shard)) == Some(&node)).collect()
}

/// The owner of each shard of a lane. Empty without live workers.
pub fn assign(lane: Lane, shards: u16, live: &[NodeId]) -> Vec<NodeId> {
    if live.is_empty() {
        return Vec::new();
    }
    let share_max = usize::from(shards).div_ceil(live.len());
    let mut likings: Vec<(u64, u16, usize)> = (0..shards)
        .flat_map(|shard| {
            let place = mix(lane as u64, u64::from(shard));
            live.iter().enumerate().map(move |(at, node)| (mix(node.0, place), shard, at))
        })
        .collect();
    likings.sort_unstable_by(|one, other| other.cmp(one));

    let mut owners = vec![None; usize::from(shards)];
    let mut held = vec![0; live.len()];
    for (_, shard, at) in likings {
        let owner = &mut owners[usize::from(shard)];
        if owner.is_none() && held[at] < share_max {
            *owner = Some(live[at]);
            held[at] += 1;
        }
    }
    // Invariant: every shard has an owner, because live × ceil(shards / live) ≥ shards.
    debug_assert!(owners.iter().all(Option::is_some));
    owners.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn everybody_gets_a_fair_share_and_nothing_is_left(
            nodes in proptest::collection::btree_set(any::<u64>(), 1..12),
            shards in 1_u16..40,
        ) {
            let live: Vec<NodeId> = nodes.into_iter().map(NodeId).collect();
            let owners = assign(Lane::High, shards, &live);
            prop_assert_eq!(owners.len(), usize::from(shards));
            for node in &live {
                let held = share(Lane::High, shards, &live, *node).len();
                prop_assert!(held <= usize::from(shards).div_ceil(live.len()));
            }
            let mut reversed = live.clone();
            reversed.reverse();
            prop_assert_eq!(owners, assign(Lane::High, shards, &reversed), "the order told does not matter");
        }
    }

    #[test]
    fn little_moves_when_a_worker_comes() {
        let (mut moved, mut least) = (0, 0);
        for round in 0..500_u64 {
            let live: Vec<NodeId> = (0..=round % 4 + 1).map(|at| NodeId(mix(round, at))).collect();
            let before = assign(Lane::High, 8, &live[1..]);
            let after = assign(Lane::High, 8, &live);
            moved += before.iter().zip(&after).filter(|(one, other)| one != other).count();
            // The newcomer's part has to move, in the best case.
            least += after.iter().filter(|owner| **owner == live[0]).count();
        }
        assert!(moved <= least * 3 / 2, "{moved} moved where {least} had to");
    }

    #[tokio::test(start_paused = true)]
    async fn the_silent_and_the_leaving_are_counted_no_more() {
        let (me, other, third) = (NodeId(5), NodeId(2), NodeId(9));
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut roll = Roll::new(me);
        assert_eq!(roll.live(at(0)), [me]);
        roll.on_beat(Beat { node: other, says: Says::Hello }, at(0));
        roll.on_beat(Beat { node: third, says: Says::Here }, at(1_500));
        assert_eq!(roll.live(at(2_999)), [other, me, third]);
        assert_eq!(roll.live(at(3_000)), [me, third]);
        roll.on_beat(Beat { node: third, says: Says::Bye }, at(3_100));
        assert_eq!(roll.live(at(3_100)), [me]);
        roll.on_beat(Beat { node: other, says: Says::Here }, at(3_200));
        roll.on_lapse(at(6_000));
        assert_eq!(roll.live(at(6_500)), [other, me], "what a lapse hid is not held against anybody");
    }
}
