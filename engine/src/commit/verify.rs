//! Is a shard's journal whole, and does it agree with the archive? Repairs its end where the archive
//! can; refuses where a repair would be a guess.

use super::failure::RecoveryError;
use crate::{
    limits,
    ports::{
        Storage, StorageError,
        format::{Damage, Digest, Mark, Sealed},
        journal::Page,
    },
    projection::backlog::Committed,
};
use gavel_domain::{
    ids::{Epoch, OwnerId, ShardId},
    shard::batch::{BatchId, Entry},
};
use std::{sync::Arc, time::Instant};

/// A journal that is whole from its first kept batch to its end.
#[derive(Debug)]
pub(crate) struct Verified {
    /// The digest before the first kept batch; none where the journal is empty.
    pub(crate) first_previous: Option<Digest>,
    /// The last batch; none where nothing was ever written.
    pub(crate) end: Option<Mark>,
    /// The snapshots' marker is a place of this journal, or the one just before it.
    pub(crate) holds_marker: bool,
    holds_cursor: bool,
    /// Where the tables end, as far as is known: what is in the archive is in all of them.
    pub(crate) cursor: Option<Mark>,
    /// The batches after that, as far as they may be kept.
    pub(crate) tail: Kept,
}

/// Batches after a place, in order; all of them or, beyond a bound, none.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) batches: Vec<Arc<Committed>>,
    /// Bytes that may still come.
    left: usize,
}

impl Kept {
    /// Up to so many bytes.
    const fn up_to(bytes: usize) -> Self {
        Self { batches: Vec::new(), left: bytes }
    }

    pub(crate) fn push(&mut self, batch: Arc<Committed>) {
        match self.left.checked_sub(batch.sealed.bytes.len()) {
            Some(left) => {
                self.left = left;
                self.batches.push(batch);
            }
            None => *self = Self::up_to(0),
        }
    }
}

/// Places that others believe to be in a journal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Believed {
    /// Where the tables end.
    pub(crate) cursor: Option<Mark>,
    /// Where the snapshots stand.
    pub(crate) marker: Option<Mark>,
}

/// What an owner that goes on knows of its journal, beside what is stored.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    /// The owner.
    pub(crate) owner: OwnerId,
    /// The last batch that was acknowledged.
    pub(crate) head: Mark,
    /// Acknowledged batches after the tables' end, in order, as far as they are in memory.
    pub(crate) batches: Vec<Arc<Committed>>,
}

impl Verified {
    /// Of nothing yet. An owner that goes on may keep what it had in memory anyway; while all shards of a
    /// process start, each may keep little.
    fn beginning(cursor: Option<Mark>, goes_on: bool) -> Self {
        let tail = Kept::up_to(if goes_on { limits::BACKLOG_BYTES } else { limits::START_TAIL_BYTES });
        Self { first_previous: None, end: None, holds_marker: false, holds_cursor: false, cursor, tail }
    }

    /// One batch further, in the tables or not.
    fn takes(&mut self, batch: Arc<Committed>, believed: Believed) {
        self.goes_on(&batch.sealed, believed);
        if self.cursor.is_none_or(|cursor| batch.sealed.id > cursor.id) {
            self.tail.push(batch);
        }
    }

    /// One batch further.
    fn goes_on(&mut self, sealed: &Sealed, believed: Believed) {
        let is_first = self.end.is_none();
        let met = |mark: Option<Mark>| {
            mark.is_some_and(|mark| mark == sealed.mark() || (is_first && mark.hash == sealed.previous && mark.id < sealed.id))
        };
        self.holds_marker |= met(believed.marker);
        self.holds_cursor |= met(believed.cursor);
        self.first_previous.get_or_insert(sealed.previous);
        self.end = Some(sealed.mark());
    }
}

