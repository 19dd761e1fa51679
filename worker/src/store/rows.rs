//! Reading columns that many rows have.

use protocol::Timestamp;
use tokio_postgres::Row;

use super::StoreError;

/// Reads a moment.
pub fn moment(row: &Row, column: &str) -> Timestamp {
    Timestamp(row.get::<_, jiff::Timestamp>(column).as_millisecond())
}

/// Reads a moment that may not have come.
pub fn maybe_moment(row: &Row, column: &str) -> Option<Timestamp> {
    row.get::<_, Option<jiff::Timestamp>>(column).map(|at| Timestamp(at.as_millisecond()))
}

/// A seq as the database counts.
pub fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// A seq as the protocol counts.
pub fn unsigned(seq: i64) -> u64 {
    u64::try_from(seq).unwrap_or(0)
}

/// An insert that returns nothing.
pub fn missing() -> StoreError {
    StoreError::Fault(anyhow::anyhow!("a statement gave back no row"))
}
