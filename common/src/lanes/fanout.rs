//! Effects to one delivery per node: the only place that publishes what clients hear.
//!
//! The effects of a whole batch are routed with one look-up. Each event's data is encoded once;
//! each node that holds a recipient gets one envelope with the recipients it holds. Within a
//! conversation the envelopes for a node are enqueued in the order of the effects, and the next
//! batch of its shard is not begun before these were taken: that is the order on the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::bus::{Bus, Envelope, PublishError, Subject};
use crate::directory::Directory;
use crate::limits::{ENVELOPE_BYTES_MAX, ROOM_USERS_SMALL};
use crate::recorder::Recorder;
use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use parking_lot::Mutex;
use protocol::control::Stage;
use protocol::ids::{NodeId, UserId};
use protocol::{self, Downlink, MessageOutcome, Origin, Recipients, Timestamp, TraceContext, Urgency};
use tokio::sync::Notify;

use crate::lanes::effects::{Effects, To, Told};
use crate::lanes::metrics;
use crate::lanes::work::Halt;

/// Bytes of a downlink besides its data and its recipients, a generous estimate.
const DOWNLINK_BYTES: usize = 256;

/// The most bytes that an id takes in a list of recipients: a varint of 64 bits.
const RECIPIENT_BYTES: usize = 10;

/// An envelope for one gateway.
pub struct Delivery {
    envelope: Envelope,
    /// The chat message that it shows, where, and to how many users. None: it shows none.
    shows: Option<(Origin, NodeId, u32)>,
    /// The trace that it belongs to.
    context: Option<TraceContext>,
}

/// The parts needed to deliver. Cheap to clone.
#[derive(Clone)]
pub struct Fanout {
    /// The bus for deliveries.
    pub bus: Bus,
    /// Which node holds which user's sockets.
    pub directory: Directory,
    /// The recorder of milestones.
    pub recorder: Recorder,
}

impl Fanout {
    /// Asks the directory where the recipients are, and writes the envelopes.
    ///
    /// # Errors
    /// The directory is away.
    pub async fn route(&self, effects: &[Effects]) -> Result<Vec<Delivery>, Halt> {
        self.route_notices(&newest(effects)).await
    }

