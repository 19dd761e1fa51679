//! The admin port: is the process alive, is it ready, what did it measure.
//!
//! `GET /livez` 200 while the process runs · `GET /readyz` 200 when no part is down and nothing
//! drains, else 503, with each part's reason as JSON · `/health` the same with the performance score ·
//! `/health/detailed` the same with the numbers behind it · `GET /metrics` for Prometheus.
//! It answers until the process aborts or ends, draining included: that is when operators look.
//!
//! Unauthenticated: bind it to an address that only operators and Prometheus reach.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

use crate::health::{Readiness, Sample, Stretch};
use crate::lifecycle::Lifecycle;
use crate::limits::{OPS_CONNECTION_MS_MAX, OPS_CONNECTIONS_MAX, OPS_UPKEEP_MS};
use crate::telemetry::MetricsHandle;

/// Between two lines in the log about connections that could not be accepted.
const FAULTS_LOGGED: Duration = Duration::from_secs(10);

/// The admin port, bound, or none: what has to be done every few seconds is done all the same.
pub struct Ops {
    listener: Option<TcpListener>,
}

/// What every connection needs.
#[derive(Clone)]
struct Context {
    metrics: MetricsHandle,
    readiness: Readiness,
    lifecycle: Lifecycle,
    /// The state at the last two upkeeps, the older first.
    samples: Arc<Mutex<[Sample; 2]>>,
}

impl Ops {
    /// Binds the port, if there is to be one.
    ///
    /// # Errors
    /// It cannot be bound.
    pub async fn bind(addr: Option<SocketAddr>) -> io::Result<Self> {
        let listener = match addr {
            Some(addr) => {
                let named = |err: io::Error| {
                    io::Error::new(
                        err.kind(),
                        format!(
                            "{addr} (ADMIN_PORT and ADMIN_BIND): {err}; free it, or choose another ADMIN_PORT"
                        ),
                    )
                };
                Some(TcpListener::bind(addr).await.map_err(named)?)
            }
            None => None,
        };
        Ok(Self { listener })
    }

