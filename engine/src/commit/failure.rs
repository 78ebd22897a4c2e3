//! Why a shard, or one lot of it, can't be recovered.

use crate::{
    ports::{StorageError, format::Damage},
    tail::TailError,
};
use gavel_domain::{
    ids::{LotId, ShardId},
    shard::{batch::BatchId, entities::Misfit},
};

/// Why a shard can't be recovered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RecoveryError {
    /// Storage did not answer.
    #[error("shard {shard}: {error}")]
    Storage {
        /// Which.
        shard: ShardId,
        /// Why.
        error: StorageError,
    },
    /// A batch in the middle of the journal is not what was written. Nothing was changed.
    #[error(
        "shard {shard}: batch {batch} in the middle of the journal is {damage}; intact batches follow it, so cutting it off would lose them. {archive}"
    )]
    DamagedMiddle {
        /// Which shard.
        shard: ShardId,
        /// Which batch.
        batch: BatchId,
        /// How.
        damage: Damage,
        /// Whether the archive could help.
        archive: &'static str,
    },
    /// Batches are missing between two others.
    #[error("shard {shard}: the journal has a gap before batch {batch}: it does not follow {after}")]
    Gap {
        /// Which shard.
        shard: ShardId,
        /// The first batch after the gap.
        batch: BatchId,
        /// The last batch before it.
        after: BatchId,
    },
    /// Journal and archive tell different stories under the same id.
    #[error("shard {shard}: batch {batch} differs between the journal and the archive: two writers, or data from different places")]
    Forked {
        /// Which shard.
        shard: ShardId,
        /// Which batch.
        batch: BatchId,
    },
    /// The tables stand at a place that the journal has forgotten.
    #[error(
        "shard {shard}: the tables end at batch {cursor}, but the journal starts after that, at {first}: batches between are in neither"
    )]
    CursorTooOld {
        /// Which shard.
        shard: ShardId,
        /// Where the tables end.
        cursor: BatchId,
        /// The first batch kept.
        first: BatchId,
    },
    /// No snapshot that can be used, and the archive does not reach back to the beginning.
    #[error("shard {shard}: no usable snapshot ({reason}), and neither the journal nor the archive reaches back to the first batch")]
    NoBase {
        /// Which shard.
        shard: ShardId,
        /// What is wrong with the snapshot.
        reason: String,
    },
    /// A batch whose bytes are not what was written, met after the journal was found whole.
    #[error("shard {shard}: batch {batch} is {damage}")]
    Damaged {
        /// Which shard.
        shard: ShardId,
        /// Which batch.
        batch: BatchId,
        /// How.
        damage: Damage,
    },
    /// A record of a later version.
    #[error("shard {shard}: batch {batch} is {damage}")]
    Newer {
        /// Which shard.
        shard: ShardId,
        /// Which batch.
        batch: BatchId,
        /// How.
        damage: Damage,
    },
    /// The journal's events do not fit together.
    #[error("shard {shard}: {misfit}")]
    Misfit {
        /// Which shard.
        shard: ShardId,
        /// How.
        misfit: Misfit,
    },
    /// A lot that lives is in neither snapshot nor journal.
    #[error("shard {shard}: neither the snapshots nor the journal know lot {lot}")]
    LostLot {
        /// Which shard.
        shard: ShardId,
        /// Which lot.
        lot: LotId,
    },
    /// A thread of shards ended while it recovered them: a bug.
    #[error("thread {thread} of the shards died while it recovered them")]
    ThreadDied {
        /// Which, from 0.
        thread: usize,
    },
    /// The journal changed while it was read: another owner, or a late append of one's own, or a store that was emptied.
    #[error("shard {shard}: the journal was changed while it was being recovered, as by another server")]
    Overtaken {
        /// Which shard.
        shard: ShardId,
    },
    /// Another owner has opened a later epoch.
    #[error("shard {shard}: another server has taken it over")]
    Fenced {
        /// Which shard.
        shard: ShardId,
    },
}

impl RecoveryError {
    pub(crate) const fn storage(shard: ShardId, error: StorageError) -> Self {
        Self::Storage { shard, error }
    }

    pub(crate) const fn damaged(shard: ShardId, batch: BatchId, damage: Damage) -> Self {
        match damage {
            Damage::Newer { .. } => Self::Newer { shard, batch, damage },
            Damage::Corrupt(_) => Self::Damaged { shard, batch, damage },
        }
    }

    pub(crate) fn tail(shard: ShardId, error: TailError) -> Self {
        match error {
            TailError::Storage(error) => Self::Storage { shard, error },
            TailError::Gap { batch, after } => Self::Gap { shard, batch, after },
            TailError::Damaged { batch, damage } => Self::damaged(shard, batch, damage),
        }
    }
}
