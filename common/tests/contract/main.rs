//! What the bus and the directory promise, on every backend: one program, so that it is linked once.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed")]

/// What the contracts are checked with.
mod support {
    pub mod bus;
    pub mod directory;
    pub mod line;
    pub mod peers;
}

/// Patterns of subjects.
mod subjects;

/// What every backend of the bus promises.
mod bus_contract;

/// What only a real broker can do to the bus.
mod bus_broken_line;

/// What the broker sees of a trace.
mod bus_trace;

/// A visitor that declares nothing.
mod bus_visit;

/// What every backend of the directory promises.
mod directory_contract;

/// Who is told to have come and gone.
mod presence_contract;
