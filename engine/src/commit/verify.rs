//! Is a shard's journal whole, and does it agree with the archive? Repairs its end where the archive
//! can; refuses where a repair would be a guess.

use crate::{
    limits,
    ports::{
        Storage, StorageError,
        format::{Damage, Digest, Mark, Sealed},
        journal::Page,
    },
};
use gavel_domain::{ids::ShardId, shard::batch::BatchId, shard::entities::Misfit};

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
    /// Another owner opened an epoch meanwhile.
    #[error("shard {shard}: another server took it over while it was opening")]
    Fenced {
        /// Which shard.
        shard: ShardId,
    },
}

/// A journal that is whole from its first kept batch to its end.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    /// The digest before the first kept batch; none where the journal is empty.
    pub(crate) first_previous: Option<Digest>,
    /// The last batch; none where nothing was ever written.
    pub(crate) end: Option<Mark>,
}

/// Walks a shard's whole journal and its seam with the archive (`cursor`: where the tables end).
pub(crate) async fn verify(shard: ShardId, storage: &Storage, cursor: Option<Mark>) -> Result<Verified, RecoveryError> {
    let walker = Walker { shard, storage };
    let mut verified = walker.walk(cursor).await?;
    let behind = cursor.is_some_and(|cursor| verified.end.is_none_or(|end| end.id < cursor.id));
    if behind {
        verified.end = walker.complete_from_archive(verified.end).await?.or(verified.end);
    }
    Ok(verified)
}

struct Walker<'a> {
    shard: ShardId,
    storage: &'a Storage,
}

impl Walker<'_> {
    async fn walk(&self, cursor: Option<Mark>) -> Result<Verified, RecoveryError> {
        let mut verified = Verified::default();
        loop {
            let after = verified.end.map(|end| end.id);
            let page = self.read(after).await?;
            if page.is_empty() {
                return Ok(verified);
            }
            for sealed in page {
                if let Err(damage) = self.storage.format.open(&sealed) {
                    self.cut_off_damaged_end(&sealed, damage, verified.end, cursor).await?;
                    return Ok(verified);
                }
                self.check_seam(&sealed, &verified, cursor)?;
                verified.first_previous.get_or_insert(sealed.previous);
                verified.end = Some(sealed.mark());
            }
        }
    }

    /// A batch must follow the one before it, and agree with the tables' cursor where they meet.
    fn check_seam(&self, sealed: &Sealed, before: &Verified, cursor: Option<Mark>) -> Result<(), RecoveryError> {
        let shard = self.shard;
        if let Some(end) = before.end.filter(|end| end.hash != sealed.previous) {
            return Err(RecoveryError::Gap { shard, batch: sealed.id, after: end.id });
        }
        let Some(cursor) = cursor else { return Ok(()) };
        if cursor.id == sealed.id && cursor.hash != sealed.hash {
            return Err(RecoveryError::Forked { shard, batch: sealed.id });
        }
        if before.end.is_none() && cursor.id < sealed.id && cursor.hash != sealed.previous {
            return Err(RecoveryError::CursorTooOld { shard, cursor: cursor.id, first: sealed.id });
        }
        Ok(())
    }

    /// Damage is repaired only at the end: nothing intact may follow. What the archive does not hold
    /// either is named, and kept aside.
    async fn cut_off_damaged_end(
        &self,
        damaged: &Sealed,
        damage: Damage,
        end: Option<Mark>,
        cursor: Option<Mark>,
    ) -> Result<(), RecoveryError> {
        let (shard, batch) = (self.shard, damaged.id);
        if matches!(damage, Damage::Newer { .. }) {
            return Err(RecoveryError::Newer { shard, batch, damage });
        }
        let mut lost = vec![batch];
        let mut after = Some(batch);
        loop {
            let page = self.read(after).await?;
            if page.is_empty() {
                break;
            }
            for sealed in page {
                if self.storage.format.open(&sealed).is_ok() {
                    let archived = self.storage.tables.archived_batch(shard, batch).await.map_err(|error| self.failed(error))?;
                    let archive = match archived {
                        Some(_) => "The archive holds a copy of it.",
                        None => "The archive does not hold it.",
                    };
                    return Err(RecoveryError::DamagedMiddle { shard, batch, damage, archive });
                }
                lost.push(sealed.id);
                after = Some(sealed.id);
            }
        }
        self.storage.journal.set_aside(shard, batch).await.map_err(|error| self.failed(error))?;
        tracing::warn!(%shard, %batch, %damage, after = ?end.map(|end| end.id), "the end of the journal is damaged: set aside, repairing from the archive");
        for id in lost {
            if cursor.is_none_or(|cursor| cursor.id < id) {
                tracing::error!(%shard, batch = %id, "lost: neither the journal nor the archive holds this batch");
            }
        }
        Ok(())
    }

    /// The journal is a prefix of the archive: it gets the rest under the original ids.
    async fn complete_from_archive(&self, end: Option<Mark>) -> Result<Option<Mark>, RecoveryError> {
        let (shard, mut end) = (self.shard, end);
        let mut added = 0_usize;
        loop {
            let after = end.map(|end| end.id);
            let batches = self.storage.tables.archived(shard, after, 256).await.map_err(|error| self.failed(error))?;
            let (Some(first), Some(last)) = (batches.first(), batches.last()) else { break };
            let expected = end.map_or(Digest::default(), |end| end.hash);
            if first.previous != expected {
                return Err(RecoveryError::Forked { shard, batch: first.id });
            }
            let new_end = last.mark();
            added += batches.len();
            self.storage.journal.extend(shard, expected, batches).await.map_err(|error| self.failed(error))?;
            end = Some(new_end);
        }
        if added > 0 {
            tracing::warn!(%shard, batches = added, "the journal was behind the archive: completed from it");
        }
        Ok(end)
    }

    async fn read(&self, after: Option<BatchId>) -> Result<Vec<Sealed>, RecoveryError> {
        let page = Page { after, bytes: limits::READ_BYTES };
        self.storage.journal.read(self.shard, page).await.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: StorageError) -> RecoveryError {
        RecoveryError::Storage { shard: self.shard, error }
    }
}
