//! Errors of the store, classified in one place: the client's mistake, a database that is unavailable, a
//! statement that PostgreSQL ended because of what it touched, or one that can never work.

use common::lanes::{Cause, Halt, Peer};
use protocol::Reject;
use tokio_postgres::error::SqlState;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The client's mistake.
    #[error("{0}")]
    Reject(#[from] Reject),
    /// The database is down, restarting, out of disk space, or not migrated yet: hold the batch and retry.
    #[error("the store is unavailable: {0:#}")]
    Unavailable(anyhow::Error),
    /// The database works and ended only this statement: its rows are locked, or it is too slow or too large.
    /// Other statements are not affected. Retry with less, or later.
    #[error("the store ended a statement ({cause}): {1:#}", cause = .0.name())]
    Stuck(Cause, anyhow::Error),
    /// The statement can never work; do not retry it.
    #[error("the store: {0:#}")]
    Fault(anyhow::Error),
}

/// The result of every function of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The statement violates a unique constraint; its name.
#[derive(Debug, thiserror::Error)]
#[error("the unique constraint {0} stands against it")]
struct Conflict(String);

/// The statement's own condition does not hold, or the server is another one.
#[derive(Debug, thiserror::Error)]
#[error("something is not as it was remembered")]
struct Moved;

/// The worker's own time limit ended the call.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Late(String);

/// A write failed because the disk is full or broken, or because the server is read-only.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoRoom(String);

/// Whether a write failed for lack of disk space; reads still work then.
pub(super) fn is_full(err: &StoreError) -> bool {
    matches!(err, StoreError::Unavailable(err) if err.downcast_ref::<NoRoom>().is_some())
}

/// The name of the unique constraint that a statement violated; None for any other error.
pub(crate) fn conflict(err: &StoreError) -> Option<&str> {
    match err {
        StoreError::Fault(err) => err.downcast_ref().map(|Conflict(name)| name.as_str()),
        _ => None,
    }
}

/// Whether nothing was written because PostgreSQL's state differs from what the worker remembers.
pub(crate) fn has_moved(err: &StoreError) -> bool {
    matches!(err, StoreError::Fault(err) if err.is::<Moved>())
}

/// The error for a server of another epoch than the caller asked for.
pub(super) fn elsewhere() -> StoreError {
    StoreError::Fault(Moved.into())
}

/// Whether the call took too long, by PostgreSQL's limits or the worker's.
pub(super) fn is_late(err: &StoreError) -> bool {
    match err {
        StoreError::Stuck(Cause::Slow | Cause::Lock, _) => true,
        StoreError::Unavailable(err) => err.downcast_ref::<Late>().is_some(),
        _ => false,
    }
}

/// The error for a call that the worker's own time limit ended.
pub(super) fn late(what: &str) -> StoreError {
    StoreError::Unavailable(anyhow::Error::new(Late(what.to_owned())))
}

/// Whether the server has lost the prepared statement, or its table has changed: a new connection
/// prepares the statement again.
pub(super) fn outdated(err: &tokio_postgres::Error) -> bool {
    matches!(err.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED | &SqlState::INVALID_SQL_STATEMENT_NAME))
}

/// Classifies an error of the driver.
pub(super) fn sort(err: tokio_postgres::Error) -> StoreError {
    let stuck = err.code().and_then(cause);
    let away = match err.code() {
        Some(code) => is_away(code),
        // Without a code the statement never reached the server, or the connection broke; otherwise
        // a value does not fit its column.
        None => {
            err.is_closed()
                || std::error::Error::source(&err).is_some_and(|source| source.is::<std::io::Error>())
        }
    };
    // The message of a PostgreSQL error contains no values; its detail does, so the detail is dropped.
    let fault = match err.as_db_error() {
        Some(db) if *db.code() == SqlState::UNIQUE_VIOLATION => {
            anyhow::Error::new(Conflict(db.constraint().unwrap_or_default().to_owned()))
        }
        // A statement reports that its condition does not hold by dividing by zero.
        Some(db) if *db.code() == SqlState::DIVISION_BY_ZERO => Moved.into(),
        Some(db) => {
            let words = format!("{} ({})", db.message(), db.code().code());
            if lacks_room(db.code()) { anyhow::Error::new(NoRoom(words)) } else { anyhow::Error::msg(words) }
        }
        None => anyhow::Error::new(err),
    };
    match stuck {
        Some(cause) => StoreError::Stuck(cause, fault),
        None if away => StoreError::Unavailable(fault),
        None => StoreError::Fault(fault),
    }
}

/// The cause that ended only this statement. A full disk (53100) and too many connections (53300) affect
/// other statements as well: those count as unavailable (see [`is_away`]).
fn cause(code: &SqlState) -> Option<Cause> {
    match code.code() {
        "55P03" => Some(Cause::Lock),
        "57014" => Some(Cause::Slow),
        "53200" | "53400" | "54001" => Some(Cause::Size),
        "40001" | "40P01" => Some(Cause::Conflict),
        _ => None,
    }
}

/// Whether the disk is full (53100) or broken (58030), or the server accepts no writes at all (25006).
fn lacks_room(code: &SqlState) -> bool {
    matches!(code.code(), "53100" | "58030" | "25006")
}

/// Whether the database is unavailable. By class: connections (08), resources (53), operator intervention
/// (57), system errors (58), a transaction that was rolled back (40) or idle too long (25P03), a replica that is
/// not the primary yet (25006); and a login (28), database (3D) or schema that its operator has yet to provide.
fn is_away(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    matches!(class, "08" | "53" | "57" | "58" | "40" | "28" | "3D")
        || matches!(
            *code,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
                | SqlState::READ_ONLY_SQL_TRANSACTION
                | SqlState::UNDEFINED_TABLE
                | SqlState::UNDEFINED_COLUMN
                | SqlState::UNDEFINED_FUNCTION
                | SqlState::INSUFFICIENT_PRIVILEGE
                | SqlState::FEATURE_NOT_SUPPORTED
                | SqlState::INVALID_SQL_STATEMENT_NAME
        )
}

impl From<StoreError> for Halt {
    fn from(err: StoreError) -> Self {
        match err {
            StoreError::Unavailable(err) => Self::Away(Peer::Store, err),
            StoreError::Stuck(cause, err) => Self::Stuck(cause, err),
            StoreError::Fault(err) => Self::Fault(err),
            // Statements over a whole batch return a reject per element, never one for the batch.
            StoreError::Reject(reject) => {
                Self::Fault(anyhow::anyhow!("a reject for a whole batch: {reject}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absence_is_told_from_what_can_never_work() {
        let away = ["08006", "53100", "53300", "57P01", "57P02", "57P03", "25006", "25P03", "42P01"];
        for code in away {
            assert!(is_away(&SqlState::from_code(code)), "{code}");
            assert_eq!(cause(&SqlState::from_code(code)), None, "{code} concerns all statements");
        }
        for code in ["22021", "23505", "23514", "42601", "54000", "XX000"] {
            assert!(!is_away(&SqlState::from_code(code)), "{code}");
            assert_eq!(cause(&SqlState::from_code(code)), None, "{code}");
        }
    }

    #[test]
    fn what_ends_one_statement_is_no_absence() {
        let stuck = [
            ("55P03", Cause::Lock),
            ("57014", Cause::Slow),
            ("53200", Cause::Size),
            ("40P01", Cause::Conflict),
            ("40001", Cause::Conflict),
        ];
        for (code, expect) in stuck {
            assert_eq!(cause(&SqlState::from_code(code)), Some(expect), "{code}");
        }
    }
}
