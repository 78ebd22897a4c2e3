//! A shard's state from what is stored: snapshot and the journal after it, or the archive from its
//! first batch where there is no usable snapshot. Then a new epoch is opened.

use super::verify::{RecoveryError, Verified, verify};
use crate::{
    limits,
    ports::{
        Storage, StorageError,
        format::{Damage, Digest, Mark, Sealed},
        journal::{AppendError, Page},
        snapshots::{EntityKey, SnapshotSet},
    },
};
use gavel_domain::{
    ids::{Epoch, LotId, OwnerId, ShardId},
    lot::Lot,
    shard::{
        batch::{BatchId, Entry},
        entities::{Entities, catch_up},
    },
    time::Timestamp,
};
use std::sync::Arc;

/// A shard that is ready to go on.
pub(crate) struct Recovered {
    pub(crate) entities: Entities,
    /// The batch that opened the new epoch, as it is in the journal.
    pub(crate) opened: Arc<Sealed>,
    /// Where the snapshots stand.
    pub(crate) marker: Option<Mark>,
    /// Bytes of the journal after the marker: what the next recovery would replay.
    pub(crate) replayed_bytes: usize,
}

/// Recovers a shard. `now` is the wall's time.
pub(crate) async fn recover(
    shard: ShardId,
    storage: &Storage,
    owner: OwnerId,
    cursor: Option<Mark>,
    now: Timestamp,
) -> Result<Recovered, RecoveryError> {
    let verified = verify(shard, storage, cursor).await?;
    let reader = Reader { shard, storage };
    let (mut entities, marker) = reader.base(&verified).await?;
    let replayed_bytes = reader.replay_journal(&mut entities, marker.map(|marker| marker.id)).await?;
    let at = now.max(entities.latest);
    let end = verified.end.unwrap_or_default();
    let opening = vec![Entry::EpochOpened { owner, at }];
    let opened = Arc::new(storage.format.seal(shard, BatchId { epoch: next_epoch(end, at), number: 0 }, end.hash, &opening));
    match storage.journal.append(Arc::clone(&opened)).await {
        Ok(()) => {}
        Err(AppendError::Mismatch) => return Err(RecoveryError::Fenced { shard }),
        Err(AppendError::Refused(error) | AppendError::Unknown(error)) => return Err(reader.failed(error)),
    }
    entities.latest = at;
    Ok(Recovered { entities, opened, marker, replayed_bytes })
}

/// Above every epoch seen, and above every one a lost store may have seen: no owner opens two within
/// a second of each other without knowing of the first.
fn next_epoch(end: Mark, now: Timestamp) -> Epoch {
    let seconds = u64::try_from(now.as_millis() / 1000).unwrap_or(0);
    Epoch(seconds.max(end.id.epoch.0 + 1))
}

struct Reader<'a> {
    shard: ShardId,
    storage: &'a Storage,
}

