//! Accept, admission, HTTP, and the few routes of the gateway itself: `/ws`, `/socket.io/`,
//! `/livez`, `/readyz`, `/health`. Everything else is REST and goes to `api.rs`.
//!
//! After an upgrade the raw stream is taken back from hyper and becomes a [`Socket`] on a task of
//! its own, so nothing of the HTTP connection stays in memory. What answers the upgrade is not
//! written here: it leaves with the socket's first frame.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use common::limits::{HANDSHAKE_MS_MAX, HTTP_HEADER_BYTES_MAX, SOCKET_UNSENT_BYTES_MAX};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket as RawSocket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use crate::cluster::node::{Node, Place};
use crate::edge::handshake::{self, Agreed};
use crate::edge::http::{self, cors, plain, preflight, with_cors};
use crate::edge::rest;
use crate::metrics;
use crate::socket::task::Socket;

/// Connections the kernel completes while the accept loop is busy: a reconnect storm.
const BACKLOG: i32 = 8_192;

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Headers of one request.
const HEADERS_MAX: usize = 64;

/// Opens the port. Accepted streams inherit these options from the listener on Linux, which saves
/// three system calls for each.
///
/// # Errors
/// When the port is taken, or the address is not ours.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
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
                warn!(error = %err, sockets = node.hub.count(), "Accepting failed; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match node.take_place() {
            Some(place) => drop(node.tasks.spawn(connection(place, stream, peer.ip()))),
            None => metrics::accept_refused("full"),
        }
    }
}

/// Serves HTTP on one connection, until it ends or becomes a socket.
async fn connection(place: Place, stream: TcpStream, peer: IpAddr) {
    let agreement = Agreement::default();
    let service = {
        let (node, agreement) = (Arc::clone(&*place), Arc::clone(&agreement));
        service_fn(move |request| respond(Arc::clone(&node), peer, Arc::clone(&agreement), request))
    };
    let stream = Upgradable { stream: TokioIo::new(stream), agreement, answer: Vec::new() };
    // Behind the drain's begin a connection still gets its one answer: try another gateway.
    let mut told = place.draining.is_cancelled();
    let mut http = http1::Builder::new()
        .keep_alive(!told)
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HANDSHAKE_MS_MAX))
        .max_buf_size(HTTP_HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(stream, service);
    let served = {
        let mut draining = pin!(place.draining.cancelled());
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
    let Upgradable { stream, agreement, answer } = parts.io;
    let agreed = agreement.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(agreed) = agreed {
        let tasks = place.tasks.clone();
        let socket = Socket::open(stream.into_inner(), answer.into(), &parts.read_buf, place, agreed);
        tasks.spawn(socket);
    }
}

/// What the request led to, once it did.
type Agreement = Arc<Mutex<Option<Agreed>>>;

/// The stream of a connection. Behind an agreement hyper writes nothing but the answer to the
/// upgrade: that is held, for one system call and one packet less for each socket.
struct Upgradable {
    stream: TokioIo<TcpStream>,
    agreement: Agreement,
    answer: Vec<u8>,
}

impl Upgradable {
    fn is_agreed(&self) -> bool {
        self.agreement.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Read for Upgradable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        free: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, free)
    }
}

impl Write for Upgradable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_agreed() {
            self.answer.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_agreed() {
            slices.iter().for_each(|slice| self.answer.extend_from_slice(slice));
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

type Responding = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send>>;

fn respond(
    node: Arc<Node>,
    peer: IpAddr,
    agreement: Agreement,
    mut request: Request<Incoming>,
) -> Responding {
    let cors = cors(&node.config.origins, request.headers());
    if request.method() == Method::OPTIONS && cors.is_some() {
        return ready(preflight(cors, request.headers()));
    }
    let upgrade = match request.uri().path() {
        "/ws" => handshake::native(&node, &mut request),
        "/socket.io/" | "/socket.io" => handshake::socket_io(&node, &mut request),
        "/livez" => (plain(StatusCode::OK, "alive\n"), None),
        "/readyz" | "/health" => (readiness(&node), None),
        _ => {
            return Box::pin(async move {
                let response = rest::answer(&node, peer, request).await;
                Ok(with_cors(response, cors))
            });
        }
    };
    let (response, agreed) = upgrade;
    if agreed.is_some() {
        *agreement.lock().unwrap_or_else(PoisonError::into_inner) = agreed;
        return ready(response);
    }
    ready(with_cors(response, cors))
}

fn ready(response: Response<Full<Bytes>>) -> Responding {
    Box::pin(std::future::ready(Ok(response)))
}

/// As on the admin port. Whether it drains is one of its parts here.
fn readiness(node: &Node) -> Response<Full<Bytes>> {
    let status = if node.readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    http::json(status, node.readiness.brief(node.draining.is_cancelled()).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_streams_inherit_the_options_of_the_listener() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(addr), listener.accept());
        let (_client, (stream, _)) = (client.unwrap(), accepted.unwrap());
        let stream = socket2::SockRef::from(&stream);
        assert!(stream.tcp_nodelay().unwrap() && stream.keepalive().unwrap());
        assert_eq!(stream.tcp_notsent_lowat().unwrap(), SOCKET_UNSENT_BYTES_MAX);
    }
}
