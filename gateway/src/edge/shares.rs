//! The share of each client address of this gateway, so that one address cannot use up what all clients
//! need: connections (lines), upgrades, and unread answers.
//!
//! An address is an office behind NAT, not a person, and a whole /64 of IPv6. Requests directly from loopback addresses
//! and trusted proxies are not counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::limits::{ADDRESS_ANSWERS_BYTES_MAX, ADDRESS_UPGRADES_BURST, ANSWER_MS_MAX, ANSWERS_BYTES_MAX};
use foldhash::{HashMap, HashMapExt};
use parking_lot::{Mutex, MutexGuard};

use crate::edge::address::subscriber;
use crate::socket::rate::{Gcra, LocalRate};

/// Shards of the table of addresses.
const SHARDS: usize = 16;

/// Addresses in a shard before the gateway looks for those that hold nothing.
const SWEEP_MIN: usize = 256;

/// See the module.
pub struct Shares {
    shards: Vec<Mutex<Shard>>,
    lines_max: u32,
    upgrades: LocalRate,
    /// Bytes of all unread answers.
    answers: AtomicUsize,
}

struct Shard {
    addresses: HashMap<IpAddr, Share>,
    sweep_at: usize,
}

#[derive(Default)]
struct Share {
    lines: u32,
    answers: usize,
    upgrades: Gcra,
}

/// Why a client gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// This address has not read earlier answers.
    ForAddress,
    /// All clients together have too many unread answers.
    ForAll,
}

impl Shares {
    /// With these limits for each address: lines, and upgrades per second.
    pub fn new(lines_max: u32, upgrades_per_s: u32) -> Self {
        let shard = || Mutex::new(Shard { addresses: HashMap::new(), sweep_at: SWEEP_MIN });
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            lines_max,
            upgrades: LocalRate::per_second(upgrades_per_s, upgrades_per_s.min(ADDRESS_UPGRADES_BURST)),
            answers: AtomicUsize::new(0),
        }
    }

    /// Adds a line of this address. False: the address is at its limit, and the line was not added.
    pub fn take_line(&self, address: IpAddr) -> bool {
        self.with(address, |share| {
            let free = share.lines < self.lines_max;
            share.lines += u32::from(free);
            free
        })
    }

    /// Whether this address may have one more line.
    pub fn has_line(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.with(address, |share| share.lines < self.lines_max)
    }

    /// Adds a line of this address even above its limit, because the line exists.
    pub fn hold_line(&self, address: IpAddr) {
        self.with(address, |share| share.lines += 1);
    }

    /// A line of this address has ended.
    pub fn give_line(&self, address: IpAddr) {
        self.with(address, |share| share.lines = share.lines.saturating_sub(1));
    }

    /// Takes one upgrade from this address's budget; `up` is the node's uptime.
    ///
    /// # Errors
    /// How long to wait for it.
    pub fn take_upgrade(&self, address: IpAddr, up: Duration) -> Result<(), Duration> {
        if address.is_loopback() {
            return Ok(());
        }
        let key = subscriber(address);
        let mut shard = self.shard(key);
        shard.sweep(up);
        shard.addresses.entry(key).or_default().upgrades.take(self.upgrades, 1, up)
    }

    /// Whether this address may get one more answer of this many bytes.
    ///
    /// # Errors
    /// The party with too many unread answers.
    pub fn may_answer(&self, address: IpAddr, bytes: usize) -> Result<(), Waits> {
        if self.answers.load(Ordering::Relaxed) + bytes > ANSWERS_BYTES_MAX {
            return Err(Waits::ForAll);
        }
        let held = if address.is_loopback() { 0 } else { self.with(address, |share| share.answers) };
        if held + bytes > ADDRESS_ANSWERS_BYTES_MAX { Err(Waits::ForAddress) } else { Ok(()) }
    }

    /// The same bytes, counted until the client has read the last of them.
    pub fn count(self: &Arc<Self>, address: IpAddr, bytes: Bytes) -> Bytes {
        if bytes.is_empty() {
            return bytes;
        }
        self.answers.fetch_add(bytes.len(), Ordering::Relaxed);
        self.with(address, |share| share.answers += bytes.len());
        Bytes::from_owner(Answer { shares: Arc::clone(self), address, bytes })
    }

    /// How long a client may take to read an answer: the more bytes wait in total, the shorter.
    pub fn patience(&self) -> Duration {
        let free = ANSWERS_BYTES_MAX.saturating_sub(self.answers.load(Ordering::Relaxed));
        Duration::from_millis(ANSWER_MS_MAX) * (free / 1024) as u32 / (ANSWERS_BYTES_MAX / 1024) as u32
    }

    fn with<T>(&self, address: IpAddr, change: impl FnOnce(&mut Share) -> T) -> T {
        let key = subscriber(address);
        change(self.shard(key).addresses.entry(key).or_default())
    }

    fn shard(&self, key: IpAddr) -> MutexGuard<'_, Shard> {
        let spread = match key {
            IpAddr::V4(v4) => u32::from(v4) as usize,
            IpAddr::V6(v6) => (u128::from(v6) >> 64) as usize,
        };
        // Neighbouring addresses differ in the last bits.
        self.shards[spread % SHARDS].lock()
    }
}

