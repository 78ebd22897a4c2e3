//! The ledger and the balances in `tables.db`.

use super::{
    fault::{OutOfRange, from_i64, to_i64},
    insert::{Insert, ProjectFault},
    rows::Bound,
};
use gavel_domain::{
    ids::{BidId, BidderId, Epoch, LotId, OperationId, Seq},
    money::SignedAmount,
    time::Timestamp,
    wallet::event::{LedgerEntry, LedgerKind, WalletEvent, WalletRecorded},
};
use sqlx::{
    Row as _, SqliteConnection,
    sqlite::{SqlitePool, SqliteRow},
};
use std::sync::{Arc, LazyLock};

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

/// Why a line can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LedgerFault {
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
    #[error(transparent)]
    Range(#[from] OutOfRange),
    #[error("a value that the rules don't allow: {0}")]
    Value(String),
}

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
) -> Result<Vec<WalletRecorded>, LedgerFault> {
    let rows = sqlx::query(
        "SELECT seq, epoch, at, currency, kind, amount, balance, lot, bid_id, reason, actor, operation, digest FROM ledger
         WHERE bidder = ?1 AND seq > ?2 AND (?3 IS NULL OR currency = ?3) ORDER BY seq LIMIT ?4",
    )
    .bind(Arc::<str>::from(bidder.as_str()))
    .bind(i64::try_from(after.0).unwrap_or(i64::MAX))
    .bind(currency)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(readers)
    .await?;
    rows.iter().map(|row| read_line(row, bidder)).collect()
}

fn read_line(row: &SqliteRow, bidder: &BidderId) -> Result<WalletRecorded, LedgerFault> {
    let value = |what: &dyn std::fmt::Display| LedgerFault::Value(what.to_string());
    let uuid = |at: usize| -> Result<Option<uuid::Uuid>, LedgerFault> {
        let bytes: Option<&[u8]> = row.try_get(at)?;
        bytes.map(uuid::Uuid::from_slice).transpose().map_err(|e| value(&e))
    };
    let signed = |at: usize| -> Result<SignedAmount, LedgerFault> { SignedAmount::new(row.try_get(at)?).map_err(|e| value(&e)) };
    let kind: &str = row.try_get(4)?;
    let entry = Box::new(LedgerEntry {
        currency: row.try_get::<&str, _>(3)?.into(),
        kind: LedgerKind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(|| value(&kind))?,
        amount: signed(5)?,
        balance: signed(6)?,
        lot: uuid(7)?.map(LotId),
        bid: uuid(8)?.map(BidId),
        reason: row.try_get::<&str, _>(9)?.into(),
        by: row.try_get::<&str, _>(10)?.into(),
        operation: OperationId(row.try_get::<&[u8], _>(11)?.try_into().map_err(|e| value(&e))?),
        digest: row.try_get::<&[u8], _>(12)?.try_into().map_err(|e| value(&e))?,
    });
    Ok(WalletRecorded {
        bidder: bidder.clone(),
        epoch: Epoch(from_i64("epoch", row.try_get(1)?)?),
        seq: Seq(from_i64("seq", row.try_get(0)?)?),
        at: Timestamp::from_millis(row.try_get(2)?),
        event: if entry.kind == LedgerKind::Capture { WalletEvent::Captured(entry) } else { WalletEvent::Posted(entry) },
    })
}
