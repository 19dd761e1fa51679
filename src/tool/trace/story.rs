//! From what many programs remember to where a message is now. Pure.
//!
//! The stage furthest along wins, whatever the clocks say: a repeat of a send starts from the first stage again
//! and takes nothing back. Times decide only between stages that may follow each other both ways.

use std::collections::BTreeMap;

use protocol::control::{Milestone, Part, Stage, Who};
use protocol::ids::{ConversationId, NodeId, UserId};
use protocol::{Reject, Timestamp};
use worker::features::operator::KeptMessage;

/// One message: a guid may be used by several senders, and in several conversations.
#[derive(Debug, Default)]
pub struct Story {
    /// The milestones with the programs that remember them, by time.
    pub milestones: Vec<(Program, Milestone)>,
    /// Its row, without its contents.
    pub kept: Option<KeptMessage>,
    /// It is in quarantine.
    pub aside: Option<Aside>,
}

/// A program, as the rest of the answer names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub node: NodeId,
    pub role: &'static str,
    pub process: String,
}

/// The message in the quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    pub nth: usize,
    pub attempts: u8,
    pub reason: String,
}

/// The place of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// The gateway has it, the broker has not confirmed it.
    Accepted,
    /// The broker did not confirm in time.
    Unconfirmed,
    /// The broker has it, and no worker that is there has begun it.
    Confirmed {
        since: Option<Timestamp>,
    },
    /// A worker works on it.
    Taken {
        worker: NodeId,
        attempt: u8,
        since: Timestamp,
    },
    /// On the retry ladder.
    Delayed {
        attempt: u8,
        since: Timestamp,
    },
    Quarantined,
    Refused(Reject),
    /// It is in the database.
    Committed,
    /// In the database; no member was connected.
    Nobody,
    /// On its way to gateways.
    Published {
        nodes: usize,
    },
    /// In outboxes, and the kernel of the gateway has taken none yet.
    Queued {
        found: u32,
        gateways: usize,
    },
    /// Bytes were handed to the kernel.
    Written {
        written: u32,
        found: u32,
        gateways: usize,
    },
    /// A member has read it.
    Read {
        read: u32,
        others: u32,
    },
}

impl Whereabouts {
    /// The value of `now` in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Unconfirmed => "unconfirmed",
            Self::Confirmed { .. } => "confirmed",
            Self::Taken { .. } => "taken",
            Self::Delayed { .. } => "delayed",
            Self::Quarantined => "quarantined",
            Self::Refused(_) => "refused",
            Self::Committed => "committed",
            Self::Nobody => "nobody",
            Self::Published { .. } => "published",
            Self::Queued { .. } => "queued",
            Self::Written { .. } => "written",
            Self::Read { .. } => "read",
        }
    }
}

/// The milestones of all programs, message by message.
pub fn stories(
    answers: impl IntoIterator<Item = (Who, Vec<Milestone>)>,
) -> BTreeMap<(ConversationId, UserId), Story> {
    let mut stories = BTreeMap::<_, Story>::new();
    for (who, milestones) in answers {
        let place = Program { node: who.node, role: role(who.part), process: process(&who) };
        for one in milestones {
            let story = stories.entry((one.conversation, one.sender)).or_default();
            story.milestones.push((place.clone(), one));
        }
    }
    // The order of one program stays where its times are equal.
    stories.values_mut().for_each(|story| story.milestones.sort_by_key(|(_, one)| one.at));
    stories
}

impl Story {
    /// The place of the message.
    pub fn now(&self) -> Whereabouts {
        let is_kept = self.kept.is_some() || self.any(|stage| matches!(stage, Stage::Committed { .. }));
        if is_kept { self.told() } else { self.under_way() }
    }

    /// Of a message that the database has.
    fn told(&self) -> Whereabouts {
        let (mut written, mut found, mut gateways, mut nodes, mut to_nobody) = (0_u32, 0_u32, 0, 0, false);
        for (_, one) in &self.milestones {
            match one.stage {
                Stage::Written { found: of_one, written: out, .. } if of_one > 0 => {
                    (written, found) = (written.saturating_add(out), found.saturating_add(of_one));
                    gateways += 1;
                }
                Stage::Published { .. } | Stage::Written { .. } => nodes += 1,
                Stage::Nobody => to_nobody = true,
                _ => {}
            }
        }
        match self.kept {
            Some(KeptMessage { read, others, .. }) if read > 0 => Whereabouts::Read { read, others },
            _ if written > 0 => Whereabouts::Written { written, found, gateways },
            _ if found > 0 => Whereabouts::Queued { found, gateways },
            _ if nodes > 0 => Whereabouts::Published { nodes },
            _ if to_nobody => Whereabouts::Nobody,
            _ => Whereabouts::Committed,
        }
    }

