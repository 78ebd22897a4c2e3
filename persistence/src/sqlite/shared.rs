//! What the journal's writer shares with those who read, count, and copy its log.

use super::streams::Streams;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// The writer changes it, everybody looks at it.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// None while nobody knows what the file holds: after a write of unknown fate, until it could be read again.
    streams: Mutex<Option<Streams>>,
    /// Bytes of batches in all streams, as they were last known.
    kept_bytes: AtomicU64,
    /// Bytes, about, that were written to the log since the last checkpoint began.
    pub(super) log_bytes: AtomicU64,
    /// Wakes the checkpointer.
    pub(super) log_is_long: Notify,
}

/// Nobody knows what the journal holds until it can be read again.
#[derive(Debug, thiserror::Error)]
#[error("the journal can't be read after a write that failed")]
pub(super) struct Unread;

impl Shared {
    pub(super) fn kept_bytes(&self) -> u64 {
        self.kept_bytes.load(Ordering::Relaxed)
    }

    /// Looks at what the file holds, or notes what has just been done to it.
    pub(super) fn streams<R>(&self, look: impl FnOnce(&mut Streams) -> R) -> Result<R, Unread> {
        let mut streams = self.streams.lock();
        let streams = streams.as_mut().ok_or(Unread)?;
        let result = look(streams);
        self.kept_bytes.store(streams.kept_bytes(), Ordering::Relaxed);
        Ok(result)
    }

    /// What was found in the file; none: nobody knows.
    pub(super) fn set_streams(&self, read: Option<Streams>) {
        if let Some(streams) = &read {
            self.kept_bytes.store(streams.kept_bytes(), Ordering::Relaxed);
        }
        *self.streams.lock() = read;
    }
}
