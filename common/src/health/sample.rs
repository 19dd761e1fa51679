//! Numbers out of the text that Prometheus reads: the one place where all of them are together.
//! Pure.

use std::collections::HashMap;

use tokio::time::Instant;

/// All values at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    at: Instant,
    /// By name, then by labels as they are written.
    values: HashMap<String, Vec<(String, f64)>>,
}

impl Sample {
    /// Reads the text.
    pub fn read(text: &str, at: Instant) -> Self {
        let mut values: HashMap<String, Vec<(String, f64)>> = HashMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            values.entry(name.to_owned()).or_default().push((labels.trim_end_matches('}').to_owned(), value));
        }
        Self { at, values }
    }

    /// The values of a metric whose labels say all of `labels` (`lane="high"`).
    fn of<'a>(&'a self, name: &str, labels: &'a [&str]) -> impl Iterator<Item = f64> + 'a {
        let series = self.values.get(name).into_iter().flatten();
        let wanted = series.filter(move |(found, _)| labels.iter().all(|label| found.contains(label)));
        wanted.map(|(_, value)| *value)
    }
}

/// The changes between two samples, and the values of the later one.
#[derive(Clone, Debug)]
pub struct Stretch {
    before: Sample,
    now: Sample,
}

impl Stretch {
    /// From one sample to the next.
    pub fn new(before: Sample, now: Sample) -> Self {
        Self { before, now }
    }

    /// The length of the stretch.
    pub fn seconds(&self) -> f64 {
        self.now.at.saturating_duration_since(self.before.at).as_secs_f64()
    }

    /// The current value. None: this program does not measure it.
    pub fn now(&self, name: &str, labels: &[&str]) -> Option<f64> {
        self.now.of(name, labels).reduce(|sum, value| sum + value)
    }

    /// How much came in this stretch.
    pub fn gained(&self, name: &str, labels: &[&str]) -> f64 {
        let sum = |sample: &Sample| sample.of(name, labels).sum::<f64>();
        (sum(&self.now) - sum(&self.before)).max(0.0)
    }

    /// How much came per second.
    pub fn rate(&self, name: &str, labels: &[&str]) -> f64 {
        let seconds = self.seconds();
        if seconds > 0.0 { self.gained(name, labels) / seconds } else { 0.0 }
    }

    /// Of a histogram: how much came.
    pub fn recorded(&self, name: &str) -> f64 {
        self.gained(&format!("{name}_count"), &[])
    }

    /// Of a histogram: the mean of what came. None: nothing came.
    pub fn mean(&self, name: &str) -> Option<f64> {
        let count = self.recorded(name);
        (count > 0.0).then(|| self.gained(&format!("{name}_sum"), &[]) / count)
    }

    /// Of a histogram: the bound of the bucket in which the quantile of what came lies; for what
    /// is beyond all buckets, the last bound. None: nothing came.
    pub fn quantile(&self, name: &str, labels: &[&str], quantile: f64) -> Option<f64> {
        let name = format!("{name}_bucket");
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (sample, sign) in [(&self.now, 1.0), (&self.before, -1.0)] {
            for (found, value) in sample.values.get(&name).into_iter().flatten() {
                let bound = found.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
                let Some(bound) = bound.and_then(|bound| bound.parse().ok()) else { continue };
                if !labels.iter().all(|label| found.contains(label)) {
                    continue;
                }
                match buckets.iter_mut().find(|(known, _)| *known == bound) {
                    Some((_, count)) => *count += sign * value,
                    None => buckets.push((bound, sign * value)),
                }
            }
        }
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let (_, all) = *buckets.last()?;
        let (bound, _) = *buckets.iter().find(|(_, count)| all > 0.0 && *count >= all * quantile)?;
        let last = buckets.iter().rev().map(|(bound, _)| *bound).find(|bound| bound.is_finite());
        Some(if bound.is_finite() { bound } else { last? })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BEFORE: &str = "
# TYPE a_total counter
a_total{lane=\"high\",result=\"ok\"} 10
b_seconds_bucket{le=\"0.1\"} 0
b_seconds_bucket{le=\"+Inf\"} 2
b_seconds_sum 8
b_seconds_count 2
";

    const NOW: &str = "
a_total{lane=\"high\",result=\"ok\"} 25
a_total{lane=\"low\",result=\"ok\"} 5
b_seconds_bucket{le=\"0.1\"} 3
b_seconds_bucket{le=\"0.5\"} 3
b_seconds_bucket{le=\"+Inf\"} 6
b_seconds_sum 12
b_seconds_count 6
c 7
d NaN
";

    #[test]
    fn what_came_is_the_difference_of_two_samples() {
        let at = Instant::now();
        let stretch = Stretch::new(Sample::read(BEFORE, at), Sample::read(NOW, at + Duration::from_secs(5)));
        assert_eq!(stretch.gained("a_total", &[]), 20.0);
        assert_eq!(stretch.rate("a_total", &["lane=\"high\"", "result=\"ok\""]), 3.0);
        assert_eq!(stretch.gained("nothing_total", &[]), 0.0);
        assert_eq!((stretch.now("c", &[]), stretch.now("nothing", &[])), (Some(7.0), None));
        assert_eq!(stretch.mean("b_seconds"), Some(1.0));
        assert_eq!(stretch.quantile("b_seconds", &[], 0.5), Some(0.1));
        assert_eq!(stretch.quantile("b_seconds", &[], 0.99), Some(0.5), "beyond the last bound");
        assert_eq!(stretch.quantile("nothing", &[], 0.5), None);
    }
}
