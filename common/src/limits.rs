//! Every bound in the system, unit last, with the reason beside it. Relations are asserted.
//! What clients can see of them stands in [`protocol::limits`] and is named here as well.

/// Of what operators use.
mod operators;

/// Of REST.
mod rest;

pub use self::operators::*;
pub use self::rest::*;
pub use protocol::limits::*;

// ---- Frames and sockets -------------------------------------------------------------------

/// Bytes that may wait for one socket in any case: above it the gateway closes the socket at once. As much
/// as a busy room of fifty sends while the task of a socket waits for its turn.
pub const OUTBOX_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes that may wait for one socket without a question of time. Twice the largest event and then
/// some.
pub const OUTBOX_LATE_BYTES: usize = 256 * 1024;

/// The same when the gateway holds [`OUTBOXES_BYTES_MAX`].
pub const OUTBOX_LATE_BYTES_MIN: usize = 16 * 1024;

/// When more waits, how long a client may take for it before it is too slow: one that takes 26 KB/s
/// never is.
pub const OUTBOX_LATE_MS: u64 = 10_000;

/// Bytes that wait for all sockets of a gateway together. Frames are shared between outboxes and
/// counted in each: one message of 32 KB to a room of 5,000 counts 160 MB for a moment.
pub const OUTBOXES_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Above this the outbox sheds what is stale (typing, presence) before anything else.
pub const OUTBOX_SHED_BYTES: usize = 64 * 1024;

/// What the kernel may hold unsent for one socket (`TCP_NOTSENT_LOWAT`): with the default, a
/// stalled reader hides megabytes there before the outbox notices.
pub const SOCKET_UNSENT_BYTES_MAX: u32 = 16 * 1024;

/// From the first byte of the TCP connection to an authenticated socket.
pub const HANDSHAKE_MS_MAX: u64 = 5_000;

/// Sockets that one gateway opens per second. A core upgrades tens of thousands; this is what the
/// directory and the sockets already here do not notice.
pub const UPGRADES_PER_S: u32 = 5_000;

/// Sockets per second that one client address opens at one gateway: a tenth of the gateway's budget.
pub const ADDRESS_UPGRADES_PER_S: u32 = 500;

/// The same, at once: a part of the office comes back after its line was away.
pub const ADDRESS_UPGRADES_BURST: u32 = 1_000;

/// Connections of one client address at one gateway: an office of a thousand people with five tabs each.
pub const ADDRESS_LINES_MAX: u32 = 5_000;

/// Sockets of one login at one gateway: the tabs of a browser that is never closed.
pub const LOGIN_SOCKETS_MAX: usize = 20;

/// Sockets of one user at one gateway: several devices with all their tabs.
pub const USER_SOCKETS_MAX: usize = 100;

/// Sockets per second that all draining gateways of a cluster together move to the others: half of
/// what one of them opens, so that other new clients are not refused.
pub const RECONNECTS_PER_S: u32 = 2_500;

/// The longest drain. Enough for 70,000 sockets at [`RECONNECTS_PER_S`]; few sockets take less.
pub const DRAIN_MS_MAX: u64 = 30_000;

/// How long a moved socket stays open after its announced time, while the client opens the next
/// one.
pub const GOING_AWAY_GRACE_MS_MAX: u64 = 1_000;

/// A gateway whose runtime lags more than this opens no socket.
pub const ADMISSION_LAG_MS_MAX: u64 = 500;

/// Users that may wait to be written to the directory before no more are taken: several seconds
/// of writes, and less than the handshake's deadline.
pub const SEATS_WAITING_MAX: usize = 20_000;

/// The longest `Retry-After` of a refused upgrade, seconds.
pub const ADMISSION_RETRY_S_MAX: u64 = 5;

/// Time for the last frame of a socket to be written, and for the peer to end its side.
pub const CLOSE_MS_MAX: u64 = 2_000;

/// Events of all sockets of one user on one node.
pub const USER_EVENTS_PER_S: u32 = 100;

/// The same, at once.
pub const USER_EVENTS_BURST: u32 = 200;

/// From the first byte of a request's body to its last.
pub const HTTP_BODY_MS_MAX: u64 = 10_000;

// ---- What one socket may do ---------------------------------------------------------------

