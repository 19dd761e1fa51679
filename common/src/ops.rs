//! The admin port: is the process alive, is it ready, what did it measure.
//!
//! `GET /livez` 200 while the process runs · `GET /readyz` and `/health` 200 when every part is
//! ready and nothing drains, else 503, with the reasons as JSON · `GET /metrics` for Prometheus.
//! It answers until the process aborts or ends, draining included: that is when operators look.
//!
//! Unauthenticated: bind it to an address that only operators and Prometheus reach.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

use crate::lifecycle::Lifecycle;
use crate::limits::{OPS_CONNECTION_MS_MAX, OPS_CONNECTIONS_MAX, OPS_UPKEEP_MS};
use crate::telemetry::MetricsHandle;

/// Which parts of the process can work now. Cheap to clone; all clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, Result<(), String>>>>);

impl Readiness {
    /// Nothing has reported yet, so nothing is ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// A part says how it is: ready, or the reason why not.
    pub fn set(&self, part: &'static str, state: Result<(), String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(part, state);
    }

    /// Whether something has reported and everything that has is ready.
    pub fn is_ready(&self) -> bool {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !parts.is_empty() && parts.values().all(Result::is_ok)
    }

    /// All parts, by name.
    pub fn report(&self) -> Vec<(&'static str, Result<(), String>)> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().map(|(part, state)| (*part, state.clone())).collect()
    }
}

/// The admin port, bound.
pub struct Ops {
    listener: TcpListener,
}

/// What every connection needs.
#[derive(Clone)]
struct Context {
    metrics: MetricsHandle,
    readiness: Readiness,
    lifecycle: Lifecycle,
}

impl Ops {
    /// Binds and serves; fails only if the port cannot be bound.
    pub async fn serve(
        addr: SocketAddr,
        metrics: MetricsHandle,
        readiness: Readiness,
        lifecycle: Lifecycle,
    ) -> io::Result<()> {
        Self::bind(addr).await?.run(metrics, readiness, lifecycle).await;
        Ok(())
    }

    /// Binds the port.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(addr).await? })
    }

    /// The address that was bound.
    pub fn addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process aborts.
    pub async fn run(self, metrics: MetricsHandle, readiness: Readiness, lifecycle: Lifecycle) {
        if let Ok(addr) = self.addr() {
            info!("Admin port on http://{addr} (/livez /readyz /metrics)");
        }
        let context = Context { metrics, readiness, lifecycle };
        let places = Arc::new(Semaphore::new(OPS_CONNECTIONS_MAX));
        let mut upkeep = interval(Duration::from_millis(OPS_UPKEEP_MS));
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = context.lifecycle.aborting() => return,
                _ = upkeep.tick() => context.metrics.run_upkeep(),
                accepted = self.listener.accept() => match accepted {
                    // Full: the connection is closed at once; probes come again.
                    Ok((stream, _)) => if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                        let context = context.clone();
                        tokio::spawn(async move {
                            one_connection(stream, context).await;
                            drop(place);
                        });
                    },
                    Err(err) => {
                        warn!("Admin port: accept failed: {err}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }
}

async fn one_connection(stream: TcpStream, context: Context) {
    let limit = Duration::from_millis(OPS_CONNECTION_MS_MAX);
    let answer = service_fn(move |request| {
        let response = respond(&request, &context);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limit)
        .serve_connection(TokioIo::new(stream), answer);
    if let Ok(Err(err)) = timeout(limit, served).await {
        debug!("Admin port: {err}");
    }
}

fn respond(request: &Request<Incoming>, context: &Context) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refusal = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".into());
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match request.uri().path() {
        "/livez" => answer(StatusCode::OK, TEXT, "alive\n".into()),
        "/readyz" | "/health" => readiness(context),
        "/metrics" => answer(StatusCode::OK, "text/plain; version=0.0.4", context.metrics.render()),
        _ => answer(StatusCode::NOT_FOUND, TEXT, "/livez /readyz /health /metrics\n".into()),
    }
}

fn readiness(context: &Context) -> Response<Full<Bytes>> {
    let is_draining = context.lifecycle.is_draining();
    let is_ready = context.readiness.is_ready() && !is_draining;
    let parts: serde_json::Map<_, _> = context
        .readiness
        .report()
        .into_iter()
        .map(|(part, state)| (part.to_owned(), state.err().unwrap_or_else(|| "ok".into()).into()))
        .collect();
    let body = serde_json::json!({ "ready": is_ready, "draining": is_draining, "parts": parts });
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, "application/json", format!("{body}\n"))
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::telemetry::init_metrics;

    async fn ask(addr: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let text = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_probes_say_how_things_are() {
        let (readiness, lifecycle) = (Readiness::new(), Lifecycle::manual());
        let ops = Ops::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let addr = ops.addr().unwrap();
        let serving = tokio::spawn(ops.run(init_metrics(), readiness.clone(), lifecycle.clone()));
        let check = async |request: &str, expected: &[&str]| {
            let answer = ask(addr, request).await;
            for part in expected {
                assert!(answer.contains(part), "{request}: no {part} in {answer}");
            }
        };

        check("GET /livez", &["200 OK", "alive"]).await;
        check("GET /readyz", &["503", "\"ready\":false"]).await;
        readiness.set("bus", Ok(()));
        readiness.set("store", Err("no connection".into()));
        check("GET /readyz", &["503", "\"bus\":\"ok\"", "\"store\":\"no connection\""]).await;
        readiness.set("store", Ok(()));
        check("GET /readyz", &["200 OK", "\"ready\":true"]).await;
        metrics::counter!("ops_test_total").increment(1);
        check("GET /metrics", &["200 OK", "ops_test_total 1"]).await;
        check("GET /nothing", &["404"]).await;
        check("POST /livez", &["405", "GET, HEAD"]).await;

        lifecycle.drain();
        check("GET /health", &["503", "\"draining\":true"]).await;
        lifecycle.abort();
        serving.await.unwrap();
    }
}
