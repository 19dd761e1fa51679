//! The beginning and the end of a page of a history, by number.
//!
//! A page is a range of seqs that follows the page before it. It has as many seqs as the client asked for, or
//! fewer if more do not fit an answer: the next page then begins where it ended, so that every
//! message is on exactly one page. Pages of up to [`HISTORY_SIZE_SURE`] seqs always fit, and do not
//! depend on the pages before them.

use common::limits::{API_ANSWER_BYTES_MAX, HISTORY_SIZE_SURE};
use protocol::events::message::MessageView;
use protocol::ids::{ConversationId, UserId};

use super::history::HistoryPage;
use crate::store::rows::{signed, unsigned};
use crate::store::{Params, Result, Statement, Store, statement};

/// Most bytes of a message in an answer, its texts excluded.
const MESSAGE_BYTES: u64 = 600;

/// Most bytes of an answer, its messages excluded.
const AROUND_BYTES: u64 = 2 * 1024;

/// A numbered page, as the client asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    /// The number of the page, from 1.
    pub page: u32,
    /// Most seqs in a page.
    pub size: u32,
    /// True: pages are counted from the oldest message. False: from the newest.
    pub oldest_first: bool,
}

/// The beginning of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The newest seq of the conversation.
    pub head: u64,
    /// The number of seqs on the pages before it.
    pub passed: u64,
    /// The number of pages before it that have seqs.
    pub pages: u64,
}

impl Numbered {
    /// The beginning of the page, if it is known without the sizes of the pages before it.
    pub fn sure(self) -> Option<u64> {
        let passed = u64::from(self.page - 1) * u64::from(self.size);
        (self.page == 1 || self.size <= HISTORY_SIZE_SURE).then_some(passed)
    }

    /// The page's part of the history, if its beginning is sure.
    pub fn fixed(self) -> HistoryPage {
        HistoryPage::Page { page: self.page, size: self.size, from_newest: !self.oldest_first }
    }

    /// The page's part of the history, after the pages before it.
    pub fn part(self, start: Start) -> HistoryPage {
        if self.oldest_first {
            HistoryPage::After { after: start.passed, limit: self.size }
        } else {
            HistoryPage::Before { before: (start.head + 1).saturating_sub(start.passed), limit: self.size }
        }
    }

    /// The number of pages, assuming that no page after this one (with `size` seqs) is shortened.
    pub fn pages(self, start: Start, size: u64) -> u64 {
        let left = start.head.saturating_sub(start.passed + size);
        start.pages + u64::from(start.passed < start.head) + left.div_ceil(self.size.into())
    }

    /// The number of seqs that this page covers; removes the messages that it does not cover. `messages` are
    /// ordered by seq.
    pub fn fit(self, Start { head, passed, .. }: Start, messages: &mut Vec<MessageView>) -> u64 {
        let distance = |seq: u64| if self.oldest_first { seq } else { (head + 1).saturating_sub(seq) };
        let rows = messages.iter().map(|one| (distance(one.seq), written_bytes(one)));
        let mut rows: Vec<_> = rows.collect();
        rows.sort_unstable();
        let end = end_of_page(passed, self.size, &rows);
        messages.retain(|one| distance(one.seq) > passed && distance(one.seq) <= end);
        end - passed
    }
}

/// Keeps the newest messages that fit an answer; at least one.
pub(super) fn fit_newest(messages: &mut Vec<MessageView>) {
    let mut bytes = AROUND_BYTES;
    let fitting = messages.iter().rev().take_while(|one| {
        let is_first = bytes == AROUND_BYTES;
        bytes += written_bytes(one);
        is_first || bytes <= API_ANSWER_BYTES_MAX as u64
    });
    let dropped = messages.len() - fitting.count();
    messages.drain(..dropped);
}

