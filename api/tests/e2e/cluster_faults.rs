//! The cluster profile's stores, journal in Redis and tables in PostgreSQL, and what happens to them under load. Each time
//! clients are held against the server, and both against what stands in PostgreSQL afterwards.
//!
//! `GAVEL_FAULT_ROUNDS=5` does each fault that often, `GAVEL_FAULT_AWAY_SECONDS=60` keeps PostgreSQL away for that long;
//! `GAVEL_SEED` reruns one.

use crate::{
    crash::kills_lose_and_double_nothing,
    kit::{History, Load, PATIENCE, Rng, Server, Setup, lot, pace, until, until_within, uuid},
};
use gavel_test_servers::{Flow, Postgres, Proxy, Redis};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

pub(crate) const LOTS: usize = 16;
pub(crate) const BIDDERS: usize = 32;
/// Receipts after which a load counts as one.
pub(crate) const SOME: u64 = 200;
/// How long the tables may take to follow, beside other tests on a busy machine.
const CATCHING_UP: Duration = Duration::from_secs(60);

/// How often each fault is done.
pub(crate) fn rounds(usual: u32) -> u32 {
    std::env::var("GAVEL_FAULT_ROUNDS").ok().map_or(usual, |text| text.parse().expect("GAVEL_FAULT_ROUNDS is a number"))
}

/// How long PostgreSQL is away where that is long; bidders bid as fast as they are answered.
fn away() -> Duration {
    let seconds = std::env::var("GAVEL_FAULT_AWAY_SECONDS").map_or(3, |text| text.parse().expect("GAVEL_FAULT_AWAY_SECONDS is a number"));
    Duration::from_secs(seconds)
}

pub(crate) fn on(redis: &str, postgres: &Postgres) -> Setup {
    let setup = Setup::new().in_redis(redis).in_postgres(postgres.url()).env("GAVEL__LIMITS__REQUESTS_PER_SECOND", 0);
    setup.env("GAVEL__REDIS__REQUEST_TIMEOUT_MS", 1000).env("GAVEL__POSTGRES__CONNECT_TIMEOUT_MS", 1000)
}

/// A server on both, under load.
pub(crate) async fn stage(redis: &Redis, postgres: &Postgres, rng: &mut Rng) -> (Server, Load) {
    let server = on(&redis.url(), postgres).start();
    let load = Load::start(&server, LOTS, BIDDERS, rng).await;
    load.goes_on(SOME);
    (server, load)
}

/// A figure of `/metrics`.
fn metric(server: &Server, name: &str) -> f64 {
    let text = server.nobody().get("/metrics").text;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
}

#[track_caller]
pub(crate) fn ready_again(server: &Server) {
    let rest = server.nobody();
    until_within(3 * PATIENCE, "readiness", || (rest.get("/health/ready").status == 200).then_some(()));
}

#[track_caller]
fn tables_follow(server: &Server) {
    until_within(CATCHING_UP, "the tables to follow", || (metric(server, "gavel_projector_lag_batches") == 0.0).then_some(()));
}

/// A bid as PostgreSQL has it: who, which, how much, and the price after it.
type Row = (String, String, u64, u64);

fn rows(postgres: &Postgres) -> BTreeMap<(String, u64), Row> {
    let text = postgres.sql("gavel", "SELECT lot, seq, bidder, bid_id, amount, price FROM gavel.bids");
    let row = |line: &str| {
        let fields: Vec<&str> = line.split('|').collect();
        let number = |at: usize| fields[at].parse::<u64>().expect("a number");
        ((fields[0].to_owned(), number(1)), (fields[2].to_owned(), fields[3].to_owned(), number(4), number(5)))
    };
    text.lines().map(row).collect()
}

/// Ends the load and compares: clients with the server, both with PostgreSQL, lots with their bids.
pub(crate) async fn verified(load: Load, server: &Server, postgres: &Postgres) -> History {
    let history = load.verified(server).await;
    ready_again(server);
    tables_follow(server);
    in_tables(&history, server, postgres);
    history
}

