//! Batches: what is appended to a shard's journal at once, all of it or nothing.

use crate::{
    act::Act,
    event::Recorded,
    ids::{Epoch, OwnerId, ShardId},
    shard::keys::KeyUse,
    time::Timestamp,
    wallet::event::WalletRecorded,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The place of a batch in its shard's journal. Ordered as the journal is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchId {
    /// The owner's epoch.
    pub epoch: Epoch,
    /// Counts from 0 in each epoch; number 0 opens it.
    pub number: u64,
}

impl BatchId {
    /// The batch after this one in the same epoch.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { epoch: self.epoch, number: self.number + 1 }
    }
}

impl std::fmt::Display for BatchId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.epoch.0, self.number)
    }
}

/// One fact in a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A new owner took the shard over.
    EpochOpened {
        /// The opening process: two owners never write the same opening.
        owner: OwnerId,
        /// By its clock.
        at: Timestamp,
    },
    /// Something happened to a lot.
    Lot(Arc<Recorded>),
    /// A request with an idempotency key took effect in this batch.
    Key(Arc<KeyUse>),
    /// Something happened to a wallet.
    Wallet(Arc<WalletRecorded>),
    /// Somebody did something to a lot; its events are in the same batch. Last, so that records from
    /// before there were any can be read.
    Act(Arc<Act>),
}

/// Entries that become durable together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whose journal.
    pub shard: ShardId,
    /// Where in it.
    pub id: BatchId,
    /// In order.
    pub entries: Vec<Entry>,
}
