//! Password hashes: argon2id for new ones, bcrypt understood until its owner logs in again.
//!
//! A hash costs about 20 ms of a core and 19 MiB, on purpose. So at most one per core runs at a time,
//! outside the async runtime's threads; a bounded number waits in a queue; beyond that the answer is `busy`,
//! before anything is computed. An unknown e-mail costs as much as a wrong password.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use common::limits::{PASSWORDS_OF_NETWORK_MAX, PASSWORDS_WAITING_MAX};
use foldhash::HashMap;
use parking_lot::Mutex;
use protocol::Reject;
use tokio::sync::Semaphore;
use tracing::error;

/// OWASP's recommendation for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The beginning of a current hash; any other is replaced at the next login.
const TODAY: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

/// A hash of a random text, checked for e-mails without an account.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0IGhlcmUh$\
                     7nEHKsqhJDPGm5vN2QpYyuoXaHrmwSL3trvnI7eoPMw";

/// The result of a password check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password does not match.
    Wrong,
    /// The password matches.
    Right,
    /// The password matches, and this new hash should replace the stored one.
    RightButOld(String),
}

/// Computes hashes, a few at a time. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    cores: Arc<Semaphore>,
    line: Arc<Semaphore>,
    /// The number of places in the queue for each network.
    shares: Arc<Mutex<HashMap<String, usize>>>,
}

/// A network's place in the queue; given back when dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Mutex<HashMap<String, usize>>>,
    network: String,
}

impl Default for Passwords {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(cores, PASSWORDS_WAITING_MAX)
    }
}

impl Passwords {
    /// Creates it for `cores` hashes at a time and `waiting` more in the queue.
    pub fn new(cores: usize, waiting: usize) -> Self {
        let (cores, line) = (Semaphore::new(cores), Semaphore::new(cores + waiting));
        Self { cores: Arc::new(cores), line: Arc::new(line), shares: Arc::default() }
    }

    /// Takes a place in the queue for one password from this network, so that no network fills the queue.
    ///
    /// # Errors
    /// [`Reject::Busy`] if the network has [`PASSWORDS_OF_NETWORK_MAX`] places.
    pub fn share(&self, network: &str) -> Result<Share, Reject> {
        let mut shares = self.shares.lock();
        let taken = shares.entry(network.to_owned()).or_default();
        if *taken >= PASSWORDS_OF_NETWORK_MAX {
            return Err(Reject::Busy);
        }
        *taken += 1;
        Ok(Share { shares: Arc::clone(&self.shares), network: network.to_owned() })
    }

    /// Hashes a new password for the store.
    ///
    /// # Errors
    /// [`Reject::Busy`] if the queue is full.
    pub async fn hash(&self, password: String) -> Result<String, Reject> {
        self.run(move || hash(&password)).await
    }

