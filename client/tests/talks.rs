//! The client against servers of this test: plain and over TLS, honest and not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use client::{Closed, RefusedRequest, SILENCE_MS_MAX, Site, Socket};
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates").join(name)
}

/// What a server does with one connection.
trait Serve: Fn(Box<dyn Io>) -> Served + Send + Sync + 'static {}
impl<F: Fn(Box<dyn Io>) -> Served + Send + Sync + 'static> Serve for F {}
type Served = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A server on a free port; with TLS, it shows the certificate of `gateway.pem`.
async fn server(is_tls: bool, serve: impl Serve) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = is_tls.then(acceptor);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let io: Box<dyn Io> = match &acceptor {
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => Box::new(stream),
                    Err(_) => continue,
                },
                None => Box::new(stream),
            };
            tokio::spawn(serve(io));
        }
    });
    port
}

fn acceptor() -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(file("gateway.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file("gateway.key")).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()))
}

/// Reads a request's head and answers with these bytes.
fn answers(text: String) -> impl Serve {
    move |mut io: Box<dyn Io>| -> Served {
        let text = text.clone();
        Box::pin(async move {
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") && io.read_buf(&mut head).await.unwrap() > 0
            {
            }
            io.write_all(text.as_bytes()).await.unwrap();
            io.shutdown().await.unwrap();
        })
    }
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// Upgrades, says `ready`, sends back what comes, and closes with 4001 after a `bye`.
fn echoes(io: Box<dyn Io>) -> Served {
    Box::pin(async move {
        let mut socket = tokio_tungstenite::accept_async(io).await.unwrap();
        socket.send(Message::Ping("still there?".into())).await.unwrap();
        socket.send(Message::text(r#"{"event":"ready"}"#)).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(text) if text.contains("bye") => {
                    let close = CloseFrame { code: 4001.into(), reason: "as you wish".into() };
                    socket.close(Some(close)).await.unwrap();
                }
                Message::Text(_) => socket.send(message).await.unwrap(),
                _ => {}
            }
        }
    })
}

fn site(scheme: &str, port: u16, more: Option<&Path>) -> Site {
    Site::parse(&format!("{scheme}://localhost:{port}"), more).unwrap()
}

async fn talks(site: &Site) {
    let mut socket = Socket::open(site, "token").await.unwrap();
    assert_eq!(socket.next().await.unwrap()["event"], "ready");
    let said = json!({ "event": "sendMessage", "data": { "content": "xin chào" } });
    socket.send(&said).await.unwrap();
    assert_eq!(socket.next().await.unwrap(), said);
    socket.send(&json!("bye")).await.unwrap();
    let end = socket.next().await.unwrap_err();
    let closed = end.downcast_ref::<Closed>().unwrap_or_else(|| panic!("{end:#}"));
    assert_eq!((closed.code, &*closed.reason), (4001, "as you wish"));
}

#[tokio::test]
async fn a_socket_talks_plain_and_over_tls() {
    talks(&site("http", server(false, echoes).await, None)).await;
    talks(&site("https", server(true, echoes).await, Some(&file("authority.pem")))).await;
}

#[tokio::test]
async fn rest_talks_plain_and_over_tls() {
    let answer = http("200 OK", "Content-Type: application/json\r\n", r#"{"data":7}"#);
    for (scheme, more) in [("http", None), ("https", Some(file("authority.pem")))] {
        let port = server(scheme == "https", answers(answer.clone())).await;
        let site = site(scheme, port, more.as_deref());
        assert_eq!(site.get("/users/profile", "token").await.unwrap(), json!({ "data": 7 }));
        assert_eq!(site.post("/auth/login", None, &Value::Null).await.unwrap()["data"], 7);
    }
}

#[tokio::test]
async fn a_server_whose_authority_is_unknown_is_not_talked_to() {
    let port = server(true, echoes).await;
    // Another authority than that of the server: the server's own certificate is none.
    let stranger = site("https", port, Some(&file("gateway.pem")));
    for err in
        [Socket::open(&stranger, "token").await.err().unwrap(), stranger.get("/", "").await.unwrap_err()]
    {
        assert!(format!("{err:#}").contains("no TLS with"), "{err:#}");
    }
    // The right authority, and a name that the certificate does not have.
    let other = Site::parse(&format!("https://127.0.0.2:{port}"), Some(&file("authority.pem"))).unwrap();
    assert!(Socket::open(&other, "token").await.is_err());
}

#[tokio::test]
async fn a_handshake_that_proves_nothing_is_refused() {
    // The example key of RFC 6455 answered: not ours.
    let headers = "Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let forged = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{headers}\r\n");
    let port = server(false, answers(forged)).await;
    let err = Socket::open(&site("http", port, None), "token").await.err().unwrap();
    assert!(format!("{err:#}").contains("the upgrade failed"), "{err:#}");
}

#[tokio::test]
async fn a_refusal_says_its_status_its_words_and_when_to_come_again() {
    let refused = http("503 Service Unavailable", "Retry-After: 7\r\n", r#"{"message":"later"}"#);
    let port = server(false, answers(refused)).await;
    let site = site("http", port, None);
    for err in [site.get("/x", "token").await.unwrap_err(), Socket::open(&site, "token").await.err().unwrap()]
    {
        let refusal = err.downcast_ref::<RefusedRequest>().unwrap_or_else(|| panic!("{err:#}"));
        assert_eq!((refusal.status, refusal.retry_after), (503, Some(Duration::from_secs(7))), "{refusal}");
    }
    let err = site.get("/x", "token").await.unwrap_err();
    assert!(err.to_string().contains(r#"GET /x answered 503: {"message":"later"}"#), "{err}");
}

#[tokio::test]
async fn nothing_there_and_nonsense_are_said() {
    let closed = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let err = Site::at(closed).get("/", "").await.unwrap_err();
    assert!(format!("{err:#}").contains(&format!("nothing answers at {closed}")), "{err:#}");
    let port = server(false, answers("220 mail.example ESMTP\r\n".to_owned())).await;
    assert!(site("http", port, None).get("/", "").await.is_err());
    let port = server(false, answers(http("200 OK", "", "<html>"))).await;
    let err = site("http", port, None).get("/x", "").await.unwrap_err();
    assert!(err.to_string().contains("GET /x did not answer JSON"), "{err:#}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = |io: Box<dyn Io>| -> Served {
        Box::pin(async move {
            let _kept = io;
            std::future::pending::<()>().await;
        })
    };
    let port = server(false, silent).await;
    let site = site("http", port, None);
    let err = site.get("/x", "").await.unwrap_err();
    assert!(err.to_string().contains("no answer within"), "{err:#}");
    let err = Socket::open(&site, "").await.err().unwrap();
    assert!(err.to_string().contains("no upgrade within"), "{err:#}");
}

#[tokio::test]
async fn a_socket_that_is_silent_for_too_long_is_given_up_however_often_it_is_asked() {
    let port = server(false, echoes).await;
    let mut socket = Socket::open(&site("http", port, None), "").await.unwrap();
    assert_eq!(socket.next().await.unwrap()["event"], "ready");
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let err = loop {
        // Given up and called again, as in a `select!`.
        if let Ok(came) = tokio::time::timeout(Duration::from_secs(10), socket.next()).await {
            break came.unwrap_err();
        }
    };
    assert!(err.to_string().contains("silent"), "{err:#}");
    assert!(begun.elapsed() < Duration::from_millis(SILENCE_MS_MAX) + Duration::from_secs(11));
}
