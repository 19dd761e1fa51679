//! Accept, HTTP, and the few routes of the gateway itself: `/ws`, `/socket.io/`, `/livez`, `/readyz`,
//! `/health`. Everything else is REST and goes to `rest.rs`.
//!
//! After an upgrade the gateway takes the raw stream back from hyper. It becomes a [`SocketTask`] on its own
//! task, so nothing of the HTTP connection stays in memory. The 101 response is
//! not written here: it leaves with the socket's first frame.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::limits::{HTTP_HEADER_BYTES_MAX, SOCKET_UNSENT_BYTES_MAX};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioTimer;
use serde_json::json;
use socket2::{Domain, Protocol, Socket as RawSocket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::cluster::node::{ConnectionPermit, Node};
use crate::config::Bind;
use crate::edge::handshake::{self, Caller};
use crate::edge::http::{self, cors, guarded, plain, preflight, refusal, with_cors};
use crate::edge::rest;
use crate::edge::stream::{Course, Stream};
use crate::metrics;
use crate::socket::task::SocketTask;

/// Connections the kernel completes while the accept loop is busy: a reconnect storm.
const BACKLOG: i32 = 8_192;

/// Pause after an accept that failed for lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Between two lines in the log about the same trouble with accepting.
const FAULTS_LOGGED: Duration = Duration::from_secs(10);

/// Headers of one request.
const HEADERS_MAX: usize = 64;

/// Opens the port, on both address families if no address is given and the system has both. Accepted streams
/// inherit these options from the listener on Linux, which saves three system calls for each.
///
/// # Errors
/// The port is in use, or this machine does not have the address.
pub fn listen(bind: Bind, port: u16) -> io::Result<Vec<TcpListener>> {
    let (all, here) = (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::LOCALHOST));
    match bind {
        Bind::At(address) => Ok(vec![listen_on(SocketAddr::new(address, port))?]),
        Bind::All => match listen_on(SocketAddr::new(all, port)) {
            // A port that is taken is taken in the other family, too.
            Err(err) if err.kind() != io::ErrorKind::AddrInUse => {
                Ok(vec![listen_on(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))?])
            }
            listener => Ok(vec![listener?]),
        },
        Bind::Loopback => {
            let first = listen_on(SocketAddr::new(here, port))?;
            let port = first.local_addr()?.port();
            match listen_on(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)) {
                Ok(second) => Ok(vec![first, second]),
                Err(err) if err.kind() == io::ErrorKind::AddrInUse => Err(err),
                // There is no IPv6 on this machine.
                Err(_) => Ok(vec![first]),
            }
        }
    }
}

/// The same at one address; an error names the settings.
fn listen_on(addr: SocketAddr) -> io::Result<TcpListener> {
    open(addr).map_err(|err| {
        let what = format!("{addr} (PORT and BIND): {err}; free it, or choose another PORT");
        io::Error::new(err.kind(), what)
    })
}

