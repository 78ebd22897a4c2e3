//! What the journal's table holds, in memory: of each shard its batches in order, and where their rows
//! lie. Built when the file is opened, kept by whoever writes it; appends are compared with it.
//!
//! Rows lie in the order in which they were appended, all shards mixed. Forgetting one shard's would
//! write nearly every page of the others', so rows go by [`Segment`]s: neighbours, once none of them
//! counts any more. Until then the file's table `trimmed` says what does not count.

use super::rows::{RowError, read_digest};
use crate::columns::{batch_id, from_i64};
use futures_util::TryStreamExt as _;
use gavel_domain::{ids::ShardId, shard::batch::BatchId};
use gavel_engine::ports::format::{Digest, Mark, Sealed};
use sqlx::{Row as _, SqliteConnection};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// A segment ends with the row that makes it this long ...
const SEGMENT_ROWS: u32 = 64;
/// ... or that makes it so many bytes.
const SEGMENT_BYTES: u64 = 64 << 10;

/// All streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    shards: HashMap<ShardId, Stream>,
    segments: Segments,
    /// Where the next row goes.
    next_place: i64,
    kept_bytes: u64,
}

/// One shard's.
#[derive(Debug, Default)]
struct Stream {
    /// Ascending.
    batches: VecDeque<Kept>,
    /// The last one's digest; the default where there is none.
    end: Digest,
}

/// A batch that counts.
#[derive(Clone, Copy, Debug)]
struct Kept {
    id: BatchId,
    place: i64,
    bytes: u32,
}

/// How a batch goes with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It comes next.
    Follows,
    /// It is the last one already.
    IsTheEnd,
    /// The stream ends otherwise.
    Mismatch,
}

/// Compares a batch with a stream's end.
pub(super) fn fit(end: Option<Mark>, batch: &Sealed) -> Fit {
    match end {
        Some(end) if end == batch.mark() => Fit::IsTheEnd,
        Some(end) if end.hash == batch.previous && end.id < batch.id => Fit::Follows,
        None if batch.previous == Digest::default() => Fit::Follows,
        _ => Fit::Mismatch,
    }
}

impl Streams {
    /// Reads the beginning of every row.
    pub(super) async fn load(conn: &mut SqliteConnection) -> Result<Self, RowError> {
        let mut streams = Self { next_place: 1, ..Self::default() };
        let forgotten: HashMap<i64, (i64, i64)> = sqlx::query_as("SELECT shard, epoch, number FROM trimmed")
            .fetch_all(&mut *conn)
            .await?
            .into_iter()
            .map(|(shard, epoch, number)| (shard, (epoch, number)))
            .collect();
        {
            let mut rows = sqlx::query("SELECT place, shard, epoch, number, length(bytes) FROM batches ORDER BY place").fetch(&mut *conn);
            while let Some(row) = rows.try_next().await? {
                let (place, shard, epoch, number) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
                let bytes = from_i64("length of a batch", row.try_get(4)?)?;
                let counts = forgotten.get(&shard).is_none_or(|up_to| (epoch, number) > *up_to);
                streams.put(place, bytes, ShardId(from_i64("shard", shard)?), counts.then_some(batch_id(epoch, number)?));
            }
        }
        for stream in streams.shards.values_mut() {
            if let Some(last) = stream.batches.back() {
                let row = sqlx::query("SELECT hash FROM batches WHERE place = ?").bind(last.place).fetch_one(&mut *conn).await?;
                stream.end = read_digest(&row, 0)?;
            }
        }
        Ok(streams)
    }

    /// Notes a row; without an id it does not count.
    fn put(&mut self, place: i64, bytes: u32, shard: ShardId, id: Option<BatchId>) {
        self.segments.put(place, bytes, id.is_some());
        self.next_place = place + 1;
        if let Some(id) = id {
            self.kept_bytes += u64::from(bytes);
            self.shards.entry(shard).or_default().batches.push_back(Kept { id, place, bytes });
        }
    }

    /// Bytes of batches that count.
    pub(super) const fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Where the next row goes.
    pub(super) const fn next_place(&self) -> i64 {
        self.next_place
    }

