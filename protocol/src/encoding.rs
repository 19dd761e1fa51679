//! The encoding of everything that travels between programs.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

/// The bytes of a value for another program: a version, then MessagePack with named fields.
///
/// Programs of two versions meet during a rolling update, so the encoding grows by addition: a new
/// field has `#[serde(default)]`, an old program skips fields that it does not know, and a name never
/// changes its meaning. `tests/frozen.rs` holds the bytes of every released version.
pub fn encode<T: Serialize>(thing: &T) -> bytes::Bytes {
    // Into the thread's memory first: what is kept is allocated once, at its size.
    let mut scratch = SCRATCH.take();
    scratch.clear();
    scratch.push(WIRE_VERSION);
    let mut serializer = rmp_serde::Serializer::new(&mut scratch).with_struct_map();
    thing.serialize(&mut serializer).expect("plain data always encodes");
    #[cfg(feature = "next-field")]
    next::grow(&mut scratch);
    let bytes = bytes::Bytes::copy_from_slice(&scratch);
    if scratch.capacity() <= SCRATCH_BYTES_MAX {
        SCRATCH.set(scratch);
    }
    bytes
}

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A thread keeps a buffer of at most this size: larger values are rare.
const SCRATCH_BYTES_MAX: usize = 16 * 1024;

/// Reads what [`encode`] wrote, in this or in a neighbouring version.
///
/// # Errors
/// The bytes are damaged, or of a version that cannot be read.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, BadBytes> {
    match bytes.split_first() {
        Some((&WIRE_VERSION, rest)) => rmp_serde::from_slice(rest).map_err(|_| BadBytes),
        _ => Err(BadBytes),
    }
}

#[cfg(feature = "next-field")]
mod next;

/// 1 was postcard's positional encoding, which could not grow.
const WIRE_VERSION: u8 = 2;

/// The bytes from another program cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not of this version or are damaged")]
pub struct BadBytes;
