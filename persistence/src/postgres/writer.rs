//! The one connection that writes: locked for a transaction at a time, replaced when it fails, and what
//! is tried again. What is written is in `project.rs`.

use super::{
    fault::{Fault, silence, words},
    link::{Dialler, Isolation, query},
    months::Months,
    project::Rows,
    rows::{ReadError, read_cursor, shard_number},
};
use crate::{
    columns::{BadColumn, Misfit, OutOfRange, not_projected},
    record::RecordFormat,
};
use gavel_domain::ids::ShardId;
use gavel_engine::ports::{
    format::Mark,
    tables::{ProjectError, Projection},
};
use sqlx::{Connection as _, PgConnection};
use std::{collections::HashMap, time::Duration};
use tokio::sync::Mutex;

/// Transactions that gave way to another one (SQLSTATE 40001, 40P01).
pub const SERIALIZATION_FAILURES: &str = "gavel_pg_serialization_failures_total";

/// A transaction that gave way is tried so many times more, all of it.
const MOST_RETRIES: u32 = 3;
/// Before the first of them, about; then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Writes, and answers whether it could.
pub(super) struct Writer {
    dialler: Dialler,
    slot: Mutex<Slot>,
}

/// What the lock is on.
struct Slot {
    /// None: the last one met an error, or is in use by a caller that went away.
    conn: Option<PgConnection>,
    months: Months,
}

