//! What the tests of PostgreSQL share: one server for a test binary, a fresh database for each test.
//! Tests that break a server start one of their own.

use gavel_engine::ports::{Storage, tables::Tables};
use gavel_persistence::{
    postgres::{Opened, PostgresOptions, PostgresTables},
    sqlite::{EmbeddedStorage, OpenOptions},
};
use gavel_test_servers::Postgres;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, Ordering},
};
use tempfile::TempDir;
use tokio::runtime::Handle;

/// The server of this binary's tests; ends with its process.
pub fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::with(&["max_connections = 300"]))
}

pub fn url_of(database: &str) -> String {
    format!("postgres://gavel@{}/{database}", server().addr())
}

pub fn options(url: &str) -> PostgresOptions {
    PostgresOptions { migrate: true, ..PostgresOptions::new(url, 64, Handle::current()) }
}

pub async fn open(url: &str) -> Opened {
    PostgresTables::open(options(url)).await.expect("opens")
}

/// A new database on the shared server; gives its name.
pub async fn database() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let url = tokio::task::spawn_blocking(|| server().url()).await.expect("a server");
    run(&url, &format!("CREATE DATABASE {name}")).await;
    name
}

/// Runs statements by hand.
pub async fn run(url: &str, sql: &str) {
    try_run(url, sql).await.expect(sql);
}

pub async fn try_run(url: &str, sql: &str) -> Result<(), sqlx::Error> {
    let mut conn = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await?;
    conn.close().await
}

/// One number, by hand.
pub async fn count(url: &str, sql: &str) -> i64 {
    let mut conn = PgConnection::connect(url).await.expect("connects");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut conn).await.expect(sql)
}

/// A database, and the other ports beside it, which no test here looks at.
pub struct Stage {
    pub database: String,
    embedded: EmbeddedStorage,
    _dir: TempDir,
}

impl Stage {
    /// In the shared server.
    pub async fn fresh() -> Self {
        Self::of(database().await).await
    }

    pub async fn of(database: String) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let embedded = EmbeddedStorage::open(dir.path(), OpenOptions::new(64, Handle::current())).await.expect("opens").storage;
        Self { database, embedded, _dir: dir }
    }

    pub fn ports(&self, tables: PostgresTables) -> Storage {
        let tables: Arc<dyn Tables> = Arc::new(tables);
        Storage { tables, ..self.embedded.ports() }
    }
}
