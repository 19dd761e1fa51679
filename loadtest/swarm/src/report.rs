//! The printed report of a run.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::judge::Verdict;
use crate::tally::{Counts, Tally, peak_per_s};

/// A latency's distribution, ms.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// The number of samples.
    pub count: u64,
    /// The median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1_000.0,
        }
    }
}

/// The outcome of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The number of all sockets.
    pub sockets: usize,
    /// Seconds until all were open, set-up included.
    pub open_s: f64,
    /// Seconds from the first scheduled message to the last acknowledgement.
    pub acknowledged_s: f64,
    /// Acknowledged messages per second.
    pub acknowledged_per_s: f64,
    /// Seconds from the first scheduled message to the last first showing.
    pub delivered_s: f64,
    /// First showings per second (members times messages).
    pub delivered_per_s: f64,
    /// Scheduled → `messageQueued`.
    pub queued: Latency,
    /// Scheduled → `messageProcessed`.
    pub processed: Latency,
    /// Scheduled → shown to a member.
    pub delivered: Latency,
    /// A socket cut → `synced` on the next one.
    pub resumed: Latency,
    /// The most attempts to reconnect within one second.
    pub reconnects_per_s_max: usize,
    /// Whether the verdict found nothing wrong.
    pub is_clean: bool,
    /// The verdict of the judge.
    pub verdict: Verdict,
    /// Counts of everything else that happened.
    pub counts: Counts,
}

impl Report {
    /// Makes the report of a run.
    pub fn new(sockets: usize, open_s: f64, start_us: u64, verdict: Verdict, tally: &Tally) -> Self {
        let since = |us: u64| us.saturating_sub(start_us) as f64 / 1e6;
        let acknowledged_s = since(tally.counts.last_ack_us);
        let delivered_s = since(tally.counts.last_shown_us);
        let per_s = |count: u64, seconds: f64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        Self {
            sockets,
            open_s,
            acknowledged_s,
            acknowledged_per_s: per_s(verdict.acknowledged, acknowledged_s),
            delivered_s,
            delivered_per_s: per_s(verdict.delivered, delivered_s),
            queued: Latency::of(&tally.queued),
            processed: Latency::of(&tally.processed),
            delivered: Latency::of(&tally.delivered),
            resumed: Latency::of(&tally.resumed),
            reconnects_per_s_max: peak_per_s(&tally.reconnects_us),
            is_clean: verdict.is_clean(),
            verdict,
            counts: tally.counts.clone(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, counts) = (&self.verdict, &self.counts);
        let ms = |us: u64| us as f64 / 1_000.0;
        writeln!(f, "sockets        {} (open after {:.1} s)", self.sockets, self.open_s)?;
        writeln!(f, "sent           {}", verdict.sent)?;
        writeln!(
            f,
            "acknowledged   {} in {:.1} s = {:.0}/s",
            verdict.acknowledged, self.acknowledged_s, self.acknowledged_per_s
        )?;
        writeln!(f, "persisted      {}", verdict.persisted)?;
        writeln!(
            f,
            "delivered      {} of {} in {:.1} s = {:.0}/s ({} live, {} by sync, {} from history)",
            verdict.delivered,
            verdict.expected,
            self.delivered_s,
            self.delivered_per_s,
            verdict.delivered_live,
            counts.synced,
            counts.fetched
        )?;
        writeln!(f, "lost           {} (and {} not shown to a member)", verdict.lost, verdict.undelivered)?;
        writeln!(f, "doubled        {}", verdict.doubled)?;
        writeln!(f, "reordered      {}", verdict.reordered)?;
        writeln!(f, "gaps in seq    {}", verdict.gaps)?;
        writeln!(f, "unread         {} histories; {} foreign rows", verdict.unread, verdict.foreign)?;
        writeln!(
            f,
            "repeats        {} on the wire, {} before the first synced (allowed)",
            verdict.repeats, verdict.filled
        )?;
        writeln!(
            f,
            "busy           {} (after at most {:.0} ms); rate limited {}; unanswered {}; sent again {}",
            counts.busy,
            ms(counts.busy_us_max),
            counts.rate_limited,
            counts.unanswered,
            counts.resent
        )?;
        writeln!(f, "refused        {:?}; other rejects {:?}", verdict.refused, counts.rejects)?;
        writeln!(
            f,
            "closes         {:?}; reconnects {}; failed {}; going_away {}; violations {:?}",
            counts.closes, counts.reconnects, counts.connects_failed, counts.going_away, counts.violations
        )?;
        writeln!(
            f,
            "sync           {} sent; {} holes noticed; {} lapses; longest without an answer {:.0} ms",
            counts.syncs,
            counts.holes,
            counts.lapses,
            ms(counts.ack_gap_us_max)
        )?;
        writeln!(
            f,
            "resumed        {} of {} cuts; at most {} attempts to reconnect in a second",
            self.resumed.count, counts.cuts, self.reconnects_per_s_max
        )?;
        for (name, latency) in [
            ("queued", &self.queued),
            ("processed", &self.processed),
            ("shown", &self.delivered),
            ("resumed", &self.resumed),
        ] {
            writeln!(
                f,
                "→ {name:<12} p50 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2} ms  ({})",
                latency.p50, latency.p99, latency.p999, latency.max, latency.count
            )?;
        }
        for example in &verdict.examples {
            writeln!(f, "! {example}")?;
        }
        write!(f, "verdict        {}", if self.is_clean { "clean" } else { "NOT CLEAN" })
    }
}