#[track_caller]
pub(crate) fn in_tables(history: &History, server: &Server, postgres: &Postgres) {
    let stored = rows(postgres);
    let named = |row: &Row| (row.0.clone(), row.1.clone());
    let mut seen = std::collections::HashSet::new();
    for ((lot, _), row) in &stored {
        assert!(seen.insert((lot.clone(), named(row))), "{row:?} stands twice");
    }
    for (bidder, receipt) in history.receipts() {
        let place = (receipt["lot"].as_str().unwrap().to_owned(), receipt["seq"].as_u64().unwrap());
        let row = stored.get(&place).unwrap_or_else(|| panic!("PostgreSQL lacks {receipt}"));
        let told = (bidder, receipt["bid_id"].as_str().unwrap(), receipt["amount"].as_u64(), receipt["price"].as_u64());
        assert_eq!((row.0.as_str(), row.1.as_str(), Some(row.2), Some(row.3)), told);
    }
    // What the server shows of each lot is what its rows add up to, in order.
    let counted = postgres.sql("gavel", "SELECT id, bid_count, seq, price FROM gavel.lots WHERE bid_count > 0");
    for line in counted.lines() {
        let fields: Vec<&str> = line.split('|').collect();
        let own: Vec<&Row> = stored.range((fields[0].to_owned(), 0)..=(fields[0].to_owned(), u64::MAX)).map(|(_, row)| row).collect();
        let prices: Vec<u64> = own.iter().map(|row| row.3).collect();
        assert!(prices.is_sorted(), "{line}: {prices:?}");
        assert_eq!((own.len().to_string().as_str(), prices.last().unwrap().to_string().as_str()), (fields[1], fields[3]), "{line}");
        let shown = server.house().lot(fields[0]);
        assert_eq!((&shown["bid_count"], &shown["position"]["seq"]), (&json!(own.len()), &json!(fields[2].parse::<u64>().unwrap())));
    }
    assert_eq!(
        postgres.sql(
            "gavel",
            "SELECT count(*) FROM gavel.archive a WHERE number > 0 AND NOT EXISTS
        (SELECT 1 FROM gavel.archive b WHERE b.shard = a.shard AND b.hash = a.previous)"
        ),
        "0",
        "the archive is a chain"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_the_server() {
    let (redis, postgres) = (Redis::durable(), Postgres::start());
    let rng = Rng::seeded("kills_of_the_server");
    kills_lose_and_double_nothing(on(&redis.url(), &postgres), rounds(3) as usize, rng).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_redis() {
    let mut rng = Rng::seeded("kills_of_redis");
    let (mut redis, postgres) = (Redis::durable(), Postgres::start());
    let (mut server, load) = stage(&redis, &postgres, &mut rng).await;
    for _ in 0..rounds(2) {
        redis.kill9();
        let before = load.unavailable();
        until("bids to be answered `unavailable`", || (load.unavailable() > before).then_some(()));
        redis.restart();
        load.goes_on(SOME);
    }
    let history = verified(load, &server, &postgres).await;
    server.restart();
    in_tables(&history, &server, &postgres);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stands_still() {
    let mut rng = Rng::seeded("a_redis_that_stands_still");
    let (redis, postgres) = (Redis::durable(), Postgres::start());
    let (server, load) = stage(&redis, &postgres, &mut rng).await;
    for _ in 0..rounds(1) {
        let told = load.unavailable();
        redis.pause();
        until("every bidder to be told", || (load.unavailable() >= told + BIDDERS as u64).then_some(()));
        let answered = load.receipts();
        let problem = server.nobody().get("/health/ready").problem(503, "unavailable");
        assert!(problem["reasons"].to_string().contains("journal"), "{problem}");
        // Five seconds are what is asked for; nothing is awaited but their end.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(load.receipts(), answered, "nothing is acknowledged that nobody wrote");
        redis.resume();
        load.goes_on(SOME);
    }
    verified(load, &server, &postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_emptied() {
    let mut rng = Rng::seeded("a_redis_that_is_emptied");
    let (redis, postgres) = (Redis::durable(), Postgres::start());
    let (mut server, load) = stage(&redis, &postgres, &mut rng).await;
    for _ in 0..rounds(3) {
        assert_eq!(redis.command("FLUSHALL"), "+OK");
        load.goes_on(SOME);
    }
    let history = verified(load, &server, &postgres).await;
    assert!(!server.err.text().contains("lost:"), "{}", server.err.text());
    server.restart();
    in_tables(&history, &server, &postgres);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_to_redis_that_is_cut() {
    let mut rng = Rng::seeded("a_connection_to_redis_that_is_cut");
    let (redis, postgres) = (Redis::durable(), Postgres::start());
    let proxy = Proxy::before(redis.addr()).await;
    let server = on(&proxy.instead_of(redis.addr(), &redis.url()), &postgres).start();
    let load = Load::start(&server, LOTS, BIDDERS, &mut rng).await;
    for _ in 0..rounds(3) {
        load.goes_on(SOME);
        // What is asked arrives, its answer is lost: nobody knows what became of it.
        proxy.replies(Flow::Drop);
        tokio::time::timeout(PATIENCE, proxy.next_dropped(1)).await.expect("something is on the line");
        proxy.cut();
        proxy.replies(Flow::Pass);
    }
    load.goes_on(SOME);
    verified(load, &server, &postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_postgresql() {
    let mut rng = Rng::seeded("kills_of_postgresql");
    let (redis, mut postgres) = (Redis::durable(), Postgres::start());
    let (server, load) = stage(&redis, &postgres, &mut rng).await;
    for _ in 0..rounds(3) {
        postgres.kill9();
        // Bids need no tables.
        load.goes_on(SOME);
        postgres.restart();
        load.goes_on(SOME);
    }
    assert_eq!(load.unavailable(), 0);
    verified(load, &server, &postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_is_away_for_long() {
    let mut rng = Rng::seeded("a_postgresql_that_is_away_for_long");
    let (redis, mut postgres) = (Redis::durable(), Postgres::start());
    let (mut server, load) = stage(&redis, &postgres, &mut rng).await;
    postgres.stop();
    load.goes_on(SOME);
    // The length of the outage is what is asked for; nothing is awaited but its end.
    tokio::time::sleep(away()).await;
    let problem = server.nobody().get("/health/ready").problem(503, "unavailable");
    let named = format!("the tables in PostgreSQL at {}", postgres.addr());
    assert!(problem["reasons"].to_string().contains(&named), "{problem}");
    // A server that is killed meanwhile waits for nothing that is in Redis.
    let (told, behind) = (load.receipts(), metric(&server, "gavel_projector_lag_batches"));
    let back = Instant::now();
    postgres.restart();
    let caught_up = || postgres.sql("gavel", "SELECT count(*) FROM gavel.bids").parse::<u64>().unwrap() >= told;
    until_within(CATCHING_UP + 4 * away(), "the tables to catch up under load", || caught_up().then_some(()));
    println!("{told} rows, {behind} batches behind after {:?} away; caught up {:?} after the restart", away(), back.elapsed());
    load.goes_on(SOME);
    let history = verified(load, &server, &postgres).await;
    server.restart();
    in_tables(&history, &server, &postgres);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_journals_bound_bids_are_overloaded_and_none_is_lost() {
    let (redis, mut postgres) = (Redis::durable(), Postgres::start());
    let server = on(&redis.url(), &postgres).env("GAVEL__JOURNAL__MAX_BYTES", 1 << 20).start();
    let made = server.house().create(&lot());
    let lot = made["id"].as_str().unwrap();
    let mut alice = server.bidder("alice").await;
    postgres.stop();
    let mut history = History::default();
    let (mut amount, mut accepted) = (100, 0);
    let refused = loop {
        amount += 10_000;
        let bid = json!({"bid": {"lot": lot, "bid_id": uuid(), "amount": amount}});
        let mut asked = Vec::new();
        for n in 0..200 {
            let mut bid = bid.clone();
            bid["bid"]["bid_id"] = json!(uuid());
            bid["bid"]["amount"] = json!(amount + n * 50);
            asked.push(alice.send(bid).await);
        }
        let mut overloaded = None;
        for id in asked {
            match alice.reply(id).await {
                Ok(ok) => {
                    history.receipt("alice", &ok["receipt"]);
                    accepted += 1;
                }
                Err(error) => {
                    assert_eq!((&error["code"], &error["temporary"]), (&json!("overloaded"), &json!(true)), "{error}");
                    overloaded = Some(error);
                }
            }
        }
        if let Some(error) = overloaded {
            break error;
        }
        assert!(accepted < 100_000, "the journal has no bound");
    };
    assert!(refused["message"].is_string() && accepted > 1000, "{refused}");
    assert!(metric(&server, "gavel_journal_bytes") >= f64::from(1 << 20));
    postgres.restart();
    // By itself: the tables follow, the journal is trimmed, bids are taken.
    let last = until_taken(&mut alice, lot, amount + 20_000).await;
    history.receipt("alice", &last);
    ready_again(&server);
    tables_follow(&server);
    in_tables(&history, &server, &postgres);
}

/// Asks until the server takes a bid; the receipt.
async fn until_taken(socket: &mut crate::kit::Socket, lot: &str, amount: u64) -> Value {
    let end = Instant::now() + CATCHING_UP;
    let bid = json!({"bid": {"lot": lot, "bid_id": uuid(), "amount": amount}});
    let mut pace = pace(Duration::from_millis(50));
    loop {
        pace.tick().await;
        match socket.try_ask(&bid).await.unwrap() {
            Ok(mut ok) => return ok["receipt"].take(),
            Err(error) => assert!(error["code"] == "overloaded" && Instant::now() < end, "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_data() {
    let (redis, postgres) = (Redis::durable(), Postgres::start());
    let first = on(&redis.url(), &postgres).start();
    let refused = on(&redis.url(), &postgres).refused();
    assert!(refused.stderr.contains("goes with another data directory"), "{}", refused.stderr);
    assert_eq!((refused.status.code(), refused.stderr.trim().lines().count()), (Some(1), 1), "{}", refused.stderr);
    let made = first.house().create(&lot());
    first.bidder("alice").await.bid(made["id"].as_str().unwrap(), 100).await;
    ready_again(&first);
}
