//! What a collector of spans is told of a recorded message. Needs `--features otlp`, which `make test` gives it.
//! Other stories of this program record messages at the same time: the spans of this one are known by their trace.

#![cfg(feature = "otlp")]
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use common::spans;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use protocol::ids::NodeId;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Cluster, Kind, message_from};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00f067aa0ba902b7";

/// One that hears spans and tells nobody.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Value>>>);

impl Collector {
    async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let collector = self.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let collector = collector.clone();
                let hear = service_fn(move |request| collector.clone().hear(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), hear));
            }
        });
        addr
    }

    async fn hear(self, request: Request<Incoming>) -> hyper::Result<Response<Empty<Bytes>>> {
        assert_eq!(request.uri().path(), "/v1/traces");
        let body = request.into_body().collect().await?.to_bytes();
        let said: Value = serde_json::from_slice(&body).unwrap();
        let resources = said["resourceSpans"].as_array().unwrap().iter();
        let scopes = resources.flat_map(|resource| resource["scopeSpans"].as_array().unwrap());
        let spans = scopes.flat_map(|scope| scope["spans"].as_array().unwrap());
        self.0.lock().unwrap().extend(spans.cloned());
        Ok(Response::new(Empty::new()))
    }

    /// All spans of this name of which this holds.
    fn all(&self, name: &str, holds: impl Fn(&Value) -> bool) -> Vec<Value> {
        let spans = self.0.lock().unwrap();
        spans.iter().filter(|span| span["name"] == name && holds(span)).cloned().collect()
    }

    fn only(&self, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let found = self.all(name, holds);
        assert_eq!(found.len(), 1, "{name}: {:#?}", self.0.lock().unwrap());
        found.into_iter().next().unwrap()
    }
}

/// Its links, as spans of traces.
fn links(span: &Value) -> Vec<[&Value; 2]> {
    let links = span["links"].as_array().into_iter().flatten();
    links.map(|link| [&link["traceId"], &link["spanId"]]).collect()
}

fn nanos(of: &Value) -> u128 {
    of.as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_message_is_one_trace_from_its_client_to_the_others() {
    let collector = Collector::default();
    let url = format!("http://{}/v1/traces", collector.listen().await);
    spans::start("chatchit", NodeId::random(), Some(&url)).unwrap();
    let Some(cluster) = Cluster::start(Kind::Real).await else { return };
    let (conversation, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    let say = |content: &str, traceparent: Option<String>| json!({"conversationId": conversation, "guid": content, "content": content, "traceparent": traceparent});

    for quiet in [say("none", None), say("unsampled", Some(format!("00-{OTHER_TRACE}-{PARENT}-00")))] {
        alice.emit("sendMessage", quiet.clone()).await;
        let coming = bob.expect(message_from("alice", quiet["content"].as_str().unwrap())).await;
        assert!(coming.get("traceparent").is_none_or(Value::is_null), "{coming}");
    }
    alice.emit("sendMessage", say("recorded", Some(format!("00-{TRACE}-{PARENT}-01")))).await;
    let coming = bob.expect(message_from("alice", "recorded")).await;
    cluster.finish().await;
    spans::finish().await;

    let is_ours = |span: &Value| span["traceId"] == TRACE;
    let unsampled = |span: &Value| span["traceId"] == OTHER_TRACE;
    assert_eq!(collector.all("publish sendMessage", unsampled), [] as [Value; 0]);
    let publish = collector.only("publish sendMessage", is_ours);
    let process = collector.only("process sendMessage", is_ours);
    let batch = collector
        .only("process batch", |span| links(span).contains(&[&process["traceId"], &process["spanId"]]));
    // One for each gateway with somebody who is shown it: alice's own socket hears it too.
    let delivered = collector.all("deliver messageComing", is_ours);
    assert_eq!(delivered.len(), 2, "{delivered:#?}");
    assert_eq!([&publish["traceId"], &publish["parentSpanId"]], [TRACE, PARENT]);
    assert_eq!([&process["traceId"], &process["parentSpanId"]], [&publish["traceId"], &publish["spanId"]]);
    for deliver in &delivered {
        assert_eq!(
            [&deliver["traceId"], &deliver["parentSpanId"]],
            [&process["traceId"], &process["spanId"]]
        );
    }
    let said = format!("00-{TRACE}-{}-01", process["spanId"].as_str().unwrap());
    assert_eq!(coming["traceparent"], said, "the other client goes on from there");

    // The batch is a trace of its own, with what was asked of the database for all in it.
    assert_ne!(batch["traceId"], process["traceId"]);
    assert_eq!(links(&batch), [[&process["traceId"], &process["spanId"]]]);
    assert_eq!(links(&process), [[&batch["traceId"], &batch["spanId"]]]);
    let saved = collector.only("append", |span| span["parentSpanId"] == batch["spanId"]);
    assert_eq!([&saved["traceId"], &saved["parentSpanId"]], [&batch["traceId"], &batch["spanId"]]);
    let text = saved.to_string();
    assert!(text.contains("insert into messages") && !text.contains("recorded"), "{text}");

    let within = |inner: &Value, outer: &Value| {
        let times = |span: &Value| (nanos(&span["startTimeUnixNano"]), nanos(&span["endTimeUnixNano"]));
        let ((begun, ended), (from, to)) = (times(inner), times(outer));
        assert!(from <= begun && begun <= ended && ended <= to, "{inner} in {outer}");
    };
    within(&saved, &batch);
}
