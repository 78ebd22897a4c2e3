//! The engine with its journal and snapshots in Redis, through a kill of Redis and a new start.

#[expect(missing_docs, reason = "test code; shared with the conformance suite")]
pub mod conformance;

use conformance::{amount, bid_id, bidder, lot_id, spec};
use gavel_domain::{
    command::PlaceBid,
    ids::{LotId, OwnerId},
    lot::view::LotView,
};
use gavel_engine::{
    Engine,
    request::{Ask, Reply},
    routing::engine::Tuning,
};
use gavel_persistence::{
    redis::{Address, Prefix, RedisOptions, RedisStorage},
    sqlite::{EmbeddedStorage, OpenOptions},
};
use gavel_test_servers::Redis;
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
        let made = engine.ask(lot_id(n), Ask::Create { spec: Box::new(spec), key: None, archived: false }).await;
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
