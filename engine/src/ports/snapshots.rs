//! Snapshots: encoded entities and the place in the journal that they include.

use super::{PortFuture, StorageError, format::Mark};
use gavel_domain::ids::{BidderId, LotId, ShardId};

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntityKey {
    /// A lot.
    Lot(LotId),
    /// The shard's idempotency keys.
    Keys,
    /// A bidder's wallet.
    Wallet(BidderId),
}

/// A shard as it was saved: every entity includes all events up to `marker`, some may include more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotSet {
    /// Recovery replays what comes after it.
    pub marker: Mark,
    /// Encoded by [`super::format::Format`].
    pub entities: Vec<(EntityKey, Vec<u8>)>,
}

/// One backend's snapshots.
pub trait Snapshots: Send + Sync + 'static {
    /// All of a shard; none if it was never saved.
    fn load(&self, shard: ShardId) -> PortFuture<Option<SnapshotSet>, StorageError>;

    /// One entity, with the shard's marker; none if that entity was never saved.
    fn load_one(&self, shard: ShardId, key: EntityKey) -> PortFuture<Option<(Mark, Vec<u8>)>, StorageError>;

    /// Writes changed entities, removes others and moves the marker, all or nothing, but for this: entities
    /// of a save that did not end may be newer than the marker that counts. A store that can be
    /// emptied under its owner refuses where what was loaded or saved before is gone: what changed alone is no snapshot.
    fn save(&self, shard: ShardId, changed: SnapshotSet, removed: Vec<EntityKey>) -> PortFuture<(), StorageError>;
}
