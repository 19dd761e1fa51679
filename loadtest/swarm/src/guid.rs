//! The guids of a run: UUIDs of version 7 (RFC 9562), as a good client makes them, which also say whose
//! message they name.
//!
//! 48 bits: the start of the run in milliseconds, and one more for each message of its sender, so that
//! they sort as they were sent. 42 bits: the same in all guids of the run. 32 bits: the sender.

use crate::evidence::Key;
use crate::plan::mix;

const VERSION: u128 = 7 << 76;
const VARIANT: u128 = 2 << 62;
/// Mask of the bits that are neither the time nor the sender.
const COMMON: u128 = 0xffff << 64 | 0xffff_ffff << 32;

/// The bits that all guids of one run share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    start_ms: u64,
    /// Version, variant and the bits of the run, in their places.
    common: u128,
}

impl Run {
    /// A run that begins now, in Unix milliseconds. Different seeds are different runs.
    pub fn new(start_ms: u64, seed: u64) -> Self {
        let bits = u128::from(mix(seed));
        let common = (bits & 0xfff) << 64 | ((bits >> 12) & 0x3fff_ffff) << 32;
        Self { start_ms, common: common | VERSION | VARIANT }
    }

    /// The guid on the wire.
    pub fn guid(self, (sender, count): (u32, u32)) -> String {
        let time = u128::from(self.start_ms + u64::from(count));
        let digits = format!("{:032x}", time << 80 | self.common | u128::from(sender));
        let [a, b, c, d, e] = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]);
        format!("{a}-{b}-{c}-{d}-{e}")
    }

    /// The message that a guid names; foreign if the guid is of another run.
    pub fn key(self, guid: &str) -> Key {
        let parts = bits(guid).and_then(|bits| {
            let count = ((bits >> 80) as u64).checked_sub(self.start_ms)?;
            let is_ours = bits & COMMON == self.common;
            is_ours.then_some(Key::new(bits as u32, u32::try_from(count).ok()?))
        });
        parts.unwrap_or(Key::FOREIGN)
    }
}

/// A UUID's bits, if it is one.
fn bits(guid: &str) -> Option<u128> {
    let bytes = guid.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    bytes.iter().enumerate().try_fold(0_u128, |bits, (at, byte)| match (at, byte) {
        (8 | 13 | 18 | 23, b'-') => Some(bits),
        (8 | 13 | 18 | 23, _) => None,
        (_, byte) => Some(bits << 4 | u128::from((*byte as char).to_digit(16)?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_names_its_message() {
        let (run, other) = (Run::new(0x0190_0000_0000, 1), Run::new(0x0190_0000_0000, 2));
        let guid = run.guid((7, 123_456));
        assert_eq!(run.key(&guid).parts(), Some((7, 123_456)));
        let [early, upper] = [Run::new(0x0190_0000_0001, 1).guid((7, 0)), guid.to_uppercase()];
        assert_eq!(run.key(&early).parts(), Some((7, 1)), "the same run, if the same numbers made it");
        assert_eq!(run.key(&upper), run.key(&guid));
        for foreign in [other.guid((7, 1)).as_str(), Run::new(0x0180_0000_0000, 1).guid((7, 1)).as_str()] {
            assert_eq!(run.key(foreign), Key::FOREIGN, "{foreign}");
        }
        for bad in ["", "r1.7.1", &guid[1..], &guid.replace('-', "x"), &guid.replacen('0', "é", 1)] {
            assert_eq!(run.key(bad), Key::FOREIGN, "{bad}");
        }
    }

    #[test]
    fn guids_are_uuids_of_version_7_that_sort_as_sent() {
        let run = Run::new(0x0123_4567_89ab, 5);
        let guids = [run.guid((9, 0)), run.guid((2, 1)), run.guid((9, 300))];
        assert!(guids[0].starts_with("01234567-89ab-7"), "{}", guids[0]);
        assert!(matches!(guids[0].as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{}", guids[0]);
        assert!(guids.is_sorted());
    }
}
