//! The resources that the process uses, from the kernel.

/// The resources that the process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Memory in RAM.
    pub resident_bytes: u64,
    /// Memory reserved.
    pub virtual_bytes: u64,
    /// In all threads, user and system.
    pub cpu_seconds: f64,
    /// Threads.
    pub threads: u64,
    /// Files open; sockets are files.
    pub fds: u64,
    /// Files that may be open.
    pub fds_max: u64,
}
