//! The audit trail: what administrators and auctioneers did, a chain of hashes a shard. A reader of the
//! journal like the other tables: written by projections, never changed.

use super::{StorageError, format::Digest};
use gavel_domain::{
    act::Act,
    event::Recorded,
    ids::{BidderId, Epoch, LotId, Seq, ShardId},
    shard::batch::Entry,
    time::Timestamp,
    wallet::event::{LedgerKind, WalletEvent, WalletRecorded},
};
use std::sync::Arc;

/// A fact of the journal that the audit trail has a row for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audited {
    /// Somebody did something to a lot.
    Act {
        /// Who and what.
        act: Arc<Act>,
        /// The first event that came of it.
        effect: Option<Arc<Recorded>>,
    },
    /// An administrator changed a balance, or said what a bidder may do.
    Wallet(Arc<WalletRecorded>),
}

impl Audited {
    /// In a batch, in order: all but what bidders and the clock brought about.
    pub fn of(batch: &[Entry]) -> impl Iterator<Item = Self> {
        batch.iter().enumerate().filter_map(|(place, entry)| match entry {
            Entry::Act(act) => {
                // Events come before their act, most often just before.
                let effect = batch[..place].iter().rev().find_map(|entry| match entry {
                    Entry::Lot(recorded) if (recorded.lot, recorded.seq) == (act.lot, act.seq) => Some(Arc::clone(recorded)),
                    _ => None,
                });
                Some(Self::Act { act: Arc::clone(act), effect })
            }
            Entry::Wallet(recorded) => match &recorded.event {
                WalletEvent::Posted(line) if line.kind != LedgerKind::Capture => Some(Self::Wallet(Arc::clone(recorded))),
                WalletEvent::Allowed { .. } => Some(Self::Wallet(Arc::clone(recorded))),
                _ => None,
            },
            Entry::EpochOpened { .. } | Entry::Lot(_) | Entry::Key(_) => None,
        })
    }
}

/// A row of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Whose chain.
    pub shard: ShardId,
    /// Its number in it: from 1, none is left out.
    pub number: u64,
    /// When it took effect.
    pub at: Timestamp,
    /// Who acted.
    pub by: Arc<str>,
    /// What was done, in a word.
    pub action: Arc<str>,
    /// To which lot; or
    pub lot: Option<LotId>,
    /// to whose wallet.
    pub wallet: Option<BidderId>,
    /// The epoch that journaled it.
    pub epoch: Epoch,
    /// The event of the lot, or of the wallet, that came of it.
    pub seq: Seq,
    /// A JSON object with the rest.
    pub details: Arc<str>,
    /// The hash of the row before; zeros before the first.
    pub previous: Digest,
    /// Over all of the above.
    pub hash: Digest,
}

/// A row's place in the list of all shards' rows: by time, then by shard and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditPlace {
    /// When it took effect.
    pub at: Timestamp,
    /// Whose chain.
    pub shard: ShardId,
    /// Its number in it.
    pub number: u64,
}

impl AuditRow {
    /// Its place in the list.
    #[must_use]
    pub const fn place(&self) -> AuditPlace {
        AuditPlace { at: self.at, shard: self.shard, number: self.number }
    }
}

/// A page of the list, newest first.
#[derive(Clone, Copy, Debug)]
pub struct AuditPage {
    /// Only what was done to this lot.
    pub lot: Option<LotId>,
    /// Begins with the first row older than this place.
    pub before: Option<AuditPlace>,
    /// At most this many.
    pub limit: usize,
}

/// Why an audit trail is not known to be whole.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditError {
    /// It could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Somebody changed it.
    #[error("the audit trail of shard {shard}, row {number}: {fault}")]
    Broken {
        /// Whose chain.
        shard: ShardId,
        /// The first row that is wrong, or missing.
        number: i64,
        /// What is wrong.
        fault: AuditFault,
    },
}

/// What is wrong with a row of an audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditFault {
    /// Its columns are not those that its hash was made of.
    #[error("it was changed")]
    Changed,
    /// It does not follow the row before.
    #[error("it does not follow the row before")]
    Unchained,
    /// The chain goes on, or should, without it.
    #[error("it is missing")]
    Missing,
}
