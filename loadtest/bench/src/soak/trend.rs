//! Does a figure grow, or does it only go up and down? Pure.

/// A straight line through samples, by least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// The mean of all samples.
    pub mean: f64,
    /// The rise of the line from the first sample to the last.
    pub growth: f64,
    /// The standard deviation of the samples from the line.
    pub spread: f64,
}

impl Trend {
    /// Of `(seconds, figure)`; None: less than three samples, or all at one time.
    pub fn of(samples: &[(f64, f64)]) -> Option<Self> {
        let count = samples.len() as f64;
        let (first, last) = (samples.first()?.0, samples.last()?.0);
        if samples.len() < 3 || last <= first {
            return None;
        }
        let mean = samples.iter().map(|(_, figure)| figure).sum::<f64>() / count;
        let middle = samples.iter().map(|(at, _)| at).sum::<f64>() / count;
        let square: f64 = samples.iter().map(|(at, _)| (at - middle).powi(2)).sum();
        let product: f64 = samples.iter().map(|(at, figure)| (at - middle) * (figure - mean)).sum();
        let slope = product / square;
        let off = |(at, figure): &(f64, f64)| (figure - mean - slope * (at - middle)).powi(2);
        let spread = (samples.iter().map(off).sum::<f64>() / count).sqrt();
        Some(Self { mean, growth: slope * (last - first), spread })
    }

    /// Growth that is none: three times the spread, or `least` if that is more (a figure that
    /// hardly moves has no spread to compare with).
    pub fn noise(&self, least: f64) -> f64 {
        (3.0 * self.spread).max(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(figure: impl Fn(f64) -> f64) -> Trend {
        let samples: Vec<_> = (0..180).map(|at| (f64::from(at) * 5.0, figure(f64::from(at)))).collect();
        Trend::of(&samples).unwrap()
    }

    #[test]
    fn what_grows_is_told_from_what_goes_up_and_down() {
        let flat = trend(|_| 100.0);
        assert_eq!((flat.mean, flat.growth, flat.spread), (100.0, 0.0, 0.0));
        let saw = trend(|at| 100.0 + (at % 10.0));
        assert!(saw.growth.abs() < saw.noise(0.0), "{saw:?}");
        let leak = trend(|at| 100.0 + at * 0.5 + (at % 10.0));
        assert!((leak.growth - 89.5).abs() < 1.0 && leak.growth > leak.noise(1.0), "{leak:?}");
        let step = trend(|at| if at < 90.0 { 100.0 } else { 100.5 });
        assert!(step.growth < step.noise(1.0), "one page more, once: {step:?}");
    }

    #[test]
    fn too_few_samples_say_nothing() {
        assert_eq!(Trend::of(&[]), None);
        assert_eq!(Trend::of(&[(0.0, 1.0), (5.0, 2.0)]), None);
        assert_eq!(Trend::of(&[(5.0, 1.0); 4]), None);
    }
}
