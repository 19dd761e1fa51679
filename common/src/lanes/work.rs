//! The vocabulary of handlers: the events of a lane, the requests that a handler gets, and its results. Knows no
//! noun.

use protocol::events::ClientEvent;
use protocol::ids::Guid;
use protocol::{Origin, Reject, Sender, Tag, Timestamp, TraceContext, Uplink};

use crate::bus::PublishError;
use crate::directory::DirectoryError;
use crate::lanes::effects::Effects;

/// An event from a lane.
#[derive(Clone, Debug)]
pub struct LaneEvent {
    /// An event with its sender and its time.
    pub uplink: Uplink,
    /// Another attempt may have worked on it before, here or on another worker, and died before it
    /// delivered: its changes may be committed and still have to be delivered.
    pub again: bool,
    /// The chat message that it carries, if `trace` is on.
    pub origin: Option<Origin>,
}

/// An event as its handler sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a, E> {
    /// The sender.
    pub from: &'a Sender,
    /// The time when a gateway accepted it.
    pub at: Timestamp,
    /// The event.
    pub event: &'a E,
    /// It may have been handled before; see [`LaneEvent::again`].
    pub again: bool,
    /// The chat message that it carries, if `trace` is on.
    pub origin: Option<Origin>,
    /// The guid of the chat message that it carries.
    pub guid: Option<&'a Guid>,
    /// The trace it belongs to.
    pub context: Option<TraceContext>,
    /// The tag by which the client recognizes the answer.
    pub tag: Option<&'a Tag>,
}

/// Parses the events of a run. An event that cannot be parsed is refused alone.
pub fn read<E: ClientEvent>(run: &[LaneEvent]) -> Vec<Result<E, Reject>> {
    run.iter().map(|event| E::parse(&event.uplink.data)).collect()
}

/// The events that could be parsed, as their handler sees them.
pub fn requests<'a, E>(run: &'a [LaneEvent], read: &'a [Result<E, Reject>]) -> Vec<Request<'a, E>> {
    let readable = run.iter().zip(read).filter_map(|(LaneEvent { uplink, again, origin }, event)| {
        let Uplink { from, at, guid, context, tag, .. } = uplink;
        let (guid, tag) = (guid.as_ref(), tag.as_ref());
        let event = event.as_ref().ok()?;
        Some(Request { from, at: *at, event, again: *again, origin: *origin, guid, context: *context, tag })
    });
    readable.collect()
}

/// Merges the handler's outcomes with the refusals of the events that could not be parsed, in order.
pub fn in_place<E>(
    read: Vec<Result<E, Reject>>,
    outcomes: Vec<Result<Effects, Reject>>,
) -> Vec<Result<Effects, Reject>> {
    let mut outcomes = outcomes.into_iter();
    // A handler answers for each event it was given: none is missing.
    read.into_iter().map(|event| event.and_then(|_| outcomes.next().unwrap_or(Err(Reject::Failed)))).collect()
}

/// The result of a handler for each event of its run.
pub type Outcomes = Result<Vec<Result<Effects, Reject>>, Halt>;

/// Why a run could not be handled.
#[derive(Debug)]
pub enum Halt {
    /// A peer is away: hold the run and retry.
    Away(Peer, anyhow::Error),
    /// The store works and ended only this statement: find the key that causes it, let its
    /// events wait apart, and go on with the others.
    Stuck(Cause, anyhow::Error),
    /// The run can never work as it is: find the faulty event.
    Fault(anyhow::Error),
}

/// Why the database ended a statement although it is reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Another transaction held a row or a table for too long.
    Lock,
    /// It exceeded the statement timeout, or an operator cancelled it.
    Slow,
    /// It needed more memory or temporary space than the server gives to one.
    Size,
    /// It was in a deadlock, or other transactions changed the rows that it had read (serialization failure).
    Conflict,
}

impl Cause {
    /// The value of the metric label `reason`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Slow => "slow",
            Self::Size => "size",
            Self::Conflict => "conflict",
        }
    }
}

/// The peers that a handler needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// PostgreSQL.
    Store,
    /// Redis.
    Directory,
    /// RabbitMQ.
    Bus,
}

impl Peer {
    /// The value of the metric label `reason`, and the part in the readiness report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Directory => "directory",
            Self::Bus => "bus",
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