    /// A shard's last batch.
    pub(super) fn end(&self, shard: ShardId) -> Option<Mark> {
        let stream = self.shards.get(&shard)?;
        Some(Mark { id: stream.batches.back()?.id, hash: stream.end })
    }

    /// Notes that a batch has been appended at the next place.
    pub(super) fn add(&mut self, batch: &Sealed) {
        // SQLite's rows end below 2^31 bytes.
        self.put(self.next_place, u32::try_from(batch.bytes.len()).unwrap_or(u32::MAX), batch.shard, Some(batch.id));
        self.shards.entry(batch.shard).or_default().end = batch.hash;
    }

    /// Places of the batches after `after`, up to the one that passes so many bytes.
    pub(super) fn after(&self, shard: ShardId, after: Option<BatchId>, bytes: usize) -> Vec<i64> {
        let Some(stream) = self.shards.get(&shard) else { return Vec::new() };
        let start = stream.batches.partition_point(|kept| Some(kept.id) <= after);
        let mut taken = 0;
        let wanted = stream.batches.range(start..).take_while(|kept| {
            let more = taken < bytes;
            taken = taken.saturating_add(usize::try_from(kept.bytes).unwrap_or(usize::MAX));
            more
        });
        wanted.map(|kept| kept.place).collect()
    }

    /// The last batch that a trim up to `up_to` forgets; none: there is nothing for it to do.
    pub(super) fn last_to_forget(&self, shard: ShardId, up_to: BatchId) -> Option<BatchId> {
        let batches = &self.shards.get(&shard)?.batches;
        // Never the last one of the stream.
        let count = batches.partition_point(|kept| kept.id <= up_to).min(batches.len().saturating_sub(1));
        Some(batches[count.checked_sub(1)?].id)
    }

    /// Forgets batches, which `trimmed` says by now.
    pub(super) fn forget(&mut self, shard: ShardId, up_to: BatchId) {
        let Some(stream) = self.shards.get_mut(&shard) else { return };
        while let Some(first) = stream.batches.pop_front_if(|first| first.id <= up_to) {
            self.kept_bytes -= u64::from(first.bytes);
            self.segments.less(first.place);
        }
    }

    /// Places of the batches from `from` on, and whether that is all there is of the shard.
    pub(super) fn from(&self, shard: ShardId, from: BatchId) -> (Vec<i64>, bool) {
        let Some(stream) = self.shards.get(&shard) else { return (Vec::new(), true) };
        let start = stream.batches.partition_point(|kept| kept.id < from);
        (stream.batches.range(start..).map(|kept| kept.place).collect(), start == 0)
    }

    /// First and last places of rows that may go, about as many as asked for.
    pub(super) fn take_dead(&mut self, rows: u32) -> Vec<(i64, i64)> {
        self.segments.take_dead(rows)
    }
}

/// Rows that lie beside each other and go together.
#[derive(Debug, Default)]
struct Segment {
    last: i64,
    rows: u32,
    bytes: u64,
    /// Those that count.
    live: u32,
}

impl Segment {
    const fn is_full(&self) -> bool {
        self.rows >= SEGMENT_ROWS || self.bytes >= SEGMENT_BYTES
    }
}

/// All rows, cut into segments.
#[derive(Debug, Default)]
struct Segments {
    /// By the first place.
    all: BTreeMap<i64, Segment>,
    /// First places of those that are full and of which no row counts.
    dead: VecDeque<i64>,
}

impl Segments {
    fn put(&mut self, place: i64, bytes: u32, counts: bool) {
        let first = match self.all.last_key_value() {
            Some((first, segment)) if !segment.is_full() => *first,
            _ => place,
        };
        let segment = self.all.entry(first).or_default();
        segment.last = place;
        segment.rows += 1;
        segment.bytes += u64::from(bytes);
        segment.live += u32::from(counts);
        if segment.live == 0 && segment.is_full() {
            self.dead.push_back(first);
        }
    }

    /// The row at this place does not count any more.
    fn less(&mut self, place: i64) {
        let Some((first, segment)) = self.all.range_mut(..=place).next_back() else { return };
        segment.live -= 1;
        if segment.live == 0 && segment.is_full() {
            self.dead.push_back(*first);
        }
    }

