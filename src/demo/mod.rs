//! Two people on the command line: `listen`, `say`, `history`. They use the same REST and the
//! same `/ws` as every client.
//!
//! People are made when they are first named; their password is in the data folder, so these
//! commands work for the one who runs the server and for nobody else.

/// HTTP/1.1 and the client's side of RFC 6455, as small as it can be.
mod wire;

use std::io::Write as _;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use self::wire::{Site, Socket};
use crate::cli::Demo;
use crate::data::{Data, random_text};

/// A person who is logged in.
struct Person {
    id: i64,
    token: String,
}

/// Runs one demo command to its end.
pub async fn run(demo: Demo, data: &Data) -> anyhow::Result<()> {
    let site = Site::parse(demo.url())?;
    let password = data.secret("demo.password", random_text)?;
    let login = |name: &str| {
        let (site, name, password) = (site.clone(), name.to_owned(), password.clone());
        async move { enter(&site, &name, password.expose()).await }
    };
    match &demo {
        Demo::Listen { who, .. } => listen(&site, who, &login(who).await?).await,
        Demo::Say { who, to, text, .. } => {
            let (me, other) = (login(who).await?, login(to).await?);
            say(&site, &me, conversation(&site, &me, &other, who, to).await?, text).await
        }
        Demo::History { who, with, .. } => {
            let (me, other) = (login(who).await?, login(with).await?);
            history(&site, &me, conversation(&site, &me, &other, who, with).await?).await
        }
    }
}

async fn listen(site: &Site, who: &str, me: &Person) -> anyhow::Result<()> {
    let mut socket = Socket::open(site, &me.token).await?;
    print(&format!("{who} listens on {}/ws; Ctrl-C ends it", site.ws_url()))?;
    loop {
        let event = socket.next().await?;
        if event["event"] == "messageComing" {
            print(&line(&event["data"]))?;
        }
    }
}

async fn say(site: &Site, me: &Person, conversation: i64, text: &str) -> anyhow::Result<()> {
    let mut socket = Socket::open(site, &me.token).await?;
    let guid = random_text();
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
            Some("messageQueued") => print("queued: RabbitMQ or its stand-in has it")?,
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

async fn history(site: &Site, me: &Person, conversation: i64) -> anyhow::Result<()> {
    let path = format!("/conversations/{conversation}/message?page=1&size=50&order=desc");
    let page = site.get(&path, &me.token).await?;
    for message in page["data"]["result"].as_array().context("no history came")? {
        print(&line(message))?;
    }
    Ok(())
}

/// Logs in; registers first when nobody has that name yet.
async fn enter(site: &Site, name: &str, password: &str) -> anyhow::Result<Person> {
    let email = format!("{}@demo.invalid", name.to_lowercase());
    let credentials = json!({ "email": email, "password": password });
    let answer = match site.post("/auth/login", None, &credentials).await {
        Ok(answer) => answer,
        Err(_) => {
            let digits: String =
                random_text().bytes().take(10).map(|byte| char::from(b'0' + byte % 10)).collect();
            let account = json!({
                "email": email, "password": password, "phone": format!("+84{digits}"),
                "firstName": name, "lastName": "Demo", "role": "USER",
            });
            site.post("/auth/register", None, &account)
                .await
                .with_context(|| format!("{name} cannot register"))?;
            site.post("/auth/login", None, &credentials)
                .await
                .with_context(|| format!("{name} cannot log in"))?
        }
    };
    let data = &answer["data"];
    Ok(Person {
        id: data["user"]["id"].as_i64().context("the login has no user")?,
        token: data["accessToken"].as_str().context("the login has no token")?.to_owned(),
    })
}

/// The conversation of the two, made at the first use.
async fn conversation(site: &Site, me: &Person, other: &Person, who: &str, to: &str) -> anyhow::Result<i64> {
    let mut names = [who, to];
    names.sort_unstable();
    let title = format!("{} & {} (demo)", names[0], names[1]);
    let page = site.get("/conversations?page=1&size=100", &me.token).await?;
    let known = page["data"]["result"].as_array().into_iter().flatten();
    if let Some(id) = known.filter(|one| one["title"] == title.as_str()).find_map(|one| one["id"].as_i64()) {
        return Ok(id);
    }
    let participants = json!([{ "userId": me.id, "type": "LEAD" }, { "userId": other.id, "type": "MEMBER" }]);
    let wanted = json!({ "title": title, "participants": participants });
    let made = site.post("/conversations/create", Some(&me.token), &wanted).await?;
    made["data"]["id"].as_i64().context("the conversation has no id")
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
