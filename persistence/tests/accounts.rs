//! The embedded backend of accounts and sessions: against the conformance suite, and what only it does.

#[expect(missing_docs, reason = "test code; each rule's name says what it is")]
pub mod accounts_conformance;

use accounts_conformance::{Backend, account, at};
use gavel_persistence::accounts::{
    Accounts, Change, Serial, Sessions,
    sqlite::{FILE_NAME, OpenError, SqliteAccounts},
};
use sqlx::{Connection as _, SqliteConnection};
use std::{os::unix::fs::PermissionsExt as _, sync::Arc};
use tempfile::TempDir;

struct Sqlite {
    accounts: SqliteAccounts,
    dir: Arc<TempDir>,
}

impl Sqlite {
    async fn open(dir: Arc<TempDir>) -> Self {
        Self { accounts: SqliteAccounts::open(dir.path()).await.expect("opens"), dir }
    }
}

impl Backend for Sqlite {
    type Ports = SqliteAccounts;

    async fn fresh() -> Self {
        Self::open(Arc::new(tempfile::tempdir().expect("a directory"))).await
    }

    fn ports(&self) -> &SqliteAccounts {
        &self.accounts
    }

    async fn another(&self) -> Self {
        Self::open(Arc::clone(&self.dir)).await
    }

    async fn restarted(self) -> Self {
        self.accounts.close().await;
        Self::open(self.dir).await
    }
}

accounts_conformance!(Sqlite);

#[tokio::test]
async fn nobody_else_may_read_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let accounts = SqliteAccounts::open(&dir.path().join("made/too")).await.expect("opens");
    accounts.add(account("alice")).await.expect("added");
    for entry in std::fs::read_dir(dir.path().join("made/too")).expect("there") {
        let entry = entry.expect("readable");
        let mode = entry.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn other_files_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(FILE_NAME);
    std::fs::write(&path, "x".repeat(4096)).expect("writable");
    assert!(matches!(SqliteAccounts::open(dir.path()).await, Err(OpenError::Database { .. })));
    std::fs::remove_file(&path).expect("there");
    let change = async |sql: &'static str| {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut conn = SqliteConnection::connect_with(&options).await.expect("opens");
        sqlx::raw_sql(sql).execute(&mut conn).await.expect("runs");
        conn.close().await.expect("closes");
    };
    change("CREATE TABLE notes (text)").await;
    assert!(matches!(SqliteAccounts::open(dir.path()).await, Err(OpenError::Foreign { .. })));
    std::fs::remove_file(&path).expect("there");
    SqliteAccounts::open(dir.path()).await.expect("made").close().await;
    change("PRAGMA user_version = 99").await;
    assert!(matches!(SqliteAccounts::open(dir.path()).await, Err(OpenError::Newer { found: 99, .. })));
}

/// Two processes, as a server and the command line beside it are.
#[tokio::test(flavor = "multi_thread")]
async fn many_writers_at_once_lose_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, other) = (SqliteAccounts::open(dir.path()).await.expect("opens"), SqliteAccounts::open(dir.path()).await.expect("opens"));
    let writers = (0..40).map(|number| {
        let accounts = if number % 2 == 0 { one.clone() } else { other.clone() };
        tokio::spawn(async move {
            let name = format!("user{number}");
            accounts.add(account(&name)).await.expect("added");
            accounts.change(name, Change::Disabled(true)).await.expect("changed");
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("done");
    }
    let changes = one.changes(Serial::default(), at(0)).await.expect("read");
    assert_eq!((one.list().await.expect("read").len(), changes.disabled.len()), (40, 40));
}
