//! What is empty as long as all is well. Everything else of METRICS.md has to be there after a few
//! minutes' talk.

/// What appears only when something fails, and with which fault.
pub const ONLY_A_FAULT: &[(&str, &str)] = &[
    ("chatchit_canary_late_total", "a worker is late by seconds"),
    ("chatchit_canary_excused_total", "a gateway goes while the canary waits"),
    ("chatchit_canary_unreachable_total", "a gateway is away"),
    ("gateway_accepts_refused_total", "no descriptor or no place is left"),
    ("gateway_api_failed_total", "no worker answers"),
    ("lanes_holds_total", "a peer is away"),
    ("lanes_apart_keys", "PostgreSQL ends the statements of one conversation"),
    ("lanes_releases_total", "a shard or a peer is lost while work waits"),
    ("lanes_set_aside_total", "an event fails alone"),
    ("worker_presence_faults_total", "a peer is away"),
    ("worker_ended_logins_faults_total", "a peer is away"),
    ("worker_logins_refused_total", "a wrong password"),
    ("worker_rest_refusals_total", "a person who asks too much at once"),
    ("worker_reaped_nodes_total", "a gateway dies without a word"),
    ("worker_reaped_users_total", "a gateway dies without a word"),
    ("worker_shed_total", "typing is stale, or there is too much of it"),
    ("worker_store_failures_total", "PostgreSQL is away"),
    ("worker_store_replica_reads_total", "a read replica is away, or is there"),
    ("worker_store_collisions_total", "two workers have the same batch"),
    ("bus_reconnects_total", "a connection to the broker is lost"),
    ("bus_returned_total", "a gateway died, or no worker serves requests"),
    ("bus_retries_total", "an event fails alone"),
    ("bus_quarantined_total", "an event fails for the last time"),
    ("bus_shed_total", "a subscriber is slow, or the low lane is full"),
    ("bus_handovers_total", "a worker comes or goes"),
    ("directory_faults_total", "Redis is away"),
    ("directory_rebuilds_total", "Redis gives no answers"),
    ("directory_sweep_faults_total", "Redis is away"),
];

/// What nothing that can be done to a cluster moves, and why.
pub const NO_FAULT: &[(&str, &str)] =
    &[("chatchit_canary_faults_total", "only ChatChit itself can repeat or reorder")];

/// Both.
pub fn silent_while_well() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    ONLY_A_FAULT.iter().chain(NO_FAULT)
}
