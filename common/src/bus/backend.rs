//! The two buses behind the seam.

use super::{memory, rabbit};

/// One of them. It lives as long as a clone of it.
#[derive(Clone)]
pub(super) enum Backend {
    Memory(memory::MemoryBus),
    Rabbit(rabbit::RabbitBus),
}
