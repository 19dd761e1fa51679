//! The subject of each event on the bus.

use common::bus::Subject;
use foldhash::HashMap;
use protocol::events::{ClientRow, Events, Way};

/// The subjects of events, each created once.
pub struct Subjects(HashMap<&'static str, Subject>);

impl Subjects {
    /// The subjects of these events.
    pub fn of(events: &Events) -> Self {
        let subject = |row: &ClientRow| match row.way {
            Way::Lane(lane) => Subject::on_lane(lane, row.name).ok(),
            Way::Request { subject, .. } => Subject::new(subject).ok(),
            Way::Session => None,
        };
        let known = events.rows().iter().filter_map(|row| Some((row.name, subject(row)?)));
        Self(known.collect())
    }

    /// True if events use this subject: no path of REST may lead there.
    pub fn is_of_event(&self, subject: &Subject) -> bool {
        self.0.values().any(|known| known == subject)
    }

    /// The subject of this event. None: it is not published.
    pub fn of_event(&self, row: &ClientRow) -> Option<Subject> {
        self.0.get(row.name).cloned()
    }
}
