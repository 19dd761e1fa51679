//! The watched gateways: their current addresses, two lines to each of them, and the
//! rounds. `round.rs` decides what a round means.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use client::Site;
use common::health::{Readiness, State};
use common::limits::{
    CANARY_CONNECT_MS_MAX, CANARY_DEADLINE_MS, CANARY_GATEWAYS_MAX, CANARY_LEAVE_MS_MAX, CANARY_NAME_MS_MAX,
    CANARY_NEWS_MAX, CANARY_REMEMBERED_MAX, CANARY_ROUND_MS,
};
use common::random;
use protocol::Timestamp;
use serde_json::Value;
use tokio::net::lookup_host;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{info, warn};

use super::config::CanaryConfig;
use super::line::{Heard, Line, News, Side, Trouble, message};
use super::login::Tokens;
use super::metrics;
use super::round::{Hearer, Pair, Place, Round, RoundOutcome};

/// The lines to one gateway. They end when this is dropped.
struct Standing {
    speaker: mpsc::Sender<Value>,
    _listener: mpsc::Sender<Value>,
    up: BTreeSet<Side>,
    /// The time when it announced its drain.
    left: Option<Instant>,
    trouble: Option<Trouble>,
    ear: Hearer,
}

impl Standing {
    fn is_reached(&self) -> bool {
        self.up.len() == 2
    }

    fn is_missed(&self) -> bool {
        let grace = Duration::from_millis(CANARY_LEAVE_MS_MAX);
        !self.is_reached() && self.left.is_none_or(|left| left.elapsed() > grace)
    }
}

/// All gateways, and the round of the moment.
pub struct Watch {
    named: Vec<String>,
    front: Option<Site>,
    tokens: Tokens,
    conversation: i64,
    standings: BTreeMap<Place, Standing>,
    teller: mpsc::Sender<Heard>,
    told: mpsc::Receiver<Heard>,
    round: Option<(Round, Instant)>,
    /// Lost, and it may yet come.
    lost: VecDeque<(String, Place)>,
}

/// The result of `--once`.
pub struct Report {
    pub pairs: Vec<Pair>,
    /// Gateways that were not reached, and why.
    pub away: Vec<(String, String)>,
}

impl Watch {
    /// Of the gateways of these names, and of the door before them.
    pub fn new(config: &CanaryConfig, tokens: Tokens, conversation: i64) -> Self {
        let (teller, told) = mpsc::channel(CANARY_NEWS_MAX);
        Self {
            named: config.gateways.clone(),
            front: config.front.clone(),
            tokens,
            conversation,
            standings: BTreeMap::new(),
            teller,
            told,
            round: None,
            lost: VecDeque::new(),
        }
    }

    /// Round after round, without end.
    pub async fn run(mut self, readiness: Readiness) {
        let mut rounds = interval(Duration::from_millis(CANARY_ROUND_MS));
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first lines need a moment.
        self.look().await;
        rounds.reset();
        loop {
            let deadline = self.round.as_ref().map(|(_, deadline)| *deadline);
            tokio::select! {
                _ = rounds.tick() => {
                    self.end();
                    self.look().await;
                    while let Ok(told) = self.told.try_recv() {
                        self.hear(told);
                    }
                    self.miss();
                    self.begin();
                    self.report(&readiness);
                }
                Some(told) = self.told.recv() => self.hear(told),
                () = until(deadline) => drop(self.end()),
            }
        }
    }

