//! The sockets of this node, findable by serial and by user.
//!
//! Sharded so that a burst never stops the world. A shard's lock is held for look-ups only: never
//! across an await, never while another is held; slots are touched after it was let go.
//!
//! The hub does not write to sockets. It finds slots; `downlink.rs` hands bytes to their outboxes
//! and `socket.rs` writes and cuts.
//!
//! Not here: sockets of other nodes (the directory), what a user may see (the worker decided
//! that before the downlink was sent).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};
use parking_lot::{Mutex, MutexGuard};
use protocol::ids::UserId;

use crate::socket::rate::{Gcra, LocalRate};
use crate::socket::slot::Slot;
use crate::wire::Form;

/// Shards of each map. The heartbeat wheel visits one per tick.
pub const SHARDS: usize = 64;

/// The sockets of this node; see the module.
pub struct Hub {
    sockets: Vec<Mutex<HashMap<u64, Arc<Slot>>>>,
    users: Vec<Mutex<HashMap<UserId, Entry>>>,
    counts: [AtomicUsize; Form::ALL.len()],
    joins: Joins,
}

/// A user with at least one socket here.
struct Entry {
    sockets: Sockets,
    /// Whether the directory has the user's seat here.
    seated: bool,
    /// The budget of all sockets of the user together.
    rate: Gcra,
}

const _: () = assert!(size_of::<Entry>() <= 32, "a user is a memory budget");

/// The sockets of one user here: nearly always one, which needs no list.
enum Sockets {
    One(Arc<Slot>),
    #[expect(clippy::box_collection, reason = "every user would pay for a vector's two other words")]
    Many(Box<Vec<Arc<Slot>>>),
}

/// The numbers of sockets that may join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joins {
    /// Most sockets of one login.
    pub of_login: usize,
    /// Most sockets of one user.
    pub of_user: usize,
}

/// The result of joining.
#[derive(Default)]
pub struct Joined {
    /// The directory already has the user's seat here.
    pub seated: bool,
    /// The oldest sockets above the limit, to be closed.
    pub replaced: Vec<Arc<Slot>>,
}

impl Hub {
    /// A hub without sockets, with these limits.
    pub fn new(joins: Joins) -> Self {
        Self {
            sockets: (0..SHARDS).map(|_| Mutex::new(HashMap::new())).collect(),
            users: (0..SHARDS).map(|_| Mutex::new(HashMap::new())).collect(),
            counts: Default::default(),
            joins,
        }
    }

    /// Adds a socket that was opened; it has no account yet.
    pub fn open(&self, slot: Arc<Slot>) {
        self.counts[slot.form as usize].fetch_add(1, Ordering::Relaxed);
        self.by_serial(slot.serial).insert(slot.serial, slot);
    }

    /// Adds the socket to those of this user.
    pub fn join(&self, user: UserId, slot: Arc<Slot>) -> Joined {
        let mut shard = self.by_user(user);
        match shard.get_mut(&user) {
            Some(entry) => {
                entry.sockets.add(Arc::clone(&slot));
                Joined { seated: entry.seated, replaced: entry.sockets.beyond(self.joins, &slot) }
            }
            None => {
                let sockets = Sockets::One(slot);
                shard.insert(user, Entry { sockets, seated: false, rate: Gcra::default() });
                Joined::default()
            }
        }
    }

    /// Removes a socket that is gone. True: it was the last one of its user.
    pub fn leave(&self, slot: &Slot) -> bool {
        if self.by_serial(slot.serial).remove(&slot.serial).is_some() {
            self.counts[slot.form as usize].fetch_sub(1, Ordering::Relaxed);
        }
        let Some((user, _)) = slot.who() else { return false };
        let mut shard = self.by_user(user);
        let Some(entry) = shard.get_mut(&user) else { return false };
        let last = entry.sockets.remove(slot.serial);
        if last {
            shard.remove(&user);
        }
        last
    }

    /// Whether the user has a socket here.
    pub fn holds(&self, user: UserId) -> bool {
        self.by_user(user).contains_key(&user)
    }

