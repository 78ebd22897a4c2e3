//! The tables in `tables.db`, read side: lots, bids, events, receipts, the archive.
//!
//! Writing them is in `project.rs`; what the columns are, in `migrations/sqlite/tables`.

use super::{
    audit,
    connect::Place,
    ledger, project,
    rows::{RowError, read_mark, read_sealed, read_shard},
};
use crate::{
    columns::{self, BadColumn, BidRow, after_numbers, failed, id_numbers, limit_number, status_text},
    record::RecordFormat,
};
use futures_util::FutureExt as _;
use gavel_domain::{
    event::Recorded,
    ids::{BidId, BidderId, LotId, Seq, ShardId},
    lot::view::{LotView, Own},
    receipt::Receipt,
    shard::batch::BatchId,
    wallet::event::WalletRecorded,
};
use gavel_engine::ports::{
    PortFuture, StorageError,
    audit::{AuditError, AuditPage, AuditRow},
    format::{Damage, Format as _, Mark, Sealed},
    tables::{LotsPage, ProjectError, Projection, Tables},
};
use sqlx::{
    Connection as _, Row as _, SqliteConnection,
    sqlite::{SqlitePool, SqliteRow},
};
use std::sync::Arc;
use tokio::sync::Mutex;

/// The lower half of a row's place is the event's number, the upper one the lot's key.
pub(super) const SEQ_BITS: u32 = 32;
/// The highest number an event of these tables can have.
pub(super) const MOST_SEQ: i64 = (1 << SEQ_BITS) - 1;

/// What [`read_bid`] reads.
macro_rules! select_bids {
    ($rest:literal) => {
        concat!(
            "SELECT place & 4294967295, epoch, at, bidder, bid_id, amount, max, price, leader, bid_count, minimum_bid,
             reserve_met, deadline, closes_at FROM bids ",
            $rest
        )
    };
}

const BIDS_AFTER: &str = select_bids!("WHERE place > ? AND place <= ? ORDER BY place LIMIT ?");
const BID_NAMED: &str =
    select_bids!("WHERE lot = (SELECT key FROM lots WHERE id = ?) AND finger = ? AND bidder = ? AND bid_id = ? LIMIT 1");

/// The embedded tables.
pub(super) struct SqliteTables {
    place: Place,
    /// The one connection that writes, locked for a transaction at a time.
    writer: Arc<Mutex<Writing>>,
    readers: SqlitePool,
    format: Arc<RecordFormat>,
}

