//! Bounds of what operators use: the admin port, their commands, the canary.

// ---- The admin port -----------------------------------------------------------------------

/// Connections to the admin port at once: probes, Prometheus, an operator.
pub const OPS_CONNECTIONS_MAX: usize = 64;

/// How long one connection to the admin port may live; Prometheus opens a new one.
pub const OPS_CONNECTION_MS_MAX: u64 = 60_000;

/// Between two looks at what waits in the lanes, by every gateway: 17 questions to the broker.
pub const LANES_LOOK_MS: u64 = 5_000;

/// Between two looks of a program at its own gauges: memory, outboxes, what is unconfirmed.
pub const MEASURE_MS: u64 = 1_000;

/// Memory of an idle socket in the gateway itself, as `make hold` measures it. The gateway reports memory by
/// cause with it; nothing else depends on it.
pub const SOCKET_MEMORY_BYTES: usize = 1_000;

/// Between two foldings of raw samples into their buckets.
pub const OPS_UPKEEP_MS: u64 = 5_000;

// ---- The operator's tool ------------------------------------------------------------------

/// Between two looks of a program at the others: it writes its own card, and compares the secrets.
pub const ROSTER_MS: u64 = 5_000;

/// How long the card of a program that ended without a drain stays readable: an operator who was woken
/// still sees which one is missing.
pub const CARD_KEPT_MS: u64 = 15 * 60_000;

/// Default time to wait for answers to the operator: a busy program answers within a
/// tenth of it.
pub const CONTROL_WAIT_MS: u64 = 1_000;

/// The longest that an operator may ask to wait.
pub const CONTROL_WAIT_MS_MAX: u64 = 60_000;

/// The timer with which a program measures how late it is when it is asked.
pub const CONTROL_LAG_PROBE_MS: u64 = 5;

/// Sockets of a user that one gateway lists: they fit an envelope many times over, and are more than
/// a person reads. The answer also has the number of all.
pub const CONTROL_SOCKETS_MAX: usize = 500;

/// Envelopes of the quarantine that are shown at once.
pub const QUARANTINE_SHOWN_MAX: usize = 1_000;

/// Default number of messages whose path a program remembers: minutes at hundreds per
/// second, 12 MB when it is full.
pub const TRACE_MESSAGES: usize = 64 * 1024;

/// The largest such number: a search still takes milliseconds.
pub const TRACE_MESSAGES_MAX: usize = 4 * 1024 * 1024;

/// Entries of the ring per message that is to be remembered: a worker writes taken, committed, and
/// published once per gateway; a gateway writes two.
pub const TRACE_MILESTONES_PER_MESSAGE: usize = 4;

/// Milestones in one program's answer: also for a guid that is repeated without end they fit an envelope.
pub const TRACE_MILESTONES_MAX: usize = 500;

/// Traces that one piece of work is linked with: what is over it is counted in its span.
pub const SPAN_LINKS_MAX: usize = 128;

/// How long a draining program waits until the collector has its last spans.
pub const SPANS_FLUSH_MS_MAX: u64 = 5_000;

/// Traces, of clients and its own, that one gateway samples per second: every program
/// pays for a sampled trace.
pub const TRACES_SAMPLED_PER_S: u32 = 50;

/// The same, at once.
pub const TRACES_SAMPLED_BURST: u32 = 100;

/// Conversations of a user, or members of a conversation, among which the database looks for an
/// older message.
pub const TRACE_PLACES_MAX: i64 = 10_000;

// ---- The canary ---------------------------------------------------------------------------

/// Interval of the canary's rounds: an alert over five minutes sees thirty, and the load is
/// negligible.
pub const CANARY_ROUND_MS: u64 = 10_000;

/// How long the canary waits for its message. Longer than the high lane may be late (1 s), and
/// than a shard takes to move from a dead worker to another.
pub const CANARY_DEADLINE_MS: u64 = 5_000;

/// Gateways that one canary watches: pairs grow with their square, and so do deliveries.
pub const CANARY_GATEWAYS_MAX: usize = 32;

/// From a connection of the canary to `ready`.
pub const CANARY_HANDSHAKE_MS_MAX: u64 = 5_000;

/// How long `--once` waits until all gateways are reached.
pub const CANARY_CONNECT_MS_MAX: u64 = 10_000;

/// First pause before a socket of the canary is opened again; doubled up to the longest.
pub const CANARY_RECONNECT_MS_MIN: u64 = 500;

/// Longest pause: how late the canary notices that a gateway is back.
pub const CANARY_RECONNECT_MS_MAX: u64 = 10_000;

/// How long a drained gateway is not missed: a rollout starts the next one meanwhile.
pub const CANARY_LEAVE_MS_MAX: u64 = 60_000;

/// Time for resolving the name of gateways.
pub const CANARY_NAME_MS_MAX: u64 = 2_000;

/// Messages that a socket of the canary remembers, to know a repeat, and lost ones that may yet come.
pub const CANARY_REMEMBERED_MAX: usize = 1_024;

/// What the canary's sockets have told and the judge has not heard yet: a round of all of them.
pub const CANARY_NEWS_MAX: usize = 4 * 1024;
