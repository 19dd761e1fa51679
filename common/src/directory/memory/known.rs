//! What the contacts of users know, in one process: the same steps as `scripts/seat.lua` and its
//! neighbours.

use std::time::Duration;

use foldhash::HashMap;
use tokio::time::Instant;

use crate::directory::answer::Presence;
use crate::limits::{PRESENCE_CLAIM_MS, PRESENCE_GRACE_MS};
use protocol::ids::UserId;

pub(super) const GRACE: Duration = Duration::from_millis(PRESENCE_GRACE_MS);

const CLAIM: Duration = Duration::from_millis(PRESENCE_CLAIM_MS);

/// See the module. Users who are known to be offline take no room.
#[derive(Default)]
pub(super) struct KnownToContacts {
    known: HashMap<UserId, Known>,
    /// When it must be looked whether a user's contacts know.
    due: HashMap<UserId, Instant>,
}

#[derive(Clone, Copy, PartialEq)]
enum Known {
    Online,
    /// A worker is announcing the user, until then at most.
    Telling(Instant),
}

impl KnownToContacts {
    /// A seat was taken.
    pub(super) fn came(&mut self, user: UserId) {
        if self.is_told(user) {
            self.due.remove(&user);
        } else {
            self.due.insert(user, Instant::now());
        }
    }

    /// The last seat is gone.
    pub(super) fn went(&mut self, user: UserId, offline_at: Instant) {
        if self.known.contains_key(&user) {
            self.due.insert(user, offline_at);
        } else {
            self.due.remove(&user);
        }
    }

    pub(super) fn is_told(&self, user: UserId) -> bool {
        self.known.get(&user) == Some(&Known::Online)
    }

    pub(super) fn claim(
        &mut self,
        users_max: usize,
        now: Instant,
        is_online: impl Fn(UserId) -> bool,
    ) -> Vec<Presence> {
        let due: Vec<UserId> =
            self.due.iter().filter(|(_, at)| **at <= now).map(|(user, _)| *user).take(users_max).collect();
        let mut claimed = Vec::new();
        for user in due {
            let is_online = is_online(user);
            let is_known = match self.known.get(&user) {
                Some(Known::Telling(until)) if *until > now => {
                    self.due.insert(user, *until);
                    continue;
                }
                Some(Known::Telling(_)) => false,
                Some(Known::Online) => is_online,
                None => !is_online,
            };
            if is_known {
                self.due.remove(&user);
            } else {
                self.known.insert(user, Known::Telling(now + CLAIM));
                self.due.insert(user, now + CLAIM);
                claimed.push(Presence { user, is_online });
            }
        }
        claimed
    }

    pub(super) fn told(&mut self, told: Presence, is_seated: bool, now: Instant) {
        let Presence { user, is_online } = told;
        if is_online {
            self.known.insert(user, Known::Online);
        } else {
            self.known.remove(&user);
        }
        // It may have gone, or come back, meanwhile.
        match (is_online, is_seated) {
            (true, false) => drop(self.due.insert(user, now + GRACE)),
            (false, true) => drop(self.due.insert(user, now)),
            _ => drop(self.due.remove(&user)),
        }
    }
}