    /// One round with all that are reached in time.
    pub async fn once(mut self) -> Report {
        let unnamed = self.look().await;
        let limit = Instant::now() + Duration::from_millis(CANARY_CONNECT_MS_MAX);
        let mut reasons = BTreeMap::new();
        while !self.standings.values().all(Standing::is_reached) {
            tokio::select! {
                Some(told) = self.told.recv() => {
                    if let News::Away(_, why) = &told.news {
                        reasons.insert(told.place, why.clone());
                    }
                    self.hear(told);
                }
                () = sleep_until(limit) => break,
            }
        }
        self.begin();
        while let Some((round, deadline)) = &self.round {
            if round.is_over() {
                break;
            }
            let deadline = *deadline;
            tokio::select! {
                Some(told) = self.told.recv() => self.hear(told),
                () = sleep_until(deadline) => break,
            }
        }
        let pairs = self.end();
        let missed = self.standings.iter().filter(|(_, standing)| !standing.is_reached());
        let why = |place| reasons.remove(place).unwrap_or_else(|| "it gave no socket in time".to_owned());
        let away = missed.map(|(place, _)| place).map({
            let mut why = why;
            move |place| (place.to_string(), why(place))
        });
        let away = unnamed.into_iter().chain(away.collect::<Vec<_>>()).collect();
        Report { pairs, away }
    }

