//! The unacknowledged messages of one sender in one conversation, in order. Pure.
//!
//! After a refusal (`busy`), silence or a lost connection nothing new goes out until what is
//! still in flight has been answered; then everything unacknowledged goes out again from the
//! front. That is how a client keeps its own order.

use std::collections::VecDeque;

#[derive(Clone, Copy, Debug)]
struct Waiting {
    count: u32,
    /// When it was put on the wire; None: not in flight.
    flying_since: Option<u64>,
}

/// The unacknowledged messages of one sender in one conversation.
#[derive(Debug, Default)]
pub struct Backlog {
    waiting: VecDeque<Waiting>,
    flying: usize,
    /// Something was refused: wait until nothing flies, then start from the front.
    recovering: bool,
    hold_until: u64,
}

impl Backlog {
    /// Adds a new message after all others.
    pub fn push(&mut self, count: u32) {
        self.waiting.push_back(Waiting { count, flying_since: None });
    }

    /// The next message to put on the wire, if one may go now. It counts as in flight.
    pub fn next(&mut self, now: u64, pipeline: usize) -> Option<u32> {
        if now < self.hold_until || (self.recovering && self.flying > 0) || self.flying >= pipeline {
            return None;
        }
        self.recovering = false;
        // In flight is always a prefix: recovery waits until nothing flies.
        let waiting = self.waiting.get_mut(self.flying)?;
        debug_assert!(waiting.flying_since.is_none());
        waiting.flying_since = Some(now);
        self.flying += 1;
        Some(waiting.count)
    }

    /// Removes a message that was acknowledged, or refused for good. True: it was still waiting here.
    pub fn settle(&mut self, count: u32) -> bool {
        let Some(at) = self.position(count) else { return false };
        if let Some(Waiting { flying_since: Some(_), .. }) = self.waiting.remove(at) {
            self.flying -= 1;
        }
        true
    }

    /// Notes that a message was refused for now. True: it was in flight here.
    pub fn refuse(&mut self, count: u32, hold_until: u64) -> bool {
        let Some(at) = self.position(count) else { return false };
        self.hold_until = self.hold_until.max(hold_until);
        self.recovering = true;
        let flew = self.waiting[at].flying_since.take().is_some();
        self.flying -= usize::from(flew);
        flew
    }

    /// Gives up on answers to what was put on the wire before `before`; returns how many.
    pub fn give_up(&mut self, before: u64) -> usize {
        let mut silent = 0;
        for waiting in &mut self.waiting {
            if waiting.flying_since.is_some_and(|since| since < before) {
                waiting.flying_since = None;
                silent += 1;
            }
        }
        self.flying -= silent;
        self.recovering |= silent > 0;
        silent
    }

    /// The connection is gone, and with it all answers.
    pub fn disconnected(&mut self) {
        self.give_up(u64::MAX);
        self.recovering = false;
    }

    fn position(&self, count: u32) -> Option<usize> {
        self.waiting.iter().position(|waiting| waiting.count == count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(backlog: &mut Backlog, now: u64, pipeline: usize) -> Vec<u32> {
        std::iter::from_fn(|| backlog.next(now, pipeline)).collect()
    }

    #[test]
    fn after_busy_everything_goes_out_again_in_order() {
        let mut backlog = Backlog::default();
        (0..5).for_each(|count| backlog.push(count));
        assert_eq!(drain(&mut backlog, 1, 3), [0, 1, 2]);
        assert!(backlog.settle(0));
        assert!(backlog.refuse(1, 100));
        assert!(drain(&mut backlog, 200, 3).is_empty(), "2 is still in flight");
        assert!(backlog.refuse(2, 150));
        assert!(drain(&mut backlog, 140, 3).is_empty(), "held");
        assert_eq!(drain(&mut backlog, 150, 3), [1, 2, 3]);
        assert!(!backlog.settle(0));
        assert_eq!(backlog.waiting.len(), 4);
    }

    #[test]
    fn silence_and_a_lost_connection_put_everything_back() {
        let mut backlog = Backlog::default();
        (0..3).for_each(|count| backlog.push(count));
        assert_eq!(drain(&mut backlog, 1, 1), [0]);
        assert_eq!(backlog.give_up(1), 0);
        assert_eq!(backlog.give_up(2), 1);
        assert_eq!(drain(&mut backlog, 2, 2), [0, 1]);
        backlog.disconnected();
        assert_eq!(drain(&mut backlog, 3, 9), [0, 1, 2]);
        for count in [2, 0, 1] {
            assert!(backlog.settle(count));
        }
        assert!(backlog.waiting.is_empty() && backlog.flying == 0);
    }
}
