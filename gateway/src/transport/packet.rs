//! Packets of a wire form, as they are queued and shared.
//!
//! Each packet lies behind the header of a WebSocket frame. So the bytes of a message are made once
//! for each form, in one allocation that all sockets share: a WebSocket writes them as they are, and
//! long-polling takes the texts between the headers.

use bytes::{BufMut, Bytes};

use super::frame::{self, Opcode};

/// One packet, or several that belong together. Made by `wire`, which knows no frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packets(Bytes);

impl Packets {
    /// One packet of these parts.
    pub fn of<const N: usize>(parts: [&str; N]) -> Self {
        let len = parts.iter().map(|part| part.len()).sum();
        let mut out = Vec::with_capacity(frame::SERVER_HEADER_BYTES_MAX + len);
        frame::write_header(&mut out, Opcode::Text, len);
        for part in parts {
            out.put_slice(part.as_bytes());
        }
        Self(out.into())
    }

    /// These, and those behind them.
    pub fn and(self, more: Self) -> Self {
        Self([self.0, more.0].concat().into())
    }

    /// The packets, one by one, as a transport without frames carries them.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (text, behind) = frame::split_ours(rest)?;
            rest = behind;
            std::str::from_utf8(text).ok()
        })
    }

    /// As a WebSocket carries them.
    pub fn into_frames(self) -> Bytes {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_frames_on_a_websocket_and_texts_elsewhere() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let text = "x".repeat(len);
            let packet = Packets::of(["4", &text]);
            assert_eq!(packet.texts().collect::<Vec<_>>(), [format!("4{text}")], "{len}");
            let both = packet.clone().and(Packets::of(["xin", " chào"]));
            assert_eq!(both.texts().collect::<Vec<_>>(), [&format!("4{text}")[..], "xin chào"], "{len}");
            let frames = both.into_frames();
            assert!(
                frames.starts_with(&packet.into_frames()) && frames.ends_with("\u{9}xin chào".as_bytes())
            );
        }
    }
}
