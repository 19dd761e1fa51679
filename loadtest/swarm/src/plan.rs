//! The plan of a player: its load and its conversations. Pure data.

use crate::guid::Run;

/// The pace of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Sends nothing.
    Silent,
    /// Open loop: sends at fixed times, whatever the server does.
    Open {
        /// Time between two messages, µs.
        interval_us: u64,
        /// Time before the first message, µs.
        phase_us: u64,
    },
    /// Sends as fast as acknowledgements arrive.
    Flat {
        /// Most unacknowledged messages.
        window: usize,
    },
}

/// The plan of one player.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The bits that all guids of this run share.
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
    /// Seed for the choice of conversations and for jitter.
    pub seed: u64,
}

/// splitmix64: a pseudo-random number, the same in every run.
pub fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