    /// Like [`Self::route`], for the events that [`ahead`] left.
    pub(super) async fn route_notices(&self, told: &[Notice<'_>]) -> Result<Vec<Delivery>, Halt> {
        let rooms = rooms(told);
        let mut users: Vec<UserId> = rooms.iter().flat_map(|room| room.iter().copied()).collect();
        users.sort_unstable();
        users.dedup();

        let nodes = if users.is_empty() { HashMap::new() } else { self.directory.nodes_of(&users).await? };
        metrics::looked_up(nodes.len(), users.len() - nodes.len());
        let (deliveries, shown_to_nobody) = write(told, &rooms, &nodes);
        for of in shown_to_nobody {
            self.recorder.note(of, Timestamp::now(), Stage::Nobody);
        }
        Ok(deliveries)
    }

    /// Publishes envelopes and waits until the bus has taken them. Returns those that it was too busy for, in
    /// order.
    ///
    /// # Errors
    /// The bus is closed.
    pub async fn publish(&self, deliveries: Vec<Delivery>) -> Result<Vec<Delivery>, PublishError> {
        if deliveries.is_empty() {
            return Ok(deliveries);
        }
        let tally = Arc::new(Tally {
            open: AtomicUsize::new(deliveries.len()),
            failed: Mutex::new(Vec::new()),
            all: Notify::new(),
        });
        for (at, delivery) in deliveries.iter().enumerate() {
            // No envelope may overtake one that must be published again.
            if tally.has_failed(PublishError::Busy) {
                tally.note(at, Err(PublishError::Busy));
                continue;
            }
            let tally = Arc::clone(&tally);
            self.bus.enqueue_in(
                delivery.envelope.clone(),
                delivery.context,
                Box::new(move |outcome| tally.note(at, outcome)),
            );
        }
        // The bus promises every receipt within its own deadline.
        tally.all.notified().await;

        let failed = std::mem::take(&mut *tally.failed.lock());
        let count = |wanted| failed.iter().filter(|(_, err)| *err == wanted).count();
        metrics::delivered("taken", deliveries.len() - failed.len());
        // The node is gone, and so are its sockets; their clients will `sync` what they missed.
        metrics::delivered("no_route", count(PublishError::NoRoute));
        metrics::delivered("too_large", count(PublishError::TooLarge));
        metrics::delivered("busy", count(PublishError::Busy));
        note(&self.recorder, &deliveries, &failed);
        if count(PublishError::Closed) > 0 {
            return Err(PublishError::Closed);
        }
        let mut busy: Vec<usize> =
            failed.iter().filter(|(_, err)| *err == PublishError::Busy).map(|(at, _)| *at).collect();
        busy.sort_unstable();
        let mut busy = busy.into_iter().peekable();
        let busy = deliveries.into_iter().enumerate().filter(|(at, _)| busy.next_if_eq(at).is_some());
        Ok(busy.map(|(_, delivery)| delivery).collect())
    }
}

/// Records which messages are on their way to which gateways.
fn note(recorder: &Recorder, deliveries: &[Delivery], failed: &[(usize, PublishError)]) {
    let now = Timestamp::now();
    for (at, delivery) in deliveries.iter().enumerate() {
        let Some((of, node, users)) = delivery.shows else { continue };
        // Nearly always none failed, so a linear search is cheap.
        let stage = match failed.iter().find(|(failed, _)| *failed == at) {
            None => Stage::Published { node, users },
            Some((_, PublishError::NoRoute)) => Stage::NoRoute { node },
            Some(_) => continue,
        };
        recorder.note(of, now, stage);
    }
}

/// Counts the receipts of one publish.
struct Tally {
    open: AtomicUsize,
    failed: Mutex<Vec<(usize, PublishError)>>,
    all: Notify,
}

impl Tally {
    fn has_failed(&self, wanted: PublishError) -> bool {
        let failed = self.failed.lock();
        failed.iter().any(|(_, err)| *err == wanted)
    }

    fn note(&self, at: usize, outcome: Result<(), PublishError>) {
        if let Err(err) = outcome {
            self.failed.lock().push((at, err));
        }
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.all.notify_one();
        }
    }
}

/// An event to deliver, the time of its cause, and the chat message that it shows or refuses.
#[derive(Clone, Copy)]
pub(super) struct Notice<'a> {
    told: &'a Told,
    since: Option<Timestamp>,
    origin: Option<Origin>,
    context: Option<TraceContext>,
    key: u64,
}

impl<'a> Notice<'a> {
    fn of(told: &'a Told, effects: &Effects) -> Self {
        let shows = told.event.row().shows_message;
        let is_about_it = shows || matches!(told.event.outcome(), Some(MessageOutcome::Refused(_)));
        Self {
            told,
            since: effects.since,
            origin: effects.origin.filter(|_| is_about_it),
            context: effects.context.filter(|context| shows && context.is_sampled()),
            key: effects.key,
        }
    }

    /// The chat message that it shows.
    fn shows(&self) -> Option<Origin> {
        self.origin.filter(|_| self.told.event.row().shows_message)
    }
}