/// Who may write.
pub(super) enum Writing {
    /// This connection.
    Open(SqliteConnection),
    /// Nobody until a new connection is made: the last one met an error.
    Lost,
    /// Nobody any more.
    Closed,
}

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Row(#[from] RowError),
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
    #[error(transparent)]
    Damage(#[from] Damage),
    #[error(transparent)]
    Column(#[from] BadColumn),
}

impl SqliteTables {
    pub(super) fn new(place: Place, conn: SqliteConnection, format: Arc<RecordFormat>) -> Self {
        let readers = place.readers();
        Self { place, writer: Arc::new(Mutex::new(Writing::Open(conn))), readers, format }
    }

    /// Moves the log into the file; nothing is written any more.
    pub(super) async fn close(&self) -> Result<(), StorageError> {
        self.readers.close().await;
        let Writing::Open(mut conn) = std::mem::replace(&mut *self.writer.lock().await, Writing::Closed) else { return Ok(()) };
        let closing = async {
            sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut conn).await?;
            conn.close().await
        };
        closing.await.map_err(|e| failed("closing the tables", e))
    }
}

impl Tables for SqliteTables {
    fn project(&self, projections: Vec<Projection>) -> PortFuture<(), ProjectError> {
        let (writer, place, format) = (Arc::clone(&self.writer), self.place.clone(), Arc::clone(&self.format));
        async move { project::project(&mut *writer.lock().await, &place, &format, &projections).await }.boxed()
    }

    fn ledger(
        &self,
        bidder: BidderId,
        currency: Option<Arc<str>>,
        after: Seq,
        limit: usize,
    ) -> PortFuture<Vec<WalletRecorded>, StorageError> {
        let readers = self.readers.clone();
        let reading = async move { ledger::read(&readers, &bidder, currency, after, limit).await };
        reading.map(|read| read.map_err(|e| failed("reading the ledger", e))).boxed()
    }

    fn cursors(&self) -> PortFuture<Vec<(ShardId, Mark)>, StorageError> {
        let readers = self.readers.clone();
        async move { cursors(&readers).await.map_err(|e| failed("reading the cursors", e)) }.boxed()
    }

    fn archived(&self, shard: ShardId, after: Option<BatchId>, limit: usize) -> PortFuture<Vec<Sealed>, StorageError> {
        let readers = self.readers.clone();
        async move { archived(&readers, shard, after, limit).await.map_err(|e| failed(format!("reading the archive of shard {shard}"), e)) }
            .boxed()
    }

    fn archived_batch(&self, shard: ShardId, id: BatchId) -> PortFuture<Option<Sealed>, StorageError> {
        let readers = self.readers.clone();
        async move {
            archived_batch(&readers, shard, id).await.map_err(|e| failed(format!("reading archived batch {id} of shard {shard}"), e))
        }
        .boxed()
    }

    fn lot(&self, lot: LotId) -> PortFuture<Option<LotView>, StorageError> {
        let (readers, format) = (self.readers.clone(), Arc::clone(&self.format));
        async move { read_lot(&readers, &format, lot).await.map_err(|e| failed(format!("reading lot {lot}"), e)) }.boxed()
    }

    fn lots(&self, page: LotsPage) -> PortFuture<Vec<LotView>, StorageError> {
        let (readers, format) = (self.readers.clone(), Arc::clone(&self.format));
        async move { lots(&readers, &format, page).await.map_err(|e| failed("listing lots", e)) }.boxed()
    }

    fn events(&self, lot: LotId, after: Seq, limit: usize) -> PortFuture<Vec<Recorded>, StorageError> {
        let (readers, format) = (self.readers.clone(), Arc::clone(&self.format));
        async move { history(&readers, Some(&format), lot, after, limit).await.map_err(|e| failed(format!("reading events of lot {lot}"), e)) }
            .boxed()
    }

    fn bids(&self, lot: LotId, after: Seq, limit: usize) -> PortFuture<Vec<Recorded>, StorageError> {
        let readers = self.readers.clone();
        async move { history(&readers, None, lot, after, limit).await.map_err(|e| failed(format!("reading bids of lot {lot}"), e)) }.boxed()
    }

    fn bid(&self, lot: LotId, bidder: BidderId, id: BidId) -> PortFuture<Option<Receipt>, StorageError> {
        let readers = self.readers.clone();
        async move { bid(&readers, lot, &bidder, id).await.map_err(|e| failed(format!("looking up bid {id} on lot {lot}"), e)) }.boxed()
    }

    fn own(&self, lot: LotId, bidder: BidderId) -> PortFuture<Option<Own>, StorageError> {
        let readers = self.readers.clone();
        async move { own(&readers, lot, &bidder).await.map_err(|e| failed(format!("reading {bidder}'s standing on lot {lot}"), e)) }.boxed()
    }

    fn audit(&self, page: AuditPage) -> PortFuture<Vec<AuditRow>, StorageError> {
        let readers = self.readers.clone();
        async move { audit::read(&readers, page).await.map_err(|e| failed("reading the audit trail", e)) }.boxed()
    }

    fn check_audit(&self) -> PortFuture<u64, AuditError> {
        let readers = self.readers.clone();
        async move {
            let mut conn = readers.acquire().await.map_err(|e| failed("checking the audit trail", e))?;
            audit::check(&mut conn).await
        }
        .boxed()
    }

    fn ping(&self) -> PortFuture<(), StorageError> {
        let (writer, place) = (Arc::clone(&self.writer), self.place.clone());
        async move {
            let mut writing = writer.lock().await;
            let probe = async { sqlx::query("UPDATE meta SET writes = writes + 1").execute(writing.conn(&place).await?).await };
            probe.await.map(drop).map_err(|e| failed("writing to the tables", e))
        }
        .boxed()
    }
}

impl Writing {
    /// The connection; a new one if the last was lost.
    pub(super) async fn conn(&mut self, place: &Place) -> Result<&mut SqliteConnection, sqlx::Error> {
        if matches!(self, Self::Lost) {
            *self = Self::Open(place.writer().await?);
        }
        match self {
            Self::Open(conn) => Ok(conn),
            Self::Lost | Self::Closed => Err(sqlx::Error::PoolClosed),
        }
    }
}

async fn cursors(readers: &SqlitePool) -> Result<Vec<(ShardId, Mark)>, RowError> {
    let rows = sqlx::query("SELECT shard, epoch, number, hash FROM cursors ORDER BY shard").fetch_all(readers).await?;
    rows.iter().map(|row| Ok((read_shard(row, 0)?, read_mark(row, 1)?))).collect()
}

async fn archived(readers: &SqlitePool, shard: ShardId, after: Option<BatchId>, limit: usize) -> Result<Vec<Sealed>, RowError> {
    let (epoch, number) = after_numbers(after)?;
    let rows = sqlx::query(
        "SELECT epoch, number, previous, hash, bytes FROM archive
         WHERE shard = ? AND (epoch, number) > (?, ?) ORDER BY epoch, number LIMIT ?",
    )
    .bind(i64::from(shard.0))
    .bind(epoch)
    .bind(number)
    .bind(limit_number(limit))
    .fetch_all(readers)
    .await?;
    rows.iter().map(|row| read_sealed(shard, row)).collect()
}

async fn archived_batch(readers: &SqlitePool, shard: ShardId, id: BatchId) -> Result<Option<Sealed>, RowError> {
    let (epoch, number) = id_numbers(id)?;
    let row = sqlx::query("SELECT epoch, number, previous, hash, bytes FROM archive WHERE shard = ? AND epoch = ? AND number = ?")
        .bind(i64::from(shard.0))
        .bind(epoch)
        .bind(number)
        .fetch_optional(readers)
        .await?;
    row.map(|row| read_sealed(shard, &row)).transpose()
}

async fn read_lot(readers: &SqlitePool, format: &RecordFormat, lot: LotId) -> Result<Option<LotView>, ReadError> {
    let row = sqlx::query("SELECT view FROM lots WHERE id = ?").bind(lot_id(lot)).fetch_optional(readers).await?;
    row.map(|row| Ok(format.decode_view(row.try_get(0)?)?)).transpose()
}

async fn lots(readers: &SqlitePool, format: &RecordFormat, page: LotsPage) -> Result<Vec<LotView>, ReadError> {
    let (created_at, id) = page.after.map_or((i64::MIN, Vec::new()), |(at, lot)| (at.as_millis(), lot_id(lot)));
    // Two statements, so that each has its index.
    let query = match page.status {
        None => sqlx::query("SELECT view FROM lots WHERE (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?"),
        Some(status) => sqlx::query("SELECT view FROM lots WHERE status = ? AND (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?")
            .bind(status_text(status)),
    };
    let rows = query.bind(created_at).bind(id).bind(limit_number(page.limit)).fetch_all(readers).await?;
    rows.iter().map(|row| Ok(format.decode_view(row.try_get(0)?)?)).collect()
}

/// Bids, and with a format the other events too, in order.
async fn history(
    readers: &SqlitePool,
    others: Option<&RecordFormat>,
    lot: LotId,
    after: Seq,
    limit: usize,
) -> Result<Vec<Recorded>, ReadError> {
    // One transaction: both tables as of the same projection.
    let mut transaction = readers.begin().await?;
    let key: Option<i64> =
        sqlx::query_scalar("SELECT key FROM lots WHERE id = ?").bind(lot_id(lot)).fetch_optional(&mut *transaction).await?;
    let (Some(key), Ok(after)) = (key, i64::try_from(after.0)) else { return Ok(Vec::new()) };
    let base = key << SEQ_BITS;
    let (low, high) = (base + after.min(MOST_SEQ), base + MOST_SEQ);
    let mut found = Vec::new();
    if let Some(format) = others {
        for row in sqlx::query("SELECT record FROM events WHERE place > ? AND place <= ? ORDER BY place LIMIT ?")
            .bind(low)
            .bind(high)
            .bind(limit_number(limit))
            .fetch_all(&mut *transaction)
            .await?
        {
            found.push(format.decode_event(row.try_get(0)?)?);
        }
    }
    for row in sqlx::query(BIDS_AFTER).bind(low).bind(high).bind(limit_number(limit)).fetch_all(&mut *transaction).await? {
        found.push(read_bid(lot, &row)?);
    }
    transaction.commit().await?;
    found.sort_by_key(|recorded| recorded.seq);
    found.truncate(limit);
    Ok(found)
}

/// Walks a bidder's bids on the lot by the index; they are few, since each had to be the best.
async fn bid(readers: &SqlitePool, lot: LotId, bidder: &BidderId, id: BidId) -> Result<Option<Receipt>, ReadError> {
    let row = sqlx::query(BID_NAMED)
        .bind(lot_id(lot))
        .bind(finger(bidder))
        .bind(bidder.as_str())
        .bind(id.0.as_bytes().to_vec())
        .fetch_optional(readers)
        .await?;
    row.map_or(Ok(None), |row| Ok(read_bid(lot, &row)?.receipt()))
}

async fn own(readers: &SqlitePool, lot: LotId, bidder: &BidderId) -> Result<Option<Own>, ReadError> {
    let row = sqlx::query("SELECT leader IS ?2, (SELECT max FROM bids WHERE lot = lots.key AND finger = ?3 AND bidder = ?2 ORDER BY max DESC LIMIT 1) FROM lots WHERE id = ?1")
        .bind(lot_id(lot))
        .bind(bidder.as_str()).bind(finger(bidder))
        .fetch_optional(readers)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let max: Option<i64> = row.try_get(1)?;
    max.map(|max| Ok(Own { leading: row.try_get(0)?, max: columns::amount(max)? })).transpose()
}

fn read_bid(lot: LotId, row: &SqliteRow) -> Result<Recorded, ReadError> {
    let bid = BidRow {
        seq: row.try_get(0)?,
        epoch: row.try_get(1)?,
        at: row.try_get(2)?,
        bidder: row.try_get(3)?,
        bid_id: columns::uuid(row.try_get(4)?)?,
        amount: row.try_get(5)?,
        max: row.try_get(6)?,
        price: row.try_get(7)?,
        leader: row.try_get(8)?,
        bid_count: row.try_get(9)?,
        minimum_bid: row.try_get(10)?,
        reserve_met: row.try_get(11)?,
        deadline: row.try_get(12)?,
        closes_at: row.try_get(13)?,
    };
    Ok(bid.recorded(lot)?)
}

/// FNV-1a of the name, in 32 bits: on disk, so it stays as it is. Two bidders may share one.
pub(super) fn finger(bidder: &BidderId) -> i64 {
    bidder.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)).into()
}

pub(super) fn lot_id(lot: LotId) -> Vec<u8> {
    lot.0.as_bytes().to_vec()
}
