//! Data directories that something happened to: what can be repaired is, and said; what can't is refused, and changed by
//! nothing.

use crate::kit::{CANT_MOUNT, Finished, History, Server, Setup, Socket, lot, lot_with, skipped, until, uuid};
use gavel_test_servers::Disk;
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{
    fs,
    path::{Path, PathBuf},
    slice::from_ref,
};

/// The journal is one of the files that things happen to.
fn in_files() -> Setup {
    Setup::new().in_files()
}

/// One shard: every lot is in the same journal stream.
fn one_shard() -> Setup {
    in_files().env("GAVEL__ENGINE__SHARDS", 1)
}

async fn open(file: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await.unwrap()
}

async fn run(file: &Path, statement: &'static str) -> u64 {
    let mut conn = open(file).await;
    let changed = sqlx::query(statement).execute(&mut conn).await.unwrap().rows_affected();
    conn.close().await.unwrap();
    changed
}

/// The schema that a file has.
async fn version(file: &Path) -> i64 {
    let mut conn = open(file).await;
    let version = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    version
}

/// Every batch of a file, oldest first.
async fn batches(file: &Path, table: &str) -> Vec<(i64, i64, Vec<u8>)> {
    let mut conn = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file).read_only(true)).await.unwrap();
    let query = format!("SELECT epoch, number, bytes FROM {table} ORDER BY epoch, number");
    let rows = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(&mut conn).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

/// Whether a line says this batch's id, and not just one that begins or ends with it.
fn names_batch(line: &str, epoch: i64, number: i64) -> bool {
    let id = format!("{epoch}-{number}");
    line.split(|c: char| !c.is_ascii_digit() && c != '-').any(|word| word == id)
}

fn journal(server: &Server) -> PathBuf {
    server.dir().join("journal.db")
}

fn tables(server: &Server) -> PathBuf {
    server.dir().join("tables.db")
}

/// A lot and some bids on it; what their bidder was told.
async fn some_bids(server: &Server, lot: &str, from: u64) -> History {
    let mut history = History::default();
    let mut alice = server.bidder("alice").await;
    for max in from..from + 5 {
        let receipt = alice.bid_max(lot, 100, max).await;
        history.receipt("alice", &receipt);
    }
    history
}

fn open_lot(server: &Server) -> String {
    server.house().create(&lot())["id"].as_str().unwrap().to_owned()
}

/// Waits until the tables hold every batch of the journal.
async fn archived(server: &Server) {
    let end = std::time::Instant::now() + crate::kit::PATIENCE;
    loop {
        let (journal, archive) = (batches(&journal(server), "batches").await, batches(&tables(server), "archive").await);
        if journal.last().map(|batch| (batch.0, batch.1)) == archive.last().map(|batch| (batch.0, batch.1)) {
            return;
        }
        assert!(std::time::Instant::now() < end, "the tables stay behind");
        tokio::task::yield_now().await;
    }
}

async fn goes_on(server: &Server, lot: &str, max: u64) {
    let mut alice: Socket = server.bidder("alice").await;
    alice.bid_max(lot, 100, max).await;
}

#[test]
fn a_directory_in_use_is_left_alone() {
    let server = in_files().start();
    let second = Setup::on(server.dir()).in_files().refused();
    assert!(matches!(second.status.code(), Some(1 | 2)), "{}", second.stderr);
    assert!(second.stderr.contains(server.dir().to_str().unwrap()), "{}", second.stderr);
    assert!(!second.stderr.contains("panicked"), "{}", second.stderr);
    server.house().create(&lot());
    server.nobody().get("/health/ready").expect(200);
}

