//! Requests of the queue group `api`, bounded: over the bound the answer is `busy`, at once.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::bus::{GroupDelivery, GroupSubscription};
use common::limits::{API_REQUESTS_MAX, BUSY_RETRY_MS, REQUEST_MS_MAX, SYNC_REQUESTS_MAX};
use futures_util::FutureExt as _;
use protocol::events::ClientEvent as _;
use protocol::events::sync::Sync;
use protocol::{self, ApiRequest, ApiResponse, Reject, ResponseHeaders, Uplink};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::features::messages::sync;
use crate::metrics;
use crate::rest::RestState;

/// The subject of `sync`; every other subject of the group is REST.
const SYNC_SUBJECT: &str = "api.sync";

/// Room for requests, so that neither kind takes the other's.
struct Slots {
    sync: Arc<Semaphore>,
    rest: Arc<Semaphore>,
}

fn slots(most: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(most))
}

/// Answers requests until the worker leaves, then finishes those it has begun.
pub(crate) async fn serve(rest: Arc<RestState>, mut requests: GroupSubscription, leaving: CancellationToken) {
    let slots = Slots { sync: slots(SYNC_REQUESTS_MAX), rest: slots(API_REQUESTS_MAX - SYNC_REQUESTS_MAX) };
    let tasks = TaskTracker::new();
    loop {
        let delivery = tokio::select! {
            delivery = requests.next() => delivery,
            () = leaving.cancelled() => None,
        };
        let Some(delivery) = delivery else { break };
        let is_sync = delivery.envelope.subject.as_str() == SYNC_SUBJECT;
        let of_area = if is_sync { &slots.sync } else { &slots.rest };
        let Ok(slot) = Arc::clone(of_area).try_acquire_owned() else {
            metrics::answered(area(is_sync), "busy", Duration::ZERO);
            if is_sync {
                metrics::sync_ended("busy");
            }
            settle(delivery, refuse(is_sync, Reject::Busy));
            continue;
        };
        let rest = Arc::clone(&rest);
        tasks.spawn(async move {
            let begun = Instant::now();
            let (answer, outcome) = answer(&rest, &delivery.envelope.body, is_sync).await;
            metrics::answered(area(is_sync), outcome, begun.elapsed());
            settle(delivery, answer);
            drop(slot);
        });
    }
    drop(requests);
    tasks.close();
    tasks.wait().await;
}

async fn answer(rest: &RestState, body: &[u8], is_sync: bool) -> (Bytes, &'static str) {
    let work = AssertUnwindSafe(route(rest, body, is_sync)).catch_unwind();
    match timeout(Duration::from_millis(REQUEST_MS_MAX), work).await {
        Ok(Ok(answer)) => (answer, "answered"),
        Ok(Err(_panic)) => {
            error!(area = area(is_sync), "A request ended in a panic");
            (refuse(is_sync, Reject::Failed), "panic")
        }
        Err(_) => {
            warn!(area = area(is_sync), "A request was not answered in time");
            (refuse(is_sync, Reject::Busy), "late")
        }
    }
}

async fn route(rest: &RestState, body: &[u8], is_sync: bool) -> Bytes {
    if is_sync && let Ok(Uplink { from, data, .. }) = protocol::decode(body) {
        return protocol::encode(&match Sync::parse(&data) {
            Ok(event) => sync::missed(rest.cheap(), &from, &event).await,
            Err(reject) => Err(reject),
        });
    }
    match protocol::decode::<ApiRequest>(body) {
        Ok(request) => protocol::encode(&rest.answer(&request).await),
        Err(_) => refuse(is_sync, Reject::Malformed),
    }
}

fn refuse(is_sync: bool, reject: Reject) -> Bytes {
    if is_sync {
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

const fn area(is_sync: bool) -> &'static str {
    if is_sync { "sync" } else { "rest" }
}
