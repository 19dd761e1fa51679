//! Requests of the queue group `api`, bounded: over the bound the answer is `busy`, at once.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::bus::{GroupDelivery, GroupSubscription};
use common::limits::{API_REQUESTS_MAX, BUSY_RETRY_MS, REQUEST_MS_MAX};
use futures_util::FutureExt as _;
use protocol::events::ClientEvent as _;
use protocol::events::sync::Sync;
use protocol::{self, ApiRequest, ApiResponse, Reject, Uplink};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::ctx::Ctx;
use crate::features::messages::sync;
use crate::{metrics, rest};

/// The subject of `sync`; every other subject of the group is REST.
const SYNC_SUBJECT: &str = "api.sync";

/// Answers requests until the worker leaves, then finishes those it has begun.
pub(crate) async fn serve(ctx: Ctx, mut requests: GroupSubscription, leaving: CancellationToken) {
    let slots = Arc::new(Semaphore::new(API_REQUESTS_MAX));
    let tasks = TaskTracker::new();
    loop {
        let delivery = tokio::select! {
            delivery = requests.next() => delivery,
            () = leaving.cancelled() => None,
        };
        let Some(delivery) = delivery else { break };
        let is_sync = delivery.envelope.subject.as_str() == SYNC_SUBJECT;
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            metrics::answered(area(is_sync), "busy", Duration::ZERO);
            if is_sync {
                metrics::sync_ended("busy");
            }
            settle(delivery, refuse(is_sync, Reject::Busy));
            continue;
        };
        let ctx = ctx.clone();
        tasks.spawn(async move {
            let begun = Instant::now();
            let (answer, outcome) = answer(&ctx, &delivery.envelope.body, is_sync).await;
            metrics::answered(area(is_sync), outcome, begun.elapsed());
            settle(delivery, answer);
            drop(slot);
        });
    }
    drop(requests);
    tasks.close();
    tasks.wait().await;
}

async fn answer(ctx: &Ctx, body: &[u8], is_sync: bool) -> (Bytes, &'static str) {
    let work = AssertUnwindSafe(route(ctx, body, is_sync)).catch_unwind();
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

async fn route(ctx: &Ctx, body: &[u8], is_sync: bool) -> Bytes {
    if is_sync && let Ok(Uplink { from, data, .. }) = protocol::decode(body) {
        return protocol::encode(&match Sync::parse(&data) {
            Ok(event) => sync::missed(ctx, &from, &event).await,
            Err(reject) => Err(reject),
        });
    }
    match protocol::decode::<ApiRequest>(body) {
        Ok(request) => protocol::encode(&rest::answer(ctx, request).await),
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
    protocol::encode(&ApiResponse { status: reject.status(), body: body.into_bytes() })
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