async fn set_version(file: &Path, version: i64) {
    let mut conn = open(file).await;
    sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA user_version = {version}"))).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_directory_of_a_newer_version_is_refused_and_untouched() {
    for file in ["journal.db", "tables.db"] {
        let mut server = in_files().start();
        let lot = open_lot(&server);
        server.terminate();
        let path = server.dir().join(file);
        let written = version(&path).await;
        run(&path, "PRAGMA user_version = 99").await;
        let before = fs::read(&path).unwrap();
        let refused = server.setup().refused();
        assert!(matches!(refused.status.code(), Some(1 | 2)), "{}", refused.stderr);
        let said = refused.stderr.to_lowercase();
        assert!(said.contains(file) && (said.contains("newer") || said.contains("later")), "{file}: {}", refused.stderr);
        assert!(fs::read(&path).unwrap() == before, "{file} was changed");
        set_version(&path, written).await;
        assert_eq!(version(&path).await, written);
        server.restart();
        server.house().lot(&lot);
    }
}

#[tokio::test]
async fn a_table_file_of_another_directory_is_refused() {
    let (mut ours, mut theirs) = (in_files().start(), in_files().start());
    let lot = open_lot(&ours);
    open_lot(&theirs);
    ours.terminate();
    theirs.terminate();
    let kept = fs::read(tables(&ours)).unwrap();
    fs::copy(tables(&theirs), tables(&ours)).unwrap();
    let refused = ours.setup().refused();
    assert!(matches!(refused.status.code(), Some(1 | 2)), "{}", refused.stderr);
    assert!(refused.stderr.contains("tables.db"), "{}", refused.stderr);
    fs::write(tables(&ours), kept).unwrap();
    ours.restart();
    ours.house().lot(&lot);
}

#[tokio::test]
async fn a_file_that_is_no_journal_is_refused_and_untouched() {
    for (name, bytes) in [("garbage", vec![0x55_u8; 100_000]), ("text", b"hello, I am not a database".to_vec())] {
        let mut server = in_files().start();
        server.terminate();
        fs::write(journal(&server), &bytes).unwrap();
        let refused = server.setup().refused();
        assert!(matches!(refused.status.code(), Some(1 | 2)), "{name}: {}", refused.stderr);
        assert!(refused.stderr.contains("journal.db") && !refused.stderr.contains("panicked"), "{name}: {}", refused.stderr);
        assert!(fs::read(journal(&server)).unwrap() == bytes, "{name}: the file was changed");
    }
}

#[tokio::test]
async fn altered_last_rows_are_repaired_from_the_archive() {
    let mut server = one_shard().start();
    let lot = open_lot(&server);
    let history = some_bids(&server, &lot, 100).await;
    archived(&server).await;
    server.kill();
    let altered = run(
        &journal(&server),
        "UPDATE batches SET bytes = CAST(zeroblob(length(bytes)) AS BLOB) WHERE place IN (SELECT place FROM batches ORDER BY place DESC LIMIT 3)",
    )
    .await;
    assert_eq!(altered, 3);
    server.restart();
    server.log_line("the end of the journal is damaged: set aside, repairing from the archive");
    server.log_line("the journal was behind the archive: completed from it");
    history.verify(&server.rest("root", "admin"), from_ref(&lot));
    goes_on(&server, &lot, 1000).await;
    assert!(!server.err.text().contains("lost:"), "nothing was lost");
}

#[tokio::test]
async fn what_neither_journal_nor_archive_holds_is_named() {
    let mut server = one_shard().start();
    let lot = open_lot(&server);
    let history = some_bids(&server, &lot, 100).await;
    server.terminate();
    let early = fs::read(tables(&server)).unwrap();
    server.restart();
    some_bids(&server, &lot, 200).await;
    server.kill();
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(server.dir().join(format!("tables.db{suffix}")));
    }
    fs::write(tables(&server), early).unwrap();
    run(&journal(&server), "UPDATE batches SET bytes = zeroblob(length(bytes)) WHERE place = (SELECT max(place) FROM batches)").await;
    let (epoch, number, _) = batches(&journal(&server), "batches").await.pop().unwrap();
    server.restart();
    let line = server.log_line("lost: neither the journal nor the archive holds this batch");
    assert!(names_batch(&line, epoch, number), "batch {epoch}-{number} is not named: {line}");
    history.verify(&server.rest("root", "admin"), from_ref(&lot));
    assert_eq!(server.house().lot(&lot)["bid_count"], 9, "all but the last bid");
    goes_on(&server, &lot, 1000).await;
}

