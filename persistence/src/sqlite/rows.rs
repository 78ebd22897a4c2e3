//! Batches as rows: the one way a `Sealed` is bound and read, for the journal and the archive.

use crate::columns::{self, BadColumn, OutOfRange, from_i64, id_numbers};
use gavel_domain::{ids::ShardId, shard::batch::BatchId};
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
    Column(#[from] BadColumn),
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
}

impl From<OutOfRange> for RowError {
    fn from(number: OutOfRange) -> Self {
        Self::Column(number.into())
    }
}

/// A query under way.
pub(super) type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

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
    Ok(columns::batch_id(row.try_get(at)?, row.try_get(at + 1)?)?)
}

/// Reads a digest.
pub(super) fn read_digest(row: &SqliteRow, at: usize) -> Result<Digest, RowError> {
    Ok(columns::digest(row.try_get(at)?)?)
}