/// Why nothing was written, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProjectFault {
    #[error("the cursor of shard {0} has moved")]
    CursorMoved(ShardId),
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error(transparent)]
    Column(#[from] BadColumn),
    /// Before the transaction of the rows: nothing was written.
    #[error("{}", words(.0))]
    NotBegun(sqlx::Error),
    #[error("{}", words(.0))]
    Sqlx(#[from] sqlx::Error),
}

impl From<OutOfRange> for ProjectFault {
    fn from(number: OutOfRange) -> Self {
        Self::Column(number.into())
    }
}

impl ProjectFault {
    fn gave_way(&self) -> bool {
        matches!(self, Self::NotBegun(e) | Self::Sqlx(e) if Fault::of(e) == Fault::Again)
    }

    fn leaves_open_what_was_written(&self) -> bool {
        matches!(self, Self::Sqlx(e) if !Fault::of(e).certainly_nothing_written())
    }

    /// Whether the connection can't have suffered: the transaction ended as transactions do.
    fn spares_the_connection(&self) -> bool {
        self.gave_way() || matches!(self, Self::CursorMoved(_))
    }
}

impl Writer {
    pub(super) fn new(dialler: Dialler, conn: PgConnection) -> Self {
        Self { dialler, slot: Mutex::new(Slot { conn: Some(conn), months: Months::default() }) }
    }

    /// Writes projections, all or nothing.
    pub(super) async fn project(&self, format: &RecordFormat, projections: &[Projection]) -> Result<(), ProjectError> {
        if projections.is_empty() {
            return Ok(());
        }
        let told = |fault: &ProjectFault| ProjectError::Storage(not_projected(projections, fault));
        let rows = Rows::of(format, projections).map_err(|fault| told(&fault))?;
        let mut slot = self.slot.lock().await;
        let mut retries = 0;
        loop {
            let fault = match self.attempt(&mut slot, &rows).await {
                Ok(()) => return Ok(()),
                Err(ProjectFault::CursorMoved(shard)) => return Err(ProjectError::CursorMoved(shard)),
                Err(fault) => fault,
            };
            if fault.gave_way() {
                metrics::counter!(SERIALIZATION_FAILURES).increment(1);
                if retries < MOST_RETRIES {
                    tracing::debug!(%fault, retries, "a projection gave way to another transaction");
                    tokio::time::sleep(pause(retries)).await;
                    retries += 1;
                    continue;
                }
            }
            if fault.leaves_open_what_was_written() && self.is_written(&mut slot, projections).await {
                return Ok(());
            }
            return Err(told(&fault));
        }
    }

    /// A round trip that would fail if a projection would. Whoever asks wants to know now, so it does not
    /// take as long as a projection may.
    pub(super) async fn ping(&self) -> Result<(), sqlx::Error> {
        let patience = self.dialler.patience.connect + self.dialler.patience.acquire;
        tokio::time::timeout(patience, self.pinged()).await.unwrap_or_else(|_| Err(silence("an answer")))
    }

    async fn pinged(&self) -> Result<(), sqlx::Error> {
        let mut slot = self.slot.lock().await;
        loop {
            let (mut conn, used) = slot.take(&self.dialler).await?;
            match touch(&self.dialler, &mut conn).await {
                Ok(()) => {
                    slot.conn = Some(conn);
                    return Ok(());
                }
                // One that died unnoticed says nothing about the database.
                Err(_) if used => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Makes the partitions of this month and the next ones.
    pub(super) async fn look_ahead(&self) -> Result<(), sqlx::Error> {
        let mut slot = self.slot.lock().await;
        let (mut conn, _) = slot.take(&self.dialler).await?;
        self.in_time(slot.months.make(&self.dialler, &mut conn, &[])).await?;
        slot.conn = Some(conn);
        Ok(())
    }

    /// One transaction; on a new connection if the old one turns out to be gone before it began.
    async fn attempt(&self, slot: &mut Slot, rows: &Rows<'_>) -> Result<(), ProjectFault> {
        loop {
            let (mut conn, used) = slot.take(&self.dialler).await.map_err(ProjectFault::NotBegun)?;
            let written = self.in_time(rows.write(&self.dialler, &mut conn, &mut slot.months)).await;
            match &written {
                Ok(()) => slot.conn = Some(conn),
                // The rollback only waits in the driver's buffer until something is sent: until then the
                // cursors' rows would stay locked against whoever they belong to now.
                Err(fault) if fault.spares_the_connection() && self.in_time(conn.ping()).await.is_ok() => slot.conn = Some(conn),
                Err(_) => slot.months.forget(),
            }
            match written {
                // Nothing left; it died unnoticed.
                Err(ProjectFault::NotBegun(e)) if used && !Fault::of(&e).certainly_nothing_written() => {}
                written => return written,
            }
        }
    }

    /// After an error that leaves open what was written: looks, on a new connection. A commit that is
    /// still under way is not seen; the cursor then refuses the repetition.
    async fn is_written(&self, slot: &mut Slot, projections: &[Projection]) -> bool {
        match self.cursors_of(slot, projections).await {
            Ok(stand) => projections.iter().all(|projection| {
                let end = projection.batches.last().map(|batch| batch.mark());
                end.is_some() && stand.get(&projection.shard).copied() == end
            }),
            Err(error) => {
                tracing::error!(%error, "the tables can't be asked what was written");
                false
            }
        }
    }

    async fn cursors_of(&self, slot: &mut Slot, projections: &[Projection]) -> Result<HashMap<ShardId, Mark>, ReadError> {
        let (mut conn, _) = slot.take(&self.dialler).await?;
        let shards: Vec<i32> = projections.iter().map(|projection| shard_number(projection.shard)).collect();
        let stand = self.in_time(read_cursors(&self.dialler, &mut conn, &shards)).await?;
        slot.conn = Some(conn);
        Ok(stand)
    }

    /// A server that says nothing is given up.
    async fn in_time<T, E: From<sqlx::Error>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        tokio::time::timeout(self.dialler.patience.write, work).await.unwrap_or_else(|_| Err(silence("writing").into()))
    }
}

impl Slot {
    /// A connection, and whether it was used before. Whoever takes it puts it back if it is still good,
    /// so one whose caller goes away in the middle is never used again.
    async fn take(&mut self, dialler: &Dialler) -> Result<(PgConnection, bool), sqlx::Error> {
        match self.conn.take() {
            Some(conn) => Ok((conn, true)),
            None => Ok((dialler.connect().await?, false)),
        }
    }
}

async fn touch(dialler: &Dialler, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut transaction = dialler.begin_writing(conn, Isolation::ReadCommitted).await?;
    query("UPDATE gavel.meta SET writes = writes + 1").execute(&mut *transaction).await?;
    transaction.commit().await
}

async fn read_cursors(dialler: &Dialler, conn: &mut PgConnection, shards: &[i32]) -> Result<HashMap<ShardId, Mark>, ReadError> {
    let mut transaction = dialler.begin_writing(conn, Isolation::ReadCommitted).await?;
    let sql = "SELECT shard, epoch, number, hash FROM gavel.cursors WHERE shard = ANY($1)";
    let rows = query(sql).bind(shards).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    rows.iter().map(read_cursor).collect()
}

/// Half of it is chance, so that two that met don't meet again.
fn pause(retries: u32) -> Duration {
    let whole = FIRST_PAUSE * 2_u32.pow(retries);
    // Random bits; the version's are elsewhere.
    let chance = uuid::Uuid::new_v4().as_bytes()[15];
    whole / 2 + whole / 2 * u32::from(chance) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_differ() {
        for retries in 0..MOST_RETRIES {
            let whole = FIRST_PAUSE * 2_u32.pow(retries);
            let pauses: Vec<_> = (0..64).map(|_| pause(retries)).collect();
            assert!(pauses.iter().all(|pause| (whole / 2..=whole).contains(pause)), "{pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
    }
}
