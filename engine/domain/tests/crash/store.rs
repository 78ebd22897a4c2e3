//! What survives a crash: the journal, which appends only behind the batch it is told to expect, and
//! snapshots. Every batch that was ever accepted stays here, with the state that it leads to.

use gavel_domain::{
    event::{LotEvent, Recorded},
    ids::{Epoch, ShardId},
    shard::{
        batch::{Batch, BatchId, Entry},
        entities::Entities,
    },
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

pub(crate) type Digest = u64;

/// A batch on its way to the journal, chained to the one it must follow.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) previous: Digest,
    pub(crate) batch: Arc<Batch>,
}

impl Sealed {
    pub(crate) fn new(previous: Digest, id: BatchId, entries: Vec<Entry>) -> Self {
        Self { previous, batch: Arc::new(Batch { shard: ShardId(3), id, entries }) }
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = DefaultHasher::new();
        (self.previous, format!("{:?}", self.batch)).hash(&mut hasher);
        hasher.finish()
    }
}

/// State that includes the batches before `marker`; each entity may include more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) marker: usize,
    pub(crate) entities: Entities,
}

#[derive(Default)]
pub(crate) struct Store {
    batches: Vec<(Digest, Arc<Batch>)>,
    /// The state after so many batches.
    states: Vec<Entities>,
    pub(crate) snapshots: Vec<Snapshot>,
}

/// The journal does not end where the writer believes.
pub(crate) struct Mismatch;

impl Store {
    pub(crate) fn end(&self) -> Digest {
        self.batches.last().map_or(0, |(digest, _)| *digest)
    }

    pub(crate) fn append(&mut self, sealed: &Sealed) -> Result<(), Mismatch> {
        let digest = sealed.digest();
        if self.end() == digest {
            return Ok(());
        }
        if self.end() != sealed.previous {
            return Err(Mismatch);
        }
        let mut state = self.state_after(self.len());
        sealed.batch.entries.iter().for_each(|entry| state.apply(entry).expect("a journal that fits together"));
        self.batches.push((digest, Arc::clone(&sealed.batch)));
        self.states.push(state);
        Ok(())
    }

    pub(crate) fn holds(&self, sealed: &Sealed) -> bool {
        let digest = sealed.digest();
        self.batches.iter().any(|(known, _)| *known == digest)
    }

    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }

    pub(crate) fn state_after(&self, batches: usize) -> Entities {
        batches.checked_sub(1).map(|last| self.states[last].clone()).unwrap_or_default()
    }

    /// The state that the whole journal leads to.
    pub(crate) fn newest(&self) -> Option<&Entities> {
        self.states.last()
    }

    /// The state that a batch leads to, if the journal holds it.
    pub(crate) fn state_at(&self, batch: Digest) -> Option<Entities> {
        let at = self.batches.iter().rposition(|(digest, _)| *digest == batch)?;
        Some(self.states[at].clone())
    }

    pub(crate) fn last_epoch(&self) -> Epoch {
        self.batches.last().map_or(Epoch(0), |(_, batch)| batch.id.epoch)
    }

    pub(crate) fn entries(&self, from: usize) -> impl Iterator<Item = &Entry> {
        self.batches[from..].iter().flat_map(|(_, batch)| &batch.entries)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = BatchId> {
        self.batches.iter().map(|(_, batch)| batch.id)
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &Arc<Recorded>> {
        self.entries(0).filter_map(|entry| if let Entry::Lot(recorded) = entry { Some(recorded) } else { None })
    }

    /// Everything from the first batch on: the slow way that needs no snapshot.
    pub(crate) fn replay(&self) -> Entities {
        let mut entities = Entities::default();
        self.entries(0).for_each(|entry| entities.apply(entry).expect("a journal that fits together"));
        entities
    }

    /// Entities are encoded one by one while the shard goes on: `age` says for each how many batches
    /// it includes, from the marker to the journal's end.
    pub(crate) fn snapshot(&mut self, marker: usize, mut age: impl FnMut(usize) -> usize) {
        let mut entities = self.state_after(marker);
        let newest = self.state_after(self.len());
        for id in newest.lots.keys() {
            let state = self.state_after(marker + age(self.len() - marker));
            entities.lots.extend(state.lots.get(id).map(|lot| (*id, lot.clone())));
        }
        entities.keys = self.state_after(marker + age(self.len() - marker)).keys;
        self.snapshots.push(Snapshot { marker, entities });
    }

    /// A snapshot (or none) and what the journal holds behind its marker.
    pub(crate) fn recover(&self, snapshot: Option<&Snapshot>) -> Entities {
        let Snapshot { marker, mut entities } = snapshot.cloned().unwrap_or_default();
        self.entries(marker).for_each(|entry| entities.apply(entry).expect("a tail that continues the snapshot"));
        entities
    }
}

/// Whether an event ends its lot.
pub(crate) fn ends(event: &LotEvent) -> bool {
    matches!(event, LotEvent::Closed(_) | LotEvent::Cancelled { .. })
}
