//! Logins that ended before their tokens did. Held in memory so that an upgrade asks nobody;
//! read from the directory at the start and every minute, and told by `control.gateways` at once.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use common::directory::{Directory, DirectoryError};
use foldhash::{HashSet, HashSetExt};
use protocol::ids::LoginId;

/// How often the directory is read again: what `control.gateways` lost is late by this much.
pub const REFRESH: Duration = Duration::from_secs(60);

/// See the module.
pub struct EndedLogins {
    sets: RwLock<Sets>,
}

struct Sets {
    known: HashSet<LoginId>,
    /// Told by `control.gateways`: the directory's answer may be older, and a failover may have
    /// lost them there.
    told: HashSet<LoginId>,
}

/// Logins told and kept; beyond it the directory alone is believed.
const TOLD_MAX: usize = 100_000;

impl EndedLogins {
    /// None ended.
    pub fn new() -> Self {
        Self { sets: RwLock::new(Sets { known: HashSet::new(), told: HashSet::new() }) }
    }

    /// Whether the login ended.
    pub fn contains(&self, login: LoginId) -> bool {
        let sets = self.sets.read().unwrap_or_else(PoisonError::into_inner);
        sets.known.contains(&login)
    }

    /// The login ended.
    pub fn end(&self, login: LoginId) {
        let mut sets = self.sets.write().unwrap_or_else(PoisonError::into_inner);
        sets.known.insert(login);
        if sets.told.len() >= TOLD_MAX {
            sets.told.clear();
        }
        sets.told.insert(login);
    }

    /// Reads the directory: forgets what expired there, learns what was missed. Returns what
    /// is new, so that its sockets can be closed.
    ///
    /// # Errors
    /// When the directory does not answer; then nothing changed.
    pub async fn refresh(&self, directory: &Directory) -> Result<Vec<LoginId>, DirectoryError> {
        let ended = directory.ended_logins().await?;
        let mut sets = self.sets.write().unwrap_or_else(PoisonError::into_inner);
        let news = ended.iter().filter(|login| !sets.known.contains(login)).copied().collect();
        let known = ended.into_iter().chain(sets.told.iter().copied()).collect();
        sets.known = known;
        Ok(news)
    }
}

impl Default for EndedLogins {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ended_logins_are_told_or_read() {
        let (logins, directory) = (EndedLogins::new(), Directory::memory());
        logins.end(LoginId(1));
        directory.end_login(LoginId(2), Duration::from_secs(60)).await.unwrap();
        assert_eq!(logins.refresh(&directory).await.unwrap(), [LoginId(2)]);
        assert!(logins.contains(LoginId(1)), "told, and nobody has taken it back");
        assert!(logins.contains(LoginId(2)));
        assert_eq!(logins.refresh(&directory).await.unwrap(), []);
    }
}
