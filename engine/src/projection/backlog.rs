//! Committed batches that the tables don't hold yet, in memory as far as they fit.
//!
//! Per shard it is an unbroken run that starts where the tables end. What doesn't fit is left out: a
//! gap, which the projector reads back from the journal. What comes after the gap is kept again as
//! far as it fits, and is the run once the tables have reached it: so a gap heals under steady load.

use crate::{
    limits,
    ports::format::{Mark, Sealed},
};
use gavel_domain::{
    ids::ShardId,
    shard::batch::{BatchId, Entry},
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
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
    /// From the cursor on, without a gap.
    batches: VecDeque<Arc<Committed>>,
    /// After `batches`, up to and including this one, batches are in the journal only.
    gap: Option<BatchId>,
    /// From the gap's end on. Empty where there is none.
    after_gap: VecDeque<Arc<Committed>>,
    /// Where the tables end.
    cursor: Option<Mark>,
    /// Where the journal ends.
    end: Option<Mark>,
    committed: u64,
    projected: u64,
    /// When what the tables lack became durable, the batches in the journal only among them.
    spans: VecDeque<Span>,
}

/// Batches that became durable at about the same time.
#[derive(Debug)]
struct Span {
    last: BatchId,
    since: Instant,
}

/// How much time one span covers: the lag is told no finer.
const SPAN: Duration = Duration::from_millis(100);

/// A shard's backlog at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Unprojected {
    pub(crate) cursor: Option<Mark>,
    pub(crate) batches: Vec<Arc<Committed>>,
    /// There are more after these, in the journal.
    pub(crate) more: bool,
}

impl Backlog {
    pub(crate) fn new(shards: u16) -> Self {
        Self { shards: (0..shards).map(|_| Mutex::default()).collect(), bytes: AtomicUsize::new(0), news: Notify::new() }
    }

    fn run(&self, shard: ShardId) -> &Mutex<Run> {
        &self.shards[usize::from(shard.0)]
    }

    /// A shard was recovered: its tables end at `cursor`, its journal at `end`. What is remembered is kept
    /// where it is all that lies between.
    pub(crate) fn reset(&self, shard: ShardId, cursor: Option<Mark>, end: Mark, remembered: Vec<Arc<Committed>>) {
        let mut run = self.run(shard).lock();
        let held = std::mem::take(&mut run.batches).into_iter().chain(std::mem::take(&mut run.after_gap));
        self.bytes.fetch_sub(bytes_of(held), Ordering::Relaxed);
        let behind = cursor != Some(end);
        run.gap = behind.then_some(end.id);
        run.cursor = cursor;
        run.end = Some(end);
        run.spans = behind.then(|| Span { last: end.id, since: Instant::now() }).into_iter().collect();
        (run.committed, run.projected) = (u64::from(behind), 0);
        let rest: VecDeque<_> = remembered.into_iter().filter(|batch| cursor.is_none_or(|cursor| batch.sealed.id > cursor.id)).collect();
        let bytes = bytes_of(rest.iter().cloned());
        if behind && bridges(&rest, cursor, end) && self.bytes.load(Ordering::Relaxed) + bytes <= limits::BACKLOG_BYTES {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            run.gap = None;
            run.committed = rest.len() as u64;
            run.batches = rest;
        }
        drop(run);
        self.news.notify_one();
    }

