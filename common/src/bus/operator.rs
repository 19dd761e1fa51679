//! The operator's questions to the bus. All only look, except [`Bus::replay`].

use super::backend::Backend;
use super::config::BusConfig;
use super::handle::Bus;
use super::inspect::{Depths, Quarantined, Replayed, Which};
use super::outcome::BusError;
use super::rabbit::RabbitBus;
use protocol::ids::NodeId;

impl Bus {
    /// Connects to a broker that others have prepared, and declares nothing: a visit under a
    /// wrong prefix leaves no queue behind. Fails when the broker has no topology of this prefix.
    pub async fn visit(config: BusConfig, node: NodeId) -> Result<Self, BusError> {
        Ok(Self(Backend::Rabbit(RabbitBus::visit(config, node).await.map_err(BusError)?)))
    }

    /// Depths of all queues.
    pub async fn depths(&self) -> Result<Depths, BusError> {
        match &self.0 {
            Backend::Memory(bus) => Ok(bus.depths()),
            Backend::Rabbit(bus) => bus.depths().await,
        }
    }

    /// Looks at what was set aside; it stays there.
    pub async fn quarantined(&self, limit: usize) -> Result<Vec<Quarantined>, BusError> {
        match &self.0 {
            Backend::Memory(bus) => Ok(bus.quarantined(limit)),
            Backend::Rabbit(bus) => bus.quarantined(limit).await,
        }
    }

    /// Puts what was set aside back on its lane, unchanged, at the end, with all its attempts
    /// before it. It leaves the quarantine only after the broker has confirmed: a replay that is
    /// broken off leaves it in both places, and its guid makes that harmless.
    pub async fn replay(&self, which: Which) -> Replayed {
        match &self.0 {
            Backend::Memory(bus) => bus.replay(which),
            Backend::Rabbit(bus) => bus.replay(which).await,
        }
    }
}
