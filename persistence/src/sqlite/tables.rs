//! The tables in `tables.db`, read side: lots, bids, events, receipts, the archive.
//!
//! Writing them is in `project.rs`; what the columns are, in `migrations/sqlite/tables`.

use super::{
    connect::Place,
    fault::{failed, from_i64},
    ledger, project,
    rows::{RowError, after_numbers, id_numbers, read_mark, read_sealed, read_shard},
};
use crate::record::RecordFormat;
use futures_util::FutureExt as _;
use gavel_domain::{
    event::{BidPlaced, LotEvent, Recorded},
    ids::{BidId, BidderId, Epoch, LotId, Seq, ShardId},
    lot::{
        Status,
        view::{LotView, Own},
    },
    money::Amount,
    receipt::Receipt,
    shard::batch::BatchId,
    time::Timestamp,
    wallet::event::WalletRecorded,
};
use gavel_engine::ports::{
    PortFuture, StorageError,
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
    Range(#[from] super::fault::OutOfRange),
    #[error("a value that the rules don't allow: {0}")]
    Value(String),
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
    max.map(|max| Ok(Own { leading: row.try_get(0)?, max: amount(max)? })).transpose()
}

fn read_bid(lot: LotId, row: &SqliteRow) -> Result<Recorded, ReadError> {
    let bidder = bidder(row.try_get(3)?)?;
    let leader = row.try_get::<Option<&str>, _>(8)?.map_or_else(|| Ok(bidder.clone()), self::bidder)?;
    let bid_id = uuid::Uuid::from_slice(row.try_get(4)?).map_err(|e| ReadError::Value(e.to_string()))?;
    let time = |at: i64| Timestamp::from_millis(at);
    Ok(Recorded {
        lot,
        epoch: Epoch(from_i64("epoch", row.try_get(1)?)?),
        seq: Seq(from_i64("seq", row.try_get(0)?)?),
        at: time(row.try_get(2)?),
        event: LotEvent::BidPlaced(BidPlaced {
            bidder,
            bid_id: BidId(bid_id),
            amount: amount(row.try_get(5)?)?,
            max: amount(row.try_get(6)?)?,
            price: amount(row.try_get(7)?)?,
            leader,
            outbid: None,
            bid_count: from_i64("bid_count", row.try_get(9)?)?,
            minimum_bid: amount(row.try_get(10)?)?,
            reserve_met: row.try_get(11)?,
            deadline: row.try_get::<Option<i64>, _>(12)?.map(time),
            closes_at: row.try_get::<Option<i64>, _>(13)?.map(time),
        }),
    })
}

fn bidder(text: &str) -> Result<BidderId, ReadError> {
    BidderId::try_from(text).map_err(|e| ReadError::Value(e.to_string()))
}

fn amount(number: i64) -> Result<Amount, ReadError> {
    Amount::new(from_i64("amount", number)?).map_err(|e| ReadError::Value(e.to_string()))
}

/// FNV-1a of the name, in 32 bits: on disk, so it stays as it is. Two bidders may share one.
pub(super) fn finger(bidder: &BidderId) -> i64 {
    bidder.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)).into()
}

pub(super) fn lot_id(lot: LotId) -> Vec<u8> {
    lot.0.as_bytes().to_vec()
}

/// As the API names it; on disk.
pub(super) const fn status_text(status: Status) -> &'static str {
    match status {
        Status::Draft => "draft",
        Status::Scheduled => "scheduled",
        Status::Open => "open",
        Status::Paused => "paused",
        Status::Closed => "closed",
        Status::Cancelled => "cancelled",
    }
}

fn limit_number(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
