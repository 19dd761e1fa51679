//! The end of a login, learned in three ways: from `control.gateways`, from the directory, from an
//! operator. In each case its tokens are refused from then on and its sockets are closed.

use std::sync::Arc;
use std::time::Duration;

use common::bus::{Arrival, Subscription};
use common::directory::{Directory, DirectoryError};
use foldhash::HashSet;
use protocol::ids::{LoginId, UserId};
use protocol::{self, CloseCode, Control};
use tracing::warn;

use crate::cluster::hub::{Hub, SHARDS};
use crate::cluster::login_ends::{LoginEnds, Reading};
use crate::metrics::Metrics;

/// Interval of reading the directory again: the delay of an end that `control.gateways` lost.
const REFRESH: Duration = Duration::from_secs(60);

/// The interval while the directory does not know all ended logins: it is new or has lost its data, and a
/// worker will fill it in soon.
const REFRESH_INCOMPLETE: Duration = Duration::from_secs(1);

/// The ended logins, and what follows from their end.
pub struct Logins {
    ends: LoginEnds,
    hub: Arc<Hub>,
    directory: Directory,
    metrics: Arc<Metrics>,
}

impl Logins {
    /// Starts without ended logins. Tokens live for `access_ttl`.
    pub fn new(access_ttl: Duration, hub: Arc<Hub>, directory: Directory, metrics: Arc<Metrics>) -> Self {
        Self { ends: LoginEnds::new(access_ttl), hub, directory, metrics }
    }

    /// Whether the login ended.
    pub fn has_ended(&self, login: LoginId) -> bool {
        self.ends.contains(login)
    }

    /// Reads the ended logins from the directory, before the first socket.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn read(&self) -> Result<(), DirectoryError> {
        self.ends.refresh(&self.directory).await.map(drop)
    }

    /// Refuses the login's tokens from now on, and closes its sockets.
    pub fn end(&self, user: UserId, login: LoginId) {
        self.ends.end(login);
        let mut slots = Vec::new();
        self.hub.of_user(user, &mut slots);
        let ended = slots.iter().filter(|slot| slot.who() == Some((user, login)));
        ended.for_each(|slot| slot.ask_close(CloseCode::LoggedOut));
    }

    /// Reads the ended logins again and closes the sockets of new ones. Returns when to
    /// read next.
    async fn refresh(&self) -> Duration {
        let Reading { news, is_complete } = match self.ends.refresh(&self.directory).await {
            Ok(reading) => reading,
            Err(err) => {
                self.metrics.login_faults.increment(1);
                warn!(error = %err, "The ended logins could not be read");
                return REFRESH;
            }
        };
        let next = if is_complete { REFRESH } else { REFRESH_INCOMPLETE };
        if news.is_empty() {
            return next;
        }
        let news: HashSet<LoginId> = news.into_iter().collect();
        for slot in (0..SHARDS).flat_map(|shard| self.hub.of_shard(shard)) {
            if slot.who().is_some_and(|(_, login)| news.contains(&login)) {
                slot.ask_close(CloseCode::LoggedOut);
            }
        }
        next
    }
}

/// Obeys the messages on `control.gateways`, until the bus drains.
pub async fn obey(logins: Arc<Logins>, mut subscription: Subscription) {
    while let Some(arrival) = subscription.next().await {
        match arrival {
            Arrival::Envelopes(envelopes) => {
                for envelope in &envelopes {
                    match protocol::decode::<Control>(&envelope.body) {
                        Ok(Control::EndLogin { user, login }) => logins.end(user, login),
                        Err(err) => warn!(error = %err, "A control envelope could not be read"),
                    }
                }
            }
            // An EndLogin may be missing: the directory knows them all.
            Arrival::Lapse => drop(logins.refresh().await),
        }
    }
}

/// Reads the ended logins again and again, until dropped.
pub async fn keep_fresh(logins: Arc<Logins>) {
    let mut pause = REFRESH_INCOMPLETE;
    loop {
        tokio::time::sleep(pause).await;
        pause = logins.refresh().await;
    }
}
