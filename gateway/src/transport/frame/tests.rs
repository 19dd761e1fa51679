//! The codec in tables, and its properties: cutting changes nothing, nothing panics.
//! The whole list of what RFC 6455 refuses is in `tests/alone/bad_input` and `tests/alone/autobahn`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A frame as a client writes it.
fn masked(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            out.push(0x80 | 126);
            out.put_u16(len as u16);
        }
        len => {
            out.push(0x80 | 127);
            out.put_u64(len as u64);
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// What was read, owned.
#[derive(Clone, Debug, PartialEq)]
enum Read {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    Refused(CloseCode),
}

/// Feeds bytes piece by piece, as a socket's task does.
fn read(pieces: &[&[u8]]) -> Vec<Read> {
    let (mut assembler, mut rest, mut found) = (Assembler::default(), Vec::new(), Vec::new());
    for piece in pieces {
        rest.extend_from_slice(piece);
        loop {
            let parsed = match assembler.next(&mut rest) {
                Ok(parsed) => parsed,
                Err(code) => {
                    found.push(Read::Refused(code));
                    return found;
                }
            };
            let consumed = parsed.consumed;
            let more = parsed.frame.is_some();
            found.extend(parsed.frame.map(|frame| match frame {
                Frame::Text(text) => Read::Text(text.into()),
                Frame::Binary(bytes) => Read::Binary(bytes.into()),
                Frame::Ping(bytes) => Read::Ping(bytes.into()),
                Frame::Pong => Read::Pong,
                Frame::Close(code) => Read::Close(code),
            }));
            rest.drain(..consumed);
            if !more {
                break;
            }
            if let Some(close @ Read::Close(_)) = found.last() {
                return found[..found.len() - 1].iter().chain([close]).cloned().collect();
            }
        }
        assert!(rest.len() < REMAINDER_BYTES_MAX, "{} bytes stay behind", rest.len());
    }
    found
}

#[test]
fn a_whole_message_is_lent_and_costs_nothing() {
    let mut buf = masked(true, 1, "xin chào".as_bytes());
    let len = buf.len();
    let mut assembler = Assembler::default();
    let parsed = assembler.next(&mut buf).unwrap();
    assert_eq!(parsed, Parsed { frame: Some(Frame::Text("xin chào")), consumed: len });
    assert!(assembler.under_way.is_none());
}

#[test]
fn memory_comes_with_bytes_and_goes_with_the_message() {
    let mut assembler = Assembler::default();
    // 64 KiB announced, 3 bytes sent.
    let mut buf = masked(true, 1, &[b'a'; FRAME_BYTES_MAX]);
    let parsed = assembler.next(&mut buf[..17]).unwrap();
    assert_eq!(parsed, Parsed { frame: None, consumed: 17 });
    assert!(assembler.is_under_way());
    assert!(assembler.under_way.as_ref().unwrap().message.capacity() < 64);
    let parsed = assembler.next(&mut buf[17..]).unwrap();
    assert!(matches!(parsed.frame, Some(Frame::Text(text)) if text.len() == FRAME_BYTES_MAX));
    assert!(!assembler.is_under_way());
    assert_eq!(assembler.next(&mut []), Ok(Parsed { frame: None, consumed: 0 }));
    assert!(assembler.under_way.is_none());
}

#[test]
fn half_a_message_is_stalled_at_the_second_heartbeat() {
    let mut assembler = Assembler::default();
    assert!(!assembler.is_stalled() && !assembler.is_stalled());
    let mut buf = masked(true, 1, b"abc");
    assert_eq!(assembler.next(&mut buf[..8]).map(|parsed| parsed.consumed), Ok(8));
    assert!(!assembler.is_stalled());
    assert!(assembler.is_stalled());
    assert!(assembler.next(&mut buf[8..]).unwrap().frame.is_some());
    assert!(assembler.next(&mut []).unwrap().frame.is_none());
    assert!(!assembler.is_stalled());
}

#[test]
fn control_frames_come_between_fragments() {
    let pieces = [
        masked(false, 1, b"fra"),
        masked(true, 9, b"1"),
        masked(false, 0, b""),
        masked(true, 10, b"2"),
        masked(true, 0, b"gments"),
        masked(true, 8, b""),
    ];
    let whole = pieces.concat();
    let expect = [Read::Ping(b"1".to_vec()), Read::Pong, Read::Text("fragments".into()), Read::Close(None)];
    assert_eq!(read(&[&whole]), expect);
    let single: Vec<_> = whole.chunks(1).collect();
    assert_eq!(read(&single), expect);
}

#[test]
fn the_limit_holds_over_all_fragments_and_before_their_bytes() {
    let half = masked(false, 1, &[b'a'; FRAME_BYTES_MAX / 2]);
    let rest = masked(true, 0, &[b'a'; FRAME_BYTES_MAX / 2]);
    assert_eq!(read(&[&half, &rest]), [Read::Text("a".repeat(FRAME_BYTES_MAX))]);
    let over = masked(true, 0, &[b'a'; FRAME_BYTES_MAX / 2 + 1]);
    assert_eq!(read(&[&half, &over[..10]]), [Read::Refused(CloseCode::TooLarge)]);
    let over = masked(true, 2, &[b'a'; FRAME_BYTES_MAX + 1]);
    assert_eq!(read(&[&over[..10]]), [Read::Refused(CloseCode::TooLarge)]);

    let mut fragments = vec![masked(false, 1, b"")];
    fragments.resize(FRAGMENTS_MAX - 1, masked(false, 0, b""));
    let last = masked(true, 0, b"a");
    assert_eq!(read(&[&fragments.concat(), &last]), [Read::Text("a".into())]);
    fragments.push(masked(false, 0, b""));
    assert_eq!(read(&[&fragments.concat(), &last]), [Read::Refused(CloseCode::TooLarge)]);
}

#[test]
fn utf8_is_refused_with_the_first_bytes_that_show_it() {
    // A character cut by fragments and by reads is whole again.
    let [first, last] = [masked(false, 1, b"\xce"), masked(true, 0, b"\xba")];
    assert_eq!(read(&[&first, &last]), [Read::Text("κ".into())]);
    // Cut by the end of the message it is not.
    assert_eq!(read(&[&first, &masked(true, 0, b"")]), [Read::Refused(CloseCode::BadUtf8)]);
    // A surrogate shows in its second byte, though a third and a fragment are to come.
    let bad = masked(false, 1, b"\xed\xa0");
    assert_eq!(read(&[&bad]), [Read::Refused(CloseCode::BadUtf8)]);
    let bad = masked(true, 1, b"abc\xf4\x90\x80\x80 and much more");
    assert_eq!(read(&[&bad[..11]]), [Read::Refused(CloseCode::BadUtf8)]);
    // Binary is not looked at.
    assert_eq!(read(&[&masked(true, 2, b"\xff")]), [Read::Binary(vec![0xff])]);
}

#[test]
fn frames_are_written_as_rfc_6455_says() {
    let text_frame = |payload: &[u8]| frame(Opcode::Text, payload);
    assert_eq!(text_frame(b"Hello"), &b"\x81\x05Hello"[..]);
    assert_eq!(PING, &b"\x89\0"[..]);
    assert_eq!(pong_frame(b"Hello"), &b"\x8a\x05Hello"[..]);
    assert_eq!(close_frame(CloseCode::Slow), &b"\x88\x06\x0f\xa0slow"[..]);
    assert_eq!(close_echo(Some(1001)), &b"\x88\x02\x03\xe9"[..]);
    assert_eq!(close_echo(None), &b"\x88\x00"[..]);
    assert_eq!(text_frame(&[b'a'; 126])[..4], b"\x81\x7e\x00\x7e"[..]);
    assert_eq!(text_frame(&[b'a'; 65_535])[..4], b"\x81\x7e\xff\xff"[..]);
    assert_eq!(text_frame(&[b'a'; 65_536])[..10], b"\x81\x7f\0\0\0\0\0\x01\0\0"[..]);
}

/// Frames of a well-behaved client: messages in fragments, control frames between them.
fn conversation() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let fragment = (vec(any::<u8>(), 0..300), any::<bool>());
    let message = (any::<bool>(), "\\PC{0,80}", vec(fragment, 0..4));
    vec(message, 0..5).prop_map(|messages| {
        let mut frames = Vec::new();
        for (text, content, fragments) in messages {
            let opcode = if text { 1 } else { 2 };
            // Text is cut anywhere, also within a character.
            let parts: Vec<Vec<u8>> = match text {
                true => content.as_bytes().chunks(6 + fragments.len() * 7).map(Vec::from).collect(),
                false => fragments.iter().map(|(bytes, _)| bytes.clone()).collect(),
            };
            for (at, part) in parts.iter().enumerate() {
                let opcode = if at == 0 { opcode } else { 0 };
                frames.push(masked(at + 1 == parts.len(), opcode, part));
                if fragments.get(at).is_some_and(|(_, ping)| *ping) {
                    frames.push(masked(true, 9, &part[..part.len().min(125)]));
                }
            }
        }
        frames
    })
}

