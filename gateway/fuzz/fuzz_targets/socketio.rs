//! Engine.IO and Socket.IO packets through a session.

#![no_main]

/// A session that hears the input.
mod texts;

use gateway::wire::Form;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| texts::talk(Form::SocketIo, input));
