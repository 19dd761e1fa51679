//! The position in a list of conversations. Pure.
//!
//! Pages go down from the last active conversation, each from the last one listed, so a conversation that
//! moves to the top is on no later page. The next page lists it as *moved* instead, whether the
//! client has it already or not. A message that is being written while a page is read may be committed
//! with a time a little before that of the page. So the search for moved ones begins
//! [`LIST_OVERLAP_MS`] before the page, and a cursor names those of that time that the client has already.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use common::limits::{LIST_OVERLAP_MS, LIST_TOLD_MAX, PAGE_SIZE_MAX};
use protocol::Timestamp;
use protocol::ids::ConversationId;

/// A conversation, and the time of its last message.
pub type Active = (ConversationId, Timestamp);

/// A cursor of the list of conversations, opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListCursor {
    /// The time of the last message in the last conversation listed.
    pub last_at: Timestamp,
    /// The last conversation listed.
    pub last: ConversationId,
    /// Conversations that became active at this time or later are still to be listed.
    pub since: Timestamp,
    /// Exceptions from `since`: conversations already listed, each with the time of its last message then.
    pub told: BTreeMap<ConversationId, Timestamp>,
}

impl ListCursor {
    /// Parses a cursor that `Display` wrote; None: it is not valid.
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

    /// The cursor after a page of `size`, read at `now`; None: the list has ended.
    pub fn after(
        before: Option<Self>,
        page: &[Active],
        moved: &[Active],
        now: Timestamp,
        size: i64,
    ) -> Option<Self> {
        let is_full = |list: &[Active], size| i64::try_from(list.len()).is_ok_and(|rows| rows >= size);
        let moved_is_full = is_full(moved, PAGE_SIZE_MAX);
        if !is_full(page, size) && !moved_is_full {
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
        let told: BTreeMap<_, _> = told.collect();
        let mut told: Vec<_> = told.into_iter().collect();
        told.sort_unstable_by_key(|(_, at)| Reverse(*at));
        // More than can be named: the search begins later, but not behind what is still to be told.
        let unnamed = told.get(LIST_TOLD_MAX).map(|(_, at)| Timestamp(at.0 + 1));
        let since = since.max(unnamed.unwrap_or(since).min(told_last.unwrap_or(now)));
        told.truncate(LIST_TOLD_MAX);
        let told = told.into_iter().filter(|(_, at)| *at >= since).collect();
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
    use std::collections::BTreeSet;

    use super::*;

    /// A client pages through a list while conversations become active: it reads each of them, none is on two pages, and it
    /// needs about as many requests as the list has pages.
    fn walk(listed: i64, size: i64, mut active: impl FnMut(i64) -> Vec<Active>) {
        let (mut on_pages, mut heard) = (BTreeSet::new(), BTreeSet::new());
        let (mut cursor, mut times) = (None::<ListCursor>, BTreeMap::new());
        times.extend((1..=listed).map(|id| (ConversationId(id), Timestamp(1_000_000 + id))));
        for request in 1..1_000 {
            let now = Timestamp(1_001_000 + request);
            times.extend(active(request));
            let mut rows: Vec<Active> = times.iter().map(|(id, at)| (*id, *at)).collect();
            rows.sort_unstable_by_key(|(id, at)| Reverse((*at, *id)));
            let below =
                |row: &&Active| cursor.as_ref().is_none_or(|it| (row.1, row.0) < (it.last_at, it.last));
            let page: Vec<_> = rows.iter().filter(below).take(size as usize).copied().collect();
            let news = |row: &&Active| {
                cursor.as_ref().is_some_and(|it| row.1 >= it.since && it.told.get(&row.0) != Some(&row.1))
            };
            let moved: Vec<_> =
                rows.iter().rev().filter(news).take(PAGE_SIZE_MAX as usize).copied().collect();
            assert!(page.iter().all(|(id, _)| on_pages.insert(*id)), "on two pages: {listed} by {size}");
            heard.extend(page.iter().chain(&moved).map(|(id, _)| id.0));
            cursor = ListCursor::after(cursor, &page, &moved, now, size);
            let Some(cursor) = &cursor else {
                assert!(heard.into_iter().eq(1..=listed), "{listed} by {size}");
                assert!(
                    request <= listed / size + listed / PAGE_SIZE_MAX + 2,
                    "{request} requests: {listed} by {size}"
                );
                return;
            };
            assert!(cursor.told.len() <= LIST_TOLD_MAX, "{listed} by {size}");
        }
        panic!("it does not end: {listed} by {size}");
    }

    #[test]
    fn a_list_of_more_busy_conversations_than_a_cursor_names_ends() {
        for (listed, size) in [(3, 1), (199, 10), (201, 10), (1_000, 10), (1_000, 100), (400, 400)] {
            walk(listed, size, |_| Vec::new());
        }
    }

    #[test]
    fn whatever_becomes_active_while_the_list_is_read_is_heard() {
        for (listed, size) in [(40, 10), (450, 10), (450, 100)] {
            // Seven at each request, some of them again and again, from the bottom as from the top.
            walk(listed, size, |request| {
                let ids = (0..7).map(|n| (request * 31 + n * n * 17) % listed + 1);
                ids.map(|id| (ConversationId(id), Timestamp(1_001_000 + request))).collect()
            });
        }
    }

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