/// Splits effects into deliveries that need no look-up in the directory, and the rest, so that a sender does not
/// wait for the look-up of a large room. Of each key it takes only the events before its first broadcast, which
/// keeps the order. It takes nothing if all rooms are small, because one publish costs less than two.
pub(super) fn ahead(effects: &[Effects]) -> (Vec<Delivery>, Vec<Notice<'_>>) {
    let notices = newest(effects);
    let is_large =
        |notice: &Notice<'_>| matches!(&notice.told.to, To::Users(room) if room.len() > ROOM_USERS_SMALL);
    if !notices.iter().any(is_large) {
        return (Vec::new(), notices);
    }
    let mut begun = HashSet::new();
    let (ahead, rest): (Vec<_>, Vec<_>) = notices.into_iter().partition(|notice| match notice.told.to {
        To::Socket(_) => !begun.contains(&notice.key),
        To::Users(_) => {
            begun.insert(notice.key);
            false
        }
    });
    (write(&ahead, &[], &HashMap::new()).0, rest)
}

/// The events to deliver, dropping those superseded later in the batch.
fn newest(effects: &[Effects]) -> Vec<Notice<'_>> {
    let mut seen = HashSet::new();
    let all = effects.iter().flat_map(|effects| effects.told.iter().map(|told| Notice::of(told, effects)));
    let mut notices: Vec<Notice<'_>> = all.collect();
    // From the end, so that the last event of a key stays.
    notices.reverse();
    notices.retain(|notice| match notice.told.urgency {
        Urgency::Keep => true,
        Urgency::Latest(key) => seen.insert((notice.told.event.name(), key)),
    });
    notices.reverse();
    notices
}

/// The distinct lists of recipients.
fn rooms<'a>(notices: &[Notice<'a>]) -> Vec<&'a Arc<[UserId]>> {
    let mut seen = HashSet::new();
    let rooms = notices.iter().filter_map(|notice| match &notice.told.to {
        To::Users(users) => seen.insert(users.as_ptr()).then_some(users),
        To::Socket(_) => None,
    });
    rooms.collect()
}

