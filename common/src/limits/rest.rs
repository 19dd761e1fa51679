//! Bounds of REST: how much at once, and how often.

use protocol::limits::HISTORY_SIZE_MAX;

/// Requests that one worker works on at once, those of REST and of sockets together; over it, it answers `busy`. The
/// sum of the three below.
pub const API_REQUESTS_MAX: usize = 256;

/// Requests that events of sockets make (`sync`) among them: after a gateway is gone, all of its clients ask at
/// once.
pub const EVENT_REQUESTS_MAX: usize = 64;

/// Messages in one answer to `sync`, all conversations together: what fits an envelope.
pub const SYNC_TOTAL_MESSAGES_MAX: usize = 500;

/// Changed messages read for one answer to `sync`, all conversations together: what fits an envelope is
/// fewer. A conversation counts with [`SYNC_CHANGES_MAX`](protocol::limits::SYNC_CHANGES_MAX) and one at most, whatever happened in it.
pub const SYNC_TOTAL_CHANGES_MAX: usize = 1_000;

/// Requests for cheap routes among them: most wait for a hash, a lane or the directory.
pub const REST_CHEAP_REQUESTS_MAX: usize = 160;

/// Requests for heavy routes among them: each may hold a page of a megabyte.
pub const REST_HEAVY_REQUESTS_MAX: usize = 32;

/// REST requests of one person that one worker works on at once. A browser opens 6 connections; a few
/// devices start together.
pub const REST_PERSON_REQUESTS_MAX: usize = 16;

/// Heavy ones among them.
pub const REST_PERSON_HEAVY_MAX: usize = 4;

/// Single reads by one user: burst, then rate per second. Clients that start
/// send one per conversation shown.
pub const REST_READ_BURST: u32 = 200;
/// See [`REST_READ_BURST`].
pub const REST_READ_PER_S: f64 = 30.0;

/// Pages by one user, in units of [`REST_PAGE_ROWS`]: burst, then rate per second.
pub const REST_PAGE_BURST: u32 = 300;
/// See [`REST_PAGE_BURST`].
pub const REST_PAGE_PER_S: f64 = 30.0;
/// Rows that one unit of [`REST_PAGE_BURST`] pays for.
pub const REST_PAGE_ROWS: u32 = 100;

/// Changes by one user: burst, then rate per second.
pub const REST_WRITE_BURST: u32 = 100;
/// See [`REST_WRITE_BURST`].
pub const REST_WRITE_PER_S: f64 = 5.0;

/// Messages of one user over REST: burst, then rate per second.
pub const REST_SEND_BURST: u32 = 60;
/// See [`REST_SEND_BURST`].
pub const REST_SEND_PER_S: f64 = 10.0;

/// Messages that fit an answer whatever their content: 8,000 control characters take 48 KB as JSON, ten
/// attachments up to 246 KB.
pub const HISTORY_SIZE_SURE: u32 = 3;

/// Depth of numbered larger pages, in seqs: each needs the sizes of all pages before it.
/// `before` has no such limit.
pub const HISTORY_PAGED_SEQS_MAX: u64 = 20_000;

/// New conversations by one user: burst, then rate per second.
pub const CONVERSATIONS_BURST: u32 = 60;
/// See [`CONVERSATIONS_BURST`].
pub const CONVERSATIONS_PER_S: f64 = 0.2;

/// Members added to conversations by one user: burst (one group of the largest size), then rate
/// per second.
pub const MEMBERS_BURST: u32 = 6_000;
/// See [`MEMBERS_BURST`].
pub const MEMBERS_PER_S: f64 = 5.0;

/// Newest messages of a conversation in which the user's own message is searched, because everything
/// before it counts as read. An older one has hundreds of unread messages after it anyway.
pub const UNREAD_OWN_MAX: i64 = 500;

/// A conversation with a message this shortly before a page was read may be missing on it: a
/// writing statement takes no longer. Pages by cursor list it again.
pub const LIST_OVERLAP_MS: i64 = 10_000;

/// Conversations that a cursor lists as told of that time (about 15 bytes each). With more, that time is shorter.
pub const LIST_TOLD_MAX: usize = 200;

/// Conversations that one person has made and that still exist.
pub const CONVERSATIONS_MADE_MAX: i64 = 5_000;

const _: () = {
    assert!(MEMBERS_BURST as usize > crate::limits::PARTICIPANTS_MAX, "the largest group can be made");
    assert!(EVENT_REQUESTS_MAX + REST_CHEAP_REQUESTS_MAX + REST_HEAVY_REQUESTS_MAX == API_REQUESTS_MAX);
    assert!(HISTORY_SIZE_MAX / REST_PAGE_ROWS < REST_PAGE_BURST / 10, "the largest page can be paid for");
    assert!(REST_PERSON_REQUESTS_MAX * 4 <= REST_CHEAP_REQUESTS_MAX, "one person leaves room for others");
    assert!(REST_PERSON_HEAVY_MAX * 4 <= REST_HEAVY_REQUESTS_MAX, "one person leaves room for others");
};
