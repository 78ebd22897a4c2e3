//! How batches and snapshots become bytes: versioned, checksummed, chained by hash.

use gavel_domain::{
    event::Recorded,
    ids::ShardId,
    lot::{Lot, view::LotView},
    shard::{
        batch::{BatchId, Entry},
        keys::Keys,
    },
    wallet::Wallet,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A digest of a batch and, through its predecessor's, of all before it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A place in a shard's history: a batch, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mark {
    /// Which batch.
    pub id: BatchId,
    /// Its digest.
    pub hash: Digest,
}

/// A batch as it is stored. A retry of an append sends the identical value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Whose journal.
    pub shard: ShardId,
    /// Where in it.
    pub id: BatchId,
    /// The digest of the batch before; [`Digest::default`] for the very first.
    pub previous: Digest,
    /// The digest of this one.
    pub hash: Digest,
    /// The whole record, with its header.
    pub bytes: Arc<[u8]>,
}

impl Sealed {
    /// Its place.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark { id: self.id, hash: self.hash }
    }
}

/// Bytes that are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Not the bytes that were written, or not all of them.
    #[error("damaged: {0}")]
    Corrupt(String),
    /// Written by a later version of Gavel.
    #[error("written by a newer version (record version {found}, this one reads up to {known})")]
    Newer {
        /// As written.
        found: u16,
        /// The newest this build reads.
        known: u16,
    },
}

/// Encodes and decodes. Pure; the same value always gives the same bytes.
pub trait Format: Send + Sync + 'static {
    /// Encodes a batch and chains it to its predecessor.
    fn seal(&self, shard: ShardId, id: BatchId, previous: Digest, entries: &[Entry]) -> Sealed;

    /// Decodes a batch after checking that header, digest, shard, id and predecessor are those of
    /// the [`Sealed`] around it.
    ///
    /// # Errors
    /// It is not what was sealed.
    fn open(&self, sealed: &Sealed) -> Result<Vec<Entry>, Damage>;

    /// Encodes a lot for a snapshot.
    fn encode_lot(&self, lot: &Lot) -> Vec<u8>;

    /// Decodes a lot.
    ///
    /// # Errors
    /// It is not what was encoded.
    fn decode_lot(&self, bytes: &[u8]) -> Result<Lot, Damage>;

    /// Encodes a wallet for a snapshot.
    fn encode_wallet(&self, wallet: &Wallet) -> Vec<u8>;

    /// Decodes a wallet.
    ///
    /// # Errors
    /// It is not what was encoded.
    fn decode_wallet(&self, bytes: &[u8]) -> Result<Wallet, Damage>;

    /// Encodes a shard's idempotency keys for a snapshot.
    fn encode_keys(&self, keys: &Keys) -> Vec<u8>;

    /// Decodes keys.
    ///
    /// # Errors
    /// They are not what was encoded.
    fn decode_keys(&self, bytes: &[u8]) -> Result<Keys, Damage>;

    /// Encodes the picture of a lot for a table row.
    fn encode_view(&self, view: &LotView) -> Vec<u8>;

    /// Decodes a picture.
    ///
    /// # Errors
    /// It is not what was encoded.
    fn decode_view(&self, bytes: &[u8]) -> Result<LotView, Damage>;

    /// Encodes an event for a table row.
    fn encode_event(&self, event: &Recorded) -> Vec<u8>;

    /// Decodes an event.
    ///
    /// # Errors
    /// It is not what was encoded.
    fn decode_event(&self, bytes: &[u8]) -> Result<Recorded, Damage>;
}
