//! The names of everything measured by the canary.

use metrics::{counter, gauge, histogram};

use super::line::Trouble;
use super::round::{Fault, Loss, Outcome, Pair};

/// A round began, with so many gateways reached of so many.
pub fn began(reached: usize, known: usize) {
    counter!("chatchit_canary_rounds_total").increment(1);
    gauge!("chatchit_canary_gateways", "state" => "reached").set(reached as f64);
    gauge!("chatchit_canary_gateways", "state" => "away").set(known.saturating_sub(reached) as f64);
    // Known from the beginning, so that a rate sees the first one.
    for loss in Loss::ALL {
        counter!("chatchit_canary_lost_total", "reason" => loss.label()).increment(0);
    }
}

/// A pair was judged.
pub fn judged(pair: &Pair) {
    match pair.outcome {
        Outcome::Heard(after) => {
            let path = if pair.from == pair.to { "same" } else { "across" };
            histogram!("chatchit_canary_seconds", "path" => path).record(after.as_secs_f64());
        }
        Outcome::Lost(loss) => {
            counter!("chatchit_canary_lost_total", "reason" => loss.label()).increment(1);
        }
        Outcome::Excused => counter!("chatchit_canary_excused_total").increment(1),
    }
}

/// A lost one was heard after all.
pub fn late() {
    counter!("chatchit_canary_late_total").increment(1);
}

/// Something heard was not right.
pub fn faulty(fault: Fault) {
    let fault = match fault {
        Fault::Doubled => "doubled",
        Fault::Reordered => "reordered",
    };
    counter!("chatchit_canary_faults_total", "fault" => fault).increment(1);
}

/// A gateway is not reached.
pub fn unreachable(trouble: Trouble) {
    counter!("chatchit_canary_unreachable_total", "reason" => trouble.label()).increment(1);
}

/// A name gives no address.
pub fn unnamed() {
    counter!("chatchit_canary_unreachable_total", "reason" => "name").increment(1);
}
