//! A shard's state from what is stored: snapshot and the journal after it, or the archive from its
//! first batch where there is no usable snapshot. Then a new epoch is opened.

use super::{
    failure::RecoveryError,
    verify::{Believed, Memory, Verified, verify},
};
use crate::{
    ports::{
        Storage, StorageError,
        format::{Damage, Digest, Mark, Sealed},
        journal::AppendError,
        snapshots::{EntityKey, SnapshotSet},
    },
    projection::backlog::Committed,
    tail::Tail,
};
use gavel_domain::{
    ids::{Epoch, OwnerId, ShardId},
    shard::{
        batch::{BatchId, Entry},
        entities::Entities,
    },
    time::Timestamp,
};
use std::{sync::Arc, time::Instant};

/// A shard that is ready to go on.
pub(crate) struct Recovered {
    pub(crate) entities: Entities,
    /// The batch that opened the new epoch, as it is in the journal.
    pub(crate) opened: Arc<Sealed>,
    /// Where the tables end.
    pub(crate) cursor: Option<Mark>,
    /// What leads from there to it, itself included, as far as that may be kept.
    pub(crate) tail: Vec<Arc<Committed>>,
    /// The last batch before it: what happened to these lots is in the journal up to here.
    pub(crate) end: BatchId,
    /// Where the snapshots stand.
    pub(crate) marker: Option<Mark>,
    /// Bytes of the journal after the marker: what the next recovery would replay.
    pub(crate) replayed_bytes: usize,
    /// What is saved was of no use and must be replaced as a whole; what is in it and does not live.
    pub(crate) useless: Option<Vec<EntityKey>>,
}

/// Where replay starts.
struct Base {
    entities: Entities,
    at: Option<Mark>,
    /// What is in a snapshot that could not be used.
    useless: Option<Vec<EntityKey>>,
}

/// Recovers a shard. `now` is the wall's time; `memory` is what an owner that goes on knows.
pub(crate) async fn recover(
    shard: ShardId,
    storage: &Storage,
    owner: OwnerId,
    cursor: Option<Mark>,
    memory: Option<&Memory>,
    now: Timestamp,
) -> Result<Recovered, RecoveryError> {
    let reader = Reader { shard, storage };
    let saved = storage.snapshots.load(shard).await.map_err(|error| reader.failed(error))?;
    let believed = Believed { cursor, marker: saved.as_ref().map(|saved| saved.marker) };
    let verified = verify(shard, storage, believed, memory).await?;
    let Base { mut entities, at: marker, useless } = reader.base(saved, &verified).await?;
    let replayed_bytes = reader.replay_journal(&mut entities, marker).await?;
    let at = now.max(entities.latest);
    let end = verified.end.unwrap_or_default();
    let opening = vec![Entry::EpochOpened { owner, at }];
    let opened = Arc::new(storage.format.seal(shard, BatchId { epoch: next_epoch(end, at), number: 0 }, end.hash, &opening));
    match storage.journal.append(Arc::clone(&opened)).await {
        Ok(()) => {}
        Err(AppendError::Mismatch) => return Err(RecoveryError::Overtaken { shard }),
        Err(AppendError::Refused(error) | AppendError::Unknown(error)) => return Err(reader.failed(error)),
    }
    entities.latest = at;
    let (cursor, mut tail) = (verified.cursor, verified.tail);
    tail.push(Arc::new(Committed { sealed: Arc::clone(&opened), entries: opening, at: Instant::now() }));
    let tail = tail.batches;
    let lives = |key: &EntityKey| match key {
        EntityKey::Lot(lot) => entities.lots.contains_key(lot),
        EntityKey::Wallet(bidder) => entities.wallets.contains_key(bidder),
        EntityKey::Keys => true,
    };
    let useless = useless.map(|keys| keys.into_iter().filter(|key| !lives(key)).collect());
    Ok(Recovered { entities, opened, cursor, tail, end: end.id, marker, replayed_bytes, useless })
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
    async fn base(&self, saved: Option<SnapshotSet>, verified: &Verified) -> Result<Base, RecoveryError> {
        let Some(saved) = saved else {
            let reaches_back = verified.first_previous.is_none_or(|previous| previous == Digest::default());
            if reaches_back {
                return Ok(Base { entities: Entities::default(), at: None, useless: None });
            }
            return self.replay_archive("none was saved".to_owned(), verified).await;
        };
        let reason = if verified.holds_marker {
            match self.decode(&saved) {
                Ok(entities) => return Ok(Base { entities, at: Some(saved.marker), useless: None }),
                Err(damage) => damage.to_string(),
            }
        } else {
            format!("it is of batch {}, which is not in the journal's history", saved.marker.id)
        };
        tracing::warn!(shard = %self.shard, %reason, "the snapshot can't be used");
        let base = if verified.first_previous == Some(Digest::default()) {
            Base { entities: Entities::default(), at: None, useless: None }
        } else {
            self.replay_archive(reason, verified).await?
        };
        Ok(Base { useless: Some(saved.entities.into_iter().map(|(key, _)| key).collect()), ..base })
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
    async fn replay_archive(&self, reason: String, verified: &Verified) -> Result<Base, RecoveryError> {
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
                if sealed.previous != at.unwrap_or_default().hash {
                    return Err(RecoveryError::NoBase { shard: self.shard, reason });
                }
                let opened = self.storage.format.open(&sealed);
                let entries = opened.map_err(|damage| RecoveryError::damaged(self.shard, sealed.id, damage))?;
                self.apply(&mut entities, &entries)?;
                at = Some(sealed.mark());
                if verified.first_previous == Some(sealed.hash) {
                    return Ok(Base { entities, at, useless: None });
                }
            }
        }
    }

    /// Replays the journal after a place; tells how many bytes that were.
    async fn replay_journal(&self, entities: &mut Entities, after: Option<Mark>) -> Result<usize, RecoveryError> {
        let mut tail = Tail::after(self.shard, self.storage, after);
        let mut bytes = 0;
        loop {
            let page = tail.next().await.map_err(|error| RecoveryError::tail(self.shard, error))?;
            if page.is_empty() {
                return Ok(bytes);
            }
            for batch in &page {
                bytes += batch.sealed.bytes.len();
                self.apply(entities, &batch.entries)?;
            }
        }
    }

    fn apply(&self, entities: &mut Entities, entries: &[Entry]) -> Result<(), RecoveryError> {
        let shard = self.shard;
        entries.iter().try_for_each(|entry| entities.apply(entry)).map_err(|misfit| RecoveryError::Misfit { shard, misfit })
    }

    const fn failed(&self, error: StorageError) -> RecoveryError {
        RecoveryError::storage(self.shard, error)
    }
}
