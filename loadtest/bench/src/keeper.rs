//! A process that keeps a part of the sockets, because a process may open only so many files.
//!
//! It reads commands from standard input, a word per line, answers each with a line of JSON,
//! and ends with its input, so that its parent cannot leave it behind.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use swarm::options::Address;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::dialect::Dialect;
use crate::herd::Herd;
use crate::process::Watched;
use crate::rows::tokens as tokens_of;

/// The argument that starts this process.
pub const ARGUMENT: &str = "keep-sockets";
/// Each address has 28,000 ports, of which it takes more and more time to find a free one.
const ADDRESSES: u8 = 4;
/// Sockets of one process that connect at once. All processes together load two cores then.
const AT_ONCE: usize = 48;
/// Timeout for any answer; opening takes longest.
const ANSWER: Duration = Duration::from_secs(200);

/// The sockets of one process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// A number that differs for each process.
    pub number: u8,
    /// The port of its gateway.
    pub port: u16,
    /// The protocol of the sockets.
    pub dialect: Dialect,
    /// What all sockets show; None: each has the token of a user of its own.
    pub token: Option<String>,
}

/// An order to a process.
#[derive(Debug, Serialize, Deserialize)]
enum Word {
    /// Open a socket for each of these users; the answer is how often a gateway asked one to retry later.
    Open { first: usize, count: usize },
    /// Count the sockets that answer a `ping` of the protocol.
    Alive,
    /// Count the sockets lost since the last such order.
    Lost,
    /// Wait until all sockets together have received this many events in order.
    Hear(u64),
}

/// The answer of a process.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Answer {
    count: usize,
    node: Option<String>,
    failed: Option<String>,
}

/// The handle to a process, which ends when this is dropped.
pub struct Keeper {
    part: Part,
    child: Child,
    words: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    node: Option<String>,
}

impl Keeper {
    /// Starts the process; it opens nothing yet.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(part: &Part) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([ARGUMENT, &serde_json::to_string(part)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (words, answers) = child.stdin.take().zip(child.stdout.take()).context("both are piped")?;
        Ok(Self { part: part.clone(), child, words, answers: BufReader::new(answers).lines(), node: None })
    }

    /// Opens a socket for each of these users; how often one was told to come again later.
    ///
    /// # Errors
    /// Not all became ready.
    pub async fn open(&mut self, first: usize, count: usize) -> anyhow::Result<usize> {
        self.ask(&Word::Open { first, count }).await
    }

    /// How many sockets answer a `ping` of the protocol.
    ///
    /// # Errors
    /// The process does not answer.
    pub async fn alive(&mut self) -> anyhow::Result<usize> {
        self.ask(&Word::Alive).await
    }

    /// How many sockets were lost since this was asked last.
    ///
    /// # Errors
    /// The process does not answer.
    pub async fn lost(&mut self) -> anyhow::Result<usize> {
        self.ask(&Word::Lost).await
    }

    /// Waits until the sockets heard this many events in all, each in its order.
    ///
    /// # Errors
    /// They do not come.
    pub async fn hear(&mut self, events: u64) -> anyhow::Result<()> {
        self.ask(&Word::Hear(events)).await.map(drop)
    }

    /// The gateway's node id, as its `ready` names it.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// The process, for its figures.
    pub fn watched(&self) -> Watched {
        Watched::process("clients", self.child.id().unwrap_or(0))
    }

    async fn ask(&mut self, word: &Word) -> anyhow::Result<usize> {
        let line = serde_json::to_string(word)?;
        let answer = async {
            self.words.write_all(format!("{line}\n").as_bytes()).await?;
            let line = self.answers.next_line().await?.context("the process has ended")?;
            anyhow::Ok(serde_json::from_str::<Answer>(&line)?)
        };
        let answer = timeout(ANSWER, answer).await.context("no answer in time").flatten();
        let answer = answer.with_context(|| format!("asked of the clients of {:?}", self.part))?;
        self.node = answer.node;
        match answer.failed {
            Some(failed) => bail!("the clients of {:?}: {failed}", self.part),
            None => Ok(answer.count),
        }
    }
}

/// The process itself. Blocks until its input ends.
///
/// # Errors
/// It was started wrongly.
pub fn serve(part: &str) -> anyhow::Result<()> {
    let part: Part = serde_json::from_str(part)?;
    let (word, mut words) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if word.blocking_send(line).is_err() {
                return;
            }
        }
    });
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let address = Address { host: "127.0.0.1".into(), port: part.port };
        let from = (1..=ADDRESSES).map(|last| IpAddr::V4(Ipv4Addr::new(127, 1, part.number, last)));
        let mut herd = Herd::from(&address, part.dialect, from.collect(), AT_ONCE);
        while let Some(word) = words.recv().await {
            let (count, failed) = match obey(&mut herd, &part, serde_json::from_str(&word)?).await {
                Ok(count) => (count, None),
                Err(err) => (0, Some(format!("{err:#}"))),
            };
            let answer = Answer { count, failed, node: herd.node().map(str::to_owned) };
            crate::say(&serde_json::to_string(&answer)?);
        }
        Ok(())
    })
}

async fn obey(herd: &mut Herd, part: &Part, word: Word) -> anyhow::Result<usize> {
    Ok(match word {
        Word::Open { first, count } => {
            let before = herd.put_off();
            let tokens = part.token.clone().map(|token| vec![token; count]);
            herd.open(&tokens.unwrap_or_else(|| tokens_of(first, count))).await?;
            herd.put_off() - before
        }
        Word::Alive => herd.alive().await,
        Word::Lost => {
            let lost = herd.lost();
            if let Some(why) = lost.first() {
                eprintln!("{} sockets of port {} were lost; the first: {why}", lost.len(), part.port);
            }
            lost.len()
        }
        Word::Hear(events) => {
            herd.hear(0, events).await?;
            herd.heard() as usize
        }
    })
}
