//! Whether PostgreSQL has disk space to write (room).
//!
//! A `select` does not detect a full disk: reads still work, and so do writes that fit into existing pages.
//! So a write that failed for lack of space is remembered until [`can_write`] has written something that
//! needs new space.
//!
//! [`can_write`]: super::Store::can_write

use tokio::sync::watch;

use super::failure::StoreError;
use super::failure::is_full;
use super::pool::{Statement, statement};

/// Writes a megabyte into new pages of a table that is dropped with the transaction. It is not among the
/// store's `STATEMENTS`: there is no plan to check. A temporary table writes no WAL and fills none of the
/// product's tables; it leaves few dead rows in the catalogue: without trouble it runs every `WRITE_WATCH_MS`.
pub(super) const WRITE: Statement = statement(
    "write",
    "create temp table chatchit_room on commit drop as \
     select repeat(md5(n::text), 60) as filler from generate_series(1, 512) n",
);

/// The error of a write that found no space, None if there is none; shared by all clones of a store.
#[derive(Clone)]
pub(super) struct Room(watch::Sender<Option<String>>);

impl Room {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Remembers a write that failed for lack of space; ignores any other error.
    pub(super) fn note(&self, err: &StoreError) {
        if is_full(err) {
            self.0.send_if_modified(|lack| lack.replace(err.to_string()).is_none());
        }
    }
    /// Subscribes to the lack of space and to its end.
    pub(super) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }

    /// Forgets the lack of space, after a write that needed new space has succeeded.
    pub(super) fn regained(&self) {
        self.0.send_if_modified(|lack| lack.take().is_some());
    }
}
