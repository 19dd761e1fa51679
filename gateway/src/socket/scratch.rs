//! Memory of a thread, lent to the socket whose turn it is: a parked socket has none.

use std::cell::Cell;

use crate::socket::session::Action;

/// The memory of a thread; see the module.
pub struct Scratch {
    /// Received bytes, after the unread rest of earlier ones.
    pub buffer: Vec<u8>,
    /// The actions of the session.
    pub actions: Vec<Action>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// Takes the thread's scratch memory.
    pub fn take() -> Box<Self> {
        SCRATCH.take().unwrap_or_else(|| Box::new(Self { buffer: Vec::new(), actions: Vec::new() }))
    }

    /// Returns it for the next socket.
    pub fn give_back(self: Box<Self>) {
        SCRATCH.set(Some(self));
    }

    /// Starts the buffer with the unread rest of earlier bytes.
    pub fn hold(&mut self, rest: &[u8]) {
        self.grow(rest.len());
        self.buffer[..rest.len()].copy_from_slice(rest);
    }

    /// Makes room for this many bytes.
    pub fn grow(&mut self, len: usize) {
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
    }
}
