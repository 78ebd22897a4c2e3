//! What the tests of PostgreSQL share: one server for a test binary, a fresh database for each test.
//! Tests that break a server start one of their own.

use crate::conformance::{Story, Stream, bidder, lot_id};
use gavel_domain::{
    ids::{Epoch, OperationId, Seq, ShardId},
    money::SignedAmount,
    shard::batch::Entry,
    time::Timestamp,
    wallet::event::{LedgerEntry, LedgerKind, WalletEvent, WalletRecorded},
};
use gavel_engine::ports::{
    Storage,
    audit::Audited,
    format::Mark,
    tables::{Projection, Tables},
};
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

/// One shard with one lot, as the projector would hand it over.
pub struct Shard {
    stream: Stream,
    pub story: Story,
    from: Option<Mark>,
    /// Bids so far.
    bids: u32,
    /// Lines of the ledger so far.
    lines: u32,
}

impl Shard {
    pub fn new(storage: &Storage, shard: u16) -> Self {
        let story = Story::new(lot_id(1000 + u128::from(shard)), 1000);
        Self { stream: Stream::new(storage, shard), story, from: None, bids: 0, lines: 0 }
    }

    pub fn id(&self) -> ShardId {
        self.stream.shard
    }

    /// The next projection: a batch with this many bids, and this many lines of the ledger. (The first
    /// has the lot's creation and opening too.)
    pub fn next(&mut self, bids: u32, lines: u32) -> Projection {
        let known = if self.from.is_some() { self.story.events.len() } else { 0 };
        for _ in 0..bids {
            self.bids += 1;
            self.story.bid("ann", self.bids.into(), u64::from(self.bids) * 10);
        }
        let events = self.story.events[known..].to_vec();
        let ledger: Vec<_> = (0..lines).map(|_| self.line()).collect();
        let mut entries: Vec<Entry> = events.iter().map(|event| Entry::Lot(Arc::clone(event))).collect();
        entries.extend(ledger.iter().map(|line| Entry::Wallet(Arc::clone(line))));
        let audited = Audited::of(&entries).collect();
        let batches = vec![self.stream.seal(&entries)];
        let from = self.from.replace(self.stream.mark());
        Projection { shard: self.id(), from, batches, events, lots: vec![self.story.view.clone()], ledger, audited }
    }

    /// Ten points from an administrator.
    fn line(&mut self) -> Arc<WalletRecorded> {
        self.lines += 1;
        let entry = LedgerEntry {
            currency: "DKP".into(),
            kind: LedgerKind::Grant,
            amount: SignedAmount::new(10).expect("in range"),
            balance: SignedAmount::new(i64::from(self.lines) * 10).expect("in range"),
            lot: None,
            bid: None,
            reason: "raid".into(),
            by: "gm".into(),
            operation: OperationId([9; 16]),
            digest: [3; 32],
        };
        let at = Timestamp::from_millis(1_790_000_000_000 + i64::from(self.lines));
        let bidder = bidder(&format!("ann-{}", self.id()));
        Arc::new(WalletRecorded { bidder, epoch: Epoch(7), seq: Seq(self.lines.into()), at, event: WalletEvent::Posted(Box::new(entry)) })
    }

    pub const fn mark(&self) -> Option<Mark> {
        self.from
    }

    /// What a database must hold of this shard: everything once.
    pub async fn is_there_once(&self, url: &str) {
        let (lot, shard) = (self.story.view.id, self.id());
        let bids = count(url, &format!("SELECT count(*) FROM gavel.bids WHERE lot = '{lot}'")).await;
        let batches = count(url, &format!("SELECT count(*) FROM gavel.archive WHERE shard = {shard}")).await;
        let lines = count(url, &format!("SELECT count(*) FROM gavel.ledger WHERE bidder = 'ann-{shard}'")).await;
        let deeds = count(url, &format!("SELECT count(*) FROM gavel.audit WHERE shard = {shard}")).await;
        let balance = count(url, &format!("SELECT coalesce(sum(balance)::int8, 0) FROM gavel.wallets WHERE bidder = 'ann-{shard}'")).await;
        let ours = i64::from(self.lines);
        let last = self.from.map_or(-1, |mark| i64::try_from(mark.id.number).expect("small"));
        assert_eq!((bids, batches, lines, deeds, balance), (self.bids.into(), last + 1, ours, ours, ours * 10), "shard {shard}");
    }
}

/// Holds transactions that write batches, at their commit: a constraint that is checked then waits for a
/// lock which is held here.
pub struct Gate {
    url: String,
    _holder: PgConnection,
}

impl Gate {
    /// Closed.
    pub async fn at_commit(url: &str) -> Self {
        run(
            url,
            "CREATE OR REPLACE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_advisory_xact_lock_shared(77); RETURN NULL; END $$;
             DROP TRIGGER IF EXISTS gate ON gavel.archive;
             CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON gavel.archive DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION gate()",
        )
        .await;
        let mut holder = PgConnection::connect(url).await.expect("connects");
        sqlx::raw_sql("SELECT pg_advisory_lock(77)").execute(&mut holder).await.expect("locked");
        Self { url: url.to_owned(), _holder: holder }
    }

    /// A transaction has come to its commit.
    pub async fn reached(&self) {
        self.reached_by(1).await;
    }

    /// One has, and others wait for its rows: so many in all.
    pub async fn reached_by(&self, transactions: i64) {
        let waiting = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pid IN
             (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
        while count(&self.url, waiting).await < transactions {}
    }

    /// Lets all through.
    pub async fn open(&self) {
        // The lock ends with its session. Others hold the same number in other databases.
        let holder = "SELECT pid::int8 FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 AND granted AND mode = 'ExclusiveLock'
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let pid = count(&self.url, holder).await;
        run(&self.url, &format!("SELECT pg_terminate_backend({pid})")).await;
    }
}
