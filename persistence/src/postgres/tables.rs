//! The tables, read side: lots, bids, events, receipts, the ledger, the archive.
//!
//! Writing them is in `project.rs`; what the columns are, in `migrations/postgres`.

use super::{
    audit,
    fault::{silence, words},
    insert::finger,
    ledger,
    link::{Dialler, query},
    rows::{ReadError, read_cursor, read_sealed, shard_number},
    writer::Writer,
};
use crate::{
    columns::{self, BidRow, after_numbers, failed, id_numbers, limit_number, status_text},
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
    format::{Format as _, Mark, Sealed},
    tables::{LotsPage, ProjectError, Projection, Tables},
};
use sqlx::{
    PgConnection, Postgres, Row as _, Transaction,
    postgres::{PgPool, PgRow},
};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// What [`read_bid`] reads.
macro_rules! select_bids {
    ($rest:literal) => {
        concat!(
            "SELECT seq::int8, epoch, at, bidder, bid_id, amount, max, price, leader, bid_count, minimum_bid, reserve_met, deadline, closes_at
             FROM gavel.bids ",
            $rest
        )
    };
}

/// By the column: plain `seq` would be the number made of it, which no index has.
const BIDS_AFTER: &str = select_bids!("WHERE lot = $1 AND bids.seq > $2 ORDER BY bids.seq LIMIT $3");
const BID_NAMED: &str = select_bids!("WHERE finger = $1 AND lot = $2 AND bidder = $3 AND bid_id = $4 LIMIT 1");

/// Below the patience of those who ask whether the tables are there, so that the answer names them.
const PING: Duration = Duration::from_millis(1200);

/// Open tables in PostgreSQL. Connections end with the last handle.
pub struct PostgresTables {
    writer: Arc<Writer>,
    reader: Reader,
}

/// Reads, each time in a transaction of its own.
#[derive(Clone)]
pub(super) struct Reader {
    dialler: Dialler,
    pool: PgPool,
}

impl Reader {
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        // Once for a connection, once for a server behind PgBouncer.
        let patience = self.dialler.patience.acquire * 2;
        let begun = tokio::time::timeout(patience, self.pool.begin_with(self.dialler.reading())).await;
        begun.unwrap_or_else(|_| Err(silence("beginning a transaction")))
    }
}

impl PostgresTables {
    pub(super) fn new(dialler: Dialler, writer: Writer, pool: PgPool) -> Self {
        Self { writer: Arc::new(writer), reader: Reader { dialler, pool } }
    }

    pub(super) fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// A read, on the runtime that the connections belong to: it goes on where its caller goes away, so
    /// that no connection is left in the middle of an answer.
    fn asked<T: Send + 'static>(
        &self,
        operation: String,
        read: impl Future<Output = Result<T, ReadError>> + Send + 'static,
    ) -> PortFuture<T, StorageError> {
        let patience = self.reader.dialler.patience;
        self.within(patience.acquire + patience.read, operation, read)
    }

    /// As [`PostgresTables::asked`], as long as each of its statements is in time.
    pub(super) fn unhurried<T: Send + 'static>(
        &self,
        operation: String,
        read: impl Future<Output = Result<T, ReadError>> + Send + 'static,
    ) -> PortFuture<T, StorageError> {
        self.within(Duration::MAX, operation, read)
    }

    fn within<T: Send + 'static>(
        &self,
        limit: Duration,
        operation: String,
        read: impl Future<Output = Result<T, ReadError>> + Send + 'static,
    ) -> PortFuture<T, StorageError> {
        let runtime = self.reader.dialler.runtime.clone();
        async move {
            match runtime.spawn(async move { tokio::time::timeout(limit, read).await }).await {
                Ok(Ok(read)) => read.map_err(|e| failed(operation, e)),
                Ok(Err(_)) => Err(failed(operation, words(&silence("reading")))),
                Err(e) => Err(failed(operation, e)),
            }
        }
        .boxed()
    }
}

impl Tables for PostgresTables {
    fn project(&self, projections: Vec<Projection>) -> PortFuture<(), ProjectError> {
        let writer = Arc::clone(&self.writer);
        async move { writer.project(&RecordFormat, &projections).await }.boxed()
    }

    fn cursors(&self) -> PortFuture<Vec<(ShardId, Mark)>, StorageError> {
        self.asked("reading the cursors".to_owned(), cursors(self.reader()))
    }

    fn archived(&self, shard: ShardId, after: Option<BatchId>, limit: usize) -> PortFuture<Vec<Sealed>, StorageError> {
        self.asked(format!("reading the archive of shard {shard}"), archived(self.reader(), shard, after, limit))
    }

    fn archived_batch(&self, shard: ShardId, id: BatchId) -> PortFuture<Option<Sealed>, StorageError> {
        self.asked(format!("reading archived batch {id} of shard {shard}"), archived_batch(self.reader(), shard, id))
    }