    /// The address that was bound.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// Serves until the process aborts.
    pub async fn run(self, metrics: MetricsHandle, readiness: Readiness, lifecycle: Lifecycle) {
        if let Some(addr) = self.addr() {
            info!("Admin port on http://{addr} (/livez /readyz /health /health/detailed /metrics)");
        }
        let now = Sample::take();
        let samples = Arc::new(Mutex::new([now.clone(), now]));
        let context = Context { metrics, readiness, lifecycle, samples };
        let places = Arc::new(Semaphore::new(OPS_CONNECTIONS_MAX));
        let mut upkeep = interval(Duration::from_millis(OPS_UPKEEP_MS));
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut logged: Option<Instant> = None;
        loop {
            tokio::select! {
                () = context.lifecycle.aborting() => return,
                _ = upkeep.tick() => context.keep_up(),
                accepted = accept(self.listener.as_ref()) => match accepted {
                    // Full: the connection is closed at once; probes come again.
                    Ok((stream, _)) => if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                        let context = context.clone();
                        tokio::spawn(async move {
                            one_connection(stream, context).await;
                            drop(place);
                        });
                    },
                    Err(err) => {
                        // Without descriptors it fails ten times a second.
                        let now = Instant::now();
                        if logged.is_none_or(|logged| now.saturating_duration_since(logged) >= FAULTS_LOGGED) {
                            warn!("Admin port: accept failed: {err}");
                            logged = Some(now);
                        }
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }
}

/// The next request; without a port there is never one.
async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

impl Context {
    /// Folds raw samples, and looks how the program does.
    fn keep_up(&self) {
        self.metrics.run_upkeep();
        let now = Sample::take();
        let mut samples = self.samples.lock();
        samples.swap(0, 1);
        samples[1] = now;
        let stretch = Stretch::new(samples[0].clone(), samples[1].clone());
        drop(samples);
        self.readiness.measure(&stretch);
    }

    /// From the upkeep before the last one until now: long enough for a rate.
    fn stretch(&self) -> Stretch {
        let before = self.samples.lock()[0].clone();
        Stretch::new(before, Sample::take())
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
        .half_close(true)
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
        "/readyz" => health(context, Readiness::brief),
        "/health" => health(context, |parts, leaves| parts.summary(leaves, &context.stretch())),
        "/health/detailed" => health(context, |parts, leaves| parts.detailed(leaves, &context.stretch())),
        "/metrics" => answer(StatusCode::OK, "text/plain; version=0.0.4", context.metrics.render()),
        _ => answer(StatusCode::NOT_FOUND, TEXT, "/livez /readyz /health /health/detailed /metrics\n".into()),
    }
}

/// 503 when another program should be asked; why, and how well it does, is the body's.
fn health(
    context: &Context,
    body: impl FnOnce(&Readiness, bool) -> serde_json::Value,
) -> Response<Full<Bytes>> {
    let is_draining = context.lifecycle.is_draining();
    let is_ready = context.readiness.is_ready() && !is_draining;
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, "application/json", format!("{}\n", body(&context.readiness, is_draining)))
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::health::State;
    use crate::telemetry::init_metrics;
    use protocol::ids::NodeId;

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
        let readiness = Readiness::new("test", NodeId(7));
        let lifecycle = Lifecycle::manual();
        let ops = Ops::bind(Some(([127, 0, 0, 1], 0).into())).await.unwrap();
        let addr = ops.addr().unwrap();
        let serving = tokio::spawn(ops.run(init_metrics(), readiness.clone(), lifecycle.clone()));
        let check = async |request: &str, expected: &[&str]| {
            let answer = ask(addr, request).await;
            for part in expected {
                assert!(answer.contains(part), "{request}: no {part} in {answer}");
            }
        };

        check("GET /livez", &["200 OK", "alive", "x-content-type-options: nosniff"]).await;
        check("GET /readyz", &["503", "\"ready\":false"]).await;
        readiness.set("bus", Ok(()));
        readiness.set("store", Err("no connection".into()));
        check("GET /readyz", &["503", "\"bus\":\"ok\"", "\"store\":\"no connection\""]).await;
        readiness.set("store", Ok(()));
        check("GET /readyz", &["200 OK", "\"ready\":true"]).await;
        readiness.report_as("workers", State::Degraded("none".into()));
        check("GET /readyz", &["200 OK", "\"workers\":\"degraded: none\""]).await;
        check("GET /health", &["200 OK", "\"score\":100", "\"status\":\"healthy\"", "\"program\":\"test\""])
            .await;
        check("GET /health/detailed", &["200 OK", "\"state\":\"degraded\"", "\"queues\":", "\"rates\":"])
            .await;
        metrics::counter!("ops_test_total").increment(1);
        check("GET /metrics", &["200 OK", "ops_test_total 1", "process_threads "]).await;
        check("GET /nothing", &["404"]).await;
        check("POST /livez", &["405", "GET, HEAD"]).await;

        lifecycle.drain();
        check("GET /health", &["503", "\"draining\":true"]).await;
        lifecycle.abort();
        serving.await.unwrap();
    }
    /// Samples of histograms stay in memory until they are folded, also without an admin port.
    #[tokio::test(start_paused = true)]
    async fn without_a_port_the_samples_are_folded_all_the_same() {
        let readiness = Readiness::new("test", NodeId(7));
        readiness.set("portless", Ok(()));
        let ops = Ops::bind(None).await.unwrap();
        assert_eq!(ops.addr(), None);
        let (metrics, lifecycle) = (init_metrics(), Lifecycle::manual());
        let keeping = tokio::spawn(ops.run(metrics.clone(), readiness, lifecycle.clone()));
        assert!(!metrics.render().contains("portless"));
        tokio::time::sleep(Duration::from_millis(OPS_UPKEEP_MS)).await;
        assert!(metrics.render().contains("portless"), "measured with every folding");
        lifecycle.abort();
        keeping.await.unwrap();
    }
}
