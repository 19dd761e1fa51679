//! The handles that every handler and every route gets, all cheap to clone.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use common::auth::Signer;
use common::bus::Bus;
use common::config::AuthConfig;
use common::directory::Directory;
use common::lanes::{Effects, Fanout, Halt, Peer};
use common::recorder::{Recorder, Ticket};
use parking_lot::Mutex;
use protocol::control::Stage;
use protocol::ids::NodeId;
use protocol::{Timestamp, Uplink};

use crate::conversation::Owner;
use crate::store::Store;

/// One value of each type; all clones share them. So a feature keeps what it must remember, and
/// nothing here names a feature.
#[derive(Clone, Default)]
pub(crate) struct Own(Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>);

/// The worker's surroundings.
#[derive(Clone)]
pub struct Ctx {
    /// This start of this worker.
    pub node: NodeId,
    /// PostgreSQL.
    pub store: Store,
    /// The remembered conversations.
    pub owner: Owner,
    /// The directory.
    pub directory: Directory,
    /// Handlers do not publish; `fanout` does, and the API for what goes on a lane.
    pub bus: Bus,
    /// Makes access tokens.
    pub signer: Arc<Signer>,
    /// The lifetime of a refresh token.
    pub refresh_ttl: Duration,
    /// The lifetime of an access token, and the time for which an ended login must be remembered.
    pub access_ttl: Duration,
    /// State of features in this process.
    pub(crate) own: Own,
    /// The recorder of milestones.
    pub recorder: Recorder,
}

impl Ctx {
    /// The fan-out, for [`tell`](Self::tell) and the lanes.
    pub(crate) fn fanout(&self) -> Fanout {
        let Self { bus, directory, recorder, .. } = self.clone();
        Fanout { bus, directory, recorder }
    }

    /// Delivers effects that happen outside of the lanes: those of a background task or a route.
    ///
    /// # Errors
    /// The directory or the bus is away: some clients were told, or none.
    pub async fn tell(&self, effects: &[Effects]) -> Result<(), Halt> {
        if effects.is_empty() {
            return Ok(());
        }
        let fanout = self.fanout();
        let busy = fanout.publish(fanout.route(effects).await?).await?;
        if busy.is_empty() {
            return Ok(());
        }
        Err(Halt::Away(Peer::Bus, anyhow::anyhow!("{} deliveries were not taken", busy.len())))
    }

    /// The state of a feature in this process, created at its first use.
    pub fn own<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        let mut own = self.own.0.lock();
        let kept = own.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        // Under a type's id there is only a value of that type.
        Arc::clone(kept).downcast().unwrap_or_default()
    }

    /// Remembers where a chat message is now; nothing else is remembered.
    pub(crate) fn noted(&self, uplink: &Uplink, stage: Stage) -> Option<Ticket> {
        let of = self.recorder.is_on().then(|| uplink.origin()).flatten()?;
        self.recorder.note(of, Timestamp::now(), stage)
    }

    /// The handles of one start, with a recorder that is off.
    pub fn new(node: NodeId, store: Store, directory: Directory, bus: Bus, auth: &AuthConfig) -> Self {
        Self {
            node,
            store,
            owner: Owner::default(),
            directory,
            bus,
            signer: Arc::new(Signer::new(auth)),
            refresh_ttl: auth.refresh_ttl,
            access_ttl: auth.access_ttl,
            own: Own::default(),
            recorder: Recorder::new(0),
        }
    }
}
