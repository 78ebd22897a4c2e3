//! Opens a data directory, or says precisely why not.
//!
//! What the two files hold is elsewhere; here it is decided whether they belong together and
//! whether they are what was left at the last stop.

use super::{
    EmbeddedStorage,
    checkpoint::Checkpointer,
    connect::Place,
    fault::Fault,
    journal::SqliteJournal,
    lock::{DirLock, LockError},
    migrate::{self, Found, Kind, Meta},
    notes::note,
    rows::RowError,
    snapshots::{SqliteSnapshots, clear_leftovers},
    streams::Streams,
    tables::SqliteTables,
    writer::{LogBound, Writer},
};
use crate::record::RecordFormat;
use sqlx::SqliteConnection;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::runtime::Handle;

/// How to open a data directory.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The number of shards, 1 to 4,096. Existing data must have been made with the same.
    pub shards: u16,
    /// Runs the writer's task; must outlive every caller.
    pub runtime: Handle,
    /// From about how many bytes on the journal's log is moved into its file.
    pub checkpoint_bytes: u64,
    /// Pages that each file may grow to; none: the disk decides. For tests of a full disk.
    pub most_pages: Option<u32>,
}

impl OpenOptions {
    /// With the built-in figures.
    #[must_use]
    pub const fn new(shards: u16, runtime: Handle) -> Self {
        Self { shards, runtime, checkpoint_bytes: 16 << 20, most_pages: None }
    }
}

/// An open data directory, and how it was found.
pub struct Opened {
    /// The backend.
    pub storage: EmbeddedStorage,
    /// What is worth a line in the log.
    pub found: FoundState,
}

/// How a data directory was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundState {
    /// There was none: it is new.
    pub created: bool,
    /// The last process that had it did not stop cleanly.
    pub unclean_stop: bool,
    /// After an unclean stop the journal's write-ahead log is missing: the newest acknowledged
    /// batches may be gone, and nothing here can prove otherwise.
    pub lost_wal: bool,
    /// `journal.db` was missing and is new: what the archive holds must be put back into it.
    pub lost_journal: bool,
    /// `tables.db` was missing and is new: the journal still holds everything from the first batch.
    pub rebuilt_tables: bool,
}

/// Why a data directory was not opened. Nothing in it was changed, apart from what is missing
/// being created.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Only one process may have it.
    #[error("data directory {0}: in use by another process (its gavel.lock is locked)")]
    Locked(PathBuf),
    /// It must be writable.
    #[error("{0}: can't be written (read-only, or owned by another user)")]
    ReadOnly(PathBuf),
    /// No space.
    #[error("{0}: the disk is full")]
    Full(PathBuf),
    /// The schema is of a later Gavel.
    #[error("{path}: written by a newer version of Gavel (schema {found}, this one knows up to {known})")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// As found.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// The two files were not made together.
    #[error("{tables} belongs to other data than {journal}: one of them is from another data directory")]
    OtherData {
        /// The journal's path.
        journal: PathBuf,
        /// The tables' path.
        tables: PathBuf,
    },
    /// The number of shards says where data lies and can't change.
    #[error("data directory {dir}: made with {stored} shards, {asked} are configured (engine.shards)")]
    ShardCount {
        /// Which.
        dir: PathBuf,
        /// When it was made.
        stored: u16,
        /// Now.
        asked: u16,
    },
    /// Outside 1 to 4,096.
    #[error("{0} shards: from 1 to 4096 are possible")]
    BadShardCount(u16),
    /// Some other file has that name.
    #[error("{0}: not a database")]
    NotADatabase(PathBuf),
    /// A database, of something else.
    #[error("{0}: a database, but not this one of Gavel's")]
    Foreign(PathBuf),
    /// SQLite found broken pages.
    #[error("{path}: damaged: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// SQLite's words.
        reason: String,
    },
    /// `tables.db` is gone and can't be made from the journal alone.
    #[error("{0}: missing, and the journal does not reach back to the first batch: restore it from a backup")]
    TablesMissing(PathBuf),
    /// Opened as if its journal were in it.
    #[error("data directory {0}: its journal is in Redis (journal.redis says so): set journal.store = \"redis\"")]
    JournalElsewhere(PathBuf),
    /// Opened as if its journal were elsewhere.
    #[error("data directory {0}: has a journal of its own (journal.db): set journal.store = \"sqlite\"")]
    JournalInside(PathBuf),
    /// Opened as if its tables were in it.
    #[error("data directory {0}: its tables are in PostgreSQL (tables.postgres says so): set tables.store = \"postgres\"")]
    TablesElsewhere(PathBuf),
    /// Opened as if its tables were elsewhere.
    #[error("data directory {0}: has tables of its own (tables.db): set tables.store = \"sqlite\"")]
    TablesInside(PathBuf),
    /// Anything else.
    #[error("{path}: {reason}")]
    Other {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
}

