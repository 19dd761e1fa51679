//! The operator's orders to workers.

mod redact;
mod store;
mod trace;

pub use self::redact::RedactMessage;
pub use self::store::LoginRow;
pub use self::trace::KeptMessage;

use crate::feature::{Feature, on};

/// The operator's orders to workers, sent by commands.
pub const FEATURE: Feature = Feature {
    events: &[on!(RedactMessage => redact::redact)],
    statements: &[store::STATEMENTS, trace::STATEMENTS],
    ..Feature::named("operator")
};