    /// Adds a batch that has become durable.
    pub(crate) fn push(&self, shard: ShardId, committed: Committed) {
        let bytes = committed.sealed.bytes.len();
        let mut run = self.run(shard).lock();
        run.end = Some(committed.sealed.mark());
        run.committed += 1;
        run.note_time(committed.sealed.id, committed.at);
        if self.bytes.load(Ordering::Relaxed) + bytes <= limits::BACKLOG_BYTES {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            let kept = if run.gap.is_some() { &mut run.after_gap } else { &mut run.batches };
            kept.push_back(Arc::new(committed));
        } else {
            // One gap at a time: what was kept after an earlier one becomes part of it.
            let lost = std::mem::take(&mut run.after_gap);
            self.bytes.fetch_sub(bytes_of(lost), Ordering::Relaxed);
            run.gap = Some(committed.sealed.id);
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
        let more = run.gap.is_some() || batches.len() < run.batches.len();
        Some(Unprojected { cursor: run.cursor, batches, more })
    }

    /// All that a reader of history has to add to the tables.
    pub(crate) fn unprojected(&self, shard: ShardId) -> Unprojected {
        let run = self.run(shard).lock();
        Unprojected { cursor: run.cursor, batches: run.batches.iter().cloned().collect(), more: run.gap.is_some() }
    }

    /// The tables end at `cursor` now, `batches` further.
    pub(crate) fn projected(&self, shard: ShardId, cursor: Mark, batches: u64) {
        let mut run = self.run(shard).lock();
        run.cursor = Some(cursor);
        run.projected += batches;
        if run.gap.is_some_and(|gap| gap <= cursor.id) {
            run.gap = None;
            let after_gap = std::mem::take(&mut run.after_gap);
            run.batches.extend(after_gap);
        }
        while let Some(first) = run.batches.front()
            && first.sealed.id <= cursor.id
        {
            self.bytes.fetch_sub(first.sealed.bytes.len(), Ordering::Relaxed);
            run.batches.pop_front();
        }
        while run.spans.front().is_some_and(|span| span.last <= cursor.id) {
            run.spans.pop_front();
        }
        if run.end == Some(cursor) {
            run.projected = run.committed;
        }
    }

    /// Where a shard's tables end.
    #[must_use]
    pub fn cursor(&self, shard: ShardId) -> Option<Mark> {
        self.run(shard).lock().cursor
    }

    /// Batches that the tables don't hold yet, and the age of the oldest in seconds, a tenth of a second
    /// too much at most. After a restart batches that were left behind count as one until they are read,
    /// and as old as the restart.
    #[must_use]
    pub fn lag(&self) -> (u64, f64) {
        let mut lag = (0, 0.0_f64);
        for run in &self.shards {
            let run = run.lock();
            lag.0 += run.committed.saturating_sub(run.projected);
            lag.1 = run.spans.front().map_or(lag.1, |oldest| lag.1.max(oldest.since.elapsed().as_secs_f64()));
        }
        lag
    }
}

impl Run {
    /// A batch became durable.
    fn note_time(&mut self, id: BatchId, at: Instant) {
        let full = self.spans.len() >= limits::BACKLOG_SPANS;
        match self.spans.back_mut() {
            Some(span) if full || at.saturating_duration_since(span.since) < SPAN => span.last = id,
            _ => self.spans.push_back(Span { last: id, since: at }),
        }
    }
}

/// Whether batches lead from one place to the other, none missing.
fn bridges(batches: &VecDeque<Arc<Committed>>, from: Option<Mark>, to: Mark) -> bool {
    let mut place = from.unwrap_or_default().hash;
    !batches.is_empty()
        && batches.iter().all(|batch| std::mem::replace(&mut place, batch.sealed.hash) == batch.sealed.previous)
        && place == to.hash
}

fn bytes_of(batches: impl IntoIterator<Item = Arc<Committed>>) -> usize {
    batches.into_iter().map(|batch| batch.sealed.bytes.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::format::Digest;
    use gavel_domain::ids::Epoch;

    const SHARD: ShardId = ShardId(0);

    fn id(number: u64) -> BatchId {
        BatchId { epoch: Epoch(1), number }
    }

    fn mark(number: u64) -> Mark {
        Mark { id: id(number), hash: Digest([u8::try_from(number).unwrap(); 32]) }
    }

    fn committed(number: u64, bytes: usize) -> Committed {
        let Mark { id, hash } = mark(number);
        let previous = mark(number.saturating_sub(1)).hash;
        let sealed = Sealed { shard: SHARD, id, previous, hash, bytes: vec![0; bytes].into() };
        Committed { sealed: Arc::new(sealed), entries: Vec::new(), at: Instant::now() }
    }

    fn push(backlog: &Backlog, number: u64, bytes: usize) {
        backlog.push(SHARD, committed(number, bytes));
    }

    fn next(backlog: &Backlog) -> Option<Vec<u64>> {
        Some(backlog.next(SHARD, 1000)?.batches.iter().map(|batch| batch.sealed.id.number).collect())
    }

    #[test]
    fn a_gap_heals_when_the_tables_reach_its_end() {
        let backlog = Backlog::new(1);
        backlog.reset(SHARD, None, mark(0), vec![]);
        push(&backlog, 1, 10);
        assert_eq!(next(&backlog), Some(vec![]), "batch 0 is in the journal only");
        backlog.projected(SHARD, mark(0), 1);
        push(&backlog, 2, 10);
        assert_eq!(next(&backlog), Some(vec![1, 2]), "from memory again, though something was always behind");
        assert!(!backlog.unprojected(SHARD).more);

        push(&backlog, 3, limits::BACKLOG_BYTES);
        push(&backlog, 4, 10);
        assert_eq!((next(&backlog), backlog.unprojected(SHARD).more), (Some(vec![1, 2]), true));
        backlog.projected(SHARD, mark(2), 2);
        assert_eq!(next(&backlog), Some(vec![]), "3 did not fit");
        push(&backlog, 5, limits::BACKLOG_BYTES);
        push(&backlog, 6, 10);
        backlog.projected(SHARD, mark(4), 2);
        assert_eq!(next(&backlog), Some(vec![]), "nor did 5, so 4 went too: one gap");
        backlog.projected(SHARD, mark(5), 1);
        assert_eq!((next(&backlog), backlog.unprojected(SHARD).more), (Some(vec![6]), false));
        backlog.projected(SHARD, mark(6), 1);
        assert_eq!((next(&backlog), backlog.bytes.load(Ordering::Relaxed)), (None, 0));
    }

    #[test]
    fn the_lag_is_that_of_the_oldest_batch_wherever_it_is() {
        let backlog = Backlog::new(1);
        let now = Instant::now();
        let at = |number: u64, seconds_ago: u64, bytes| {
            let mut batch = committed(number, bytes);
            batch.at = now.checked_sub(Duration::from_secs(seconds_ago)).unwrap();
            backlog.push(SHARD, batch);
        };
        at(1, 50, 10);
        at(2, 40, limits::BACKLOG_BYTES); // does not fit: in the journal only
        at(3, 30, 10);
        let lag = || backlog.lag().1;
        assert!((50.0..51.0).contains(&lag()), "{}", lag());
        backlog.projected(SHARD, mark(1), 1);
        assert!((40.0..41.0).contains(&lag()), "{}", lag());
        backlog.projected(SHARD, mark(2), 1);
        assert!((30.0..31.0).contains(&lag()), "{}", lag());
        backlog.projected(SHARD, mark(3), 1);
        assert_eq!(backlog.lag(), (0, 0.0));
    }

    #[test]
    fn a_recovered_shard_begins_anew() {
        let backlog = Backlog::new(1);
        push(&backlog, 1, 10);
        push(&backlog, 2, limits::BACKLOG_BYTES);
        push(&backlog, 3, 10);
        backlog.reset(SHARD, Some(mark(3)), mark(3), vec![]);
        assert_eq!((next(&backlog), backlog.bytes.load(Ordering::Relaxed)), (None, 0));
        assert_eq!(backlog.lag().0, 0);
    }

    #[test]
    fn what_is_remembered_is_kept_where_nothing_is_missing() {
        let backlog = Backlog::new(1);
        let remembered = |numbers: &[u64]| numbers.iter().map(|number| Arc::new(committed(*number, 10))).collect();
        backlog.reset(SHARD, Some(mark(2)), mark(5), remembered(&[1, 2, 3, 4, 5]));
        assert_eq!((next(&backlog), backlog.unprojected(SHARD).more), (Some(vec![3, 4, 5]), false));
        assert_eq!((backlog.lag().0, backlog.bytes.load(Ordering::Relaxed)), (3, 30));
        for holes in [&[4, 5][..], &[3, 5], &[3, 4], &[]] {
            backlog.reset(SHARD, Some(mark(2)), mark(5), remembered(holes));
            assert_eq!((next(&backlog), backlog.unprojected(SHARD).more), (Some(vec![]), true), "{holes:?}");
            assert_eq!(backlog.bytes.load(Ordering::Relaxed), 0);
        }
    }
}
