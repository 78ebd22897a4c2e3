//! `accounts.db`: both ports in a file of its own, so that a login never waits for a bid, nor a bid for a login.
//!
//! A write-ahead log with `synchronous=FULL`. Any number of processes may have it open: a server, and the command line beside it.

mod sessions;
mod users;

use super::Serial;
use gavel_engine::ports::StorageError;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Sqlite, SqliteConnection, Transaction,
    pool::PoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous},
};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The file's name in the data directory.
pub const FILE_NAME: &str = "accounts.db";

/// In the file's header, where `file(1)` and others look.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"GVLA");
/// Version n of the schema is what the first n scripts make.
const SCRIPTS: &[&str] = &[include_str!("../../../../migrations/sqlite/accounts/0001_initial.sql")];
/// How long anything waits for another process' transaction, or for a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that read, at most.
const READERS: u32 = 4;

/// Why `accounts.db` was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file or its directory can't be made or used.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The schema is of a later Gavel.
    #[error("{path}: written by a newer version of Gavel (schema {found}, this one knows up to {known})", path = path.display())]
    Newer {
        /// Which.
        path: PathBuf,
        /// As found.
        found: i64,
        /// The newest known.
        known: usize,
    },
    /// A database, of something else.
    #[error("{path}: a database, but not Gavel's accounts", path = path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
    },
    /// SQLite refused it.
    #[error("{path}: {reason}", path = path.display())]
    Database {
        /// Which.
        path: PathBuf,
        /// SQLite's words.
        reason: String,
    },
}

/// The open file. Cheap to clone.
#[derive(Clone)]
pub struct SqliteAccounts {
    /// One connection: SQLite has one writer, and a fair queue for it beats its waiting by turns.
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteAccounts {
    /// Opens the file in a data directory; makes both where they are missing.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(FILE_NAME);
        let failed = |source| OpenError::Io { path: path.clone(), source };
        let mut directories = std::fs::DirBuilder::new();
        directories.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut directories, 0o700);
        directories.create(dir).map_err(failed)?;
        let mut file = std::fs::File::options();
        file.create(true).truncate(false).write(true);
        // Its log gets the same mode from SQLite.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
        file.open(&path).map_err(failed)?;

        let options = || {
            SqliteConnectOptions::new()
                .filename(&path)
                .busy_timeout(PATIENCE)
                .foreign_keys(false)
                .pragma("temp_store", "MEMORY")
                .disable_statement_logging()
        };
        let broken = |error: sqlx::Error| OpenError::Database { path: path.clone(), reason: error.to_string() };
        let writing = options().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        let mut first = SqliteConnection::connect_with(&writing).await.map_err(broken)?;
        make_ready(&mut first, &path).await?;
        first.close().await.map_err(broken)?;
        let pool = |most| PoolOptions::new().max_connections(most).acquire_timeout(PATIENCE).test_before_acquire(false);
        Ok(Self { writer: pool(1).connect_lazy_with(writing), readers: pool(READERS).connect_lazy_with(options().read_only(true)) })
    }

    /// Closes the file; what is asked afterwards is refused.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// The right to write, from the beginning: nothing read in it is out of date.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }
}

/// Creates the schema, or brings it up to date. Two processes at once do it once.
async fn make_ready(conn: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let broken = |error: sqlx::Error| OpenError::Database { path: path.to_owned(), reason: error.to_string() };
    let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await.map_err(broken)?;
    let application: i32 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *transaction).await.map_err(broken)?;
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await.map_err(broken)?;
    let objects: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *transaction).await.map_err(broken)?;
    let blank = application == 0 && version == 0 && objects == 0;
    if application != APPLICATION_ID && !blank {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let done = usize::try_from(version).map_err(|_| OpenError::Foreign { path: path.to_owned() })?;
    if done > SCRIPTS.len() {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known: SCRIPTS.len() });
    }
    for script in &SCRIPTS[done..] {
        sqlx::raw_sql(*script).execute(&mut *transaction).await.map_err(broken)?;
    }
    if done < SCRIPTS.len() {
        let header = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}", SCRIPTS.len());
        sqlx::raw_sql(AssertSqlSafe(header)).execute(&mut *transaction).await.map_err(broken)?;
    }
    transaction.commit().await.map_err(broken)
}

/// The number of a change that running servers must hear of.
async fn next_serial(conn: &mut SqliteConnection) -> Result<Serial, sqlx::Error> {
    sqlx::query_scalar("UPDATE meta SET changes = changes + 1 RETURNING changes").fetch_one(conn).await.map(Serial)
}

fn failed(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StorageError {
    move |error| StorageError { operation: operation.to_owned(), reason: error.to_string() }
}
