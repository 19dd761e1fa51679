//! A tiny chat server that can be told to misbehave: what the judge is tested against.

#![expect(clippy::unwrap_used, reason = "test code, outside of test functions")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What is wrong with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Nothing: it refuses some with `busy`, cuts connections, loses deliveries (but not rows).
    Rough,
    /// Acknowledges a message and forgets it.
    Loses,
    /// Writes a message twice.
    Doubles,
    /// Writes a message before the one that was acknowledged before it.
    Reorders,
    /// Leaves out a seq.
    Skips,
    /// Does not show a message to one member, not even after `sync`.
    Hides,
}

/// Speaks Socket.IO, and what waits for it.
type Outbox = (bool, mpsc::Sender<Vec<u8>>);

#[derive(Default)]
struct State {
    users: Vec<String>,
    conversations: Vec<(Vec<usize>, Vec<Value>)>,
    sockets: HashMap<usize, Vec<Outbox>>,
    seen: u64,
    held: Option<(usize, usize, String, String)>,
}

pub struct Fake {
    fault: Fault,
    state: Mutex<State>,
}

impl Fake {
    /// Starts one on its own thread; its port.
    pub fn start(fault: Fault) -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let fake = Arc::new(Self { fault, state: Mutex::default() });
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(fake.clone().serve(stream));
                }
            });
        });
        port
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) -> Option<()> {
        let mut bytes = vec![];
        loop {
            let end = loop {
                if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                    break at + 4;
                }
                if stream.read_buf(&mut bytes).await.ok()? == 0 {
                    return None;
                }
            };
            let head = String::from_utf8(bytes.drain(..end).collect()).unwrap();
            let header = |name: &str| {
                let line = head.lines().find(|line| line.to_lowercase().starts_with(name))?;
                Some(line[name.len() + 1..].trim().to_owned())
            };
            let user: Option<usize> =
                header("authorization").and_then(|text| text.strip_prefix("Bearer ")?.parse().ok());
            let mut line = head.lines().next().unwrap().split(' ');
            let (method, path) = (line.next().unwrap(), line.next().unwrap());
            if header("upgrade").is_some() {
                let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.ok()?;
                return self.talk(stream, user, path.starts_with("/socket.io/")).await;
            }
            let len = header("content-length").map_or(0, |len| len.parse().unwrap());
            while bytes.len() < len {
                stream.read_buf(&mut bytes).await.ok()?;
            }
            let body: Vec<u8> = bytes.drain(..len).collect();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let (status, data) = self.rest(method, path, user, &body);
            let answer = json!({ "statusCode": status, "message": "", "data": data }).to_string();
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", answer.len());
            stream.write_all((head + &answer).as_bytes()).await.ok()?;
        }
    }

    fn rest(&self, method: &str, path: &str, user: Option<usize>, body: &Value) -> (u16, Value) {
        let mut state = self.state.lock().unwrap();
        let (route, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<_> = route.split('/').skip(1).collect();
        match (method, &parts[..]) {
            ("POST", ["auth", "register"]) => {
                state.users.push(body["email"].to_string());
                (201, json!({}))
            }
            ("POST", ["auth", "login"]) => {
                let email = body["email"].to_string();
                let id = state.users.iter().position(|known| *known == email).unwrap() + 1;
                (200, json!({ "accessToken": id.to_string(), "user": { "id": id } }))
            }
            ("POST", ["conversations", "create"]) => {
                let mut members = vec![user.unwrap()];
                let others = body["participants"].as_array().unwrap();
                members.extend(others.iter().map(|one| one["userId"].as_u64().unwrap() as usize));
                state.conversations.push((members, vec![]));
                (201, json!({ "id": state.conversations.len() }))
            }
            ("GET", ["conversations", id, _]) => {
                let id: usize = id.parse().unwrap();
                let given = query.split('&').find_map(|pair| pair.strip_prefix("before="));
                let before = given.map_or(u64::MAX, |seq| seq.parse().unwrap());
                let mut rows: Vec<_> = state.conversations[id - 1].1.clone();
                rows.retain(|row| row["seq"].as_u64().unwrap() < before);
                let rows = rows.split_off(rows.len().saturating_sub(100));
                (200, json!({ "result": rows }))
            }
            _ => (404, Value::Null),
        }
    }

    async fn talk(self: Arc<Self>, stream: TcpStream, user: Option<usize>, is_socket_io: bool) -> Option<()> {
        let user = user?;
        let (outbox, mut waiting) = mpsc::channel::<Vec<u8>>(100_000);
        let (mut reader, mut writer) = stream.into_split();
        let writing = tokio::spawn(async move {
            while let Some(bytes) = waiting.recv().await {
                writer.write_all(&bytes).await.ok()?;
            }
            Some(())
        });
        if is_socket_io {
            outbox.send(text_frame("0{\"sid\":\"a\"}")).await.ok()?;
        } else {
            outbox.send(event(false, "ready", &json!({}))).await.ok()?;
            self.state.lock().unwrap().sockets.entry(user).or_default().push((false, outbox.clone()));
        }
        let mut bytes = vec![];
        while reader.read_buf(&mut bytes).await.ok()? > 0 {
            while let Some(text) = take_text(&mut bytes) {
                if is_socket_io && text.starts_with("40") {
                    outbox.send(text_frame("40{\"sid\":\"a\"}")).await.ok()?;
                    self.state.lock().unwrap().sockets.entry(user).or_default().push((true, outbox.clone()));
                    continue;
                }
                let (name, data) = if is_socket_io {
                    let (name, data): (String, Value) = serde_json::from_str(text.get(2..)?).ok()?;
                    (name, data)
                } else {
                    let value: Value = serde_json::from_str(&text).ok()?;
                    (value["event"].as_str()?.to_owned(), value["data"].clone())
                };
                if !self.on_event(user, is_socket_io, &outbox, &name, &data) {
                    writing.abort();
                    self.forget(user, &outbox);
                    return None;
                }
            }
        }
        self.forget(user, &outbox);
        Some(())
    }

    fn forget(&self, user: usize, outbox: &mpsc::Sender<Vec<u8>>) {
        let mut state = self.state.lock().unwrap();
        state.sockets.entry(user).or_default().retain(|(_, one)| !one.same_channel(outbox));
    }

    /// False: cut the connection.
    fn on_event(
        &self,
        user: usize,
        is_socket_io: bool,
        outbox: &mpsc::Sender<Vec<u8>>,
        name: &str,
        data: &Value,
    ) -> bool {
        let state = &mut *self.state.lock().unwrap();
        let say = |name: &str, data: Value| drop(outbox.try_send(event(is_socket_io, name, &data)));
        if name == "sync" {
            let held = data["conversations"].as_object().unwrap();
            let mut missed = vec![];
            for (id, seq) in held {
                let rows = &state.conversations[id.parse::<usize>().unwrap() - 1].1;
                let mut after: Vec<_> =
                    rows.iter().filter(|row| row["seq"].as_u64() > seq.as_u64()).cloned().collect();
                if self.fault == Fault::Hides {
                    after.retain(|row| row["seq"] != 2);
                }
                let head = rows.last().map_or(0, |row| row["seq"].as_u64().unwrap());
                let head = if self.fault == Fault::Hides { 0 } else { head };
                missed.push(json!({
                    "conversationId": id.parse::<i64>().unwrap(), "head": head, "messages": after
                }));
            }
            say("synced", json!({ "missed": missed, "gaps": [], "current": [], "unknown": [] }));
            return true;
        }
        if name != "sendMessage" {
            return true;
        }
        let guid = data["guid"].as_str().unwrap().to_owned();
        let content = data["content"].as_str().unwrap().to_owned();
        let at = data["conversationId"].as_u64().unwrap() as usize - 1;
        state.seen += 1;
        let turn = state.seen;
        if self.fault == Fault::Rough && turn.is_multiple_of(7) {
            let busy = json!({ "code": "busy", "event": "sendMessage", "guid": guid, "retryInMs": 20 });
            say("sendMessageError", busy);
            // Busy is "not acknowledged", not "not taken".
            if turn.is_multiple_of(2) {
                self.store(state, at, user, &guid, &content, turn);
            }
            return true;
        }
        if self.fault == Fault::Rough && turn.is_multiple_of(41) {
            return false;
        }
        say("messageQueued", json!({ "guid": guid, "tempId": guid, "status": "queued" }));
        match self.fault {
            Fault::Loses if turn == 20 => return true,
            Fault::Reorders if turn == 20 => {
                state.held = Some((at, user, guid, content));
                return true;
            }
            _ => {}
        }
        let (row, seq) = self.store(state, at, user, &guid, &content, turn);
        say(
            "messageProcessed",
            json!({ "guid": guid, "messageId": row, "seq": seq, "conversationId": at + 1 }),
        );
        if self.fault == Fault::Doubles && turn == 20 {
            state.conversations[at].1.last_mut().unwrap()["guid"] = "made room".into();
            self.store(state, at, user, &guid, &content, turn);
            self.store(state, at, user, "x", &content, turn);
            let rows = &mut state.conversations[at].1;
            let len = rows.len();
            rows[len - 1]["guid"] = guid.into();
        }
        if state.held.as_ref().is_some_and(|held| (held.0, held.1) == (at, user))
            && let Some((at, user, guid, content)) = state.held.take()
        {
            self.store(state, at, user, &guid, &content, turn);
        }
        true
    }

    fn store(
        &self,
        state: &mut State,
        at: usize,
        user: usize,
        guid: &str,
        content: &str,
        turn: u64,
    ) -> (u64, u64) {
        let (members, rows) = &mut state.conversations[at];
        if let Some(row) = rows.iter().find(|row| row["guid"] == guid) {
            return (row["id"].as_u64().unwrap(), row["seq"].as_u64().unwrap());
        }
        let skip = u64::from(self.fault == Fault::Skips && turn == 20);
        let seq = rows.last().map_or(0, |row| row["seq"].as_u64().unwrap()) + 1 + skip;
        let row = json!({
            "id": seq + 1_000 * (at as u64 + 1), "guid": guid, "conversationId": at + 1, "seq": seq, "content": content,
            "senderId": user,
        });
        rows.push(row.clone());
        for (nth, member) in members.iter().enumerate() {
            if (self.fault == Fault::Hides && seq == 2 && nth == 1)
                || (self.fault == Fault::Rough && (turn + nth as u64).is_multiple_of(11))
            {
                continue;
            }
            for (is_socket_io, outbox) in state.sockets.get(member).into_iter().flatten() {
                let _ = outbox.try_send(event(*is_socket_io, "messageComing", &row));
            }
        }
        (row["id"].as_u64().unwrap(), seq)
    }
}

fn event(is_socket_io: bool, name: &str, data: &Value) -> Vec<u8> {
    text_frame(&if is_socket_io {
        format!("42{}", json!([name, data]))
    } else {
        json!({ "event": name, "data": data }).to_string()
    })
}

fn text_frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        len @ 0..126 => frame.push(len as u8),
        len @ 126..0x1_0000 => {
            frame.push(126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(text.as_bytes());
    frame
}

/// Takes a whole masked text frame off the front; other frames are dropped.
fn take_text(bytes: &mut Vec<u8>) -> Option<String> {
    loop {
        let (len, head) = match *bytes.get(1)? & 0x7f {
            126 => (usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])), 4),
            127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap())).unwrap(), 10),
            short => (usize::from(short), 2),
        };
        assert_eq!(bytes[1] & 0x80, 0x80, "clients mask");
        if bytes.len() < head + 4 + len {
            return None;
        }
        let frame: Vec<u8> = bytes.drain(..head + 4 + len).collect();
        let mask = &frame[head..head + 4];
        let text =
            frame[head + 4..].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        if frame[0] == 0x81 {
            return Some(String::from_utf8(text).unwrap());
        }
    }
}