    fn take_dead(&mut self, rows: u32) -> Vec<(i64, i64)> {
        let (mut taken, mut ranges) = (0, Vec::<(i64, i64)>::new());
        while taken < rows
            && let Some(first) = self.dead.pop_front()
        {
            if let Some(segment) = self.all.remove(&first) {
                taken += segment.rows;
                ranges.push((first, segment.last));
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gavel_domain::ids::Epoch;

    fn batch(shard: u16, number: u64, bytes: usize) -> Sealed {
        let id = BatchId { epoch: Epoch(1), number };
        let digest = |number: u64| Digest([u8::try_from(number % 251).unwrap_or(0) + 1; 32]);
        let previous = number.checked_sub(1).map(digest).unwrap_or_default();
        Sealed { shard: ShardId(shard), id, previous, hash: digest(number), bytes: vec![0; bytes].into() }
    }

    fn id(number: u64) -> BatchId {
        BatchId { epoch: Epoch(1), number }
    }

    fn filled(shards: u16, each: u64, bytes: usize) -> Streams {
        let mut streams = Streams { next_place: 1, ..Streams::default() };
        for number in 0..each {
            for shard in 0..shards {
                let batch = batch(shard, number, bytes);
                assert_eq!(fit(streams.end(batch.shard), &batch), Fit::Follows);
                streams.add(&batch);
                assert_eq!(fit(streams.end(batch.shard), &batch), Fit::IsTheEnd);
            }
        }
        streams
    }

    #[test]
    fn only_what_follows_the_end_fits() {
        let streams = filled(2, 3, 10);
        assert_eq!(fit(streams.end(ShardId(0)), &batch(0, 4, 1)), Fit::Mismatch, "another predecessor");
        assert_eq!(fit(streams.end(ShardId(0)), &batch(0, 1, 1)), Fit::Mismatch, "there, but not the last");
        let smaller = Sealed { id: id(1), ..batch(0, 3, 1) };
        assert_eq!(fit(streams.end(ShardId(0)), &smaller), Fit::Mismatch, "ids only grow");
        assert_eq!(fit(streams.end(ShardId(7)), &batch(7, 1, 1)), Fit::Mismatch, "an empty stream");
        assert_eq!(fit(streams.end(ShardId(7)), &batch(7, 0, 1)), Fit::Follows);
    }

    #[test]
    fn readers_get_what_comes_after() {
        let streams = filled(2, 5, 10);
        assert_eq!(streams.after(ShardId(1), None, usize::MAX), [2, 4, 6, 8, 10]);
        assert_eq!(streams.after(ShardId(1), Some(id(2)), usize::MAX), [8, 10]);
        assert_eq!(streams.after(ShardId(1), None, 11), [2, 4], "the one that passes the bytes is the last");
        assert_eq!(streams.after(ShardId(1), Some(id(9)), usize::MAX), Vec::<i64>::new());
        assert_eq!(streams.from(ShardId(0), id(3)), (vec![7, 9], false));
        assert_eq!(streams.from(ShardId(0), id(0)), (vec![1, 3, 5, 7, 9], true));
        assert_eq!(streams.after(ShardId(5), None, usize::MAX), Vec::<i64>::new());
    }

    #[test]
    fn rows_go_once_none_of_their_neighbours_counts() {
        let mut streams = filled(2, 100, 10);
        assert_eq!(streams.last_to_forget(ShardId(0), id(500)), Some(id(98)), "never the last one");
        streams.forget(ShardId(0), id(98));
        assert_eq!((streams.kept_bytes(), streams.take_dead(1000)), (1010, vec![]), "the other shard's lie between them");
        streams.forget(ShardId(1), id(63));
        assert_eq!(streams.take_dead(1), [(1, 64)]);
        assert_eq!(streams.take_dead(1000), [(65, 128)]);
        assert_eq!(streams.last_to_forget(ShardId(0), id(500)), None);
        assert_eq!(streams.after(ShardId(0), None, usize::MAX), [199]);
        assert_eq!(streams.after(ShardId(1), None, usize::MAX).first(), Some(&130));
    }

    #[test]
    fn long_rows_make_short_segments() {
        let mut streams = filled(1, 10, 100_000);
        streams.forget(ShardId(0), id(3));
        assert_eq!(streams.take_dead(1000), [(1, 1), (2, 2), (3, 3), (4, 4)]);
    }
}
