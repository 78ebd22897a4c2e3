//! The embedded profile: journal and snapshots in `journal.db`, tables and archive in `tables.db`.
//!
//! Both files use a write-ahead log with `synchronous=FULL` and carry the same random data id. One
//! task writes the journal ([`writer`]), one connection writes the tables; readers wait for neither.
//! Files are named like the ports they serve. No rules here, and no encodings (see `crate::record`).

mod alone;
mod audit;
mod checkpoint;
mod connect;
mod fault;
mod insert;
mod job;
mod journal;
mod ledger;
mod lock;
mod migrate;
mod notes;
mod open;
mod project;
mod rows;
mod shared;
mod snapshots;
mod streams;
mod tables;
mod writer;

pub use alone::{EmbeddedTables, FoundTables, NotedDir};
pub use audit::{CheckError, check_audit};
pub use notes::{note, tables_note};
pub use open::{FoundState, OpenError, OpenOptions, Opened};

use crate::record::RecordFormat;
use futures_util::{FutureExt as _, future::BoxFuture};
use gavel_engine::ports::{Storage, StorageError};
use job::{Job, JobError, Step};
use sqlx::SqliteConnection;
use std::sync::Arc;

/// An open data directory. Its ports may be cloned freely; [`EmbeddedStorage::close`] ends them all.
pub struct EmbeddedStorage {
    format: Arc<RecordFormat>,
    journal: Arc<journal::SqliteJournal>,
    snapshots: Arc<snapshots::SqliteSnapshots>,
    tables: Arc<tables::SqliteTables>,
    writer: writer::Writer,
    lock: Arc<lock::DirLock>,
    data_id: String,
}

impl EmbeddedStorage {
    /// The ports.
    #[must_use]
    pub fn ports(&self) -> Storage {
        Storage {
            format: Arc::clone(&self.format) as _,
            journal: Arc::clone(&self.journal) as _,
            snapshots: Arc::clone(&self.snapshots) as _,
            tables: Arc::clone(&self.tables) as _,
        }
    }

    /// The random id of this data, made with it.
    #[must_use]
    pub fn data_id(&self) -> &str {
        &self.data_id
    }

    /// Moves both logs into their files and marks the stop as clean. What is asked of the ports
    /// afterwards is refused. Without it (a crash) nothing is lost; the next start says so.
    ///
    /// # Errors
    /// A file could not be written; all that was acknowledged is still in the logs.
    pub async fn close(self) -> Result<(), StorageError> {
        self.tables.close().await?;
        self.journal.readers.close().await;
        self.writer.run("closing the data directory".into(), Close { lock: self.lock }).await
    }
}

/// The last thing that is written.
struct Close {
    lock: Arc<lock::DirLock>,
}

impl Job for Close {
    fn step<'a>(&'a mut self, conn: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Step, JobError>> {
        async move {
            sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(conn).await?;
            // Before the connection goes: SQLite removes the log with the last one, and a missing
            // log is no loss only after a clean stop.
            self.lock.mark_clean().map_err(|e| JobError::Refused(e.to_string()))?;
            Ok(Step::Close)
        }
        .boxed()
    }
}
