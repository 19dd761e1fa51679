//! Not a check: prints what inserting costs. Run it alone, in release:
//! `cargo test --release -p chatchit-worker --test store_measure -- --ignored --nocapture`

mod support {
    pub mod database;
}

use common::ids::{ConversationId, UserId};
use support::database::{Database, text};
use tokio::time::Instant;
use worker::store::NewMessage;

fn batch(sender: UserId, talks: &[ConversationId], rows: usize, round: usize) -> Vec<NewMessage> {
    let one = |n: usize| {
        let mut new = text(
            sender,
            talks[(round * 31 + n) % talks.len()],
            &format!("guid-of-36-characters-{round:06}-{n:06}"),
        );
        new.event.content = "a message of the length that people write in a chat, sixty".into();
        new
    };
    (0..rows).map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn what_saving_costs() {
    let Some(db) = Database::fresh().await else { return };
    let alice = db.user("alice").await;
    let mut talks = Vec::new();
    for _ in 0..200 {
        talks.push(db.conversation(&[alice]).await);
    }
    let mut round = 0;
    println!("rows  statement_us  us_per_row   (200 conversations, one connection, synchronous_commit on)");
    for rows in [1, 16, 64, 256] {
        let rounds = (4_000 / rows).clamp(50, 1_000);
        let mut times = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            round += 1;
            let batch = batch(alice, &talks, rows, round);
            let start = Instant::now();
            db.store.save_messages(&batch).await.unwrap();
            times.push(start.elapsed().as_micros());
        }
        times.sort_unstable();
        let (p50, p99) = (times[rounds / 2], times[rounds * 99 / 100]);
        println!("{rows:4}  p50 {p50:6} p99 {p99:6}   {:6.1}", p50 as f64 / rows as f64);
    }
    let start = Instant::now();
    let again = batch(alice, &talks, 256, round);
    for _ in 0..50 {
        db.store.save_messages(&again).await.unwrap();
    }
    println!(" 256 repeats: {} us", start.elapsed().as_micros() / 50);
    let start = Instant::now();
    for _ in 0..200 {
        db.store.audiences(&talks[..64]).await.unwrap();
    }
    println!("audiences of 64: {} us", start.elapsed().as_micros() / 200);
    db.finish().await;
}
