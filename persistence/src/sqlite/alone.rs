//! A data directory whose journal is elsewhere, beside a note that says so: `tables.db` alone, or not
//! even that.
//!
//! The note, `journal.redis`, holds a random name of this directory, by which the store of the
//! journal knows which one goes with it. With it the directory can't be opened as one that has its
//! journal inside, which would begin a second history.

use super::{
    connect::Place,
    lock::{DirLock, sync_dir},
    migrate::{Kind, Meta},
    open::{OpenError, Seen, io_error, look_at, make_ready, take},
    tables::SqliteTables,
};
use crate::record::RecordFormat;
use gavel_engine::ports::{StorageError, tables::Tables};
use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

const NOTE: &str = "journal.redis";

/// The name in a directory's note; none: there is no note, or no directory. Changes nothing.
///
/// # Errors
/// It can't be read.
pub fn note(dir: &Path) -> Result<Option<String>, OpenError> {
    let path = dir.join(NOTE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error(path, &e)),
    }
}

/// A directory that is ours, and has no journal inside.
pub struct NotedDir {
    dir: PathBuf,
    lock: DirLock,
    unclean_stop: bool,
    noted: Option<String>,
}

impl NotedDir {
    /// Takes a directory, made where it is missing.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn take(dir: &Path) -> Result<Self, OpenError> {
        let lock = take(dir)?;
        if std::fs::metadata(dir.join(Kind::Journal.file_name())).is_ok_and(|file| file.len() > 0) {
            return Err(OpenError::JournalInside(dir.into()));
        }
        Ok(Self { dir: dir.into(), unclean_stop: lock.was_left_running(), noted: note(dir)?, lock })
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
        if let Some(name) = &self.noted {
            return Ok(name.clone());
        }
        let name = uuid::Uuid::new_v4().to_string();
        let path = self.dir.join(NOTE);
        let written = || {
            let mut file = File::create(&path)?;
            writeln!(file, "{name}")?;
            file.sync_all()?;
            sync_dir(&self.dir)
        };
        written().map_err(|e| io_error(path.clone(), &e))?;
        self.noted = Some(name.clone());
        Ok(name)
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
