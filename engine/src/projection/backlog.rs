//! Committed batches that the tables don't hold yet, in memory as far as they fit.
//!
//! Per shard it is an unbroken run that starts where the tables end. Once it doesn't fit, later
//! batches are left out (`broken`) until the projector has read them back from the journal.

use crate::{
    limits,
    ports::format::{Mark, Sealed},
};
use gavel_domain::{ids::ShardId, shard::batch::Entry};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};
use tokio::sync::Notify;

/// A durable batch with what is in it.
#[derive(Debug)]
pub struct Committed {
    /// As stored.
    pub sealed: Arc<Sealed>,
    /// Decoded.
    pub entries: Vec<Entry>,
    /// When it became durable.
    pub at: Instant,
}

/// The backlogs of all shards of a node.
#[derive(Debug)]
pub struct Backlog {
    shards: Vec<Mutex<Run>>,
    bytes: AtomicUsize,
    /// Something was committed.
    pub(crate) news: Notify,
}

#[derive(Debug, Default)]
struct Run {
    batches: VecDeque<Arc<Committed>>,
    /// Batches after the last of `batches` are in the journal only.
    broken: bool,
    /// Where the tables end.
    cursor: Option<Mark>,
    /// Where the journal ends.
    end: Option<Mark>,
    committed: u64,
    projected: u64,
    /// Since when the tables are behind.
    behind_since: Option<Instant>,
}

/// A shard's backlog at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Unprojected {
    pub(crate) cursor: Option<Mark>,
    pub(crate) batches: Vec<Arc<Committed>>,
    pub(crate) broken: bool,
}

impl Backlog {
    pub(crate) fn new(shards: u16) -> Self {
        Self { shards: (0..shards).map(|_| Mutex::default()).collect(), bytes: AtomicUsize::new(0), news: Notify::new() }
    }

    fn run(&self, shard: ShardId) -> &Mutex<Run> {
        &self.shards[usize::from(shard.0)]
    }

    /// A shard was recovered: its tables end at `cursor`, its journal at `end`.
    pub(crate) fn reset(&self, shard: ShardId, cursor: Option<Mark>, end: Mark) {
        let mut run = self.run(shard).lock();
        let dropped: usize = run.batches.drain(..).map(|batch| batch.sealed.bytes.len()).sum();
        self.bytes.fetch_sub(dropped, Ordering::Relaxed);
        run.broken = cursor != Some(end);
        run.cursor = cursor;
        run.end = Some(end);
        run.behind_since = run.broken.then(Instant::now);
        (run.committed, run.projected) = (u64::from(run.broken), 0);
        drop(run);
        self.news.notify_one();
    }

    /// Adds a batch that has become durable.
    pub(crate) fn push(&self, shard: ShardId, committed: Committed) {
        let bytes = committed.sealed.bytes.len();
        let mut run = self.run(shard).lock();
        run.end = Some(committed.sealed.mark());
        run.committed += 1;
        run.behind_since.get_or_insert(committed.at);
        if !run.broken && self.bytes.load(Ordering::Relaxed) + bytes <= limits::BACKLOG_BYTES {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            run.batches.push_back(Arc::new(committed));
        } else {
            run.broken = true;
        }
        drop(run);
        self.news.notify_one();
    }

    /// What the projector should write next, about so many events; none where the shard's tables are
    /// up to date.
    pub(crate) fn next(&self, shard: ShardId, events: usize) -> Option<Unprojected> {
        let run = self.run(shard).lock();
        if run.cursor == run.end {
            return None;
        }
        let mut left = events;
        let mut batches = Vec::new();
        for batch in &run.batches {
            if !batches.is_empty() && batch.entries.len() > left {
                break;
            }
            left = left.saturating_sub(batch.entries.len());
            batches.push(Arc::clone(batch));
        }
        Some(Unprojected { cursor: run.cursor, batches, broken: run.broken })
    }

    /// All that a reader of history has to add to the tables.
    pub(crate) fn unprojected(&self, shard: ShardId) -> Unprojected {
        let run = self.run(shard).lock();
        Unprojected { cursor: run.cursor, batches: run.batches.iter().cloned().collect(), broken: run.broken }
    }

    /// The tables end at `cursor` now, `batches` further.
    pub(crate) fn projected(&self, shard: ShardId, cursor: Mark, batches: u64) {
        let mut run = self.run(shard).lock();
        run.cursor = Some(cursor);
        run.projected += batches;
        while let Some(first) = run.batches.front()
            && first.sealed.id <= cursor.id
        {
            self.bytes.fetch_sub(first.sealed.bytes.len(), Ordering::Relaxed);
            run.batches.pop_front();
        }
        // Of what is left in memory the oldest is known; what is in the journal only is about as old
        // as the last that was projected.
        run.behind_since = run.batches.front().map(|batch| batch.at).or(run.behind_since);
        if run.end == Some(cursor) {
            run.broken = false;
            run.behind_since = None;
            run.projected = run.committed;
        }
    }

    /// Where a shard's tables end.
    #[must_use]
    pub fn cursor(&self, shard: ShardId) -> Option<Mark> {
        self.run(shard).lock().cursor
    }

    /// Batches that the tables don't hold yet, and the age of the oldest in seconds. After a restart
    /// batches that were left behind count as one until they are read.
    #[must_use]
    pub fn lag(&self) -> (u64, f64) {
        let mut lag = (0, 0.0_f64);
        for run in &self.shards {
            let run = run.lock();
            lag.0 += run.committed.saturating_sub(run.projected);
            lag.1 = run.behind_since.map_or(lag.1, |since| lag.1.max(since.elapsed().as_secs_f64()));
        }
        lag
    }
}
