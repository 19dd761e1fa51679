//! The urgency of an event.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Priority class of an event; each lane has its own queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// A user waits for it.
    High,
    /// It must happen soon.
    Medium,
    /// Worthless after 5 s: may be shed, and is never written to disk.
    Low,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Medium, Self::Low];

    /// The first token of the lane's subjects, and the value of the metric label `lane`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