    /// Of a message that the database has not.
    fn under_way(&self) -> Whereabouts {
        if self.aside.is_some() {
            return Whereabouts::Quarantined;
        }
        let (mut accepted, mut confirmed, mut unconfirmed) = (None, None, false);
        // The last word of those who may refuse it or work on it.
        let mut word = None;
        for (place, one) in &self.milestones {
            match one.stage {
                Stage::Accepted { confirmed: at, .. } => {
                    accepted = accepted.max(Some(one.at));
                    confirmed = confirmed.max(at);
                }
                Stage::Unconfirmed => unconfirmed = true,
                Stage::Taken { attempt, .. } => {
                    word = Some((one.at, Whereabouts::Taken { worker: place.node, attempt, since: one.at }));
                }
                Stage::Delayed { attempt } => {
                    word = Some((one.at, Whereabouts::Delayed { attempt, since: one.at }))
                }
                Stage::GivenBack => word = Some((one.at, Whereabouts::Confirmed { since: Some(one.at) })),
                Stage::Refused(reject) => word = Some((one.at, Whereabouts::Refused(reject))),
                // It is there no more: it was put back on its lane.
                Stage::Quarantined => word = Some((one.at, Whereabouts::Confirmed { since: Some(one.at) })),
                _ => {}
            }
        }
        let front = match confirmed {
            Some(_) => Whereabouts::Confirmed { since: confirmed },
            None if unconfirmed => Whereabouts::Unconfirmed,
            None => Whereabouts::Accepted,
        };
        match word {
            None => front,
            // It was sent again after it had been refused.
            Some((refused, Whereabouts::Refused(_))) if accepted.is_some_and(|again| again > refused) => {
                front
            }
            Some((_, now)) => now,
        }
    }

    fn any(&self, is_it: impl Fn(&Stage) -> bool) -> bool {
        self.milestones.iter().any(|(_, one)| is_it(&one.stage))
    }
}

/// The word for a program.
pub(super) fn role(part: Part) -> &'static str {
    match part {
        Part::Gateway => "gateway",
        Part::Worker => "worker",
    }
}

/// The process of a program.
pub(super) fn process(who: &Who) -> String {
    format!("{}:{}", who.host, who.pid)
}

#[cfg(test)]
mod tests {
    use protocol::control::Part;
    use protocol::ids::MessageId;

    use super::*;

    fn who(node: u64, part: Part) -> Who {
        Who {
            node: NodeId(node),
            part,
            version: String::new(),
            host: "h".into(),
            pid: 1,
            up_ms: 0,
            lag_ms: 0,
            ready: true,
            draining: false,
            unwell: vec![],
        }
    }

    fn of(sender: i64, at: i64, stage: Stage) -> Milestone {
        Milestone { sender: UserId(sender), conversation: ConversationId(7), at: Timestamp(at), stage }
    }

    /// One message, of a gateway and a worker.
    fn story(gateway: &[(i64, Stage)], worker: &[(i64, Stage)], kept: Option<u32>) -> Story {
        let of_one = |all: &[(i64, Stage)]| all.iter().map(|(at, stage)| of(1, *at, *stage)).collect();
        let answers = [(who(1, Part::Gateway), of_one(gateway)), (who(2, Part::Worker), of_one(worker))];
        let mut story = stories(answers).pop_last().map(|(_, story)| story).unwrap_or_default();
        story.kept = kept.map(|read| KeptMessage {
            sender: UserId(1),
            conversation: ConversationId(7),
            message: MessageId(9),
            seq: 3,
            created_at: Timestamp(3),
            others: 2,
            read,
        });
        story
    }

    const ACCEPTED: Stage = Stage::Accepted { socket: Some(1), confirmed: None };
    const CONFIRMED: Stage = Stage::Accepted { socket: Some(1), confirmed: Some(Timestamp(2)) };
    const TAKEN: Stage = Stage::Taken { attempt: 1, again: false };