/// The last seq of the page that begins after `start`; rows are (distance from the beginning, bytes).
fn end_of_page(start: u64, size: u32, rows: &[(u64, u64)]) -> u64 {
    let end = start + u64::from(size);
    let mut bytes = AROUND_BYTES;
    for (at, row) in rows.iter().filter(|(at, _)| *at > start && *at <= end) {
        bytes += row;
        // One message alone always fits.
        if bytes > API_ANSWER_BYTES_MAX as u64 && *at > start + 1 {
            return at - 1;
        }
    }
    end
}

/// The bytes of a message as [`SIZES`] counts them: this program and PostgreSQL write a text as JSON in the
/// same number of bytes.
fn written_bytes(message: &MessageView) -> u64 {
    let json = |text: &str| serde_json::to_string(text).map_or(text.len(), |json| json.len()) as u64;
    let attachments: u64 =
        message.attachments.iter().map(|one| 40 + json(&one.file_url) + json(&one.thumb_url)).sum();
    let names = json(&message.sender.first_name) + json(&message.sender.last_name);
    MESSAGE_BYTES + json(&message.content) + attachments + 2 * names
}

pub(super) const STATEMENTS: &[Statement] = &[SIZES];

/// The sizes of the first $4 seqs ($3: counted from the oldest, else from the newest).
const SIZES: Statement = statement(
    "history_sizes",
    "
select c.head_seq, m.distance, m.bytes
  from participants p
  join conversations c on c.id = p.conversation_id
  left join lateral (
      select case when $3 then m.seq else c.head_seq + 1 - m.seq end as distance,
             600 + octet_length(to_json(m.content)::text)
             + 2 * (octet_length(to_json(u.first_name)::text) + octet_length(to_json(u.last_name)::text))
             + coalesce((select sum(40 + octet_length((one -> 'fileUrl')::text)
                                       + octet_length((one -> 'thumbUrl')::text))
                           from jsonb_array_elements(m.attachments) one), 0) as bytes
        from messages m join users u on u.id = m.sender_id
       where m.conversation_id = $1 and m.deleted_at is null
         and m.seq > case when $3 then 0 else c.head_seq - $4 end
         and m.seq <= case when $3 then $4 else c.head_seq end
  ) m on true
 where p.conversation_id = $1 and p.user_id = $2 and p.status = 'VERIFIED' and c.deleted_at is null
 order by m.distance",
);

impl Store {
    /// The beginning of a numbered page that is not [`sure`](Numbered::sure). None: the user is not a
    /// member, or the conversation does not exist.
    ///
    /// # Errors
    /// The store has no answer.
    pub(super) async fn start_of_page(
        &self,
        user: UserId,
        conversation: ConversationId,
        asked: Numbered,
    ) -> Result<Option<Start>> {
        let looked_at = u64::from(asked.page - 1) * u64::from(asked.size);
        let params: Params<'_> = &[&conversation.0, &user.0, &asked.oldest_first, &signed(looked_at)];
        let rows = self.query(&SIZES, params).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let head = unsigned(first.get("head_seq"));
        let sizes = rows.iter().filter_map(|row| {
            let distance: Option<i64> = row.get("distance");
            Some((unsigned(distance?), unsigned(row.get("bytes"))))
        });
        let sizes: Vec<_> = sizes.collect();
        let mut start = Start { head, passed: 0, pages: 0 };
        for _ in 1..asked.page {
            start.pages += u64::from(start.passed < head);
            start.passed = end_of_page(start.passed, asked.size, &sizes);
        }
        Ok(Some(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_begins_where_the_one_before_it_ended() {
        let third = API_ANSWER_BYTES_MAX as u64 / 3;
        let rows: Vec<_> = (1..=10).map(|at| (at, if at <= 5 { third } else { 100 })).collect();
        let mut starts = vec![0];
        for _ in 0..4 {
            starts.push(end_of_page(*starts.last().unwrap(), 4, &rows));
        }
        assert_eq!(starts, [0, 2, 4, 8, 12]);
        let huge = [(1, 2 * API_ANSWER_BYTES_MAX as u64), (2, 1)];
        assert_eq!(end_of_page(0, 4, &huge), 1, "a page is never empty");
    }
}
