//! The canary's two people: logged in at the start, and again when a token is not accepted any more.

use std::sync::Arc;

use anyhow::Context as _;
use client::Site;
use common::limits::{CANARY_GATEWAYS_MAX, CANARY_NAME_MS_MAX};
use tokio::net::lookup_host;
use tokio::sync::{Notify, watch};
use tokio::time::{Duration, timeout};
use tracing::{info, warn};

use super::config::CanaryConfig;
use super::line::{Side, rest};
use crate::account::{Credentials, SignedIn, WrongPassword};

/// The conversation of the two.
const TITLE: &str = "canary";

/// The tokens of the moment.
pub struct Tokens {
    speaker: watch::Receiver<String>,
    listener: watch::Receiver<String>,
    wanted: Arc<Notify>,
}

impl Tokens {
    /// Logs in, now and whenever it is wanted. For ever unless `is_final`; a wrong password ends it in any
    /// case: it will not become right.
    pub async fn take(config: &CanaryConfig, is_final: bool) -> anyhow::Result<(Self, i64)> {
        let mut failures = 0;
        let (people, conversation) = loop {
            match enter(config, None).await {
                Ok(entered) => break entered,
                Err(err) if is_final || err.downcast_ref::<WrongPassword>().is_some() => return Err(err),
                Err(err) => warn!("The canary cannot log in yet: {err:#}"),
            }
            failures += 1;
            rest(failures).await;
        };
        info!(conversation.id = conversation, "The canary is logged in");
        let [speaker, listener] = people.map(|person| watch::channel(person.token));
        let wanted = Arc::new(Notify::new());
        let tokens = Self { speaker: speaker.1, listener: listener.1, wanted: Arc::clone(&wanted) };
        tokio::spawn(keep(config.clone(), conversation, [speaker.0, listener.0], wanted));
        Ok((tokens, conversation))
    }

    /// The token of one of them.
    pub fn of(&self, role: Side) -> watch::Receiver<String> {
        match role {
            Side::Speaker => self.speaker.clone(),
            Side::Listener => self.listener.clone(),
        }
    }

    /// Logs in again, once for all lines that ask.
    pub fn renew(&self) {
        self.wanted.notify_one();
    }
}

async fn keep(
    config: CanaryConfig,
    conversation: i64,
    tokens: [watch::Sender<String>; 2],
    wanted: Arc<Notify>,
) {
    loop {
        wanted.notified().await;
        let mut failures = 0;
        loop {
            failures += 1;
            match enter(&config, Some(conversation)).await {
                Ok((people, _)) => {
                    for (token, person) in tokens.iter().zip(people) {
                        token.send_replace(person.token);
                    }
                    info!("The canary logged in again");
                    break;
                }
                Err(err) => warn!("The canary cannot log in again: {err:#}"),
            }
            rest(failures).await;
        }
        // Lines that came with the old one meanwhile ask once more: not more often than this.
        rest(failures).await;
    }
}

/// Through the first gateway that can, or else through the front door.
async fn enter(config: &CanaryConfig, conversation: Option<i64>) -> anyhow::Result<([SignedIn; 2], i64)> {
    let mut last = anyhow::anyhow!("no address for {}", config.gateways.join(", "));
    for site in sites(config).await {
        match enter_at(&site, &config.accounts, conversation).await {
            Err(err) if err.downcast_ref::<WrongPassword>().is_none() => last = err,
            entered => return entered,
        }
    }
    Err(last.context("no gateway logs the canary in"))
}

async fn sites(config: &CanaryConfig) -> Vec<Site> {
    let mut places = Vec::new();
    for name in &config.gateways {
        let limit = Duration::from_millis(CANARY_NAME_MS_MAX);
        if let Ok(Ok(found)) = timeout(limit, lookup_host(name)).await {
            places.extend(found);
        }
    }
    let gateways = places.into_iter().take(CANARY_GATEWAYS_MAX).map(Site::at);
    gateways.chain(config.front.clone()).collect()
}

/// The conversation is found once; after that it is known by its id.
async fn enter_at(
    site: &Site,
    [speaker, listener]: &[Credentials; 2],
    conversation: Option<i64>,
) -> anyhow::Result<([SignedIn; 2], i64)> {
    let people = [speaker.enter(site).await?, listener.enter(site).await?];
    let conversation = match conversation {
        Some(known) => known,
        None => {
            let found = people[0].conversation_with(site, &people[1], TITLE).await;
            found.context("the canary's conversation")?
        }
    };
    Ok((people, conversation))
}
