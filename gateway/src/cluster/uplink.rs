//! Accepted events on their way up: an envelope for the bus, and what its receipt tells the socket.
//!
//! `messageQueued` is said here and nowhere else: when the broker has confirmed. *Busy* is said
//! within the bus's deadline; the socket stays open.
//!
//! Not here: how many may be unconfirmed (the bus has the window), what an event means.

use std::sync::Arc;
use std::time::Duration;

use common::bus::{Envelope, PublishError, RequestError};
use common::limits::{BUSY_RETRY_MS, REQUEST_MS_MAX};
use common::spans::{Kind, Span};
use protocol::control::Stage;
use protocol::events::Way;
use protocol::events::session::RefusalBody;
use protocol::{self, Lane, Reject, Timestamp, TraceContext, Uplink, Urgency};
use tokio::time::Instant;
use tracing::warn;

use crate::cluster::node::Node;
use crate::metrics::FrameClass;
use crate::socket::slot::Slot;
use crate::transport::packet::Packets;
use crate::wire::ReplyTo;

/// Publishes an event of this socket on its lane; the receipt answers through `reply`.
pub fn publish(node: &Arc<Node>, slot: &Arc<Slot>, mut uplink: Uplink, reply: ReplyTo) {
    let Some(row) = reply.event else { return };
    let (Some(subject), Way::Lane(lane)) = (node.subjects.of_event(row), row.way) else { return };
    let up = node.uptime();
    if let Err(wait) = node.hub.take_rate(uplink.from.user, node.config.user_rate, up) {
        node.metrics.uplinks_limited.increment(1);
        if let Some(of) = uplink.origin() {
            node.recorder.note(of, uplink.at, Stage::Refused(Reject::RateLimited));
        }
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        answer(node, slot, FrameClass::Control, reply.refused_for_now(Reject::RateLimited, wait_ms));
        return;
    }
    let (mut context, mut span) = (None, None);
    if uplink.guid.is_some() {
        uplink.context = node.sampling.judge(uplink.context, up);
        span = Span::below(uplink.context, "publish sendMessage", Kind::Producer);
        // What follows belongs below our span, if there is one.
        uplink.context = span.as_ref().map(Span::context).or(uplink.context);
        context = uplink.context.filter(TraceContext::is_sampled);
    }
    let uplink = &uplink;
    let envelope = Envelope { subject, key: uplink.key(), body: protocol::encode(uplink) };
    let (may_drop, class) = (lane == Lane::Low, FrameClass::of_lane(Some(lane)));
    let (node, slot, since) = (Arc::clone(node), Arc::clone(slot), Instant::now());
    node.metrics.uplinks.increment(1);
    let origin = node.recorder.is_on().then(|| uplink.origin()).flatten();
    let accepted = Stage::Accepted { socket: Some(slot.serial), confirmed: None };
    let ticket = origin.and_then(|of| node.recorder.note(of, uplink.at, accepted));
    let bus = node.bus.clone();
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
                    node.recorder.confirmed(ticket, now);
                    node.metrics.uplink_confirm.record(since.elapsed().as_secs_f64());
                    if let Some(queued) = reply.queued(now) {
                        answer(&node, &slot, class, queued);
                    }
                }
                // It is worth nothing by the time it could be repeated.
                Err(_) if may_drop => node.metrics.uplinks_dropped.increment(1),
                Err(PublishError::TooLarge) => {
                    node.metrics.uplinks_busy.increment(1);
                    answer(
                        &node,
                        &slot,
                        FrameClass::Control,
                        reply.refused(RefusalBody::of(Reject::TooLarge)),
                    );
                }
                Err(PublishError::Busy | PublishError::NoRoute | PublishError::Closed) => {
                    if let Some(of) = origin {
                        node.recorder.note(of, Timestamp::now(), Stage::Unconfirmed);
                    }
                    node.metrics.uplinks_busy.increment(1);
                    answer(
                        &node,
                        &slot,
                        FrameClass::Control,
                        reply.refused_for_now(Reject::Busy, BUSY_RETRY_MS),
                    );
                }
            }
        }),
    );
}

/// Asks a worker what a socket missed; one at a time per socket.
pub fn ask(node: &Arc<Node>, slot: &Arc<Slot>, uplink: &Uplink, reply: ReplyTo) {
    let Some(row) = reply.event else { return };
    let (Some(subject), Way::Request { answer: answered, .. }) = (node.subjects.of_event(row), row.way)
    else {
        return;
    };
    if !slot.start_sync() {
        node.metrics.uplinks_limited.increment(1);
        answer(node, slot, FrameClass::Control, reply.refused_for_now(Reject::RateLimited, BUSY_RETRY_MS));
        return;
    }
    let body = protocol::encode(uplink);
    let (node, slot) = (Arc::clone(node), Arc::clone(slot));
    let tasks = node.tasks.clone();
    tasks.spawn(async move {
        let deadline = Duration::from_millis(REQUEST_MS_MAX);
        let missed = match node.bus.request(subject, body, deadline).await {
            Ok(bytes) => protocol::decode::<Result<String, Reject>>(&bytes).unwrap_or_else(|err| {
                warn!(error = %err, event.name = row.name, "A worker's answer could not be read");
                Err(Reject::Failed)
            }),
            Err(RequestError::TooLarge) => Err(Reject::TooLarge),
            Err(_) => {
                node.metrics.uplinks_busy.increment(1);
                Err(Reject::Busy)
            }
        };
        slot.end_sync();
        let packets = match missed {
            Ok(data) => reply.answered_with(answered, &data),
            Err(Reject::Busy) => reply.refused_for_now(Reject::Busy, BUSY_RETRY_MS),
            Err(reject) => reply.refused(RefusalBody::of(reject)),
        };
        answer(&node, &slot, FrameClass::Other, packets);
    });
}

fn answer(node: &Node, slot: &Slot, class: FrameClass, packets: Packets) {
    if slot.push(packets, Urgency::Keep, class, &node.metrics) {
        slot.wake();
    }
}
