//! An operator's questions over the bus, from both ends: [`Ear`] in every program, [`Asker`] in the
//! operator's tool.
//!
//! A question is asked once and answered by the programs that hear it; the asker listens for a
//! stated time and names those that were silent. The asker hears its own question too: when that does
//! not come back, the broker passes nothing on (it is frozen, or an alarm blocks publishers), and no
//! silence means anything. Nothing is repeated and nothing is promised: what must not be lost goes
//! through the store and the directory.
//!
//! There is no login here: every program that may publish on the bus is an operator.

use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, warn};

use crate::bus::{Arrival, Bus, BusError, Envelope, Health, Pattern, PublishError, Subject, Subscription};
use crate::health::Readiness;
use crate::lifecycle::Lifecycle;
use crate::limits::CONTROL_LAG_PROBE_MS;
use crate::version::VERSION;
use protocol;
use protocol::control::{Answer, Ask, PROGRAMS_SUBJECT, Part, Question, Reply, Who, answers_subject};
use protocol::ids::NodeId;

/// A program's ear for questions.
pub struct Ear {
    bus: Bus,
    questions: Subscription,
    node: NodeId,
    part: Part,
    host: String,
    started: Instant,
}

impl Ear {
    /// Hears everything that is asked from now on.
    ///
    /// # Errors
    /// The bus does not answer.
    pub async fn open(bus: &Bus, node: NodeId, part: Part) -> Result<Self, BusError> {
        let pattern = Pattern::new(PROGRAMS_SUBJECT).map_err(|err| BusError(err.into()))?;
        let questions = bus.subscribe(pattern).await?;
        let bus = bus.clone();
        Ok(Self { bus, questions, node, part, host: host(), started: Instant::now() })
    }

    /// Answers until the bus drains. `own` answers what only this kind of program knows; None: the
    /// question is not for it.
    pub async fn listen(
        mut self,
        readiness: Readiness,
        lifecycle: Lifecycle,
        own: impl Fn(&Question) -> Option<Reply> + Send + Sync,
    ) {
        while let Some(arrival) = self.questions.next().await {
            // A question that was lost is asked again by a person.
            let Arrival::Envelopes(envelopes) = arrival else { continue };
            for envelope in envelopes {
                match protocol::decode::<Ask>(&envelope.body) {
                    Ok(ask) => self.answer(ask, &readiness, &lifecycle, &own).await,
                    Err(err) => warn!("A question of the operator could not be read: {err}"),
                }
            }
        }
    }

    async fn answer(
        &self,
        ask: Ask,
        readiness: &Readiness,
        lifecycle: &Lifecycle,
        own: &impl Fn(&Question) -> Option<Reply>,
    ) {
        let leaves = ask.question == Question::Drain(self.node);
        let said = match ask.question {
            Question::Drain(_) if leaves => Some(Reply::Draining { already: lifecycle.is_draining() }),
            Question::Drain(_) => None,
            question => own(&question),
        };
        let Some(said) = said else { return };
        let mut who = self.who(readiness, lifecycle).await;
        if leaves {
            (who.draining, who.ready) = (true, false);
        }
        let body = protocol::encode(&Answer { number: ask.number, who, said });
        let Ok(subject) = Subject::new(&answers_subject(ask.from)) else { return };
        if let Err(err) = self.bus.publish(Envelope { subject, key: 0, body }).await {
            // The operator sees that this node was silent.
            warn!("An answer to the operator was not taken: {err}");
        }
        // After the answer: a gateway without sockets is gone in a moment.
        if leaves {
            info!(node.id = %self.node, "The operator says: drain");
            lifecycle.drain();
        }
    }

