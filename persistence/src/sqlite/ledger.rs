//! The ledger and the balances in `tables.db`.

use super::{
    insert::{Insert, ProjectFault},
    rows::{Bound, RowError},
};
use crate::columns::{self, LedgerRow, limit_number, to_i64};
use gavel_domain::{
    ids::{BidderId, Seq},
    wallet::event::{LedgerEntry, WalletRecorded},
};
use sqlx::{
    Row as _, SqliteConnection,
    sqlite::{SqlitePool, SqliteRow},
};
use std::sync::{Arc, LazyLock};
use uuid::Uuid;

static LEDGER: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "INSERT INTO ledger (bidder, seq, epoch, at, currency, kind, amount, balance, lot, bid_id, reason, actor, operation, digest)",
        14,
        "",
    )
});
static BALANCES: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "INSERT INTO wallets (bidder, currency, balance, seq)",
        4,
        "ON CONFLICT (bidder, currency) DO UPDATE SET balance = excluded.balance, seq = excluded.seq WHERE excluded.seq > wallets.seq",
    )
});

/// Writes lines and the balances after them.
pub(super) async fn write(conn: &mut SqliteConnection, events: &[&WalletRecorded]) -> Result<(), ProjectFault> {
    let lines: Vec<(&WalletRecorded, &LedgerEntry)> =
        events.iter().filter_map(|recorded| Some((*recorded, recorded.event.ledger()?))).collect();
    LEDGER.run(conn, &lines, |query, (recorded, entry)| bind_line(query, recorded, entry)).await?;
    BALANCES
        .run(conn, &lines, |query, (recorded, entry)| {
            let query = query.bind(Arc::<str>::from(recorded.bidder.as_str())).bind(Arc::clone(&entry.currency));
            Ok(query.bind(entry.balance.get()).bind(to_i64("seq", recorded.seq.0)?))
        })
        .await?;
    Ok(())
}

fn bind_line<'q>(query: Bound<'q>, recorded: &WalletRecorded, entry: &LedgerEntry) -> Result<Bound<'q>, ProjectFault> {
    Ok(query
        .bind(Arc::<str>::from(recorded.bidder.as_str()))
        .bind(to_i64("seq", recorded.seq.0)?)
        .bind(to_i64("epoch", recorded.epoch.0)?)
        .bind(recorded.at.as_millis())
        .bind(Arc::clone(&entry.currency))
        .bind(entry.kind.as_str())
        .bind(entry.amount.get())
        .bind(entry.balance.get())
        .bind(entry.lot.map(|lot| lot.0.as_bytes().to_vec()))
        .bind(entry.bid.map(|bid| bid.0.as_bytes().to_vec()))
        .bind(Arc::clone(&entry.reason))
        .bind(Arc::clone(&entry.by))
        .bind(entry.operation.0.to_vec())
        .bind(entry.digest.to_vec()))
}

/// A wallet's lines after one, in order.
pub(super) async fn read(
    readers: &SqlitePool,
    bidder: &BidderId,
    currency: Option<Arc<str>>,
    after: Seq,
    limit: usize,
) -> Result<Vec<WalletRecorded>, RowError> {
    let rows = sqlx::query(
        "SELECT seq, epoch, at, currency, kind, amount, balance, lot, bid_id, reason, actor, operation, digest FROM ledger
         WHERE bidder = ?1 AND seq > ?2 AND (?3 IS NULL OR currency = ?3) ORDER BY seq LIMIT ?4",
    )
    .bind(Arc::<str>::from(bidder.as_str()))
    .bind(i64::try_from(after.0).unwrap_or(i64::MAX))
    .bind(currency)
    .bind(limit_number(limit))
    .fetch_all(readers)
    .await?;
    rows.iter().map(|row| read_line(row, bidder)).collect()
}

fn read_line(row: &SqliteRow, bidder: &BidderId) -> Result<WalletRecorded, RowError> {
    let uuid = |at: usize| -> Result<Option<Uuid>, RowError> {
        let bytes: Option<&[u8]> = row.try_get(at)?;
        Ok(bytes.map(columns::uuid).transpose()?)
    };
    let line = LedgerRow {
        seq: row.try_get(0)?,
        epoch: row.try_get(1)?,
        at: row.try_get(2)?,
        currency: row.try_get(3)?,
        kind: row.try_get(4)?,
        amount: row.try_get(5)?,
        balance: row.try_get(6)?,
        lot: uuid(7)?,
        bid_id: uuid(8)?,
        reason: row.try_get(9)?,
        actor: row.try_get(10)?,
        operation: row.try_get(11)?,
        digest: row.try_get(12)?,
    };
    Ok(line.recorded(bidder)?)
}
