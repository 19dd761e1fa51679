//! Queue groups in one process: a queue per group, from which its members take.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::super::envelope::Envelope;
use super::super::outcome::PublishError;
use super::super::subject::{Pattern, Subject};
use crate::limits::PUBLISH_WINDOW_ENVELOPES_MAX;

pub(super) struct Group {
    pub(super) name: String,
    patterns: Mutex<Vec<Pattern>>,
    jobs: Mutex<VecDeque<Job>>,
    members: AtomicUsize,
    out: AtomicUsize,
    closed: AtomicBool,
    notify: Notify,
    returned: Notify,
}

pub(super) struct Job {
    pub envelope: Envelope,
    pub reply: Option<oneshot::Sender<Bytes>>,
}

pub(in super::super) struct MemoryMember {
    group: Arc<Group>,
}

/// What a delivery needs to be acknowledged, answered or given back.
pub(in super::super) struct MemoryGroupTicket {
    group: Arc<Group>,
    job: Option<Job>,
}

impl Group {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            patterns: Mutex::default(),
            jobs: Mutex::default(),
            members: AtomicUsize::new(0),
            out: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            notify: Notify::new(),
            returned: Notify::new(),
        }
    }

    pub(super) fn wants(&self, subject: &Subject) -> bool {
        let patterns = self.patterns.lock();
        patterns.iter().any(|pattern| pattern.matches(subject))
    }

    pub(super) fn has_members(&self) -> bool {
        self.members.load(Ordering::Acquire) > 0
    }

    pub(super) fn push(&self, job: Job) -> Result<(), PublishError> {
        let mut jobs = self.jobs.lock();
        if jobs.len() >= PUBLISH_WINDOW_ENVELOPES_MAX {
            return Err(PublishError::Busy);
        }
        jobs.push_back(job);
        drop(jobs);
        self.notify.notify_one();
        Ok(())
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.notify.notify_waiters();
        self.notify.notify_one();
    }

    pub(super) async fn settled(&self) {
        loop {
            let returned = self.returned.notified();
            if self.out.load(Ordering::Acquire) == 0 {
                return;
            }
            returned.await;
        }
    }

    fn take(&self) -> Option<Job> {
        let mut jobs = self.jobs.lock();
        let job = jobs.pop_front();
        if job.is_some() {
            self.out.fetch_add(1, Ordering::AcqRel);
        }
        if !jobs.is_empty() {
            self.notify.notify_one();
        }
        job
    }

    fn give_back(&self, job: Job) {
        self.jobs.lock().push_front(job);
        self.notify.notify_one();
    }
}

impl MemoryMember {
    pub(super) fn join(group: Arc<Group>, pattern: Pattern) -> Self {
        let mut patterns = group.patterns.lock();
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
        drop(patterns);
        group.members.fetch_add(1, Ordering::AcqRel);
        group.notify.notify_one();
        Self { group }
    }

    /// Safe to cancel: nothing is taken before it is returned.
    pub(in super::super) async fn next(&mut self) -> Option<(Envelope, MemoryGroupTicket)> {
        loop {
            if self.group.closed.load(Ordering::Acquire) {
                self.group.notify.notify_one();
                return None;
            }
            if let Some(job) = self.group.take() {
                let envelope = job.envelope.clone();
                return Some((envelope, MemoryGroupTicket { group: self.group.clone(), job: Some(job) }));
            }
            self.group.notify.notified().await;
        }
    }
}

impl Drop for MemoryMember {
    fn drop(&mut self) {
        if self.group.members.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Nobody is left to answer: whoever waits for an answer learns it now.
            let mut jobs = self.group.jobs.lock();
            jobs.retain(|job| job.reply.is_none());
        }
        self.group.notify.notify_one();
    }
}

impl MemoryGroupTicket {
    pub(in super::super) fn wants_reply(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.reply.is_some())
    }

    pub(in super::super) fn finish(mut self, answer: Option<Bytes>) {
        let reply = self.job.take().and_then(|job| job.reply);
        if let (Some(reply), Some(answer)) = (reply, answer) {
            // The asker may have stopped waiting; its deadline told it so.
            let _ = reply.send(answer);
        }
    }
}

impl Drop for MemoryGroupTicket {
    fn drop(&mut self) {
        if let Some(job) = self.job.take()
            && job.reply.as_ref().is_none_or(|reply| !reply.is_closed())
        {
            self.group.give_back(job);
        }
        self.group.out.fetch_sub(1, Ordering::AcqRel);
        self.group.returned.notify_waiters();
    }
}
