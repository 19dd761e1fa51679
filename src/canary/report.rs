//! What `chatchit canary --once` prints.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use serde_json::{Value, json};

use super::round::{Pair, RoundOutcome};
use super::watch::Report;

impl Report {
    /// Every pair was heard, and every gateway reached.
    pub fn is_good(&self) -> bool {
        let all_heard = self.pairs.iter().all(|pair| matches!(pair.outcome, RoundOutcome::Heard(_)));
        all_heard && self.away.is_empty() && !self.pairs.is_empty()
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let pairs: Vec<Value> = self.pairs.iter().map(pair).collect();
        let away: BTreeMap<&str, &str> =
            self.away.iter().map(|(place, why)| (place.as_str(), why.as_str())).collect();
        json!({ "good": self.is_good(), "pairs": pairs, "unreachable": away })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut rows = vec![["FROM", "TO", "SECONDS", "GUID"].map(str::to_owned)];
        for pair in &self.pairs {
            let seconds = match pair.outcome {
                RoundOutcome::Heard(after) => format!("{:.3}", after.as_secs_f64()),
                RoundOutcome::Lost(loss) => format!("lost: {}", loss.label()),
                RoundOutcome::Excused => "away".to_owned(),
            };
            rows.push([pair.from.to_string(), pair.to.to_string(), seconds, pair.guid.clone()]);
        }
        let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
        let mut text = crate::tool::print::table(&rows);
        for (place, why) in &self.away {
            text += &format!("\nnot reached: {place}: {why}");
        }
        text
    }

    /// To standard output.
    pub fn print(&self, as_json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if as_json {
            writeln!(out, "{}", self.json())?
        } else {
            writeln!(out, "{}", self.text())?
        }
        out.flush()
    }
}

fn pair(pair: &Pair) -> Value {
    let (seconds, lost) = match pair.outcome {
        RoundOutcome::Heard(after) => (Some(after.as_secs_f64()), None),
        RoundOutcome::Lost(loss) => (None, Some(loss.label())),
        RoundOutcome::Excused => (None, Some("away")),
    };
    json!({
        "from": pair.from.to_string(), "to": pair.to.to_string(), "guid": pair.guid,
        "seconds": seconds, "lost": lost,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::round::{Loss, Place};
    use super::*;

    #[test]
    fn only_what_was_all_heard_is_good() {
        let pair = |outcome| Pair {
            from: Place::Gateway(([127, 0, 0, 1], 1).into()),
            to: Place::Front,
            guid: "g".to_owned(),
            outcome,
        };
        let report = |outcomes: &[RoundOutcome], away: &[&str]| Report {
            pairs: outcomes.iter().map(|&outcome| pair(outcome)).collect(),
            away: away.iter().map(|one| ((*one).to_owned(), "gone".to_owned())).collect(),
        };
        let heard = RoundOutcome::Heard(Duration::from_millis(12));
        assert!(report(&[heard, heard], &[]).is_good());
        for bad in [
            report(&[], &[]),
            report(&[heard], &["a:1"]),
            report(&[heard, RoundOutcome::Lost(Loss::Unheard)], &[]),
            report(&[heard, RoundOutcome::Excused], &[]),
        ] {
            assert!(!bad.is_good());
            assert_eq!(bad.json()["good"], false);
        }
        let text = report(&[heard, RoundOutcome::Lost(Loss::Unheard)], &["a:1"]).text();
        assert!(text.contains("127.0.0.1:1  front  0.012          g"), "{text}");
        assert!(text.contains("lost: unheard") && text.contains("not reached: a:1: gone"), "{text}");
    }
}
