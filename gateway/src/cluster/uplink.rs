//! Accepted events on their way up: an envelope for the bus, and the answer to its receipt.
//!
//! Only this file sends `messageQueued`: when the broker has confirmed. It sends *busy*
//! within the bus's deadline; the socket stays open.
//!
//! Not here: the limit of unconfirmed envelopes (the bus has the window), and what an event means.

use std::sync::Arc;
use std::time::Duration;

use common::bus::{Bus, Envelope, PublishError, RequestError};
use common::limits::{BUSY_RETRY_MS, REQUEST_MS_MAX};
use common::recorder::Recorder;
use common::spans::{Kind, Span};
use protocol::control::Stage;
use protocol::events::Way;
use protocol::events::session::RefusalBody;
use protocol::{self, Lane, Reject, Timestamp, TraceContext, Uplink, Urgency};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::cluster::clock::Clock;
use crate::cluster::hub::Hub;
use crate::cluster::sampling::Sampling;
use crate::cluster::subjects::Subjects;
use crate::metrics::{FrameClass, Metrics};
use crate::socket::rate::LocalRate;
use crate::socket::slot::Slot;
use crate::transport::packet::Packets;
use crate::wire::ReplyTo;

/// The parts needed to publish events.
pub struct Uplinks {
    /// The bus to the workers.
    pub bus: Bus,
    /// The subject of each event.
    pub subjects: Subjects,
    /// The sockets, and the budget of each user.
    pub hub: Arc<Hub>,
    /// The rate of one user.
    pub user_rate: LocalRate,
    /// The sampling of traces.
    pub sampling: Sampling,
    /// The recorder of milestones.
    pub recorder: Recorder,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Requests in progress.
    pub tasks: TaskTracker,
    /// The clock of rates.
    pub clock: Clock,
}

/// Publishes an event of this socket on its lane; the receipt answers through `reply`.
pub fn publish(uplinks: &Arc<Uplinks>, slot: &Arc<Slot>, mut uplink: Uplink, reply: ReplyTo) {
    let Some(row) = reply.event else { return };
    let (Some(subject), Way::Lane(lane)) = (uplinks.subjects.of_event(row), row.way) else { return };
    let up = uplinks.clock.uptime();
    if let Err(wait) = uplinks.hub.take_rate(uplink.from.user, uplinks.user_rate, up) {
        uplinks.metrics.uplinks_limited.increment(1);
        if let Some(of) = uplink.origin() {
            uplinks.recorder.note(of, uplink.at, Stage::Refused(Reject::RateLimited));
        }
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        answer(uplinks, slot, FrameClass::Control, reply.refused_for_now(Reject::RateLimited, wait_ms));
        return;
    }
    let (mut context, mut span) = (None, None);
    if uplink.guid.is_some() {
        uplink.context = uplinks.sampling.judge(uplink.context, up);
        span = Span::below(uplink.context, "publish sendMessage", Kind::Producer);
        // The worker's spans belong below this gateway's span, if there is one.
        uplink.context = span.as_ref().map(Span::context).or(uplink.context);
        context = uplink.context.filter(TraceContext::is_sampled);
    }
    let uplink = &uplink;
    let envelope = Envelope { subject, key: uplink.key(), body: protocol::encode(uplink) };
    let (may_drop, class) = (lane == Lane::Low, FrameClass::of_lane(Some(lane)));
    let (uplinks, slot, since) = (Arc::clone(uplinks), Arc::clone(slot), Instant::now());
    uplinks.metrics.uplinks.increment(1);
    let origin = uplinks.recorder.is_on().then(|| uplink.origin()).flatten();
    let accepted = Stage::Accepted { socket: Some(slot.serial), confirmed: None };
    let ticket = origin.and_then(|of| uplinks.recorder.note(of, uplink.at, accepted));
    let bus = uplinks.bus.clone();
    bus.enqueue_in(
        envelope,
        context,
        Box::new(move |outcome| {
            if let Some(span) = span {
                span.end(outcome.is_err().then_some("unconfirmed"));
            }
            match outcome {
                Ok(()) => {
                    let now = Timestamp::now();
                    uplinks.recorder.confirmed(ticket, now);
                    uplinks.metrics.uplink_confirm.record(since.elapsed().as_secs_f64());
                    if let Some(queued) = reply.queued(now) {
                        answer(&uplinks, &slot, class, queued);
                    }
                }
                // By the time of a retry the event would be worthless.
                Err(_) if may_drop => uplinks.metrics.uplinks_dropped.increment(1),
                Err(PublishError::TooLarge) => {
                    uplinks.metrics.uplinks_busy.increment(1);
                    answer(
                        &uplinks,
                        &slot,
                        FrameClass::Control,
                        reply.refused(RefusalBody::of(Reject::TooLarge)),
                    );
                }
                Err(PublishError::Busy | PublishError::NoRoute | PublishError::Closed) => {
                    if let Some(of) = origin {
                        uplinks.recorder.note(of, Timestamp::now(), Stage::Unconfirmed);
                    }
                    uplinks.metrics.uplinks_busy.increment(1);
                    answer(
                        &uplinks,
                        &slot,
                        FrameClass::Control,
                        reply.refused_for_now(Reject::Busy, BUSY_RETRY_MS),
                    );
                }
            }
        }),
    );
}

/// Sends a request to a worker and returns its answer to the client; one at a time per socket.
pub fn ask(uplinks: &Arc<Uplinks>, slot: &Arc<Slot>, uplink: &Uplink, reply: ReplyTo) {
    let Some(row) = reply.event else { return };
    let (Some(subject), Way::Request { answer: answered, .. }) = (uplinks.subjects.of_event(row), row.way)
    else {
        return;
    };
    if !slot.start_request() {
        uplinks.metrics.uplinks_limited.increment(1);
        answer(uplinks, slot, FrameClass::Control, reply.refused_for_now(Reject::RateLimited, BUSY_RETRY_MS));
        return;
    }
    let body = protocol::encode(uplink);
    let (uplinks, slot) = (Arc::clone(uplinks), Arc::clone(slot));
    let tasks = uplinks.tasks.clone();
    tasks.spawn(async move {
        let deadline = Duration::from_millis(REQUEST_MS_MAX);
        let told = match uplinks.bus.request(subject, body, deadline).await {
            Ok(bytes) => protocol::decode::<Result<String, Reject>>(&bytes).unwrap_or_else(|err| {
                warn!(error = %err, event.name = row.name, "A worker's answer could not be read");
                Err(Reject::Failed)
            }),
            Err(RequestError::TooLarge) => Err(Reject::TooLarge),
            Err(_) => {
                uplinks.metrics.uplinks_busy.increment(1);
                Err(Reject::Busy)
            }
        };
        slot.end_request();
        let packets = match told {
            Ok(data) => reply.answered_with(answered, &data),
            Err(Reject::Busy) => reply.refused_for_now(Reject::Busy, BUSY_RETRY_MS),
            Err(reject) => reply.refused(RefusalBody::of(reject)),
        };
        answer(&uplinks, &slot, FrameClass::Other, packets);
    });
}

fn answer(uplinks: &Uplinks, slot: &Slot, class: FrameClass, packets: Packets) {
    if slot.push(packets, Urgency::Keep, class, &uplinks.metrics) {
        slot.wake();
    }
}
