//! Envelopes, and their bytes on the bus. Pure.
//!
//! A batch is a version byte and then, for each envelope: subject length (u16), subject, key
//! (u64), body length (u32), body; all little-endian. Bodies are sliced out of the batch, not
//! copied.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::subject::Subject;

const BATCH_VERSION: u8 = 1;

/// One envelope: its destination, its order, its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The destination.
    pub subject: Subject,
    /// Envelopes of one lane with the same key keep their order: the conversation's id.
    pub key: u64,
    /// The body; opaque to the bus.
    pub body: Bytes,
}

/// Bytes that are not a batch of envelopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no batch of envelopes")]
pub struct BadEnvelope;

impl Envelope {
    /// Bytes this envelope takes in a batch.
    pub fn encoded_len(&self) -> usize {
        2 + self.subject.as_str().len() + 8 + 4 + self.body.len()
    }

    /// Writes envelopes as one batch.
    pub fn encode_batch<'a>(envelopes: impl Iterator<Item = &'a Self> + Clone) -> Bytes {
        let len: usize = envelopes.clone().map(Self::encoded_len).sum();
        let mut out = BytesMut::with_capacity(1 + len);
        out.put_u8(BATCH_VERSION);
        for envelope in envelopes {
            let subject = envelope.subject.as_str().as_bytes();
            // A subject is at most 200 bytes and a body at most ENVELOPE_BYTES_MAX: both fit.
            out.put_u16_le(subject.len() as u16);
            out.put_slice(subject);
            out.put_u64_le(envelope.key);
            out.put_u32_le(envelope.body.len() as u32);
            out.put_slice(&envelope.body);
        }
        out.freeze()
    }

    /// Reads a batch.
    ///
    /// # Errors
    /// [`BadEnvelope`] when the bytes are damaged or of another version.
    pub fn decode_batch(mut bytes: Bytes) -> Result<Vec<Self>, BadEnvelope> {
        if bytes.try_get_u8() != Ok(BATCH_VERSION) {
            return Err(BadEnvelope);
        }
        let mut envelopes = Vec::new();
        while bytes.has_remaining() {
            let subject_len = bytes.try_get_u16_le().map_err(|_| BadEnvelope)?;
            let subject = take(&mut bytes, usize::from(subject_len))?;
            let subject = std::str::from_utf8(&subject).map_err(|_| BadEnvelope)?;
            let subject = Subject::new(subject).map_err(|_| BadEnvelope)?;
            let key = bytes.try_get_u64_le().map_err(|_| BadEnvelope)?;
            let body_len = bytes.try_get_u32_le().map_err(|_| BadEnvelope)?;
            let body = take(&mut bytes, body_len as usize)?;
            envelopes.push(Self { subject, key, body });
        }
        Ok(envelopes)
    }
}

fn take(bytes: &mut Bytes, len: usize) -> Result<Bytes, BadEnvelope> {
    if len > bytes.len() { Err(BadEnvelope) } else { Ok(bytes.split_to(len)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(subject: &str, key: u64, body: &'static str) -> Envelope {
        Envelope { subject: Subject::new(subject).unwrap(), key, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn a_batch_comes_back_as_it_was() {
        let batch = [envelope("high.sendMessage", 7, "xin chào"), envelope("low.typing", u64::MAX, "")];
        let bytes = Envelope::encode_batch(batch.iter());
        assert_eq!(Envelope::decode_batch(bytes), Ok(batch.to_vec()));
    }

    #[test]
    fn damaged_batches_are_refused() {
        let whole = Envelope::encode_batch([envelope("high.a", 7, "abc")].iter());
        for end in (0..whole.len()).filter(|end| *end != 1) {
            assert_eq!(Envelope::decode_batch(whole.slice(..end)), Err(BadEnvelope), "{end}");
        }
        assert_eq!(Envelope::decode_batch(Bytes::from_static(&[1, 1, 0, b'*'])), Err(BadEnvelope));
    }
}
