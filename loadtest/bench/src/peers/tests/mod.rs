//! Herds against servers of every dialect: a stand-in in this process, and those real ones that are here.

/// A server of any dialect, right or wrong.
mod stand_in;

use std::time::Duration;

use self::stand_in::{Order, StandIn};
use super::*;
use crate::herd::Herd;

/// The peers that need no build.
const SERVERS: [Peer; 4] = [Peer::Nats, Peer::Mosquitto, Peer::Nchan, Peer::Centrifugo];

const DIALECTS: [Dialect; 6] =
    [Dialect::Native, Dialect::SocketIo, Dialect::Nats, Dialect::Mqtt, Dialect::Plain, Dialect::Centrifugo];

const SOCKETS: usize = 5;

/// Timeout for some frames over the loopback, on a busy machine.
const HEARD: Duration = Duration::from_secs(30);

/// Opens sockets in two lots, as the rows do.
async fn opens(herd: &mut Herd, dialect: Dialect, token: &str) {
    herd.open(&vec![token.to_owned(); SOCKETS - 2]).await.unwrap();
    herd.open(&vec![token.to_owned(); 2]).await.unwrap();
    if dialect.answers_pings() {
        assert_eq!(herd.alive().await, SOCKETS, "{dialect:?} answers");
    }
}

#[tokio::test]
async fn what_servers_publish_is_heard_in_its_order() {
    for dialect in DIALECTS {
        let server = StandIn::start(dialect, Order::Right).await;
        let mut herd = Herd::new(&server.address, dialect);
        opens(&mut herd, dialect, stand_in::TOKEN).await;
        let mut published = 0;
        for times in [1, 10] {
            let before = herd.heard();
            server.publish(times, 150);
            herd.hear(before, times * SOCKETS as u64).await.unwrap();
            published += times;
        }
        assert_eq!((herd.heard(), herd.astray()), (published * SOCKETS as u64, 0), "{dialect:?}");
        herd.close().await;
    }
}

#[tokio::test]
async fn what_is_doubled_or_overtaken_is_astray() {
    for dialect in DIALECTS {
        for order in [Order::Doubled, Order::Overtaken] {
            let server = StandIn::start(dialect, order).await;
            let mut herd = Herd::new(&server.address, dialect);
            opens(&mut herd, dialect, stand_in::TOKEN).await;
            server.publish(10, 150);
            // The last number comes once and after all others: then everything was heard.
            let sent = SOCKETS as u64 * order.frames_of(10);
            let all = async {
                while herd.heard() + herd.astray() < sent {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(HEARD, all).await.expect("every frame is counted");
            assert!(herd.astray() >= SOCKETS as u64, "{dialect:?} {order:?}: {}", herd.astray());
            herd.close().await;
        }
    }
}

#[tokio::test]
async fn a_wrong_token_is_a_refusal_and_not_a_silence() {
    let server = StandIn::start(Dialect::Native, Order::Right).await;
    let mut herd = Herd::new(&server.address, Dialect::Native);
    assert!(herd.open(&["another".to_owned()]).await.is_err());
}

/// The real ones among the peers of `make bench`, which `make test` does not install: one that is not on this machine is
/// named, and the stand-in above has spoken its dialect.
#[tokio::test]
async fn real_servers_speak_the_dialects_of_their_stand_ins() {
    let folder = std::env::temp_dir().join(format!("chatchit-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let places = Places {
        binaries: folder.clone(),
        logs: folder.join("logs"),
        peers: folder.clone(),
        amqp_url: String::new(),
        management_url: String::new(),
        scrape_port: 0,
        redis_nodes: vec![],
        database_url: String::new(),
    };
    for peer in SERVERS {
        if peer.prepare(&places).unwrap().is_none() {
            eprintln!("only its stand-in was tried: {} is not on this machine", peer.name());
            continue;
        }
        let mut running = peer.start(&places).await.unwrap();
        let mut herd = Herd::new(&running.server.address, peer.dialect());
        opens(&mut herd, peer.dialect(), &peer.token().unwrap()).await;
        let mut published = 0;
        for times in [1, 10] {
            let before = herd.heard();
            running.publish(times, 150).await.unwrap();
            herd.hear(before, (times * SOCKETS) as u64).await.unwrap();
            published += times;
        }
        let heard = herd.heard();
        assert_eq!((heard, herd.astray()), ((published * SOCKETS) as u64, 0), "{peer:?}");
        herd.close().await;
    }
    std::fs::remove_dir_all(folder).unwrap();
}