#[tokio::test]
async fn a_lost_log_file_is_made_up_for_by_the_archive() {
    let mut server = one_shard().start();
    let lot = open_lot(&server);
    let mut history = some_bids(&server, &lot, 100).await;
    server.terminate();
    server.restart();
    history.extend(some_bids(&server, &lot, 200).await);
    archived(&server).await;
    server.kill();
    let log = server.dir().join("journal.db-wal");
    assert!(fs::metadata(&log).unwrap().len() > 0, "there is a log to lose");
    fs::remove_file(&log).unwrap();
    let _ = fs::remove_file(server.dir().join("journal.db-shm"));
    server.restart();
    history.verify(&server.rest("root", "admin"), from_ref(&lot));
    assert_eq!(server.house().lot(&lot)["bid_count"], 10);
    server.log_line("the journal was behind the archive: completed from it");
    goes_on(&server, &lot, 1000).await;
}

#[tokio::test]
async fn damage_in_the_middle_is_refused_and_the_batch_named() {
    let mut server = one_shard().start();
    let lot = open_lot(&server);
    some_bids(&server, &lot, 100).await;
    server.kill();
    let before = batches(&journal(&server), "batches").await;
    let (epoch, number, whole) = before[before.len() - 3].clone();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    set_bytes(&journal(&server), (epoch, number), bytes).await;
    let altered = batches(&journal(&server), "batches").await;
    let refused = server.setup().refused();
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
    let line = refused.stderr.lines().find(|line| names_batch(line, epoch, number));
    assert!(line.is_some(), "batch {epoch}-{number} is not named:\n{}", refused.stderr);
    assert!(batches(&journal(&server), "batches").await == altered, "nothing was changed");
    set_bytes(&journal(&server), (epoch, number), whole).await;
    server.restart();
    assert_eq!(server.house().lot(&lot)["bid_count"], 5);
}

async fn set_bytes(file: &Path, (epoch, number): (i64, i64), bytes: Vec<u8>) {
    let mut conn = open(file).await;
    let query = sqlx::query("UPDATE batches SET bytes = ? WHERE epoch = ? AND number = ?").bind(bytes).bind(epoch).bind(number);
    assert_eq!(query.execute(&mut conn).await.unwrap().rows_affected(), 1);
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_gap_in_the_journal_is_refused() {
    let mut server = one_shard().start();
    let lot = open_lot(&server);
    some_bids(&server, &lot, 100).await;
    server.kill();
    run(&journal(&server), "DELETE FROM batches WHERE place = (SELECT max(place) - 2 FROM batches)").await;
    let refused = server.setup().refused();
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("batch"), "{}", refused.stderr);
}

#[tokio::test]
async fn lost_tables_are_not_passed_over_in_silence() {
    let mut server = one_shard().start();
    let lot = open_lot(&server);
    let history = some_bids(&server, &lot, 100).await;
    archived(&server).await;
    server.kill();
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(server.dir().join(format!("tables.db{suffix}")));
    }
    // Either it says that it can't, or everything is there again.
    match server.setup().try_start() {
        Err(refused) => assert!(refused.stderr.contains("tables.db"), "{}", refused.stderr),
        Ok(again) => drop(history.verify(&again.rest("root", "admin"), &[lot])),
    }
}

#[test]
fn data_keep_the_number_of_shards_they_were_made_with() {
    let mut server = in_files().start();
    let lots: Vec<_> = (0..10).map(|_| open_lot(&server)).collect();
    server.terminate();
    let again = Setup::on(server.dir()).in_files().env("GAVEL__ENGINE__SHARDS", 7).start();
    for lot in &lots {
        again.house().lot(lot);
    }
    assert_eq!(again.house().all("/v1/lots", 500).len(), 10);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let mut server = in_files().start();
    server.terminate();
    let key = server.dir().join("jwt.key");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let refused = server.setup().refused();
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("jwt.key"), "{}", refused.stderr);
}

