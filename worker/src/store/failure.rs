//! Why the store has no answer, sorted once: the client's mistake, the database's absence, a
//! statement that was stopped by what it asked for, or one that can never work.

use common::lanes::{Cause, Halt, Peer};
use protocol::Reject;
use tokio_postgres::error::SqlState;

/// Why the store has no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The client's mistake.
    #[error("{0}")]
    Reject(#[from] Reject),
    /// The database is away, restarts, has no room, or is not migrated yet: hold what you have and
    /// ask again.
    #[error("the store is unavailable: {0:#}")]
    Unavailable(anyhow::Error),
    /// The database is there and ended this statement alone: what it asked for is locked, too slow
    /// or too large. Others are not concerned. Ask for less, or later.
    #[error("the store ended a statement ({cause}): {1:#}", cause = .0.name())]
    Stuck(Cause, anyhow::Error),
    /// This can never work, however often it is asked.
    #[error("the store: {0:#}")]
    Fault(anyhow::Error),
}

/// What every function of the store answers.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A unique constraint, by its name, stands against it.
#[derive(Debug, thiserror::Error)]
#[error("the unique constraint {0} stands against it")]
struct Conflict(String);

/// The statement's own condition does not hold.
#[derive(Debug, thiserror::Error)]
#[error("something is not as it was remembered")]
struct Moved;

/// A limit of time came first, the server's or ours.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Late(String);

/// A write failed for want of room, or because the disk failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoRoom(String);

/// Whether a write failed for want of room: it says nothing about reads, which go on.
pub(super) fn is_full(err: &StoreError) -> bool {
    matches!(err, StoreError::Unavailable(err) if err.downcast_ref::<NoRoom>().is_some())
}

/// The name of the unique constraint that stands against a statement.
pub(crate) fn conflict(err: &StoreError) -> Option<&str> {
    match err {
        StoreError::Fault(err) => err.downcast_ref().map(|Conflict(name)| name.as_str()),
        _ => None,
    }
}

/// Whether nothing was done because something is not as it was remembered.
pub(crate) fn has_moved(err: &StoreError) -> bool {
    matches!(err, StoreError::Fault(err) if err.is::<Moved>())
}

/// The server is not the one that was meant.
pub(super) fn elsewhere() -> StoreError {
    StoreError::Fault(Moved.into())
}

/// Whether it took too long.
pub(super) fn is_late(err: &StoreError) -> bool {
    match err {
        StoreError::Stuck(Cause::Slow | Cause::Lock, _) => true,
        StoreError::Unavailable(err) => err.downcast_ref::<Late>().is_some(),
        _ => false,
    }
}

/// Our own limit of time came.
pub(super) fn late(what: &str) -> StoreError {
    StoreError::Unavailable(anyhow::Error::new(Late(what.to_owned())))
}

/// The server has forgotten the prepared statement or its table has changed: a new connection
/// prepares it anew.
pub(super) fn outdated(err: &tokio_postgres::Error) -> bool {
    matches!(err.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED | &SqlState::INVALID_SQL_STATEMENT_NAME))
}

/// Which of them it is.
pub(super) fn sort(err: tokio_postgres::Error) -> StoreError {
    let stuck = err.code().and_then(cause);
    let away = match err.code() {
        Some(code) => is_away(code),
        // Without a code it never reached the server, or the connection broke; what remains is a
        // value that does not fit its column.
        None => {
            err.is_closed()
                || std::error::Error::source(&err).is_some_and(|source| source.is::<std::io::Error>())
        }
    };
    // The public text of PostgreSQL's errors has no values; its detail does, so it is not kept.
    let fault = match err.as_db_error() {
        Some(db) if *db.code() == SqlState::UNIQUE_VIOLATION => {
            anyhow::Error::new(Conflict(db.constraint().unwrap_or_default().to_owned()))
        }
        // How a statement says it: it divides by zero.
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

/// What ended a statement alone. A full disk (53100) and too many connections (53300) end others as
/// well: those are absences.
fn cause(code: &SqlState) -> Option<Cause> {
    match code.code() {
        "55P03" => Some(Cause::Lock),
        "57014" => Some(Cause::Slow),
        "53200" | "53400" | "54001" => Some(Cause::Size),
        "40001" | "40P01" => Some(Cause::Conflict),
        _ => None,
    }
}

/// The disk is full (53100) or fails (58030), or the server takes no writes at all (25006).
fn lacks_room(code: &SqlState) -> bool {
    matches!(code.code(), "53100" | "58030" | "25006")
}

/// By class: connections (08), resources (53), the operator (57), the system (58), a transaction
/// that was rolled back (40) or idled too long (25P03), a replica that is not the primary yet
/// (25006); and a schema that is behind or closed to us, which its operator will mend.
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
            // Statements over a whole batch answer rejects for each of it.
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