fn open(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        // The system's default is a setting of its own (net.ipv6.bindv6only).
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(SOCKET_UNSENT_BYTES_MAX)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until dropped.
pub async fn accept(node: Arc<Node>, listener: TcpListener) {
    let mut faults = Faults::default();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            // The peer was gone before we came; the next one is not.
            Err(err) if err.kind() == io::ErrorKind::ConnectionAborted => {
                metrics::accept_refused("aborted");
                continue;
            }
            Err(err) => {
                metrics::accept_refused("fault");
                if let Some(times) = faults.note(Instant::now()) {
                    let sockets = node.hub.count();
                    warn!(error = %err, sockets, times, "Accepting failed; trying again");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match node.take_permit(peer.ip()) {
            Ok(permit) => drop(node.tasks.spawn(connection(permit, stream, peer.ip()))),
            Err(reason) => metrics::accept_refused(reason),
        }
    }
}

/// Twenty failures within a second are one line in the log.
#[derive(Debug, Default)]
struct Faults {
    logged: Option<Instant>,
    times: u64,
}

impl Faults {
    /// Counts one failure. `Some(count)`: log now; `count` failures were not logged before.
    fn note(&mut self, now: Instant) -> Option<u64> {
        self.times += 1;
        if self.logged.is_some_and(|logged| now.saturating_duration_since(logged) < FAULTS_LOGGED) {
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.times))
    }
}

/// Serves HTTP on one connection, until it ends or becomes a socket.
async fn connection(mut permit: ConnectionPermit, stream: TcpStream, peer: IpAddr) {
    let course = Arc::new(Course::default());
    let service = {
        let (node, course) = (Arc::clone(&*permit), Arc::clone(&course));
        service_fn(move |request| respond(Arc::clone(&node), peer, Arc::clone(&course), request))
    };
    let stream = Stream::new(stream, Arc::clone(&course), Arc::clone(&permit.shares));
    // Behind the drain's begin a connection still gets its one answer: try another gateway.
    let mut told = permit.draining.is_cancelled();
    let mut http = http1::Builder::new()
        .keep_alive(!told)
        // Who has said all may still listen (RFC 9112, 9.6).
        .half_close(true)
        .timer(TokioTimer::new())
        // The stream keeps the deadlines of heads.
        .header_read_timeout(None)
        .max_buf_size(HTTP_HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(stream, service);
    let served = {
        let mut draining = pin!(permit.draining.cancelled());
        poll_fn(|cx| {
            if !told && draining.as_mut().poll(cx).is_ready() {
                told = true;
                Pin::new(&mut http).graceful_shutdown();
            }
            http.poll_without_shutdown(cx)
        })
        .await
    };
    if let Err(err) = served {
        debug!(error = %err, "A connection ended");
        return;
    }
    let parts = http.into_parts();
    let (stream, answer) = parts.io.into_parts();
    if let Some(agreed) = course.take_agreed() {
        permit.hold_line(agreed.address);
        let tasks = permit.tasks.clone();
        tasks.spawn(SocketTask::open(stream, answer.into(), &parts.read_buf, permit, agreed));
    }
}

type Responding = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send>>;

fn respond(node: Arc<Node>, peer: IpAddr, course: Arc<Course>, mut request: Request<Incoming>) -> Responding {
    course.asked();
    let cors = cors(&node.config.origins, request.headers());
    let responded = |response| {
        course.answered();
        ready(guarded(response))
    };
    if let Some(sentence) = http::contradiction(request.version(), request.headers()) {
        return responded(with_cors(refusal(StatusCode::BAD_REQUEST, sentence), cors));
    }
    if request.method() == Method::OPTIONS && cors.is_some() {
        return responded(preflight(cors, request.headers()));
    }
    let address = node.origin.of(&node.config.proxies, peer, request.headers());
    let caller = Caller { peer, address };
    let (response, agreed) = match request.uri().path() {
        "/ws" => handshake::native(&node, caller, &mut request),
        "/socket.io/" | "/socket.io" => handshake::socket_io(&node, caller, &mut request),
        "/livez" => (plain(StatusCode::OK, "alive\n"), None),
        "/readyz" | "/health" => (readiness(&node), None),
        _ => {
            return Box::pin(async move {
                let response = rest::answer(&node, address, request).await;
                course.answered();
                Ok(guarded(with_cors(response, cors)))
            });
        }
    };
    match agreed {
        Some(agreed) => {
            course.agree(agreed);
            ready(response)
        }
        None => responded(with_cors(response, cors)),
    }
}

fn ready(response: Response<Full<Bytes>>) -> Responding {
    Box::pin(std::future::ready(Ok(response)))
}

/// Ready or not. Only the admin port, which operators reach, says why not.
fn readiness(node: &Node) -> Response<Full<Bytes>> {
    let is_ready = node.readiness.is_ready() && !node.draining.is_cancelled();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    http::json(status, json!({ "ready": is_ready }).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_streams_inherit_the_options_of_the_listener() {
        let listener = listen(Bind::At(Ipv4Addr::LOCALHOST.into()), 0).unwrap().remove(0);
        let addr = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(addr), listener.accept());
        let (_client, (stream, _)) = (client.unwrap(), accepted.unwrap());
        let stream = socket2::SockRef::from(&stream);
        assert!(stream.tcp_nodelay().unwrap() && stream.keepalive().unwrap());
        assert_eq!(stream.tcp_notsent_lowat().unwrap(), SOCKET_UNSENT_BYTES_MAX);
    }

    #[tokio::test]
    async fn without_an_address_both_families_are_served() {
        let listener = listen(Bind::All, 0).unwrap().remove(0);
        let addr = listener.local_addr().unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, addr.port())).await.unwrap();
        if addr.is_ipv6() && TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, addr.port())).await.unwrap();
        }
        // A port of one family only is taken for both.
        assert_eq!(
            listen(Bind::All, addr.port()).err().map(|err| err.kind()),
            Some(io::ErrorKind::AddrInUse)
        );
    }

    #[test]
    fn failures_to_accept_are_logged_at_a_bounded_rate() {
        let (start, mut faults) = (Instant::now(), Faults::default());
        let mut note = |ms| faults.note(start + Duration::from_millis(ms));
        assert_eq!(note(0), Some(1));
        assert!((1..200).all(|times| note(times * 50).is_none()));
        assert_eq!(note(10_000), Some(200));
        assert_eq!(note(10_050), None);
    }

    #[tokio::test]
    async fn the_loopback_addresses_of_both_families_share_one_port() {
        let listeners = listen(Bind::Loopback, 0).unwrap();
        let addrs: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert!(
            addrs.iter().all(|addr| addr.ip().is_loopback() && addr.port() == addrs[0].port()),
            "{addrs:?}"
        );
        let has_v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok();
        assert_eq!(addrs.len(), if has_v6 { 2 } else { 1 });
        let taken = listen(Bind::Loopback, addrs[0].port()).err().map(|err| err.kind());
        assert_eq!(taken, Some(io::ErrorKind::AddrInUse));
    }
}
