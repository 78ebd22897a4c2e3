//! What the engine counts, and under which names. No lot or bidder in a label.

use gavel_domain::reject::Reject;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Bids by `outcome`.
pub const BIDS: &str = "gavel_bids_total";
/// From admission to the release of the receipt.
pub const BID_RECEIPT_SECONDS: &str = "gavel_bid_receipt_seconds";
/// Entries in a committed batch.
pub const COMMIT_BATCH_EVENTS: &str = "gavel_commit_batch_events";
/// From the hand-over of a batch to its being durable.
pub const COMMIT_SECONDS: &str = "gavel_commit_seconds";
/// Committed batches that the tables don't hold yet.
pub const PROJECTOR_LAG_BATCHES: &str = "gavel_projector_lag_batches";
/// Age of the oldest of them, a tenth of a second too much at most.
pub const PROJECTOR_LAG_SECONDS: &str = "gavel_projector_lag_seconds";
/// Rows (events) that the projector has written.
pub const PROJECTED_EVENTS: &str = "gavel_projected_events_total";
/// How long a recovery took.
pub const RECOVERY_SECONDS: &str = "gavel_recovery_seconds";
/// Bytes of batches that the journal keeps.
pub const JOURNAL_BYTES: &str = "gavel_journal_bytes";
/// Lots in memory.
pub const LOTS_LIVE: &str = "gavel_lots_live";
/// Prices that a winner's wallet did not pay: lots that stay unsettled.
pub const CAPTURES_REFUSED: &str = "gavel_captures_refused_total";
/// Lots and wallets rebuilt from snapshot and journal after a panic.
pub const ACTOR_REBUILDS: &str = "gavel_actor_rebuilds_total";
/// Shards recovered after a failed append.
pub const SHARD_RECOVERIES: &str = "gavel_shard_recoveries_total";

/// Handles that are looked up once and used for every bid.
pub struct Meters {
    /// Accepted.
    pub accepted: Counter,
    /// The same receipt again.
    pub repeated: Counter,
    /// See [`BID_RECEIPT_SECONDS`].
    pub receipt_seconds: Histogram,
    /// See [`COMMIT_BATCH_EVENTS`].
    pub batch_events: Histogram,
    /// See [`COMMIT_SECONDS`].
    pub commit_seconds: Histogram,
    /// See [`RECOVERY_SECONDS`].
    pub recovery_seconds: Histogram,
    /// See [`LOTS_LIVE`].
    pub lots_live: Gauge,
    refused: [Counter; REFUSALS.len()],
}

/// Outcomes of refused bids, in the order of [`number`].
const REFUSALS: [&str; 12] = [
    "lot_not_open",
    "lot_paused",
    "lot_closed",
    "bid_too_low",
    "max_not_raised",
    "already_leading",
    "bid_id_conflict",
    "invalid",
    "conflict",
    "insufficient_funds",
    "not_registered",
    "limit_exceeded",
];

const fn number(reject: &Reject) -> usize {
    match reject {
        Reject::LotNotOpen => 0,
        Reject::LotPaused => 1,
        Reject::LotClosed => 2,
        Reject::BidTooLow { .. } => 3,
        Reject::MaxNotRaised { .. } => 4,
        Reject::AlreadyLeading => 5,
        Reject::BidIdConflict => 6,
        Reject::InvalidBid(_) => 7,
        Reject::Conflict(_) => 8,
        Reject::InsufficientFunds { .. } => 9,
        Reject::NotRegistered => 10,
        Reject::LimitExceeded(_) => 11,
    }
}

impl Meters {
    /// Looks the handles up in the installed recorder.
    #[must_use]
    pub fn new() -> Self {
        Self {
            accepted: counter!(BIDS, "outcome" => "accepted"),
            repeated: counter!(BIDS, "outcome" => "repeated"),
            refused: REFUSALS.map(|outcome| counter!(BIDS, "outcome" => outcome)),
            receipt_seconds: histogram!(BID_RECEIPT_SECONDS),
            batch_events: histogram!(COMMIT_BATCH_EVENTS),
            commit_seconds: histogram!(COMMIT_SECONDS),
            recovery_seconds: histogram!(RECOVERY_SECONDS),
            lots_live: gauge!(LOTS_LIVE),
        }
    }

    /// Counts a refused bid.
    pub fn refused(&self, reject: &Reject) {
        self.refused[number(reject)].increment(1);
    }
}

impl Default for Meters {
    fn default() -> Self {
        Self::new()
    }
}
