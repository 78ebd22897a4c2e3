//! The embedded data directory: what it refuses, and what it says of how it was left.

use gavel_domain::{
    ids::{Epoch, ShardId},
    shard::batch::{BatchId, Entry},
    time::Timestamp,
};
use gavel_engine::ports::{
    Storage,
    format::{Digest, Sealed},
    journal::{AppendError, Page},
    tables::Projection,
};
use gavel_persistence::sqlite::{EmbeddedStorage, FoundState, OpenError, OpenOptions, Opened};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{path::Path, sync::Arc};
use tokio::runtime::Handle;

fn options() -> OpenOptions {
    OpenOptions::new(8, Handle::current())
}

async fn open(dir: &Path) -> Result<Opened, OpenError> {
    EmbeddedStorage::open(dir, options()).await
}

async fn refusal(dir: &Path) -> OpenError {
    open(dir).await.map(|opened| opened.found).expect_err("must be refused")
}

async fn make(dir: &Path) {
    open(dir).await.expect("a new directory").storage.close().await.expect("closes");
}

fn batch(storage: &Storage, number: u64, previous: Digest, entries: usize) -> Arc<Sealed> {
    let entries = vec![Entry::EpochOpened { owner: gavel_domain::ids::OwnerId(uuid::Uuid::nil()), at: Timestamp::from_millis(1) }; entries];
    Arc::new(storage.format.seal(ShardId(0), BatchId { epoch: Epoch(7), number }, previous, &entries))
}

/// What a crash leaves: the files as they are while the process runs, without its lock.
fn crash(from: &Path, to: &Path, leave_out: &[&str]) {
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let name = entry.file_name();
        if !leave_out.iter().any(|left_out| name == **left_out) {
            std::fs::copy(entry.path(), to.join(name)).expect("copied");
        }
    }
}

async fn sql(path: &Path, statement: &'static str) {
    let mut conn =
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path).create_if_missing(true)).await.expect("opens");
    sqlx::raw_sql(statement).execute(&mut conn).await.expect("runs");
    conn.close().await.expect("closes");
}

#[tokio::test]
async fn a_new_directory_is_made_and_found_again() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("some/where");
    let opened = open(&dir).await.expect("made");
    assert_eq!(opened.found, FoundState { created: true, ..FoundState::default() });
    let id = opened.storage.data_id().to_owned();
    opened.storage.close().await.expect("closes");
    let opened = open(&dir).await.expect("opens");
    assert_eq!((opened.found, opened.storage.data_id()), (FoundState::default(), id.as_str()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join("journal.db")), mode(&dir.join("tables.db"))), (0o700, 0o600, 0o600));
    }
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let opened = open(dir.path()).await.expect("opens");
    assert!(matches!(refusal(dir.path()).await, OpenError::Locked(_)));
    opened.storage.close().await.expect("closes");
    open(dir.path()).await.expect("free again");
}

#[tokio::test]
async fn another_number_of_shards_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    make(dir.path()).await;
    let other = EmbeddedStorage::open(dir.path(), OpenOptions { shards: 9, ..options() }).await.map(|opened| opened.found);
    assert!(matches!(other, Err(OpenError::ShardCount { stored: 8, asked: 9, .. })), "{other:?}");
    for shards in [0, 4097] {
        let none = EmbeddedStorage::open(dir.path(), OpenOptions { shards, ..options() }).await.map(|opened| opened.found);
        assert!(matches!(none, Err(OpenError::BadShardCount(_))), "{none:?}");
    }
}