/// Frames per second that a socket may send continuously. A fast typist's keystrokes, each an event,
/// are about fifteen.
pub const SOCKET_FRAMES_PER_S: u32 = 50;

/// Frames at once: what a client sends when it returns from a tunnel.
pub const SOCKET_FRAMES_BURST: u32 = 200;

/// Bytes of text per second, continuously.
pub const SOCKET_BYTES_PER_S: u32 = 64 * 1024;

/// Bytes of text at once: two of the largest frames.
pub const SOCKET_BYTES_BURST: u32 = 512 * 1024;

/// Refused or unreadable frames per second that a socket survives.
pub const SOCKET_VIOLATIONS_PER_S: u32 = 2;

/// Refused or unreadable frames at once; the next one closes the socket.
pub const SOCKET_VIOLATIONS_BURST: u32 = 100;

/// Between two relayed `typing` of a socket in one conversation: the original's client sends one
/// per keystroke and shows it for three seconds.
pub const TYPING_MS_MIN: u64 = 1_000;

// ---- Passwords and REST -------------------------------------------------------------------

/// Passwords that wait for a core to be hashed on; beyond this a login hears `busy`.
pub const PASSWORDS_WAITING_MAX: usize = 64;

/// Passwords from one address that one worker hashes or has in line at once: a quarter of the line.
pub const PASSWORDS_OF_NETWORK_MAX: usize = 16;

/// How long a spent refresh token may be used again for the same successor: for two tabs,
/// and for a client whose answer was lost (30 s: a request's deadline and two repeats).
pub const REFRESH_GRACE_MS: u64 = 30_000;

/// Addresses remembered for each account where its right password was given: the latest.
pub const KNOWN_ADDRESSES_MAX: i64 = 32;

/// Interval of a worker's checks for ended logins: the delay until gateways know the end of a login that an
/// operator wrote into the database.
pub const ENDED_LOGINS_LOOK_MS: u64 = 5_000;

/// A look goes so far back: more than a failover of the directory loses, and than a worker pauses.
pub const ENDED_LOGINS_RECENT_MS: u64 = 300_000;

/// How long after the last check the directory is assumed to know all ended logins.
pub const ENDED_LOGINS_MARK_MS: u64 = 60_000;

/// Ended logins read by one statement.
pub const ENDED_LOGINS_PAGE: i64 = 5_000;

/// Body of an answer to a REST request; a history is cut to fit. One AMQP message carries it.
pub const API_ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of answers over REST that wait for all clients of a gateway together.
pub const ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The same, for one client address: eight of the largest answers.
pub const ADDRESS_ANSWERS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Answers up to this size are given also when much waits: errors, and what a send is answered.
pub const ANSWER_BYTES_SMALL: usize = 4 * 1024;

/// How long a client may take for an answer when few wait; the largest then asks for 35 KB/s.
pub const ANSWER_MS_MAX: u64 = 30_000;

/// How long a connection is kept for the next request. Longer than proxies keep theirs (60 s, 65 s):
/// otherwise a request meets the end of its connection, and the proxy answers 502.
pub const HTTP_IDLE_MS_MAX: u64 = 75_000;

/// Messages sent over REST that one worker waits for.
pub const REST_SENDS_MAX: usize = 1_024;

/// How long a message sent over REST may take through its lane before the sender hears `busy`.
pub const REST_SEND_MS_MAX: u64 = 8_000;

/// Headers of a request together.
pub const HTTP_HEADER_BYTES_MAX: usize = 16 * 1024;

// ---- Plumbing -----------------------------------------------------------------------------

/// Shard queues of a lane that keeps order. Fixed: it names queues. Changing it is a migration
/// (drain the lanes first), because a conversation would move to another queue.
pub const LANE_SHARDS: u16 = 8;

/// Envelopes in one AMQP message: the cost of a broker message is per message, and beyond this
/// the gain is spent.
pub const BATCH_ENVELOPES_MAX: usize = 256;

/// Bytes in one AMQP message; far under RabbitMQ 4's 16 MiB.
pub const BATCH_BYTES_MAX: usize = 384 * 1024;

