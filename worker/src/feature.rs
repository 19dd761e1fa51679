//! The vocabulary in which each folder of [`features`](crate::features) describes
//! what it adds. It knows none of them.

use common::lanes::{LaneEvent, Outcomes};
use futures_util::future::BoxFuture;
use protocol::events::{ClientRow, ServerEvent};
use protocol::{Downlink, Reject, Uplink};
use tokio_util::sync::CancellationToken;

use crate::ctx::Ctx;
use crate::rest::route::Route;
use crate::store::Statement;

/// What a feature adds to the worker. The router, the permission table, the tests of statements and
/// of documents read it from here.
#[derive(Debug)]
pub struct Feature {
    /// As its folder is called.
    pub name: &'static str,
    /// The events of clients over sockets, and their handlers.
    pub events: &'static [EventRow],
    /// The events that clients wait for an answer to, and what answers them.
    pub requests: &'static [RequestRow],
    /// The routes of REST.
    pub routes: &'static [Route],
    /// The statements of PostgreSQL, file by file.
    pub statements: &'static [&'static [Statement]],
    /// What runs once, before the worker consumes anything. A failure is logged; a task repeats the work.
    pub prepares: &'static [Prepare],
    /// Background tasks.
    pub tasks: &'static [Task],
    /// Functions that get each delivery to the worker's own node, as if it were a gateway.
    pub hears: &'static [Hear],
}

/// Runs once, before the worker consumes anything.
pub type Prepare = for<'a> fn(&'a Ctx) -> BoxFuture<'a, ()>;

/// Runs in the background until the token is cancelled, and ends soon after: the worker waits for it.
pub type Task = fn(Ctx, CancellationToken) -> BoxFuture<'static, ()>;

/// Gets each delivery to the worker's own node.
pub type Hear = fn(&Ctx, &Downlink<'_>);

impl Feature {
    /// A feature that adds nothing yet.
    pub const fn named(name: &'static str) -> Self {
        Self {
            name,
            events: &[],
            requests: &[],
            routes: &[],
            statements: &[],
            prepares: &[],
            tasks: &[],
            hears: &[],
        }
    }
}

/// An event that a feature handles.
#[derive(Clone, Copy, Debug)]
pub struct EventRow {
    /// The events.
    pub row: &'static ClientRow,
    /// The handler.
    pub handle: for<'a> fn(&'a Ctx, &'a [LaneEvent]) -> BoxFuture<'a, Outcomes>,
}

/// An event whose sender waits for an answer ([`Way::Request`](protocol::events::Way::Request)).
#[derive(Clone, Copy, Debug)]
pub struct RequestRow {
    /// The event that clients send.
    pub row: &'static ClientRow,
    /// Answers it.
    pub answer: for<'a> fn(&'a Ctx, &'a Uplink) -> BoxFuture<'a, Result<ServerEvent, Reject>>,
}

/// A row: events of this payload go to this function, which is given them as
/// [`Request`](common::lanes::Request)s. What cannot be read is refused alone.
#[macro_export]
macro_rules! on {
    ($payload:ty => $handler:path) => {
        $crate::feature::EventRow {
            row: <$payload as ::protocol::events::ClientEvent>::ROW,
            handle: |ctx, run| {
                ::std::boxed::Box::pin(async move {
                    let read = ::common::lanes::work::read::<$payload>(run);
                    let outcomes = $handler(ctx, &::common::lanes::work::requests(run, &read)).await?;
                    Ok(::common::lanes::work::in_place(read, outcomes))
                })
            },
        }
    };
}
pub use on;

/// A row: this function answers requests with this payload, `async fn(&Ctx, &Sender, &Payload) ->
/// Result<Answer, Reject>`, with the connections of cheap routes. What cannot be read is refused before.
#[macro_export]
macro_rules! asked {
    ($payload:ty => $handler:path) => {
        $crate::feature::RequestRow {
            row: <$payload as ::protocol::events::ClientEvent>::ROW,
            answer: |ctx, uplink| {
                ::std::boxed::Box::pin(async move {
                    let asked = <$payload as ::protocol::events::ClientEvent>::parse(&uplink.data)?;
                    Ok($handler(ctx, &uplink.from, &asked).await?.into())
                })
            },
        }
    };
}
pub use asked;