/// Tables as they were before there were wallets: they get what is new, and keep what they have.
#[tokio::test]
async fn an_older_schema_is_brought_up_to_date() {
    let dir = tempfile::tempdir().expect("a directory");
    make(dir.path()).await;
    let tables = dir.path().join("tables.db");
    sql(&tables, "DROP TABLE audit; DROP TABLE audit_ends; DROP TABLE ledger; DROP TABLE wallets; PRAGMA user_version = 1; UPDATE meta SET writes = 1000").await;
    for _ in 0..2 {
        let opened = open(dir.path()).await.expect("opens");
        assert_eq!(opened.found, FoundState::default());
        opened
            .storage
            .ports()
            .tables
            .ledger(gavel_domain::ids::BidderId::try_from("ann").expect("a bidder"), None, Default::default(), 1)
            .await
            .expect("the ledger is there");
        assert_eq!(opened.storage.ports().tables.check_audit().await.expect("whole"), 0);
        opened.storage.close().await.expect("closes");
    }
    let mut conn = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&tables)).await.expect("opens");
    let (version, writes): (i64, i64) = sqlx::query_as("SELECT user_version, (SELECT writes FROM meta) FROM pragma_user_version")
        .fetch_one(&mut conn)
        .await
        .expect("answers");
    assert_eq!((version, writes >= 1000), (3, true));
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    for file in ["journal.db", "tables.db"] {
        let dir = tempfile::tempdir().expect("a directory");
        make(dir.path()).await;
        sql(&dir.path().join(file), "PRAGMA user_version = 99").await;
        let error = refusal(dir.path()).await;
        assert!(matches!(&error, OpenError::Newer { path, found: 99, .. } if path.ends_with(file)), "{error:?}");
    }
}

#[tokio::test]
async fn tables_of_other_data_are_refused() {
    let (dir, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    make(dir.path()).await;
    make(other.path()).await;
    std::fs::copy(other.path().join("tables.db"), dir.path().join("tables.db")).expect("copied");
    assert!(matches!(refusal(dir.path()).await, OpenError::OtherData { .. }));
}

#[tokio::test]
async fn other_files_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("tables.db");
    std::fs::write(&path, "dear diary, today I was mistaken for a database ".repeat(100)).expect("written");
    let before = std::fs::read(&path).expect("there");
    assert!(matches!(refusal(dir.path()).await, OpenError::NotADatabase(_)));
    assert_eq!(std::fs::read(&path).expect("there"), before);
    std::fs::remove_file(&path).expect("there");

    sql(&path, "CREATE TABLE recipes (name TEXT)").await;
    let before = std::fs::read(&path).expect("there");
    assert!(matches!(refusal(dir.path()).await, OpenError::Foreign(_)));
    assert_eq!(std::fs::read(&path).expect("there"), before);
    std::fs::remove_file(&path).expect("there");

    make(dir.path()).await;
    std::fs::copy(dir.path().join("journal.db"), &path).expect("copied");
    assert!(matches!(refusal(dir.path()).await, OpenError::Foreign(_)), "the journal is not the tables");
}

/// The superuser writes everything; from here on this thread, and those it starts, don't.
#[cfg(target_os = "linux")]
fn be_bound_by_permissions() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None).expect("can be read");
    sets.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    set_capabilities(None, sets).expect("can always be given up");
}

#[tokio::test]
async fn what_cannot_be_written_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    make(dir.path()).await;
    let journal = dir.path().join("journal.db");
    let mut permissions = std::fs::metadata(&journal).expect("there").permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&journal, permissions).expect("ours");
    #[cfg(target_os = "linux")]
    be_bound_by_permissions();
    std::fs::File::options().write(true).open(&journal).expect_err("the file is read-only for this thread too");
    assert!(matches!(refusal(dir.path()).await, OpenError::ReadOnly(path) if path == journal));
}

#[tokio::test]
async fn a_file_in_place_of_the_directory_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("data");
    std::fs::write(&file, "").expect("written");
    assert!(matches!(refusal(&file).await, OpenError::Other { .. }));
}

