//! People who do what the load does not: they come and go, sync, read, type, ask, read histories,
//! and make mistakes. While something is broken they fail, and try again.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::pause;
use testing::person::{Person, http};

/// Threads that go on until they are told to stop.
#[derive(Clone, Default)]
pub struct Until(Arc<AtomicBool>);

impl Until {
    /// All of them end soon.
    pub fn ends(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether they shall end.
    pub fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Does it again and again in a thread of its own; what fails is tried again a moment later.
pub fn again(
    until: &Until,
    every: Duration,
    act: impl Fn(usize) + Send + std::panic::RefUnwindSafe + 'static,
) {
    let until = until.clone();
    std::thread::spawn(move || {
        for round in 0.. {
            if until.is_over() {
                break;
            }
            // A person panics where a test would. The hook says nothing of it.
            let _ = catch_unwind(|| act(round));
            pause(every);
        }
    });
}

/// Panics of people are no news here.
pub fn hush() {
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name().is_some() {
            others(info);
        }
    }));
}

/// Two people who meet again and again, and one who reads.
pub fn come(ports: [u16; 2], until: &Until) -> anyhow::Result<()> {
    let made = catch_unwind(|| {
        let [alice, bob] = [Person::new(ports[0], "alice"), Person::new(ports[1], "bob")];
        let conversation = alice.creates_conversation_with(ports[0], &[&bob]);
        let reader = Person { id: alice.id, email: alice.email.clone(), token: alice.token.clone() };
        (alice, bob, reader, conversation)
    });
    let (alice, bob, reader, conversation) = made.map_err(|_| anyhow::anyhow!("nobody can register"))?;
    again(until, Duration::from_millis(700), move |round| meet(ports, &alice, &bob, conversation, round));
    again(until, Duration::from_millis(150), move |round| {
        let (port, token) = (ports[round % 2], Some(reader.token.as_str()));
        let _ = http(port, "GET", "/conversations?page=1&size=20", token, "");
        let path = format!("/conversations/{conversation}/message?page=1&size=20&order=desc");
        let _ = http(port, "GET", &path, token, "");
    });
    Ok(())
}

fn meet([here, there]: [u16; 2], alice: &Person, bob: &Person, conversation: i64, round: usize) {
    // Without a token, and without an upgrade.
    let _ = http(here, "GET", "/conversations", None, "");
    let _ = http(here, "GET", "/ws", None, "");
    let (mut ours, mut theirs) = (alice.opens_socket(here), bob.opens_socket(there));
    let message = json!({
        "conversationId": conversation, "guid": format!("m-{round}"), "content": "xin chào",
        "traceparent": format!("00-{:032x}-{:016x}-01", round + 1, round + 1),
    });
    ours.says("sendMessage", &message);
    let kept = ours.hears("messageProcessed")["messageId"].take();
    // The same again, as after a reconnect.
    ours.says("sendMessage", &message);
    ours.hears("messageProcessed");
    theirs.hears("messageComing");
    for _ in 0..2 {
        theirs.says("typing", &json!({ "conversationId": conversation, "isTyping": true }));
    }
    theirs.says("messageRead", &json!({ "conversationId": conversation, "messageId": kept }));
    theirs.says("getOnlineUsers", &json!({}));
    theirs.says("sync", &json!({ "conversations": { conversation.to_string(): 0 } }));
    theirs.hears("synced");
}

/// One whose messages the database refuses.
pub fn poisons(port: u16, until: &Until) {
    let ends = until.clone();
    again(until, Duration::from_secs(5), move |round| {
        let [one, other] = ["carol", "dan"].map(|name| Person::new(port, name));
        let conversation = one.creates_conversation_with(port, &[&other]);
        let mut socket = one.opens_socket(port);
        for number in (0..600).take_while(|_| !ends.is_over()) {
            let guid = format!("p-{round}-{number}");
            socket.says(
                "sendMessage",
                &json!({ "conversationId": conversation, "guid": guid, "content": "poison" }),
            );
            pause(Duration::from_millis(500));
            if number % 20 == 0 {
                socket.pongs();
            }
        }
    });
}

/// Many clients that connect at once. Their account is made before anything else breaks.
pub fn storm(port: u16, until: &Until) -> anyhow::Result<()> {
    let person = catch_unwind(|| Person::new(port, "erin"));
    let person = Arc::new(person.map_err(|_| anyhow::anyhow!("nobody can register"))?);
    for _ in 0..2 {
        let person = Arc::clone(&person);
        again(until, Duration::from_millis(50), move |_| {
            let _ = person.tries_socket(port);
        });
    }
    Ok(())
}
