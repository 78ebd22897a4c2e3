//! The engine with its journal and snapshots in Redis, through a kill of Redis, a new start, and Redis
//! being emptied.

#[expect(missing_docs, reason = "test code; shared with the conformance suite")]
pub mod conformance;

use conformance::{amount, bid_id, bidder, lot_id, spec};
use gavel_domain::{
    command::PlaceBid,
    ids::{LotId, OwnerId, Seq},
    lot::view::LotView,
};
use gavel_engine::{
    Engine,
    projection::history::Kind,
    request::{Ask, Reply},
    routing::engine::Tuning,
};
use gavel_persistence::{
    redis::{Address, Prefix, RedisOptions, RedisStorage},
    sqlite::{EmbeddedStorage, OpenOptions},
};
use gavel_test_servers::Redis;
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{path::Path, time::Duration};
use tokio::runtime::Handle;

const SHARDS: u16 = 4;
const LOTS: u128 = 8;

fn tuning() -> Tuning {
    Tuning {
        owner: OwnerId(uuid::Uuid::from_u128(1)),
        shards: SHARDS,
        arbiters: 1,
        inbox: 1_000_000,
        journal_max_bytes: u64::MAX,
        // Saved and trimmed at every look.
        checkpoint_bytes: usize::MAX / 4,
        checkpoint_after: Duration::ZERO,
        evict_after: None,
    }
}

async fn start(url: &str, tables: &Path) -> (Engine, EmbeddedStorage) {
    let options =
        RedisOptions::new(Address::try_from(url).expect("a URL"), Prefix::try_from("engine").expect("allowed"), SHARDS, Handle::current());
    let redis = RedisStorage::open(options).await.expect("opens").storage;
    let embedded = EmbeddedStorage::open(tables, OpenOptions::new(SHARDS, Handle::current())).await.expect("opens").storage;
    let engine = Engine::start(redis.ports(embedded.ports().tables), tuning()).await.expect("recovers");
    (engine, embedded)
}

fn bid(id: u128, retry: bool) -> Ask {
    let minor = 100 + 10 * u64::try_from(id).expect("small");
    let bid = PlaceBid { bidder: bidder(&format!("bidder-{id}")), bid_id: bid_id(id), amount: amount(minor), max: None };
    Ask::Bid { bid, retry }
}

/// Sends a bid again until its lot's shard serves.
async fn persistent_bid(engine: &Engine, lot: LotId, id: u128) {
    loop {
        match engine.ask(lot, bid(id, true)).await {
            Reply::Receipt(_) => return,
            Reply::Unavailable => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    }
}

async fn view(engine: &Engine, lot: LotId) -> LotView {
    loop {
        match engine.ask(lot, Ask::View { bidder: None }).await {
            Reply::Lot(answer) => return answer.view,
            Reply::Unavailable => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn bids_are_kept_once_through_a_kill_of_redis_and_a_new_start() {
    let in_time = async { tokio::time::timeout(Duration::from_secs(120), all_of_it()).await.expect("somebody waits for ever") };
    actix_rt::System::new().block_on(in_time);
}

async fn all_of_it() {
    let mut server = Redis::durable();
    let dir = tempfile::tempdir().expect("a directory");
    let (engine, embedded) = start(&server.url(), dir.path()).await;
    for n in 0..LOTS {
        let mut spec = spec("A lot");
        spec.draft = false;
        let made = engine
            .ask(lot_id(n), Ask::Create { spec: Box::new(spec), access: Default::default(), by: None, key: None, archived: false })
            .await;
        assert!(matches!(made, Reply::Lot(_)), "{made:?}");
        for id in 1..=10 {
            let answer = engine.ask(lot_id(n), bid(id, false)).await;
            assert!(matches!(answer, Reply::Receipt(_)), "{answer:?}");
        }
    }
    server.kill9();
    for n in 0..LOTS {
        let answer = engine.ask(lot_id(n), bid(11, false)).await;
        assert!(!matches!(answer, Reply::Receipt(_)), "nobody can have written it: {answer:?}");
    }
    server.restart();
    for n in 0..LOTS {
        persistent_bid(&engine, lot_id(n), 11).await;
        persistent_bid(&engine, lot_id(n), 11).await;
        assert_eq!(view(&engine, lot_id(n)).await.bid_count, 11);
    }

    let mut before = Vec::new();
    for n in 0..LOTS {
        before.push(view(&engine, lot_id(n)).await);
    }
    engine.shut_down().await;
    drop(engine);
    embedded.close().await.expect("closes");
    server.restart();
    let (engine, _embedded) = start(&server.url(), dir.path()).await;
    for (n, before) in (0..).zip(before) {
        assert_eq!(view(&engine, lot_id(n)).await, before);
        persistent_bid(&engine, lot_id(n), 12).await;
        assert_eq!(view(&engine, lot_id(n)).await.bid_count, 12);
    }
}

/// What the tables don't hold comes back from memory, each time; and with it what is in the tables alone.
#[test]
fn what_is_nowhere_but_in_memory_survives_an_emptied_redis() {
    let in_time = async { tokio::time::timeout(Duration::from_secs(120), emptied()).await.expect("somebody waits for ever") };
    actix_rt::System::new().block_on(in_time);
}

async fn emptied() {
    let server = Redis::durable();
    let dir = tempfile::tempdir().expect("a directory");
    let (engine, embedded) = start(&server.url(), dir.path()).await;
    for n in 0..LOTS {
        let mut spec = spec("A lot");
        spec.draft = false;
        let made = engine
            .ask(lot_id(n), Ask::Create { spec: Box::new(spec), access: Default::default(), by: None, key: None, archived: false })
            .await;
        assert!(matches!(made, Reply::Lot(_)), "{made:?}");
        persistent_bid(&engine, lot_id(n), 1).await;
    }
    while engine.projector_lag().0 > 0 {
        tokio::task::yield_now().await;
    }
    // From here on nobody else writes the tables.
    let mut tables =
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(dir.path().join("tables.db"))).await.expect("opens");
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut tables).await.expect("locked");
    for round in 0..3 {
        for n in 0..LOTS {
            for id in 2..6 {
                persistent_bid(&engine, lot_id(n), 10 * round + id).await;
            }
        }
        assert_eq!(server.command("FLUSHALL"), "+OK");
    }
    for n in 0..LOTS {
        persistent_bid(&engine, lot_id(n), 40).await;
    }
    // Who starts while the tables are behind remembers what it read.
    engine.shut_down().await;
    drop(engine);
    drop(embedded);
    let (engine, embedded) = start(&server.url(), dir.path()).await;
    assert_eq!(server.command("FLUSHALL"), "+OK");
    for n in 0..LOTS {
        persistent_bid(&engine, lot_id(n), 50).await;
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut tables).await.expect("unlocked");
    tables.close().await.expect("closes");

    let mut before = Vec::new();
    for n in 0..LOTS {
        before.push(view(&engine, lot_id(n)).await);
        assert_eq!(before.last().map(|view| view.bid_count), Some(1 + 3 * 4 + 2));
    }
    engine.shut_down().await;
    drop(engine);
    embedded.close().await.expect("closes");
    let (engine, _embedded) = start(&server.url(), dir.path()).await;
    for (n, before) in (0..).zip(before) {
        assert_eq!(view(&engine, lot_id(n)).await, before);
        let bids = engine.history().events(lot_id(n), Kind::Bids, Seq(0), 100).await.expect("readable");
        assert_eq!(bids.len() as u64, before.bid_count);
    }
}
