//! What a player is to do. Pure data.

use crate::guid::Run;

/// How a sender sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Not at all.
    Silent,
    /// At fixed times, whatever the server does: one each this many µs, the first after `phase`.
    Open {
        /// Between two messages.
        interval_us: u64,
        /// Before the first.
        phase_us: u64,
    },
    /// As fast as acknowledgements arrive, with this many unacknowledged.
    Flat {
        /// Unacknowledged at most.
        window: usize,
    },
}

/// What a player is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What all guids of this run have in common.
    pub run: Run,
    /// Index of the user.
    pub user: u32,
    /// Index, id and number of members of each conversation the user is in.
    pub conversations: Vec<(u32, i64, u32)>,
    /// The pace of sending.
    pub load: Load,
    /// Messages to send at most.
    pub messages: u32,
    /// Unacknowledged messages per conversation at most.
    pub pipeline: usize,
    /// Bytes of a message's content.
    pub bytes: usize,
    /// Silence after which a message is sent again, µs.
    pub resend_us: u64,
    /// For the choice of conversations and for jitter.
    pub seed: u64,
}

/// splitmix64: a number that looks random, the same in every run.
pub fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
