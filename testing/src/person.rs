//! A person: an account over REST, and a native socket. Blocking: one thread, one person.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use swarm::frame::{self, Frame, Parsed};

/// For any single answer, on a busy machine.
const ANSWER: Duration = Duration::from_secs(30);

/// One request, one connection: status and body.
pub fn http(
    port: u16,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> io::Result<(u16, String)> {
    let (head, body) = exchange(port, method, path, token.map(bearer).as_deref(), body)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body))
}

/// The same with any credentials: the whole head, and the body.
pub fn exchange(
    port: u16,
    method: &str,
    path: &str,
    authorization: Option<&str>,
    body: &str,
) -> io::Result<(String, String)> {
    let mut stream = connect(port)?;
    let authorization = authorization.map_or_else(String::new, |value| format!("Authorization: {value}\r\n"));
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{authorization}\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((head.to_owned(), body.to_owned()))
}

/// The value of `Authorization` for this token.
pub fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    Ok(stream)
}

/// A person with an account.
pub struct Person {
    pub id: i64,
    pub email: String,
    pub token: String,
}

impl Person {
    /// Registers and logs in. The name is new in the database of this run.
    pub fn new(port: u16, name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self::with_account(port, name, &format!("{name}.{mark}.{port}@example.test"), "correct horse battery")
    }

    /// The same with this e-mail, in small letters, and this password.
    pub fn with_account(port: u16, name: &str, email: &str, password: &str) -> Self {
        let account = json!({
            "email": email, "password": password, "phone": format!("none:{email}"),
            "firstName": name, "lastName": "Test", "role": "USER",
        });
        let (status, body) = http(port, "POST", "/auth/register", None, &account.to_string()).unwrap();
        assert_eq!(status, 201, "register: {body}");
        let login = json!({ "email": email, "password": password });
        let data = call(port, "POST", "/auth/login", None, &login);
        let id = data["user"]["id"].as_i64().unwrap();
        let token = data["accessToken"].as_str().unwrap().to_owned();
        Self { id, email: email.to_owned(), token }
    }

    /// A conversation with others.
    pub fn creates_conversation_with(&self, port: u16, others: &[&Self]) -> i64 {
        let people = std::iter::once(self).chain(others.iter().copied());
        let participants: Vec<_> = people.map(|one| json!({ "userId": one.id, "type": "MEMBER" })).collect();
        let wanted = json!({ "title": "test", "participants": participants });
        call(port, "POST", "/conversations/create", Some(&self.token), &wanted)["id"].as_i64().unwrap()
    }

    /// The history as it is shown to this person, oldest first.
    pub fn reads(&self, port: u16, conversation: i64) -> Vec<Value> {
        let path = format!("/conversations/{conversation}/message?page=1&size=100&order=desc");
        let data = call(port, "GET", &path, Some(&self.token), &Value::Null);
        data["result"].as_array().unwrap().clone()
    }

    /// A native socket, ready.
    pub fn opens_socket(&self, port: u16) -> Socket {
        let mut socket = self.upgrades(port);
        socket.hears("ready");
        socket
    }

    /// A native socket that is closed again at once; or the code it was closed with before it was
    /// ready (0: without one).
    pub fn tries_socket(&self, port: u16) -> Result<(), u16> {
        match self.upgrades(port).next_or_close() {
            Ok(event) if event["event"] == "ready" => Ok(()),
            Ok(event) => panic!("before ready: {event}"),
            Err(code) => Err(code.unwrap_or(0)),
        }
    }

    fn upgrades(&self, port: u16) -> Socket {
        let mut stream = connect(port).unwrap();
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Authorization: Bearer {}\r\n\r\n",
            self.token
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        Socket {
            stream,
            bytes: Vec::new(),
            passed: VecDeque::new(),
            sent: HashMap::new(),
            said: HashMap::new(),
        }
    }
}

/// The `data` of a successful REST answer.
pub fn call(port: u16, method: &str, path: &str, token: Option<&str>, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, answer) = http(port, method, path, token, &body).unwrap();
    assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
    serde_json::from_str::<Value>(&answer).unwrap()["data"].take()
}

/// A native socket.
pub struct Socket {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// Events that came while another one was awaited.
    passed: VecDeque<Value>,
    /// Messages by their guid: what is repeated when a server was busy.
    sent: HashMap<String, Value>,
    /// The latest of all other events by its name, for the same reason.
    said: HashMap<String, Value>,
}

impl Socket {
    /// Sends an event. What a busy server does not take is repeated while an answer is awaited with `hears`, as a
    /// good client does.
    pub fn says(&mut self, event: &str, data: &Value) {
        match data["guid"].as_str() {
            Some(guid) if event == "sendMessage" => self.sent.insert(guid.to_owned(), data.clone()),
            _ => self.said.insert(event.to_owned(), data.clone()),
        };
        self.tries_to_say(event, data).unwrap();
    }

