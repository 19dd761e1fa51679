//! The directory of one process: tests, and the system in one process.
//!
//! The promises of the seam on the runtime's clock, so paused time works. Expired entries are
//! invisible at once, and leave memory when their map has doubled since the last cleaning.

/// What the contacts of users know.
mod known;

use std::hash::Hash;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt as _};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use self::known::{GRACE, KnownToContacts};
use super::answer::{ClusterRate, DirectoryError, Presence, Reaped, Versioned, no_lease};
use crate::limits::NODE_LEASE_MS;
use protocol::ids::{LoginId, NodeId, UserId};

/// The whole state behind one lock: held for look-ups only, never across an await.
#[derive(Default)]
pub(super) struct Memory(Mutex<State>);

#[derive(Default)]
struct State {
    /// When each lease ends.
    leases: HashMap<NodeId, Instant>,
    cards: HashMap<NodeId, Vec<u8>>,
    seats: HashMap<UserId, Vec<NodeId>>,
    presence: KnownToContacts,
    /// When each bucket is full again: GCRA's theoretical arrival time.
    buckets: Expiring<String, ()>,
    values: Expiring<String, Versioned>,
    ended_logins: Expiring<LoginId, ()>,
}

impl Memory {
    pub(super) fn keep_node(&self, node: NodeId) -> bool {
        let mut state = self.state();
        let (now, until) = (Instant::now(), Instant::now() + Duration::from_millis(NODE_LEASE_MS));
        let was_kept = state.leases.insert(node, until).is_some_and(|until| until > now);
        if !was_kept {
            state.clear_seats(node, now + GRACE);
        }
        !was_kept
    }

    pub(super) fn forget_node(&self, node: NodeId) {
        let mut state = self.state();
        state.cards.remove(&node);
        if state.leases.remove(&node).is_some() {
            state.clear_seats(node, Instant::now() + GRACE);
        }
    }

    pub(super) fn write_card(&self, node: NodeId, card: &[u8]) {
        self.state().cards.insert(node, card.to_vec());
    }

    pub(super) fn cards(&self) -> Vec<Vec<u8>> {
        self.state().cards.values().cloned().collect()
    }

    pub(super) fn drop_cards(&self, nodes: &[NodeId]) {
        let mut state = self.state();
        nodes.iter().for_each(|node| drop(state.cards.remove(node)));
    }

    pub(super) fn live_nodes(&self) -> Vec<NodeId> {
        let state = self.state();
        let now = Instant::now();
        let live = state.leases.iter().filter(|(_, until)| **until > now);
        live.map(|(node, _)| *node).collect()
    }

    pub(super) fn seat(&self, node: NodeId, users: &[UserId]) -> Result<(), DirectoryError> {
        let mut state = self.state();
        if !state.is_live(node) {
            return Err(no_lease(node));
        }
        for user in users {
            let nodes = state.seats.entry(*user).or_default();
            if !nodes.contains(&node) {
                nodes.push(node);
            }
            state.presence.came(*user);
        }
        Ok(())
    }

    pub(super) fn unseat(&self, node: NodeId, users: &[UserId]) {
        let mut state = self.state();
        for user in users {
            state.take_seat(*user, node, Instant::now() + GRACE);
        }
    }

    pub(super) fn reap(&self, judge: NodeId) -> Reaped {
        let mut state = self.state();
        let now = Instant::now();
        if !state.is_live(judge) {
            return Reaped::default();
        }
        let dead: Vec<_> =
            state.leases.iter().filter(|(_, end)| **end <= now).map(|(node, end)| (*node, *end)).collect();
        let mut reaped = Reaped { nodes: dead.len() as u64, users: 0 };
        for (node, end) in dead {
            state.leases.remove(&node);
            // Its last sign of life was when its lease was renewed.
            reaped.users += state.clear_seats(node, end + GRACE - Duration::from_millis(NODE_LEASE_MS));
        }
        reaped
    }

    pub(super) fn claim_presence(&self, users_max: usize) -> Vec<Presence> {
        let mut state = self.state();
        let State { leases, seats, presence, .. } = &mut *state;
        let now = Instant::now();
        let is_live = |node: &NodeId| leases.get(node).is_some_and(|until| *until > now);
        presence.claim(users_max, now, |user| seats.get(&user).is_some_and(|nodes| nodes.iter().any(is_live)))
    }

    pub(super) fn told_presence(&self, told: &[Presence]) {
        let mut state = self.state();
        for told in told {
            let is_seated = state.seats.contains_key(&told.user);
            state.presence.told(*told, is_seated, Instant::now());
        }
    }

    pub(super) fn online(&self, users: &[UserId]) -> Vec<UserId> {
        let seated = self.nodes_of(users);
        let state = self.state();
        let is_online = |user: &&UserId| seated.contains_key(user) || state.presence.is_told(**user);
        users.iter().filter(is_online).copied().collect()
    }

    pub(super) fn nodes_of(&self, users: &[UserId]) -> HashMap<UserId, Vec<NodeId>> {
        let state = self.state();
        let mut found = HashMap::new();
        for user in users {
            let Some(nodes) = state.seats.get(user) else { continue };
            let live: Vec<_> = nodes.iter().copied().filter(|node| state.is_live(*node)).collect();
            if !live.is_empty() {
                found.insert(*user, live);
            }
        }
        found
    }

