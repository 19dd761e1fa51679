//! Whether PostgreSQL has room to write.
//!
//! A full disk is not seen by asking: reads go on, and so do writes that fit into what is there. So a
//! write that failed for want of room is remembered until [`can_write`] has written something
//! that needs new room.
//!
//! [`can_write`]: super::Store::can_write

use tokio::sync::watch;

use super::failure::StoreError;
use super::failure::is_full;
use super::pool::{Statement, statement};

/// Writes a megabyte into new pages of a table that is gone with the statement. It is not among the
/// store's `STATEMENTS`: there is no plan to look at. A temporary table costs no log and fills no
/// file of ours; its rows in the catalogue are few, because this runs only while something is wrong.
pub(super) const WRITE: Statement = statement(
    "write",
    "create temp table chatchit_room on commit drop as \
     select repeat(md5(n::text), 60) as filler from generate_series(1, 512) n",
);

/// What the last failed write said; shared by all clones of a store.
#[derive(Clone)]
pub(super) struct Room(watch::Sender<Option<String>>);

impl Room {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Remembers a write that had no room.
    pub(super) fn note(&self, err: &StoreError) {
        if is_full(err) {
            self.0.send_if_modified(|lack| lack.replace(err.to_string()).is_none());
        }
    }
    /// Hears of lack and of its end.
    pub(super) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }

    /// A write was seen to succeed.
    pub(super) fn regained(&self) {
        self.0.send_if_modified(|lack| lack.take().is_some());
    }
}
