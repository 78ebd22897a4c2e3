//! The engine with its tables in PostgreSQL, behind PgBouncer, through a kill of PostgreSQL and a new start.

#[expect(missing_docs, reason = "test code; shared with the conformance suite")]
pub mod conformance;
#[expect(missing_docs, reason = "test code")]
pub mod postgres_stage;

use conformance::{amount, bid_id, bidder, lot_id, spec};
use gavel_domain::{
    command::PlaceBid,
    ids::{LotId, OwnerId, Seq},
};
use gavel_engine::{
    Engine,
    ports::Storage,
    request::{Ask, Reply},
    routing::engine::Tuning,
};
use gavel_persistence::{
    postgres::{PostgresOptions, PostgresTables},
    sqlite::{EmbeddedStorage, OpenOptions},
};
use gavel_test_servers::{PgBouncer, Postgres};
use std::{path::Path, sync::Arc, time::Duration};
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

/// Journal and snapshots in files; the tables are taken only if they are of the same data.
async fn start(url: &str, journal: &Path) -> (Engine, EmbeddedStorage, Storage) {
    let embedded = EmbeddedStorage::open(journal, OpenOptions::new(SHARDS, Handle::current())).await.expect("opens").storage;
    let data_id = Some(embedded.data_id().to_owned());
    let options = PostgresOptions { data_id, migrate: true, ..PostgresOptions::new(url, SHARDS, Handle::current()) };
    let tables = PostgresTables::open(options).await.expect("opens").tables;
    let storage = Storage { tables: Arc::new(tables), ..embedded.ports() };
    let engine = Engine::start(storage.clone(), tuning()).await.expect("recovers");
    (engine, embedded, storage)
}

async fn bid(engine: &Engine, lot: LotId, id: u128) {
    let minor = 100 + 10 * u64::try_from(id).expect("small");
    let bid = PlaceBid { bidder: bidder(&format!("bidder-{id}")), bid_id: bid_id(id), amount: amount(minor), max: None };
    let answer = engine.ask(lot, Ask::Bid { bid, retry: false }).await;
    assert!(matches!(answer, Reply::Receipt(_)), "the tables are on no bid's path: {answer:?}");
}

async fn projected(storage: &Storage, lot: LotId) -> usize {
    storage.tables.bids(lot, Seq(0), 1000).await.map_or(0, |bids| bids.len())
}

#[test]
fn tables_catch_up_after_a_kill_of_postgresql_and_a_new_start() {
    let in_time = async { tokio::time::timeout(Duration::from_secs(120), all_of_it()).await.expect("somebody waits for ever") };
    actix_rt::System::new().block_on(in_time);
}

async fn all_of_it() {
    let mut server = Postgres::start();
    let pooler = PgBouncer::before_addr(server.addr(), &["server_login_retry = 0"]);
    let dir = tempfile::tempdir().expect("a directory");
    let (engine, embedded, storage) = start(&pooler.url(), dir.path()).await;
    for n in 0..LOTS {
        let mut spec = spec("A lot");
        spec.draft = false;
        let made = engine
            .ask(lot_id(n), Ask::Create { spec: Box::new(spec), access: Default::default(), by: None, key: None, archived: false })
            .await;
        assert!(matches!(made, Reply::Lot(_)), "{made:?}");
        for id in 1..=10 {
            bid(&engine, lot_id(n), id).await;
        }
    }
    while projected(&storage, lot_id(0)).await == 0 {
        tokio::task::yield_now().await;
    }
    server.kill9();
    for n in 0..LOTS {
        for id in 11..=20 {
            bid(&engine, lot_id(n), id).await;
        }
    }
    storage.tables.ping().await.expect_err("it is away");
    server.restart();
    for n in 0..LOTS {
        while projected(&storage, lot_id(n)).await < 20 {
            tokio::task::yield_now().await;
        }
        bid(&engine, lot_id(n), 21).await;
    }
    // Writes what is left, then ends.
    engine.shut_down().await;
    for n in 0..LOTS {
        assert_eq!(projected(&storage, lot_id(n)).await, 21);
    }
    drop((engine, storage));
    embedded.close().await.expect("closes");

    let (engine, _embedded, storage) = start(&pooler.url(), dir.path()).await;
    for n in 0..LOTS {
        bid(&engine, lot_id(n), 22).await;
    }
    engine.shut_down().await;
    for n in 0..LOTS {
        let bids = storage.tables.bids(lot_id(n), Seq(0), 1000).await.expect("readable");
        assert_eq!(bids.len(), 22);
        assert!(bids.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        let view = storage.tables.lot(lot_id(n)).await.expect("readable").expect("there");
        assert_eq!(view.bid_count, 22);
    }
}
