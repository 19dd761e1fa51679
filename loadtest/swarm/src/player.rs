//! One user as a correct client plays it: no I/O, no clock.
//!
//! It keeps what is not acknowledged and repeats it under the same guid after `busy`, after
//! silence and after a reconnect, in order; it asks with `sync` after a reconnect, when it sees
//! a hole in the seqs and when the server says that it may have lost something.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::asking::Asking;
use crate::backlog::Backlog;
use crate::evidence::{Record, View};
use crate::form::Writer;
use crate::heard::{Coming, Processed, Queued, Rejected, Synced};
use crate::plan::{Load, Plan, mix};
use crate::tally::{Progress, Tally};

/// Most conversations in one `sync`.
const SYNC_CONVERSATIONS_MAX: usize = 1_000;
/// Wait after `busy` if the server gives no time, µs.
const RETRY_US: u64 = 1_000_000;

struct Room {
    index: u32,
    id: i64,
    members: u32,
    view: View,
    backlog: Backlog,
    /// Whether the room is in `Player::touched`.
    is_touched: bool,
}

/// One user, played as a correct client.
pub struct Player {
    plan: Plan,
    rooms: Vec<Room>,
    by_id: HashMap<i64, usize>,
    records: Vec<Record>,
    /// Rooms in which a message may be ready to send.
    touched: Vec<usize>,
    /// Rooms that are held, with the time until which they are, µs.
    held: Vec<(u64, usize)>,
    unacknowledged: usize,
    tick: u64,
    connection: u32,
    is_open: bool,
    start_us: Option<u64>,
    stop_us: u64,
    next_silence_us: u64,
    last_ack_us: u64,
    sync: Asking,
    /// Whether the conductor has been told that the player is through, and that it is synced.
    told: (bool, bool),
    /// Conversations whose history has to be fetched: `sync` said `gap`.
    pub gaps: Vec<(usize, i64)>,
    progress: Arc<Progress>,
}

impl Player {
    /// A player that has not connected yet.
    pub fn new(plan: Plan, progress: Arc<Progress>) -> Self {
        let room = |&(index, id, members): &(u32, i64, u32)| Room {
            index,
            id,
            members,
            view: View::new(),
            backlog: Backlog::default(),
            is_touched: false,
        };
        let rooms: Vec<_> = plan.conversations.iter().map(room).collect();
        Self {
            by_id: rooms.iter().enumerate().map(|(at, room)| (room.id, at)).collect(),
            rooms,
            records: vec![],
            touched: vec![],
            held: vec![],
            unacknowledged: 0,
            tick: 0,
            connection: 0,
            is_open: false,
            start_us: None,
            stop_us: u64::MAX,
            next_silence_us: u64::MAX,
            last_ack_us: 0,
            sync: Asking::default(),
            told: (false, false),
            gaps: vec![],
            plan,
            progress,
        }
    }

    /// Begins to send, until `stop_us`.
    pub fn begin(&mut self, start_us: u64, stop_us: u64) {
        self.start_us = Some(start_us);
        self.stop_us = stop_us;
    }

    /// Whether all messages of the plan are sent and acknowledged.
    pub fn is_through(&self, now: u64) -> bool {
        self.start_us.is_some() && self.unacknowledged == 0 && self.next_message_us(now).is_none()
    }

    /// Asks once more what was missed; a player without conversations missed nothing.
    pub fn demand_sync(&mut self) {
        if !self.rooms.is_empty() {
            self.sync.demand();
        }
    }

    /// The seq up to which all messages were seen in a room.
    pub fn contiguous(&self, room: usize) -> u64 {
        self.rooms[room].view.contiguous
    }

    /// Whether the player sends in this run.
    pub fn is_sender(&self) -> bool {
        self.plan.load != Load::Silent
    }

    /// Whether the demanded `sync` is answered and nothing is missing.
    pub fn is_synced(&self) -> bool {
        !self.sync.is_demanded()
    }

    /// The socket is authenticated.
    pub fn on_open(&mut self) {
        self.connection += 1;
        self.is_open = true;
        self.sync.on_open(self.connection == 1);
        for at in 0..self.rooms.len() {
            self.rooms[at].view.reconnected();
            // A player missed nothing before its first connection.
            if self.connection == 1 {
                self.rooms[at].view.synced();
            }
            self.touch(at);
        }
    }

    /// The socket is gone.
    pub fn on_closed(&mut self, now: u64, tally: &mut Tally) {
        self.is_open = false;
        tally.counts.cuts += u64::from(self.sync.on_closed(now));
        for room in &mut self.rooms {
            room.backlog.disconnected();
        }
    }

