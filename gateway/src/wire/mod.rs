//! Two wire forms, one event model: texts to [`Said`] and events to packets. Pure. How packets travel is
//! `transport`'s.
//!
//! `session.rs` decides without knowing the form; what differs between the forms is here, one
//! `match` per question. Nothing here panics, whatever a client sends, and what is read is lent
//! from the frame, not copied.

/// `{"event","data","id"?}`.
mod native;

/// Engine.IO v4 packets: open, ping, pong, message.
mod engineio;

/// Socket.IO v5 packets inside Engine.IO messages.
mod socketio;

/// The forms, and what differs between them.
mod form;

/// What a client said.
mod said;

/// Events and answers as packets.
mod reply;

pub use self::form::Form;
pub use self::reply::{ReplyTo, answer_packets, event_packet};
pub use self::said::{Misread, Said};
