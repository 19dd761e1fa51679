//! A room of 5,000 members on two gateways: how long until a message is shown to all of them, and how
//! long its sender waits, held against a room of two.

use std::time::Duration;

use anyhow::{Context, bail};
use client::{Site, Socket};
use futures_util::future::try_join_all;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::{FIRST, tokens};
use crate::cluster::{Cluster, Layout, Places};
use crate::dialect::Dialect;
use crate::herd::content;
use crate::keeper::{Keeper, Part};
use crate::outcome::{Outcome, Target, median, number};
use crate::peers::{http, rooms, write};
use crate::process::Started;

const PREFIX: &str = "bench-rooms";
/// Of the large room, its sender among them. Two processes keep their sockets: one opens 20,000 files here.
const MEMBERS: usize = 5_000;
const GATEWAYS: usize = 2;
const BYTES: usize = 150;
const PASSES: usize = 3;
/// Messages per pass and room.
const SENDS: u64 = 100;
/// Timeout for one message.
const ANSWER: Duration = Duration::from_secs(30);
/// Bytes that the bare loop adds to a content.
const AROUND: usize = r#"{"event":"messageComing","data":{"content":""}}"#.len();

/// The rows.
///
/// # Errors
/// A program does not do its part.
pub async fn run(places: &Places, outcome: &mut Outcome) -> anyhow::Result<()> {
    let mut rooms = Rooms::open(places).await?;
    let mut found = Found::default();
    for pass in 0..=PASSES {
        crate::say(&format!("  pass {pass} of {PASSES} ..."));
        let mut one = Found::default();
        for _ in 0..SENDS {
            rooms.large(&mut one).await?;
            rooms.bare(&mut one).await?;
            rooms.pair(&mut one).await?;
        }
        // The first pass warms up.
        if pass > 0 {
            found.shown.extend(one.shown);
            found.bare.extend(one.bare);
            found.large.extend(one.large);
            found.pair.extend(one.pair);
        }
    }
    found.tell(rooms.frame, outcome);
    Ok(())
}

/// The times of each message, ms.
#[derive(Default)]
struct Found {
    /// Until all 5,000 members have received it.
    shown: Vec<f64>,
    /// Until all have received it from the bare loop.
    bare: Vec<f64>,
    /// Until its sender has received `messageProcessed`.
    large: Vec<f64>,
    /// Until its sender has received `messageProcessed`, in a room of two.
    pair: Vec<f64>,
}

impl Found {
    fn tell(self, frame: usize, outcome: &mut Outcome) {
        let (shown, bare) = (median(self.shown.clone()), median(self.bare.clone()));
        outcome.found(
            "rooms",
            format!(
                "until a message is shown to all {MEMBERS} members of a room on {GATEWAYS} gateways, held against a bare \
                 `write()` loop of the same bytes"
            ),
            shown / bare,
            Target::Most(3.0, "×"),
            format!(
                "{} ms ÷ {} ms (p99: {} and {} ms)",
                number(shown),
                number(bare),
                number(p99(self.shown)),
                number(p99(self.bare))
            ),
        );
        let halves = (median(self.large.clone()), median(self.pair.clone()));
        let (large, pair) = (p99(self.large), p99(self.pair));
        outcome.found(
            "rooms",
            "p99 of `sendMessage` → `messageProcessed` in that room, held against a room of two",
            large / pair,
            Target::Most(2.0, "×"),
            format!(
                "{} ms ÷ {} ms (p50: {} and {} ms)",
                number(large),
                number(pair),
                number(halves.0),
                number(halves.1)
            ),
        );
        outcome.notes.push(format!(
            "Big rooms: {GATEWAYS} gateways, one worker, {MEMBERS} accounts with a socket each, half of them on each gateway; \
             frames of {frame} bytes, the bare loop's too, which holds as many sockets in one process. One message at a \
             time, the next when all have the last one; {} of each kind, in turn.",
            SENDS * PASSES as u64
        ));
    }
}

fn p99(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * 99 / 100).copied().unwrap_or(f64::NAN)
}

/// Sockets, and how many events each of those who listen has heard.
struct Herd {
    keepers: Vec<(Keeper, usize)>,
    events: u64,
}

impl Herd {
    /// This many users from `first` on, in equal parts on these ports.
    async fn open(numbers: u8, ports: &[u16], dialect: Dialect, members: usize) -> anyhow::Result<Self> {
        let mut keepers = vec![];
        for (at, port) in ports.iter().enumerate() {
            let (number, port) = (numbers + u8::try_from(at)?, *port);
            let keeper = Keeper::start(&Part { number, port, dialect, token: None })?;
            let share = members / ports.len() + usize::from(at < members % ports.len());
            keepers.push((keeper, share));
        }
        // User 0 is the sender.
        let mut first = 1;
        for (keeper, share) in &mut keepers {
            keeper.open(first, *share).await?;
            first += *share;
        }
        Ok(Self { keepers, events: 0 })
    }

