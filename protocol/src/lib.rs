//! The client protocol, and what the programs say to each other. Pure: serde types only, no runtime.
//! PROTOCOL.md is this crate in prose; a test keeps the two together.

/// Newtypes for everything that has an identity.
pub mod ids;

/// Every bound that a client can see.
pub mod limits;

/// Accounts: who a token says is speaking, and how others see them.
mod account;

/// Moments, as the contract writes them.
mod time;

/// The bytes of what travels between programs.
mod encoding;

/// Lane: how urgent an event is.
mod lane;

/// What clients say and hear: one file per noun, one table.
pub mod events;

/// Close codes and what each tells the client to do.
mod close;

/// Reject codes and their public sentences.
pub mod reject;

/// How a client finds an answer again.
mod tag;

/// Which chat message something is about.
mod origin;

/// Gateway to worker: an event with its sender.
mod uplink;

/// Worker to gateway: one encoded event for many sockets.
mod downlink;

/// The client's trace that a message belongs to.
mod context;

/// An operator's questions to every program, and their answers.
pub mod control;

/// REST over the bus.
mod rest;

pub use self::account::{Account, Person, Role};
pub use self::close::{CloseCode, Next};
pub use self::context::TraceContext;
pub use self::downlink::{Control, Downlink, Forms, MessageOutcome, Recipients, Urgency};
pub use self::encoding::{BadBytes, decode, encode};
pub use self::lane::Lane;
pub use self::origin::Origin;
pub use self::reject::Reject;
pub use self::rest::{ApiRequest, ApiResponse, RequestHeaders, ResponseHeaders};
pub use self::tag::Tag;
pub use self::time::Timestamp;
pub use self::uplink::{Sender, Uplink};

/// Version of the native wire form, told to the client in `ready`.
pub const PROTOCOL_VERSION: u32 = 1;
