//! WebSocket frames as any of the peers may send them: text or binary, whole or in pieces. No I/O.
//! (`swarm::frame` is strict, because for our own gateway each of these is a finding.)

use anyhow::{bail, ensure};

/// The opcodes of RFC 6455.
pub const TEXT: u8 = 1;
/// See [`TEXT`].
pub const BINARY: u8 = 2;
/// See [`TEXT`].
pub const CLOSE: u8 = 8;
/// See [`TEXT`].
pub const PING: u8 = 9;
/// See [`TEXT`].
pub const PONG: u8 = 10;

/// Longest accepted frame; no peer sends a longer one here.
const BYTES_MAX: usize = 1 << 24;

/// The first frame of `bytes`: opcode (0: goes on with the one before), payload, and how many
/// bytes it took. None: not whole yet.
///
/// # Errors
/// It is masked, compressed or too long.
pub fn parse(bytes: &[u8]) -> anyhow::Result<Option<(u8, &[u8], usize)>> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    ensure!(first & 0x70 == 0, "a frame has a reserved bit: compression was not asked for");
    ensure!(second & 0x80 == 0, "a frame from the server is masked");
    let (len, head) = match second {
        126 if bytes.len() < 4 => return Ok(None),
        126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
        127 => match bytes.get(2..10).and_then(|long| <[u8; 8]>::try_from(long).ok()) {
            Some(long) => (usize::try_from(u64::from_be_bytes(long))?, 10),
            None => return Ok(None),
        },
        short => (usize::from(short), 2),
    };
    if len > BYTES_MAX {
        bail!("a frame of {len} bytes");
    }
    let end = head + len;
    Ok(bytes.get(head..end).map(|payload| (first & 0x0f, payload, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_read_when_they_are_whole() {
        for len in [0, 125, 126, 70_000] {
            let mut bytes = vec![0x82];
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
            bytes.extend(vec![7; len]);
            let whole = bytes.len();
            assert_eq!(parse(&bytes).unwrap(), Some((BINARY, &vec![7; len][..], whole)));
            assert_eq!(parse(&bytes[..whole - 1]).unwrap(), None);
        }
        assert!(parse(&[0x81, 0x80, 0, 0, 0, 0]).is_err(), "masked");
        assert!(parse(&[0xc1, 0]).is_err(), "compressed");
    }
}