#[tokio::test]
async fn a_full_disk_is_refused_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let opened = EmbeddedStorage::open(dir.path(), OpenOptions { most_pages: Some(2), ..options() }).await.map(|opened| opened.found);
    assert!(matches!(opened, Err(OpenError::Full(_))), "{opened:?}");
    // Nothing half-made is left.
    assert!(open(dir.path()).await.expect("space again").found.created);
}

#[tokio::test]
async fn a_full_disk_refuses_appends_and_forgets_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let opened = EmbeddedStorage::open(dir.path(), OpenOptions { most_pages: Some(40), ..options() }).await.expect("opens");
    let ports = opened.storage.ports();
    let (mut number, mut previous) = (0, Digest::default());
    let refused = loop {
        let next = batch(&ports, number, previous, 2000);
        match ports.journal.append(Arc::clone(&next)).await {
            Ok(()) => (number, previous) = (number + 1, next.hash),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Refused(_)), "{refused:?}");
    let page = Page { after: None, bytes: usize::MAX };
    let kept = ports.journal.read(ShardId(0), page).await.expect("readable");
    assert_eq!((kept.len() as u64, kept.last().map(|batch| batch.hash)), (number, Some(previous)));

    // Trimming makes room, in the same file.
    ports.journal.trim(ShardId(0), kept[kept.len() - 1].id).await.expect("trimmed");
    ports.journal.append(batch(&ports, number, previous, 2000)).await.expect("there is room");
    ports.journal.ping().await.expect("writable");
}

#[tokio::test]
async fn full_tables_refuse_a_projection_as_a_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let opened = EmbeddedStorage::open(dir.path(), OpenOptions { most_pages: Some(40), ..options() }).await.expect("opens");
    let ports = opened.storage.ports();
    let large = batch(&ports, 0, Digest::default(), 500_000);
    let projection = |batch| Projection {
        shard: ShardId(0),
        from: None,
        batches: vec![batch],
        events: vec![],
        lots: vec![],
        ledger: vec![],
        audited: vec![],
    };
    ports.tables.project(vec![projection(large)]).await.expect_err("no room");
    assert!(ports.tables.cursors().await.expect("readable").is_empty());
    ports.tables.project(vec![projection(batch(&ports, 0, Digest::default(), 1))]).await.expect("a small one fits");
}

#[tokio::test]
async fn a_crash_loses_nothing_and_is_seen() {
    let (dir, after) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let opened = open(dir.path()).await.expect("opens");
    let ports = opened.storage.ports();
    let first = batch(&ports, 0, Digest::default(), 3);
    ports.journal.append(Arc::clone(&first)).await.expect("appended");
    crash(dir.path(), after.path(), &[]);
    let opened = open(after.path()).await.expect("opens");
    assert_eq!(opened.found, FoundState { unclean_stop: true, ..FoundState::default() });
    let read = opened.storage.ports().journal.read(ShardId(0), Page { after: None, bytes: usize::MAX }).await.expect("readable");
    assert_eq!(read, [Sealed::clone(&first)]);
}

#[tokio::test]
async fn a_lost_log_after_a_crash_is_seen() {
    let (dir, after) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    make(dir.path()).await;
    let _running = open(dir.path()).await.expect("opens");
    crash(dir.path(), after.path(), &["journal.db-wal", "journal.db-shm"]);
    let opened = open(after.path()).await.expect("opens");
    assert_eq!(opened.found, FoundState { unclean_stop: true, lost_wal: true, ..FoundState::default() });
}

