//! What every handler and every route is given: handles, all cheap to clone.

use std::sync::Arc;
use std::time::Duration;

use common::auth::Signer;
use common::bus::Bus;
use common::config::AuthConfig;
use common::directory::Directory;
use common::lanes::Fanout;
use common::recorder::{Recorder, Ticket};
use protocol::control::Stage;
use protocol::ids::NodeId;
use protocol::{Timestamp, Uplink};

use crate::features::typing::RecentAudiences;
use crate::rest::Desk;
use crate::store::Store;

/// The worker's surroundings.
#[derive(Clone)]
pub struct Ctx {
    /// This start of this worker.
    pub node: NodeId,
    /// PostgreSQL.
    pub store: Store,
    /// Who is where.
    pub directory: Directory,
    /// Handlers do not publish; `fanout` does, and the API for what goes on a lane.
    pub bus: Bus,
    /// Makes access tokens.
    pub signer: Arc<Signer>,
    /// How long a refresh token lives.
    pub refresh_ttl: Duration,
    /// How long an access token lives: for so long an ended login is remembered.
    pub access_ttl: Duration,
    /// What the API keeps: password slots, who waits for an answer.
    pub desk: Arc<Desk>,
    /// Memberships that typing may be judged by.
    pub typing: RecentAudiences,
    /// What is remembered of the way of messages.
    pub recorder: Recorder,
}

impl Ctx {
    /// How what happened outside of the lanes is told.
    pub(crate) fn fanout(&self) -> Fanout {
        let Self { bus, directory, recorder, .. } = self.clone();
        Fanout { bus, directory, recorder }
    }

    /// Remembers where a chat message is now; nothing else is remembered.
    pub(crate) fn noted(&self, uplink: &Uplink, stage: Stage) -> Option<Ticket> {
        let of = self.recorder.is_on().then(|| uplink.origin()).flatten()?;
        self.recorder.note(of, Timestamp::now(), stage)
    }

    /// The surroundings of one start, which remember nothing of the way of messages.
    pub fn new(node: NodeId, store: Store, directory: Directory, bus: Bus, auth: &AuthConfig) -> Self {
        Self {
            node,
            store,
            directory,
            bus,
            signer: Arc::new(Signer::new(auth)),
            refresh_ttl: auth.refresh_ttl,
            access_ttl: auth.access_ttl,
            desk: Arc::default(),
            typing: RecentAudiences::default(),
            recorder: Recorder::new(0),
        }
    }
}
