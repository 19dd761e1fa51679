//! One process that is killed in the middle of a load, again and again, its disk full before some of the times: nothing is
//! gone of what heard `messageQueued`.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::full_disk::Disk;
use crate::one_process::Site;
use crate::support::person::{Person, Socket};
use crate::support::{free_port, is_proof, until};

const SENDERS: usize = 4;

/// On their way at once, of each sender.
const ON_THEIR_WAY: u64 = 64;

/// Of a message: a page of the database takes a few, so a full disk is soon met.
const BYTES: usize = 1_000;

/// What the senders of one round have heard together.
#[derive(Default)]
struct Heard {
    acknowledged: AtomicUsize,
    busy: AtomicUsize,
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    // The second of three kills, and then every fourth, finds the disk full.
    let kills = if is_proof() { 20 } else { 3 };
    let is_full = |kill: usize| kill % 4 == 1;
    // Who may not mount kills without.
    let disk = Disk::mount("killed", 500);
    let site = match &disk {
        Some(disk) => Site { port: free_port(), data: disk.0.clone() },
        None => Site::new("killed"),
    };
    let mut running = site.start();
    let bob = Person::new(site.port, "bob");
    let senders: Vec<_> = (0..SENDERS).map(|_| Person::new(site.port, "alice")).collect();
    let conversations: Vec<_> =
        senders.iter().map(|one| one.creates_conversation_with(site.port, &[&bob])).collect();
    let mut acknowledged = vec![HashSet::new(); SENDERS];
    for kill in 0..kills {
        let heard = Arc::new(Heard::default());
        let talking = senders.iter().zip(&conversations).map(|(alice, conversation)| {
            let (socket, conversation) = (alice.opens_socket(site.port), *conversation);
            let heard = heard.clone();
            std::thread::spawn(move || talks_until_the_end(socket, conversation, kill, &heard))
        });
        let talking: Vec<_> = talking.collect();
        let count = || heard.acknowledged.load(Ordering::Relaxed);
        until(Duration::from_secs(60), "many are acknowledged", || count() > 1_000);
        let filled = disk.as_ref().filter(|_| is_full(kill));
        if let Some(disk) = filled {
            disk.fill();
            let is_said = || heard.busy.load(Ordering::Relaxed) > 0;
            until(Duration::from_secs(20), "senders hear that there is no room", is_said);
        }
        running.kill().unwrap();
        running.wait().unwrap();
        for (acknowledged, talk) in acknowledged.iter_mut().zip(talking) {
            acknowledged.extend(talk.join().unwrap());
        }
        filled.into_iter().for_each(Disk::make_room);
        running = site.start();
    }
    for ((alice, conversation), acknowledged) in senders.iter().zip(&conversations).zip(&acknowledged) {
        let contents = site.contents(alice, *conversation);
        let kept: HashSet<_> = contents.iter().filter_map(|one| one.split(' ').next()).collect();
        let gone: Vec<_> = acknowledged.iter().filter(|name| !kept.contains(name.as_str())).collect();
        assert!(gone.is_empty(), "{} of {} are gone: {gone:?}", gone.len(), acknowledged.len());
    }
    let all = acknowledged.iter().map(HashSet::len).sum::<usize>();
    eprintln!("{all} were acknowledged, and none is gone after {kills} kills");
    site.stop(running);
    if disk.is_none() {
        site.remove();
    }
}

/// Says numbered messages, always some on their way; what heard `messageQueued` before the line ended.
fn talks_until_the_end(
    mut socket: Socket,
    conversation: i64,
    round: usize,
    heard: &Heard,
) -> HashSet<String> {
    let (mut said, mut answered) = (0, 0);
    let mut acknowledged = HashSet::new();
    loop {
        while said < answered + ON_THEIR_WAY {
            said += 1;
            let name = format!("{round}-{said}");
            let (guid, content) = (format!("{conversation}-{name}"), format!("{name} {}", "x".repeat(BYTES)));
            let data = json!({ "conversationId": conversation, "guid": guid, "content": content });
            if socket.tries_to_say("sendMessage", &data).is_err() {
                break;
            }
        }
        let Some(event) = socket.next_until_the_end() else { return acknowledged };
        let guid = event["data"]["guid"].as_str().unwrap_or_default();
        let name = guid.split_once('-').map(|(_, name)| name.to_owned());
        match event["event"].as_str() {
            Some("messageQueued") => {
                acknowledged.extend(name);
                heard.acknowledged.fetch_add(1, Ordering::Relaxed);
                answered += 1;
            }
            Some("sendMessageError") => {
                heard.busy.fetch_add(usize::from(event["data"]["code"] == "busy"), Ordering::Relaxed);
                answered += 1;
            }
            _ => {}
        }
    }
}
