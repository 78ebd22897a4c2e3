//! Batches and marks as rows.

use crate::columns::{self, BadColumn, OutOfRange, from_i64};
use gavel_domain::ids::ShardId;
use gavel_engine::ports::format::{Damage, Mark, Sealed};
use sqlx::{Row as _, postgres::PgRow};

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Column(#[from] BadColumn),
    #[error("{}", super::fault::words(.0))]
    Sqlx(#[from] sqlx::Error),
    #[error(transparent)]
    Damage(#[from] Damage),
}

impl From<OutOfRange> for ReadError {
    fn from(number: OutOfRange) -> Self {
        Self::Column(number.into())
    }
}

/// Reads epoch, number, previous, hash, bytes.
pub(super) fn read_sealed(shard: ShardId, row: &PgRow) -> Result<Sealed, ReadError> {
    Ok(Sealed {
        shard,
        id: columns::batch_id(row.try_get(0)?, row.try_get(1)?)?,
        previous: columns::digest(row.try_get(2)?)?,
        hash: columns::digest(row.try_get(3)?)?,
        bytes: row.try_get::<&[u8], _>(4)?.into(),
    })
}

/// Reads shard, epoch, number, hash.
pub(super) fn read_cursor(row: &PgRow) -> Result<(ShardId, Mark), ReadError> {
    let shard = ShardId(from_i64("shard", row.try_get::<i32, _>(0)?.into())?);
    Ok((shard, Mark { id: columns::batch_id(row.try_get(1)?, row.try_get(2)?)?, hash: columns::digest(row.try_get(3)?)? }))
}

/// A shard in a column.
pub(super) fn shard_number(shard: ShardId) -> i32 {
    shard.0.into()
}
