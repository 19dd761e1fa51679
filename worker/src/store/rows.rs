//! Readers of columns that many rows have.

use protocol::Timestamp;
use tokio_postgres::Row;

use super::StoreError;

/// Reads a `timestamptz` column.
pub fn moment(row: &Row, column: &str) -> Timestamp {
    Timestamp(row.get::<_, jiff::Timestamp>(column).as_millisecond())
}

/// Reads a `timestamptz` column that may be null.
pub fn maybe_moment(row: &Row, column: &str) -> Option<Timestamp> {
    row.get::<_, Option<jiff::Timestamp>>(column).map(|at| Timestamp(at.as_millisecond()))
}

/// Converts a seq to the database's signed type; values that do not fit become `i64::MAX`.
pub fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// Converts a seq to the protocol's unsigned type; negative values become 0.
pub fn unsigned(seq: i64) -> u64 {
    u64::try_from(seq).unwrap_or(0)
}

/// The error for a statement that must return a row and returned none.
pub fn missing() -> StoreError {
    StoreError::Fault(anyhow::anyhow!("a statement gave back no row"))
}
