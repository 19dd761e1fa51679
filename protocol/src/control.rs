//! What an operator asks of every running program, and what they answer.
//!
//! A question goes out once on [`PROGRAMS_SUBJECT`]; each program that has something to say answers
//! on [`answers_subject`] of the asker. Nobody is asked by name, and nobody is waited for: who is
//! gone, or older than the question, is silent.
//!
//! No client reaches these subjects: a gateway makes subjects from the events of the protocol and
//! from one word of a REST path (`api.<word>`), never from what a client wrote.

use serde::{Deserialize, Serialize};

use crate::ids::{ConversationId, LoginId, NodeId, SocketId, UserId};
use crate::lane::Lane;
use crate::reject::Reject;
use crate::time::Timestamp;

/// The body of an envelope on `control.workers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Who.
    pub node: NodeId,
    /// What it says.
    pub says: Says,
}

/// What a worker says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Says {
    /// I am new: say at once that you are there.
    Hello,
    /// I am here.
    Here,
    /// I leave: count me no more.
    Bye,
}

/// Where every program listens for questions.
pub const PROGRAMS_SUBJECT: &str = "control.programs";

/// Where an asker listens for answers.
pub fn answers_subject(asker: NodeId) -> String {
    format!("control.answers.{asker}")
}

/// The body of an envelope on [`PROGRAMS_SUBJECT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Who wants the answers.
    pub from: NodeId,
    /// The asker's own number for it, repeated in the answers.
    pub number: u32,
    /// What.
    pub question: Question,
}

/// A question, or something to do. A younger one is silence to an older program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Who are you, and what do you hold? Everybody answers [`Reply::Here`].
    Roll,
    /// What do you hold of the lanes? Workers answer [`Reply::Lanes`].
    Lanes,
    /// Which sockets of this user do you hold? Gateways answer [`Reply::Sockets`].
    Sockets(UserId),
    /// Close the sockets of this user. Gateways answer [`Reply::Closed`].
    Kick {
        /// Whose.
        user: UserId,
        /// A login of the user that has ended: its tokens are refused from here on.
        ended: Option<LoginId>,
    },
    /// Whoever has this id leaves, as after SIGTERM. It answers [`Reply::Draining`].
    Drain(NodeId),
    /// What do you remember of messages whose guid has this hash
    /// ([`Origin::hash`](super::Origin::hash))? Everybody answers [`Reply::Trace`].
    Trace(u64),
}

/// The body of an envelope on [`answers_subject`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// [`Ask::number`].
    pub number: u32,
    /// Who says it.
    pub who: Who,
    /// What.
    pub said: Reply,
}

/// What kind of program a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Part {
    Gateway,
    Worker,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gateway => "gateway",
            Self::Worker => "worker",
        })
    }
}

/// A program, as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// This start of it.
    pub node: NodeId,
    /// What it is.
    pub part: Part,
    /// Of the package.
    pub version: String,
    /// The machine's (or container's) name.
    pub host: String,
    /// Of the process on that machine. Two nodes of one process have the same.
    pub pid: u32,
    /// Since it started.
    pub up_ms: u64,
    /// How late a short timer came when it was asked.
    pub lag_ms: u64,
    /// Everything it needs is there, and it does not drain.
    pub ready: bool,
    /// It leaves.
    pub draining: bool,
    /// The parts that are not well, with their reasons: what `/readyz` says.
    pub unwell: Vec<(String, String)>,
}

/// What a program writes about itself into the directory, every few seconds: who it is, for programs and
/// operators that cannot ask it any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// This start of it.
    pub node: NodeId,
    /// What it is.
    pub part: Part,
    /// Of the package.
    pub version: String,
    /// The machine's (or container's) name.
    pub host: String,
    /// Of the process on that machine.
    pub pid: u32,
    /// When it started, by its own clock.
    pub started: Timestamp,
    /// When it wrote this, by its own clock.
    pub seen: Timestamp,
    /// A digest of the secret that signs tokens. Equal secrets have equal digests.
    pub secret: u32,
}

impl std::fmt::Display for Card {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}:{} ({})", self.part, self.host, self.pid, self.node)
    }
}

