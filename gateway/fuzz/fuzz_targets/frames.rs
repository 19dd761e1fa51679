//! RFC 6455 frames: however the bytes are cut, the codec says the same, keeps no more than came,
//! and leaves less than a control frame unread.

#![no_main]

use common::limits::FRAME_BYTES_MAX;
use gateway::transport::frame::{Assembler, Frame, REMAINDER_BYTES_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The first byte says how the rest is cut.
    let Some((&size, bytes)) = input.split_first() else { return };
    let whole = read(bytes.chunks(bytes.len().max(1)));
    let cut = read(bytes.chunks(usize::from(size).max(1)));
    assert_eq!(whole, cut, "cut into pieces of {size}");
});

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let (mut assembler, mut rest, mut found) = (Assembler::default(), Vec::new(), Vec::new());
    for piece in pieces {
        rest.extend_from_slice(piece);
        loop {
            let parsed = match assembler.next(&mut rest) {
                Ok(parsed) => parsed,
                Err(code) => {
                    found.push(format!("{code:?}"));
                    return found;
                }
            };
            match parsed.frame {
                Some(Frame::Text(text)) => assert!(text.len() <= FRAME_BYTES_MAX),
                Some(Frame::Binary(bytes)) => assert!(bytes.len() <= FRAME_BYTES_MAX),
                Some(Frame::Ping(bytes)) => assert!(bytes.len() <= 125),
                Some(Frame::Pong | Frame::Close(_)) | None => {}
            }
            let (consumed, more) = (parsed.consumed, parsed.frame.is_some());
            let closes = matches!(parsed.frame, Some(Frame::Close(_)));
            found.extend(parsed.frame.map(|frame| format!("{frame:?}")));
            rest.drain(..consumed);
            if closes {
                return found;
            }
            if !more {
                break;
            }
        }
        assert!(rest.len() < REMAINDER_BYTES_MAX);
    }
    found
}
