//! How packets travel between a client and its socket's task.

/// What travels.
pub mod packet;

/// RFC 6455 frames: read, assembled, written.
pub mod frame;
