//! How domain values become columns and come back, for every SQL backend: integers, words on disk, the
//! rows of bids and of the ledger, what a projection must be. No SQL here, no encodings of records.

use gavel_domain::{
    event::{BidPlaced, LotEvent, Recorded},
    ids::{BidId, BidderId, Epoch, LotId, OperationId, Seq},
    lot::Status,
    money::{Amount, SignedAmount},
    shard::batch::BatchId,
    time::Timestamp,
    wallet::event::{LedgerEntry, LedgerKind, WalletEvent, WalletRecorded},
};
use gavel_engine::ports::{
    StorageError,
    format::{Digest, Mark},
    tables::Projection,
};
use uuid::Uuid;

/// A number that a signed 64-bit column can't hold, or one read back that is out of its type.
#[derive(Debug, thiserror::Error)]
#[error("{what} {number} is out of range")]
pub(crate) struct OutOfRange {
    what: &'static str,
    number: i128,
}

/// A column that can't be what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadColumn {
    #[error(transparent)]
    Number(#[from] OutOfRange),
    #[error("a digest of {0} bytes where 32 are kept")]
    Digest(usize),
    #[error("a value that the rules don't allow: {0}")]
    Value(String),
}

/// A projection that does not fit together: a bug, or other data's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misfit(pub(crate) String);

/// To a column's integers.
pub(crate) fn to_i64(what: &'static str, number: u64) -> Result<i64, OutOfRange> {
    i64::try_from(number).map_err(|_| OutOfRange { what, number: number.into() })
}

/// From a column's integers.
pub(crate) fn from_i64<T: TryFrom<i64>>(what: &'static str, number: i64) -> Result<T, OutOfRange> {
    T::try_from(number).map_err(|_| OutOfRange { what, number: number.into() })
}

/// An amount, which is below 2^53.
pub(crate) fn amount_number(amount: Amount) -> i64 {
    i64::try_from(amount.get()).unwrap_or(i64::MAX)
}

/// How many rows a reader wants.
pub(crate) fn limit_number(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A batch's id in columns: epoch and number.
pub(crate) fn id_numbers(id: BatchId) -> Result<(i64, i64), OutOfRange> {
    Ok((to_i64("epoch", id.epoch.0)?, to_i64("batch number", id.number)?))
}

/// Where "after nothing" lies: below every id.
pub(crate) fn after_numbers(after: Option<BatchId>) -> Result<(i64, i64), OutOfRange> {
    after.map_or(Ok((-1, -1)), id_numbers)
}

/// A batch's id from columns.
pub(crate) fn batch_id(epoch: i64, number: i64) -> Result<BatchId, OutOfRange> {
    Ok(BatchId { epoch: Epoch(from_i64("epoch", epoch)?), number: from_i64("batch number", number)? })
}

/// A digest from a column.
pub(crate) fn digest(bytes: &[u8]) -> Result<Digest, BadColumn> {
    bytes.try_into().map(Digest).map_err(|_| BadColumn::Digest(bytes.len()))
}

/// As the API names it; on disk.
pub(crate) const fn status_text(status: Status) -> &'static str {
    match status {
        Status::Draft => "draft",
        Status::Scheduled => "scheduled",
        Status::Open => "open",
        Status::Paused => "paused",
        Status::Closed => "closed",
        Status::Cancelled => "cancelled",
    }
}

/// For people who read the table of events.
pub(crate) const fn event_text(event: &LotEvent) -> &'static str {
    match event {
        LotEvent::Created(_) | LotEvent::CreatedWith(_) => "created",
        LotEvent::Opened { .. } => "opened",
        LotEvent::BidPlaced(_) => "bid_placed",
        LotEvent::Extended { .. } => "extended",
        LotEvent::Paused { .. } => "paused",
        LotEvent::Resumed { .. } => "resumed",
        LotEvent::Changed(_) => "changed",
        LotEvent::Closed(_) => "closed",
        LotEvent::Cancelled { .. } => "cancelled",
        LotEvent::Settled => "settled",
        LotEvent::Registered(_) => "registered",
        LotEvent::Unregistered(_) => "unregistered",
    }
}

/// A bid's leader in a column: none where it is the bidder.
pub(crate) fn other_leader(bid: &BidPlaced) -> Option<&str> {
    (bid.leader != bid.bidder).then(|| bid.leader.as_str())
}

/// A row of `bids`.
pub(crate) struct BidRow<'r> {
    pub(crate) seq: i64,
    pub(crate) epoch: i64,
    pub(crate) at: i64,
    pub(crate) bidder: &'r str,
    pub(crate) bid_id: Uuid,
    pub(crate) amount: i64,
    pub(crate) max: i64,
    pub(crate) price: i64,
    /// None: the bidder.
    pub(crate) leader: Option<&'r str>,
    pub(crate) bid_count: i64,
    pub(crate) minimum_bid: i64,
    pub(crate) reserve_met: Option<bool>,
    pub(crate) deadline: Option<i64>,
    pub(crate) closes_at: Option<i64>,
}