/// AMQP messages of one process unconfirmed per lane, all shards together; per shard it is one.
/// What gathers meanwhile is the next batch. Fewer make batches larger and cheaper, more use more
/// of the broker's cores (measured: ARCHITECTURE.md).
pub const LANE_BATCHES_UNCONFIRMED_MAX: usize = 3;

/// Envelopes below which a batch of a lane is small: it waits while any batch of its lane is
/// unconfirmed. The broker pays for each AMQP message, a third of a millisecond of a core, whatever
/// its size.
pub const LANE_BATCH_ENVELOPES_SMALL: usize = 64;

/// The longest such wait, counted from the last small batch: the limit where confirms are slow.
pub const LANE_BATCH_GAP_MS: u64 = 4;

/// Users up to which a room is small: all that a piece tells then goes out together, after one look-up of
/// at most about a millisecond. A larger room's sender hears before its members are looked up.
pub const ROOM_USERS_SMALL: usize = 512;

/// Events below which a piece of work is small: it waits while another of its lane runs. A piece
/// costs PostgreSQL and the worker about two milliseconds whatever its size.
pub const WORK_EVENTS_SMALL: usize = 128;

/// The longest such wait, counted from the start of the lane's last piece: a piece may be held for minutes.
pub const WORK_GAP_MS: u64 = 10;

/// Unconfirmed AMQP messages per destination other than a lane.
pub const BATCHES_UNCONFIRMED_MAX: usize = 4;

/// Envelopes that may wait in one process for one queue, unconfirmed ones included. Beyond this
/// publishing answers `busy`: this is the back-pressure.
pub const PUBLISH_WINDOW_ENVELOPES_MAX: usize = 8 * 1024;

/// How long a publisher waits for the broker's confirm before its caller hears `busy`. The
/// envelope stays in the window; a later confirm still counts.
pub const PUBLISH_BUSY_MS: u64 = 200;

/// When a confirm is this late, the connection is taken for dead and rebuilt.
pub const PUBLISH_CONFIRM_MS_MAX: u64 = 10_000;

/// Largest single envelope: a frame or the body of a request, and what the gateway adds.
pub const ENVELOPE_BYTES_MAX: usize = 320 * 1024;

/// AMQP messages a lane consumer may hold unacknowledged per shard. Below load they carry few
/// envelopes each, and a worker that is behind must see enough of them to make one piece of work.
pub const LANE_PREFETCH: u16 = 64;

/// The low lane's queue: beyond this the oldest go (`drop-head`), counted by the broker.
pub const LOW_LANE_BATCHES_MAX: u32 = 20_000;

/// Typing older than this is worth nothing.
pub const LOW_LANE_TTL_MS: u32 = 5_000;

/// Delays of the retry ladder; after the last one an envelope goes to quarantine.
pub const RETRY_LADDER_MS: [u32; 5] = [100, 500, 2_000, 5_000, 10_000];

/// Envelopes that may wait in one process for a plain subscriber; beyond this the oldest go and
/// the subscriber hears of a lapse.
pub const SUBSCRIPTION_ENVELOPES_MAX: usize = 64 * 1024;

/// Requests of one process that may wait for their answer at once.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 4 * 1024;

/// Requests a member of a queue group may hold unanswered.
pub const GROUP_PREFETCH: u16 = 256;

/// From the start of a drain of the bus to its end: what is not acknowledged or flushed by then
/// comes again elsewhere.
pub const BUS_DRAIN_MS_MAX: u64 = 5_000;

/// A request over the bus without its own deadline.
pub const REQUEST_MS_MAX: u64 = 10_000;

// ---- Directory ----------------------------------------------------------------------------

/// The lease of a node. Renewed every third of it; without it, everything on the node is gone.
pub const NODE_LEASE_MS: u64 = 6_000;

/// How long leases stay valid when no program could renew one, because Redis was away. Longer than a failover
/// takes with the usual `cluster-node-timeout` of 5 to 15 s.
pub const LEASE_GRACE_MS: u64 = 30_000;

/// How long a list of live nodes may be used: for this long, deliveries still go to a dead node.
pub const LIVE_NODES_MS_MAX: u64 = 500;