    /// Waits until all have received one more event.
    async fn hear(&mut self) -> anyhow::Result<()> {
        self.events += 1;
        let events = self.events;
        let keepers = self.keepers.iter_mut();
        try_join_all(keepers.map(|(keeper, share)| keeper.hear(events * *share as u64))).await.map(drop)
    }
}

/// The rooms and the bare loop, which are measured in turn.
struct Rooms {
    _cluster: Cluster,
    sender: Socket,
    /// The other member of the room of two, which only listens.
    _partner: JoinHandle<()>,
    members: Herd,
    loop_: Started,
    listeners: Herd,
    large: i64,
    pair: i64,
    numbers: u64,
    /// Bytes of a frame of our gateway.
    frame: usize,
}

impl Rooms {
    async fn open(places: &Places) -> anyhow::Result<Self> {
        let cluster = Cluster::lay_out(places, PREFIX, &Layout::of(GATEWAYS, 1)).await?;
        let first = i64::try_from(FIRST)?;
        let [large, pair] = rooms::make(&places.database_url, first, MEMBERS).await?;
        let ports: Vec<u16> = cluster.gateways.iter().map(|gateway| gateway.address.port).collect();
        let members = Herd::open(1, &ports, Dialect::Native, MEMBERS - 1).await?;
        let loop_ = write::start(places).await?;
        let port = loop_.address.port;
        let listeners = Herd::open(101, &[port, port], Dialect::Plain, MEMBERS).await?;
        let site = Site::parse(&format!("http://{}", cluster.gateway().address.authority()), None)?;
        let sender = Socket::open(&site, &tokens(0, 1)[0]).await?;
        let mut partner = Socket::open(&site, &tokens(MEMBERS, 1)[0]).await?;
        let partner = tokio::spawn(async move { while partner.next().await.is_ok() {} });
        Ok(Self {
            _cluster: cluster,
            sender,
            _partner: partner,
            members,
            loop_,
            listeners,
            large,
            pair,
            numbers: 0,
            frame: 0,
        })
    }

    /// Measures a message to the large room.
    async fn large(&mut self, found: &mut Found) -> anyhow::Result<()> {
        let start = Instant::now();
        let content = content(self.numbers, BYTES);
        self.numbers += 1;
        let heard = async {
            self.members.hear().await?;
            anyhow::Ok(ms(start))
        };
        let ((processed, shown, frame), heard) =
            tokio::try_join!(send(&mut self.sender, self.large, &content), heard)?;
        self.frame = frame;
        found.large.push(processed);
        found.shown.push(shown.max(heard));
        Ok(())
    }

    /// Measures the same bytes with the bare loop.
    async fn bare(&mut self, found: &mut Found) -> anyhow::Result<()> {
        let start = Instant::now();
        let first = self.listeners.events;
        let bytes = self.frame - AROUND;
        let told = http::tell_to_publish(&self.loop_.address, first, 1, bytes);
        tokio::try_join!(told, self.listeners.hear())?;
        found.bare.push(ms(start));
        Ok(())
    }

    /// Measures a message to the room of two.
    async fn pair(&mut self, found: &mut Found) -> anyhow::Result<()> {
        let (processed, ..) = send(&mut self.sender, self.pair, &content(0, BYTES)).await?;
        found.pair.push(processed);
        Ok(())
    }
}

/// Sends a message: ms until `messageProcessed`, ms until its sender was shown it, and the bytes of that.
async fn send(socket: &mut Socket, conversation: i64, content: &str) -> anyhow::Result<(f64, f64, usize)> {
    let guid = common::random::uuid_v7(protocol::Timestamp::now());
    let data = json!({
        "conversationId": conversation, "guid": guid, "messageType": "TEXT", "content": content,
    });
    let (start, message) = (Instant::now(), json!({ "event": "sendMessage", "data": data }));
    socket.send(&message).await?;
    let (mut processed, mut shown) = (None, None);
    loop {
        let event = timeout(ANSWER, socket.next()).await.context("no answer to a message")??;
        if event["data"]["guid"] != guid.as_str() {
            continue;
        }
        match event["event"].as_str() {
            Some("messageProcessed") => processed = Some(ms(start)),
            Some("messageComing") => shown = Some((ms(start), event.to_string().len())),
            // As a good client does; the time that it waits counts.
            Some("sendMessageError") if event["data"]["code"] == "busy" => {
                let pause = event["data"]["retryInMs"].as_u64().context("busy says for how long")?;
                sleep(Duration::from_millis(pause)).await;
                socket.send(&message).await?;
            }
            Some("sendMessageError" | "exception") => bail!("a message was refused: {event}"),
            _ => {}
        }
        if let (Some(processed), Some((shown, bytes))) = (processed, shown) {
            return Ok((processed, shown, bytes));
        }
    }
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1_000.0
}