impl EmbeddedStorage {
    /// Opens a data directory; makes it where it is missing.
    ///
    /// # Errors
    /// See [`OpenError`]; each says which file and why.
    pub async fn open(dir: impl AsRef<Path>, options: OpenOptions) -> Result<Opened, OpenError> {
        let dir = dir.as_ref().to_path_buf();
        let runtime = options.runtime.clone();
        // On the runtime that outlives the caller, since connections leave tasks on it.
        let opening = runtime.spawn(open(dir.clone(), options));
        opening.await.unwrap_or_else(|e| Err(OpenError::Other { path: dir, reason: e.to_string() }))
    }
}

async fn open(dir: PathBuf, options: OpenOptions) -> Result<Opened, OpenError> {
    if !(1..=4096).contains(&options.shards) {
        return Err(OpenError::BadShardCount(options.shards));
    }
    let lock = take(&dir)?;
    if note(&dir)?.is_some() {
        return Err(OpenError::JournalElsewhere(dir));
    }
    let journal = Place::in_dir(&dir, Kind::Journal, options.most_pages);
    let tables = Place::in_dir(&dir, Kind::Tables, options.most_pages);
    // Before anything is opened: SQLite makes a missing log anew.
    let unclean_stop = lock.was_left_running();
    let log_missing = !journal.log().exists();

    let mut journal_seen = look_at(&journal).await?;
    let tables_seen = look_at(&tables).await?;
    let mut found = FoundState { unclean_stop, ..FoundState::default() };
    let meta = match (journal_seen.meta.take(), tables_seen.meta.clone()) {
        (None, None) => {
            found.created = true;
            Meta { data_id: uuid::Uuid::new_v4().to_string(), shards: options.shards }
        }
        (Some(ours), None) => {
            if !journal_seen.reaches_back {
                return Err(OpenError::TablesMissing(tables.path));
            }
            found.rebuilt_tables = true;
            ours
        }
        (None, Some(ours)) => {
            found.lost_journal = true;
            ours
        }
        (Some(ours), Some(theirs)) => {
            if ours.data_id != theirs.data_id {
                return Err(OpenError::OtherData { journal: journal.path, tables: tables.path });
            }
            ours
        }
    };
    if meta.shards != options.shards {
        return Err(OpenError::ShardCount { dir, stored: meta.shards, asked: options.shards });
    }
    found.lost_wal = unclean_stop && log_missing && !found.created && !found.lost_journal;

    let mut journal_conn = make_ready(&journal, &meta).await?;
    let tables_conn = make_ready(&tables, &meta).await?;
    // Kept until here, so that no log was ever without a connection and removed.
    drop((journal_seen, tables_seen));
    let prepared = async {
        clear_leftovers(&mut journal_conn).await?;
        // Writes, so that a disk that takes nothing is met here; and the log exists from here on.
        sqlx::query("UPDATE meta SET writes = writes + 1").execute(&mut journal_conn).await?;
        Streams::load(&mut journal_conn).await
    };
    let streams = prepared.await.map_err(|e| match e {
        RowError::Sqlx(e) => sqlite_error(&journal.path, &e),
        RowError::Column(e) => OpenError::Damaged { path: journal.path.clone(), reason: e.to_string() },
    })?;
    lock.mark_running().map_err(|e| io_error(dir.clone(), &e))?;

    let writer = Writer::spawn(&options.runtime, journal.clone(), journal_conn, streams, LogBound(options.checkpoint_bytes));
    let readers = journal.readers();
    let format = Arc::new(RecordFormat);
    let storage = EmbeddedStorage {
        journal: Arc::new(SqliteJournal {
            _checkpointer: Checkpointer::spawn(&options.runtime, journal, &writer),
            writer: writer.clone(),
            readers: readers.clone(),
        }),
        snapshots: Arc::new(SqliteSnapshots { writer: writer.clone(), readers }),
        tables: Arc::new(SqliteTables::new(tables, tables_conn, Arc::clone(&format))),
        format,
        writer,
        lock: Arc::new(lock),
        data_id: meta.data_id,
    };
    Ok(Opened { storage, found })
}

