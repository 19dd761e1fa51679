//! The position in a list of conversations. Pure.
//!
//! Pages go down from the last active conversation, each from the last one listed, so a conversation that
//! moves to the top is on no later page. The next page lists it as *moved* instead, whether the
//! client has it already or not. A message that is being written while a page is read may be committed
//! with a time a little before that of the page. So the search for moved ones begins
//! [`LIST_OVERLAP_MS`] before the page, and a cursor names those of that time that the client has already.

use std::collections::BTreeMap;

use common::limits::{LIST_OVERLAP_MS, LIST_TOLD_MAX};
use protocol::Timestamp;
use protocol::ids::ConversationId;

/// A conversation, and the time of its last message.
pub type Active = (ConversationId, Timestamp);

/// Opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListCursor {
    /// The time of the last message in the last conversation listed.
    pub last_at: Timestamp,
    /// That conversation.
    pub last: ConversationId,
    /// Conversations that became active then or later are still to be listed.
    pub since: Timestamp,
    /// Except these, listed with this time.
    pub told: BTreeMap<ConversationId, Timestamp>,
}

impl ListCursor {
    /// Reads one that was written below.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('-').map(|text| text.parse::<i64>().ok().filter(|number| *number >= 0));
        let mut number = || numbers.next().flatten();
        let (last_at, last, since) = (Timestamp(number()?), ConversationId(number()?), Timestamp(number()?));
        let mut told = BTreeMap::new();
        while let Some(id) = numbers.next() {
            told.insert(ConversationId(id?), Timestamp(since.0.checked_add(numbers.next()??)?));
        }
        (told.len() <= LIST_TOLD_MAX).then_some(Self { last_at, last, since, told })
    }

    /// Behind a page of this size that was read at this time; None: the list has ended.
    pub fn after(
        before: Option<Self>,
        page: &[Active],
        moved: &[Active],
        now: Timestamp,
        size: usize,
    ) -> Option<Self> {
        let moved_is_full = moved.len() >= size;
        if page.len() < size && !moved_is_full {
            return None;
        }
        let last = page.last().copied();
        let (last, last_at) = last.or(before.as_ref().map(|before| (before.last, before.last_at)))?;
        let told_last = moved.iter().map(|(_, at)| *at).max().filter(|_| moved_is_full);
        let overlap = Timestamp(now.0 - LIST_OVERLAP_MS);
        // What moved is read from the oldest: when there may be more, it goes on behind these.
        let since = told_last.map_or(overlap, |told| told.min(overlap));
        let told = before.map(|before| before.told).unwrap_or_default();
        let told = told.into_iter().chain(page.iter().chain(moved).copied());
        let mut told: BTreeMap<_, _> = told.filter(|(_, at)| *at >= since).collect();
        while told.len() > LIST_TOLD_MAX {
            told.pop_first();
        }
        Some(Self { last_at, last, since, told })
    }
}

impl std::fmt::Display for ListCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { last_at, last, since, told } = self;
        write!(f, "{}-{last}-{}", last_at.0, since.0)?;
        told.iter().try_for_each(|(id, at)| write!(f, "-{id}-{}", at.0 - since.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_and_nothing_else_is_one() {
        let told = [(ConversationId(9), Timestamp(1_005)), (ConversationId(11), Timestamp(1_000))];
        let cursor = ListCursor {
            last_at: Timestamp(990),
            last: ConversationId(7),
            since: Timestamp(1_000),
            told: told.into(),
        };
        assert_eq!(cursor.to_string(), "990-7-1000-9-5-11-0");
        assert_eq!(ListCursor::parse(&cursor.to_string()), Some(cursor));
        for bad in
            ["", "7", "1-2", "1-2-", "1-2-3-4", "1-2-3-x-1", "a-b-c", "-1-2-3", "1-2-9223372036854775807-1-1"]
        {
            assert_eq!(ListCursor::parse(bad), None, "{bad}");
        }
    }
}