#[tokio::test]
async fn a_lost_journal_is_made_anew_for_the_same_data() {
    let dir = tempfile::tempdir().expect("a directory");
    let opened = open(dir.path()).await.expect("opens");
    let id = opened.storage.data_id().to_owned();
    let ports = opened.storage.ports();
    let first = batch(&ports, 0, Digest::default(), 1);
    let projection = Projection {
        shard: ShardId(0),
        from: None,
        batches: vec![Arc::clone(&first)],
        events: vec![],
        lots: vec![],
        ledger: vec![],
        audited: vec![],
    };
    ports.tables.project(vec![projection]).await.expect("projected");
    opened.storage.close().await.expect("closes");
    std::fs::remove_file(dir.path().join("journal.db")).expect("there");

    let opened = open(dir.path()).await.expect("opens");
    assert_eq!(opened.found, FoundState { lost_journal: true, ..FoundState::default() });
    assert_eq!(opened.storage.data_id(), id);
    let ports = opened.storage.ports();
    let archived = ports.tables.archived(ShardId(0), None, 10).await.expect("readable");
    ports.journal.extend(ShardId(0), Digest::default(), archived).await.expect("the archive goes back in");
    ports.journal.append(batch(&ports, 1, first.hash, 1)).await.expect("and the journal goes on");
}

#[tokio::test]
async fn a_journal_of_the_first_schema_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let opened = open(dir.path()).await.expect("opens");
    let first = batch(&opened.storage.ports(), 0, Digest::default(), 1);
    opened.storage.ports().journal.append(Arc::clone(&first)).await.expect("appended");
    opened.storage.close().await.expect("closes");
    // As it was before rows were found by what the server holds in memory.
    let before = "DROP TRIGGER batches_at_the_end; DROP TABLE trimmed; PRAGMA user_version = 1;
         CREATE UNIQUE INDEX batches_in_order ON batches (shard, epoch, number);
         CREATE TRIGGER batches_follow BEFORE INSERT ON batches BEGIN SELECT raise(IGNORE); END";
    sql(&dir.path().join("journal.db"), before).await;
    let opened = open(dir.path()).await.expect("opens");
    let ports = opened.storage.ports();
    let second = batch(&ports, 1, first.hash, 1);
    ports.journal.append(Arc::clone(&second)).await.expect("appended");
    let read = ports.journal.read(ShardId(0), Page { after: None, bytes: usize::MAX }).await.expect("readable");
    assert_eq!(read, [first.as_ref().clone(), second.as_ref().clone()]);
}

#[tokio::test]
async fn lost_tables_are_made_anew_only_while_the_journal_has_everything() {
    let dir = tempfile::tempdir().expect("a directory");
    let opened = open(dir.path()).await.expect("opens");
    let ports = opened.storage.ports();
    let first = batch(&ports, 0, Digest::default(), 1);
    let second = batch(&ports, 1, first.hash, 1);
    ports.journal.append(Arc::clone(&first)).await.expect("appended");
    ports.journal.append(Arc::clone(&second)).await.expect("appended");
    opened.storage.close().await.expect("closes");
    std::fs::remove_file(dir.path().join("tables.db")).expect("there");

    let opened = open(dir.path()).await.expect("opens");
    assert_eq!(opened.found, FoundState { rebuilt_tables: true, ..FoundState::default() });
    opened.storage.ports().journal.trim(ShardId(0), first.id).await.expect("trimmed");
    opened.storage.close().await.expect("closes");
    std::fs::remove_file(dir.path().join("tables.db")).expect("there");
    assert!(matches!(refusal(dir.path()).await, OpenError::TablesMissing(_)));
    assert!(!dir.path().join("tables.db").exists());
}

#[tokio::test]
async fn a_closed_directory_refuses_what_still_asks() {
    let dir = tempfile::tempdir().expect("a directory");
    let opened = open(dir.path()).await.expect("opens");
    let ports = opened.storage.ports();
    opened.storage.close().await.expect("closes");
    let outcome = ports.journal.append(batch(&ports, 0, Digest::default(), 1)).await;
    assert!(matches!(outcome, Err(AppendError::Refused(_))), "{outcome:?}");
    ports.journal.ping().await.expect_err("closed");
    ports.tables.ping().await.expect_err("closed");
    for log in ["journal.db-wal", "tables.db-wal"] {
        assert!(!dir.path().join(log).exists(), "{log} went into its file");
    }
}
