//! What the engine needs from storage, as traits over plain data. Backends are in `gavel-persistence`;
//! one conformance suite there runs against each of them.

pub mod audit;
pub mod format;
pub mod journal;
pub mod snapshots;
pub mod tables;

use futures_util::future::BoxFuture;
use std::sync::Arc;

/// A future of a port: boxed, since ports are trait objects and their calls are per batch, not per bid.
pub type PortFuture<T, E> = BoxFuture<'static, Result<T, E>>;

/// All of a node's storage.
#[derive(Clone)]
pub struct Storage {
    /// How records are written.
    pub format: Arc<dyn format::Format>,
    /// The truth.
    pub journal: Arc<dyn journal::Journal>,
    /// Where recovery starts from.
    pub snapshots: Arc<dyn snapshots::Snapshots>,
    /// What people query, and the archive of batches.
    pub tables: Arc<dyn tables::Tables>,
}

/// Storage did not do what it was asked; what was asked and of what is in the text.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation}: {reason}")]
pub struct StorageError {
    /// For example `reading the journal of shard 3`.
    pub operation: String,
    /// The backend's words.
    pub reason: String,
}
