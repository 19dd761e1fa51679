//! Frames by hand, right or wrong: what a client writes and what a server answers.

/// A frame as a client writes it. `fin` and `rsv` as bits, the mask one of many.
pub fn frame(fin: bool, rsv: u8, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::from(fin) << 7 | rsv << 4 | opcode];
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    // Any mask is as good as another; one per length varies it.
    let mask = (payload.len() as u32).wrapping_mul(0x9e37_79b9).to_be_bytes();
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// Takes the server's next whole frame off the front: its opcode and its payload. Frames of a
/// server are never masked, and ours are never in fragments.
pub fn take(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let &[first, short, ref rest @ ..] = bytes.as_slice() else { return None };
    assert!(first & 0xf0 == 0x80 && short & 0x80 == 0, "{first:#x} {short:#x} begins a frame of the server");
    let (len, header) = match short {
        126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*rest.first_chunk()?) as usize, 10),
        len => (usize::from(len), 2),
    };
    let payload = bytes.get(header..header + len)?.to_vec();
    bytes.drain(..header + len);
    Some((first & 0x0f, payload))
}

/// The code in a close frame's payload; 0 when there is none.
pub fn close_code(payload: &[u8]) -> u16 {
    payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code))
}