/// Hash-tag buckets for users, and for conversations: the number of commands a look-up of many
/// costs at most, and over how many masters they can spread. A command costs the asker about
/// 10 µs, so few are better (measured: ARCHITECTURE.md).
pub const DIRECTORY_BUCKETS: u16 = 16;

/// Any single answer of Redis; a call that needs several in a row may take as many times this.
pub const DIRECTORY_MS_MAX: u64 = 1_000;

/// Finding the cluster and connecting to all its nodes.
pub const DIRECTORY_CONNECT_MS_MAX: u64 = 5_000;

/// Users or conversations in one command: a script of this many holds a master for about a
/// millisecond.
pub const DIRECTORY_FIELDS_MAX: usize = 500;

/// Commands of one call under way at once.
pub const DIRECTORY_COMMANDS_MAX: usize = 64;

/// Seats of a bucket looked at in one step of the sweep, at each renewal of a lease.
pub const DIRECTORY_SWEEP_FIELDS: usize = 50;

/// The same when a node has died and all of its users are looked for at once.
pub const DIRECTORY_REAP_FIELDS: usize = 500;

/// How long one program may take to find the users of a dead node before another one may try.
pub const DIRECTORY_REAP_MS_MAX: u64 = 10_000;

// ---- Presence -----------------------------------------------------------------------------

/// Interval of a worker's checks for users who came online or went offline.
pub const PRESENCE_TICK_MS: u64 = 500;

/// Users announced in one go, by one statement.
pub const PRESENCE_USERS_MAX: usize = 100;

/// Time for a worker that has claimed announcements; after that another worker claims them.
pub const PRESENCE_CLAIM_MS: u64 = 10_000;

/// A worker stops announcing after this long, because another worker may claim the same users by then.
pub const PRESENCE_TELL_MS_MAX: u64 = 8_000;

/// Participants of a conversation whose members see each other come and go; larger ones show no
/// presence: its cost grows with their square.
pub const PRESENCE_PARTICIPANTS_MAX: usize = 100;

/// Conversations of a user through which its presence is seen: first those it takes part in, then the
/// last active.
pub const PRESENCE_CONVERSATIONS_MAX: usize = 200;

/// Contacts of a user for presence, in both directions: as many as fit an envelope.
pub const PRESENCE_CONTACTS_MAX: usize = 5_000;

// ---- Store --------------------------------------------------------------------------------

/// One SQL statement on the hot path: the server ends it then.
pub const STATEMENT_MS_MAX: u64 = 5_000;

/// How much longer the worker waits for an answer: the server's own end of the statement should come first,
/// because it contains the reason.
pub const STATEMENT_GRACE_MS: u64 = 1_000;

/// Waiting for one lock. Shorter than a statement, so that the error names the lock; and short,
/// because the conversations of a piece wait together while the worker searches for the locked one.
pub const LOCK_MS_MAX: u64 = 1_500;

/// A migration waiting for one lock: longer than PostgreSQL's `deadlock_timeout` (1 s), after which an
/// autovacuum that stands in the way ends itself.
pub const MIGRATION_LOCK_MS_MAX: u64 = 4_000;

/// A transaction in which nothing is asked: its program is gone, and others want its locks. Longer
/// than a program waits for an answer.
pub const TRANSACTION_IDLE_MS_MAX: u64 = 10_000;

/// Waiting for a connection, new or from the pool.
pub const STORE_WAIT_MS_MAX: u64 = 2_000;

/// Connections of one worker to PostgreSQL, for the lanes.
pub const STORE_CONNECTIONS_MAX: usize = 8;

/// Connections of one worker for cheap routes and `sync`: a few rows each, so few are enough.
pub const STORE_CONNECTIONS_REST: usize = 4;

/// Connections of one worker for heavy routes: what all of them together may cost PostgreSQL.
pub const STORE_CONNECTIONS_HEAVY: usize = 4;

/// A migration's statement, and all of a migration together with waiting for another program that
/// migrates: a large table may be rewritten.
pub const MIGRATION_MS_MAX: u64 = 600_000;

/// Waiting for a connection to the read replica, and once more for its answer: what the primary
/// can answer itself is not worth more.
pub const REPLICA_MS_MAX: u64 = 500;

/// For how long a replica that did not answer is not asked.
pub const REPLICA_PAUSE_MS: u64 = 5_000;

