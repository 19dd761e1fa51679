//! What a client did wrong: code, public sentence, what to do next. One table.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! rejects {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $sentence:literal;)*) => {
        /// A mistake of the client. The server answers it and never retries it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Reject { $($(#[$doc])* $name,)* }

        impl Reject {
            /// All rejects; PROTOCOL.md lists each.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code that a client may compare.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status of the same reject over REST.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The sentence for a person.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

rejects! {
    /// Not JSON, or not the wire form's shape.
    Malformed = "malformed", 400, "The frame is not understood.";
    /// JSON, but a field is missing, of the wrong type or out of range.
    Invalid = "invalid", 400, "A field is missing, of the wrong type or out of range.";
    /// No such event.
    UnknownEvent = "unknown_event", 404, "Unknown event.";
    /// The data exceeds a limit.
    TooLarge = "too_large", 413, "The data is larger than allowed. Send less.";
    /// Too many events from this socket or this user.
    RateLimited = "rate_limited", 429, "Too many events at once. Wait, then repeat.";
    /// The cluster cannot accept it now. Repeat under the same guid after `retryInMs`.
    Busy = "busy", 503, "The server is busy. Repeat under the same guid.";
    /// The token is missing, malformed, forged, expired or revoked.
    Unauthorized = "unauthorized", 401, "The token is missing, invalid or expired. Log in, or refresh it.";
    /// The sender is not a verified participant of the conversation, or it does not exist.
    NotAMember = "not_a_member", 403, "You are not a member of this conversation.";
    /// One of the two has blocked the other.
    Blocked = "blocked", 403, "You cannot write to this person.";
    /// The named thing does not exist, or the sender may not see it.
    NotFound = "not_found", 404, "Not found: it does not exist, or you may not see it.";
    /// The server failed, finally, after its retries.
    Failed = "failed", 500, "Internal error: the server failed to process this.";
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for Reject {}