/// Cuts bytes at these places.
fn cut(bytes: &[u8], places: Vec<prop::sample::Index>) -> Vec<&[u8]> {
    let mut places: Vec<_> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn cutting_changes_nothing(frames in conversation(), places in vec(any::<prop::sample::Index>(), 0..20)) {
        let bytes = frames.concat();
        let whole = read(&[&bytes]);
        prop_assert!(!whole.iter().any(|read| matches!(read, Read::Refused(_))), "{whole:?}");
        prop_assert_eq!(read(&cut(&bytes, places)), whole);
    }

    #[test]
    fn random_bytes_never_panic_and_cutting_changes_no_refusal(
        bytes in vec(any::<u8>(), 0..400), places in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        prop_assert_eq!(read(&cut(&bytes, places)), read(&[&bytes]));
    }

    #[test]
    fn nearly_right_bytes_never_panic(
        frames in conversation(), harm in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        places in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut bytes = frames.concat();
        for (place, byte) in harm {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        prop_assert_eq!(read(&cut(&bytes, places)), read(&[&bytes]));
    }

    #[test]
    fn what_a_client_says_is_what_is_read(content in "\\PC{0,300}", fin in 1_usize..50) {
        let bytes = content.as_bytes();
        let parts: Vec<_> = bytes.chunks(bytes.len().div_ceil(fin).max(1)).collect();
        let frames: Vec<_> = parts.iter().enumerate().map(|(at, part)| {
            masked(at + 1 == parts.len(), u8::from(at == 0), part)
        }).collect();
        let expect = if content.is_empty() { vec![] } else { vec![Read::Text(content.clone())] };
        prop_assert_eq!(read(&[&frames.concat()]), expect);
    }
}

#[test]
fn a_message_over_its_own_bound_is_refused_with_its_header() {
    let mut buf = masked(true, 1, &[b'a'; 100]);
    assert_eq!(Assembler::default().next_within(&mut buf[..6], 99), Err(CloseCode::TooLarge));
    assert!(Assembler::default().next_within(&mut buf, 100).unwrap().frame.is_some());
    let mut parts = [masked(false, 1, &[b'a'; 60]), masked(true, 0, &[b'a'; 60])].concat();
    assert_eq!(Assembler::default().next_within(&mut parts, 100), Err(CloseCode::TooLarge));
}