    pub(super) fn take_tokens(&self, key: &str, cost: u32, rate: ClusterRate) -> Result<(), Duration> {
        let mut state = self.state();
        let now = Instant::now();
        let each = Duration::from_secs_f64(1.0 / rate.per_second);
        let full_at = state.buckets.get(key).map_or(now, |(_, full_at)| full_at);
        let full_at = full_at + each * cost;
        // The bucket may be drawn on up to `burst` tokens ahead of its long-run rate.
        match (full_at - now).checked_sub(each * rate.burst) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                state.buckets.insert(key.to_owned(), (), full_at);
                Ok(())
            }
        }
    }

    pub(super) fn value(&self, key: &str) -> Option<Versioned> {
        self.state().values.get(key).map(|(versioned, _)| versioned.clone())
    }

    pub(super) fn compare_and_set(&self, key: &str, expected: u64, value: &[u8], ttl: Duration) -> bool {
        let mut state = self.state();
        let version = state.values.get(key).map_or(0, |(versioned, _)| versioned.version);
        if version != expected {
            return false;
        }
        if value.is_empty() {
            state.values.remove(key);
        } else {
            let versioned = Versioned { version: version + 1, value: value.to_vec() };
            state.values.insert(key.to_owned(), versioned, Instant::now() + ttl);
        }
        true
    }

    pub(super) fn give_tokens(&self, key: &str, count: u32, rate: ClusterRate) {
        let mut state = self.state();
        let Some(full_at) = state.buckets.get(key).map(|(_, full_at)| full_at) else { return };
        let back = Duration::from_secs_f64(1.0 / rate.per_second) * count;
        let full_at = full_at.checked_sub(back).unwrap_or_else(Instant::now);
        state.buckets.insert(key.to_owned(), (), full_at);
    }

    pub(super) fn end_logins(&self, ended: &[(LoginId, Duration)]) -> Vec<LoginId> {
        let mut state = self.state();
        let mut news = Vec::new();
        for (login, ttl) in ended {
            let until = Instant::now() + *ttl;
            let known = state.ended_logins.get(login).map(|(_, until)| until);
            if known.is_none() {
                news.push(*login);
            }
            state.ended_logins.insert(*login, (), known.map_or(until, |known| known.max(until)));
        }
        news
    }

    pub(super) fn ended_logins(&self) -> Vec<LoginId> {
        self.state().ended_logins.keys()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl State {
    fn is_live(&self, node: NodeId) -> bool {
        self.leases.get(&node).is_some_and(|until| *until > Instant::now())
    }

    /// Takes a user off a node. True: it was its last seat; it is offline then.
    fn take_seat(&mut self, user: UserId, node: NodeId, offline_at: Instant) -> bool {
        let Some(nodes) = self.seats.get_mut(&user) else { return false };
        nodes.retain(|seated| *seated != node);
        let is_last = nodes.is_empty();
        if is_last {
            self.seats.remove(&user);
            self.presence.went(user, offline_at);
        }
        is_last
    }

    /// Removes all users from a node. Returns those whose last seat it was.
    fn clear_seats(&mut self, node: NodeId, offline_at: Instant) -> u64 {
        let on_node = self.seats.iter().filter(|(_, nodes)| nodes.contains(&node));
        let users: Vec<UserId> = on_node.map(|(user, _)| *user).collect();
        users.into_iter().map(|user| u64::from(self.take_seat(user, node, offline_at))).sum()
    }
}

/// A map whose entries end.
struct Expiring<K, V> {
    entries: HashMap<K, (V, Instant)>,
    /// Search for expired entries when there are this many.
    sweep_at: usize,
}

const SWEEP_ENTRIES_MIN: usize = 1_024;

impl<K, V> Default for Expiring<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), sweep_at: SWEEP_ENTRIES_MIN }
    }
}

impl<K: Hash + Eq + Clone, V> Expiring<K, V> {
    fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<(&V, Instant)>
    where
        K: std::borrow::Borrow<Q>,
    {
        let (value, until) = self.entries.get(key)?;
        (*until > Instant::now()).then_some((value, *until))
    }

    fn insert(&mut self, key: K, value: V, until: Instant) {
        self.entries.insert(key, (value, until));
        if self.entries.len() >= self.sweep_at {
            let now = Instant::now();
            self.entries.retain(|_, (_, until)| *until > now);
            self.sweep_at = (self.entries.len() * 2).max(SWEEP_ENTRIES_MIN);
        }
    }

    fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries.remove(key);
    }

    fn keys(&self) -> Vec<K> {
        let now = Instant::now();
        let live = self.entries.iter().filter(|(_, (_, until))| *until > now);
        live.map(|(key, _)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn expired_entries_leave_memory() {
        let memory = Memory::default();
        let rate = ClusterRate { burst: 1, per_second: 1.0 };
        for i in 0..SWEEP_ENTRIES_MIN - 1 {
            assert_eq!(memory.take_tokens(&i.to_string(), 1, rate), Ok(()));
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(memory.take_tokens("last", 1, rate), Ok(()));
        assert_eq!(memory.state().buckets.entries.len(), 1);
    }
}