    /// Notes that the directory has the user's seat now, and adds the user's sockets to `slots`.
    pub fn seated(&self, user: UserId, slots: &mut Vec<Arc<Slot>>) {
        if let Some(entry) = self.by_user(user).get_mut(&user) {
            entry.seated = true;
            entry.sockets.collect(slots);
        }
    }

    /// Marks all seats as lost with the directory's data; returns all users with a socket here, to be written again.
    pub fn unseat_all(&self) -> Vec<UserId> {
        let mut users = Vec::new();
        for shard in &self.users {
            let mut shard = shard.lock();
            shard.values_mut().for_each(|entry| entry.seated = false);
            users.extend(shard.keys());
        }
        users
    }

    /// Adds the sockets of a user to `slots`.
    pub fn of_user(&self, user: UserId, slots: &mut Vec<Arc<Slot>>) {
        if let Some(entry) = self.by_user(user).get(&user) {
            entry.sockets.collect(slots);
        }
    }

    /// The socket with this serial.
    pub fn of_serial(&self, serial: u64) -> Option<Arc<Slot>> {
        self.by_serial(serial).get(&serial).cloned()
    }

    /// The sockets of one shard.
    pub fn of_shard(&self, shard: usize) -> Vec<Arc<Slot>> {
        self.sockets.get(shard).map(|shard| shard.lock().values().cloned().collect()).unwrap_or_default()
    }

    /// Takes one unit from the budget of all sockets of the user together.
    ///
    /// # Errors
    /// The time to wait until it is available.
    pub fn take_rate(&self, user: UserId, rate: LocalRate, now: Duration) -> Result<(), Duration> {
        match self.by_user(user).get_mut(&user) {
            Some(entry) => entry.rate.take(rate, 1, now),
            None => Ok(()),
        }
    }

    /// The number of open sockets.
    pub fn count(&self) -> usize {
        self.counts().iter().sum()
    }

    /// The number of open sockets by form, in the order of [`Form::ALL`].
    pub fn counts(&self) -> [usize; Form::ALL.len()] {
        Form::ALL.map(|form| self.counts[form as usize].load(Ordering::Relaxed))
    }

    fn by_serial(&self, serial: u64) -> MutexGuard<'_, HashMap<u64, Arc<Slot>>> {
        self.sockets[(serial % SHARDS as u64) as usize].lock()
    }

    fn by_user(&self, user: UserId) -> MutexGuard<'_, HashMap<UserId, Entry>> {
        self.users[(user.0.unsigned_abs() % SHARDS as u64) as usize].lock()
    }
}

impl Sockets {
    fn add(&mut self, slot: Arc<Slot>) {
        match self {
            Self::Many(slots) => slots.push(slot),
            Self::One(first) => *self = Self::Many(Box::new(vec![Arc::clone(first), slot])),
        }
    }

    /// Removes a socket. True: none is left.
    fn remove(&mut self, serial: u64) -> bool {
        match self {
            Self::One(slot) => slot.serial == serial,
            Self::Many(slots) => {
                slots.retain(|slot| slot.serial != serial);
                slots.is_empty()
            }
        }
    }

    /// The oldest sockets above the limit now that this one has joined; sockets that are closing already
    /// do not count.
    fn beyond(&self, joins: Joins, newest: &Slot) -> Vec<Arc<Slot>> {
        let Self::Many(slots) = self else { return Vec::new() };
        let login = newest.who();
        let (mut of_login, mut others): (Vec<_>, Vec<_>) =
            slots.iter().filter(|slot| !slot.is_closing()).partition(|slot| slot.who() == login);
        let too_many = of_login.len().saturating_sub(joins.of_login.max(1));
        let mut beyond: Vec<_> = of_login.drain(..too_many).cloned().collect();
        others.append(&mut of_login);
        others.sort_unstable_by_key(|slot| slot.serial);
        let too_many = others.len().saturating_sub(joins.of_user.max(1));
        beyond.extend(others.drain(..too_many).cloned());
        beyond
    }

