//! Every key in Redis, its hash tag and its ttl; and the bytes of a seat. Pure.
//!
//! Users are spread over [`DIRECTORY_BUCKETS`] hashes, by xxh3 of their id
//! (little-endian) modulo the number of buckets. A bucket is one slot of the cluster, so what is
//! asked about many users costs at most one command per bucket.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::limits::DIRECTORY_BUCKETS;
use protocol::ids::NodeId;

/// The buckets as a size.
pub(super) const BUCKETS: usize = DIRECTORY_BUCKETS as usize;

/// The hash tag of each bucket, chosen so that the buckets' slots lie evenly over the slots of the
/// cluster: however many masters share them in equal ranges, they share the buckets.
const TAGS: [&str; BUCKETS] = [
    "0ax", "1oy", "2cx", "3r", "4ex", "5zz", "6yz", "7xz", "8u", "9vz", "10qn", "11pn", "12bl", "13cl",
    "14un", "15tn",
];

/// Seats outlive an idle night; every sweep and every seat renews this. What is left of a system
/// that is gone goes away by itself.
pub(super) const SEATS_TTL: Duration = Duration::from_secs(7 * 86_400);

/// What is left of a system that is gone goes away by itself; a program renews this every few seconds.
pub(super) const CARDS_TTL: Duration = Duration::from_secs(86_400);

/// Names of keys under one prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// zset, node -> end of its lease. No ttl: it empties itself. One slot with [`Self::since`].
    pub(super) fn leases(&self) -> String {
        format!("{}:{{nodes}}:leases", self.prefix)
    }

    /// hash, node -> beginning of its lease. No ttl, like the leases.
    pub(super) fn since(&self) -> String {
        format!("{}:{{nodes}}:since", self.prefix)
    }

    /// hash, node -> the program's description of itself. [`CARDS_TTL`] from its last entry.
    pub(super) fn cards(&self) -> String {
        format!("{}:{{nodes}}:cards", self.prefix)
    }

    /// hash, user -> [`Seat`]s, and what its contacts know. [`SEATS_TTL`].
    pub(super) fn seats(&self, bucket: usize) -> String {
        format!("{}:seats:{{{}}}", self.prefix, TAGS[bucket])
    }

    /// zset, user -> when it must be looked whether its contacts know. [`SEATS_TTL`].
    pub(super) fn due(&self, bucket: usize) -> String {
        format!("{}:due:{{{}}}", self.prefix, TAGS[bucket])
    }

    /// zset, user -> the time until which a worker is announcing it. A little longer than the last.
    pub(super) fn telling(&self, bucket: usize) -> String {
        format!("{}:telling:{{{}}}", self.prefix, TAGS[bucket])
    }

    /// string, when the token bucket is full again. Ends then.
    pub(super) fn rate(&self, key: &str) -> String {
        format!("{}:rate:{key}", self.prefix)
    }

    /// hash, a versioned value. The caller's ttl.
    pub(super) fn value(&self, key: &str) -> String {
        format!("{}:value:{key}", self.prefix)
    }

    /// zset, login -> when its last token expires; [`COMPLETE`](super::COMPLETE) -> until when all are
    /// here. Ends with its last entry.
    pub(super) fn logins(&self) -> String {
        format!("{}:logins", self.prefix)
    }
}

/// The field of a node's mark in every bucket of seats; users are numbers, so they never meet.
pub(super) fn mark(node: NodeId) -> String {
    format!("@{node}")
}

/// The bucket of a user's id.
fn bucket(id: i64) -> usize {
    let bucket = xxh3_64(&id.to_le_bytes()) % u64::from(DIRECTORY_BUCKETS);
    usize::try_from(bucket).expect("less than the number of buckets")
}

/// A node and the beginning of the lease under which it seated a user. When the node loses its
/// lease, the beginning changes, and all its seats become void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seat {
    pub(super) node: NodeId,
    /// µs on the clock of Redis.
    pub(super) since: u64,
}

impl Seat {
    pub(super) const BYTES: usize = 16;

    pub(super) fn bytes(self) -> [u8; Self::BYTES] {
        (u128::from(self.node.0) << 64 | u128::from(self.since)).to_be_bytes()
    }

    /// Whether the contacts of the user were told that it is online (`scripts/seat.lua`).
    pub(super) fn is_told(bytes: &[u8]) -> bool {
        bytes.len() % Self::BYTES == 1 && bytes.last() == Some(&b't')
    }

    /// The seats of one user; bytes that are no whole seat are not one.
    pub(super) fn read_all(bytes: &[u8]) -> impl Iterator<Item = Self> {
        bytes.as_chunks::<{ Self::BYTES }>().0.iter().map(|chunk| {
            let both = u128::from_be_bytes(*chunk);
            let low = |half: u128| u64::try_from(half & u128::from(u64::MAX)).unwrap_or_default();
            Self { node: NodeId(low(both >> 64)), since: low(both) }
        })
    }
}

/// Things by the bucket of their id; the index is the bucket.
pub(super) fn by_bucket<T: Copy>(things: &[T], id: impl Fn(&T) -> i64) -> Vec<Vec<T>> {
    let mut buckets: Vec<Vec<T>> = vec![Vec::new(); BUCKETS];
    for thing in things {
        buckets[bucket(id(thing))].push(*thing);
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_comes_back_as_it_was() {
        let seats = [
            Seat { node: NodeId(1), since: 2 },
            Seat { node: NodeId(u64::MAX), since: 1_795_448_925_442_000 },
        ];
        let mut bytes: Vec<u8> = seats.iter().flat_map(|seat| seat.bytes()).collect();
        assert_eq!(bytes[..8], 1_u64.to_be_bytes(), "the scripts compare these");
        assert_eq!(Seat::read_all(&bytes).collect::<Vec<_>>(), seats);
        bytes.extend([1, 2, 3]);
        assert_eq!(Seat::read_all(&bytes).count(), 2);
    }

    #[test]
    fn buckets_are_stable_and_even() {
        // These name keys: a change moves every user.
        assert_eq!([bucket(1), bucket(2), bucket(1_000_000)], [14, 3, 0]);
        let users: Vec<i64> = (1..=16_000).collect();
        let buckets = by_bucket(&users, |user| *user);
        assert!(buckets.iter().all(|users| (900..1_100).contains(&users.len())));
    }

    #[test]
    fn tags_lie_evenly_over_the_slots() {
        assert_eq!(slot("123456789"), 0x31C3);
        for (bucket, tag) in (0..DIRECTORY_BUCKETS).zip(TAGS) {
            let share = 16_384 / DIRECTORY_BUCKETS;
            assert_eq!(slot(tag) / share, bucket, "{tag}");
        }
    }

    /// CRC16 (XMODEM) modulo the number of slots, as the cluster's specification says.
    fn slot(tag: &str) -> u16 {
        let step = |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        let crc = tag.bytes().fold(0, |crc, byte| (0..8).fold(crc ^ (u16::from(byte) << 8), step));
        crc % 16_384
    }
}
