//! The journal in `journal.db`: appends through the writer, reads beside it. Where whose batches lie is in `streams.rs`.

use super::{
    checkpoint::Checkpointer,
    job::{Job, JobError, Step},
    rows::{RowError, bind_sealed, read_sealed},
    shared::{Shared, Unread},
    streams::{Fit, Streams, fit},
    writer::{Writer, insert_statement},
};
use crate::columns::{failed, id_numbers};
use futures_util::{FutureExt as _, TryStreamExt as _, future::BoxFuture};
use gavel_domain::{ids::ShardId, shard::batch::BatchId};
use gavel_engine::ports::{
    PortFuture, StorageError,
    format::{Digest, Sealed},
    journal::{AppendError, Journal, Page},
};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection, sqlite::SqlitePool};
use std::{
    fmt::Write as _,
    pin::pin,
    sync::{Arc, atomic::Ordering},
};

/// One step of a trim removes about this many rows, which lie beside each other.
const TRIM_ROWS: u32 = 512;

/// The embedded journal.
pub(super) struct SqliteJournal {
    pub(super) writer: Writer,
    pub(super) readers: SqlitePool,
    /// Lives as long as the journal.
    pub(super) _checkpointer: Checkpointer,
}

impl Journal for SqliteJournal {
    fn append(&self, batch: Arc<Sealed>) -> PortFuture<(), AppendError> {
        let writer = self.writer.clone();
        async move { writer.append(batch).await }.boxed()
    }

    fn read(&self, shard: ShardId, page: Page) -> PortFuture<Vec<Sealed>, StorageError> {
        let (readers, shared) = (self.readers.clone(), Arc::clone(&self.writer.shared));
        async move { read(&readers, &shared, shard, page).await.map_err(|e| failed(format!("reading the journal of shard {shard}"), e)) }
            .boxed()
    }

    fn trim(&self, shard: ShardId, up_to: BatchId) -> PortFuture<(), StorageError> {
        let writer = self.writer.clone();
        let job = Trim { shard, up_to, noted: false, shared: Arc::clone(&writer.shared) };
        async move { writer.run(format!("trimming the journal of shard {shard} up to {up_to}"), job).await }.boxed()
    }

    fn extend(&self, shard: ShardId, end: Digest, batches: Vec<Sealed>) -> PortFuture<(), StorageError> {
        let writer = self.writer.clone();
        let job = Extend { shard, end, batches, shared: Arc::clone(&writer.shared) };
        async move { writer.run(format!("extending the journal of shard {shard}"), job).await }.boxed()
    }

    fn set_aside(&self, shard: ShardId, from: BatchId) -> PortFuture<(), StorageError> {
        let writer = self.writer.clone();
        let job = SetAside { shard, from, shared: Arc::clone(&writer.shared) };
        async move { writer.run(format!("setting aside batches of shard {shard} from {from} on"), job).await }.boxed()
    }

    fn kept_bytes(&self) -> u64 {
        self.writer.shared.kept_bytes()
    }

    fn ping(&self) -> PortFuture<(), StorageError> {
        let writer = self.writer.clone();
        async move { writer.run("writing to the journal".into(), Probe).await }.boxed()
    }
}

async fn read(readers: &SqlitePool, shared: &Shared, shard: ShardId, page: Page) -> Result<Vec<Sealed>, ReadError> {
    let mut missed = Vec::new();
    loop {
        let places = shared.streams(|streams| streams.after(shard, page.after, page.bytes))?;
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let mut batches = Vec::with_capacity(places.len());
        let rows = sqlx::query(
            "SELECT b.epoch, b.number, b.previous, b.hash, b.bytes FROM json_each(?) AS at CROSS JOIN batches AS b ON b.place = at.value
             WHERE b.shard = ?",
        );
        let mut rows = pin!(rows.bind(json(&places)).bind(i64::from(shard.0)).fetch(readers).map_err(RowError::Sqlx));
        while let Some(row) = rows.try_next().await? {
            batches.push(read_sealed(shard, &row)?);
        }
        if batches.len() == places.len() {
            batches.sort_unstable_by_key(|batch| batch.id);
            return Ok(batches);
        }
        // Trimmed meanwhile: what is left is read. Where nothing was, somebody else was at the file.
        if missed == places {
            return Err(ReadError::Gone(places.len() - batches.len()));
        }
        missed = places;
    }
}

/// Why a journal was not read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Row(#[from] RowError),
    #[error(transparent)]
    Unread(#[from] Unread),
    #[error("{0} of the batches that were appended are not in the file")]
    Gone(usize),
}

/// For `json_each`: a list of any length in one parameter.
fn json(places: &[i64]) -> String {
    let mut text = String::with_capacity(10 * places.len() + 2);
    for place in places {
        // Writing to a string does not fail.
        let _ = write!(text, "{}{place}", if text.is_empty() { '[' } else { ',' });
    }
    if text.is_empty() { "[]".to_owned() } else { text + "]" }
}

