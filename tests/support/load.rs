//! A load of correct clients beside a test, judged at its end.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use swarm::options::Options;
use swarm::report::Report;
use swarm::run::{Moment, run_watched};

use super::{Cluster, is_proof, until};

/// A load that runs beside the test.
pub struct Load {
    thread: JoinHandle<anyhow::Result<Report>>,
    messages: u64,
}

impl Load {
    /// Opens its sockets on all gateways and begins to send.
    pub fn begin(cluster: &Cluster, messages: u64, rate: f64) -> Self {
        Self::begin_with(&cluster.urls().join(","), messages, rate, &[])
    }

    /// The same through these addresses, with more options of swarm.
    pub fn begin_with(urls: &str, messages: u64, rate: f64, more: &[(&str, &str)]) -> Self {
        let (senders, conversations) = if is_proof() { ("50", "200") } else { ("12", "40") };
        let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("swarm-{}", std::process::id()));
        let (messages_text, rate) = (messages.to_string(), rate.to_string());
        let arguments = [
            ("--url", urls),
            ("--senders", senders),
            ("--conversations", conversations),
            ("--messages", &messages_text),
            ("--rate", &rate),
            ("--settle", "20"),
            ("--deadline", "300"),
            ("--cache", cache.to_str().unwrap()),
        ];
        let arguments = arguments.iter().chain(more);
        let words = arguments.flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]);
        let options = Options::read(words).unwrap();
        let (opened, wait) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            run_watched(&options, |moment, _| {
                if moment == Moment::Opened {
                    let _ = opened.send(());
                }
            })
        });
        if wait.recv().is_err() {
            let outcome = thread.join().unwrap();
            panic!("the load did not begin: {outcome:?}");
        }
        Self { thread, messages }
    }

    /// Waits until this part of it went to the lanes.
    pub fn until_part(&self, cluster: &Cluster, part: f64) {
        let wanted = (self.messages as f64 * part) as u64;
        until(Duration::from_secs(120), "messages went to the lanes", || {
            cluster.of_gateways("gateway_uplinks_total") as u64 >= wanted
        });
    }

    /// Everything was sent, and judged.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// The end, with nothing lost, doubled, reordered or missing.
    pub fn ends_clean(self) -> Report {
        let report = self.thread.join().unwrap().unwrap();
        eprintln!("{report}");
        assert!(report.is_clean, "the judge found something (above)");
        assert_eq!(report.verdict.acknowledged, self.messages, "everything was acknowledged in the end");
        assert_eq!(report.verdict.persisted, self.messages);
        report
    }
}
