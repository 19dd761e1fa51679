//! The health of a program: its parts, its performance score, and the numbers behind it.
//!
//! A part is *ok*, *degraded* (something is worse than it should be; the program can still do its
//! work, and another program could not do it better) or *down* (clients should use another program).
//! Only *down*, and draining, make a program not ready.
//!
//! **The performance score**, 0 to 100, is the original's formula carried on:
//! `100 × (0.4 bus + 0.3 directory + 0.3 store)`, each 1 when ok, ½ when degraded, 0 when down, over
//! the parts that the program has; less up to 20 for lateness, up to 20 for errors, up to 10 for a
//! late runtime. From 90 on it is *healthy*, from 70 on *degraded*, below that *unhealthy*.
//!
//! * Lateness: the age of the oldest batch in a lane (held by this worker, or waiting), relative to its
//! target: 1 s for high, 5 s for medium. Nothing up to the target, 20 points at ten times the target.
//! * Errors: the failed fraction of the last seconds' publishes, directory calls and statements.
//! 20 points at one in ten.
//! * Runtime: the lag of the gateway's runtime. 10 points at half a second, when it accepts no new socket.

/// What happened between two moments.
mod stretch;

/// The kernel's numbers of this process.
pub mod process;

/// The resources that it uses.
mod usage;

/// The measured numbers that health is computed from.
mod figures;

/// The names of what is measured here.
mod metrics;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::figures::Strain;
pub use self::metrics::version;
pub use self::stretch::{Sample, Stretch};
use crate::limits::ADMISSION_LAG_MS_MAX;
use protocol::Lane;
use protocol::ids::NodeId;

/// The state of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Ok,
    /// Worse than it should be, and why.
    Degraded(String),
    /// It cannot work, and why.
    Down(String),
}

impl State {
    /// The parts that are degraded or down.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Ok => None,
            Self::Degraded(reason) | Self::Down(reason) => Some(reason),
        }
    }

    /// Whether it cannot work.
    pub const fn is_down(&self) -> bool {
        matches!(self, Self::Down(_))
    }

    const fn word(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded(_) => "degraded",
            Self::Down(_) => "down",
        }
    }

    const fn worth(&self) -> f64 {
        match self {
            Self::Ok => 1.0,
            Self::Degraded(_) => 0.5,
            Self::Down(_) => 0.0,
        }
    }
}

/// The parts of a program, each as it reported itself last. Cheap to clone; all clones share it.
#[derive(Clone, Debug)]
pub struct Readiness {
    program: &'static str,
    node: NodeId,
    parts: Arc<Mutex<BTreeMap<&'static str, Part>>>,
    /// Of other programs in the same process.
    others: Arc<Mutex<Vec<Self>>>,
}

#[derive(Clone, Debug)]
struct Part {
    state: State,
    since: Instant,
}

impl Readiness {
    /// Nothing has reported yet, so nothing is ready.
    pub fn new(program: &'static str, node: NodeId) -> Self {
        Self { program, node, parts: Arc::default(), others: Arc::default() }
    }

    /// The same under another name, with the parts of another program in this process. All clones have
    /// them from now on: half of a process is not ready.
    pub fn with(mut self, program: &'static str, other: Self) -> Self {
        self.program = program;
        self.others.lock().push(other);
        self
    }

    /// Sets the state of a part: ready, or the reason why not.
    pub fn set(&self, part: &'static str, state: Result<(), String>) {
        self.report_as(part, state.map_or_else(State::Down, |()| State::Ok));
    }

    /// Sets the state of a part.
    pub fn report_as(&self, part: &'static str, state: State) {
        let mut parts = self.lock();
        match parts.get_mut(part) {
            // Another reason for the same is no change.
            Some(known) if known.state.word() == state.word() => known.state = state,
            _ => drop(parts.insert(part, Part { state, since: Instant::now() })),
        }
    }

    /// Whether something has reported and nothing that has is down.
    pub fn is_ready(&self) -> bool {
        let report = self.report();
        !self.lock().is_empty() && report.iter().all(|(_, state)| !state.is_down())
    }

    /// All parts, by name; of a part that two programs report, the worse.
    pub fn report(&self) -> Vec<(&'static str, State)> {
        self.all().into_iter().map(|(name, part)| (name, part.state)).collect()
    }

