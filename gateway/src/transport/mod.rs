//! How packets travel between a client and its socket's task.

/// Packets of the wire forms.
pub mod packet;

/// RFC 6455 frames: read, assembled, written.
pub mod frame;