// ---- Worker -------------------------------------------------------------------------------

/// Interval of a worker's heartbeats: how fast a new worker gets its share of the shards.
pub const BEAT_MS: u64 = 1_000;

/// A worker silent for this many beats is counted no more.
pub const BEATS_MISSED_MAX: u32 = 3;

/// First pause of a worker that holds a batch because a peer is away; doubled up to the longest.
pub const HOLD_MS_MIN: u64 = 25;

/// Longest pause: how late a worker notices that the peer is back, or that it shall let go.
pub const HOLD_MS_MAX: u64 = 1_000;

/// First pause of a conversation whose statements the store ends; doubled up to the longest. One try
/// after each pause costs its shard [`LOCK_MS_MAX`] or [`STATEMENT_MS_MAX`].
pub const APART_MS_MIN: u64 = 4_000;

/// Longest pause: how late its events get through after the cause is gone.
pub const APART_MS_MAX: u64 = 30_000;

/// The rung of the retry ladder round which its events go: one for all, so that they keep their order.
pub const APART_RUNG: u8 = 2;

/// How long an event that went round the ladder is waited for by those of its conversation behind it: 30
/// times its rung. Longer, and it is lost or on another worker.
pub const APART_ORDER_MS: u64 = 60_000;

/// Events of one conversation on the retry ladder whose order a worker remembers (16 bytes each).
pub const APART_ORDER_MAX: usize = 4_000;

/// Conversations that may wait apart in one worker. Beyond this they are searched for each time.
pub const APART_KEYS_MAX: usize = 10_000;

/// Members of all remembered conversations together (about 200 bytes each), and one for each conversation.
/// Over it, the half that was used longest ago is forgotten.
pub const OWNER_MEMBERS_MAX: usize = 500_000;

/// Guids written lately that a worker remembers (about 150 bytes each): a repeat of these costs no look-up.
pub const OWNER_GUIDS_MAX: usize = 100_000;

/// Ids of messages that a worker takes from the database at once; a restart leaves as many unused.
pub const OWNER_IDS: usize = 1_024;

/// After a sender repeated an unknown guid: how long that sender's messages are looked up before
/// anything is written, because a repeat undoes a whole piece.
pub const OWNER_SUSPECT_MS: u64 = 60_000;

/// Such senders that are remembered.
pub const OWNER_SUSPECTS_MAX: usize = 10_000;

/// For how long typing may be judged by a membership read before.
pub const TYPING_AUDIENCE_MS_MAX: u64 = 2_000;

/// Conversations whose membership is kept for typing, and people whose typing is remembered.
pub const TYPING_AUDIENCES_MAX: usize = 10_000;

/// Lanes are worked off when nothing has come for this long.
pub const LANE_QUIET_MS: u64 = 200;

/// Between two looks of a worker at its peers.
pub const PEERS_WATCH_MS: u64 = 2_000;

/// How often a worker writes to PostgreSQL only to see whether it can: a disk that fills while no
/// event comes is seen within this.
pub const WRITE_WATCH_MS: u64 = 30_000;

/// A worker that has not been in line for a shard for this long is not ready. Several times the longest
/// pause before it tries again.
pub const SHARD_ASTRAY_MS: u64 = 3_000;

/// A worker whose store is away for this long gives its shards to others. Longer than a connection
/// takes to come back.
pub const UNFIT_MS: u64 = 2_000;

/// A draining worker finishes what it works on within this.
pub const WORKER_DRAIN_MS_MAX: u64 = 15_000;

// ---- Relations ----------------------------------------------------------------------------