    fn collect(&self, slots: &mut Vec<Arc<Slot>>) {
        match self {
            Self::One(slot) => slots.push(Arc::clone(slot)),
            Self::Many(many) => slots.extend(many.iter().cloned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::ids::LoginId;

    use protocol::CloseCode;

    use super::*;

    const JOINS: Joins = Joins { of_login: 3, of_user: 5 };

    fn socket(hub: &Hub, serial: u64, user: i64) -> (Arc<Slot>, Joined) {
        socket_of(hub, serial, user, user)
    }

    fn socket_of(hub: &Hub, serial: u64, user: i64, login: i64) -> (Arc<Slot>, Joined) {
        let slot = Arc::new(Slot::new(serial, Form::Native, Duration::ZERO));
        hub.open(Arc::clone(&slot));
        slot.set_who(UserId(user), LoginId(login));
        let joined = hub.join(UserId(user), Arc::clone(&slot));
        (slot, joined)
    }

    fn serials(hub: &Hub, user: i64) -> Vec<u64> {
        let mut slots = Vec::new();
        hub.of_user(UserId(user), &mut slots);
        slots.iter().map(|slot| slot.serial).collect()
    }

    #[test]
    fn only_the_first_socket_of_a_user_needs_a_seat_and_only_the_last_gives_it_back() {
        let hub = Hub::new(JOINS);
        let (first, joined) = socket(&hub, 1, 7);
        assert!(!joined.seated);
        let mut waiting = Vec::new();
        hub.seated(UserId(7), &mut waiting);
        assert_eq!(waiting.len(), 1);
        let (second, joined) = socket(&hub, 2, 7);
        assert!(joined.seated);
        assert_eq!((serials(&hub, 7), hub.count()), (vec![1, 2], 2));
        assert!(!hub.leave(&first));
        assert!(hub.leave(&second));
        assert!(!hub.leave(&second), "leaving twice changes nothing");
        assert_eq!((hub.holds(UserId(7)), hub.count()), (false, 0));
    }

    #[test]
    fn a_socket_without_an_account_is_found_by_its_serial_only() {
        let hub = Hub::new(JOINS);
        let slot = Arc::new(Slot::new(65, Form::SocketIo, Duration::ZERO));
        hub.open(Arc::clone(&slot));
        assert!(hub.of_serial(65).is_some());
        assert_eq!(hub.of_shard(65 % SHARDS).len(), 1);
        assert!(!hub.leave(&slot));
        assert!(hub.of_serial(65).is_none());
    }

    #[test]
    fn after_a_lost_lease_every_user_wants_a_seat_again() {
        let hub = Hub::new(JOINS);
        let _sockets: Vec<_> = (1..=100_i64).map(|user| socket(&hub, user.unsigned_abs(), user)).collect();
        (1..=100).for_each(|user| hub.seated(UserId(user), &mut Vec::new()));
        let mut users = hub.unseat_all();
        users.sort_unstable();
        assert_eq!(users, (1..=100).map(UserId).collect::<Vec<_>>());
        assert!(!socket(&hub, 1_000, 7).1.seated);
    }

    #[test]
    fn sockets_of_one_user_share_a_rate() {
        let hub = Hub::new(JOINS);
        let _sockets = (socket(&hub, 1, 7), socket(&hub, 2, 7), socket(&hub, 3, 8));
        let rate = LocalRate::per_second(1, 2);
        let take = |user| hub.take_rate(UserId(user), rate, Duration::ZERO).is_ok();
        assert_eq!([take(7), take(7), take(7), take(8)], [true, true, false, true]);
    }

    #[test]
    fn a_further_socket_takes_the_place_of_the_oldest_of_its_login_or_its_user() {
        let hub = Hub::new(JOINS);
        let join = |serial, login| {
            let replaced = socket_of(&hub, serial, 7, login).1.replaced;
            replaced.iter().for_each(|slot| slot.ask_close(CloseCode::Replaced));
            replaced.iter().map(|slot| slot.serial).collect::<Vec<_>>()
        };
        let none: [u64; 0] = [];
        assert_eq!([join(1, 1), join(2, 2), join(3, 2), join(4, 2)], [none; 4]);
        assert_eq!(join(5, 2), [2], "three of a login");
        assert_eq!(join(6, 2), [3], "a socket that closes is counted no more");
        assert_eq!(join(7, 3), none);
        assert_eq!(join(8, 3), [1], "five of a user");
        assert_eq!(socket_of(&hub, 9, 8, 2).1.replaced.len(), 0, "another user is not concerned");
    }
}
