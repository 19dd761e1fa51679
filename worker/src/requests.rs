//! Requests of the queue group `api`, bounded: over the bound the answer is `busy`, at once.
//!
//! Those that events of sockets make are each on a subject of their own, which the table of features has;
//! every other subject of the group is REST.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::bus::{GroupDelivery, GroupSubscription};
use common::limits::{API_REQUESTS_MAX, BUSY_RETRY_MS, EVENT_REQUESTS_MAX, REQUEST_MS_MAX};
use foldhash::HashMap;
use futures_util::FutureExt as _;
use protocol::events::Way;
use protocol::{self, ApiRequest, ApiResponse, Reject, ResponseHeaders, Uplink};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::feature::{Feature, RequestRow};
use crate::metrics;
use crate::rest::RestState;

/// What requests are answered with.
pub(crate) struct Answerer {
    rest: Arc<RestState>,
    /// By the subject.
    of_events: HashMap<&'static str, RequestRow>,
}

impl Answerer {
    /// By these features.
    pub(crate) fn of(features: &[&Feature], rest: Arc<RestState>) -> Self {
        let rows = features.iter().flat_map(|feature| feature.requests).copied();
        let by_subject = rows.filter_map(|row| match row.row.way {
            Way::Request { subject, .. } => Some((subject, row)),
            Way::Lane(_) | Way::Session => None,
        });
        Self { rest, of_events: by_subject.collect() }
    }

    /// What the request of this subject asks for. None: REST.
    fn row(&self, subject: &str) -> Option<RequestRow> {
        self.of_events.get(subject).copied()
    }

    /// One request: its answer, and how that came about.
    async fn answer(&self, row: Option<RequestRow>, body: &[u8]) -> (Bytes, &'static str) {
        let work = AssertUnwindSafe(self.route(row, body)).catch_unwind();
        match timeout(Duration::from_millis(REQUEST_MS_MAX), work).await {
            Ok(Ok(answer)) => (answer, "answered"),
            Ok(Err(_panic)) => {
                error!(area = area(row), "A request ended in a panic");
                (refuse(row, Reject::Failed), "panic")
            }
            Err(_) => {
                warn!(area = area(row), "A request was not answered in time");
                (refuse(row, Reject::Busy), "late")
            }
        }
    }

    async fn route(&self, row: Option<RequestRow>, body: &[u8]) -> Bytes {
        if let Some(row) = row
            && let Ok(uplink) = protocol::decode::<Uplink>(body)
        {
            let answer = (row.answer)(self.rest.cheap(), &uplink).await;
            return protocol::encode(&answer.map(|event| event.data().to_owned()));
        }
        // A gateway that does not know the event yet may ask for a path of the same name.
        match protocol::decode::<ApiRequest>(body) {
            Ok(request) => protocol::encode(&self.rest.answer(&request).await),
            Err(_) => refuse(row, Reject::Malformed),
        }
    }
}

/// Room for requests, so that neither kind takes the other's.
struct Slots {
    of_events: Arc<Semaphore>,
    rest: Arc<Semaphore>,
}

fn slots(most: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(most))
}

/// Answers requests until the worker leaves, then finishes those it has begun.
pub(crate) async fn serve(answerer: Answerer, mut requests: GroupSubscription, leaving: CancellationToken) {
    let answerer = Arc::new(answerer);
    let slots =
        Slots { of_events: slots(EVENT_REQUESTS_MAX), rest: slots(API_REQUESTS_MAX - EVENT_REQUESTS_MAX) };
    let tasks = TaskTracker::new();
    loop {
        let delivery = tokio::select! {
            delivery = requests.next() => delivery,
            () = leaving.cancelled() => None,
        };
        let Some(delivery) = delivery else { break };
        let row = answerer.row(delivery.envelope.subject.as_str());
        let of_kind = if row.is_some() { &slots.of_events } else { &slots.rest };
        let Ok(slot) = Arc::clone(of_kind).try_acquire_owned() else {
            metrics::answered(area(row), "busy", Duration::ZERO);
            settle(delivery, refuse(row, Reject::Busy));
            continue;
        };
        let answerer = Arc::clone(&answerer);
        tasks.spawn(async move {
            let begun = Instant::now();
            let (answer, outcome) = answerer.answer(row, &delivery.envelope.body).await;
            metrics::answered(area(row), outcome, begun.elapsed());
            settle(delivery, answer);
            drop(slot);
        });
    }
    drop(requests);
    tasks.close();
    tasks.wait().await;
}

fn refuse(row: Option<RequestRow>, reject: Reject) -> Bytes {
    if row.is_some() {
        return protocol::encode(&Err::<String, Reject>(reject));
    }
    let retry =
        if reject == Reject::Busy { format!(r#","retryInMs":{BUSY_RETRY_MS}"#) } else { String::new() };
    let body = format!(
        r#"{{"statusCode":{},"code":"{}","message":"{}"{retry}}}"#,
        reject.status(),
        reject.code(),
        reject.sentence()
    );
    let (status, headers) = (reject.status(), ResponseHeaders::default());
    protocol::encode(&ApiResponse { status, body: body.into_bytes(), headers })
}

fn settle(delivery: GroupDelivery, answer: Bytes) {
    if delivery.wants_reply() {
        delivery.reply(answer);
    } else {
        delivery.ack();
    }
}

/// The label of its metrics.
fn area(row: Option<RequestRow>) -> &'static str {
    row.map_or("rest", |row| row.row.name)
}
