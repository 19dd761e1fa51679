//! The difference of two samples of the numbers. Pure, except `Sample::take`.

use tokio::time::Instant;

use crate::vitals::{Count, SECONDS, Timing, VITALS, Vitals};

/// The numbers at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    at: Instant,
    vitals: Vitals,
}

impl Sample {
    /// Takes a sample now.
    pub fn take() -> Self {
        Self { at: Instant::now(), vitals: VITALS.clone() }
    }
}

/// The time between two samples.
#[derive(Clone, Debug)]
pub struct Stretch {
    before: Sample,
    now: Sample,
}

impl Stretch {
    /// From the earlier sample to the later one.
    pub const fn new(before: Sample, now: Sample) -> Self {
        Self { before, now }
    }

    /// Its length in seconds.
    pub fn seconds(&self) -> f64 {
        self.now.at.saturating_duration_since(self.before.at).as_secs_f64()
    }

    /// The numbers at its end.
    pub const fn now(&self) -> &Vitals {
        &self.now.vitals
    }

    /// The increase of a counter.
    pub fn gained(&self, of: impl Fn(&Vitals) -> &Count) -> u64 {
        of(&self.now.vitals).get().saturating_sub(of(&self.before.vitals).get())
    }

    /// The increase of a counter per second.
    pub fn rate(&self, of: impl Fn(&Vitals) -> &Count) -> f64 {
        let seconds = self.seconds();
        if seconds > 0.0 { self.gained(of) as f64 / seconds } else { 0.0 }
    }

    /// The number of durations recorded meanwhile.
    pub fn recorded(&self, of: impl Fn(&Vitals) -> &Timing) -> u64 {
        of(&self.now.vitals).count().saturating_sub(of(&self.before.vitals).count())
    }

    /// The mean duration in seconds. None: none was recorded.
    pub fn mean(&self, of: impl Fn(&Vitals) -> &Timing) -> Option<f64> {
        let seconds = of(&self.now.vitals).seconds() - of(&self.before.vitals).seconds();
        let count = self.recorded(of);
        (count > 0).then(|| seconds / count as f64)
    }

    /// A quantile of the durations: the bound of its bucket, in seconds; beyond all bounds, the last one.
    /// None: none was recorded.
    pub fn quantile(&self, of: impl Fn(&Vitals) -> &Timing, part: f64) -> Option<f64> {
        let (now, before) = (of(&self.now.vitals).buckets(), of(&self.before.vitals).buckets());
        let gained = now.iter().zip(before).map(|(now, before)| now.saturating_sub(before));
        let wanted = part * gained.clone().sum::<u64>() as f64;
        let mut below = 0;
        for (place, more) in gained.enumerate() {
            below += more;
            if below > 0 && below as f64 >= wanted {
                return SECONDS.get(place).or(SECONDS.last()).copied();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_came_is_the_difference_of_two_samples() {
        let (vitals, at) = (Vitals::new(), Instant::now());
        let sample = |at| Sample { at, vitals: vitals.clone() };
        vitals.publishes.add(10);
        vitals.event.record(Duration::from_secs(8));
        let before = sample(at);
        vitals.publishes.add(20);
        (0..3).for_each(|_| vitals.event.record(Duration::from_millis(100)));
        vitals.event.record(Duration::from_secs(3_600));
        vitals.sockets.set(7.0);
        let stretch = Stretch::new(before, sample(at + Duration::from_secs(5)));

        assert_eq!(stretch.gained(|vitals| &vitals.publishes), 20);
        assert_eq!(stretch.rate(|vitals| &vitals.publishes), 4.0);
        assert_eq!(stretch.gained(|vitals| &vitals.set_aside), 0);
        assert_eq!((stretch.now().sockets.get(), stretch.now().lag_seconds.get()), (Some(7.0), None));
        assert_eq!((stretch.recorded(|v| &v.event), stretch.recorded(|v| &v.store)), (4, 0));
        let mean = stretch.mean(|v| &v.event).unwrap();
        assert!((mean - 900.075).abs() < 1e-6, "{mean}");
        assert_eq!(stretch.quantile(|v| &v.event, 0.5), Some(0.1));
        assert_eq!(stretch.quantile(|v| &v.event, 0.99), Some(60.0), "beyond the last bound");
        assert_eq!((stretch.mean(|v| &v.store), stretch.quantile(|v| &v.store, 0.5)), (None, None));
    }
}
