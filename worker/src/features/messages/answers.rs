//! Waits for the outcome of a message sent over REST.
//!
//! The worker that serves the request publishes the event on its lane as if one of its own sockets had sent
//! it, and receives `messageProcessed` or `sendMessageError` on its own `deliver.<node>`, like a
//! gateway. One path, one order, one set of rules.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::bus::{Envelope, PublishError, Subject};
use common::limits::{REST_SEND_MS_MAX, REST_SENDS_MAX};
use parking_lot::Mutex;
use protocol::control::Stage;
use protocol::events::message::SendMessage;
use protocol::ids::{MessageId, SocketId, UserId};
use protocol::{self, Downlink, MessageOutcome, Recipients, Reject, Sender, Timestamp, Uplink};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::ctx::Ctx;

/// The outcome of a message sent over REST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// It was saved as this row.
    Processed(MessageId),
    /// It was refused, for this reason.
    Rejected(Reject),
}

/// The waiting requests, by the message that they wait for.
#[derive(Default)]
pub struct Answers {
    waiting: Mutex<HashMap<u64, oneshot::Sender<SendOutcome>>>,
    serial: AtomicU64,
}

/// A waiting request; removed when dropped.
struct Waiter<'a> {
    answers: &'a Answers,
    serial: u64,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.answers.waiting().remove(&self.serial);
    }
}

impl Answers {
    /// Sends a message and waits for its outcome. `Err(Busy)`: it may or may not be saved; retry with the same guid.
    pub async fn send(&self, ctx: &Ctx, user: UserId, event: &SendMessage) -> Result<SendOutcome, Reject> {
        let (sender, answer) = oneshot::channel();
        let place = self.place(sender)?;
        let socket = SocketId { node: ctx.node, serial: place.serial };
        let from = Sender { user, socket: Some(socket) };
        let data = serde_json::to_string(event).map_err(|_| Reject::Failed)?;
        let uplink = Uplink::of::<SendMessage>(from, Timestamp::now(), &data)?;
        let subject = Subject::new("high.sendMessage").map_err(|_| Reject::Failed)?;
        let envelope = Envelope { subject, key: uplink.key(), body: protocol::encode(&uplink) };
        let accepted = Stage::Accepted { socket: None, confirmed: None };
        let ticket = ctx.noted(&uplink, accepted);
        ctx.bus.publish(envelope).await.map_err(|err| match err {
            PublishError::TooLarge => Reject::TooLarge,
            PublishError::Busy | PublishError::NoRoute | PublishError::Closed => {
                ctx.noted(&uplink, Stage::Unconfirmed);
                Reject::Busy
            }
        })?;
        ctx.recorder.confirmed(ticket, Timestamp::now());
        match timeout(Duration::from_millis(REST_SEND_MS_MAX), answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(Reject::Busy),
        }
    }

    /// Handles a delivery to this worker's own node.
    pub fn hear(&self, downlink: &Downlink<'_>) {
        let Recipients::Socket(serial) = downlink.to else { return };
        let answer = match downlink.outcome {
            Some(MessageOutcome::Kept(message)) => SendOutcome::Processed(message),
            Some(MessageOutcome::Refused(reject)) => SendOutcome::Rejected(reject),
            Some(MessageOutcome::Shown) | None => return,
        };
        if let Some(waiting) = self.waiting().remove(&serial) {
            // The request may have ended meanwhile.
            let _ = waiting.send(answer);
        }
    }

    fn place(&self, sender: oneshot::Sender<SendOutcome>) -> Result<Waiter<'_>, Reject> {
        let mut waiting = self.waiting();
        if waiting.len() >= REST_SENDS_MAX {
            return Err(Reject::Busy);
        }
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        waiting.insert(serial, sender);
        Ok(Waiter { answers: self, serial })
    }

    fn waiting(&self) -> parking_lot::MutexGuard<'_, HashMap<u64, oneshot::Sender<SendOutcome>>> {
        self.waiting.lock()
    }
}

#[cfg(test)]
mod tests {
    use protocol::events::message::{LoadLastMessage, MessageProcessed};
    use protocol::events::session::RefusalBody;
    use protocol::events::{ClientEvent as _, ServerEvent};
    use protocol::ids::{ConversationId, Guid};
    use protocol::{Forms, Urgency};

    use super::*;

    fn tell(answers: &Answers, serial: u64, event: &ServerEvent) {
        answers.hear(&Downlink {
            to: Recipients::Socket(serial),
            forms: Forms::All,
            urgency: Urgency::Keep,
            event: event.name(),
            data: event.data(),
            lane: event.row().lane,
            since: None,
            origin: None,
            outcome: event.outcome(),
            context: None,
            tag: None,
        });
    }

    #[test]
    fn each_hears_its_own_answer_once() {
        let answers = Answers::default();
        let (first, mut hears_first) = oneshot::channel();
        let (second, mut hears_second) = oneshot::channel();
        let (one, two) = (answers.place(first).unwrap(), answers.place(second).unwrap());
        let guid = Guid::new("g").unwrap();
        let processed = ServerEvent::from(MessageProcessed {
            guid: guid.clone(),
            message: MessageId(7),
            seq: 1,
            conversation: ConversationId(1),
        });
        tell(&answers, two.serial, &processed);
        tell(&answers, two.serial, &processed);
        let refusal = RefusalBody { guid: Some(guid), ..RefusalBody::of(Reject::Blocked) };
        let rejected = refusal.into_event(Some(SendMessage::ROW));
        tell(&answers, 99, &rejected);
        tell(&answers, one.serial, &LoadLastMessage { conversation_id: ConversationId(1) }.into());
        assert!(hears_first.try_recv().is_err(), "not yet");
        tell(&answers, one.serial, &rejected);
        assert_eq!(hears_first.try_recv(), Ok(SendOutcome::Rejected(Reject::Blocked)));
        assert_eq!(hears_second.try_recv(), Ok(SendOutcome::Processed(MessageId(7))));
        drop((one, two));
        assert!(answers.waiting().is_empty(), "nobody is left behind");
    }
}
