//! Which stores make up a server's storage: opened together, or not at all.
//!
//! A store is chosen for the journal (with the snapshots) and one for the tables; both carry the
//! same data id, and a side that is new takes over the other's. How each is opened is said where it
//! lives; here is only the order, and what must be true between them.

mod redis_journal;

use crate::{
    postgres::{OpenError as PostgresError, PostgresOptions},
    redis::{OpenError as RedisError, RedisOptions, RedisStorage},
    sqlite::{EmbeddedStorage, EmbeddedTables, FoundState, NotedDir, OpenError as SqliteError, OpenOptions},
};
use gavel_engine::ports::{Storage, StorageError};
use std::path::Path;
use tokio::runtime::Handle;

/// Where the journal is.
#[derive(Clone, Debug)]
pub enum Journal {
    /// In the data directory.
    DataDir,
    /// In Redis. Its number of shards is not looked at.
    Redis(Box<RedisOptions>),
}

/// Where the tables are.
#[derive(Clone, Debug)]
pub enum Tables {
    /// In the data directory.
    DataDir,
    /// In PostgreSQL, with a journal in Redis. Its number of shards and data id are not looked at.
    Postgres(Box<PostgresOptions>),
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
    tables: &'static str,
    open: Open,
}

enum Open {
    Embedded(EmbeddedStorage),
    /// Connections end with the last port.
    Apart {
        _journal: RedisStorage,
        tables: Apart,
    },
}

/// Tables apart from the journal, and the data directory.
enum Apart {
    InDir(EmbeddedTables),
    /// Connections end with the last port.
    InPostgres {
        dir: NotedDir,
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
    /// PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// A journal in a file has its tables beside it.
    #[error("tables in PostgreSQL go with a journal in Redis")]
    NoSuchPair,
    /// The two sides were not made together.
    #[error("{tables} belongs to other data than the journal in Redis at {server}: ids {table_id} and {journal_id}")]
    OtherData {
        /// Where the tables are.
        tables: String,
        /// Their data's id.
        table_id: String,
        /// Host and port.
        server: String,
        /// Its data's id.
        journal_id: String,
    },
    /// Another directory holds the tables of this journal; another server may be running on it.
    #[error("Redis at {server}: its journal goes with another data directory (place {place}), and only that one may be served")]
    OtherPlace {
        /// Host and port.
        server: String,
        /// The directory's random name.
        place: String,
    },
    /// The tables are gone and can't be made from the journal alone.
    #[error("{tables}: missing, and the journal in Redis at {server} does not reach back to the first batch: restore it from a backup")]
    TablesMissing {
        /// Where they should be.
        tables: String,
        /// Host and port.
        server: String,
    },
    /// Tables without a journal, which this directory knows nothing of: another may.
    #[error(
        "PostgreSQL at {tables}: holds data {data_id}, of which Redis at {server} has no journal and data directory {dir} no note: set redis.url and redis.key_prefix to its journal; to begin a journal anew from these tables, write the id into {dir}/tables.postgres"
    )]
    StrayTables {
        /// Host and port of the tables.
        tables: String,
        /// Their data's id.
        data_id: String,
        /// Host and port of the journal's store.
        server: String,
        /// The data directory.
        dir: String,
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
pub async fn open(dir: &Path, journal: Journal, tables: Tables, shards: u16, runtime: Handle) -> Result<Opened, OpenError> {
    let path = dir.to_path_buf();
    // On the runtime that outlives the caller, since connections leave tasks on it.
    let opening = match (journal, tables) {
        (Journal::DataDir, Tables::DataDir) => return embedded(dir, shards, runtime).await,
        (Journal::DataDir, Tables::Postgres(_)) => return Err(OpenError::NoSuchPair),
        (Journal::Redis(redis), Tables::DataDir) => runtime.spawn(redis_journal::with_files(path, *redis, shards)),
        (Journal::Redis(redis), Tables::Postgres(tables)) => runtime.spawn(redis_journal::with_postgres(path, *redis, *tables, shards)),
    };
    opening.await.unwrap_or_else(|e| Err(OpenError::Ended(e.to_string())))
}

async fn embedded(dir: &Path, shards: u16, runtime: Handle) -> Result<Opened, OpenError> {
    let open = |shards| EmbeddedStorage::open(dir, OpenOptions::new(shards, runtime.clone()));
    let (opened, shards) = match open(shards).await {
        Err(SqliteError::ShardCount { stored, .. }) => (open(stored).await?, stored),
        opened => (opened?, shards),
    };
    let ports = opened.storage.ports();
    let stores = Stores { ports, journal: "journal.db", tables: "tables.db", open: Open::Embedded(opened.storage) };
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

    /// What people call the tables' store.
    #[must_use]
    pub const fn tables(&self) -> &'static str {
        self.tables
    }

    /// Ends all ports and marks the stop as clean. Without it (a crash) nothing is lost; the next start
    /// says so.
    ///
    /// # Errors
    /// A file could not be written; all that was acknowledged is still in its log.
    pub async fn close(self) -> Result<(), StorageError> {
        match self.open {
            Open::Embedded(storage) => storage.close().await,
            Open::Apart { tables: Apart::InDir(tables), .. } => tables.close().await,
            Open::Apart { tables: Apart::InPostgres { dir }, .. } => dir.close(),
        }
    }
}
