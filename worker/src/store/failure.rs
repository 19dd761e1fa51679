//! Why the store has no answer, sorted once: the client's mistake, the database's absence, or a
//! statement that can never work.

use protocol::Reject;
use tokio_postgres::error::SqlState;

/// Why the store has no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The client's mistake.
    #[error("{0}")]
    Reject(#[from] Reject),
    /// The database is away, restarts, is overloaded, or is not migrated yet: hold what you have
    /// and ask again.
    #[error("the store is unavailable: {0:#}")]
    Unavailable(anyhow::Error),
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

/// A limit of time came first, the server's or ours.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Late(String);

/// The name of the unique constraint that stands against a statement.
pub(crate) fn conflict(err: &StoreError) -> Option<&str> {
    match err {
        StoreError::Fault(err) => err.downcast_ref().map(|Conflict(name)| name.as_str()),
        _ => None,
    }
}

/// Whether it took too long.
pub(super) fn is_late(err: &StoreError) -> bool {
    matches!(err, StoreError::Unavailable(err) if err.downcast_ref::<Late>().is_some())
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

/// Which of the two it is.
pub(super) fn sort(err: tokio_postgres::Error) -> StoreError {
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
        Some(db) => {
            let words = format!("{} ({})", db.message(), db.code().code());
            if *db.code() == SqlState::QUERY_CANCELED {
                anyhow::Error::new(Late(words))
            } else {
                anyhow::Error::msg(words)
            }
        }
        None => anyhow::Error::new(err),
    };
    if away { StoreError::Unavailable(fault) } else { StoreError::Fault(fault) }
}

/// By class: connections (08), resources (53), the operator or a limit (57), the system (58),
/// conflicts that a repeat resolves (40, 55P03), a transaction that idled too long (25P03), a
/// replica that is not the primary yet (25006); and a schema that is behind or closed to us, which
/// its operator will mend.
fn is_away(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    matches!(class, "08" | "53" | "57" | "58" | "40" | "28" | "3D")
        || matches!(
            *code,
            SqlState::LOCK_NOT_AVAILABLE
                | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
                | SqlState::READ_ONLY_SQL_TRANSACTION
                | SqlState::UNDEFINED_TABLE
                | SqlState::UNDEFINED_COLUMN
                | SqlState::UNDEFINED_FUNCTION
                | SqlState::INSUFFICIENT_PRIVILEGE
                | SqlState::FEATURE_NOT_SUPPORTED
                | SqlState::INVALID_SQL_STATEMENT_NAME
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absence_is_told_from_what_can_never_work() {
        let away = [
            "08006", "53300", "57P01", "57P02", "57P03", "57014", "40001", "40P01", "55P03", "25006",
            "25P03", "42P01",
        ];
        for code in away {
            assert!(is_away(&SqlState::from_code(code)), "{code}");
        }
        for code in ["22021", "23505", "23514", "42601", "54000", "XX000"] {
            assert!(!is_away(&SqlState::from_code(code)), "{code}");
        }
    }
}