    async fn who(&self, readiness: &Readiness, lifecycle: &Lifecycle) -> Who {
        let due = Instant::now() + Duration::from_millis(CONTROL_LAG_PROBE_MS);
        sleep_until(due).await;
        let unwell = readiness.report().into_iter();
        let unwell =
            unwell.filter_map(|(part, state)| Some((part.to_owned(), state.reason()?.to_owned()))).collect();
        let draining = lifecycle.is_draining();
        Who {
            node: self.node,
            part: self.part,
            version: VERSION.to_owned(),
            host: self.host.clone(),
            pid: std::process::id(),
            up_ms: millis(self.started.elapsed()),
            lag_ms: millis(due.elapsed()),
            ready: readiness.is_ready() && !draining,
            draining,
            unwell,
        }
    }
}

/// Why the programs could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The bus did not take the question.
    #[error("the programs could not be asked: {0}")]
    NotTaken(#[from] PublishError),
    /// The broker took it, perhaps, and did not pass it on.
    #[error("the programs could not be asked: RabbitMQ passed nothing on within {wait:?}; {why}")]
    NotPassed {
        /// The time that was waited for answers.
        wait: Duration,
        /// The state of the broker, and what to do.
        why: &'static str,
    },
}

/// The operator's end.
pub struct Asker {
    bus: Bus,
    node: NodeId,
    answers: Subscription,
    /// Every question, and with them our own.
    questions: Subscription,
    asked: u32,
}

impl Asker {
    /// Listens for answers.
    ///
    /// # Errors
    /// The bus does not answer.
    pub async fn open(bus: &Bus, node: NodeId) -> Result<Self, BusError> {
        let pattern = |text: &str| Pattern::new(text).map_err(|err| BusError(err.into()));
        let answers = bus.subscribe(pattern(&answers_subject(node))?).await?;
        let questions = bus.subscribe(pattern(PROGRAMS_SUBJECT)?).await?;
        Ok(Self { bus: bus.clone(), node, answers, questions, asked: 0 })
    }

    /// Asks, and collects answers for `wait`, or until `enough` returns true.
    ///
    /// # Errors
    /// The question reached no program: the broker did not take it or did not deliver it.
    pub async fn ask(
        &mut self,
        question: Question,
        wait: Duration,
        enough: impl Fn(&[Answer]) -> bool,
    ) -> Result<Vec<Answer>, AskError> {
        self.asked += 1;
        let ask = Ask { from: self.node, number: self.asked, question };
        let subject = Subject::new(PROGRAMS_SUBJECT).map_err(|_| PublishError::NoRoute)?;
        let until = Instant::now() + wait;
        let envelope = Envelope { subject, key: 0, body: protocol::encode(&ask) };
        match timeout_at(until, self.bus.publish(envelope)).await {
            Ok(published) => published?,
            Err(_) => return Err(self.not_passed(wait)),
        }
        let (mut heard, mut is_passed) = (Vec::new(), false);
        while !enough(&heard) {
            tokio::select! {
                () = sleep_until(until) => break,
                Some(arrival) = self.answers.next() => {
                    let answers = read::<Answer>(&arrival);
                    heard.extend(answers.into_iter().filter(|answer| answer.number == ask.number));
                }
                Some(arrival) = self.questions.next() => is_passed |= read::<Ask>(&arrival).contains(&ask),
            }
        }
        if heard.is_empty() && !is_passed && !enough(&heard) {
            return Err(self.not_passed(wait));
        }
        heard.sort_by_key(|answer: &Answer| (answer.who.part, answer.who.node));
        Ok(heard)
    }

    fn not_passed(&self, wait: Duration) -> AskError {
        let why = match *self.bus.health().borrow() {
            Health::Blocked => "an alarm blocks publishers (memory or disk): see `rabbitmqctl list_alarms`",
            Health::Down => "the connection to it was lost: look at the broker and the network",
            Health::Up => "it is frozen, blocked by an alarm, or overloaded: look at the broker",
        };
        AskError::NotPassed { wait, why }
    }
}

