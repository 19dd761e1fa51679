//! The names of everything measured by the canary.

use metrics::{counter, gauge, histogram};

use super::line::Trouble;
use super::round::{Fault, Loss, Pair, Place, RoundOutcome};

/// A round began. Of each place: whether it is reached.
pub fn began(places: impl IntoIterator<Item = (Place, bool)>) {
    counter!("chatchit_canary_rounds_total").increment(1);
    let (mut reached, mut away) = (0, 0);
    for (place, is_reached) in places {
        match place {
            Place::Gateway(_) if is_reached => reached += 1,
            Place::Gateway(_) => away += 1,
            Place::Front => gauge!("chatchit_canary_front_reached").set(f64::from(u8::from(is_reached))),
        }
    }
    gauge!("chatchit_canary_gateways", "state" => "reached").set(f64::from(reached));
    gauge!("chatchit_canary_gateways", "state" => "away").set(f64::from(away));
    // Known from the beginning, so that a rate sees the first one.
    for loss in Loss::ALL {
        counter!("chatchit_canary_lost_total", "reason" => loss.label()).increment(0);
    }
}

/// A pair was judged.
pub fn judged(pair: &Pair) {
    match pair.outcome {
        RoundOutcome::Heard(after) => {
            let path = match (pair.from, pair.to) {
                (Place::Front, _) | (_, Place::Front) => "front",
                (from, to) if from == to => "same",
                _ => "across",
            };
            histogram!("chatchit_canary_seconds", "path" => path).record(after.as_secs_f64());
        }
        RoundOutcome::Lost(loss) => {
            counter!("chatchit_canary_lost_total", "reason" => loss.label()).increment(1);
        }
        RoundOutcome::Excused => counter!("chatchit_canary_excused_total").increment(1),
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

/// A place is not reached.
pub fn unreachable(place: Place, trouble: Trouble) {
    let at = match place {
        Place::Gateway(_) => "gateway",
        Place::Front => "front",
    };
    counter!("chatchit_canary_unreachable_total", "at" => at, "reason" => trouble.label()).increment(1);
}

/// A name gives no address.
pub fn unnamed() {
    counter!("chatchit_canary_unreachable_total", "at" => "gateway", "reason" => "name").increment(1);
}
