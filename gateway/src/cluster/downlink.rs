//! Deliveries on `deliver.<node>`, handed out to the sockets of this node.
//!
//! Each wire form of a downlink is built once, when the first socket needs it, and its bytes are
//! shared. Sockets are woken after the whole batch was handed out, so that each socket writes its
//! frames together.

use std::sync::Arc;

use common::bus::{Arrival, Envelope, Subscription};
use common::recorder::{Recorder, Ticket};
use common::spans::{Kind, Span, Value};
use protocol::control::Stage;
use protocol::events::ServerEvent;
use protocol::events::session::Lapsed;
use protocol::ids::NodeId;
use protocol::{self, Downlink, Forms, MessageOutcome, Origin, Recipients, Tag, Timestamp, Urgency};
use tracing::{info, warn};

use crate::cluster::hub::{Hub, SHARDS};
use crate::metrics::{FrameClass, Metrics};
use crate::socket::slot::Slot;
use crate::transport::packet::Packets;
use crate::wire::{self, Form};

/// The parts needed to hand deliveries out.
pub struct Deliveries {
    /// The id of this node.
    pub node: NodeId,
    /// The sockets.
    pub hub: Arc<Hub>,
    /// The recorder of milestones.
    pub recorder: Recorder,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

/// Hands out what arrives on `deliver.<node>`, until the bus drains.
pub async fn deliver(here: Arc<Deliveries>, mut subscription: Subscription) {
    let mut batch = Batch::default();
    while let Some(arrival) = subscription.next().await {
        match arrival {
            Arrival::Envelopes(envelopes) => {
                // One reading of the clock for the whole batch.
                let now = Timestamp::now();
                envelopes.iter().for_each(|envelope| batch.hand_out(&here, envelope, now));
                batch.wake();
            }
            Arrival::Lapse => lapse(&here),
        }
    }
}

fn lapse(here: &Deliveries) {
    here.metrics.lapses.increment(1);
    info!(node.id = %here.node, "The delivery queue was rebuilt: telling the sockets to sync");
    tell_all(here, &Lapsed {}.into());
}

/// Sends an event to all sockets with an account.
pub fn tell_all(here: &Deliveries, event: &ServerEvent) {
    let mut written = Written::new(event.name(), event.data(), None);
    for slot in (0..SHARDS).flat_map(|shard| here.hub.of_shard(shard)) {
        if slot.who().is_some()
            && slot.push(written.of(slot.form), Urgency::Keep, FrameClass::Control, &here.metrics)
        {
            slot.wake();
        }
    }
}

/// Records the outcome of a chat message; a shown one gets a ticket.
fn note(
    here: &Deliveries,
    of: Origin,
    downlink: &Downlink<'_>,
    sockets: usize,
    now: Timestamp,
) -> Option<Ticket> {
    match downlink.outcome? {
        MessageOutcome::Shown => {
            let found = u32::try_from(sockets).unwrap_or(u32::MAX);
            here.recorder.note(of, now, Stage::Written { found, written: 0, last: None })
        }
        // The worker that refused it may be gone when an operator asks.
        MessageOutcome::Refused(reject) => {
            here.recorder.note(of, now, Stage::Refused(reject));
            None
        }
        MessageOutcome::Kept(_) => None,
    }
}

/// The packets of one event in each form, built on demand.
struct Written<'a> {
    event: &'a str,
    data: &'a str,
    tag: Option<&'a Tag>,
    native: Option<Packets>,
    socket_io: Option<Packets>,
}

impl<'a> Written<'a> {
    fn new(event: &'a str, data: &'a str, tag: Option<&'a Tag>) -> Self {
        Self { event, data, tag, native: None, socket_io: None }
    }

    fn of(&mut self, form: Form) -> Packets {
        let packets = match form {
            Form::Native => &mut self.native,
            Form::SocketIo => &mut self.socket_io,
        };
        packets.get_or_insert_with(|| wire::answer_packets(form, self.event, self.data, self.tag)).clone()
    }

    /// The number of forms that were built.
    fn built(&self) -> u64 {
        u64::from(self.native.is_some()) + u64::from(self.socket_io.is_some())
    }
}

/// Memory that is reused from batch to batch.
#[derive(Default)]
struct Batch {
    found: Vec<Arc<Slot>>,
    to_wake: Vec<Arc<Slot>>,
}

impl Batch {
    fn hand_out(&mut self, here: &Deliveries, envelope: &Envelope, now: Timestamp) {
        let metrics = &here.metrics;
        metrics.downlinks.increment(1);
        let Ok(downlink) = protocol::decode::<Downlink<'_>>(&envelope.body) else {
            metrics.downlinks_damaged.increment(1);
            warn!(subject = %envelope.subject, "A downlink could not be read");
            return;
        };
        let span = Span::below(downlink.context, "deliver messageComing", Kind::Consumer);
        self.found.clear();
        match &downlink.to {
            Recipients::Users(users) => {
                users.iter().for_each(|user| here.hub.of_user(*user, &mut self.found));
            }
            Recipients::Socket(serial) => self.found.extend(here.hub.of_serial(*serial)),
        }
        if self.found.is_empty() {
            metrics.downlinks_nobody.increment(1);
        }
        let mut written = Written::new(downlink.event, downlink.data, downlink.tag.as_ref());
        let class = FrameClass::of_lane(downlink.lane);
        let wants = |slot: &Slot| downlink.forms == Forms::All || slot.form == Form::SocketIo;
        self.found.retain(|slot| wants(slot));
        let delivered = self.found.len();
        // Before the frames are queued: a socket may write them a moment later.
        let ticket = downlink.origin.and_then(|of| note(here, of, &downlink, delivered, now));
        for slot in self.found.drain(..) {
            if slot.push_noted(written.of(slot.form), downlink.urgency, class, ticket, metrics) {
                self.to_wake.push(slot);
            }
        }
        metrics.frames_built.increment(written.built());
        metrics.deliveries.increment(delivered as u64);
        if let Some(span) = span {
            span.with("chatchit.sockets", Value::Count(delivered)).end(None);
        }
        if let Some(since) = downlink.since.filter(|_| delivered > 0) {
            metrics.delivered(class, since, now);
        }
    }

    fn wake(&mut self) {
        self.to_wake.drain(..).for_each(|slot| slot.wake());
    }
}