    /// The same on a line that may end.
    pub fn tries_to_say(&mut self, event: &str, data: &Value) -> io::Result<()> {
        let mut out = Vec::new();
        let text = json!({ "event": event, "data": data }).to_string();
        frame::write(&mut out, 1, text.as_bytes(), 0x1234_5678);
        self.stream.write_all(&out)
    }

    /// The next event of a line that may end; None: it ended.
    pub fn next_until_the_end(&mut self) -> Option<Value> {
        self.passed.pop_front().or_else(|| self.try_next().ok()?.ok())
    }

    /// Answers a ping, whether one came or not.
    pub fn pongs(&mut self) {
        let mut out = Vec::new();
        frame::write(&mut out, 10, b"", 0x1234_5678);
        self.stream.write_all(&out).unwrap();
    }

    /// The data of the next event of this name; others are passed over, but not a reject, unless the
    /// server is only busy.
    pub fn hears(&mut self, wanted: &str) -> Value {
        loop {
            let mut event = self.next();
            let name = event["event"].as_str().unwrap_or_default();
            if name == wanted {
                return event["data"].take();
            }
            if name.ends_with("Error") && self.repeats_if_busy(&event["data"]) {
                continue;
            }
            assert!(!name.ends_with("Error") && name != "exception", "waiting for {wanted}: {event}");
        }
    }

    /// Whether the server was only busy for this event, and so it was said again.
    fn repeats_if_busy(&mut self, refusal: &Value) -> bool {
        let event = refusal["event"].as_str().unwrap_or("sendMessage").to_owned();
        let sent = refusal["guid"].as_str().and_then(|guid| self.sent.get(guid));
        let sent = sent.or_else(|| self.said.get(&event)).cloned();
        let (Some(data), "busy") = (sent, refusal["code"].as_str().unwrap_or_default()) else { return false };
        let pause = refusal["retryInMs"].as_u64().expect("busy says for how long");
        // What comes meanwhile is kept for later.
        self.awaits(&[], Duration::from_millis(pause));
        self.tries_to_say(&event, &data).unwrap();
        true
    }

    /// The first event of one of these names, its name and data; None: none within the limit.
    /// Others are kept for a later call.
    pub fn awaits(&mut self, wanted: &[&str], limit: Duration) -> Option<(String, Value)> {
        let is_wanted = |event: &Value| wanted.iter().any(|name| event["event"] == *name);
        let start = super::now();
        let mut found = self.passed.iter().position(is_wanted).and_then(|at| self.passed.remove(at));
        while found.is_none() {
            let left = limit.checked_sub(start.elapsed()).filter(|left| !left.is_zero())?;
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.try_next() {
                Ok(Ok(event)) if is_wanted(&event) => found = Some(event),
                Ok(Ok(event)) => self.passed.push_back(event),
                Ok(Err(code)) => panic!("closed: {code:?}"),
                Err(err) if is_no_answer_yet(&err) => {}
                Err(err) => panic!("{err}"),
            }
        }
        self.stream.set_read_timeout(Some(ANSWER)).unwrap();
        let mut event = found?;
        Some((event["event"].as_str()?.to_owned(), event["data"].take()))
    }

    /// Everything that comes within this time, and what was passed over before.
    pub fn gathers(&mut self, time: Duration) -> Vec<Value> {
        self.awaits(&[], time);
        self.passed.drain(..).collect()
    }

    /// Waits for the close, and its code; events before it are passed over.
    pub fn closes(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.next_or_close() {
                return code;
            }
        }
    }

    /// The next event.
    #[expect(
        clippy::should_implement_trait,
        reason = "a person is no iterator: it waits, and panics in the end"
    )]
    pub fn next(&mut self) -> Value {
        self.next_or_close().unwrap_or_else(|code| panic!("closed: {code:?}"))
    }

    /// The next event, or the code of the close.
    fn next_or_close(&mut self) -> Result<Value, Option<u16>> {
        match self.passed.pop_front() {
            Some(event) => Ok(event),
            None => self.try_next().unwrap(),
        }
    }

    fn try_next(&mut self) -> io::Result<Result<Value, Option<u16>>> {
        loop {
            let taken = match frame::parse(&self.bytes).unwrap() {
                Parsed::Need(_) => None,
                Parsed::Frame(Frame::Text(text), taken) => Some((taken, serde_json::from_str(text).ok())),
                Parsed::Frame(Frame::Close(code), _) => return Ok(Err(code)),
                Parsed::Frame(_, taken) => Some((taken, None)),
            };
            if let Some((taken, event)) = taken {
                self.bytes.drain(..taken);
                match event {
                    Some(event) => return Ok(Ok(event)),
                    None => continue,
                }
            }
            let mut more = [0; 16 * 1024];
            let count = self.stream.read(&mut more)?;
            if count == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the gateway hung up"));
            }
            self.bytes.extend(&more[..count]);
        }
    }
}

/// Nothing came within the time limit, or a signal ended the wait: the caller looks at the clock and waits on.
fn is_no_answer_yet(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
