//! `make run` from outside: everything in one process, two people, a restart.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::person::{Person, call, http};
use crate::support::{free_port, until};

/// A process that a failed test leaves to end with its PostgreSQL.
pub(crate) struct Running(Child);

impl std::ops::Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
            let _ = self.0.wait();
        }
    }
}

/// One process with its data folder.
pub(crate) struct Site {
    pub port: u16,
    pub data: PathBuf,
}

impl Site {
    pub fn new(name: &str) -> Self {
        let folder = format!("one-process-{name}-{}", std::process::id());
        Self { port: free_port(), data: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(folder) }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatchit"));
        // Without the peers of the run: what `make run` gives a newcomer.
        for name in ["AMQP_URL", "REDIS_NODES", "DATABASE_URL", "DATABASE_REPLICA_URL", "JWT_ACCESS_TOKEN"] {
            command.env_remove(name);
        }
        command.args(words).env("PORT", self.port.to_string()).env("CHATCHIT_DATA", &self.data);
        command.env("DRAIN_MS", "100").env("RUST_LOG", "warn").stdin(Stdio::null());
        for of in ["RATE_SOCKET", "RATE_SOCKET_BYTES", "RATE_USER"] {
            command.env(format!("{of}_PER_S"), "100000000").env(format!("{of}_BURST"), "100000000");
        }
        command
    }

    pub fn start(&self) -> Running {
        let mut child = self.command(&[]).stdout(Stdio::piped()).spawn().unwrap();
        // Kept open: a program that cannot print ends.
        let mut words = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("is up at") {
            line.clear();
            assert!(words.read_line(&mut line).unwrap() > 0, "it ended before it was up");
        }
        std::thread::spawn(move || std::io::copy(&mut words, &mut std::io::sink()));
        let child = Running(child);
        until(Duration::from_secs(20), "it answers", || http(self.port, "GET", "/", None, "").is_ok());
        child
    }

    fn says(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "{words:?}: {err}");
        out
    }

    /// Everything that a conversation has, as it is shown to this person.
    pub fn contents(&self, person: &Person, conversation: i64) -> HashSet<String> {
        let mut contents = HashSet::new();
        // By seq and not by page: what has tens of thousands of messages would be counted for each.
        let mut next = Some("page=1&size=100&order=desc".to_owned());
        while let Some(which) = next {
            let path = format!("/conversations/{conversation}/message?{which}");
            let data = call(self.port, "GET", &path, Some(&person.token), &Value::Null);
            let messages = data["result"].as_array().unwrap();
            contents.extend(messages.iter().map(|one| one["content"].as_str().unwrap().to_owned()));
            next = data["nextBefore"].as_i64().map(|before| format!("before={before}&limit=100"));
        }
        contents
    }

    pub fn remove(&self) {
        let real = self.data.join("postgres").canonicalize().unwrap();
        std::fs::remove_dir_all(&self.data).unwrap();
        let _ = std::fs::remove_dir_all(real);
    }

    pub fn stop(&self, mut child: Running) {
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(child.wait().unwrap().success());
        assert!(!self.data.join("postgres/postmaster.pid").exists(), "its PostgreSQL is stopped");
    }
}

#[test]
fn a_newcomer_sees_a_message_arrive_and_finds_it_again_after_a_restart() {
    let site = Site::new("newcomer");

    let running = site.start();
    let mut bob = site.command(&["listen", "--as", "bob"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut heard = BufReader::new(bob.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(heard.next().unwrap().starts_with("bob listens"));
    let said = site.says(&["say", "--as", "alice", "--to", "bob", "xin chào"]);
    assert!(said.contains("queued") && said.contains("kept"), "{said}");
    let guid = said.split_whitespace().find(|word| word.len() == 36).expect("its guid, to be traced with");
    assert_eq!(guid.matches('-').count(), 4, "{said}");
    // None of these is for it, and none may end it.
    for signal in ["-HUP", "-USR1", "-USR2"] {
        let sent = Command::new("kill").args([signal, &running.id().to_string()]).status();
        assert!(sent.unwrap().success(), "{signal}");
    }
    until(Duration::from_secs(20), "it still answers", || http(site.port, "GET", "/", None, "").is_ok());
    assert_eq!(heard.next().as_deref(), Some("[1] alice: xin chào"));
    nobody_else_comes_in(&site);
    bob.kill().unwrap();
    bob.wait().unwrap();
    site.stop(running);

    let mut running = site.start();
    assert_eq!(site.says(&["history", "--as", "bob", "--with", "alice"]).trim(), "[1] alice: xin chào");
    // Killed in the middle: the private PostgreSQL that it leaves behind is no obstacle.
    running.kill().unwrap();
    running.wait().unwrap();

    let running = site.start();
    assert!(site.says(&["say", "--as", "bob", "--to", "alice", "và chào"]).contains("number 2"));
    site.stop(running);
    site.remove();
}

/// Without `BIND` no other machine connects, and no other user of this one reads the data.
fn nobody_else_comes_in(site: &Site) {
    for here in ["127.0.0.1", "::1"] {
        let reached = TcpStream::connect((here, site.port));
        assert!(reached.is_ok() || !has_address(here), "{here}: `localhost` is either");
    }
    // Sends nothing: it asks the system which address it would send from.
    let outside = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    if let Ok(outside) = outside {
        assert!(TcpStream::connect((outside.ip(), site.port)).is_err(), "{outside} is not listened on");
    }
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&site.data) & 0o066, 0, "others do not read the folder");
    let log = site.data.join("postgres.log");
    assert_eq!(mode(&log) & 0o777, 0o600);
    let taken = Person::new(site.port, "taken");
    let again = json!({
        "firstName": "x", "lastName": "y", "email": taken.email, "password": "correct horse battery", "phone": "none:x", "role": "USER",
    });
    let (status, body) = http(site.port, "POST", "/auth/register", None, &again.to_string()).unwrap();
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("already exists"), "{body}");
    assert!(!std::fs::read_to_string(&log).unwrap().contains(&taken.email));
}

fn has_address(address: &str) -> bool {
    std::net::TcpListener::bind((address, 0)).is_ok()
}
