//! What every handler and every route is given: handles, all cheap to clone.

use common::directory::Directory;
use common::ids::NodeId;
use common::plumbing::Bus;

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
}
