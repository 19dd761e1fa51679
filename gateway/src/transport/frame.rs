//! RFC 6455, the server's side: bytes to frames and back. No I/O.
//!
//! A message that lies whole in the caller's buffer is unmasked in place and lent out: no copy,
//! no memory. Only what arrives in pieces is gathered here, and never more than came in: a header
//! alone reserves nothing, and what it announces is refused before it is sent. Work is linear in
//! the bytes received, however they are cut. Invalid UTF-8 is refused with the first bytes that
//! show it.
//!
//! Not here: reading, writing, deadlines (`socket.rs`), and what a frame means (`session.rs`).

use bytes::{BufMut, Bytes};
use common::limits::{CONTROL_FRAME_BYTES_MAX, FRAGMENTS_MAX, FRAME_BYTES_MAX};
use protocol::CloseCode;

/// What may remain unread of a buffer after [`Assembler::next`]: less than a whole control frame.
pub const REMAINDER_BYTES_MAX: usize = HEADER_BYTES_MAX + CONTROL_FRAME_BYTES_MAX;

/// Header of a control frame with its mask. The longest header of a data frame has 14 bytes.
const HEADER_BYTES_MAX: usize = 14;

/// The longest header of a frame of ours: no mask.
pub const SERVER_HEADER_BYTES_MAX: usize = 10;

/// What a frame is (RFC 6455, 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message before.
    Continuation = 0,
    /// UTF-8.
    Text = 1,
    /// Anything.
    Binary = 2,
    /// The end.
    Close = 8,
    /// Answer me.
    Ping = 9,
    /// The answer.
    Pong = 10,
}

/// One message or control frame from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// To be answered with [`pong_frame`].
    Ping(&'a [u8]),
    /// A sign of life.
    Pong,
    /// The client leaves; to be answered with [`close_echo`], then nothing more is read.
    Close(Option<u16>),
}

/// What [`Assembler::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// None: more bytes are needed.
    pub frame: Option<Frame<'a>>,
    /// Bytes used up. The rest is to be given again: at once after a frame, and together with
    /// what comes next after none (then it is less than [`REMAINDER_BYTES_MAX`]).
    pub consumed: usize,
}

/// The reading state of one socket: a pointer, null unless a message is under way.
#[derive(Debug, Default)]
pub struct Assembler {
    under_way: Option<Box<Gathering>>,
}

const _: () = assert!(size_of::<Assembler>() == 8);

/// A message that arrives in pieces.
#[derive(Debug, Default)]
struct Gathering {
    message: Vec<u8>,
    text: bool,
    /// Leading bytes of `message` known to be UTF-8.
    checked: usize,
    /// Data frames so far.
    fragments: usize,
    /// Set while a frame's payload is still coming: bytes left.
    left: Option<usize>,
    /// The mask of that frame, turned so that its first byte is the next one's.
    mask: [u8; 4],
    /// That frame is the last one.
    fin: bool,
    /// The message was lent out; this memory is free.
    told: bool,
    /// A heartbeat has seen it.
    visited: bool,
}

impl Assembler {
    /// Takes the next frame out of `buf`. To be called until it finds none: the call that finds
    /// none also gives back the memory of the message told before.
    ///
    /// # Errors
    /// The code to close with. After an error nothing more may be read.
    pub fn next<'a>(&'a mut self, buf: &'a mut [u8]) -> Result<Parsed<'a>, CloseCode> {
        self.next_within(buf, FRAME_BYTES_MAX)
    }

