//! The journal: one append-only stream a shard. What is not in it did not happen.

use super::{
    PortFuture, StorageError,
    format::{Digest, Sealed},
};
use gavel_domain::{ids::ShardId, shard::batch::BatchId};
use std::sync::Arc;

/// Why an append did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The stream does not end where the writer believes: somebody else wrote, or something is lost.
    /// Nothing was appended.
    #[error("the journal does not end at the expected batch")]
    Mismatch,
    /// The store refused; nothing was appended (a full disk, a read-only file).
    #[error("nothing appended: {0}")]
    Refused(StorageError),
    /// Nobody can say whether the batch is in the journal: reread its tail.
    #[error("fate unknown: {0}")]
    Unknown(StorageError),
}

/// How much a reader takes at once.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Starts after this batch; none: at the oldest kept.
    pub after: Option<BatchId>,
    /// Stops once this many bytes are read (at least one batch is given if there is one).
    pub bytes: usize,
}

/// One backend's journal. Safe to call from any thread; calls for different shards run side by side.
pub trait Journal: Send + Sync + 'static {
    /// Compare-and-append: succeeds only if the shard's stream ends with a batch of digest
    /// `previous` (or holds nothing and `previous` is the default), and returns once it is durable.
    /// If the stream already ends with this very batch, that is success too.
    fn append(&self, batch: Arc<Sealed>) -> PortFuture<(), AppendError>;

    /// Batches in order. They are as stored: opening them tells whether they are intact.
    fn read(&self, shard: ShardId, page: Page) -> PortFuture<Vec<Sealed>, StorageError>;

    /// Forgets batches up to and including `up_to`, but never the last one of the stream.
    fn trim(&self, shard: ShardId, up_to: BatchId) -> PortFuture<(), StorageError>;

    /// Puts batches from the archive behind the stream's end, under their own ids, after checking
    /// that the first follows `end` and `end` is the stream's last digest. All or nothing.
    /// A stream that holds nothing may begin with any batch where [`Journal::begins_anywhere`].
    fn extend(&self, shard: ShardId, end: Digest, batches: Vec<Sealed>) -> PortFuture<(), StorageError>;

    /// Whether a stream that holds nothing may be given a beginning that follows what only the archive holds.
    fn begins_anywhere(&self) -> bool {
        false
    }

    /// Moves the batches from `from` on aside (they stay on disk, out of the stream).
    fn set_aside(&self, shard: ShardId, from: BatchId) -> PortFuture<(), StorageError>;

    /// Bytes of batches that are kept, all shards together. Cheap: called often.
    fn kept_bytes(&self) -> u64;

    /// A round trip through the store that would fail if an append would.
    fn ping(&self) -> PortFuture<(), StorageError>;
}
