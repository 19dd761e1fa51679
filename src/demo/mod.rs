//! The demo on the command line: `listen`, `say`, `history`. They use the same REST and the
//! same `/ws` as every client.
//!
//! Accounts are created when they are first named; their passwords are in the data folder, so these
//! commands work only for the user who runs the server.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use client::{Site, Socket};
use common::random;
use protocol::Timestamp;
use serde_json::{Value, json};

use crate::account::{Credentials, SignedIn};
use crate::cli::Demo;
use crate::config;
use crate::data::Data;

/// Runs one demo command to its end.
pub async fn run(demo: Demo, data: &Data) -> anyhow::Result<()> {
    let (Demo::Listen { at, .. } | Demo::Say { at, .. } | Demo::History { at, .. }) = &demo;
    let url = at.url.clone().unwrap_or_else(|| format!("http://127.0.0.1:{}", config::port()));
    let site = Site::parse(&url, config::authorities().as_deref())?;
    let password = data.secret("demo.password", random::secret)?;
    let login = |name: &str| {
        let email = format!("{}@demo.invalid", name.to_lowercase());
        let account = Credentials { email, name: name.to_owned(), password: password.clone() };
        let site = site.clone();
        async move { account.enter(&site).await.context("is `make run` running?") }
    };
    match &demo {
        Demo::Listen { who, .. } => listen(&site, who, &login(who).await?).await,
        Demo::Say { who, to, text, .. } => {
            let (me, other) = (login(who).await?, login(to).await?);
            let conversation = me.conversation_with(&site, &other, &title(who, to)).await?;
            say(&site, &me, conversation, &text.join(" ")).await
        }
        Demo::History { who, with, .. } => {
            let (me, other) = (login(who).await?, login(with).await?);
            history(&site, &me, me.conversation_with(&site, &other, &title(who, with)).await?).await
        }
    }
}

async fn listen(site: &Site, who: &str, me: &SignedIn) -> anyhow::Result<()> {
    let mut socket = Socket::open(site, &me.token).await?;
    print(&format!("{who} listens on {}/ws; Ctrl-C ends it", site.ws_url()))?;
    loop {
        let event = socket.next().await?;
        if event["event"] == "messageComing" {
            print(&line(&event["data"]))?;
        }
    }
}

async fn say(site: &Site, me: &SignedIn, conversation: i64, text: &str) -> anyhow::Result<()> {
    let mut socket = Socket::open(site, &me.token).await?;
    let guid = random::uuid_v7(Timestamp::now());
    let data = json!({
        "conversationId": conversation, "guid": guid, "messageType": "TEXT", "content": text,
    });
    socket.send(&json!({ "event": "sendMessage", "data": data })).await?;
    loop {
        let event = socket.next().await?;
        let data = &event["data"];
        if data["guid"] != guid.as_str() {
            continue;
        }
        match event["event"].as_str() {
            Some("messageQueued") => {
                print(&format!(
                    "queued: message {guid} survives any crash from here on (`chatchit trace` follows it)"
                ))?;
            }
            Some("messageProcessed") => {
                return print(&format!(
                    "kept: message {}, number {} of its conversation",
                    data["messageId"], data["seq"]
                ));
            }
            Some("sendMessageError" | "exception") => bail!("refused: {}", data["message"]),
            _ => {}
        }
    }
}

async fn history(site: &Site, me: &SignedIn, conversation: i64) -> anyhow::Result<()> {
    let path = format!("/conversations/{conversation}/message?page=1&size=50&order=desc");
    let page = site.get(&path, &me.token).await?;
    for message in page["data"]["result"].as_array().context("no history came")? {
        print(&line(message))?;
    }
    Ok(())
}

/// The same for both of them.
fn title(who: &str, to: &str) -> String {
    let mut names = [who, to];
    names.sort_unstable();
    format!("{} & {} (demo)", names[0], names[1])
}

fn line(message: &Value) -> String {
    let name = message["user"]["firstName"].as_str().unwrap_or("somebody");
    let (seq, content) = (&message["seq"], message["content"].as_str().unwrap_or_default());
    format!("[{seq}] {name}: {content}")
}

/// To standard output; a closed pipe ends the command.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
