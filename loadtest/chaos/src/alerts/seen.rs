//! Which faults an alert belongs to: those that lasted when it rose, not those that last when it
//! fires. A rule with minutes of patience may outlive its fault.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Faults that happened at once. The number of the first is 1; 0 is before any.
struct Group {
    faults: String,
    begun: Instant,
}

/// What has risen and fired.
pub struct Seen {
    groups: Vec<Group>,
    /// In which group each alert rose that is pending or firing.
    risen: BTreeMap<String, usize>,
    firing: BTreeSet<String>,
    /// The first time each fired: its group, and how long after its begin.
    first: BTreeMap<String, (usize, Duration)>,
}

impl Seen {
    /// Nothing has happened yet.
    pub fn new(begun: Instant) -> Self {
        let none = Group { faults: "none".to_owned(), begun };
        Self { groups: vec![none], risen: BTreeMap::new(), firing: BTreeSet::new(), first: BTreeMap::new() }
    }

    /// Faults begin; their number.
    pub fn begins(&mut self, faults: String, begun: Instant) -> usize {
        self.groups.push(Group { faults, begun });
        self.groups.len() - 1
    }

    /// Their names.
    pub fn faults(&self, group: usize) -> &str {
        &self.groups[group].faults
    }

    /// What fires now and did not before, with the faults it rose with.
    pub fn looks(
        &mut self,
        pending: &BTreeSet<String>,
        firing: BTreeSet<String>,
        now: Instant,
    ) -> Vec<(String, usize)> {
        let latest = self.groups.len() - 1;
        self.risen.retain(|name, _| pending.contains(name) || firing.contains(name));
        for name in pending.iter().chain(&firing) {
            self.risen.entry(name.clone()).or_insert(latest);
        }
        let mut new = Vec::new();
        for name in firing.difference(&self.firing) {
            let group = self.risen[name];
            let after = now.saturating_duration_since(self.groups[group].begun);
            self.first.entry(name.clone()).or_insert((group, after));
            new.push((name.clone(), group));
        }
        self.firing = firing;
        new
    }

    /// Whether it fires.
    pub fn fires(&self, alert: &str) -> bool {
        self.firing.contains(alert)
    }

    /// The first time it fired: the number of its faults, and how long after they began.
    pub fn first(&self, alert: &str) -> Option<(usize, Duration)> {
        self.first.get(alert).copied()
    }

    /// The firing alerts.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.firing.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_of_the_fault_it_rose_with() {
        let start = super::super::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        let mut seen = Seen::new(start);
        let first = seen.begins("a flood".into(), at(10));
        assert_eq!(seen.looks(&set(&["Slow"]), set(&["Wet"]), at(12)), [("Wet".to_owned(), first)]);
        let second = seen.begins("a fire".into(), at(100));
        // Slow has waited since the flood, and fires in the fire; Wet goes on.
        let new = seen.looks(&set(&[]), set(&["Slow", "Wet", "Hot"]), at(130));
        assert_eq!(new, [("Hot".to_owned(), second), ("Slow".to_owned(), first)]);
        assert_eq!(seen.first("Slow"), Some((first, Duration::from_secs(120))));
        assert_eq!(seen.first("Hot"), Some((second, Duration::from_secs(30))));
        // What has ended and rises again is the fire's.
        seen.looks(&set(&[]), set(&["Hot"]), at(140));
        assert!(!seen.fires("Wet") && seen.fires("Hot"));
        assert_eq!(seen.looks(&set(&[]), set(&["Hot", "Wet"]), at(150)), [("Wet".to_owned(), second)]);
        assert_eq!(seen.first("Wet"), Some((first, Duration::from_secs(2))));
    }
}
