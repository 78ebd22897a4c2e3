//! A shard's state from what is stored: snapshot and the journal after it, or the archive from its
//! first batch where there is no usable snapshot. Then a new epoch is opened.

use super::{
    failure::RecoveryError,
    verify::{Believed, Verified, verify},
};
use crate::{
    ports::{
        Storage, StorageError,
        format::{Damage, Digest, Mark, Sealed},
        journal::AppendError,
        snapshots::{EntityKey, SnapshotSet},
    },
    tail::{TRIES, Tail},
};
use gavel_domain::{
    event::Recorded,
    ids::{Epoch, LotId, OwnerId, ShardId},
    lot::Lot,
    shard::{
        batch::{BatchId, Entry},
        entities::{Entities, Misfit, catch_up},
    },
    time::Timestamp,
};
use std::sync::Arc;

/// A shard that is ready to go on.
pub(crate) struct Recovered {
    pub(crate) entities: Entities,
    /// The batch that opened the new epoch, as it is in the journal.
    pub(crate) opened: Arc<Sealed>,
    /// The last batch before it: what happened to these lots is in the journal up to here.
    pub(crate) end: BatchId,
    /// Where the snapshots stand.
    pub(crate) marker: Option<Mark>,
    /// Bytes of the journal after the marker: what the next recovery would replay.
    pub(crate) replayed_bytes: usize,
    /// What is saved was of no use and must be replaced as a whole; the lots in it that don't live.
    pub(crate) useless: Option<Vec<LotId>>,
}

/// Where replay starts.
struct Base {
    entities: Entities,
    at: Option<Mark>,
    /// The lots in a snapshot that could not be used.
    useless: Option<Vec<LotId>>,
}

/// Recovers a shard. `now` is the wall's time.
pub(crate) async fn recover(
    shard: ShardId,
    storage: &Storage,
    owner: OwnerId,
    cursor: Option<Mark>,
    now: Timestamp,
) -> Result<Recovered, RecoveryError> {
    let reader = Reader { shard, storage };
    let saved = storage.snapshots.load(shard).await.map_err(|error| reader.failed(error))?;
    let believed = Believed { cursor, marker: saved.as_ref().map(|saved| saved.marker) };
    let verified = verify(shard, storage, believed).await?;
    let Base { mut entities, at: marker, useless } = reader.base(saved, &verified).await?;
    let replayed_bytes = reader.replay_journal(&mut entities, marker).await?;
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
    let useless = useless.map(|lots| lots.into_iter().filter(|lot| !entities.lots.contains_key(lot)).collect());
    Ok(Recovered { entities, opened, end: end.id, marker, replayed_bytes, useless })
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
        let lots = saved.entities.into_iter().filter_map(|(key, _)| match key {
            EntityKey::Lot(lot) => Some(lot),
            EntityKey::Keys | EntityKey::Wallet(_) => None,
        });
        Ok(Base { useless: Some(lots.collect()), ..base })
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

/// One lot of a shard that serves: its snapshot, its events in the journal since, and those still on
/// their way there.
pub(crate) async fn recover_lot(
    shard: ShardId,
    lot: LotId,
    storage: &Storage,
    on_their_way: &[Arc<Recorded>],
) -> Result<Lot, RecoveryError> {
    let mut tries = 0;
    loop {
        let recovered = read_lot(shard, lot, storage, on_their_way).await;
        tries += 1;
        // The shard is saved and its journal trimmed beside this: then the snapshot is a newer one.
        let overtaken = matches!(recovered, Err(RecoveryError::Gap { .. } | RecoveryError::Misfit { .. } | RecoveryError::LostLot { .. }));
        if !overtaken || tries == TRIES {
            return recovered;
        }
    }
}

async fn read_lot(shard: ShardId, lot: LotId, storage: &Storage, on_their_way: &[Arc<Recorded>]) -> Result<Lot, RecoveryError> {
    let saved = storage.snapshots.load_one(shard, EntityKey::Lot(lot)).await.map_err(|error| RecoveryError::storage(shard, error))?;
    let (mut state, mut tail) = match saved {
        Some((marker, bytes)) => {
            let decoded = storage.format.decode_lot(&bytes);
            let decoded = decoded.map_err(|damage| RecoveryError::NoBase { shard, reason: damage.to_string() })?;
            (Some(decoded), Tail::after(shard, storage, Some(marker)))
        }
        None => (None, Tail::oldest(shard, storage)),
    };
    loop {
        let page = tail.next().await.map_err(|error| RecoveryError::tail(shard, error))?;
        if page.is_empty() {
            break;
        }
        for entry in page.iter().flat_map(|batch| &batch.entries) {
            if let Entry::Lot(recorded) = entry {
                go_on(&mut state, lot, recorded).map_err(|misfit| RecoveryError::Misfit { shard, misfit })?;
            }
        }
    }
    for recorded in on_their_way {
        go_on(&mut state, lot, recorded).map_err(|misfit| RecoveryError::Misfit { shard, misfit })?;
    }
    state.ok_or(RecoveryError::LostLot { shard, lot })
}

/// Takes the next event of a shard into one lot's state.
fn go_on(state: &mut Option<Lot>, lot: LotId, recorded: &Arc<Recorded>) -> Result<(), Misfit> {
    if recorded.lot != lot {
        return Ok(());
    }
    match state {
        Some(known) => catch_up(known, recorded),
        None => {
            *state = Lot::from_creation(recorded);
            if state.is_some() { Ok(()) } else { Err(Misfit::UnknownLot { lot, seq: recorded.seq }) }
        }
    }
}
