//! The tables: what people query, kept up behind the journal, and the archive of every batch.
//!
//! Tables always equal a prefix of each shard's journal: rows, archived batches and the cursor move
//! in one transaction.

use super::{
    PortFuture, StorageError,
    audit::{AuditError, AuditPage, AuditRow, Audited},
    format::{Mark, Sealed},
};
use gavel_domain::{
    event::Recorded,
    ids::{BidId, BidderId, LotId, Seq, ShardId},
    lot::{
        Status,
        view::{LotView, Own},
    },
    receipt::Receipt,
    shard::batch::BatchId,
    time::Timestamp,
    wallet::event::WalletRecorded,
};
use std::sync::Arc;

/// Why a projection was not written. Nothing of it was.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProjectError {
    /// The cursor is not where the writer believes: another owner projects this shard.
    #[error("the cursor of shard {0} has moved")]
    CursorMoved(ShardId),
    /// The database is away, or full.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Committed batches of one shard with what they mean for the tables.
#[derive(Clone, Debug)]
pub struct Projection {
    /// Whose.
    pub shard: ShardId,
    /// Where the cursor must stand; none: this shard was never projected.
    pub from: Option<Mark>,
    /// For the archive; in order, the first follows `from`. Never empty.
    pub batches: Vec<Arc<Sealed>>,
    /// Every lot event in them, in order (seq 0, the creation, included).
    pub events: Vec<Arc<Recorded>>,
    /// The lots they touched, as they are after them.
    pub lots: Vec<LotView>,
    /// Every wallet event in them that changed a balance, in order.
    pub ledger: Vec<Arc<WalletRecorded>>,
    /// What in them the audit trail has a row for, in order.
    pub audited: Vec<Audited>,
}

/// A page of the list of lots, ordered by (`created_at`, `id`).
#[derive(Clone, Copy, Debug)]
pub struct LotsPage {
    /// Only lots in this status.
    pub status: Option<Status>,
    /// Starts after this lot.
    pub after: Option<(Timestamp, LotId)>,
    /// At most this many.
    pub limit: usize,
}

/// One backend's tables.
pub trait Tables: Send + Sync + 'static {
    /// Writes several shards' projections in one transaction and moves their cursors by
    /// compare-and-set. A projection that was written before (the cursor stands at its end already)
    /// is [`ProjectError::CursorMoved`].
    fn project(&self, projections: Vec<Projection>) -> PortFuture<(), ProjectError>;

    /// How far each shard is projected.
    fn cursors(&self) -> PortFuture<Vec<(ShardId, Mark)>, StorageError>;

    /// Archived batches after one, in order, at most `limit`.
    fn archived(&self, shard: ShardId, after: Option<BatchId>, limit: usize) -> PortFuture<Vec<Sealed>, StorageError>;

    /// One archived batch.
    fn archived_batch(&self, shard: ShardId, id: BatchId) -> PortFuture<Option<Sealed>, StorageError>;

    /// A lot.
    fn lot(&self, lot: LotId) -> PortFuture<Option<LotView>, StorageError>;

    /// A page of lots.
    fn lots(&self, page: LotsPage) -> PortFuture<Vec<LotView>, StorageError>;

    /// A lot's events after `after`, in order, at most `limit`; bids without
    /// [`gavel_domain::event::BidPlaced::outbid`], which the tables don't keep.
    fn events(&self, lot: LotId, after: Seq, limit: usize) -> PortFuture<Vec<Recorded>, StorageError>;

    /// As [`Tables::events`], accepted bids only.
    fn bids(&self, lot: LotId, after: Seq, limit: usize) -> PortFuture<Vec<Recorded>, StorageError>;

    /// The receipt of an accepted bid.
    fn bid(&self, lot: LotId, bidder: BidderId, id: BidId) -> PortFuture<Option<Receipt>, StorageError>;

    /// A bidder's own standing on a lot; none for who has not bid.
    fn own(&self, lot: LotId, bidder: BidderId) -> PortFuture<Option<Own>, StorageError>;

    /// A wallet's changes of balance after event `after`, in order, at most `limit`; of one currency
    /// or of all.
    fn ledger(
        &self,
        bidder: BidderId,
        currency: Option<Arc<str>>,
        after: Seq,
        limit: usize,
    ) -> PortFuture<Vec<WalletRecorded>, StorageError>;

    /// A page of the audit trail.
    fn audit(&self, page: AuditPage) -> PortFuture<Vec<AuditRow>, StorageError>;

    /// Goes through all of the audit trail, from the first row of each chain to where it should end.
    /// Gives the number of rows, if nobody has changed any.
    ///
    /// Who can change every row, the chains' ends and the code that checks can forge all of it: note
    /// the newest hashes elsewhere to notice that too.
    fn check_audit(&self) -> PortFuture<u64, AuditError>;

    /// A round trip through the database that would fail if a projection would.
    fn ping(&self) -> PortFuture<(), StorageError>;
}