    /// Resolves the names: opens lines to new addresses, ends those to missing ones. Returns the names
    /// without an address, and why.
    async fn look(&mut self) -> Vec<(String, String)> {
        let (mut found, mut unnamed) = (BTreeSet::new(), Vec::new());
        for name in &self.named {
            let limit =
                Duration::from_millis(CANARY_NAME_MS_MAX) / u32::try_from(self.named.len()).unwrap_or(1);
            let why = match timeout(limit, lookup_host(name)).await {
                Ok(Ok(places)) => {
                    found.extend(places.map(Place::Gateway));
                    continue;
                }
                Ok(Err(err)) => err.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            warn!("{name} cannot be looked up: {why}");
            metrics::unnamed();
            unnamed.push((name.clone(), why));
        }
        if found.len() > CANARY_GATEWAYS_MAX {
            warn!("{} gateways: only {CANARY_GATEWAYS_MAX} of them are watched", found.len());
            found = found.into_iter().take(CANARY_GATEWAYS_MAX).collect();
        }
        found.extend(self.front.is_some().then_some(Place::Front));
        // Who cannot be looked up may still be there.
        if unnamed.is_empty() {
            self.standings.retain(|place, _| {
                let stays = found.contains(place);
                if !stays {
                    info!("{} is no longer named", place.title());
                    if let Some((round, _)) = &mut self.round {
                        round.is_mute(*place);
                        round.is_deaf(*place);
                    }
                }
                stays
            });
        }
        for place in found {
            if !self.standings.contains_key(&place) {
                info!("{} is watched", place.title());
                let [speaker, listener] = [Side::Speaker, Side::Listener].map(|role| self.line(place, role));
                let standing = Standing {
                    speaker,
                    _listener: listener,
                    up: BTreeSet::new(),
                    left: None,
                    trouble: None,
                    ear: Hearer::default(),
                };
                self.standings.insert(place, standing);
            }
        }
        unnamed
    }

    fn line(&self, place: Place, role: Side) -> mpsc::Sender<Value> {
        let (orders, taken) = mpsc::channel(1);
        let site = match (place, &self.front) {
            (Place::Front, Some(front)) => front.clone(),
            (Place::Gateway(addr), _) => Site::at(addr),
            (Place::Front, None) => return orders,
        };
        let (token, told) = (self.tokens.of(role), self.teller.clone());
        let conversation = self.conversation;
        tokio::spawn(Line { place, site, role, conversation, token, orders: taken, told }.keep());
        orders
    }

    fn begin(&mut self) {
        let now = Instant::now();
        let reached: Vec<Place> =
            self.standings.iter().filter(|(_, one)| one.is_reached()).map(|(place, _)| *place).collect();
        metrics::began(self.standings.iter().map(|(place, one)| (*place, one.is_reached())));
        let mut round = Round::new(reached.iter().copied());
        for place in reached {
            let guid = random::uuid_v7(Timestamp::now());
            let order = message(self.conversation, &guid);
            // Full: the line has not sent the last one; it is stuck in a socket that takes nothing.
            let _ = self.standings[&place].speaker.try_send(order);
            round.says(guid, place, now);
        }
        self.round = Some((round, now + Duration::from_millis(CANARY_DEADLINE_MS)));
    }

    /// Judges the round.
    fn end(&mut self) -> Vec<Pair> {
        let Some((round, _)) = self.round.take() else { return Vec::new() };
        let pairs = round.pairs();
        for pair in &pairs {
            metrics::judged(pair);
            let RoundOutcome::Lost(loss) = pair.outcome else { continue };
            warn!(
                message.guid = pair.guid,
                gateway.from = %pair.from,
                gateway.to = %pair.to,
                conversation.id = self.conversation,
                reason = loss.label(),
                "A message was lost: said at {}, not heard at {} within {CANARY_DEADLINE_MS} ms",
                pair.from,
                pair.to
            );
            if self.lost.len() == CANARY_REMEMBERED_MAX {
                self.lost.pop_front();
            }
            self.lost.push_back((pair.guid.clone(), pair.to));
        }
        pairs
    }

    fn hear(&mut self, Heard { place, role, at, news }: Heard) {
        let Some(standing) = self.standings.get_mut(&place) else { return };
        let mut unused = Round::default();
        let round = self.round.as_mut().map_or(&mut unused, |(round, _)| round);
        match news {
            News::Up => {
                standing.up.insert(role);
                (standing.left, standing.trouble) = (None, None);
            }
            News::Leaving => {
                standing.up.remove(&role);
                standing.left = Some(at);
                Self::goes(round, place, role);
            }
            News::Away(trouble, why) => {
                let was_up = standing.up.remove(&role);
                Self::goes(round, place, role);
                match trouble {
                    // The gateway is well: it wants another token.
                    Trouble::Token => self.tokens.renew(),
                    Trouble::Cut if was_up => metrics::unreachable(place, trouble),
                    _ => {}
                }
                if standing.trouble.replace(trouble) != Some(trouble) && standing.left.is_none() {
                    warn!("{} is not reached ({}): {why}", place.title(), trouble.label());
                }
            }
            News::Queued(guid) => round.queued(&guid),
            News::Refused(guid, code) => {
                info!(message.guid = guid, "{} refused a message: {code}", place.title());
                round.refused(&guid);
            }
            News::Heard { guid, seq } => {
                if let Some(fault) = standing.ear.hears(&guid, seq) {
                    warn!(message.guid = guid, "Heard at {place} {fault:?}");
                    metrics::faulty(fault);
                }
                round.heard(&guid, place, at);
                if let Some(known) = self.lost.iter().position(|lost| *lost == (guid.clone(), place)) {
                    self.lost.remove(known);
                    info!(message.guid = guid, "Heard late at {place}");
                    metrics::late();
                }
            }
            News::Lapsed => warn!("{} may have missed deliveries", place.title()),
        }
    }

    fn goes(round: &mut Round, place: Place, role: Side) {
        match role {
            Side::Speaker => round.is_mute(place),
            Side::Listener => round.is_deaf(place),
        }
    }

    /// Counts the gateways that should be there and are not.
    fn miss(&self) {
        for (place, standing) in self.standings.iter().filter(|(_, standing)| standing.is_missed()) {
            let trouble = standing.trouble.unwrap_or(Trouble::Connect);
            warn!("{} is away ({})", place.title(), trouble.label());
            metrics::unreachable(*place, trouble);
        }
    }

    /// Ready as long as it reaches any place.
    fn report(&self, readiness: &Readiness) {
        let of = |is_front: bool| {
            let these = self.standings.iter().filter(move |(place, _)| (**place == Place::Front) == is_front);
            these.map(|(_, standing)| standing.is_reached())
        };
        let (reached, all) = (of(false).filter(|is_reached| *is_reached).count(), of(false).count());
        let front = of(true).next();
        match reached {
            _ if reached == all => readiness.set("gateways", Ok(())),
            0 if front != Some(true) => readiness.set("gateways", Err(format!("none of {all} is reached"))),
            _ => {
                let few = State::Degraded(format!("{reached} of {all} are reached"));
                readiness.report_as("gateways", few);
            }
        }
        match front {
            Some(false) if reached == 0 => readiness.set("front", Err("it is not reached".to_owned())),
            Some(false) => readiness.report_as("front", State::Degraded("it is not reached".to_owned())),
            Some(true) => readiness.set("front", Ok(())),
            None => {}
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