    /// An event arrived.
    pub fn on_event(&mut self, name: &str, data: &str, now: u64, tally: &mut Tally) {
        self.tick += 1;
        match name {
            "messageComing" => self.on_coming(data, now, tally),
            "messageQueued" => {
                if let Ok(Queued { guid }) = serde_json::from_str(data) {
                    self.on_acknowledged(&guid, now, tally, None);
                }
            }
            "messageProcessed" => {
                if let Ok(processed) = serde_json::from_str::<Processed<'_>>(data) {
                    self.on_acknowledged(&processed.guid, now, tally, Some(&processed));
                }
            }
            "synced" => self.on_synced(data, now, tally),
            "server.lapsed" => {
                tally.counts.lapses += 1;
                self.sync.wanted = true;
            }
            "sendMessageError" | "syncError" | "exception" => self.on_rejected(name, data, now, tally),
            _ => {}
        }
    }

    fn on_coming(&mut self, data: &str, now: u64, tally: &mut Tally) {
        let Ok(coming) = serde_json::from_str::<Coming<'_>>(data) else { return };
        let Some(&at) = self.by_id.get(&coming.conversation_id) else { return };
        self.show(at, &coming, true, now, tally);
        if self.rooms[at].view.has_hole() && !self.sync.wanted && self.sync.is_idle() {
            tally.counts.holes += 1;
            self.sync.wanted = true;
        }
    }

    /// Applies a message; true when it is shown for the first time.
    fn show(&mut self, at: usize, coming: &Coming<'_>, live: bool, now: u64, tally: &mut Tally) -> bool {
        let key = self.plan.run.key(&coming.guid);
        let is_first = self.rooms[at].view.show(coming.seq, key, live);
        if is_first && key.parts().is_some() {
            self.progress.shown.fetch_add(1, Relaxed);
            tally.counts.last_shown_us = tally.counts.last_shown_us.max(now);
            if let Some(scheduled) = scheduled_us(&coming.content) {
                tally.delivered.saturating_record(now.saturating_sub(scheduled).max(1));
            }
        }
        is_first
    }

    fn on_acknowledged(
        &mut self,
        guid: &str,
        now: u64,
        tally: &mut Tally,
        processed: Option<&Processed<'_>>,
    ) {
        let Some((record, room)) = self.find(guid) else { return };
        let record = &mut self.records[record as usize];
        let is_first = record.acknowledged_tick.is_none();
        if is_first {
            record.acknowledged_tick = Some(self.tick);
            let members = u64::from(self.rooms[room].members);
            self.progress.acknowledged.fetch_add(1, Relaxed);
            self.progress.expected.fetch_add(members, Relaxed);
            tally.queued.saturating_record(now.saturating_sub(record.scheduled_us).max(1));
            let counts = &mut tally.counts;
            // Silence before the message was due is not the server's. Each sender's own: that others
            // are served is no comfort.
            let awaited_since = self.last_ack_us.max(record.scheduled_us);
            self.last_ack_us = now;
            counts.ack_gap_us_max = counts.ack_gap_us_max.max(now.saturating_sub(awaited_since));
            counts.last_ack_us = counts.last_ack_us.max(now);
        }
        if let Some(processed) = processed {
            let told = (processed.seq, processed.message_id);
            match record.processed {
                None => {
                    record.processed = Some(told);
                    self.progress.processed.fetch_add(1, Relaxed);
                    tally.processed.saturating_record(now.saturating_sub(record.scheduled_us).max(1));
                }
                Some(before) => record.contradicted |= before != told,
            }
        }
        let count = self.plan.run.key(guid).parts().map_or(0, |(_, count)| count);
        if self.rooms[room].backlog.settle(count) {
            self.unacknowledged -= 1;
            self.touch(room);
        }
    }

    fn on_rejected(&mut self, name: &str, data: &str, now: u64, tally: &mut Tally) {
        let Ok(reject) = serde_json::from_str::<Rejected<'_>>(data) else { return };
        let retry_us = reject.retry_in_ms.map_or(RETRY_US, |ms| ms * 1_000);
        let retry_at = now + retry_us + self.jitter(retry_us / 4);
        let for_now = matches!(&*reject.code, "busy" | "rate_limited");
        let event = reject.event.as_deref().unwrap_or(name);
        if matches!(event, "sync" | "syncError") {
            self.sync.refused(retry_at);
            return;
        }
        let found = reject.guid.as_deref().and_then(|guid| self.find(guid));
        let Some((count, room)) = found else {
            *tally.counts.rejects.entry(reject.code.to_string()).or_default() += 1;
            return;
        };
        let record = &mut self.records[count as usize];
        if for_now {
            if !self.rooms[room].backlog.refuse(count, retry_at) {
                return;
            }
            if &*reject.code == "busy" {
                tally.counts.busy += 1;
                let heard_after = now.saturating_sub(record.last_sent_us);
                tally.counts.busy_us_max = tally.counts.busy_us_max.max(heard_after);
            } else {
                tally.counts.rate_limited += 1;
            }
            self.held.push((retry_at, room));
        } else {
            record.refused = Some(reject.code.to_string());
            if self.rooms[room].backlog.settle(count) {
                self.unacknowledged -= 1;
                self.touch(room);
            }
        }
    }

    fn on_synced(&mut self, data: &str, now: u64, tally: &mut Tally) {
        let Ok(synced) = serde_json::from_str::<Synced<'_>>(data) else { return };
        self.sync.answered();
        for missed in &synced.missed {
            let Some(&at) = self.by_id.get(&missed.conversation_id) else { continue };
            for message in &missed.messages {
                tally.counts.synced += u64::from(self.show(at, message, false, now, tally));
            }
            // Fewer than the server announced: ask again.
            self.sync.wanted |= self.rooms[at].view.contiguous < missed.head;
        }
        for gap in &synced.gaps {
            if let Some(&at) = self.by_id.get(&gap.conversation_id) {
                self.gaps.push((at, gap.conversation_id));
            }
        }
        if self.gaps.is_empty() {
            self.after_sync(now, tally);
        }
    }

    /// The history of a conversation was fetched because of a gap.
    pub fn on_history(&mut self, at: usize, messages: &[Coming<'_>], now: u64, tally: &mut Tally) {
        for message in messages {
            tally.counts.fetched += u64::from(self.show(at, message, false, now, tally));
        }
    }

    /// All histories asked for have been applied, or could not be had.
    pub fn on_histories_end(&mut self, now: u64, tally: &mut Tally) {
        self.after_sync(now, tally);
    }

    fn after_sync(&mut self, now: u64, tally: &mut Tally) {
        if !self.sync.is_idle() {
            return;
        }
        if let Some(us) = self.sync.resumed(now) {
            tally.resumed.saturating_record(us.max(1));
        }
        if self.rooms.iter().any(|room| room.view.has_hole()) {
            // The missing messages may not have been written yet when the player asked.
            self.sync.wait_until(now + 100_000);
        } else {
            self.sync.complete();
            self.rooms.iter_mut().for_each(|room| room.view.synced());
        }
    }

    /// Writes all events that are due: new messages, repeats, `sync`.
    pub fn pump(&mut self, now: u64, writer: &mut Writer, tally: &mut Tally) {
        self.schedule(now);
        if !self.is_open {
            return;
        }
        while let Some(at) = self.held.iter().position(|(until, _)| *until <= now) {
            let (_, room) = self.held.swap_remove(at);
            self.touch(room);
        }
        self.look_for_silence(now, tally);
        while let Some(room) = self.touched.pop() {
            self.rooms[room].is_touched = false;
            while let Some(count) = self.rooms[room].backlog.next(now, self.plan.pipeline) {
                self.write_message(count, room, now, writer, tally);
            }
        }
        self.write_sync(now, writer, tally);
    }

    /// When [`Self::pump`] has something to do next, if nothing arrives before.
    pub fn next_due(&self, now: u64) -> Option<u64> {
        let message = self.next_message_us(now);
        let held = self.held.iter().map(|(until, _)| *until).min();
        let silence = (self.unacknowledged > 0).then_some(self.next_silence_us);
        [message, held, silence, self.sync.due_us()].into_iter().flatten().min()
    }

    /// Tells the conductor, once each, that everything is sent and that all is synced.
    pub fn report(&mut self, is_final: bool, now: u64) {
        if !self.told.0 && self.is_sender() && self.is_through(now) {
            self.told.0 = true;
            self.progress.through.fetch_add(1, Relaxed);
        }
        if is_final && !self.told.1 && self.is_synced() {
            self.told.1 = true;
            self.progress.synced.fetch_add(1, Relaxed);
        }
    }

    /// Returns the observations for the judge: user, records, views.
    pub fn into_evidence(self) -> (u32, Vec<Record>, Vec<(u32, View)>) {
        let views = self.rooms.into_iter().map(|room| (room.index, room.view)).collect();
        (self.plan.user, self.records, views)
    }

    fn touch(&mut self, room: usize) {
        if !self.rooms[room].is_touched {
            self.rooms[room].is_touched = true;
            self.touched.push(room);
        }
    }

    fn find(&self, guid: &str) -> Option<(u32, usize)> {
        let (user, count) = self.plan.run.key(guid).parts()?;
        let record = self.records.get(count as usize).filter(|_| user == self.plan.user)?;
        let index = record.conversation;
        // Rooms are few, and in the order of their indexes.
        let room = self.rooms.binary_search_by_key(&index, |room| room.index).ok()?;
        Some((count, room))
    }

    /// When the next message is due; None: there are no more, or the window is full.
    fn next_message_us(&self, now: u64) -> Option<u64> {
        let start = self.start_us?;
        let made = self.records.len() as u64;
        if self.rooms.is_empty() || made >= u64::from(self.plan.messages) {
            return None;
        }
        match self.plan.load {
            Load::Silent => None,
            Load::Open { interval_us, phase_us } => {
                Some(start + phase_us + made * interval_us).filter(|due| *due < self.stop_us)
            }
            Load::Flat { window } => (self.unacknowledged < window && now < self.stop_us).then_some(start),
        }
    }

    fn schedule(&mut self, now: u64) {
        while let Some(due) = self.next_message_us(now).filter(|due| *due <= now) {
            let scheduled_us = if matches!(self.plan.load, Load::Open { .. }) { due } else { now };
            let count = self.records.len() as u32;
            let room = (mix(self.plan.seed ^ u64::from(count)) % self.rooms.len() as u64) as usize;
            let conversation = self.rooms[room].index;
            self.records.push(Record { conversation, scheduled_us, ..Record::default() });
            self.rooms[room].backlog.push(count);
            self.unacknowledged += 1;
            self.touch(room);
        }
    }

    fn look_for_silence(&mut self, now: u64, tally: &mut Tally) {
        if now < self.next_silence_us && self.next_silence_us != u64::MAX {
            return;
        }
        self.next_silence_us = now + self.plan.resend_us / 4;
        let Some(before) = now.checked_sub(self.plan.resend_us) else { return };
        for at in 0..self.rooms.len() {
            let silent = self.rooms[at].backlog.give_up(before);
            if silent > 0 {
                tally.counts.unanswered += silent as u64;
                self.touch(at);
            }
        }
    }

    fn write_message(&mut self, count: u32, room: usize, now: u64, writer: &mut Writer, tally: &mut Tally) {
        self.tick += 1;
        let record = &mut self.records[count as usize];
        if record.attempts == 0 {
            record.first_sent_tick = self.tick;
            record.connection = self.connection;
        } else {
            tally.counts.resent += 1;
        }
        record.attempts += 1;
        record.last_sent_us = now;
        let (id, scheduled, bytes) = (self.rooms[room].id, record.scheduled_us, self.plan.bytes);
        let guid = self.plan.run.guid((self.plan.user, count));
        writer.event("sendMessage", |out| {
            // Writing to a String cannot fail.
            let _ = write!(
                out,
                r#"{{"conversationId":{id},"guid":"{guid}","messageType":"TEXT","content":"{scheduled:x} "#
            );
            out.extend(std::iter::repeat_n('.', bytes.saturating_sub(12)));
            out.push_str("\"}");
        });
    }

    fn write_sync(&mut self, now: u64, writer: &mut Writer, tally: &mut Tally) {
        // A player without conversations sends an empty `sync`: its answer shows that a worker is reachable again.
        let parts = self.rooms.len().div_ceil(SYNC_CONVERSATIONS_MAX).max(1);
        if !self.sync.begin(now, parts) {
            return;
        }
        for part in 0..parts {
            let rooms = self.rooms.iter().skip(part * SYNC_CONVERSATIONS_MAX).take(SYNC_CONVERSATIONS_MAX);
            tally.counts.syncs += 1;
            writer.event("sync", |out| {
                out.push_str(r#"{"conversations":{"#);
                for (at, room) in rooms.enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    let _ = write!(out, r#"{comma}"{}":{}"#, room.id, room.view.contiguous);
                }
                out.push_str("}}");
            });
        }
    }

    fn jitter(&self, bound: u64) -> u64 {
        mix(self.plan.seed ^ self.tick) % bound.max(1)
    }
}

/// When a message was due, as its sender wrote it at the start of the content.
fn scheduled_us(content: &str) -> Option<u64> {
    u64::from_str_radix(content.split(' ').next()?, 16).ok()
}
