//! Every limit that a client can see, unit last, with its reason.

/// Largest WebSocket message of a client, all fragments together. It fits every chat message that the limits
/// below allow, also from an encoder that writes ASCII only: that one needs 12 bytes
/// (`\ud83d\ude00`) for a character beyond U+FFFF, and 3 for each byte of UTF-8 in a URL.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;

/// Largest message before the client is authenticated: a token with its envelope.
pub const FRAME_BYTES_BEFORE_AUTH_MAX: usize = 16 * 1024;

/// RFC 6455, 5.5: control frames carry at most this much.
pub const CONTROL_FRAME_BYTES_MAX: usize = 125;

/// Fragments of one message. No real client needs more.
pub const FRAGMENTS_MAX: usize = 64;

/// Between two pings of the server. Engine.IO's default, and below every common proxy timeout.
pub const HEARTBEAT_MS: u64 = 25_000;

/// How long the client may take to answer a ping.
pub const HEARTBEAT_TIMEOUT_MS: u64 = 20_000;

/// Conversations in one `sync`. A client asks for more in a second one.
pub const SYNC_CONVERSATIONS_MAX: usize = 1_000;

/// Messages returned for one conversation by `sync`; more missing than this is a `gap`.
pub const SYNC_MESSAGES_MAX: usize = 200;

/// Changed messages returned for one conversation by `sync`; more than this is a `gap`.
pub const SYNC_CHANGES_MAX: usize = 200;

/// A guid chosen by a client: a UUID is 36.
pub const GUID_BYTES_MAX: usize = 64;

/// Characters of a chat message. The original silently cut at 1,000; we refuse longer ones.
pub const CONTENT_CHARS_MAX: usize = 8_000;

/// Attachments of one chat message.
pub const ATTACHMENTS_MAX: usize = 10;

/// Bytes of an attachment's URL.
pub const URL_BYTES_MAX: usize = 2_048;

/// Participants of one conversation. The fan-out to more does not fit one envelope.
pub const PARTICIPANTS_MAX: usize = 5_000;

/// Participants shown with one conversation; `participantCount` is the number of all.
pub const PARTICIPANTS_SHOWN_MAX: i64 = 500;

/// Participants shown with each conversation of a list.
pub const PARTICIPANTS_LISTED_MAX: i64 = 20;

/// Messages of one page of a history. Larger than [`PAGE_SIZE_MAX`]: the original's client asks
/// for ever larger first pages instead of further ones.
pub const HISTORY_SIZE_MAX: u32 = 1_000;

/// Characters of the last message in a list of conversations.
pub const PREVIEW_CHARS_MAX: usize = 500;

/// Characters of an account's preferences, as JSON.
pub const PREFERENCES_CHARS_MAX: usize = 4_000;

/// Characters of a new password, at least.
pub const PASSWORD_CHARS_MIN: usize = 6;

/// Characters of a title, a name, an e-mail.
pub const NAME_CHARS_MAX: usize = 200;

/// Bytes of a password: argon2 and bcrypt cost grows with it (bcrypt ignores beyond 72).
pub const PASSWORD_BYTES_MAX: usize = 128;

/// Rows of one page of any list.
pub const PAGE_SIZE_MAX: i64 = 100;

/// Body of a REST request: a chat message as in a frame, or a group of [`PARTICIPANTS_MAX`].
pub const HTTP_BODY_BYTES_MAX: usize = 256 * 1024;

/// Bytes of an access token: ours are about 400.
pub const TOKEN_BYTES_MAX: usize = 4 * 1024;

/// A user counts as online for this long after the last socket closed, so that contacts do not notice a reload,
/// a tunnel, or a replaced gateway.
pub const PRESENCE_GRACE_MS: u64 = 15_000;

/// A user who keeps typing is announced again after this long, however fast the keys are pressed. Shorter
/// than the time for which clients show it.
pub const TYPING_REPEAT_MS_MIN: u64 = 1_000;

/// How long a client that hears `busy` should wait.
pub const BUSY_RETRY_MS: u64 = 1_000;

/// Bytes of each header of a REST request that reaches a route; a longer one is ignored. Browsers write
/// `Accept-Language` in at most about 100.
pub const REST_HEADER_BYTES_MAX: usize = 512;

const _: () = {
    let content = 12 * CONTENT_CHARS_MAX;
    // A file and its thumbnail.
    let attachments = ATTACHMENTS_MAX * 2 * 3 * URL_BYTES_MAX;
    let names_and_numbers = 4 * 1024;
    assert!(content + attachments + names_and_numbers <= FRAME_BYTES_MAX, "a legal message fits a frame");
    assert!(FRAME_BYTES_MAX <= HTTP_BODY_BYTES_MAX, "what a socket takes, REST takes");
    // {"userId":9007199254740991,"type":"MEMBER"},
    assert!(PARTICIPANTS_MAX * 45 <= HTTP_BODY_BYTES_MAX, "a group fits the request that makes it");
    assert!(TOKEN_BYTES_MAX + 4 * 1024 <= FRAME_BYTES_BEFORE_AUTH_MAX);
};