    fn lot(&self, lot: LotId) -> PortFuture<Option<LotView>, StorageError> {
        self.asked(format!("reading lot {lot}"), read_lot(self.reader(), lot))
    }

    fn lots(&self, page: LotsPage) -> PortFuture<Vec<LotView>, StorageError> {
        self.asked("listing lots".to_owned(), lots(self.reader(), page))
    }

    fn events(&self, lot: LotId, after: Seq, limit: usize) -> PortFuture<Vec<Recorded>, StorageError> {
        self.asked(format!("reading events of lot {lot}"), history(self.reader(), true, lot, after, limit))
    }

    fn bids(&self, lot: LotId, after: Seq, limit: usize) -> PortFuture<Vec<Recorded>, StorageError> {
        self.asked(format!("reading bids of lot {lot}"), history(self.reader(), false, lot, after, limit))
    }

    fn bid(&self, lot: LotId, bidder: BidderId, id: BidId) -> PortFuture<Option<Receipt>, StorageError> {
        self.asked(format!("looking up bid {id} on lot {lot}"), bid(self.reader(), lot, bidder, id))
    }

    fn own(&self, lot: LotId, bidder: BidderId) -> PortFuture<Option<Own>, StorageError> {
        self.asked(format!("reading {bidder}'s standing on lot {lot}"), own(self.reader(), lot, bidder))
    }

    fn ledger(
        &self,
        bidder: BidderId,
        currency: Option<Arc<str>>,
        after: Seq,
        limit: usize,
    ) -> PortFuture<Vec<WalletRecorded>, StorageError> {
        self.asked("reading the ledger".to_owned(), lines(self.reader(), bidder, currency, after, limit))
    }

    fn audit(&self, page: AuditPage) -> PortFuture<Vec<AuditRow>, StorageError> {
        self.asked("reading the audit trail".to_owned(), audit::read(self.reader(), page))
    }

    fn check_audit(&self) -> PortFuture<u64, AuditError> {
        let checking = self.unhurried("checking the audit trail".to_owned(), audit::check(self.reader()));
        async move { checking.await? }.boxed()
    }

    fn ping(&self) -> PortFuture<(), StorageError> {
        let writer = Arc::clone(&self.writer);
        let operation = format!("writing to the tables in PostgreSQL at {}", self.reader.dialler.server);
        async move {
            let answer = tokio::time::timeout(PING, writer.ping()).await.unwrap_or_else(|_| Err(silence("an answer")));
            answer.map_err(|e| failed(operation, words(&e)))
        }
        .boxed()
    }
}

async fn cursors(reader: Reader) -> Result<Vec<(ShardId, Mark)>, ReadError> {
    let mut transaction = reader.begin().await?;
    let rows = query("SELECT shard, epoch, number, hash FROM gavel.cursors ORDER BY shard").fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    rows.iter().map(read_cursor).collect()
}

async fn archived(reader: Reader, shard: ShardId, after: Option<BatchId>, limit: usize) -> Result<Vec<Sealed>, ReadError> {
    let (epoch, number) = after_numbers(after)?;
    let mut transaction = reader.begin().await?;
    let rows = query(
        "SELECT epoch, number, previous, hash, bytes FROM gavel.archive
         WHERE shard = $1 AND (epoch, number) > ($2, $3) ORDER BY epoch, number LIMIT $4",
    )
    .bind(shard_number(shard))
    .bind(epoch)
    .bind(number)
    .bind(limit_number(limit))
    .fetch_all(&mut *transaction)
    .await?;
    transaction.commit().await?;
    rows.iter().map(|row| read_sealed(shard, row)).collect()
}

async fn archived_batch(reader: Reader, shard: ShardId, id: BatchId) -> Result<Option<Sealed>, ReadError> {
    let (epoch, number) = id_numbers(id)?;
    let mut transaction = reader.begin().await?;
    let row = query("SELECT epoch, number, previous, hash, bytes FROM gavel.archive WHERE shard = $1 AND epoch = $2 AND number = $3")
        .bind(shard_number(shard))
        .bind(epoch)
        .bind(number)
        .fetch_optional(&mut *transaction)
        .await?;
    transaction.commit().await?;
    row.map(|row| read_sealed(shard, &row)).transpose()
}

async fn read_lot(reader: Reader, lot: LotId) -> Result<Option<LotView>, ReadError> {
    let mut transaction = reader.begin().await?;
    let row = query("SELECT view FROM gavel.lots WHERE id = $1").bind(lot.0).fetch_optional(&mut *transaction).await?;
    transaction.commit().await?;
    row.map(|row| Ok(RecordFormat.decode_view(row.try_get(0)?)?)).transpose()
}

