//! The client protocol, and the messages between the programs. Pure: serde types only, no runtime.
//! PROTOCOL.md is this crate in prose; a test compares the two.

/// Newtypes for everything that has an identity.
pub mod ids;

/// Every limit that a client can see.
pub mod limits;

/// Accounts: the user of a token, and what other users see of it.
mod account;

/// Times, in the format of the protocol.
mod time;

/// The encoding of everything that travels between programs.
mod encoding;

/// Lane: how urgent an event is.
mod lane;

/// The events of clients and to clients: one file per noun, one table.
pub mod events;

/// Close codes and what each tells the client to do.
mod close;

/// Reject codes and their public sentences.
pub mod reject;

/// The tag by which a client recognizes an answer.
mod tag;

/// The identity of a chat message, in short.
mod origin;

/// Gateway to worker: an event with its sender.
mod uplink;

/// Worker to gateway: one encoded event for many sockets.
mod downlink;

/// The client's trace that a message belongs to.
mod context;

/// The operator's questions to every program, and their answers.
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

/// Version of the native wire form; `ready` contains it.
pub const PROTOCOL_VERSION: u32 = 1;