const _: () = {
    assert!(OUTBOX_SHED_BYTES < OUTBOX_LATE_BYTES && OUTBOX_LATE_BYTES_MIN < OUTBOX_LATE_BYTES);
    assert!(OUTBOX_LATE_BYTES < OUTBOX_BYTES_MAX && OUTBOX_BYTES_MAX < OUTBOXES_BYTES_MAX);
    assert!(RECONNECTS_PER_S <= UPGRADES_PER_S / 2, "one gateway can take what another one moves away");
    assert!(GOING_AWAY_GRACE_MS_MAX <= DRAIN_MS_MAX / 10);
    assert!(ADDRESS_UPGRADES_BURST <= UPGRADES_PER_S / 5, "one address never takes the burst of all");
    assert!(LOGIN_SOCKETS_MAX <= USER_SOCKETS_MAX);
    assert!(
        API_ANSWER_BYTES_MAX <= ADDRESS_ANSWERS_BYTES_MAX && ADDRESS_ANSWERS_BYTES_MAX < ANSWERS_BYTES_MAX
    );
    assert!(HTTP_IDLE_MS_MAX > 65_000, "proxies end kept connections first");
    assert!(FRAME_BYTES_MAX <= OUTBOX_LATE_BYTES, "one event is never much");
    assert!(2 * FRAME_BYTES_MAX <= SOCKET_BYTES_BURST as usize, "the largest frames are within the rate");
    assert!(FRAME_BYTES_MAX < ENVELOPE_BYTES_MAX, "what a client may send fits an envelope");
    assert!(HTTP_BODY_BYTES_MAX < ENVELOPE_BYTES_MAX, "a request's body fits an envelope");
    assert!(LOCK_MS_MAX < STATEMENT_MS_MAX, "a lock that is not had is told as that");
    assert!((APART_RUNG as usize) < RETRY_LADDER_MS.len(), "what waits apart is never quarantined");
    assert!(APART_MS_MIN >= 2 * LOCK_MS_MAX, "trying takes less than half of a shard's time");
    assert!(
        STATEMENT_MS_MAX + STATEMENT_GRACE_MS < TRANSACTION_IDLE_MS_MAX,
        "a slow step is no idle program"
    );
    assert!(STORE_WAIT_MS_MAX + STATEMENT_MS_MAX + STATEMENT_GRACE_MS < REQUEST_MS_MAX);
    assert!(
        2 * REPLICA_MS_MAX + STATEMENT_MS_MAX < REQUEST_MS_MAX,
        "a replica that is away leaves time to answer"
    );
    assert!(REST_SEND_MS_MAX < REQUEST_MS_MAX, "a late send is answered before its request is given up");
    assert!(ENVELOPE_BYTES_MAX < BATCH_BYTES_MAX, "an envelope fits a batch");
    assert!(BATCH_ENVELOPES_MAX <= PUBLISH_WINDOW_ENVELOPES_MAX);
    assert!(
        LANE_SHARDS as u64 * LANE_BATCH_GAP_MS < PUBLISH_BUSY_MS / 4,
        "a turn of all shards is no reason to say busy"
    );
    assert!(LANE_BATCH_ENVELOPES_SMALL < BATCH_ENVELOPES_MAX, "a batch can be large enough to go at once");
    assert!(PUBLISH_BUSY_MS < 250, "clients hear busy within 250 ms");
    assert!(LIVE_NODES_MS_MAX < NODE_LEASE_MS / 3, "a death is seen long before the next lease");
    assert!(NODE_LEASE_MS < LEASE_GRACE_MS);
    assert!(DIRECTORY_COMMANDS_MAX > DIRECTORY_BUCKETS as usize, "a look-up goes out at once");
    assert!(NODE_LEASE_MS < PRESENCE_GRACE_MS, "a death is seen before its users are offline");
    assert!(PRESENCE_GRACE_MS + 2 * PRESENCE_TICK_MS < 20_000, "a dead gateway's users are offline in time");
    assert!(PRESENCE_TELL_MS_MAX < PRESENCE_CLAIM_MS, "two workers never tell of one user at once");
    assert!(CONTROL_LAG_PROBE_MS * 10 < CONTROL_WAIT_MS && CONTROL_WAIT_MS < CONTROL_WAIT_MS_MAX);
    assert!(
        CANARY_DEADLINE_MS + CANARY_NAME_MS_MAX < CANARY_ROUND_MS,
        "a round is judged before the next one"
    );
    assert!(CANARY_GATEWAYS_MAX <= USER_EVENTS_BURST as usize, "a round is within the rate of one user");
    assert!(CANARY_GATEWAYS_MAX * CANARY_GATEWAYS_MAX <= CANARY_NEWS_MAX);
    assert!(HEARTBEAT_TIMEOUT_MS < HEARTBEAT_MS, "a pong is due before the next ping");
};
