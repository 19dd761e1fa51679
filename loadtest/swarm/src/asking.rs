//! When a player asks with `sync`, and how long it was cut off. No I/O, no clock.

/// How long an answer to `sync` may take before it is asked again.
const ANSWER_US_MAX: u64 = 5_000_000;

/// The state of one player's `sync` requests.
#[derive(Debug, Default)]
pub struct Asking {
    /// Whether the player must ask.
    pub wanted: bool,
    /// The number of awaited answers.
    awaited: usize,
    since_us: u64,
    not_before_us: u64,
    /// Set by the conductor's last question, cleared by a complete answer.
    demanded: bool,
    /// When its socket was lost; None once it has received what it missed.
    cut_us: Option<u64>,
}

impl Asking {
    /// Demands a complete answer, for the conductor.
    pub fn demand(&mut self) {
        self.demanded = true;
        self.wanted = true;
    }

    /// Whether a demanded complete answer is still to come.
    pub fn is_demanded(&self) -> bool {
        self.demanded
    }

    /// The socket is authenticated. The first socket of a player missed nothing.
    pub fn on_open(&mut self, is_first: bool) {
        self.wanted = !is_first || self.demanded;
    }

    /// The socket is gone. True: the player had received everything before, so this is a new cut.
    pub fn on_closed(&mut self, now: u64) -> bool {
        self.awaited = 0;
        let is_new = self.cut_us.is_none();
        self.cut_us.get_or_insert(now);
        is_new
    }

    /// The server refused for now: ask again after `retry_us`.
    pub fn refused(&mut self, retry_us: u64) {
        self.awaited = 0;
        self.wait_until(retry_us);
    }

    /// Asks again, not before `us`.
    pub fn wait_until(&mut self, us: u64) {
        self.wanted = true;
        self.not_before_us = us;
    }

    /// A part of the answer has arrived.
    pub fn answered(&mut self) {
        self.awaited = self.awaited.saturating_sub(1);
    }

    /// Whether no answer is awaited.
    pub fn is_idle(&self) -> bool {
        self.awaited == 0
    }

    /// Everything requested was applied. Some: the time for which the player was cut off, µs.
    pub fn resumed(&mut self, now: u64) -> Option<u64> {
        self.cut_us.take().map(|cut| now.saturating_sub(cut))
    }

    /// The last answer left nothing to ask.
    pub fn complete(&mut self) {
        if !self.wanted {
            self.demanded = false;
        }
    }

    /// The time of the next action, if nothing arrives before.
    pub fn due_us(&self) -> Option<u64> {
        if self.awaited > 0 {
            Some(self.since_us + ANSWER_US_MAX)
        } else {
            self.wanted.then_some(self.not_before_us)
        }
    }

    /// True: ask now, in this many parts.
    pub fn begin(&mut self, now: u64, parts: usize) -> bool {
        if self.awaited > 0 && now >= self.since_us + ANSWER_US_MAX {
            self.awaited = 0;
            self.wanted = true;
        }
        if !self.wanted || self.awaited > 0 || now < self.not_before_us {
            return false;
        }
        self.wanted = false;
        self.since_us = now;
        self.awaited = parts;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_lasts_until_the_answer_however_often_the_socket_goes() {
        let mut asking = Asking::default();
        asking.on_open(true);
        assert!(!asking.begin(1, 1), "who has just come missed nothing");
        assert!(asking.on_closed(10));
        asking.on_open(false);
        assert!(asking.begin(20, 2));
        assert!(!asking.on_closed(30), "still the first cut");
        asking.on_open(false);
        assert!(asking.begin(40, 2));
        asking.answered();
        assert!(!asking.is_idle());
        asking.answered();
        assert_eq!((asking.is_idle(), asking.resumed(50), asking.resumed(60)), (true, Some(40), None));
    }

    #[test]
    fn what_is_not_answered_is_asked_again_and_a_refusal_waits() {
        let mut asking = Asking::default();
        asking.demand();
        assert!(asking.begin(0, 1));
        assert!(!asking.begin(ANSWER_US_MAX - 1, 1));
        assert!(asking.begin(ANSWER_US_MAX, 1));
        asking.refused(ANSWER_US_MAX + 500);
        assert_eq!(asking.due_us(), Some(ANSWER_US_MAX + 500));
        assert!(!asking.begin(ANSWER_US_MAX + 499, 1));
        assert!(asking.begin(ANSWER_US_MAX + 500, 1));
        asking.answered();
        asking.complete();
        assert_eq!((asking.due_us(), asking.is_demanded()), (None, false));
    }
}