/// Walks a shard's whole journal and its seam with the archive, then with what its owner remembers.
pub(crate) async fn verify(
    shard: ShardId,
    storage: &Storage,
    believed: Believed,
    memory: Option<&Memory>,
) -> Result<Verified, RecoveryError> {
    let walker = Walker { shard, storage, believed, memory };
    let mut verified = walker.walk().await?;
    if let Some(cursor) = believed.cursor {
        if verified.end.is_none_or(|end| end.id < cursor.id) {
            walker.complete_from_archive(&mut verified).await?;
        }
        if !verified.holds_cursor {
            return Err(RecoveryError::Forked { shard, batch: cursor.id });
        }
    }
    if let Some(memory) = memory {
        walker.complete_from_memory(&mut verified, memory).await?;
    }
    Ok(verified)
}

/// Batches that go back into a journal at once.
const EXTENSION: usize = 256;

struct Walker<'a> {
    shard: ShardId,
    storage: &'a Storage,
    believed: Believed,
    memory: Option<&'a Memory>,
}

impl Walker<'_> {
    async fn walk(&self) -> Result<Verified, RecoveryError> {
        let mut verified = Verified::beginning(self.believed.cursor, self.memory.is_some());
        let mut own_epochs = self.memory.map_or_else(Vec::new, |memory| vec![memory.head.id.epoch]);
        loop {
            let after = verified.end.map(|end| end.id);
            let page = self.read(after).await?;
            if page.is_empty() {
                return Ok(verified);
            }
            for sealed in page {
                let entries = match self.storage.format.open(&sealed) {
                    Ok(entries) => entries,
                    Err(damage) => {
                        self.cut_off_damaged_end(&sealed, damage, verified.end).await?;
                        return Ok(verified);
                    }
                };
                self.check_owner(&sealed, &entries, &mut own_epochs)?;
                self.check_seam(&sealed, verified.end)?;
                verified.takes(Arc::new(Committed { sealed: Arc::new(sealed), entries, at: Instant::now() }), self.believed);
            }
        }
    }

    /// An owner that goes on meets nobody else's batches after its own: whoever opened a later epoch has
    /// the shard now.
    fn check_owner(&self, sealed: &Sealed, entries: &[Entry], own_epochs: &mut Vec<Epoch>) -> Result<(), RecoveryError> {
        let Some(memory) = self.memory.filter(|memory| sealed.id > memory.head.id) else { return Ok(()) };
        if own_epochs.contains(&sealed.id.epoch) {
            return Ok(());
        }
        let opened = entries.iter().any(|entry| matches!(entry, Entry::EpochOpened { owner, .. } if *owner == memory.owner));
        if !opened {
            return Err(RecoveryError::Fenced { shard: self.shard });
        }
        own_epochs.push(sealed.id.epoch);
        Ok(())
    }

    /// A batch must follow the one before it, and agree with the tables' cursor where they meet.
    fn check_seam(&self, sealed: &Sealed, before: Option<Mark>) -> Result<(), RecoveryError> {
        let shard = self.shard;
        if let Some(end) = before.filter(|end| end.hash != sealed.previous) {
            return Err(RecoveryError::Gap { shard, batch: sealed.id, after: end.id });
        }
        let Some(cursor) = self.believed.cursor else { return Ok(()) };
        if cursor.id == sealed.id && cursor.hash != sealed.hash {
            return Err(RecoveryError::Forked { shard, batch: sealed.id });
        }
        if before.is_none() && cursor.id < sealed.id && cursor.hash != sealed.previous {
            return Err(RecoveryError::CursorTooOld { shard, cursor: cursor.id, first: sealed.id });
        }
        Ok(())
    }

    /// Damage is repaired only at the end: nothing intact may follow. What the archive does not hold
    /// either is named, and kept aside.
    async fn cut_off_damaged_end(&self, damaged: &Sealed, damage: Damage, end: Option<Mark>) -> Result<(), RecoveryError> {
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
            if self.believed.cursor.is_none_or(|cursor| cursor.id < id) {
                tracing::error!(%shard, batch = %id, "lost: neither the journal nor the archive holds this batch");
            }
        }
        Ok(())
    }

    /// The journal is a prefix of the archive: it gets the rest under the original ids.
    async fn complete_from_archive(&self, verified: &mut Verified) -> Result<(), RecoveryError> {
        let shard = self.shard;
        let mut added = self.begin_at_cursor(verified).await?;
        loop {
            let after = verified.end.map(|end| end.id);
            let batches = self.storage.tables.archived(shard, after, EXTENSION).await.map_err(|error| self.failed(error))?;
            let Some(first) = batches.first() else { break };
            let expected = verified.end.unwrap_or_default().hash;
            if first.previous != expected {
                return Err(RecoveryError::Forked { shard, batch: first.id });
            }
            self.storage.journal.extend(shard, expected, batches.clone()).await.map_err(|error| self.failed(error))?;
            added += batches.len();
            batches.iter().for_each(|sealed| verified.goes_on(sealed, self.believed));
            // The projector may have gone on since the cursor was read.
            verified.cursor = verified.end.filter(|end| verified.cursor.is_none_or(|cursor| cursor.id < end.id)).or(verified.cursor);
        }
        if added > 0 {
            tracing::warn!(%shard, batches = added, "the journal was behind the archive: completed from it");
        }
        Ok(())
    }

    /// Where nothing is left, and the store lets a stream begin anywhere, it begins with the batch at which
    /// the tables end: what was before is in the archive, and need not come back.
    async fn begin_at_cursor(&self, verified: &mut Verified) -> Result<usize, RecoveryError> {
        let (shard, journal) = (self.shard, &self.storage.journal);
        let Some(cursor) = self.believed.cursor.filter(|_| verified.end.is_none() && journal.begins_anywhere()) else { return Ok(0) };
        let archived = self.storage.tables.archived_batch(shard, cursor.id).await.map_err(|error| self.failed(error))?;
        let Some(sealed) = archived.filter(|sealed| sealed.mark() == cursor) else { return Ok(0) };
        journal.extend(shard, sealed.previous, vec![sealed.clone()]).await.map_err(|error| self.failed(error))?;
        verified.goes_on(&sealed, self.believed);
        Ok(1)
    }

    /// The journal lacks what was acknowledged and what this owner still remembers: it gets that back under
    /// the original ids. What is remembered nowhere either is named.
    async fn complete_from_memory(&self, verified: &mut Verified, memory: &Memory) -> Result<(), RecoveryError> {
        let shard = self.shard;
        let mut missing = Vec::new();
        let mut end = verified.end.unwrap_or_default();
        for batch in memory.batches.iter().skip_while(|batch| verified.end.is_some_and(|end| batch.sealed.id <= end.id)) {
            if batch.sealed.previous != end.hash {
                break;
            }
            end = batch.sealed.mark();
            missing.push(batch);
        }
        let added = missing.len();
        for part in missing.chunks(EXTENSION) {
            let before = verified.end.unwrap_or_default().hash;
            let batches = part.iter().map(|batch| Sealed::clone(&batch.sealed)).collect();
            self.storage.journal.extend(shard, before, batches).await.map_err(|error| self.failed(error))?;
            part.iter().for_each(|batch| verified.takes(Arc::clone(batch), self.believed));
        }
        if added > 0 {
            tracing::warn!(%shard, batches = added, "the journal lacked acknowledged batches: written back from memory");
        }
        if end.id < memory.head.id {
            tracing::error!(
                %shard, after = %end.id, up_to = %memory.head.id,
                "lost: neither the journal, nor the archive, nor this process' memory holds these batches"
            );
        }
        Ok(())
    }

    async fn read(&self, after: Option<BatchId>) -> Result<Vec<Sealed>, RecoveryError> {
        let page = Page { after, bytes: limits::READ_BYTES };
        self.storage.journal.read(self.shard, page).await.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: StorageError) -> RecoveryError {
        RecoveryError::storage(self.shard, error)
    }
}