    #[test]
    fn where_a_message_is_before_it_is_kept() {
        let check = |gateway: &[(i64, Stage)], worker: &[(i64, Stage)], name: &str| {
            let now = story(gateway, worker, None).now();
            assert_eq!(now.name(), name, "{gateway:?} {worker:?}: {now:?}");
        };
        check(&[(1, ACCEPTED)], &[], "accepted");
        check(&[(1, ACCEPTED), (9, Stage::Unconfirmed)], &[], "unconfirmed");
        check(&[(1, CONFIRMED)], &[], "confirmed");
        check(&[(1, CONFIRMED), (5, ACCEPTED)], &[], "confirmed");
        check(&[(1, CONFIRMED), (5, ACCEPTED), (6, Stage::Unconfirmed)], &[], "confirmed");
        check(&[(1, CONFIRMED)], &[(3, TAKEN)], "taken");
        check(&[(10, CONFIRMED)], &[(3, TAKEN)], "taken");
        check(&[(1, CONFIRMED)], &[(3, TAKEN), (4, Stage::GivenBack)], "confirmed");
        check(&[(1, CONFIRMED)], &[(3, TAKEN), (3, Stage::Delayed { attempt: 1 })], "delayed");
        let again = Stage::Taken { attempt: 2, again: true };
        check(&[(1, CONFIRMED)], &[(3, TAKEN), (4, Stage::Delayed { attempt: 1 }), (5, again)], "taken");
        check(&[(1, CONFIRMED)], &[(3, TAKEN), (4, Stage::Refused(Reject::NotAMember))], "refused");
        // The worker is gone; the gateway told its client.
        check(&[(1, CONFIRMED), (4, Stage::Refused(Reject::Blocked))], &[], "refused");
        check(&[(1, Stage::Refused(Reject::RateLimited)), (5, ACCEPTED)], &[], "accepted");
        let mut aside = story(&[(1, CONFIRMED)], &[(3, TAKEN), (4, Stage::Quarantined)], None);
        assert_eq!(aside.now().name(), "confirmed", "it was replayed");
        aside.aside = Some(Aside { nth: 1, attempts: 6, reason: String::new() });
        assert_eq!(aside.now(), Whereabouts::Quarantined);
    }

    #[test]
    fn where_a_message_is_when_it_is_kept() {
        let written = |found, written| Stage::Written { found, written, last: None };
        let published = Stage::Published { node: NodeId(1), users: 2 };
        let committed = Stage::Committed { seq: 3, repeat: false };
        let check = |gateway: &[(i64, Stage)], worker: &[(i64, Stage)], read: u32, now: Whereabouts| {
            assert_eq!(story(gateway, worker, Some(read)).now(), now, "{gateway:?} {worker:?}");
        };
        check(&[], &[], 0, Whereabouts::Committed);
        check(&[(1, CONFIRMED)], &[(3, TAKEN)], 0, Whereabouts::Committed);
        check(&[], &[(3, committed), (4, Stage::Nobody)], 0, Whereabouts::Nobody);
        check(&[], &[(4, published)], 0, Whereabouts::Published { nodes: 1 });
        check(&[(4, written(0, 0))], &[], 0, Whereabouts::Published { nodes: 1 });
        check(&[(4, written(3, 0))], &[(4, published)], 0, Whereabouts::Queued { found: 3, gateways: 1 });
        let all = Whereabouts::Written { written: 3, found: 5, gateways: 2 };
        check(&[(4, written(3, 2)), (4, written(2, 1))], &[], 0, all);
        check(&[(4, written(3, 2))], &[], 2, Whereabouts::Read { read: 2, others: 2 });
        // Without the database a worker's word counts.
        assert_eq!(
            story(&[(1, CONFIRMED)], &[(3, TAKEN), (4, committed)], None).now(),
            Whereabouts::Committed
        );
    }

    #[test]
    fn one_guid_of_two_senders_is_two_messages() {
        let answers = [(who(1, Part::Gateway), vec![of(2, 1, CONFIRMED), of(1, 2, ACCEPTED)])];
        let stories = stories(answers);
        let seen: Vec<_> =
            stories.iter().map(|((_, sender), story)| (sender.0, story.now().name())).collect();
        assert_eq!(seen, [(1, "accepted"), (2, "confirmed")]);
    }
}
