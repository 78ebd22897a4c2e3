//! How connections to the two files are made: every pragma is here.

use super::migrate::Kind;
use sqlx::{
    ConnectOptions as _, Connection as _, SqliteConnection,
    pool::PoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Bytes in a page of `journal.db`. Larger pages make 100 kB records cheaper and many small ones
/// dearer; measured in `examples/storage_figures.rs`.
const JOURNAL_PAGE_BYTES: u32 = 8192;
/// Bytes in a page of `tables.db`.
const TABLES_PAGE_BYTES: u32 = 4096;
/// Pages of its log after which the tables' writer checkpoints by itself: nobody waits for it.
const TABLES_CHECKPOINT_PAGES: &str = "1000";
/// Page cache of a writer, in KiB, and of each reader.
const WRITER_CACHE_KIB: u32 = 65_536;
const READER_CACHE_KIB: u32 = 8192;
/// How long anything waits for a lock of SQLite. Nobody holds one for longer than a chunk's time.
const BUSY: Duration = Duration::from_secs(5);
/// Connections that read, at most, for each file.
const READERS: u32 = 4;
/// A log that grew beyond this (a reader pinned it) is cut back once it starts over, in bytes.
const LOG_KEPT_BYTES: &str = "268435456";

/// How to reach one of the two files.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) kind: Kind,
    pub(super) path: PathBuf,
    /// Pages the file may grow to; none: the disk decides. So that tests can fill a disk.
    pub(super) most_pages: Option<u32>,
}

impl Place {
    pub(super) fn in_dir(dir: &Path, kind: Kind, most_pages: Option<u32>) -> Self {
        Self { kind, path: dir.join(kind.file_name()), most_pages }
    }

    /// The file's write-ahead log.
    pub(super) fn log(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push("-wal");
        name.into()
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .busy_timeout(BUSY)
            .foreign_keys(false)
            .statement_cache_capacity(256)
            .pragma("temp_store", "MEMORY")
            .disable_statement_logging()
    }

    /// The one connection that writes. `synchronous=FULL`: a commit has been through `fsync`.
    pub(super) async fn writer(&self) -> Result<SqliteConnection, sqlx::Error> {
        let (page_bytes, checkpoint_pages) = match self.kind {
            // The journal's checkpoints are made beside the appends: see `checkpoint.rs`.
            Kind::Journal => (JOURNAL_PAGE_BYTES, "0"),
            Kind::Tables => (TABLES_PAGE_BYTES, TABLES_CHECKPOINT_PAGES),
        };
        let mut options = self
            .options()
            .page_size(page_bytes)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .row_buffer_size(1024)
            .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"))
            .pragma("wal_autocheckpoint", checkpoint_pages)
            .pragma("journal_size_limit", LOG_KEPT_BYTES);
        if let Some(pages) = self.most_pages {
            options = options.pragma("max_page_count", pages.to_string());
        }
        match self.kind {
            Kind::Journal => SqliteConnection::connect_with(&options).await,
            Kind::Tables => connect_behind(options).await,
        }
    }

    /// A connection that leaves the file as it is.
    pub(super) async fn looker(&self) -> Result<SqliteConnection, sqlx::Error> {
        SqliteConnection::connect_with(&self.options()).await
    }

    /// A connection that only moves the log into the file.
    pub(super) async fn checkpointer(&self) -> Result<SqliteConnection, sqlx::Error> {
        let options = self.options().synchronous(SqliteSynchronous::Full).pragma("wal_autocheckpoint", "0").pragma("cache_size", "-256");
        SqliteConnection::connect_with(&options).await
    }

    /// Connections that read; they never keep the writer waiting.
    pub(super) fn readers(&self) -> SqlitePool {
        let options = self.options().read_only(true).pragma("cache_size", format!("-{READER_CACHE_KIB}"));
        PoolOptions::new().max_connections(READERS).test_before_acquire(false).connect_lazy_with(options)
    }
}

/// The "nice" value of the tables' writer: it is on no bid's path, and leaves the processor to those
/// that are.
#[cfg(target_os = "linux")]
const BEHIND: i32 = 10;

/// Connects from a thread of low priority: the connection's own thread inherits it.
async fn connect_behind(options: SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    let (send, receive) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    std::thread::Builder::new().name("connecting".to_owned()).spawn(move || {
        // Where that is refused, it runs like the others.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), BEHIND);
        let _ = send.send(runtime.block_on(SqliteConnection::connect_with(&options)));
    })?;
    receive.await.map_err(|_| sqlx::Error::WorkerCrashed)?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An acknowledged batch has been through `fsync`: these two pragmas say so, on the connection.
    #[tokio::test]
    async fn writers_wait_for_the_disk() {
        let dir = tempfile::tempdir().expect("a directory");
        for kind in [Kind::Journal, Kind::Tables] {
            let place = Place::in_dir(dir.path(), kind, None);
            std::fs::write(&place.path, "").expect("writable");
            let mut conn = place.writer().await.expect("opens");
            let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut conn).await.expect("answers");
            let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut conn).await.expect("answers");
            assert_eq!((synchronous, mode.as_str()), (2, "wal"), "FULL is 2");
        }
    }
}
