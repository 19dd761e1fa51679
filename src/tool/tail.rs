//! `tail`: look on.

use std::io::{self, ErrorKind};
use std::time::Duration;

use common::bus::{Arrival, Envelope, Pattern};
use protocol::Timestamp;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::ending::{Ending, Failure};
use super::peers::{OperatorPeers, of_bus};
use super::print::Out;
use super::redact;

/// Prints what passes, until Ctrl-C, a closed pipe, or the end of `lasting`.
pub async fn tail(
    peers: &OperatorPeers,
    out: &Out,
    pattern: &Pattern,
    lasting: Option<Duration>,
) -> Result<Ending, Failure> {
    let bus = peers.bus().await?;
    let mut passing = bus.subscribe(pattern.clone()).await.map_err(of_bus)?;
    let end = lasting.map(|lasting| Instant::now() + lasting);
    let ended = async {
        match end {
            Some(end) => sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(ended);
    let mut seen = 0_usize;
    loop {
        let arrival = tokio::select! {
            () = &mut ended => break,
            arrival = passing.next() => arrival,
        };
        let Some(arrival) = arrival else { break };
        match print(out, arrival) {
            Ok(more) => seen += more,
            Err(err) if err.kind() == ErrorKind::BrokenPipe => break,
            Err(err) => return Err(err.into()),
        }
    }
    bus.drain().await;
    Ok(Ending::good(seen > 0))
}

fn print(out: &Out, arrival: Arrival) -> io::Result<usize> {
    let now = Timestamp::now();
    match arrival {
        Arrival::Lapse => {
            out.say(&json!({ "at": now, "lapse": true }), &format!("{now}  something may be missing here"))?;
            Ok(0)
        }
        Arrival::Envelopes(envelopes) => {
            for envelope in &envelopes {
                let (line, what) = redact::control(envelope);
                let Envelope { subject, key, body } = envelope;
                let json = json!({
                    "at": now, "subject": subject.as_str(), "key": key, "bytes": body.len(), "what": what,
                });
                out.say(&json, &format!("{now}  {subject}  {line}"))?;
            }
            Ok(envelopes.len())
        }
    }
}