    /// Checks a password against a stored hash, in all forms in which it may have been hashed, today's first.
    /// Without an account the result is `Wrong`, after the same time.
    ///
    /// # Errors
    /// [`Reject::Busy`] if the queue is full.
    pub async fn judge(&self, ways: Vec<String>, kept: Option<String>) -> Result<Verdict, Reject> {
        self.run(move || {
            let hashed = kept.as_deref().unwrap_or(DECOY);
            let fits = ways.iter().position(|way| is_the_one(way, hashed));
            match (kept, fits) {
                (None, _) | (_, None) => Ok(Verdict::Wrong),
                (Some(kept), Some(0)) if kept.starts_with(TODAY) => Ok(Verdict::Right),
                _ => hash(&ways[0]).map(Verdict::RightButOld),
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Reject> + Send + 'static,
    ) -> Result<T, Reject> {
        let place = Arc::clone(&self.line).try_acquire_owned().map_err(|_| Reject::Busy)?;
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| Reject::Busy)?;
        let done = tokio::task::spawn_blocking(move || {
            // Held by the hashing itself: a caller that gives up does not free its place before the end.
            let _held = (place, core);
            work()
        });
        done.await.unwrap_or_else(|err| {
            error!("Hashing a password failed: {err}");
            Err(Reject::Failed)
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut shares = self.shares.lock();
        if let Some(taken) = shares.get_mut(&self.network) {
            *taken -= 1;
            if *taken == 0 {
                shares.remove(&self.network);
            }
        }
    }
}

fn argon2() -> Result<Argon2<'static>, Reject> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| Reject::Failed)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<String, Reject> {
    match argon2()?.hash_password(password.as_bytes()) {
        Ok(hash) => Ok(hash.to_string()),
        Err(err) => {
            error!("Hashing a password failed: {err}");
            Err(Reject::Failed)
        }
    }
}

/// Whether a password matches a stored hash; a hash that cannot be parsed matches none.
fn is_the_one(password: &str, kept: &str) -> bool {
    if ["$2a$", "$2b$", "$2y$"].iter().any(|version| kept.starts_with(version)) {
        return bcrypt::verify(password, kept).unwrap_or(false);
    }
    let Ok(kept) = PasswordHash::new(kept) else { return false };
    argon2().is_ok_and(|argon2| argon2.verify_password(password.as_bytes(), &kept).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::text;

    #[tokio::test]
    async fn a_new_hash_is_argon2id_and_fits_only_its_password() {
        let passwords = Passwords::default();
        let kept = passwords.hash("xin chào".into()).await.unwrap();
        assert!(kept.starts_with(TODAY), "{kept}");
        assert_eq!(passwords.judge(vec!["xin chào".into()], Some(kept.clone())).await, Ok(Verdict::Right));
        assert_eq!(passwords.judge(vec!["xin chao".into()], Some(kept)).await, Ok(Verdict::Wrong));
        assert!(PasswordHash::new(DECOY).is_ok());
        assert_eq!(passwords.judge(vec!["x".into()], None).await, Ok(Verdict::Wrong));
        assert_eq!(passwords.judge(vec!["x".into()], Some("no hash".into())).await, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn the_originals_hashes_are_understood_and_replaced() {
        let passwords = Passwords::default();
        let kept = bcrypt::hash("useruser", 4).unwrap().replace("$2b$", "$2a$");
        assert_eq!(passwords.judge(vec!["useruse".into()], Some(kept.clone())).await, Ok(Verdict::Wrong));
        match passwords.judge(vec!["useruser".into()], Some(kept)).await {
            Ok(Verdict::RightButOld(new)) => {
                assert_eq!(passwords.judge(vec!["useruser".into()], Some(new)).await, Ok(Verdict::Right));
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_hash_of_what_was_typed_is_understood_and_replaced() {
        let passwords = Passwords::default();
        let (composed, apart) = ("m\u{1ead}t kh\u{1ea9}u", "ma\u{323}\u{302}t kha\u{302}\u{309}u");
        for (kept, typed) in [(apart, composed), (apart, apart), (composed, apart)] {
            let kept = passwords.hash(kept.into()).await.unwrap();
            let verdict = passwords.judge(text::passwords(typed), Some(kept.clone())).await.unwrap();
            match verdict {
                Verdict::Right => {}
                Verdict::RightButOld(new) => {
                    let today = vec![text::password(composed)];
                    assert_eq!(passwords.judge(today, Some(new)).await, Ok(Verdict::Right));
                }
                Verdict::Wrong => panic!("{typed:?} is the same password"),
            }
            let other = text::passwords("mat khau");
            assert_eq!(passwords.judge(other, Some(kept)).await, Ok(Verdict::Wrong));
        }
    }

    #[test]
    fn no_network_has_the_whole_line() {
        let passwords = Passwords::new(1, 64);
        let mut held: Vec<_> =
            (0..PASSWORDS_OF_NETWORK_MAX).map(|_| passwords.share("192.0.2.1").unwrap()).collect();
        assert_eq!(passwords.share("192.0.2.1").unwrap_err(), Reject::Busy);
        passwords.share("192.0.2.2").unwrap();
        held.pop();
        held.push(passwords.share("192.0.2.1").unwrap());
        drop(held);
        assert!(passwords.shares.lock().is_empty(), "nothing is kept of those who left");
    }

    #[tokio::test]
    async fn a_full_line_is_busy_at_once() {
        let passwords = Passwords::new(1, 1);
        let held = Arc::clone(&passwords.cores).acquire_owned().await.unwrap();
        let first = tokio::spawn({
            let passwords = passwords.clone();
            async move { passwords.judge(vec!["x".into()], None).await }
        });
        let second = tokio::spawn({
            let passwords = passwords.clone();
            async move { passwords.judge(vec!["x".into()], None).await }
        });
        while passwords.line.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(passwords.judge(vec!["x".into()], None).await, Err(Reject::Busy));
        drop(held);
        assert_eq!(first.await.unwrap(), Ok(Verdict::Wrong));
        assert_eq!(second.await.unwrap(), Ok(Verdict::Wrong));
    }
}