impl BidRow<'_> {
    /// The event, without whom it outbid.
    pub(crate) fn recorded(&self, lot: LotId) -> Result<Recorded, BadColumn> {
        let bidder = bidder(self.bidder)?;
        let leader = self.leader.map_or_else(|| Ok(bidder.clone()), self::bidder)?;
        Ok(Recorded {
            lot,
            epoch: Epoch(from_i64("epoch", self.epoch)?),
            seq: Seq(from_i64("seq", self.seq)?),
            at: Timestamp::from_millis(self.at),
            event: LotEvent::BidPlaced(BidPlaced {
                bidder,
                bid_id: BidId(self.bid_id),
                amount: amount(self.amount)?,
                max: amount(self.max)?,
                price: amount(self.price)?,
                leader,
                outbid: None,
                bid_count: from_i64("bid_count", self.bid_count)?,
                minimum_bid: amount(self.minimum_bid)?,
                reserve_met: self.reserve_met,
                deadline: self.deadline.map(Timestamp::from_millis),
                closes_at: self.closes_at.map(Timestamp::from_millis),
            }),
        })
    }
}

/// A row of `ledger`.
pub(crate) struct LedgerRow<'r> {
    pub(crate) seq: i64,
    pub(crate) epoch: i64,
    pub(crate) at: i64,
    pub(crate) currency: &'r str,
    pub(crate) kind: &'r str,
    pub(crate) amount: i64,
    pub(crate) balance: i64,
    pub(crate) lot: Option<Uuid>,
    pub(crate) bid_id: Option<Uuid>,
    pub(crate) reason: &'r str,
    pub(crate) actor: &'r str,
    pub(crate) operation: &'r [u8],
    pub(crate) digest: &'r [u8],
}

impl LedgerRow<'_> {
    /// The event that made it.
    pub(crate) fn recorded(&self, bidder: &BidderId) -> Result<WalletRecorded, BadColumn> {
        let kind = LedgerKind::ALL.into_iter().find(|known| known.as_str() == self.kind).ok_or_else(|| value(self.kind))?;
        let entry = Box::new(LedgerEntry {
            currency: self.currency.into(),
            kind,
            amount: SignedAmount::new(self.amount).map_err(value)?,
            balance: SignedAmount::new(self.balance).map_err(value)?,
            lot: self.lot.map(LotId),
            bid: self.bid_id.map(BidId),
            reason: self.reason.into(),
            by: self.actor.into(),
            operation: OperationId(self.operation.try_into().map_err(value)?),
            digest: self.digest.try_into().map_err(value)?,
        });
        Ok(WalletRecorded {
            bidder: bidder.clone(),
            epoch: Epoch(from_i64("epoch", self.epoch)?),
            seq: Seq(from_i64("seq", self.seq)?),
            at: Timestamp::from_millis(self.at),
            event: if kind == LedgerKind::Capture { WalletEvent::Captured(entry) } else { WalletEvent::Posted(entry) },
        })
    }
}

/// An amount from a column.
pub(crate) fn amount(number: i64) -> Result<Amount, BadColumn> {
    Amount::new(from_i64("amount", number)?).map_err(value)
}

/// A UUID from a column of bytes.
pub(crate) fn uuid(bytes: &[u8]) -> Result<Uuid, BadColumn> {
    Uuid::from_slice(bytes).map_err(value)
}

fn bidder(text: &str) -> Result<BidderId, BadColumn> {
    BidderId::try_from(text).map_err(value)
}

fn value(what: impl std::fmt::Display) -> BadColumn {
    BadColumn::Value(what.to_string())
}

/// Where a projection moves its cursor, after checking that the batches follow it and one another.
pub(crate) fn follow(projection: &Projection) -> Result<Mark, Misfit> {
    let mut previous = projection.from.map(|mark| mark.hash).unwrap_or_default();
    for batch in &projection.batches {
        if batch.previous != previous || batch.shard != projection.shard {
            return Err(Misfit(format!("batch {} of shard {} does not follow the one before it", batch.id, batch.shard)));
        }
        previous = batch.hash;
    }
    let last = projection.batches.last();
    last.map(|batch| batch.mark()).ok_or_else(|| Misfit(format!("no batches for shard {}", projection.shard)))
}

/// What the engine is told of projections that were not written.
pub(crate) fn not_projected(projections: &[Projection], reason: impl std::fmt::Display) -> StorageError {
    let shards: Vec<_> = projections.iter().take(8).map(|projection| projection.shard.to_string()).collect();
    let more = if projections.len() > 8 { ", …" } else { "" };
    failed(format!("projecting shards {}{more}", shards.join(", ")), reason)
}

/// What the engine is told.
pub(crate) fn failed(operation: impl Into<String>, reason: impl std::fmt::Display) -> StorageError {
    StorageError { operation: operation.into(), reason: reason.to_string() }
}
