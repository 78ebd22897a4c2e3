//! The audit trail in `tables.db`: nobody changes it in passing, whoever does it on purpose is found out,
//! and a data directory can be checked whether a server has it or not.

#[expect(missing_docs, reason = "test code; shared with the conformance suite")]
pub mod conformance;

use conformance::{Stream, lot_id};
use gavel_domain::{
    act::{Act, Deed},
    ids::{Epoch, Seq, ShardId},
    shard::batch::Entry,
    time::Timestamp,
};
use gavel_engine::ports::{
    audit::{AuditError, AuditFault, Audited},
    tables::Projection,
};
use gavel_persistence::sqlite::{CheckError, EmbeddedStorage, OpenOptions, check_audit};
use sqlx::{
    AssertSqlSafe, Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use std::{path::Path, sync::Arc};
use tokio::runtime::Handle;

async fn open(dir: &Path) -> EmbeddedStorage {
    EmbeddedStorage::open(dir, OpenOptions::new(64, Handle::current())).await.expect("opens").storage
}

/// Six rows in the chain of shard 5, two in that of shard 6.
async fn fill(storage: &EmbeddedStorage) {
    let ports = storage.ports();
    for (shard, rows) in [(5, 6), (6, 2)] {
        let mut stream = Stream::new(&ports, shard);
        let act = |seq: u64| {
            let at = Timestamp::from_millis(10);
            Entry::Act(Arc::new(Act { by: "house".into(), at, lot: lot_id(1), epoch: Epoch(7), seq: Seq(seq), deed: Deed::Open }))
        };
        let entries: Vec<Entry> = (1..=rows).map(act).collect();
        let audited = Audited::of(&entries).collect();
        let batches = vec![stream.seal(&entries)];
        let shard = ShardId(shard);
        let projection = Projection { shard, from: None, batches, events: vec![], lots: vec![], ledger: vec![], audited };
        ports.tables.project(vec![projection]).await.expect("projected");
    }
}

async fn by_hand(dir: &Path, sql: &str) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(dir.join("tables.db")).journal_mode(SqliteJournalMode::Wal);
    let mut conn = SqliteConnection::connect_with(&options).await?;
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await.map(drop);
    conn.close().await?;
    done
}

#[tokio::test]
async fn what_is_appended_can_not_be_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let storage = open(dir.path()).await;
    fill(&storage).await;
    for change in [
        "UPDATE audit SET number = number",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE shard = 5 AND number = 2",
        "REPLACE INTO audit (shard, number, at, actor, action, lot, epoch, seq, details, previous, hash)
             SELECT shard, number, at, 'somebody', action, lot, epoch, seq, details, previous, hash FROM audit",
        "INSERT INTO audit SELECT * FROM audit WHERE number = 1
             ON CONFLICT (shard, number) DO UPDATE SET actor = 'somebody'",
    ] {
        let refused = by_hand(dir.path(), change).await.expect_err(change);
        assert!(refused.to_string().contains("append-only"), "{change}: {refused}");
    }
    assert_eq!(storage.ports().tables.check_audit().await.expect("whole"), 8);
}

#[tokio::test]
async fn what_was_changed_is_found_with_a_server_or_without() {
    let dir = tempfile::tempdir().expect("a directory");
    let storage = open(dir.path()).await;
    fill(&storage).await;
    let mut serving = Some(storage);
    let keep = "DROP TRIGGER audit_is_never_changed; DROP TRIGGER audit_is_never_shortened; DROP TRIGGER audit_is_never_replaced;
         CREATE TABLE kept AS SELECT * FROM audit; CREATE TABLE kept_ends AS SELECT * FROM audit_ends";
    by_hand(dir.path(), keep).await.expect("whoever has the file can do this");
    for (n, (change, found)) in [
        ("UPDATE audit SET actor = 'somebody' WHERE shard = 5 AND number = 6", (6, AuditFault::Changed)),
        ("UPDATE audit SET details = '{ }' WHERE shard = 5 AND number = 3", (3, AuditFault::Changed)),
        ("UPDATE audit SET lot = x'00' WHERE shard = 5 AND number = 1", (1, AuditFault::Changed)),
        ("UPDATE audit SET lot = NULL, bidder = 'ann' WHERE shard = 5 AND number = 1", (1, AuditFault::Changed)),
        ("UPDATE audit SET hash = x'00' WHERE shard = 5 AND number = 4", (4, AuditFault::Changed)),
        ("UPDATE audit SET previous = hash WHERE shard = 5 AND number = 2", (2, AuditFault::Unchained)),
        ("DELETE FROM audit WHERE shard = 5 AND number = 4", (4, AuditFault::Missing)),
        ("DELETE FROM audit WHERE shard = 5 AND number > 4", (5, AuditFault::Missing)),
        ("DELETE FROM audit WHERE shard = 5", (1, AuditFault::Missing)),
        ("UPDATE audit_ends SET number = 5 WHERE shard = 5", (6, AuditFault::Unchained)),
        ("UPDATE audit_ends SET hash = x'00' WHERE shard = 5", (6, AuditFault::Changed)),
        ("DELETE FROM audit_ends WHERE shard = 5", (1, AuditFault::Unchained)),
    ]
    .into_iter()
    .enumerate()
    {
        if n == 6
            && let Some(storage) = serving.take()
        {
            storage.close().await.expect("closes");
        }
        by_hand(dir.path(), change).await.expect(change);
        let is_it =
            |error: &AuditError| matches!(error, AuditError::Broken { shard: ShardId(5), number, fault } if (*number, *fault) == found);
        if let Some(storage) = &serving {
            let broken = storage.ports().tables.check_audit().await.expect_err(change);
            assert!(is_it(&broken), "{change}: {broken}");
        }
        let broken = check_audit(dir.path()).await.expect_err(change);
        assert!(matches!(&broken, CheckError::Audit(error) if is_it(error)), "{change}: {broken}");
        let restore = "DELETE FROM audit; INSERT INTO audit SELECT * FROM kept; DELETE FROM audit_ends; INSERT INTO audit_ends SELECT * FROM kept_ends";
        by_hand(dir.path(), restore).await.expect("restored");
        assert_eq!(check_audit(dir.path()).await.expect("whole again"), 8);
    }
}

#[tokio::test]
async fn where_there_is_nothing_to_check_that_is_said_and_nothing_is_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = check_audit(dir.path()).await.expect_err("there is nothing");
    assert!(matches!(missing, CheckError::Missing(_)), "{missing}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 0);
    std::fs::write(dir.path().join("tables.db"), "no database").expect("written");
    let foreign = check_audit(dir.path()).await.expect_err("something else");
    assert!(foreign.to_string().ends_with("not a database"), "{foreign}");
    std::fs::remove_file(dir.path().join("tables.db")).expect("there");

    open(dir.path()).await.close().await.expect("closes");
    assert_eq!(check_audit(dir.path()).await.expect("whole"), 0);
    by_hand(dir.path(), "DROP TABLE audit; DROP TABLE audit_ends; PRAGMA user_version = 2").await.expect("as it was");
    let older = check_audit(dir.path()).await.expect_err("from before");
    assert!(matches!(older, CheckError::Older(_)), "{older}");
    by_hand(dir.path(), "PRAGMA user_version = 99").await.expect("as it will be");
    let newer = check_audit(dir.path()).await.expect_err("from later");
    assert!(newer.to_string().contains("newer version"), "{newer}");
}