impl Reader<'_> {
    /// Where replay starts: the snapshot, or nothing where the journal is whole from its beginning,
    /// or the archive.
    async fn base(&self, verified: &Verified) -> Result<(Entities, Option<Mark>), RecoveryError> {
        let snapshot = self.storage.snapshots.load(self.shard).await.map_err(|error| self.failed(error))?;
        let reason = match snapshot {
            Some(set) if verified.end.is_none_or(|end| end.id < set.marker.id) => {
                format!("it is of batch {}, which is after the journal's end", set.marker.id)
            }
            Some(set) => match self.decode(&set) {
                Ok(entities) => return Ok((entities, Some(set.marker))),
                Err(damage) => damage.to_string(),
            },
            None => "none was saved".to_owned(),
        };
        let reaches_back = verified.first_previous.is_none_or(|previous| previous == Digest::default());
        if reaches_back {
            return Ok((Entities::default(), None));
        }
        self.replay_archive(reason, verified).await
    }

    fn decode(&self, set: &SnapshotSet) -> Result<Entities, Damage> {
        let mut entities = Entities::default();
        for (key, bytes) in &set.entities {
            match key {
                EntityKey::Lot(id) => {
                    let lot = self.storage.format.decode_lot(bytes)?;
                    entities.latest = entities.latest.max(lot.last_event_at());
                    entities.lots.insert(*id, lot);
                }
                EntityKey::Wallet(bidder) => {
                    let wallet = self.storage.format.decode_wallet(bytes)?;
                    entities.latest = entities.latest.max(wallet.last_event_at());
                    entities.wallets.insert(bidder.clone(), wallet);
                }
                EntityKey::Keys => entities.keys = self.storage.format.decode_keys(bytes)?,
            }
        }
        Ok(entities)
    }

    /// Everything that ever happened, up to where the journal starts.
    async fn replay_archive(&self, reason: String, verified: &Verified) -> Result<(Entities, Option<Mark>), RecoveryError> {
        tracing::warn!(shard = %self.shard, %reason, "rebuilding from the archive");
        let mut entities = Entities::default();
        let mut at: Option<Mark> = None;
        loop {
            let after = at.map(|at| at.id);
            let batches = self.storage.tables.archived(self.shard, after, 256).await.map_err(|error| self.failed(error))?;
            if batches.is_empty() {
                return Err(RecoveryError::NoBase { shard: self.shard, reason });
            }
            for sealed in batches {
                if sealed.previous != at.map_or(Digest::default(), |at| at.hash) {
                    return Err(RecoveryError::NoBase { shard: self.shard, reason });
                }
                self.apply(&mut entities, &sealed)?;
                at = Some(sealed.mark());
                if verified.first_previous == Some(sealed.hash) {
                    return Ok((entities, at));
                }
            }
        }
    }

    /// Replays the journal after a batch; tells how many bytes that were.
    async fn replay_journal(&self, entities: &mut Entities, after: Option<BatchId>) -> Result<usize, RecoveryError> {
        let (mut after, mut bytes) = (after, 0);
        loop {
            let page = Page { after, bytes: limits::READ_BYTES };
            let batches = self.storage.journal.read(self.shard, page).await.map_err(|error| self.failed(error))?;
            let Some(last) = batches.last() else { return Ok(bytes) };
            after = Some(last.id);
            for sealed in &batches {
                bytes += sealed.bytes.len();
                self.apply(entities, sealed)?;
            }
        }
    }

    fn apply(&self, entities: &mut Entities, sealed: &Sealed) -> Result<(), RecoveryError> {
        let shard = self.shard;
        let entries = self.storage.format.open(sealed).map_err(|damage| RecoveryError::Newer { shard, batch: sealed.id, damage })?;
        entries.iter().try_for_each(|entry| entities.apply(entry)).map_err(|misfit| RecoveryError::Misfit { shard, misfit })
    }

    fn failed(&self, error: StorageError) -> RecoveryError {
        RecoveryError::Storage { shard: self.shard, error }
    }
}

/// One lot as the journal knows it: its snapshot and its events since. What is still on its way into
/// the journal is the caller's to add.
pub(crate) async fn recover_lot(shard: ShardId, lot: LotId, storage: &Storage) -> Result<Option<Lot>, RecoveryError> {
    let reader = Reader { shard, storage };
    let saved = storage.snapshots.load_one(shard, EntityKey::Lot(lot)).await.map_err(|error| reader.failed(error))?;
    let (mut state, mut after) = (None, None);
    if let Some((marker, bytes)) = saved {
        let decoded = storage.format.decode_lot(&bytes);
        state = Some(decoded.map_err(|damage| RecoveryError::NoBase { shard, reason: damage.to_string() })?);
        after = Some(marker.id);
    }
    loop {
        let page = Page { after, bytes: limits::READ_BYTES };
        let batches = storage.journal.read(shard, page).await.map_err(|error| reader.failed(error))?;
        let Some(last) = batches.last() else { return Ok(state) };
        after = Some(last.id);
        for sealed in &batches {
            let entries = storage.format.open(sealed).map_err(|damage| RecoveryError::Newer { shard, batch: sealed.id, damage })?;
            for entry in entries {
                let Entry::Lot(recorded) = entry else { continue };
                if recorded.lot != lot {
                    continue;
                }
                match &mut state {
                    Some(known) => catch_up(known, &recorded).map_err(|misfit| RecoveryError::Misfit { shard, misfit })?,
                    None => state = Lot::from_creation(&recorded),
                }
            }
        }
    }
}
