//! Logins that ended before their tokens did. Held in memory so that an upgrade asks nobody;
//! read from the directory at the start and every minute, and told by `control.gateways` at once.
//!
//! A login that is known to have ended stays so until its last token has expired, whatever the
//! directory says: it may have lost its data.

use std::time::Duration;

use common::directory::{Directory, DirectoryError};
use foldhash::{HashMap, HashMapExt};
use parking_lot::RwLock;
use protocol::ids::LoginId;
use tokio::time::Instant;

/// See the module.
pub struct LoginEnds {
    /// Until when to remember each.
    known: RwLock<HashMap<LoginId, Instant>>,
    /// How long an access token lives.
    access_ttl: Duration,
}

/// What a reading of the directory brought.
#[derive(Debug, PartialEq, Eq)]
pub struct Reading {
    /// Logins that were not known here to have ended: their sockets must be closed.
    pub news: Vec<LoginId>,
    /// The directory knows all that ended.
    pub is_complete: bool,
}

impl LoginEnds {
    /// None ended. Tokens live for so long at most.
    pub fn new(access_ttl: Duration) -> Self {
        Self { known: RwLock::new(HashMap::new()), access_ttl }
    }

    /// Whether the login ended.
    pub fn contains(&self, login: LoginId) -> bool {
        self.known.read().contains_key(&login)
    }

    /// The login ended.
    pub fn end(&self, login: LoginId) {
        let until = Instant::now() + self.access_ttl;
        self.known.write().entry(login).or_insert(until);
    }

    /// Reads the directory: learns what was missed, forgets logins whose tokens have expired.
    ///
    /// # Errors
    /// When the directory does not answer; then nothing changed.
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
