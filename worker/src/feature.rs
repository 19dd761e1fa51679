//! The vocabulary in which each folder of [`features`](crate::features) describes
//! what it adds. It knows none of them.

use common::lanes::{LaneEvent, Outcomes};
use futures_util::future::BoxFuture;
use protocol::events::ClientRow;

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
    /// The routes of REST.
    pub routes: &'static [Route],
    /// The statements of PostgreSQL, file by file.
    pub statements: &'static [&'static [Statement]],
}

/// An event that a feature handles.
#[derive(Clone, Copy, Debug)]
pub struct EventRow {
    /// The events.
    pub row: &'static ClientRow,
    /// The handler.
    pub handle: for<'a> fn(&'a Ctx, &'a [LaneEvent]) -> BoxFuture<'a, Outcomes>,
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
