//! One process whose disk is full: it says so, keeps what it said that it has, and goes on by itself.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::one_process::Site;
use crate::support::person::{Person, Socket, http};
use crate::support::{free_port, is_proof, until};

/// A file system of this size, for as long as the test runs.
pub(crate) struct Disk(pub PathBuf);

impl Disk {
    /// So many megabytes; a new database and its log need some 80. None: only root may mount.
    pub fn mount(name: &str, megabytes: u32) -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("chatchit-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let options = format!("size={megabytes}m,mode=755");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&folder).output();
        let is_mounted = mount.is_ok_and(|output| output.status.success());
        let disk = Self(folder);
        is_mounted.then_some(disk)
    }

    /// Writes until there is not a page left.
    pub fn fill(&self) {
        let mut filler = fs::File::create(self.0.join("filler")).unwrap();
        for size in [1 << 20, 4096] {
            let block = vec![7; size];
            while filler.write_all(&block).is_ok() {}
        }
    }

    pub fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
        let _ = fs::remove_dir(&self.0);
    }
}

/// What is promised within a second; a debug build beside compilers is given more.
fn soon() -> Duration {
    Duration::from_secs(if is_proof() { 1 } else { 4 })
}

/// Says one message of 4 KB; whether it was acknowledged.
fn says(alice: &mut Socket, conversation: i64, name: &str) -> bool {
    let content = format!("{name} {}", "x".repeat(4_000));
    let data = json!({ "conversationId": conversation, "guid": name, "content": content });
    alice.says("sendMessage", &data);
    let answer = alice.awaits(&["messageQueued", "sendMessageError"], soon());
    let (event, data) = answer.expect("an answer within a second");
    assert!(event == "messageQueued" || data["code"] == "busy", "{data}");
    event == "messageQueued"
}

#[test]
fn a_full_disk_is_said_and_nothing_acknowledged_is_lost() {
    // Who may not mount has the same rule at the store: worker/tests, `room`.
    let Some(disk) = Disk::mount("full", 200) else { return };
    let site = Site { port: free_port(), data: disk.0.clone() };
    let running = site.start();
    let (alice, bob) = (Person::new(site.port, "alice"), Person::new(site.port, "bob"));
    let conversation = alice.creates_conversation_with(site.port, &[&bob]);
    let mut socket = alice.opens_socket(site.port);
    let is_ready = || matches!(http(site.port, "GET", "/readyz", None, ""), Ok((200, _)));
    until(Duration::from_secs(20), "it is ready", is_ready);

    let mut acknowledged = HashSet::new();
    for round in 0..2 {
        disk.fill();
        // What fits into pages that are there is kept; then nothing more.
        let refused = (0..2_000).find(|number| {
            let name = format!("{round}-{number}");
            let kept = says(&mut socket, conversation, &name);
            kept.then(|| acknowledged.insert(name)).is_none()
        });
        let refused = refused.expect("the disk is full");
        until(soon(), "it says that it is not ready", || !is_ready());

        disk.make_room();
        until(Duration::from_secs(20), "it is ready by itself", is_ready);
        let again = format!("{round}-{refused}");
        until(Duration::from_secs(20), "what was refused is taken", || {
            says(&mut socket, conversation, &again)
        });
        acknowledged.insert(again);
    }
    let contents = site.contents(&bob, conversation);
    let kept: HashSet<_> = contents.iter().filter_map(|one| one.split(' ').next()).collect();
    assert_eq!(kept.len(), contents.len(), "nothing is there twice");
    let gone: Vec<_> = acknowledged.iter().filter(|name| !kept.contains(name.as_str())).collect();
    assert!(gone.is_empty(), "{gone:?}");
    site.stop(running);
}
