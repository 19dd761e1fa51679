//! Two wire forms, one event model: texts to [`Said`] and events to packets. Pure. How packets travel is
//! `transport`'s.
//!
//! `session.rs` decides without knowing the form; the differences between the forms are here, one
//! `match` per question. Nothing here panics, whatever a client sends, and parsed values borrow
//! from the frame.

/// `{"event","data","id"?}`.
mod native;

/// Engine.IO v4 packets: open, ping, pong, message.
mod engineio;

/// Socket.IO v5 packets inside Engine.IO messages.
mod socketio;

/// The forms, and what differs between them.
mod form;

/// What a client sent.
mod said;

/// Events and answers as packets.
mod reply;

pub use self::form::Form;
pub use self::reply::{ReplyTo, answer_packets, event_packet};
pub use self::said::{Misread, Said};
