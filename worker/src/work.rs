//! The vocabulary of handlers: what comes off a lane, what a handler is given, what it answers. Knows no
//! noun.

use common::bus::PublishError;
use common::directory::DirectoryError;
use protocol::{Origin, Reject, Sender, Timestamp, Uplink};

use crate::effects::Effects;
use crate::store::{Cause, StoreError};

/// An event off a lane.
#[derive(Clone, Debug)]
pub(crate) struct LaneEvent {
    /// Who said what, when.
    pub uplink: Uplink,
    /// It may have been worked on before, here or elsewhere, by somebody who did not live to tell
    /// anybody: what it asked for may be done and still has to be told.
    pub again: bool,
    /// The chat message it brings, if the way of messages is remembered.
    pub origin: Option<Origin>,
}

/// An event as its handler sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a, E> {
    pub from: &'a Sender,
    pub at: Timestamp,
    pub event: &'a E,
    pub again: bool,
    pub origin: Option<Origin>,
}

/// What a handler answers for each event of its run.
pub(crate) type Outcomes = Result<Vec<Result<Effects, Reject>>, Halt>;

/// Why a run could not be handled.
#[derive(Debug)]
pub(crate) enum Halt {
    /// A peer is away: hold what you have and try again.
    Away(Peer, anyhow::Error),
    /// The store is there, and ended the statement alone: find the key that is to blame, let its
    /// events wait apart, and go on with the others.
    Stuck(Cause, anyhow::Error),
    /// It can never work as it is: find the event that is to blame.
    Fault(anyhow::Error),
}

/// Whom a worker needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Store,
    Directory,
    Bus,
}

impl Peer {
    /// The value of the metric label `reason`, and the part in the readiness report.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Directory => "directory",
            Self::Bus => "bus",
        }
    }
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

impl From<DirectoryError> for Halt {
    fn from(err: DirectoryError) -> Self {
        Self::Away(Peer::Directory, err.into())
    }
}

impl From<PublishError> for Halt {
    fn from(err: PublishError) -> Self {
        Self::Away(Peer::Bus, err.into())
    }
}