/// What a program says. A younger one is not understood by an older asker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Question::Roll`].
    Here {
        /// A gateway's open sockets.
        sockets: Option<u64>,
        /// Shards that are a worker's share, of the lanes that have several.
        shards: Option<u32>,
    },
    /// To [`Question::Lanes`]: what is held, by lane and shard; nothing held, no entry.
    Lanes(Vec<HeldShard>),
    /// To [`Question::Sockets`].
    Sockets {
        /// The first of them.
        sockets: Vec<SocketView>,
        /// How many there are.
        total: u32,
    },
    /// To [`Question::Kick`]: so many sockets were asked to close.
    Closed(u32),
    /// To [`Question::Drain`].
    Draining {
        /// It drained already.
        already: bool,
    },
    /// To [`Question::Trace`].
    Trace {
        /// The newest of them, in the order in which they were reached.
        milestones: Vec<Milestone>,
        /// What happened before this is forgotten. None: nothing is.
        since: Option<Timestamp>,
        /// It keeps milestones at all.
        is_on: bool,
    },
}

/// That a message came to a stage, at a time by the clock of the program that says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milestone {
    /// Who sent the message.
    pub sender: UserId,
    /// Where to.
    pub conversation: ConversationId,
    /// When.
    pub at: Timestamp,
    /// What.
    pub stage: Stage,
}

/// A stage in the life of a message. Variants are only ever appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// This gateway has taken it from a socket (by its serial), or this worker from a REST request.
    Accepted {
        /// None: it came over REST.
        socket: Option<u64>,
        /// When the broker confirmed it. None: not yet.
        confirmed: Option<Timestamp>,
    },
    /// The broker did not confirm in time: its sender heard `busy`. It may be on its lane later.
    Unconfirmed,
    /// This worker began to work on it.
    Taken {
        /// 1 at first, and one more after each rung of the retry ladder.
        attempt: u8,
        /// It was handed out before, here or to another worker that did not finish.
        again: bool,
    },
    /// This worker has it in the database.
    Committed {
        /// Its place in the conversation.
        seq: u64,
        /// It was there already.
        repeat: bool,
    },
    /// It was refused, for good.
    Refused(Reject),
    /// The bus has taken what tells the sockets of one gateway.
    Published {
        /// The gateway.
        node: NodeId,
        /// Users who have sockets there, as the directory says.
        users: u32,
    },
    /// There was no such gateway any more.
    NoRoute {
        /// The gateway.
        node: NodeId,
    },
    /// Nobody of its conversation was connected.
    Nobody,
    /// It failed, and waits on the retry ladder.
    Delayed {
        /// How often it has failed.
        attempt: u8,
    },
    /// It failed for the last time.
    Quarantined,
    /// This worker gave it back to its lane.
    GivenBack,
    /// This gateway put it into the outboxes of its sockets.
    Written {
        /// How many.
        found: u32,
        /// Of these, the sockets for which the kernel has taken its last byte.
        written: u32,
        /// When it was the last of them.
        last: Option<Timestamp>,
    },
}

/// What one worker holds of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldShard {
    /// The lane.
    pub lane: Lane,
    /// The shard.
    pub shard: u16,
    /// Batches that the broker has handed out and that are not acknowledged.
    pub unacked: u32,
    /// When the gateway accepted the oldest event of them. None: it cannot be read.
    pub oldest: Option<Timestamp>,
}

/// A socket, as its gateway sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketView {
    /// Which.
    pub socket: SocketId,
    /// The login its token descends from.
    pub login: LoginId,
    /// `native` or `socket.io`.
    pub form: String,
    /// When it was opened.
    pub since: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{decode, encode};

    #[test]
    fn a_younger_question_is_silence_to_an_older_program() {
        #[derive(Serialize)]
        enum Younger {
            Weather,
        }
        #[derive(Serialize)]
        struct YoungerAsk {
            from: NodeId,
            number: u32,
            question: Younger,
        }
        let ask = YoungerAsk { from: NodeId(1), number: 2, question: Younger::Weather };
        assert_eq!(decode::<Ask>(&encode(&ask)), Err(crate::encoding::BadBytes));
    }

    #[test]
    fn answers_go_to_their_asker() {
        assert_eq!(answers_subject(NodeId(0xab)), "control.answers.00000000000000ab");
    }
}
