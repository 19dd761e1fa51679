//! Skeleton.

/// The worker's configuration.
#[derive(Debug)]
pub struct Config;
