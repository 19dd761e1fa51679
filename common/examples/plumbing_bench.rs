//! Measures the bus beside bare lapin.
use bytes::Bytes;
use common::ids::NodeId;
use common::plumbing::*;
use common::protocol::Lane;
use futures_util::StreamExt;
use lapin::{options::*, types::FieldTable, *};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

fn p(mut v: Vec<u64>, q: f64) -> f64 {
    v.sort_unstable();
    if v.is_empty() {
        return 0.0;
    }
    v[((v.len() - 1) as f64 * q) as usize] as f64 / 1000.0
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let url = std::env::var("AMQP_URL").unwrap();
    let args: Vec<String> = std::env::args().collect();
    match args[1].as_str() {
        "bus" => bus(&url, args[2].parse().unwrap()).await,
        "kill" => kill(&url).await,
        "single" => single(&url).await,
        "routing" => routing(&url, args[2].parse().unwrap()).await,
        "cc" => cc(&url, args[2].parse().unwrap()).await,
        "quorum" => quorum(&url, args[2].parse().unwrap()).await,
        _ => {}
    }
    std::process::exit(0);
}

async fn bus(url: &str, rate: u64) {
    let config =
        BusConfig { url: url.into(), prefix: format!("b{}", NodeId::random()), queues: QueueKind::Classic };
    let bus = Bus::connect(config.clone(), NodeId::random()).await.unwrap();
    let other = Bus::connect(config, NodeId::random()).await.unwrap();
    let mut consumer = other.consume(Lane::High).await.unwrap();
    let got = Arc::new(AtomicU64::new(0));
    let batches = Arc::new(AtomicU64::new(0));
    let (g, b) = (got.clone(), batches.clone());
    tokio::spawn(async move {
        while let Some(x) = consumer.next().await {
            g.fetch_add(x.envelopes.len() as u64, Ordering::Relaxed);
            b.fetch_add(1, Ordering::Relaxed);
            x.ack();
        }
    });
    let body = Bytes::from(vec![7u8; 200]);
    let lat = Arc::new(std::sync::Mutex::new(Vec::<u64>::new()));
    let busy = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let secs = 5.0;
    let mut sent = 0u64;
    let subject = Subject::new("high.sendMessage").unwrap();
    let in_flight = Arc::new(AtomicU64::new(0));
    while start.elapsed().as_secs_f64() < secs {
        let due = if rate == 0 { u64::MAX } else { (start.elapsed().as_secs_f64() * rate as f64) as u64 };
        let mut n = 0;
        while sent < due && n < 512 && (rate > 0 || in_flight.load(Ordering::Relaxed) < 20_000) {
            let at = Instant::now();
            let (lat, busy, fl) = (lat.clone(), busy.clone(), in_flight.clone());
            fl.fetch_add(1, Ordering::Relaxed);
            bus.enqueue(
                Envelope { subject: subject.clone(), key: sent % 1000, body: body.clone() },
                Box::new(move |r| {
                    fl.fetch_sub(1, Ordering::Relaxed);
                    match r {
                        Ok(()) => lat.lock().unwrap().push(at.elapsed().as_micros() as u64),
                        Err(_) => {
                            busy.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }),
            );
            sent += 1;
            n += 1;
        }
        if n < 512 {
            tokio::time::sleep(Duration::from_millis(1)).await
        } else {
            tokio::task::yield_now().await
        }
    }
    let t = start.elapsed().as_secs_f64();
    let v = lat.lock().unwrap().clone();
    println!(
        "bus rate={rate}: offered {:.0}/s confirmed {:.0}/s consumed {:.0}/s busy {} batch {:.1} confirm p50 {:.2} ms p99 {:.2} ms",
        sent as f64 / t,
        v.len() as f64 / t,
        got.load(Ordering::Relaxed) as f64 / t,
        busy.load(Ordering::Relaxed),
        got.load(Ordering::Relaxed) as f64 / batches.load(Ordering::Relaxed).max(1) as f64,
        p(v.clone(), 0.5),
        p(v, 0.99)
    );
}

async fn conn(url: &str) -> Connection {
    Connection::connect(url, ConnectionProperties::default()).await.unwrap()
}

async fn consume(url: &str, queue: &str) -> Arc<AtomicU64> {
    let c = conn(url).await;
    let ch = c.create_channel().await.unwrap();
    ch.basic_qos(256, Default::default()).await.unwrap();
    let mut s = ch
        .basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await
        .unwrap();
    let n = Arc::new(AtomicU64::new(0));
    let m = n.clone();
    tokio::spawn(async move {
        let _c = c;
        while let Some(Ok(d)) = s.next().await {
            m.fetch_add(1, Ordering::Relaxed);
            d.acker.ack(BasicAckOptions::default()).await.unwrap();
        }
    });
    n
}

/// Window of 1000 single persistent publishes, each confirmed, consumed with single acks.
async fn single(url: &str) {
    let c = conn(url).await;
    let ch = c.create_channel().await.unwrap();
    ch.confirm_select(Default::default()).await.unwrap();
    let q = format!("s{}", NodeId::random());
    ch.queue_declare(
        q.as_str().into(),
        QueueDeclareOptions { exclusive: false, auto_delete: true, durable: true, ..Default::default() },
        FieldTable::default(),
    )
    .await
    .unwrap();
    let n = consume(url, &q).await;
    for window in [1usize, 256] {
        let sem = Arc::new(tokio::sync::Semaphore::new(window));
        let lat = Arc::new(std::sync::Mutex::new(Vec::new()));
        let start = Instant::now();
        let before = n.load(Ordering::Relaxed);
        while start.elapsed().as_secs_f64() < 5.0 {
            let permit = sem.clone().acquire_owned().await.unwrap();
            let at = Instant::now();
            let conf = ch
                .basic_publish(
                    "".into(),
                    q.as_str().into(),
                    Default::default(),
                    &[7u8; 200],
                    BasicProperties::default().with_delivery_mode(2),
                )
                .await
                .unwrap();
            let lat = lat.clone();
            tokio::spawn(async move {
                conf.await.unwrap();
                lat.lock().unwrap().push(at.elapsed().as_micros() as u64);
                drop(permit);
            });
        }
        let t = start.elapsed().as_secs_f64();
        let v = lat.lock().unwrap().clone();
        println!(
            "single window={window}: confirmed {:.0}/s consumed {:.0}/s p50 {:.2} ms p99 {:.2} ms",
            v.len() as f64 / t,
            (n.load(Ordering::Relaxed) - before) as f64 / t,
            p(v.clone(), 0.5),
            p(v, 0.99)
        );
    }
}

/// bindings = 0: default exchange.
async fn routing(url: &str, bindings: u32) {
    let c = conn(url).await;
    let ch = c.create_channel().await.unwrap();
    ch.confirm_select(Default::default()).await.unwrap();
    let q = format!("r{}", NodeId::random());
    let ex = if bindings == 0 { String::new() } else { format!("x{}", NodeId::random()) };
    ch.queue_declare(
        q.as_str().into(),
        QueueDeclareOptions { auto_delete: true, exclusive: false, durable: true, ..Default::default() },
        FieldTable::default(),
    )
    .await
    .unwrap();
    let n = consume(url, &q).await;
    let key = if bindings == 0 {
        q.clone()
    } else {
        ch.exchange_declare(
            ex.as_str().into(),
            ExchangeKind::Topic,
            ExchangeDeclareOptions { auto_delete: true, ..Default::default() },
            FieldTable::default(),
        )
        .await
        .unwrap();
        for i in 0..bindings {
            ch.queue_bind(
                q.as_str().into(),
                ex.as_str().into(),
                format!("deliver.{i:016x}").as_str().into(),
                Default::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
        }
        format!("deliver.{:016x}", bindings / 2)
    };
    let sem = Arc::new(tokio::sync::Semaphore::new(256));
    let start = Instant::now();
    let mut sent = 0u64;
    while start.elapsed().as_secs_f64() < 5.0 {
        let permit = sem.clone().acquire_owned().await.unwrap();
        let conf = ch
            .basic_publish(
                ex.as_str().into(),
                key.as_str().into(),
                Default::default(),
                &[7u8; 200],
                BasicProperties::default().with_delivery_mode(1),
            )
            .await
            .unwrap();
        sent += 1;
        tokio::spawn(async move {
            conf.await.unwrap();
            drop(permit);
        });
    }
    let t = start.elapsed().as_secs_f64();
    println!(
        "routing bindings={bindings}: published {:.0}/s consumed {:.0}/s",
        sent as f64 / t,
        n.load(Ordering::Relaxed) as f64 / t
    );
}

async fn cc(url: &str, nodes: usize) {
    let c = conn(url).await;
    let ch = c.create_channel().await.unwrap();
    ch.confirm_select(Default::default()).await.unwrap();
    let mut queues = vec![];
    let mut counts = vec![];
    for _ in 0..nodes {
        let q = format!("c{}", NodeId::random());
        ch.queue_declare(
            q.as_str().into(),
            QueueDeclareOptions { auto_delete: true, durable: true, ..Default::default() },
            FieldTable::default(),
        )
        .await
        .unwrap();
        counts.push(consume(url, &q).await);
        queues.push(q);
    }
    for with_cc in [true, false] {
        let total = || counts.iter().map(|c| c.load(Ordering::Relaxed)).sum::<u64>();
        let before = total();
        let sem = Arc::new(tokio::sync::Semaphore::new(256));
        let start = Instant::now();
        while start.elapsed().as_secs_f64() < 5.0 {
            if with_cc {
                let mut h = FieldTable::default();
                h.insert(
                    "CC".into(),
                    types::AMQPValue::FieldArray(
                        queues[1..]
                            .iter()
                            .map(|q| types::AMQPValue::LongString(q.as_str().into()))
                            .collect::<Vec<_>>()
                            .into(),
                    ),
                );
                let permit = sem.clone().acquire_owned().await.unwrap();
                let conf = ch
                    .basic_publish(
                        "".into(),
                        queues[0].as_str().into(),
                        Default::default(),
                        &[7u8; 200],
                        BasicProperties::default().with_delivery_mode(1).with_headers(h),
                    )
                    .await
                    .unwrap();
                tokio::spawn(async move {
                    conf.await.unwrap();
                    drop(permit);
                });
            } else {
                for q in &queues {
                    let permit = sem.clone().acquire_owned().await.unwrap();
                    let conf = ch
                        .basic_publish(
                            "".into(),
                            q.as_str().into(),
                            Default::default(),
                            &[7u8; 200],
                            BasicProperties::default().with_delivery_mode(1),
                        )
                        .await
                        .unwrap();
                    tokio::spawn(async move {
                        conf.await.unwrap();
                        drop(permit);
                    });
                }
            }
        }
        let t = start.elapsed().as_secs_f64();
        println!("nodes={nodes} cc={with_cc}: delivered {:.0}/s", (total() - before) as f64 / t);
    }
}

async fn quorum(url: &str, window: usize) {
    let c = conn(url).await;
    let ch = c.create_channel().await.unwrap();
    ch.confirm_select(Default::default()).await.unwrap();
    let q = format!("q{}", NodeId::random());
    let mut a = FieldTable::default();
    a.insert("x-queue-type".into(), types::AMQPValue::LongString("quorum".into()));
    a.insert("x-expires".into(), types::AMQPValue::LongLongInt(60000));
    ch.queue_declare(q.as_str().into(), QueueDeclareOptions::durable(), a).await.unwrap();
    let n = consume(url, &q).await;
    let sem = Arc::new(tokio::sync::Semaphore::new(window));
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut sent = 0u64;
    let mut hung = false;
    while start.elapsed().as_secs_f64() < 10.0 {
        let Ok(permit) = tokio::time::timeout(Duration::from_secs(5), sem.clone().acquire_owned()).await
        else {
            hung = true;
            break;
        };
        let Ok(conf) = tokio::time::timeout(
            Duration::from_secs(5),
            ch.basic_publish(
                "".into(),
                q.as_str().into(),
                Default::default(),
                &[7u8; 200],
                BasicProperties::default().with_delivery_mode(2),
            ),
        )
        .await
        else {
            hung = true;
            println!("publish itself hung");
            break;
        };
        sent += 1;
        let d = done.clone();
        tokio::spawn(async move {
            conf.unwrap().await.unwrap();
            d.fetch_add(1, Ordering::Relaxed);
            drop(permit.unwrap());
        });
    }
    let t = start.elapsed().as_secs_f64();
    println!(
        "quorum window={window}: sent {sent} confirmed {:.0}/s consumed {:.0}/s outstanding {} hung {hung}",
        done.load(Ordering::Relaxed) as f64 / t,
        n.load(Ordering::Relaxed) as f64 / t,
        sent - done.load(Ordering::Relaxed)
    );
    if hung {
        tokio::time::sleep(Duration::from_secs(20)).await;
        println!(
            "after 20 s more: confirmed {} of {sent}, consumed {}",
            done.load(Ordering::Relaxed),
            n.load(Ordering::Relaxed)
        );
    }
}

async fn kill(url: &str) {
    let config =
        BusConfig { url: url.into(), prefix: format!("b{}", NodeId::random()), queues: QueueKind::Classic };
    let bus = Bus::connect(config.clone(), NodeId::random()).await.unwrap();
    let other = Bus::connect(config, NodeId::random()).await.unwrap();
    let mut consumer = other.consume(Lane::High).await.unwrap();
    let acked = Arc::new(AtomicU64::new(0));
    let busy = Arc::new(AtomicU64::new(0));
    let slow = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut senders = vec![];
    for key in 0..50u64 {
        let (bus, acked, busy, slow, stop) =
            (bus.clone(), acked.clone(), busy.clone(), slow.clone(), stop.clone());
        senders.push(tokio::spawn(async move {
            let mut n = 0u64;
            let s = Subject::new("high.sendMessage").unwrap();
            while stop.load(Ordering::Relaxed) == 0 {
                let at = Instant::now();
                let r = bus
                    .publish(Envelope {
                        subject: s.clone(),
                        key,
                        body: Bytes::copy_from_slice(&n.to_le_bytes()),
                    })
                    .await;
                slow.fetch_max(at.elapsed().as_millis() as u64, Ordering::Relaxed);
                match r {
                    Ok(()) => {
                        n += 1;
                        acked.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(_) => {
                        busy.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
            n
        }));
    }
    let next = Arc::new(std::sync::Mutex::new(vec![0u64; 50]));
    let nx = next.clone();
    let dups = Arc::new(AtomicU64::new(0));
    let dd = dups.clone();
    let bad = Arc::new(AtomicU64::new(0));
    let bb = bad.clone();
    tokio::spawn(async move {
        while let Some(b) = consumer.next().await {
            let mut x = nx.lock().unwrap();
            for e in &b.envelopes {
                let n = u64::from_le_bytes(e.envelope.body[..].try_into().unwrap());
                let k = e.envelope.key as usize;
                if n == x[k] {
                    x[k] += 1
                } else if n < x[k] {
                    dd.fetch_add(1, Ordering::Relaxed);
                } else {
                    bb.fetch_add(1, Ordering::Relaxed);
                }
            }
            drop(x);
            b.ack();
        }
    });
    for _ in 0..50 {
        let (a, b) = (acked.load(Ordering::Relaxed), busy.load(Ordering::Relaxed));
        slow.store(0, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
        println!(
            "{:5.1}s acked {:6} busy {:5} slowest {} ms health {:?}",
            start.elapsed().as_secs_f64(),
            acked.load(Ordering::Relaxed) - a,
            busy.load(Ordering::Relaxed) - b,
            slow.load(Ordering::Relaxed),
            *bus.health().borrow()
        );
    }
    stop.store(1, Ordering::Relaxed);
    let mut total = vec![];
    for s in senders {
        total.push(s.await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let x = next.lock().unwrap();
    let lost: u64 = total.iter().zip(x.iter()).map(|(t, x)| t.saturating_sub(*x)).sum();
    println!(
        "acked {} lost {lost} repeats {} out of order {}",
        total.iter().sum::<u64>(),
        dups.load(Ordering::Relaxed),
        bad.load(Ordering::Relaxed)
    );
}
