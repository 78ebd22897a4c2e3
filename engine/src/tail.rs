//! The one reader of a journal's tail: from a known place on, page by page, and nothing is missing.
//!
//! A journal is trimmed beside its readers. Where the batches after a reader's place are gone, the
//! next that is found does not follow that place: the reader is told ([`TailError::Gap`]) and begins
//! again from a newer base (snapshot, tables). What a page holds is decoded and checked.

use crate::{
    limits,
    ports::{
        Storage, StorageError,
        format::{Damage, Digest, Mark, Sealed},
        journal::Page,
    },
};
use gavel_domain::{
    ids::ShardId,
    shard::batch::{BatchId, Entry},
};

/// How often a reader begins again before it takes a gap for a real one: each time the journal was
/// trimmed past it within one read.
pub(crate) const TRIES: usize = 8;

/// A shard's journal after a place.
pub(crate) struct Tail<'a> {
    shard: ShardId,
    storage: &'a Storage,
    after: Option<BatchId>,
    /// The digest that the next batch must follow; none: whatever is the oldest kept.
    follows: Option<Digest>,
    page_bytes: usize,
}

/// A batch, and what is in it.
pub(crate) struct Opened {
    pub(crate) sealed: Sealed,
    pub(crate) entries: Vec<Entry>,
}

/// Why a tail can't be read.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum TailError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("batch {batch} does not follow {after}: the journal was trimmed, or has a gap")]
    Gap { batch: BatchId, after: BatchId },
    #[error("batch {batch} is {damage}")]
    Damaged { batch: BatchId, damage: Damage },
}

impl<'a> Tail<'a> {
    /// What comes after `place`; after nothing, the very first batch comes first.
    pub(crate) fn after(shard: ShardId, storage: &'a Storage, place: Option<Mark>) -> Self {
        let follows = Some(place.unwrap_or_default().hash);
        Self { shard, storage, after: place.map(|place| place.id), follows, page_bytes: limits::READ_BYTES }
    }

    /// All that is kept, wherever it begins.
    pub(crate) const fn oldest(shard: ShardId, storage: &'a Storage) -> Self {
        Self { shard, storage, after: None, follows: None, page_bytes: limits::READ_BYTES }
    }

    /// Reads about so many bytes at once.
    pub(crate) const fn by(mut self, page_bytes: usize) -> Self {
        self.page_bytes = page_bytes;
        self
    }

    /// The next page; empty at the end.
    pub(crate) async fn next(&mut self) -> Result<Vec<Opened>, TailError> {
        let page = Page { after: self.after, bytes: self.page_bytes };
        let batches = self.storage.journal.read(self.shard, page).await?;
        batches.into_iter().map(|sealed| self.open(sealed)).collect()
    }

    fn open(&mut self, sealed: Sealed) -> Result<Opened, TailError> {
        let batch = sealed.id;
        if self.follows.is_some_and(|follows| follows != sealed.previous) {
            return Err(TailError::Gap { batch, after: self.after.unwrap_or_default() });
        }
        let entries = self.storage.format.open(&sealed).map_err(|damage| TailError::Damaged { batch, damage })?;
        (self.after, self.follows) = (Some(batch), Some(sealed.hash));
        Ok(Opened { sealed, entries })
    }
}

impl TailError {
    /// For those to whom every failure to read is one of storage.
    pub(crate) fn into_storage(self, shard: ShardId) -> StorageError {
        match self {
            Self::Storage(error) => error,
            other => StorageError { operation: format!("reading the journal of shard {shard}"), reason: other.to_string() },
        }
    }
}