impl Shard {
    /// Forgets the addresses that hold nothing. The more there are, the rarer: its cost per address
    /// stays the same.
    fn sweep(&mut self, up: Duration) {
        if self.addresses.len() < self.sweep_at {
            return;
        }
        self.addresses.retain(|_, share| share.lines > 0 || share.answers > 0 || !share.upgrades.is_paid(up));
        self.sweep_at = (2 * self.addresses.len()).max(SWEEP_MIN);
    }
}

/// The bytes of one answer while they wait.
struct Answer {
    shares: Arc<Shares>,
    address: IpAddr,
    bytes: Bytes,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let len = self.bytes.len();
        self.shares.answers.fetch_sub(len, Ordering::Relaxed);
        self.shares.with(self.address, |share| share.answers = share.answers.saturating_sub(len));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn lines_are_counted_by_address_and_given_back() {
        let shares = Shares::new(2, 10);
        let take = |text: &str| shares.take_line(address(text));
        assert_eq!(
            [take("1.2.3.4"), take("1.2.3.4"), take("1.2.3.4"), take("1.2.3.5")],
            [true, true, false, true]
        );
        assert_eq!([take("2001:db8::1"), take("2001:db8::2"), take("2001:db8::3")], [true, true, false]);
        shares.give_line(address("1.2.3.4"));
        assert_eq!([take("1.2.3.4"), take("1.2.3.4")], [true, false]);
    }

    #[test]
    fn one_address_takes_its_share_of_upgrades_and_no_more() {
        let shares = Shares::new(2, 10);
        let granted = |text: &str, up: Duration| {
            (0..100).filter(|_| shares.take_upgrade(address(text), up).is_ok()).count()
        };
        assert_eq!(granted("1.2.3.4", Duration::ZERO), 10);
        assert_eq!(granted("1.2.3.5", Duration::ZERO), 10, "another address has its own");
        assert_eq!(granted("1.2.3.4", Duration::from_secs(1)), 10);
        assert_eq!(granted("127.0.0.1", Duration::ZERO), 100, "a proxy on this machine is no client");
    }

    #[test]
    fn answers_are_counted_until_they_are_gone() {
        let shares = Arc::new(Shares::new(2, 10));
        let one = address("1.2.3.4");
        let held = shares.count(one, vec![0; ADDRESS_ANSWERS_BYTES_MAX].into());
        assert_eq!(shares.may_answer(one, 1), Err(Waits::ForAddress));
        assert_eq!(shares.may_answer(address("1.2.3.5"), 1), Ok(()));
        let before = shares.patience();
        let part = held.slice(..1);
        drop(held);
        assert_eq!(shares.may_answer(one, 1), Err(Waits::ForAddress), "a part keeps the whole");
        drop(part);
        assert_eq!(shares.may_answer(one, 1), Ok(()));
        assert!(before < shares.patience());
        assert_eq!(shares.patience(), Duration::from_millis(ANSWER_MS_MAX));
    }

    #[test]
    fn the_patience_ends_when_all_is_full() {
        let shares = Arc::new(Shares::new(2, 10));
        let _held = shares.count(address("127.0.0.1"), vec![0; ANSWERS_BYTES_MAX].into());
        assert_eq!(shares.may_answer(address("1.2.3.4"), 1), Err(Waits::ForAll));
        assert_eq!(shares.patience(), Duration::ZERO);
    }

    #[test]
    fn addresses_that_hold_nothing_are_forgotten() {
        let shares = Shares::new(1, 10);
        for number in 0..100_000_u32 {
            let up = Duration::from_millis(u64::from(number));
            assert!(shares.take_upgrade(IpAddr::V4(number.into()), up).is_ok());
        }
        let known: usize = shares.shards.iter().map(|shard| shard.lock().addresses.len()).sum();
        assert!(known <= SHARDS * SWEEP_MIN, "{known}");
    }
}
