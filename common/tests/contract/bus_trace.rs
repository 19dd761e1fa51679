//! What the broker sees of a trace: a batch carries W3C's header.

use std::time::Duration;

use crate::support::bus as support;
use crate::support::bus::{Rig, envelope};
use common::bus::Bus;
use lapin::options::BasicGetOptions;
use lapin::types::AMQPValue;
use lapin::{Connection, ConnectionProperties};
use protocol::TraceContext;
use protocol::ids::NodeId;
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_a_sampled_message_says_its_trace_to_the_broker() {
    let Some(Rig::Rabbit(config)) = Rig::rabbit() else { return };
    let bus = Bus::connect(config.clone(), NodeId(1)).await.unwrap();
    let connection = Connection::connect(&config.url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let context = TraceContext::begun(0x4bf9_2f35, 7);
    for given in [Some(context), None] {
        let (sender, outcome) = tokio::sync::oneshot::channel();
        let receipt = Box::new(move |result| sender.send(result).expect("it is awaited"));
        // The low lane has one queue.
        bus.enqueue_in(envelope("low.typing", 7, "body"), given, receipt);
        support::deadline(outcome).await.unwrap().unwrap();
        let queue = format!("{}.lane.low", config.prefix);
        // The low lane is not confirmed: the batch is on its way.
        let got = support::deadline(async {
            loop {
                let get = channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true });
                if let Some(got) = get.await.unwrap() {
                    return got;
                }
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let headers = got.delivery.properties.headers().clone().unwrap_or_default();
        let said = headers.inner().get("traceparent").cloned();
        assert_eq!(said, given.map(|context| AMQPValue::LongString(context.to_string().into())));
    }
    bus.drain().await;
}