#[test]
fn a_directory_that_may_not_be_written_is_refused_and_said() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut server = in_files().start();
    let lot = open_lot(&server);
    server.terminate();
    let allow = |dir: u32, file: u32| {
        for entry in fs::read_dir(server.dir()).unwrap() {
            fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(file)).unwrap();
        }
        fs::set_permissions(server.dir(), fs::Permissions::from_mode(dir)).unwrap();
    };
    allow(0o500, 0o400);
    let refused = server.setup().bound_by_permissions().refused();
    allow(0o700, 0o600);
    says_read_only(&refused);
    server.restart();
    server.house().lot(&lot);
}

fn says_read_only(refused: &Finished) {
    assert!(matches!(refused.status.code(), Some(1 | 2)), "{}", refused.stderr);
    assert!(refused.stderr.to_lowercase().contains("read-only") && !refused.stderr.contains("panicked"), "{}", refused.stderr);
}

#[test]
fn a_read_only_file_system_is_refused_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(dir.path(), 64) else {
        return skipped("a_read_only_file_system_is_refused_and_said", CANT_MOUNT);
    };
    let mut server = Setup::on(disk.dir().join("data")).in_files().start();
    let lot = open_lot(&server);
    server.terminate();
    disk.remount("ro");
    says_read_only(&server.setup().refused());
    disk.remount("rw");
    server.restart();
    server.house().lot(&lot);
    drop(server);
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(dir.path(), 24) else {
        return skipped("a_full_disk_refuses_and_loses_nothing", CANT_MOUNT);
    };
    let filler = disk.dir().join("filler");
    fs::write(&filler, vec![0; 16 << 20]).unwrap();
    let mut server = Setup::on(disk.dir().join("data")).in_files().env("GAVEL__ENGINE__SHARDS", 1).start();
    let lot = open_lot(&server);
    let mut history = some_bids(&server, &lot, 100).await;
    let house = server.house();
    // Long texts fill it soon.
    let long = lot_with(json!({"description": "x".repeat(10_000)}));
    let mut answered = 0;
    let refused = loop {
        let answer = house.post("/v1/lots", &long);
        if answer.status != 201 {
            break answer;
        }
        answered += 1;
        assert!(answered < 2000, "the disk does not get full");
    };
    let code = refused.json()["code"].clone();
    assert!(refused.status == 503 && (code == "unavailable" || code == "overloaded"), "{}", refused.text);
    assert!(refused.header("retry-after").is_some(), "{:?}", refused.headers);
    let bid = json!({"bid_id": uuid(), "amount": 100, "max": 500});
    let while_full = server.rest("alice", "bidder").bid(&lot, &bid);
    assert!(while_full.status == 503 || while_full.status == 201, "{}", while_full.text);
    fs::remove_file(&filler).unwrap();
    let mut retried = bid.clone();
    retried["retry"] = json!(true);
    let receipt = until("bids to be taken again", || {
        let answer = server.rest("alice", "bidder").bid(&lot, &retried);
        (answer.status != 503).then(|| answer.expect(201))
    });
    history.receipt("alice", &receipt);
    history.verify(&server.rest("root", "admin"), from_ref(&lot));
    until("/health/ready", || (server.nobody().get("/health/ready").status == 200).then_some(()));
    server.kill();
    server.restart();
    history.verify(&server.rest("root", "admin"), &[lot]);
    let lots = server.house().all("/v1/lots", 500);
    assert!(lots.len() > answered, "{} of {answered} lots and one more", lots.len());
    assert!(lots.iter().all(|lot| lot["status"] != Value::Null));
    drop(server);
}