    fn all(&self) -> BTreeMap<&'static str, Part> {
        let mut all = self.lock().clone();
        let others = self.others.lock().clone();
        for (name, part) in others.iter().flat_map(Self::all) {
            match all.get(name) {
                Some(known) if known.state.worth() <= part.state.worth() => {}
                _ => drop(all.insert(name, part)),
            }
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Part>> {
        self.parts.lock()
    }

    /// The answer of `/readyz`: what a probe needs, and for a person each part's reason.
    pub fn brief(&self, is_draining: bool) -> Value {
        let parts = self.report().into_iter().map(|(name, state)| {
            let words = match &state {
                State::Ok => "ok".to_owned(),
                State::Degraded(reason) => format!("degraded: {reason}"),
                State::Down(reason) => reason.clone(),
            };
            (name.to_owned(), Value::from(words))
        });
        let parts: serde_json::Map<_, _> = parts.collect();
        json!({ "ready": self.is_ready() && !is_draining, "draining": is_draining, "parts": parts })
    }

    /// The answer of `/health`: the original's, with the word that its score gives.
    pub fn summary(&self, is_draining: bool, stretch: &Stretch) -> Value {
        let score = self.score(stretch);
        let mut answer = self.brief(is_draining);
        answer["status"] = word(score).into();
        answer["score"] = score.into();
        answer["program"] = self.program.into();
        answer["version"] = crate::version::VERSION.into();
        answer["node"] = self.node.to_string().into();
        answer["uptimeSeconds"] = process::uptime().as_secs().into();
        answer
    }

    /// The answer of `/health/detailed`.
    pub fn detailed(&self, is_draining: bool, stretch: &Stretch) -> Value {
        let mut answer = self.summary(is_draining, stretch);
        let parts = self.all().into_iter().map(|(name, part)| {
            let details = json!({
                "state": part.state.word(),
                "reason": part.state.reason(),
                "sinceSeconds": part.since.elapsed().as_secs(),
                "latencyMs": figures::latency(name, stretch),
            });
            (name.to_owned(), details)
        });
        answer["parts"] = parts.collect::<serde_json::Map<_, _>>().into();
        figures::details(&mut answer, stretch);
        answer
    }

    /// Measures the score and the parts themselves.
    pub fn measure(&self, stretch: &Stretch) {
        let parts = self.report();
        metrics::measured(self.score(stretch), parts.iter().map(|(name, state)| (*name, state.worth())));
    }

    fn score(&self, stretch: &Stretch) -> u8 {
        score(&self.report(), &figures::strain(stretch))
    }
}

/// The age up to which a batch in a lane is on time. The low lane has no target: its events are
/// dropped instead.
const TARGETS: [(Lane, Duration); 2] =
    [(Lane::High, Duration::from_secs(1)), (Lane::Medium, Duration::from_secs(5))];

/// The original's weights.
const WEIGHTS: [(&str, f64); 3] = [("bus", 0.4), ("directory", 0.3), ("store", 0.3)];

/// See the module.
fn score(parts: &[(&'static str, State)], strain: &Strain) -> u8 {
    let (mut reached, mut most) = (0.0, 0.0);
    for (name, weight) in WEIGHTS {
        if let Some((_, state)) = parts.iter().find(|(part, _)| *part == name) {
            reached += weight * state.worth();
            most += weight;
        }
    }
    // A program that has no peers of its own (the canary): all of its parts alike.
    if most == 0.0 {
        reached = parts.iter().map(|(_, state)| state.worth()).sum();
        most = parts.len() as f64;
    }
    let up = if most > 0.0 { 100.0 * reached / most } else { 0.0 };
    let late = |(lane, target): (Lane, Duration)| {
        // From the target to ten times the target.
        ((strain.oldest[lane as usize] / target.as_secs_f64() - 1.0) / 9.0).clamp(0.0, 1.0)
    };
    let late = TARGETS.into_iter().map(late).fold(0.0, f64::max);
    let errors = (strain.errors * 10.0).clamp(0.0, 1.0);
    let lag = (strain.lag * 1_000.0 / ADMISSION_LAG_MS_MAX as f64).clamp(0.0, 1.0);
    // Between 0 and 100 by then.
    (up - 20.0 * late - 20.0 * errors - 10.0 * lag).max(0.0).round() as u8
}

/// The original's words for a score.
const fn word(score: u8) -> &'static str {
    match score {
        90.. => "healthy",
        70.. => "degraded",
        _ => "unhealthy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(states: &[(&'static str, State)]) -> Vec<(&'static str, State)> {
        states.to_vec()
    }

    fn down() -> State {
        State::Down("away".into())
    }

    #[test]
    fn the_score_is_the_originals_while_nothing_strains() {
        let check = |states: &[(&'static str, State)], expect: u8| {
            assert_eq!(score(&parts(states), &Strain::default()), expect, "{states:?}");
        };
        let ok = State::Ok;
        check(&[], 0);
        check(&[("bus", ok.clone()), ("directory", ok.clone()), ("store", ok.clone())], 100);
        check(&[("bus", down()), ("directory", ok.clone()), ("store", ok.clone())], 60);
        check(&[("bus", ok.clone()), ("directory", down()), ("store", ok.clone())], 70);
        check(&[("bus", ok.clone()), ("directory", ok.clone()), ("store", down())], 70);
        check(
            &[("bus", State::Degraded("blocks".into())), ("directory", ok.clone()), ("store", ok.clone())],
            80,
        );
        check(&[("bus", down()), ("directory", down()), ("store", down())], 0);
        // A gateway has no store: its two parts are the whole.
        check(&[("bus", ok.clone()), ("directory", ok.clone()), ("workers", down())], 100);
        check(&[("bus", down()), ("directory", ok)], 43);
    }

    #[test]
    fn lateness_errors_and_lag_take_points_off() {
        let all = parts(&[("bus", State::Ok), ("directory", State::Ok), ("store", State::Ok)]);
        let check = |high: f64, medium: f64, errors: f64, lag: f64, expect: u8| {
            let strain = Strain { oldest: [high, medium, 100.0], errors, lag };
            assert_eq!(score(&all, &strain), expect, "{strain:?}");
        };
        check(1.0, 5.0, 0.0, 0.0, 100);
        check(5.5, 5.0, 0.0, 0.0, 90);
        check(10.0, 0.0, 0.0, 0.0, 80);
        check(3_600.0, 0.0, 0.0, 0.0, 80);
        check(0.0, 27.5, 0.0, 0.0, 90);
        check(0.0, 0.0, 0.05, 0.0, 90);
        check(0.0, 0.0, 1.0, 0.0, 80);
        check(0.0, 0.0, 0.0, 0.25, 95);
        check(100.0, 100.0, 1.0, 9.0, 50);
        let none = Strain { oldest: [100.0, 0.0, 0.0], errors: 1.0, lag: 1.0 };
        assert_eq!(score(&parts(&[("bus", down()), ("directory", State::Ok)]), &none), 0);
        assert_eq!(
            [100, 90, 89, 70, 69, 0].map(word),
            ["healthy", "healthy", "degraded", "degraded", "unhealthy", "unhealthy"]
        );
    }

    #[test]
    fn degraded_is_ready_and_down_is_not() {
        let readiness = Readiness::new("test", NodeId(7));
        assert!(!readiness.is_ready(), "nothing has reported");
        readiness.set("bus", Ok(()));
        readiness.report_as("workers", State::Degraded("none".into()));
        assert!(readiness.is_ready());
        let brief = readiness.brief(false);
        assert_eq!(brief["parts"]["workers"], "degraded: none");
        assert_eq!(
            (brief["ready"].as_bool(), readiness.brief(true)["ready"].as_bool()),
            (Some(true), Some(false))
        );
        readiness.set("bus", Err("away".into()));
        assert!(!readiness.is_ready());
    }

    #[test]
    fn of_two_programs_in_one_process_the_worse_counts() {
        let (one, other) = (Readiness::new("one", NodeId(1)), Readiness::new("other", NodeId(2)));
        one.set("bus", Ok(()));
        let both = one.clone().with("both", other.clone());
        assert!(both.is_ready());
        other.set("bus", Err("away".into()));
        assert!(!one.is_ready(), "whichever port is asked");
        other.set("store", Ok(()));
        assert_eq!(both.report(), [("bus", State::Down("away".into())), ("store", State::Ok)]);
        assert!(!both.is_ready());
    }
}
