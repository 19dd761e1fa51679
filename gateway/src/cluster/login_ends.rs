//! Logins that ended before their tokens did, held in memory so that an upgrade makes no request. They are
//! read from the directory at the start and every minute, and announced by `control.gateways` at once.
//!
//! A login that is known to have ended stays ended until its last token has expired, even if the directory
//! forgets it: the directory may have lost its data.

use std::time::Duration;

use common::directory::{Directory, DirectoryError};
use foldhash::{HashMap, HashMapExt};
use parking_lot::RwLock;
use protocol::ids::LoginId;
use tokio::time::Instant;

/// The logins that are known to have ended; see the module.
pub struct LoginEnds {
    /// The time until which each ended login is remembered.
    known: RwLock<HashMap<LoginId, Instant>>,
    /// The lifetime of an access token.
    access_ttl: Duration,
}

/// The result of reading the directory.
#[derive(Debug, PartialEq, Eq)]
pub struct Reading {
    /// Newly ended logins: their sockets must be closed.
    pub news: Vec<LoginId>,
    /// Whether the directory knows all ended logins.
    pub is_complete: bool,
}

impl LoginEnds {
    /// Starts without ended logins. Tokens live for `access_ttl`.
    pub fn new(access_ttl: Duration) -> Self {
        Self { known: RwLock::new(HashMap::new()), access_ttl }
    }

    /// Whether the login ended.
    pub fn contains(&self, login: LoginId) -> bool {
        self.known.read().contains_key(&login)
    }

    /// Notes that the login ended.
    pub fn end(&self, login: LoginId) {
        let until = Instant::now() + self.access_ttl;
        self.known.write().entry(login).or_insert(until);
    }

    /// Reads the directory: adds missed ends, forgets logins whose tokens have expired.
    ///
    /// # Errors
    /// The directory does not answer; then nothing changed.
    pub async fn refresh(&self, directory: &Directory) -> Result<Reading, DirectoryError> {
        let ended = directory.ended_logins().await?;
        let now = Instant::now();
        let mut known = self.known.write();
        known.retain(|_, until| *until > now);
        let mut news = Vec::new();
        for login in ended.logins {
            known.entry(login).or_insert_with(|| {
                news.push(login);
                now + self.access_ttl
            });
        }
        Ok(Reading { news, is_complete: ended.is_complete })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(3_600);

    async fn news(logins: &LoginEnds, directory: &Directory) -> Vec<LoginId> {
        logins.refresh(directory).await.unwrap().news
    }

    #[tokio::test]
    async fn ended_logins_are_told_or_read() {
        let (logins, directory) = (LoginEnds::new(TTL), Directory::memory());
        logins.end(LoginId(1));
        directory.end_login(LoginId(2), TTL).await.unwrap();
        assert_eq!(news(&logins, &directory).await, [LoginId(2)]);
        assert!(logins.contains(LoginId(1)) && logins.contains(LoginId(2)));
        assert_eq!(news(&logins, &directory).await, []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_lost_its_data_makes_no_login_good_again() {
        let logins = LoginEnds::new(TTL);
        let directory = Directory::memory();
        directory.end_login(LoginId(2), TTL).await.unwrap();
        logins.end(LoginId(1));
        logins.refresh(&directory).await.unwrap();

        let empty = Directory::memory();
        tokio::time::advance(TTL - Duration::from_secs(1)).await;
        assert!(!logins.refresh(&empty).await.unwrap().is_complete);
        assert!(logins.contains(LoginId(1)) && logins.contains(LoginId(2)), "read or told, it stays");

        tokio::time::advance(Duration::from_secs(2)).await;
        logins.refresh(&empty).await.unwrap();
        assert!(!logins.contains(LoginId(1)) && !logins.contains(LoginId(2)), "their tokens have expired");
    }

    #[tokio::test]
    async fn a_reading_says_whether_the_directory_knows_them_all() {
        let (logins, directory) = (LoginEnds::new(TTL), Directory::memory());
        assert!(!logins.refresh(&directory).await.unwrap().is_complete);
        directory.mark_ended_logins(TTL).await.unwrap();
        assert_eq!(logins.refresh(&directory).await.unwrap(), Reading { news: vec![], is_complete: true });
    }
}
