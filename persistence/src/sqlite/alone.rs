//! A data directory whose journal is elsewhere: `tables.db` alone, or not even that.
//!
//! Its notes ([`super::notes`]) say so: with them it can't be opened as one that has its journal or its
//! tables inside, which would begin a second history.

use super::{
    connect::Place,
    lock::DirLock,
    migrate::{Kind, Meta},
    notes::{name_of, note, note_tables, tables_note},
    open::{OpenError, Seen, io_error, look_at, make_ready, take},
    tables::SqliteTables,
};
use crate::record::RecordFormat;
use gavel_engine::ports::{StorageError, tables::Tables};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A directory that is ours, and has no journal inside.
pub struct NotedDir {
    dir: PathBuf,
    lock: DirLock,
    unclean_stop: bool,
    noted: Option<String>,
    noted_tables: Option<String>,
}

impl NotedDir {
    /// Takes a directory, made where it is missing, whose tables are elsewhere too.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn take_bare(dir: &Path) -> Result<Self, OpenError> {
        let taken = Self::take(dir)?;
        if holds(dir, Kind::Tables) {
            return Err(OpenError::TablesInside(dir.into()));
        }
        Ok(taken)
    }

    fn take(dir: &Path) -> Result<Self, OpenError> {
        let lock = take(dir)?;
        if holds(dir, Kind::Journal) {
            return Err(OpenError::JournalInside(dir.into()));
        }
        let (noted, noted_tables) = (note(dir)?, tables_note(dir)?);
        Ok(Self { dir: dir.into(), unclean_stop: lock.was_left_running(), noted, noted_tables, lock })
    }

    /// The last process that had the directory did not stop cleanly.
    #[must_use]
    pub const fn unclean_stop(&self) -> bool {
        self.unclean_stop
    }

    /// Its random name; written down where it has none yet.
    ///
    /// # Errors
    /// It can't be written.
    pub fn name(&mut self) -> Result<String, OpenError> {
        name_of(&self.dir, &mut self.noted)
    }

    /// Writes down whose tables in PostgreSQL are this directory's.
    ///
    /// # Errors
    /// It can't be written.
    pub fn note_tables(&mut self, data_id: &str) -> Result<(), OpenError> {
        if self.noted_tables.as_deref() != Some(data_id) {
            note_tables(&self.dir, data_id)?;
            self.noted_tables = Some(data_id.to_owned());
        }
        Ok(())
    }

    /// From here on, not closing it is seen by the next start.
    ///
    /// # Errors
    /// It can't be written.
    pub fn mark_running(&self) -> Result<(), OpenError> {
        self.lock.mark_running().map_err(|e| io_error(self.dir.clone(), &e))
    }

    /// Marks the stop as clean.
    ///
    /// # Errors
    /// It can't be written.
    pub fn close(self) -> Result<(), StorageError> {
        let marked = self.lock.mark_clean();
        marked.map_err(|e| StorageError { operation: "closing the data directory".into(), reason: e.to_string() })
    }
}

/// A directory with its tables, before they are opened for writing.
pub struct FoundTables {
    dir: NotedDir,
    tables: Place,
    seen: Seen,
}

/// Open tables. The port may be cloned freely; [`EmbeddedTables::close`] ends them all.
pub struct EmbeddedTables {
    tables: Arc<SqliteTables>,
    dir: NotedDir,
}

impl FoundTables {
    /// Takes a directory, made where it is missing, and looks into its tables.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn look(dir: &Path) -> Result<Self, OpenError> {
        let taken = NotedDir::take(dir)?;
        if taken.noted_tables.is_some() {
            return Err(OpenError::TablesElsewhere(dir.into()));
        }
        let tables = Place::in_dir(dir, Kind::Tables, None);
        let seen = look_at(&tables).await?;
        Ok(Self { dir: taken, tables, seen })
    }

    /// The data's id and number of shards; none: there are no tables yet.
    #[must_use]
    pub fn meta(&self) -> Option<(&str, u16)> {
        self.seen.meta.as_ref().map(|meta| (meta.data_id.as_str(), meta.shards))
    }

    /// Where the tables are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.tables.path
    }

    /// The directory.
    pub const fn dir(&mut self) -> &mut NotedDir {
        &mut self.dir
    }

    /// Opens the tables; makes them where they are missing.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(self, data_id: &str, shards: u16) -> Result<EmbeddedTables, OpenError> {
        let conn = make_ready(&self.tables, &Meta { data_id: data_id.to_owned(), shards }).await?;
        // Kept until here, so that the log was never without a connection and removed.
        drop(self.seen);
        self.dir.mark_running()?;
        let tables = Arc::new(SqliteTables::new(self.tables, conn, Arc::new(RecordFormat)));
        Ok(EmbeddedTables { tables, dir: self.dir })
    }
}

impl EmbeddedTables {
    /// The port.
    #[must_use]
    pub fn port(&self) -> Arc<dyn Tables> {
        Arc::clone(&self.tables) as _
    }

    /// Moves the log into the file and marks the stop as clean.
    ///
    /// # Errors
    /// The file could not be written; all that was acknowledged is still in the log.
    pub async fn close(self) -> Result<(), StorageError> {
        self.tables.close().await?;
        self.dir.close()
    }
}

fn holds(dir: &Path, kind: Kind) -> bool {
    std::fs::metadata(dir.join(kind.file_name())).is_ok_and(|file| file.len() > 0)
}
