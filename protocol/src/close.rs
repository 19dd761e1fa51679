//! Why a socket is closed, and what that tells the client to do. One table.

macro_rules! closes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal, $next:ident;)*) => {
        /// A close code (RFC 6455, 7.4; 4000-4999 are ours).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum CloseCode { $($(#[$doc])* $name,)* }

        impl CloseCode {
            /// All close codes; PROTOCOL.md lists each.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The number on the wire.
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $code,)* }
            }

            /// The reason on the wire, and the value of the metric label `reason`.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// What the client should do.
            pub const fn next(self) -> Next {
                match self { $(Self::$name => Next::$next,)* }
            }
        }
    };
}

/// What a client does after a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Connect again, with back-off, and `sync` from the last seqs.
    Resume,
    /// Get a new token first.
    Authenticate,
    /// Do not reconnect automatically: the result would be the same.
    Stop,
}

closes! {
    /// The client closed the socket, or asked for it.
    Normal = 1000, "normal", Stop;
    /// The gateway drains: reconnect through another gateway.
    GoingAway = 1001, "going_away", Resume;
    /// RFC 6455 was violated.
    ProtocolError = 1002, "protocol_error", Stop;
    /// The client sent data that the gateway does not accept (binary).
    Unsupported = 1003, "unsupported", Stop;
    /// A text frame was not UTF-8.
    BadUtf8 = 1007, "bad_utf8", Stop;
    /// A message over the limit.
    TooLarge = 1009, "too_large", Stop;
    /// The server failed.
    Fault = 1011, "fault", Resume;
    /// The client is too slow: the outbox was full, or the client began a message and did not finish it
    /// within a heartbeat. `sync` brings what it missed.
    Slow = 4000, "slow", Resume;
    /// The client did not answer a ping in time.
    NoPong = 4001, "no_pong", Resume;
    /// The client sends far more than its rate allows.
    RateLimited = 4029, "rate_limited", Resume;
    /// Newer sockets of the same login or user took its place, because a gateway limits their number.
    Replaced = 4409, "replaced", Stop;
    /// No valid token within the handshake's deadline.
    HandshakeTimeout = 4408, "handshake_timeout", Authenticate;
    /// The token is missing, invalid, expired.
    Unauthorized = 4501, "unauthorized", Authenticate;
    /// The login was ended: logout, refresh token reuse, password change, block.
    LoggedOut = 4503, "logged_out", Authenticate;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_labels_are_unique() {
        let mut numbers: Vec<_> = CloseCode::ALL.iter().map(|code| code.number()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), CloseCode::ALL.len());
    }
}
