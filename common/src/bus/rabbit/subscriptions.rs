//! Plain subscriptions: a queue of this node each, rebuilt with the connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::super::envelope::Envelope;
use super::super::mailbox::Mailbox;
use super::super::metrics;
use super::super::subject::Pattern;
use super::super::topology::Names;
use super::connection::{BrokerLink, Live};
use super::declare;

/// Batches on their way to one subscriber.
const PREFETCH: u16 = 256;

/// Between attempts: a queue of the former connection may not be gone yet.
const PAUSE_MS: u64 = 50;

/// The task of one subscription.
pub(super) struct Feed {
    pub link: Arc<BrokerLink>,
    pub names: Names,
    pub queue: String,
    pub pattern: Pattern,
    pub mailbox: Arc<Mailbox>,
    /// The bus drains.
    pub ending: CancellationToken,
}

impl Feed {
    /// Until the subscriber is gone. `ready` hears of the first success.
    pub(super) async fn run(self, ready: oneshot::Sender<()>) {
        let mut ready = Some(ready);
        while let Some(live) = self.link.live().await {
            let run = live.on_channel(async |channel| self.run_on(&live, channel, &mut ready).await);
            match run.await {
                Ok(()) => break,
                Err(_) if live.dead.is_cancelled() => {}
                Err(failure) => {
                    warn!(pattern = %self.pattern, "A subscription failed, trying again: {failure:#}");
                    sleep(Duration::from_millis(PAUSE_MS)).await;
                }
            }
        }
        self.mailbox.close();
    }

    /// Ok: the subscriber is gone or the bus drains.
    async fn run_on(
        &self,
        live: &Live,
        channel: &Channel,
        ready: &mut Option<oneshot::Sender<()>>,
    ) -> anyhow::Result<()> {
        let exchange = self.names.topic_exchange();
        let bound = (!is_deliver(&self.pattern)).then_some((exchange.as_str(), &self.pattern));
        live.answer(declare::of_node(channel, &self.queue, bound)).await?;
        live.answer(channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
        let options = BasicConsumeOptions { exclusive: true, ..Default::default() };
        let consume =
            channel.basic_consume(self.queue.as_str().into(), "".into(), options, FieldTable::default());
        let mut consumer = live.answer(consume).await?;
        match ready.take() {
            // Nobody waits for it any more when the subscriber gave up.
            Some(ready) => drop(ready.send(())),
            None => self.mailbox.lapse(),
        }
        loop {
            let first = tokio::select! {
                () = live.dead.cancelled() => anyhow::bail!("the connection was lost"),
                () = self.ending.cancelled() => break,
                () = self.mailbox.closed() => break,
                first = consumer.next() => first,
            };
            let mut next = Some(first);
            let mut last = None;
            // Whatever is here already is acknowledged together.
            while let Some(delivery) = next {
                let Some(delivery) = delivery else { anyhow::bail!("the subscription was cancelled") };
                let delivery = delivery?;
                last = Some(delivery.delivery_tag);
                self.take(delivery.data.into());
                next = consumer.next().now_or_never();
            }
            if let Some(tag) = last {
                live.answer(channel.basic_ack(tag, BasicAckOptions { multiple: true })).await?;
            }
        }
        live.answer(channel.close(200, "unsubscribed".into())).await
    }

    fn take(&self, bytes: Bytes) {
        match Envelope::decode_batch(bytes) {
            // Another pattern of the same queue cannot be: each subscription has its own.
            Ok(envelopes) => self.mailbox.push(envelopes),
            Err(reason) => {
                error!(pattern = %self.pattern, "A damaged batch was dropped: {reason}");
                metrics::shed("damaged").increment(1);
                self.mailbox.lapse();
            }
        }
    }
}

/// `deliver.<node>` without a wildcard has its queue by name and no binding.
pub(super) fn is_deliver(pattern: &Pattern) -> bool {
    let text = pattern.as_str();
    text.starts_with("deliver.") && !text.contains(['*', '>'])
}
