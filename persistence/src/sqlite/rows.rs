//! Batches as rows: the one way a `Sealed` is bound and read, for the journal and the archive.

use super::fault::{OutOfRange, from_i64, to_i64};
use gavel_domain::{
    ids::{Epoch, ShardId},
    shard::batch::BatchId,
};
use gavel_engine::ports::format::{Digest, Mark, Sealed};
use sqlx::{
    Row as _, Sqlite,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

/// A row that can't be what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowError {
    #[error(transparent)]
    Number(#[from] OutOfRange),
    #[error("a digest of {0} bytes where 32 are kept")]
    Digest(usize),
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
}

/// A query under way.
pub(super) type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

/// An id in SQLite's integers.
pub(super) fn id_numbers(id: BatchId) -> Result<(i64, i64), OutOfRange> {
    Ok((to_i64("epoch", id.epoch.0)?, to_i64("batch number", id.number)?))
}

/// Where "after nothing" lies: below every id.
pub(super) fn after_numbers(after: Option<BatchId>) -> Result<(i64, i64), OutOfRange> {
    after.map_or(Ok((-1, -1)), id_numbers)
}

/// Binds shard, epoch, number, previous, hash, bytes.
pub(super) fn bind_sealed<'q>(query: Bound<'q>, batch: &Sealed) -> Result<Bound<'q>, OutOfRange> {
    let (epoch, number) = id_numbers(batch.id)?;
    Ok(query
        .bind(i64::from(batch.shard.0))
        .bind(epoch)
        .bind(number)
        .bind(batch.previous.0.to_vec())
        .bind(batch.hash.0.to_vec())
        .bind(batch.bytes.to_vec()))
}

/// Reads epoch, number, previous, hash, bytes.
pub(super) fn read_sealed(shard: ShardId, row: &SqliteRow) -> Result<Sealed, RowError> {
    Ok(Sealed {
        shard,
        id: read_id(row, 0)?,
        previous: read_digest(row, 2)?,
        hash: read_digest(row, 3)?,
        bytes: row.try_get::<&[u8], _>(4)?.into(),
    })
}

/// Reads epoch, number, hash from column `at` on.
pub(super) fn read_mark(row: &SqliteRow, at: usize) -> Result<Mark, RowError> {
    Ok(Mark { id: read_id(row, at)?, hash: read_digest(row, at + 2)? })
}

/// Reads a shard.
pub(super) fn read_shard(row: &SqliteRow, at: usize) -> Result<ShardId, RowError> {
    Ok(ShardId(from_i64("shard", row.try_get(at)?)?))
}

fn read_id(row: &SqliteRow, at: usize) -> Result<BatchId, RowError> {
    Ok(BatchId { epoch: Epoch(from_i64("epoch", row.try_get(at)?)?), number: from_i64("batch number", row.try_get(at + 1)?)? })
}

fn read_digest(row: &SqliteRow, at: usize) -> Result<Digest, RowError> {
    let bytes: &[u8] = row.try_get(at)?;
    bytes.try_into().map(Digest).map_err(|_| RowError::Digest(bytes.len()))
}
