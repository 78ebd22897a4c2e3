//! Which stores make up a server's storage: opened together, or not at all.
//!
//! A store is chosen for the journal (with the snapshots) and one for the tables; both carry the
//! same data id, and a side that is new takes over the other's. How each is opened is said where it
//! lives; here is only the order, and what must be true between them.

mod redis_journal;

use crate::{
    redis::{OpenError as RedisError, RedisOptions, RedisStorage},
    sqlite::{EmbeddedStorage, EmbeddedTables, FoundState, OpenError as SqliteError, OpenOptions},
};
use gavel_engine::ports::{Storage, StorageError};
use std::path::{Path, PathBuf};
use tokio::runtime::Handle;

/// Where the journal is. The tables are in the data directory.
#[derive(Clone, Debug)]
pub enum Journal {
    /// In the data directory.
    DataDir,
    /// In Redis. Its number of shards is not looked at.
    Redis(Box<RedisOptions>),
}

/// Open storage, and how it was found.
pub struct Opened {
    /// The stores.
    pub stores: Stores,
    /// The number of shards that the data has.
    pub shards: u16,
    /// What is worth a line in the log.
    pub found: FoundState,
    /// What the settings of a store can lose; a line each.
    pub warnings: Vec<String>,
}

/// The open stores.
pub struct Stores {
    ports: Storage,
    journal: &'static str,
    open: Open,
}

enum Open {
    Embedded(EmbeddedStorage),
    /// Connections end with the last port.
    Apart {
        _journal: RedisStorage,
        tables: EmbeddedTables,
    },
}

/// Why storage was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] SqliteError),
    /// Redis.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// The two sides were not made together.
    #[error("{tables} belongs to other data than the journal in Redis at {server}: ids {table_id} and {journal_id}")]
    OtherData {
        /// The tables' path.
        tables: PathBuf,
        /// Their data's id.
        table_id: String,
        /// Host and port.
        server: String,
        /// Its data's id.
        journal_id: String,
    },
    /// Another directory holds the tables of this journal; another server may be running on it.
    #[error("Redis at {server}: the tables of its journal are in another data directory (place {place}), and only that one may be served")]
    OtherPlace {
        /// Host and port.
        server: String,
        /// The directory's random name.
        place: String,
    },
    /// The tables are gone and can't be made from the journal alone.
    #[error("{tables}: missing, and the journal in Redis at {server} does not reach back to the first batch: restore it from a backup")]
    TablesMissing {
        /// Their path.
        tables: PathBuf,
        /// Host and port.
        server: String,
    },
    /// Opening ended by itself: a bug.
    #[error("opening storage: {0}")]
    Ended(String),
}

/// Opens storage; makes what is missing. `shards`: of data yet to be created; existing data keeps the
/// number it was made with. `runtime` must outlive every caller.
///
/// # Errors
/// The first thing that is wrong. A store that can't be used is met before another is created.
pub async fn open(dir: &Path, journal: Journal, shards: u16, runtime: Handle) -> Result<Opened, OpenError> {
    match journal {
        Journal::DataDir => embedded(dir, shards, runtime).await,
        Journal::Redis(options) => {
            let dir = dir.to_path_buf();
            // On the runtime that outlives the caller, since connections leave tasks on it.
            let opening = runtime.spawn(redis_journal::open(dir, *options, shards));
            opening.await.unwrap_or_else(|e| Err(OpenError::Ended(e.to_string())))
        }
    }
}

async fn embedded(dir: &Path, shards: u16, runtime: Handle) -> Result<Opened, OpenError> {
    let open = |shards| EmbeddedStorage::open(dir, OpenOptions::new(shards, runtime.clone()));
    let (opened, shards) = match open(shards).await {
        Err(SqliteError::ShardCount { stored, .. }) => (open(stored).await?, stored),
        opened => (opened?, shards),
    };
    let ports = opened.storage.ports();
    let stores = Stores { ports, journal: "journal.db", open: Open::Embedded(opened.storage) };
    Ok(Opened { stores, shards, found: opened.found, warnings: Vec::new() })
}

impl Stores {
    /// The ports.
    #[must_use]
    pub fn ports(&self) -> Storage {
        self.ports.clone()
    }

    /// What people call the journal's store.
    #[must_use]
    pub const fn journal(&self) -> &'static str {
        self.journal
    }

    /// Ends all ports and marks the stop as clean. Without it (a crash) nothing is lost; the next start
    /// says so.
    ///
    /// # Errors
    /// A file could not be written; all that was acknowledged is still in its log.
    pub async fn close(self) -> Result<(), StorageError> {
        match self.open {
            Open::Embedded(storage) => storage.close().await,
            Open::Apart { tables, .. } => tables.close().await,
        }
    }
}
