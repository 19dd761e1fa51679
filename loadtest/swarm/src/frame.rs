//! RFC 6455 as a client speaks it: masked frames out, unmasked frames in. No I/O.
//!
//! Strict on purpose: a masked frame from the server, a reserved bit, a fragment or an oversize
//! control frame is a finding, not something to be lenient about. (Our gateway never fragments.)

/// Largest frame taken from the server; the answer to a `sync` is the longest there is.
pub const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A frame from the server, borrowed from the bytes read.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Text, already checked to be UTF-8.
    Text(&'a str),
    /// A ping; the client must answer with the same payload.
    Ping(&'a [u8]),
    /// The answer to the client's ping.
    Pong,
    /// The server closes, with this code; None: without a code.
    Close(Option<u16>),
}

/// What [`parse`] found at the start of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A frame, and how many bytes it took.
    Frame(Frame<'a>, usize),
    /// Incomplete: this many bytes are needed in all, as far as is known.
    Need(usize),
}

/// The server broke RFC 6455.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation(pub &'static str);

/// Reads the first frame of `bytes`.
///
/// # Errors
/// [`Violation`] when the server broke the protocol.
pub fn parse(bytes: &[u8]) -> Result<Parsed<'_>, Violation> {
    let [first, second, ..] = *bytes else { return Ok(Parsed::Need(2)) };
    if first & 0x70 != 0 {
        return Err(Violation("a reserved bit is set"));
    }
    if second & 0x80 != 0 {
        return Err(Violation("a frame from the server is masked"));
    }
    let (len, head) = match second & 0x7f {
        126 if bytes.len() < 4 => return Ok(Parsed::Need(4)),
        126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
        127 if bytes.len() < 10 => return Ok(Parsed::Need(10)),
        127 => {
            let mut long = [0; 8];
            long.copy_from_slice(&bytes[2..10]);
            (usize::try_from(u64::from_be_bytes(long)).unwrap_or(usize::MAX), 10)
        }
        short => (usize::from(short), 2),
    };
    if len > FRAME_BYTES_MAX {
        return Err(Violation("a frame is larger than 64 MiB"));
    }
    let end = head + len;
    if bytes.len() < end {
        return Ok(Parsed::Need(end));
    }
    let payload = &bytes[head..end];
    let frame = match first {
        0x81 => {
            Frame::Text(std::str::from_utf8(payload).map_err(|_| Violation("a text frame is not UTF-8"))?)
        }
        0x88..=0x8a if len > 125 => return Err(Violation("a control frame is over 125 bytes")),
        0x88 if len == 1 => return Err(Violation("a close code of one byte")),
        0x88 => Frame::Close(payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]))),
        0x89 => Frame::Ping(payload),
        0x8a => Frame::Pong,
        _ => return Err(Violation("a fragment, a binary frame or an unknown opcode")),
    };
    Ok(Parsed::Frame(frame, end))
}

/// Opcode of a text frame.
pub const TEXT: u8 = 1;
/// Opcode of a close frame.
pub const CLOSE: u8 = 8;
/// Opcode of a pong.
pub const PONG: u8 = 10;

/// Appends a masked frame.
pub fn write(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: u32) {
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let mask = mask.to_be_bytes();
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    for chunk in out[start..].chunks_mut(4) {
        for (byte, mask) in chunk.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_form_are_read() {
        for len in [0, 1, 125, 126, 0xffff, 0x1_0000] {
            let text = "x".repeat(len);
            let mut bytes = vec![0x81];
            match len {
                0..126 => bytes.push(len as u8),
                126..0x1_0000 => {
                    bytes.push(126);
                    bytes.extend((len as u16).to_be_bytes());
                }
                _ => {
                    bytes.push(127);
                    bytes.extend((len as u64).to_be_bytes());
                }
            }
            bytes.extend(text.as_bytes());
            assert_eq!(parse(&bytes), Ok(Parsed::Frame(Frame::Text(&text), bytes.len())));
            for end in 0..bytes.len().min(12) {
                assert!(matches!(parse(&bytes[..end]), Ok(Parsed::Need(need)) if need > end), "{len} {end}");
            }
        }
    }

    #[test]
    fn a_server_that_breaks_the_protocol_is_caught() {
        for bad in [
            &[0xc1, 0][..],
            &[0x81, 0x80, 0, 0, 0, 0],
            &[0x01, 0],
            &[0x82, 0],
            &[0x88, 1, 3],
            &[0x81, 1, 0xff],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse(&[&[0x89, 126, 0, 126][..], &[0; 126]].concat()).is_err());
    }

    #[test]
    fn what_is_written_unmasks_to_the_payload() {
        for len in [0, 3, 125, 126, 70_000] {
            let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let mut out = vec![];
            write(&mut out, TEXT, &payload, 0xdead_beef);
            let head = match len {
                0..126 => 6,
                126..0x1_0000 => 8,
                _ => 14,
            };
            let mask = 0xdead_beef_u32.to_be_bytes();
            let plain: Vec<u8> = out[head..].iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b).collect();
            assert_eq!(plain, payload);
            assert_eq!(out[1] & 0x80, 0x80);
        }
    }
}
