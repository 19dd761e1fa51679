//! Skeleton.

/// One worker.
pub struct Worker;