/// Makes the directory ours.
pub(super) fn take(dir: &Path) -> Result<DirLock, OpenError> {
    DirLock::take(dir).map_err(|e| match e {
        LockError::Taken => OpenError::Locked(dir.into()),
        LockError::Io(path, e) => io_error(path, &e),
    })
}

/// A file as it was found.
#[derive(Default)]
pub(super) struct Seen {
    /// None: there was nothing in it.
    pub(super) meta: Option<Meta>,
    /// The journal only: every shard's oldest batch is its first.
    reaches_back: bool,
    _conn: Option<SqliteConnection>,
}

/// Reads what a file says of itself; changes nothing.
pub(super) async fn look_at(place: &Place) -> Result<Seen, OpenError> {
    // SQLite would quietly open a file that it may not write for reading only.
    match std::fs::File::options().write(true).open(&place.path).and_then(|file| file.metadata()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Seen::default()),
        Err(e) => return Err(io_error(place.path.clone(), &e)),
        Ok(metadata) if metadata.len() == 0 => return Ok(Seen::default()),
        Ok(_) => {}
    }
    let looked = async {
        let mut conn = place.looker().await?;
        let found = migrate::look(&mut conn, place.kind).await?;
        let reaches_back = matches!((place.kind, &found), (Kind::Journal, Found::Ours(_))) && reaches_back(&mut conn).await?;
        Ok((conn, found, reaches_back))
    };
    let (conn, found, reaches_back) = looked.await.map_err(|e: sqlx::Error| sqlite_error(&place.path, &e))?;
    match found {
        Found::Blank => Ok(Seen { _conn: Some(conn), ..Seen::default() }),
        Found::Ours(meta) => Ok(Seen { meta: Some(meta), reaches_back, _conn: Some(conn) }),
        Found::Foreign => Err(OpenError::Foreign(place.path.clone())),
        Found::Newer(found) => Err(OpenError::Newer { path: place.path.clone(), found, known: place.kind.newest() }),
    }
}

/// Opens a file for writing; creates it and its schema, or brings that up to date.
pub(super) async fn make_ready(place: &Place, meta: &Meta) -> Result<SqliteConnection, OpenError> {
    let mut file = std::fs::File::options();
    file.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    file.open(&place.path).map_err(|e| io_error(place.path.clone(), &e))?;
    let ready = async {
        let mut conn = place.writer().await?;
        match migrate::look(&mut conn, place.kind).await? {
            Found::Blank => migrate::create(&mut conn, place.kind, meta).await?,
            _ => migrate::upgrade(&mut conn, place.kind).await?,
        }
        Ok(conn)
    };
    ready.await.map_err(|e: sqlx::Error| sqlite_error(&place.path, &e))
}

/// Whether every shard's oldest batch is its first.
async fn reaches_back(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let notes_trims: bool = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'trimmed'").fetch_one(&mut *conn).await?;
    // In an older file the rows of what is trimmed are gone.
    let trimmed = if notes_trims { "SELECT count(*) FROM trimmed" } else { "SELECT 0" };
    let trimmed: i64 = sqlx::query_scalar(trimmed).fetch_one(&mut *conn).await?;
    if trimmed > 0 {
        return Ok(false);
    }
    // Of each shard the row at the lowest place: SQLite takes the other columns from the row that has the minimum.
    let cut: i64 =
        sqlx::query_scalar("SELECT count(*) FROM (SELECT previous, min(place) FROM batches GROUP BY shard) WHERE previous <> zeroblob(32)")
            .fetch_one(conn)
            .await?;
    Ok(cut == 0)
}

pub(super) fn io_error(path: PathBuf, error: &io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => OpenError::ReadOnly(path),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OpenError::Full(path),
        _ => OpenError::Other { path, reason: error.to_string() },
    }
}

pub(super) fn sqlite_error(path: &Path, error: &sqlx::Error) -> OpenError {
    let path = path.to_path_buf();
    match Fault::of(error) {
        Fault::Full => OpenError::Full(path),
        Fault::ReadOnly => OpenError::ReadOnly(path),
        Fault::NotADatabase => OpenError::NotADatabase(path),
        Fault::Corrupt => OpenError::Damaged { path, reason: error.to_string() },
        Fault::Busy => OpenError::Locked(path),
        Fault::Row | Fault::CannotOpen | Fault::Other => OpenError::Other { path, reason: error.to_string() },
    }
}
