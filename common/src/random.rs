//! Randomness of the operating system: secrets, masks, jitter, names of messages.
//!
//! An id is not a source of randomness: what is secret or must differ is taken from here.

use std::fmt::Write as _;
use std::time::Duration;

use protocol::Timestamp;

/// Random bytes, good enough for a secret.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // The operating system's generator only fails where nothing else would work either.
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A random number below `end`; 0 if `end` is 0.
pub fn below(end: u64) -> u64 {
    // The bias of a remainder is below 2^-32 for every bound used here.
    u64::from_le_bytes(bytes()).checked_rem(end).unwrap_or_default()
}

/// A pause between half of `longest` and `longest`, so that programs that were cut together do not
/// come back together.
pub fn jitter(longest: Duration) -> Duration {
    let half = longest / 2;
    let more = below(u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).saturating_add(1));
    half + Duration::from_nanos(more)
}

/// 256 random bits as 64 hexadecimal digits: a secret that a person can copy.
pub fn secret() -> String {
    bytes::<32>().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A UUID of version 7 (RFC 9562): the time in milliseconds, then random bits. Names made one after
/// the other lie side by side in an index.
pub fn uuid_v7(now: Timestamp) -> String {
    let mut bytes = bytes::<16>();
    bytes[..6].copy_from_slice(&now.0.to_be_bytes()[2..]);
    bytes[6] = 0x70 | bytes[6] & 0x0f;
    bytes[8] = 0x80 | bytes[8] & 0x3f;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
        // Writing to a String does not fail.
        let _ = write!(text, "{dash}{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jitter_is_between_half_and_all_and_differs() {
        let longest = Duration::from_millis(800);
        let all: Vec<Duration> = (0..100).map(|_| jitter(longest)).collect();
        assert!(all.iter().all(|one| (longest / 2..=longest).contains(one)), "{all:?}");
        assert!(all.iter().any(|one| *one != all[0]));
        assert_eq!(jitter(Duration::ZERO), Duration::ZERO);
        assert_eq!(below(0), 0);
        assert!((0..100).all(|_| below(3) < 3));
    }

    #[test]
    fn secrets_are_long_and_differ() {
        let secrets = [secret(), secret()];
        assert!(
            secrets.iter().all(|one| one.len() == 64 && one.bytes().all(|byte| byte.is_ascii_hexdigit()))
        );
        assert_ne!(secrets[0], secrets[1]);
    }

    #[test]
    fn a_uuid_of_version_7_begins_with_its_time_and_sorts_by_it() {
        let [first, second] = [0x0123_4567_89ab, 0x0123_4567_89ac].map(|ms| uuid_v7(Timestamp(ms)));
        assert!(first < second && first.starts_with("01234567-89ab-7"), "{first} {second}");
        assert_ne!(uuid_v7(Timestamp(1)), uuid_v7(Timestamp(1)));
        let shape: Vec<usize> = first.split('-').map(str::len).collect();
        assert_eq!(shape, [8, 4, 4, 4, 12], "{first}");
        assert!(matches!(first.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{first}");
    }
}