/// Forgets the oldest batches of a stream, and removes rows of all streams that nobody counts any more.
struct Trim {
    shard: ShardId,
    up_to: BatchId,
    /// It is written down what is forgotten.
    noted: bool,
    shared: Arc<Shared>,
}

impl Job for Trim {
    fn step<'a>(&'a mut self, conn: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Step, JobError>> {
        async move {
            if !std::mem::replace(&mut self.noted, true)
                && let Some(last) = self.shared.streams(|streams| streams.last_to_forget(self.shard, self.up_to))?
            {
                let (epoch, number) = id_numbers(last)?;
                sqlx::query("INSERT OR REPLACE INTO trimmed (shard, epoch, number) VALUES (?, ?, ?)")
                    .bind(i64::from(self.shard.0))
                    .bind(epoch)
                    .bind(number)
                    .execute(conn)
                    .await?;
                self.shared.streams(|streams| streams.forget(self.shard, last))?;
                return Ok(Step::More);
            }
            let dead = self.shared.streams(|streams| streams.take_dead(TRIM_ROWS))?;
            if dead.is_empty() {
                return Ok(Step::Done);
            }
            let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
            for (first, last) in dead {
                let delete = sqlx::query("DELETE FROM batches WHERE place BETWEEN ? AND ?").bind(first).bind(last);
                delete.execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok(Step::More)
        }
        .boxed()
    }
}

/// Puts archived batches behind a stream's end.
struct Extend {
    shard: ShardId,
    end: Digest,
    batches: Vec<Sealed>,
    shared: Arc<Shared>,
}

impl Job for Extend {
    fn step<'a>(&'a mut self, conn: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Step, JobError>> {
        async move {
            let Some(first) = self.batches.first() else { return Ok(Step::Done) };
            if first.previous != self.end || self.batches.iter().any(|batch| batch.shard != self.shard) {
                return Err(JobError::Refused(format!("batch {} does not follow the given end", first.id)));
            }
            let (mut end, place) = self.shared.streams(|streams| (streams.end(self.shard), streams.next_place()))?;
            for batch in &self.batches {
                if fit(end, batch) != Fit::Follows {
                    return Err(JobError::Refused(format!("batch {} does not follow the stream's end", batch.id)));
                }
                end = Some(batch.mark());
            }
            let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
            let insert = insert_statement(1);
            for (place, batch) in (place..).zip(&self.batches) {
                let query = sqlx::query(AssertSqlSafe(Arc::clone(&insert))).bind(place);
                bind_sealed(query, batch)?.execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            self.shared.streams(|streams| self.batches.iter().for_each(|batch| streams.add(batch)))?;
            let bytes: u64 = self.batches.iter().map(|batch| batch.bytes.len() as u64).sum();
            self.shared.log_bytes.fetch_add(bytes, Ordering::Relaxed);
            Ok(Step::Done)
        }
        .boxed()
    }
}

/// Moves the end of a stream out of it.
struct SetAside {
    shard: ShardId,
    from: BatchId,
    shared: Arc<Shared>,
}

impl Job for SetAside {
    fn step<'a>(&'a mut self, conn: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Step, JobError>> {
        async move {
            let (places, all) = self.shared.streams(|streams| streams.from(self.shard, self.from))?;
            let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
            for statement in [
                "INSERT INTO set_aside (at, shard, epoch, number, previous, hash, bytes)
                 SELECT unixepoch() * 1000, shard, epoch, number, previous, hash, bytes FROM batches
                 WHERE place IN (SELECT value FROM json_each(?)) ORDER BY place",
                "DELETE FROM batches WHERE place IN (SELECT value FROM json_each(?))",
            ] {
                sqlx::query(statement).bind(json(&places)).execute(&mut *transaction).await?;
            }
            if all {
                // The stream may begin anew, with the first of all batches: what was trimmed is no bound any more.
                for statement in ["DELETE FROM batches WHERE shard = ?", "DELETE FROM trimmed WHERE shard = ?"] {
                    sqlx::query(statement).bind(i64::from(self.shard.0)).execute(&mut *transaction).await?;
                }
            }
            transaction.commit().await?;
            // Rare, and places are taken again: so from the file.
            self.shared.set_streams(Some(Streams::load(conn).await?));
            Ok(Step::Done)
        }
        .boxed()
    }
}

/// Writes one durable row, as an append would.
struct Probe;

impl Job for Probe {
    fn step<'a>(&'a mut self, conn: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Step, JobError>> {
        async move {
            sqlx::query("UPDATE meta SET writes = writes + 1").execute(conn).await?;
            Ok(Step::Done)
        }
        .boxed()
    }
}
