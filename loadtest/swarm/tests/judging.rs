//! The whole swarm against a server that is told to misbehave: a judge that cannot convict is
//! worth nothing, and one that convicts the innocent is worse.

mod fake;

use fake::{Fake, Fault};
use swarm::options::{Address, Options};
use swarm::report::Report;
use swarm::run::run;

#[track_caller]
fn judged(fault: Fault, change: impl FnOnce(&mut Options)) -> Report {
    let port = Fake::start(fault);
    let cache = std::env::temp_dir().join(format!("swarm-test-{}", std::process::id()));
    let mut options = Options {
        urls: vec![Address { host: "127.0.0.1".into(), port }],
        senders: 4,
        conversations: 3,
        members: 4,
        messages: Some(200),
        settle_s: 1,
        sync_s: 2,
        cache,
        ..Options::default()
    };
    change(&mut options);
    let report = run(&options).expect("the fake takes part");
    eprintln!("{fault:?}\n{report}");
    report
}

#[test]
fn a_good_server_is_acquitted() {
    let report = judged(Fault::None, |options| (options.threads, options.sockets) = (2, 5));
    assert!(report.is_clean);
    assert_eq!((report.sockets, report.verdict.acknowledged, report.verdict.persisted), (9, 200, 200));
    assert_eq!((report.verdict.delivered, report.verdict.delivered_live), (800, 800));
    assert_eq!((report.queued.count, report.processed.count, report.delivered.count), (200, 200, 800));
}

#[test]
fn at_a_rate_latency_counts_from_the_scheduled_time() {
    let report = judged(Fault::None, |options| {
        (options.rate, options.seconds, options.messages) = (Some(400.0), Some(1), None);
    });
    assert!(report.is_clean);
    assert_eq!(report.verdict.sent, 400);
    assert!((0.9..1.5).contains(&report.acknowledged_s), "{}", report.acknowledged_s);
}

#[test]
fn a_rough_server_that_keeps_its_promises_is_acquitted() {
    for pipeline in [1, 8] {
        let report = judged(Fault::Rough, |options| options.pipeline = pipeline);
        assert!(report.is_clean);
        assert_eq!((report.verdict.acknowledged, report.verdict.delivered), (200, 800));
        let counts = &report.counts;
        assert!(
            counts.busy > 0 && counts.resent > 0 && counts.reconnects > 0 && counts.synced > 0,
            "{counts:?}"
        );
    }
}

#[test]
fn a_server_that_loses_is_convicted() {
    let report = judged(Fault::Loses, |_| {});
    assert_eq!((report.is_clean, report.verdict.lost), (false, 1));
}

#[test]
fn a_server_that_doubles_is_convicted() {
    let report = judged(Fault::Doubles, |_| {});
    assert!(!report.is_clean && report.verdict.doubled > 0);
}

#[test]
fn a_server_that_reorders_is_convicted() {
    let report = judged(Fault::Reorders, |_| {});
    assert!(!report.is_clean && report.verdict.reordered > 0 && report.verdict.lost == 0);
}

#[test]
fn a_server_that_leaves_gaps_is_convicted() {
    let report = judged(Fault::Skips, |_| {});
    assert!(!report.is_clean && report.verdict.gaps == 1);
}

#[test]
fn a_server_that_hides_a_message_from_a_member_is_convicted() {
    let report = judged(Fault::Hides, |_| {});
    assert!(!report.is_clean && report.verdict.undelivered > 0);
}
