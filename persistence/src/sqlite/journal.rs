//! The journal in `journal.db`: appends through the writer, reads beside it.

use super::{
    checkpoint::Checkpointer,
    rows::{RowError, bind_sealed, read_sealed},
    writer::{Job, JobError, Shared, Step, Writer, insert_statement},
};
use crate::columns::{after_numbers, failed, id_numbers};
use futures_util::{FutureExt as _, TryStreamExt as _, future::BoxFuture};
use gavel_domain::{ids::ShardId, shard::batch::BatchId};
use gavel_engine::ports::{
    PortFuture, StorageError,
    format::{Digest, Sealed},
    journal::{AppendError, Journal, Page},
};
use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection, sqlite::SqlitePool};
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// One step of a trim forgets at most this many batches ...
const TRIM_ROWS: usize = 128;
/// ... and stops after the one that passes this many bytes.
const TRIM_BYTES: u64 = 2 << 20;

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
        let readers = self.readers.clone();
        async move { read(&readers, shard, page).await.map_err(|e| failed(format!("reading the journal of shard {shard}"), e)) }.boxed()
    }

    fn trim(&self, shard: ShardId, up_to: BatchId) -> PortFuture<(), StorageError> {
        let writer = self.writer.clone();
        let job = Trim { shard, up_to, shared: Arc::clone(&writer.shared) };
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
        self.writer.shared.kept_bytes.load(Ordering::Relaxed)
    }

    fn ping(&self) -> PortFuture<(), StorageError> {
        let writer = self.writer.clone();
        async move { writer.run("writing to the journal".into(), Probe).await }.boxed()
    }
}

async fn read(readers: &SqlitePool, shard: ShardId, page: Page) -> Result<Vec<Sealed>, RowError> {
    let (epoch, number) = after_numbers(page.after)?;
    let mut conn = readers.acquire().await?;
    let mut rows = pin!(
        sqlx::query(
            "SELECT epoch, number, previous, hash, bytes FROM batches
             WHERE shard = ? AND (epoch, number) > (?, ?) ORDER BY epoch, number",
        )
        .bind(i64::from(shard.0))
        .bind(epoch)
        .bind(number)
        .fetch(&mut *conn)
    );
    let mut batches = Vec::new();
    let mut bytes = 0;
    while bytes < page.bytes
        && let Some(row) = rows.try_next().await?
    {
        let batch = read_sealed(shard, &row)?;
        bytes += batch.bytes.len();
        batches.push(batch);
        if bytes >= page.bytes {
            break;
        }
    }
    Ok(batches)
}

/// Forgets the oldest batches of a stream.
struct Trim {
    shard: ShardId,
    up_to: BatchId,
    shared: Arc<Shared>,
}

impl Job for Trim {
    fn step<'a>(&'a mut self, conn: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Step, JobError>> {
        async move {
            let shard = i64::from(self.shard.0);
            let (epoch, number) = id_numbers(self.up_to)?;
            let oldest = sqlx::query(
                "SELECT epoch, number, length(bytes) FROM batches
                 WHERE shard = ?1 AND (epoch, number) <= (?2, ?3) AND (epoch, number) <
                     (SELECT epoch, number FROM batches WHERE shard = ?1 ORDER BY epoch DESC, number DESC LIMIT 1)
                 ORDER BY epoch, number LIMIT ?4",
            )
            .bind(shard)
            .bind(epoch)
            .bind(number)
            .bind(i64::try_from(TRIM_ROWS).unwrap_or(i64::MAX))
            .fetch_all(&mut *conn)
            .await?;
            let mut last: Option<(i64, i64)> = None;
            let (mut bytes, mut rows) = (0_u64, 0_usize);
            for row in &oldest {
                last = Some((row.try_get(0)?, row.try_get(1)?));
                bytes += u64::try_from(row.try_get::<i64, _>(2)?).unwrap_or(0);
                rows += 1;
                if bytes > TRIM_BYTES {
                    break;
                }
            }
            let Some((epoch, number)) = last else { return Ok(Step::Done) };
            sqlx::query("DELETE FROM batches WHERE shard = ? AND (epoch, number) <= (?, ?)")
                .bind(shard)
                .bind(epoch)
                .bind(number)
                .execute(conn)
                .await?;
            less(&self.shared.kept_bytes, bytes);
            let all = rows == oldest.len() && oldest.len() < TRIM_ROWS;
            Ok(if all { Step::Done } else { Step::More })
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
            let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
            let insert = insert_statement(1);
            for batch in &self.batches {
                // The table's trigger compares each with the end as it is by then.
                let added = bind_sealed(sqlx::query(AssertSqlSafe(Arc::clone(&insert))), batch)?.execute(&mut *transaction).await?;
                if added.rows_affected() == 0 {
                    transaction.rollback().await?;
                    return Err(JobError::Refused(format!("batch {} does not follow the stream's end", batch.id)));
                }
            }
            transaction.commit().await?;
            let bytes: u64 = self.batches.iter().map(|batch| batch.bytes.len() as u64).sum();
            self.shared.kept_bytes.fetch_add(bytes, Ordering::Relaxed);
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
            let shard = i64::from(self.shard.0);
            let (epoch, number) = id_numbers(self.from)?;
            let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
            let bytes: i64 =
                sqlx::query_scalar("SELECT coalesce(sum(length(bytes)), 0) FROM batches WHERE shard = ? AND (epoch, number) >= (?, ?)")
                    .bind(shard)
                    .bind(epoch)
                    .bind(number)
                    .fetch_one(&mut *transaction)
                    .await?;
            for statement in [
                "INSERT INTO set_aside (at, shard, epoch, number, previous, hash, bytes)
                 SELECT unixepoch() * 1000, shard, epoch, number, previous, hash, bytes FROM batches
                 WHERE shard = ? AND (epoch, number) >= (?, ?) ORDER BY epoch, number",
                "DELETE FROM batches WHERE shard = ? AND (epoch, number) >= (?, ?)",
            ] {
                sqlx::query(statement).bind(shard).bind(epoch).bind(number).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            less(&self.shared.kept_bytes, u64::try_from(bytes).unwrap_or(0));
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

/// Subtracts, but never below zero: the counter is an account, not the truth.
fn less(counter: &AtomicU64, bytes: u64) {
    let _always = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |kept| Some(kept.saturating_sub(bytes)));
}
