//! A line to the broker that a test can cut, freeze and mend; and the broker's management API.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Whole,
    /// Takes bytes and passes none on.
    Frozen,
    /// The next request to consume turns it dumb.
    AboutToConsume,
    /// Passes everything on to the broker, and nothing from it.
    Dumb,
    Cut,
}

/// How a method frame of `basic.consume` begins behind its header (AMQP 0-9-1, 1.8: class 60, method 20).
const CONSUME: [u8; 4] = [0, 60, 0, 20];

/// A proxy in front of the broker.
pub struct Line {
    pub url: String,
    condition: Arc<watch::Sender<Condition>>,
    /// As the broker sees us.
    ports: Arc<Mutex<Vec<u16>>>,
}

impl Line {
    /// `url` with its address replaced by the proxy's.
    pub async fn to(url: &str) -> Self {
        let (before, rest) = url.split_once('@').expect("a url with a user");
        let (address, after) = rest.split_once('/').unwrap_or((rest, ""));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{before}@{}/{after}", listener.local_addr().unwrap());
        let condition = Arc::new(watch::Sender::new(Condition::Whole));
        let ports = Arc::default();
        tokio::spawn(accept(listener, address.to_owned(), condition.clone(), Arc::clone(&ports)));
        Self { url, condition, ports }
    }

    /// The ports from which the broker was reached so far.
    pub fn far_ports(&self) -> Vec<u16> {
        self.ports.lock().unwrap().clone()
    }

    pub fn cut(&self) {
        self.condition.send_replace(Condition::Cut);
    }

    pub fn freeze(&self) {
        self.condition.send_replace(Condition::Frozen);
    }

    /// Passes the next request to consume and everything after it on to the broker, and none of the broker's answers to the bus.
    pub fn withhold_consumers(&self) {
        self.condition.send_replace(Condition::AboutToConsume);
    }

    /// Whether such a request came.
    pub async fn is_withheld(&self) {
        let mut condition = self.condition.subscribe();
        condition.wait_for(|now| *now == Condition::Dumb).await.unwrap();
    }

    pub fn mend(&self) {
        self.condition.send_replace(Condition::Whole);
    }
}

async fn accept(
    listener: TcpListener,
    address: String,
    condition: Arc<watch::Sender<Condition>>,
    ports: Arc<Mutex<Vec<u16>>>,
) {
    while let Ok((near, _)) = listener.accept().await {
        if *condition.borrow() == Condition::Cut {
            continue;
        }
        let Ok(far) = TcpStream::connect(&address).await else { continue };
        ports.lock().unwrap().push(far.local_addr().unwrap().port());
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        tokio::spawn(pass(near_read, far_write, condition.clone(), true));
        tokio::spawn(pass(far_read, near_write, condition.clone(), false));
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    line: Arc<watch::Sender<Condition>>,
    is_to_broker: bool,
) {
    let mut condition = line.subscribe();
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            _ = condition.wait_for(|now| *now == Condition::Cut) => return,
            read = from.read(&mut bytes) => read,
        };
        let Ok(read @ 1..) = read else { return };
        if is_to_broker && bytes[..read].windows(CONSUME.len()).any(|it| it == CONSUME) {
            line.send_if_modified(|now| {
                let turns = *now == Condition::AboutToConsume;
                *now = if turns { Condition::Dumb } else { *now };
                turns
            });
        }
        let passes = |now: &Condition| *now != Condition::Frozen && (is_to_broker || *now != Condition::Dumb);
        let now = condition.wait_for(passes).await.map(|now| *now);
        if matches!(now, Err(_) | Ok(Condition::Cut)) || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// A call of the management API: the body of its answer. None: there is no such API here, and the test is left out.
pub async fn manage(method: &str, path: &str, body: &str) -> Option<String> {
    let url = crate::support::peers::variable("RABBIT_MANAGEMENT_URL")?;
    let (user, address) = url.trim_start_matches("http://").split_once('@').expect("a url with a user");
    let address = address.trim_end_matches('/');
    let token = base64::engine::general_purpose::STANDARD.encode(user);
    let request = format!(
        "{method} /api/{path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Basic {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let answer = timeout(Duration::from_secs(10), answer).await.expect("in time");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(head.contains(" 20"), "{method} {path}: {head}");
    Some(body.to_owned())
}
