//! What only an operator asks for.

mod store;
mod trace;

pub use self::store::LoginRow;
pub use self::trace::KeptMessage;

use crate::feature::Feature;

/// What only an operator asks for, by commands.
pub const FEATURE: Feature = Feature {
    name: "operator",
    events: &[],
    routes: &[],
    statements: &[store::STATEMENTS, trace::STATEMENTS],
};
