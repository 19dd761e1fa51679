//! NATS: lines, and messages with a length. Its frames are pieces of one stream.

use swarm::form::Writer;

use super::{PASSWORD, ROOM, Said};
use crate::frame;

/// A ping, which the server answers with PONG.
pub const PING: &[u8] = b"PING\r\n";

/// Takes the first line, or message, of `bytes`; how many bytes that were.
pub fn take(bytes: &[u8], out: &mut Writer, is_ready: &mut bool, each: &mut impl FnMut(Said<'_>)) -> usize {
    let Some(end) = memchr::memchr(b'\n', bytes).map(|at| at + 1) else { return 0 };
    let line = &bytes[..end];
    if line.starts_with(b"MSG ") {
        let words = String::from_utf8_lossy(line);
        let Some(len) = words.split_whitespace().next_back().and_then(|len| len.parse::<usize>().ok()) else {
            each(Said::Refused("a message without a length".into()));
            return end;
        };
        // With the end of its line.
        let Some(body) = bytes.get(end..end + len + 2) else { return 0 };
        each(Said::Event(&body[..len]));
        return end + len + 2;
    }
    match line {
        _ if line.starts_with(b"INFO") && !*is_ready => {
            let hello = format!(
                "CONNECT {{\"verbose\":false,\"pedantic\":false,\"auth_token\":\"{PASSWORD}\"}}\r\n\
                 SUB {ROOM} 1\r\nPING\r\n"
            );
            out.raw(frame::BINARY, hello.as_bytes());
        }
        b"PING\r\n" => out.raw(frame::BINARY, b"PONG\r\n"),
        b"PONG\r\n" if *is_ready => each(Said::Pong),
        b"PONG\r\n" => {
            *is_ready = true;
            each(Said::Ready(""));
        }
        _ if line.starts_with(b"-ERR") => each(Said::Refused(String::from_utf8_lossy(line).into())),
        _ => {}
    }
    end
}