async fn lots(reader: Reader, page: LotsPage) -> Result<Vec<LotView>, ReadError> {
    let (created_at, id) = page.after.map_or((i64::MIN, Uuid::nil()), |(at, lot)| (at.as_millis(), lot.0));
    let mut transaction = reader.begin().await?;
    // Two statements, so that each has its index.
    let query = match page.status {
        None => query("SELECT view FROM gavel.lots WHERE (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3")
            .bind(created_at)
            .bind(id)
            .bind(limit_number(page.limit)),
        Some(status) => {
            query("SELECT view FROM gavel.lots WHERE status = $4 AND (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3")
                .bind(created_at)
                .bind(id)
                .bind(limit_number(page.limit))
                .bind(status_text(status))
        }
    };
    let rows = query.fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    rows.iter().map(|row| Ok(RecordFormat.decode_view(row.try_get(0)?)?)).collect()
}

/// Bids, and if wanted the other events too, in order.
async fn history(reader: Reader, others: bool, lot: LotId, after: Seq, limit: usize) -> Result<Vec<Recorded>, ReadError> {
    let Ok(after) = i64::try_from(after.0) else { return Ok(Vec::new()) };
    let mut transaction = reader.begin().await?;
    let mut found = if others { other_events(&mut transaction, lot, after, limit).await? } else { Vec::new() };
    for row in query(BIDS_AFTER).bind(lot.0).bind(after).bind(limit_number(limit)).fetch_all(&mut *transaction).await? {
        found.push(read_bid(lot, &row)?);
    }
    transaction.commit().await?;
    found.sort_by_key(|recorded| recorded.seq);
    found.truncate(limit);
    Ok(found)
}

async fn other_events(conn: &mut PgConnection, lot: LotId, after: i64, limit: usize) -> Result<Vec<Recorded>, ReadError> {
    let span = query("SELECT first_at, last_at FROM gavel.lots WHERE id = $1").bind(lot.0).fetch_optional(&mut *conn).await?;
    let span = span.map(|row| Ok::<_, sqlx::Error>((row.try_get::<Option<i64>, _>(0)?, row.try_get::<Option<i64>, _>(1)?))).transpose()?;
    let Some((Some(first), Some(last))) = span else { return Ok(Vec::new()) };
    // The times leave most partitions out before any is looked at.
    let rows = query("SELECT record FROM gavel.events WHERE lot = $1 AND seq > $2 AND at BETWEEN $3 AND $4 ORDER BY seq LIMIT $5")
        .bind(lot.0)
        .bind(after)
        .bind(first)
        .bind(last)
        .bind(limit_number(limit))
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| Ok(RecordFormat.decode_event(row.try_get(0)?)?)).collect()
}

/// Among a bidder's bids on the lot; they are few, since each had to be the best.
async fn bid(reader: Reader, lot: LotId, bidder: BidderId, id: BidId) -> Result<Option<Receipt>, ReadError> {
    let mut transaction = reader.begin().await?;
    let row =
        query(BID_NAMED).bind(finger(lot, &bidder)).bind(lot.0).bind(bidder.as_str()).bind(id.0).fetch_optional(&mut *transaction).await?;
    transaction.commit().await?;
    row.map_or(Ok(None), |row| Ok(read_bid(lot, &row)?.receipt()))
}

async fn own(reader: Reader, lot: LotId, bidder: BidderId) -> Result<Option<Own>, ReadError> {
    let mut transaction = reader.begin().await?;
    let row = query(
        "SELECT leader IS NOT DISTINCT FROM $2, (SELECT max(max) FROM gavel.bids WHERE finger = $3 AND lot = $1 AND bidder = $2)
         FROM gavel.lots WHERE id = $1",
    )
    .bind(lot.0)
    .bind(bidder.as_str())
    .bind(finger(lot, &bidder))
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    let Some(row) = row else { return Ok(None) };
    let max: Option<i64> = row.try_get(1)?;
    max.map(|max| Ok(Own { leading: row.try_get(0)?, max: columns::amount(max)? })).transpose()
}

async fn lines(
    reader: Reader,
    bidder: BidderId,
    currency: Option<Arc<str>>,
    after: Seq,
    limit: usize,
) -> Result<Vec<WalletRecorded>, ReadError> {
    let mut transaction = reader.begin().await?;
    let rows = query(ledger::LINES)
        .bind(bidder.as_str())
        .bind(i64::try_from(after.0).unwrap_or(i64::MAX))
        .bind(currency.as_deref())
        .bind(limit_number(limit))
        .fetch_all(&mut *transaction)
        .await?;
    transaction.commit().await?;
    rows.iter().map(|row| ledger::read_line(row, &bidder)).collect()
}

fn read_bid(lot: LotId, row: &PgRow) -> Result<Recorded, ReadError> {
    let bid = BidRow {
        seq: row.try_get(0)?,
        epoch: row.try_get(1)?,
        at: row.try_get(2)?,
        bidder: row.try_get(3)?,
        bid_id: row.try_get(4)?,
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