/// The answer in an arrival; None if it cannot be read.
fn read<T: DeserializeOwned>(arrival: &Arrival) -> Vec<T> {
    let Arrival::Envelopes(envelopes) = arrival else { return Vec::new() };
    envelopes.iter().filter_map(|one| protocol::decode(&one.body).ok()).collect()
}

/// The machine's name, as a container sees it.
pub(crate) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "unknown".to_owned() } else { name.trim().to_owned() }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::UserId;

    const WAIT: Duration = Duration::from_secs(1);

    /// A gateway and a worker that listen, and an operator that asks.
    async fn cluster() -> (Asker, [Lifecycle; 2]) {
        let bus = Bus::memory();
        let lives = [Lifecycle::manual(), Lifecycle::manual()];
        for ((node, part), life) in [(1, Part::Gateway), (2, Part::Worker)].into_iter().zip(&lives) {
            let ear = Ear::open(&bus, NodeId(node), part).await.unwrap();
            let readiness = Readiness::new("test", NodeId(node));
            readiness.set("bus", if node == 1 { Ok(()) } else { Err("away".into()) });
            tokio::spawn(ear.listen(readiness, life.clone(), move |question| match question {
                Question::Roll => Some(Reply::Here { sockets: (node == 1).then_some(3), shards: None }),
                Question::Kick { .. } if node == 1 => Some(Reply::Closed(2)),
                _ => None,
            }));
        }
        (Asker::open(&bus, NodeId(9)).await.unwrap(), lives)
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_answers_the_roll_and_some_what_is_theirs() {
        let (mut asker, _lives) = cluster().await;
        let answers = asker.ask(Question::Roll, WAIT, |_| false).await.unwrap();
        let seen: Vec<_> = answers.iter().map(|one| (one.who.node.0, one.who.part, one.who.ready)).collect();
        assert_eq!(seen, [(1, Part::Gateway, true), (2, Part::Worker, false)]);
        assert_eq!(answers[0].said, Reply::Here { sockets: Some(3), shards: None });
        assert_eq!(answers[1].who.unwell, [("bus".to_owned(), "away".to_owned())]);
        let kick = Question::Kick { user: UserId(7), ended: None };
        let answers = asker.ask(kick, WAIT, |_| false).await.unwrap();
        assert_eq!(answers.iter().map(|one| &one.said).collect::<Vec<_>>(), [&Reply::Closed(2)]);
        assert_eq!(asker.ask(Question::Lanes, WAIT, |_| false).await.unwrap(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_does_not_come_back_was_not_asked() {
        let (bus, elsewhere) = (Bus::memory(), Bus::memory());
        let mut asker = Asker::open(&bus, NodeId(9)).await.unwrap();
        assert_eq!(
            asker.ask(Question::Roll, WAIT, |_| false).await.unwrap(),
            [],
            "asked, and nobody is there"
        );
        // A broker that takes everything and passes nothing on.
        asker.bus = elsewhere;
        let err = asker.ask(Question::Roll, WAIT, |_| false).await.unwrap_err();
        assert!(err.to_string().starts_with("the programs could not be asked"), "{err}");
        assert!(asker.ask(Question::Roll, WAIT, |_| true).await.is_ok(), "no answer was wanted");
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_named_node_drains() {
        let (mut asker, [gateway, worker]) = cluster().await;
        let mut drain = async |node| asker.ask(Question::Drain(NodeId(node)), WAIT, |_| false).await.unwrap();
        assert_eq!(drain(3).await, [], "nobody has this id");
        assert!(!gateway.is_draining() && !worker.is_draining());
        let answers = drain(1).await;
        assert_eq!(answers[0].said, Reply::Draining { already: false });
        assert!(answers[0].who.draining && !answers[0].who.ready);
        assert!(gateway.is_draining() && !gateway.is_aborting() && !worker.is_draining());
        assert_eq!(drain(1).await[0].said, Reply::Draining { already: true });
        assert!(!gateway.is_aborting(), "asked twice is not a second signal");
    }
}