    /// The same with messages of at most `bytes_max`.
    ///
    /// # Errors
    /// The code to close with. After an error nothing more may be read.
    pub fn next_within<'a>(
        &'a mut self,
        buf: &'a mut [u8],
        bytes_max: usize,
    ) -> Result<Parsed<'a>, CloseCode> {
        if self.under_way.as_ref().is_some_and(|gathering| gathering.told) {
            self.under_way = None;
        }
        let mut consumed = 0;
        loop {
            if let Some(gathering) = &mut self.under_way
                && gathering.left.is_some()
            {
                consumed += gathering.take(&mut buf[consumed..])?;
                if gathering.left.is_some() {
                    return Ok(Parsed { frame: None, consumed });
                }
                if gathering.fin {
                    break;
                }
            }
            let Some(header) = Header::read(&buf[consumed..], self.under_way.as_deref(), bytes_max)? else {
                return Ok(Parsed { frame: None, consumed });
            };
            let start = consumed + header.len;
            let whole = buf.len() - start >= header.payload;
            let control = header.opcode as u8 >= Opcode::Close as u8;
            if whole && (control || (header.fin && self.under_way.is_none())) {
                let payload = &mut buf[start..start + header.payload];
                fastwebsockets::unmask(payload, header.mask);
                let frame = Some(header.frame(payload)?);
                return Ok(Parsed { frame, consumed: start + header.payload });
            }
            if control {
                return Ok(Parsed { frame: None, consumed });
            }
            consumed = start;
            self.under_way.get_or_insert_default().begin(&header);
        }
        // The loop ends only with a gathered message.
        let gathering = self.under_way.get_or_insert_default();
        Ok(Parsed { frame: Some(gathering.tell()?), consumed })
    }

    /// Whether a message has begun to arrive and is not yet whole.
    pub fn is_under_way(&self) -> bool {
        self.under_way.as_ref().is_some_and(|gathering| !gathering.told)
    }

    /// The heartbeat came by: whether the same message was under way at its last visit, too. Half
    /// a message costs memory, and is not kept for ever.
    pub fn is_stalled(&mut self) -> bool {
        let under_way = self.under_way.as_mut().filter(|gathering| !gathering.told);
        under_way.is_some_and(|gathering| std::mem::replace(&mut gathering.visited, true))
    }
}

impl Gathering {
    fn begin(&mut self, header: &Header) {
        if header.opcode != Opcode::Continuation {
            self.text = header.opcode == Opcode::Text;
        }
        self.fragments += 1;
        self.left = Some(header.payload);
        self.mask = header.mask;
        self.fin = header.fin;
    }

    /// Takes what `buf` has of the frame under way.
    fn take(&mut self, buf: &mut [u8]) -> Result<usize, CloseCode> {
        let left = self.left.unwrap_or(0);
        let taken = left.min(buf.len());
        let piece = &mut buf[..taken];
        fastwebsockets::unmask(piece, self.mask);
        self.mask.rotate_left(taken % 4);
        self.message.extend_from_slice(piece);
        self.left = (left > taken).then_some(left - taken);
        if self.text {
            self.check()?;
        }
        Ok(taken)
    }

    /// Checks what is new; a character may be cut by the end.
    fn check(&mut self) -> Result<(), CloseCode> {
        let ends = self.left.is_none() && self.fin;
        match simdutf8::compat::from_utf8(&self.message[self.checked..]) {
            Ok(_) => self.checked = self.message.len(),
            Err(err) if err.error_len().is_none() && !ends => self.checked += err.valid_up_to(),
            Err(_) => return Err(CloseCode::BadUtf8),
        }
        Ok(())
    }

    fn tell(&mut self) -> Result<Frame<'_>, CloseCode> {
        self.told = true;
        if !self.text {
            return Ok(Frame::Binary(&self.message));
        }
        // Checked piece by piece already; this turns it into text without `unsafe`.
        let text = simdutf8::basic::from_utf8(&self.message).map_err(|_| CloseCode::BadUtf8)?;
        Ok(Frame::Text(text))
    }
}

struct Header {
    fin: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Bytes of the header itself.
    len: usize,
    /// Bytes that follow it.
    payload: usize,
}

