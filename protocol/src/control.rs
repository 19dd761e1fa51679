//! The operator's questions to all running programs, and the programs' answers.
//!
//! The operator publishes a question once on [`PROGRAMS_SUBJECT`]; each program that it concerns answers
//! on the asker's [`answers_subject`]. The question names no program, so a program that has gone, or that is
//! older than the question, is simply silent.
//!
//! No client reaches these subjects: a gateway makes subjects from the protocol's events and from one
//! word of a REST path (`api.<word>`), never from a client's text.

use serde::{Deserialize, Serialize};

use crate::ids::{ConversationId, LoginId, NodeId, SocketId, UserId};
use crate::lane::Lane;
use crate::reject::Reject;
use crate::time::Timestamp;

/// The body of an envelope on `control.workers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The worker.
    pub node: NodeId,
    /// Its message to the other workers.
    pub says: Says,
}

/// A worker's message to the other workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Says {
    /// I have just started: all workers should answer at once.
    Hello,
    /// I am alive.
    Here,
    /// I am leaving: stop counting me.
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
    /// The asker, who gets the answers.
    pub from: NodeId,
    /// The asker's own number for it, repeated in the answers.
    pub number: u32,
    /// The question.
    pub question: Question,
}

/// A question or an order. An older program does not answer a variant that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Which program are you, and what do you hold? All programs answer [`Reply::Here`].
    Roll,
    /// What do you hold of the lanes? Workers answer [`Reply::Lanes`].
    Lanes,
    /// Which sockets of this user do you hold? Gateways answer [`Reply::Sockets`].
    Sockets(UserId),
    /// Close the sockets of this user. Gateways answer [`Reply::Closed`].
    Kick {
        /// The user.
        user: UserId,
        /// A login of the user that has ended: gateways refuse its tokens from now on.
        ended: Option<LoginId>,
    },
    /// The node with this id drains, as after SIGTERM, and answers [`Reply::Draining`].
    Drain(NodeId),
    /// Which milestones do you remember of messages whose guid has this hash
    /// ([`Origin::hash`](super::Origin::hash))? All programs answer [`Reply::Trace`].
    Trace(u64),
}

/// The body of an envelope on [`answers_subject`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// [`Ask::number`].
    pub number: u32,
    /// The program that answers.
    pub who: Who,
    /// The answer.
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

/// A program's description of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The node id of this start of the program.
    pub node: NodeId,
    /// The kind of program.
    pub part: Part,
    /// The version of the package.
    pub version: String,
    /// The machine's (or container's) name.
    pub host: String,
    /// The id of the process on that machine. Two nodes in one process have the same.
    pub pid: u32,
    /// Time since the start.
    pub up_ms: u64,
    /// How late a short timer fired when the program was asked.
    pub lag_ms: u64,
    /// The program has everything it needs and does not drain.
    pub ready: bool,
    /// The program drains.
    pub draining: bool,
    /// The parts that are degraded or down, with their reasons, as in `/readyz`.
    pub unwell: Vec<(String, String)>,
}

/// A program's description of itself in the directory, rewritten every few seconds: for programs and
/// operators that can no longer ask it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The node id of this start of the program.
    pub node: NodeId,
    /// The kind of program.
    pub part: Part,
    /// The version of the package.
    pub version: String,
    /// The machine's (or container's) name.
    pub host: String,
    /// The id of the process on that machine.
    pub pid: u32,
    /// The time of the start, by the program's own clock.
    pub started: Timestamp,
    /// The time of this description, by the program's own clock.
    pub seen: Timestamp,
    /// A digest of the secret that signs tokens. Equal secrets have equal digests.
    pub secret: u32,
}

impl std::fmt::Display for Card {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}:{} ({})", self.part, self.host, self.pid, self.node)
    }
}

/// A program's answer. An older asker cannot read a variant that it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Question::Roll`].
    Here {
        /// A gateway's open sockets.
        sockets: Option<u64>,
        /// The shards that a worker holds, of the lanes that have several.
        shards: Option<u32>,
    },
    /// To [`Question::Lanes`]: what the worker holds, by lane and shard; shards of which it holds nothing are missing.
    Lanes(Vec<HeldShard>),
    /// To [`Question::Sockets`].
    Sockets {
        /// The first sockets of the list.
        sockets: Vec<SocketView>,
        /// The number of all of them.
        total: u32,
    },
    /// To [`Question::Kick`]: the number of sockets that were asked to close.
    Closed(u32),
    /// To [`Question::Drain`].
    Draining {
        /// The node was draining already.
        already: bool,
    },
    /// To [`Question::Trace`].
    Trace {
        /// The newest milestones, in the order in which the message reached them.
        milestones: Vec<Milestone>,
        /// Milestones before this time are forgotten. None if none is forgotten.
        since: Option<Timestamp>,
        /// Whether the program keeps milestones at all.
        is_on: bool,
    },
}

/// The record that a message reached a stage, at a time by the clock of the program that reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milestone {
    /// The sender of the message.
    pub sender: UserId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The time.
    pub at: Timestamp,
    /// The stage.
    pub stage: Stage,
}

/// A stage in the life of a message. Variants are only ever appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// This gateway has accepted the message from a socket (by its serial), or this worker from a REST request.
    Accepted {
        /// None: the message came over REST.
        socket: Option<u64>,
        /// The time of the broker's confirm. None: not yet.
        confirmed: Option<Timestamp>,
    },
    /// The broker did not confirm in time, and the sender heard `busy`. The message may reach its lane later.
    Unconfirmed,
    /// This worker has taken it.
    Taken {
        /// 1 at first, plus 1 after each rung of the retry ladder.
        attempt: u8,
        /// The broker had delivered it before, to this or another worker that did not finish.
        again: bool,
    },
    /// This worker has committed it to the database.
    Committed {
        /// Its `seq` in the conversation.
        seq: u64,
        /// The database had it already.
        repeat: bool,
    },
    /// It was refused finally.
    Refused(Reject),
    /// The broker has taken the delivery for the sockets of one gateway.
    Published {
        /// The gateway.
        node: NodeId,
        /// Users who have sockets there, as the directory says.
        users: u32,
    },
    /// The gateway of a delivery no longer exists.
    NoRoute {
        /// The gateway.
        node: NodeId,
    },
    /// No member had a socket.
    Nobody,
    /// It failed, and waits on the retry ladder.
    Delayed {
        /// The number of failures.
        attempt: u8,
    },
    /// It failed for the last time.
    Quarantined,
    /// This worker gave it back to its lane.
    GivenBack,
    /// This gateway put it into the outboxes of its sockets.
    Written {
        /// The number of sockets.
        found: u32,
        /// Of these, the sockets for which the kernel has taken its last byte.
        written: u32,
        /// The time of the last of them.
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
    /// Its id.
    pub socket: SocketId,
    /// The login its token descends from.
    pub login: LoginId,
    /// `native` or `socket.io`.
    pub form: String,
    /// The time when it was opened.
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
