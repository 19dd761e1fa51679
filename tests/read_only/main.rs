//! Real programs on real peers that stay whole: what they show, and what stands around them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

/// nginx in front.
mod cluster;

/// The canary.
mod canary;

/// Every metric is there; `/health`.
mod metrics;

/// Every query of a dashboard and an alert has an answer.
mod dashboards;

/// Shards even out.
mod scaling;

/// The stock Socket.IO client.
mod socketio;

/// The scenarios of k6.
mod k6;