impl Header {
    /// Reads a header and refuses what may not follow `under_way`, as early as it shows.
    fn read(buf: &[u8], under_way: Option<&Gathering>, bytes_max: usize) -> Result<Option<Self>, CloseCode> {
        let &[first, second, ref rest @ ..] = buf else {
            return Ok(None);
        };
        let fin = first & 0x80 != 0;
        let (reserved, masked, short) = (first & 0x70, second & 0x80 != 0, second & 0x7f);
        let opcode = match (first & 0x0f, under_way) {
            (0, Some(_)) => Opcode::Continuation,
            (1, None) => Opcode::Text,
            (2, None) => Opcode::Binary,
            (8, _) => Opcode::Close,
            (9, _) => Opcode::Ping,
            (10, _) => Opcode::Pong,
            _ => return Err(CloseCode::ProtocolError),
        };
        let control = opcode as u8 >= Opcode::Close as u8;
        let bad_control = control && (!fin || usize::from(short) > CONTROL_FRAME_BYTES_MAX);
        if reserved != 0 || !masked || bad_control {
            return Err(CloseCode::ProtocolError);
        }
        let (payload, rest) = match short {
            126 => {
                let Some((length, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let Some((length, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
                (u64::from_be_bytes(*length), rest)
            }
            _ => (u64::from(short), rest),
        };
        let least = match short {
            126 => 126,
            127 => 1 << 16,
            _ => 0,
        };
        if payload < least || payload >> 63 != 0 {
            return Err(CloseCode::ProtocolError);
        }
        let payload = usize::try_from(payload).map_err(|_| CloseCode::TooLarge)?;
        if !control {
            let (held, fragments) = under_way.map_or((0, 0), |it| (it.message.len(), it.fragments));
            if payload > bytes_max.saturating_sub(held) || fragments >= FRAGMENTS_MAX {
                return Err(CloseCode::TooLarge);
            }
        }
        let Some((mask, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let len = buf.len() - rest.len();
        Ok(Some(Self { fin, opcode, mask: *mask, len, payload }))
    }

    /// A frame that needs no other.
    fn frame<'a>(&self, payload: &'a [u8]) -> Result<Frame<'a>, CloseCode> {
        Ok(match self.opcode {
            Opcode::Text => Frame::Text(simdutf8::basic::from_utf8(payload).map_err(|_| CloseCode::BadUtf8)?),
            Opcode::Continuation | Opcode::Binary => Frame::Binary(payload),
            Opcode::Close => Frame::Close(close_code(payload)?),
            Opcode::Ping => Frame::Ping(payload),
            Opcode::Pong => Frame::Pong,
        })
    }
}

/// The code in a close frame, checked as RFC 6455, 7.4 and the IANA registry say.
fn close_code(payload: &[u8]) -> Result<Option<u16>, CloseCode> {
    let (code, reason) = match *payload {
        [] => return Ok(None),
        [_] => return Err(CloseCode::ProtocolError),
        [high, low, ref reason @ ..] => (u16::from_be_bytes([high, low]), reason),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(CloseCode::ProtocolError);
    }
    if simdutf8::basic::from_utf8(reason).is_err() {
        return Err(CloseCode::BadUtf8);
    }
    Ok(Some(code))
}

/// Appends one whole frame.
pub fn write_frame(out: &mut impl BufMut, opcode: Opcode, payload: &[u8]) {
    write_header(out, opcode, payload.len());
    out.put_slice(payload);
}

/// Appends the header of a whole frame of `len` bytes.
pub fn write_header(out: &mut impl BufMut, opcode: Opcode, len: usize) {
    out.put_u8(0x80 | opcode as u8);
    if len < 126 {
        out.put_u8(len as u8);
    } else if let Ok(len) = u16::try_from(len) {
        out.put_u8(126);
        out.put_u16(len);
    } else {
        out.put_u8(127);
        out.put_u64(len as u64);
    }
}

/// The text of the first of several frames of ours, and what is behind it. None: there is none.
pub fn split_ours(frames: &[u8]) -> Option<(&[u8], &[u8])> {
    let [_, short, rest @ ..] = frames else { return None };
    let (len, rest) = match short {
        126 => {
            let (len, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*len)), rest)
        }
        127 => {
            let (len, rest) = rest.split_first_chunk::<8>()?;
            (usize::try_from(u64::from_be_bytes(*len)).ok()?, rest)
        }
        len => (usize::from(*len), rest),
    };
    rest.split_at_checked(len)
}

/// A ping, which a client answers by itself.
pub const PING: Bytes = Bytes::from_static(&[0x80 | Opcode::Ping as u8, 0]);

/// The answer to a ping.
pub fn pong_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Pong, payload)
}

/// A close frame of ours: the code, and its label as the reason.
pub fn close_frame(code: CloseCode) -> Bytes {
    let mut payload = Vec::with_capacity(2 + code.label().len());
    payload.put_u16(code.number());
    payload.put_slice(code.label().as_bytes());
    frame(Opcode::Close, &payload)
}

/// The answer to a client's close frame: the same code back.
pub fn close_echo(code: Option<u16>) -> Bytes {
    match code {
        Some(code) => frame(Opcode::Close, &code.to_be_bytes()),
        None => frame(Opcode::Close, &[]),
    }
}

fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(SERVER_HEADER_BYTES_MAX + payload.len());
    write_frame(&mut out, opcode, payload);
    out.into()
}

#[cfg(test)]
mod tests;