/// The envelopes, and the messages for which there are none.
fn write(
    notices: &[Notice<'_>],
    rooms: &[&Arc<[UserId]>],
    nodes: &HashMap<UserId, Vec<NodeId>>,
) -> (Vec<Delivery>, Vec<Origin>) {
    let mut places = HashMap::with_capacity(rooms.len());
    for room in rooms {
        places.insert(room.as_ptr(), by_node(room, nodes));
    }
    let mut writer = Writer { subjects: HashMap::new(), deliveries: Vec::with_capacity(2 * notices.len()) };
    let mut to_nobody = Vec::new();
    for notice in notices {
        match &notice.told.to {
            To::Socket(socket) => {
                let data = notice.told.event.data();
                writer.write(*notice, data, socket.node, &mut Recipients::Socket(socket.serial));
            }
            To::Users(users) => {
                let Some(place) = places.get_mut(&users.as_ptr()).filter(|place| !place.is_empty()) else {
                    to_nobody.extend(notice.shows());
                    continue;
                };
                let recipients = place.iter().map(|(_, users)| count(users)).sum();
                metrics::fanned_out(place.len(), recipients);
                let data = notice.told.event.data();
                for (node, users) in place {
                    writer.write_to_users(*notice, data, *node, users);
                }
            }
        }
    }
    (writer.deliveries, to_nobody)
}

/// The recipients of a room that each node holds.
fn by_node(room: &[UserId], nodes: &HashMap<UserId, Vec<NodeId>>) -> Vec<(NodeId, Recipients)> {
    let mut place: Vec<(NodeId, Vec<UserId>)> = Vec::new();
    for user in room {
        for node in nodes.get(user).into_iter().flatten() {
            // There are few nodes: a linear search is faster than hashing.
            match place.iter_mut().find(|(known, _)| known == node) {
                Some((_, users)) => users.push(*user),
                None => place.push((*node, vec![*user])),
            }
        }
    }
    place.into_iter().map(|(node, users)| (node, Recipients::Users(users))).collect()
}

struct Writer {
    subjects: HashMap<NodeId, Subject>,
    deliveries: Vec<Delivery>,
}

impl Writer {
    fn write_to_users(&mut self, notice: Notice<'_>, data: &str, node: NodeId, to: &mut Recipients) {
        let room = (ENVELOPE_BYTES_MAX - DOWNLINK_BYTES).saturating_sub(data.len()) / RECIPIENT_BYTES;
        match to {
            Recipients::Users(users) if users.len() > room.max(1) => {
                for part in users.chunks(room.max(1)) {
                    self.write(notice, data, node, &mut Recipients::Users(part.to_vec()));
                }
            }
            to => self.write(notice, data, node, to),
        }
    }

    /// Writes one envelope. `to` is unchanged afterwards.
    fn write(&mut self, notice: Notice<'_>, data: &str, node: NodeId, to: &mut Recipients) {
        let Notice { told, since, origin, context, key } = notice;
        let users = u32::try_from(count(to)).unwrap_or(u32::MAX);
        let lent = std::mem::replace(to, Recipients::Socket(0));
        let row = told.event.row();
        let downlink = Downlink {
            to: lent,
            forms: told.forms,
            urgency: told.urgency,
            event: row.name,
            data,
            lane: row.lane,
            since,
            origin,
            outcome: told.event.outcome().or(row.shows_message.then_some(MessageOutcome::Shown)),
            context,
            tag: told.tag.clone(),
        };
        let body = protocol::encode(&downlink);
        *to = downlink.to;
        let subject = self.subjects.entry(node).or_insert_with(|| Subject::deliver(node)).clone();
        let envelope = Envelope { subject, key, body };
        self.deliveries.push(Delivery {
            envelope,
            context,
            shows: notice.shows().map(|of| (of, node, users)),
        });
    }
}

fn count(recipients: &Recipients) -> usize {
    match recipients {
        Recipients::Users(users) => users.len(),
        Recipients::Socket(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use protocol::events::ServerEvent;
    use protocol::events::message::LoadLastMessage;
    use protocol::ids::{ConversationId, SocketId};
    use protocol::{Forms, Sender};

    use super::*;

    const ONE: NodeId = NodeId(1);
    const TWO: NodeId = NodeId(2);

    fn users(ids: &[i64]) -> Arc<[UserId]> {
        ids.iter().copied().map(UserId).collect()
    }

    fn preview(conversation: i64) -> ServerEvent {
        LoadLastMessage { conversation_id: ConversationId(conversation) }.into()
    }

    fn written(effects: &[Effects], nodes: &[(i64, &[NodeId])]) -> Vec<(String, Recipients, String)> {
        let nodes = nodes.iter().map(|(user, nodes)| (UserId(*user), nodes.to_vec())).collect();
        let told = newest(effects);
        let (deliveries, _) = write(&told, &rooms(&told), &nodes);
        let read = |delivery: &Delivery| {
            let downlink: Downlink<'_> = protocol::decode(&delivery.envelope.body).unwrap();
            (delivery.envelope.subject.to_string(), downlink.to.clone(), downlink.data.to_owned())
        };
        deliveries.iter().map(read).collect()
    }

    #[test]
    fn each_node_gets_one_envelope_with_the_users_it_holds() {
        let effects = [Effects::default().broadcast(&users(&[1, 2, 3, 4]), preview(7))];
        let nodes: [(i64, &[NodeId]); 3] = [(1, &[ONE]), (2, &[ONE, TWO]), (4, &[TWO])];
        let data = r#"{"conversationId":7}"#.to_owned();
        assert_eq!(
            written(&effects, &nodes),
            [
                (
                    Subject::deliver(ONE).to_string(),
                    Recipients::Users(vec![UserId(1), UserId(2)]),
                    data.clone()
                ),
                (Subject::deliver(TWO).to_string(), Recipients::Users(vec![UserId(2), UserId(4)]), data),
            ]
        );
    }

    #[test]
    fn an_answer_needs_no_look_up_and_an_absent_room_no_envelope() {
        let socket = SocketId { node: TWO, serial: 9 };
        let from = Sender { user: UserId(1), socket: Some(socket) };
        let effects = [Effects::default().broadcast(&users(&[1, 2]), preview(7)).reply(&from, preview(8))];
        let data = r#"{"conversationId":8}"#.to_owned();
        assert_eq!(
            written(&effects, &[]),
            [(Subject::deliver(TWO).to_string(), Recipients::Socket(9), data)]
        );
    }

    #[test]
    fn of_a_batch_only_the_newest_preview_is_told() {
        let room = users(&[1]);
        let effects: Vec<_> = (0..3)
            .map(|_| Effects::default().broadcast_latest(&room, Forms::SocketIo, 7, preview(7)))
            .chain([Effects::default().broadcast_latest(&room, Forms::SocketIo, 8, preview(8))])
            .collect();
        assert_eq!(written(&effects, &[(1, &[ONE])]).len(), 2);
    }

    #[test]
    fn many_recipients_are_spread_over_envelopes_that_fit() {
        let all: Vec<i64> = (0..60_000).map(|id| i64::MAX - id).collect();
        let nodes: Vec<(i64, &[NodeId])> = all.iter().map(|id| (*id, &[ONE][..])).collect();
        let effects = [Effects::default().broadcast(&users(&all), preview(7))];
        let written = written(&effects, &nodes);
        let told: usize = written
            .iter()
            .map(|(_, to, _)| if let Recipients::Users(users) = to { users.len() } else { 0 })
            .sum();
        let data = preview(7).data().len();
        let envelopes = 60_000_usize.div_ceil((ENVELOPE_BYTES_MAX - DOWNLINK_BYTES - data) / RECIPIENT_BYTES);
        assert!(envelopes > 1, "they do not fit one");
        assert_eq!((written.len(), told), (envelopes, 60_000));
        let told = newest(&effects);
        let nodes = nodes.iter().map(|(user, nodes)| (UserId(*user), nodes.to_vec())).collect();
        let (deliveries, _) = write(&told, &rooms(&told), &nodes);
        assert!(deliveries.iter().all(|delivery| delivery.envelope.body.len() <= ENVELOPE_BYTES_MAX));
    }

    #[tokio::test]
    async fn receipts_may_come_in_any_order() {
        let tally = Tally { open: AtomicUsize::new(3), failed: Mutex::default(), all: Notify::new() };
        tally.note(2, Ok(()));
        tally.note(0, Err(PublishError::Busy));
        tally.note(1, Ok(()));
        tally.all.notified().await;
        assert_eq!(*tally.failed.lock(), [(0, PublishError::Busy)]);
    }

    #[test]
    fn who_wrote_to_a_large_room_hears_before_it_is_looked_up() {
        let (large, small) = (users(&(0..=ROOM_USERS_SMALL as i64).collect::<Vec<_>>()), users(&[1, 2]));
        let from = |serial| Sender { user: UserId(1), socket: Some(SocketId { node: ONE, serial }) };
        let preview = || LoadLastMessage { conversation_id: ConversationId(7) };
        let said = |key, serial, room: &Arc<[UserId]>| {
            let effects = Effects::default().reply(&from(serial), preview()).broadcast(room, preview());
            Effects { key, ..effects }
        };
        let all_small = [said(1, 1, &small), said(2, 2, &small)];
        assert_eq!((ahead(&all_small).0.len(), ahead(&all_small).1.len()), (0, 4));
        // The second answer of a key stays behind the first broadcast of that key.
        let mixed = [said(1, 1, &large), said(1, 2, &large), said(2, 3, &small)];
        let (first, rest) = ahead(&mixed);
        let key = |delivery: &Delivery| delivery.envelope.key;
        assert_eq!(first.iter().map(key).collect::<Vec<_>>(), [1, 2]);
        let sockets = |notice: &Notice<'_>| matches!(notice.told.to, To::Socket(_));
        assert_eq!(rest.iter().map(sockets).collect::<Vec<_>>(), [false, true, false, false]);
    }
}
