//! Logins that ended before their tokens did. Held in memory so that an upgrade asks nobody;
//! read from the directory at the start and every minute, and told by `control.gateways` at once.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use common::directory::{Directory, DirectoryError};
use common::ids::LoginId;
use foldhash::{HashSet, HashSetExt};

/// How often the directory is read again: what `control.gateways` lost is late by this much.
pub const REFRESH: Duration = Duration::from_secs(60);

/// See the module.
pub struct EndedLogins {
    sets: RwLock<Sets>,
}

struct Sets {
    known: HashSet<LoginId>,
    /// Told since the last refresh began: the directory's answer may be older.
    fresh: HashSet<LoginId>,
}

impl EndedLogins {
    /// None ended.
    pub fn new() -> Self {
        Self { sets: RwLock::new(Sets { known: HashSet::new(), fresh: HashSet::new() }) }
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
        sets.fresh.insert(login);
    }

    /// Reads the directory: forgets what expired by itself, learns what was missed. Returns what
    /// is new, so that its sockets can be closed.
    ///
    /// # Errors
    /// When the directory does not answer; then nothing changed.
    pub async fn refresh(&self, directory: &Directory) -> Result<Vec<LoginId>, DirectoryError> {
        self.sets.write().unwrap_or_else(PoisonError::into_inner).fresh.clear();
        let ended = directory.ended_logins().await?;
        let mut sets = self.sets.write().unwrap_or_else(PoisonError::into_inner);
        let news = ended.iter().filter(|login| !sets.known.contains(login)).copied().collect();
        let fresh = std::mem::take(&mut sets.fresh);
        sets.known = ended.into_iter().chain(fresh).collect();
        Ok(news)
    }
}

impl Default for EndedLogins {
    fn default() -> Self {
        Self::new()
    }
}
