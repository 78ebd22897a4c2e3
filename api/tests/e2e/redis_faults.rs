//! A server whose journal is in Redis, and what happens to that Redis: nothing acknowledged is lost, nothing is taken twice,
//! and the server comes back by itself.

use crate::{
    crash::kills_lose_and_double_nothing,
    kit::{Load, PATIENCE, Rng, Server, Setup, lot, until, until_within, uuid},
};
use gavel_test_servers::{Flow, Proxy, Redis};
use serde_json::json;
use std::{path::Path, process::Command, time::Duration};

const LOTS: usize = 6;
const BIDDERS: usize = 16;
/// Receipts after which a load counts as one.
const SOME: u64 = 200;
/// How long Redis may take for an append, in these tests.
const REQUEST_MS: u64 = 1000;

fn on(url: impl Into<String>) -> Setup {
    Setup::new().in_redis(url).env("GAVEL__LIMITS__REQUESTS_PER_SECOND", 0).env("GAVEL__REDIS__REQUEST_TIMEOUT_MS", REQUEST_MS)
}

/// The server says that it is ready.
#[track_caller]
fn ready_again(server: &Server) {
    let rest = server.nobody();
    until_within(3 * PATIENCE, "readiness", || (rest.get("/health/ready").status == 200).then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_the_server_lose_and_double_nothing() {
    let redis = Redis::durable();
    kills_lose_and_double_nothing(on(redis.url()), 5, Rng::seeded("kills_of_the_server_lose_and_double_nothing")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_redis_lose_nothing_and_are_survived() {
    let mut rng = Rng::seeded("kills_of_redis_lose_nothing_and_are_survived");
    let mut redis = Redis::durable();
    let mut server = on(redis.url()).start();
    let load = Load::start(&server, LOTS, BIDDERS, &mut rng).await;
    for _ in 0..3 {
        load.goes_on(SOME);
        redis.kill9();
        let before = load.unavailable();
        until("bids to be answered `unavailable`", || (load.unavailable() > before).then_some(()));
        redis.restart();
    }
    load.goes_on(SOME);
    let lots = load.lots.clone();
    let history = load.verified(&server).await;
    ready_again(&server);
    // All of it is in Redis and tables: another process finds the same.
    server.restart();
    history.verify(&server.rest("root", "admin"), &lots);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_redis_takes_no_bids_and_hides_nothing_known() {
    let mut rng = Rng::seeded("a_silent_redis_takes_no_bids_and_hides_nothing_known");
    let redis = Redis::durable();
    let server = on(redis.url()).start();
    let load = Load::start(&server, LOTS, BIDDERS, &mut rng).await;
    load.goes_on(SOME);
    let quiet = server.house().create(&lot())["id"].as_str().unwrap().to_owned();
    let mut alice = server.bidder("alice").await;
    let receipt = alice.bid(&quiet, 100).await;

    redis.pause();
    let stopped = std::time::Instant::now();
    let before = load.receipts();
    let late = json!({"bid": {"lot": quiet, "bid_id": uuid(), "amount": 200}});
    alice.error(late.clone(), "unavailable").await;
    // What was on its way when the signal came may have been acknowledged; each bidder has one bid.
    let answered = load.receipts();
    assert!(answered <= before + BIDDERS as u64, "{before} {answered}");
    until("every bidder to be told", || (load.unavailable() >= BIDDERS as u64).then_some(()));
    let problem = server.nobody().get("/health/ready").problem(503, "unavailable");
    let reasons = problem["reasons"].to_string();
    assert!(reasons.contains("journal"), "{reasons}");
    // Known state is still read, and sockets live.
    let seen = server.house().lot(&quiet);
    assert_eq!((&seen["price"], &seen["position"]["seq"]), (&receipt["price"], &receipt["seq"]), "{seen}");
    assert_eq!(server.house().all(&format!("/v1/lots/{quiet}/bids"), 10).len(), 1);
    assert!(server.house().all("/v1/lots?status=open", 500).iter().any(|lot| lot["id"] == quiet));
    alice.catch_up().await;
    // It stands still for five seconds in all.
    tokio::time::sleep(Duration::from_secs(5).saturating_sub(stopped.elapsed())).await;
    assert_eq!(load.receipts(), answered, "nothing is acknowledged that nobody wrote");

    redis.resume();
    load.goes_on(SOME);
    ready_again(&server);
    let mut again = late.clone();
    again["bid"]["retry"] = json!(true);
    let first = until_taken(&mut alice, &again).await;
    assert_eq!(alice.ok(again).await["receipt"], first, "and once only");
    load.verified(&server).await;
}

/// Asks until the shard serves again; the receipt.
async fn until_taken(socket: &mut crate::kit::Socket, bid: &serde_json::Value) -> serde_json::Value {
    let end = std::time::Instant::now() + 3 * PATIENCE;
    loop {
        match socket.try_ask(bid).await.unwrap() {
            Ok(mut ok) => return ok["receipt"].take(),
            Err(error) => assert!(error["code"] == "unavailable" && std::time::Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_emptied_under_load_gets_everything_back() {
    let mut rng = Rng::seeded("a_redis_that_is_emptied_under_load_gets_everything_back");
    let redis = Redis::durable();
    let mut server = on(redis.url()).env("GAVEL__ENGINE__CHECKPOINT_MS", 100).start();
    let load = Load::start(&server, LOTS, BIDDERS, &mut rng).await;
    for _ in 0..6 {
        load.goes_on(SOME);
        assert_eq!(redis.command("FLUSHALL"), "+OK");
        // Twice at once as well, while the first is being repaired.
        if rng.one_in(2) {
            tokio::time::sleep(Duration::from_millis(rng.between(0, 60))).await;
            assert_eq!(redis.command("FLUSHALL"), "+OK");
        }
    }
    load.goes_on(SOME);
    let lots = load.lots.clone();
    let history = load.verified(&server).await;
    ready_again(&server);
    assert!(!server.err.text().contains("lost:"), "{}", server.err.text());
    // What was written back is whole: another process finds the same.
    server.restart();
    history.verify(&server.rest("root", "admin"), &lots);
    assert_eq!(redis.command("HGET gavel:{gavel}:meta shards"), "$1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_was_emptied_while_nobody_served_is_made_anew_from_the_tables() {
    let mut rng = Rng::seeded("a_redis_that_was_emptied_while_nobody_served_is_made_anew_from_the_tables");
    let redis = Redis::durable();
    let mut server = on(redis.url()).start();
    let load = Load::start(&server, LOTS, BIDDERS, &mut rng).await;
    load.goes_on(SOME);
    let lots = load.lots.clone();
    let history = load.verified(&server).await;
    server.terminate();
    assert_eq!(redis.command("FLUSHALL"), "+OK");
    server.restart();
    server.log_line("the journal in Redis is missing: it is made anew from the archive");
    history.verify(&server.rest("root", "admin"), &lots);
    // The journal need not hold again what the tables hold: each stream begins where they end.
    for shard in 0..4 {
        let length = redis.command(&format!("XLEN gavel:{{gavel:{shard}}}:journal"));
        assert!([":1", ":2"].contains(&length.as_str()), "shard {shard}: {length}");
    }
    let mut alice = server.bidder("alice").await;
    alice.bid(&lots[0], 1_000_000).await;
    server.kill();
    server.restart();
    assert_eq!(server.house().lot(&lots[0])["price"], 1_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_loses_and_doubles_nothing() {
    let mut rng = Rng::seeded("a_connection_that_is_cut_loses_and_doubles_nothing");
    let redis = Redis::durable();
    let proxy = Proxy::before(redis.addr()).await;
    let server = on(proxy.instead_of(redis.addr(), &redis.url())).start();
    let load = Load::start(&server, LOTS, BIDDERS, &mut rng).await;
    for round in 0..6 {
        load.goes_on(SOME);
        // In turn: what is asked arrives and its answer is lost; it never arrives; the line is cut anywhere.
        let lost = match round % 3 {
            0 => {
                proxy.replies(Flow::Drop);
                Some(proxy.next_dropped(1))
            }
            1 => {
                proxy.requests(Flow::Drop);
                Some(proxy.next_dropped(1))
            }
            _ => None,
        };
        if let Some(lost) = lost {
            tokio::time::timeout(PATIENCE, lost).await.expect("something is on the line");
        }
        proxy.cut();
        proxy.replies(Flow::Pass);
        proxy.requests(Flow::Pass);
    }
    load.goes_on(SOME);
    load.verified(&server).await;
    ready_again(&server);
}

/// A copy of a data directory, as a careless operator makes it.
fn copied(dir: &Path) -> std::path::PathBuf {
    let copy = dir.with_file_name("copy");
    let status = Command::new("cp").arg("-r").arg(dir).arg(&copy).status().unwrap();
    assert!(status.success());
    copy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_opened_a_shard_last_has_it_and_the_other_acknowledges_nothing() {
    let redis = Redis::durable();
    let mut first = on(redis.url()).start();
    let made = first.house().create(&lot());
    let lot = made["id"].as_str().unwrap().to_owned();
    first.terminate();
    let copy = copied(first.dir());
    first.restart();
    let mut alice = first.bidder("alice").await;
    let before = alice.bid(&lot, 100).await;

    let second = Setup::on(&copy).in_redis(redis.url()).start();
    let stale = json!({"bid": {"lot": lot, "bid_id": uuid(), "amount": 200}});
    alice.error(stale.clone(), "unavailable").await;
    first.log_line("another server has taken it over");
    let rest = first.nobody();
    let not_ready = until("readiness to end", || Some(rest.get("/health/ready")).filter(|answer| answer.status == 503));
    let problem = not_ready.problem(503, "unavailable");
    assert!(problem["reasons"].to_string().contains("another server has taken it over"), "{problem}");
    alice.error(stale, "unavailable").await;
    // Its other shards notice too, though nothing happens in them.
    let all = || rest.get("/health/ready").text.matches("another server has taken it over").count() >= 4;
    until("every shard to be given up", || all().then_some(()));

    let mut bob = second.bidder("bob").await;
    let after = bob.bid(&lot, 300).await;
    assert_eq!(after["seq"].as_u64().unwrap(), before["seq"].as_u64().unwrap() + 1);
    let bids = second.house().all(&format!("/v1/lots/{lot}/bids"), 10);
    assert_eq!(bids.len(), 2, "{bids:?}");
    assert_eq!((&bids[0]["seq"], &bids[1]["seq"]), (&before["seq"], &after["seq"]));
    second.nobody().get("/health/ready").expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_stops_in_good_order_while_redis_is_silent() {
    let mut rng = Rng::seeded("a_server_stops_in_good_order_while_redis_is_silent");
    let redis = Redis::durable();
    let mut server = on(redis.url()).start();
    let load = Load::start(&server, LOTS, BIDDERS, &mut rng).await;
    load.goes_on(SOME);
    let lots = load.lots.clone();
    let history = load.verified(&server).await;
    redis.pause();
    let ended = server.terminate();
    assert!(ended.status.success() && ended.stderr.contains("stopped"), "{}", ended.stderr);
    redis.resume();
    server.restart();
    assert!(!server.err.text().contains("did not stop cleanly"), "{}", server.err.text());
    history.verify(&server.rest("root", "admin"), &lots);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_gets_what_it_lacks_from_the_server_that_lives() {
    let mut rng = Rng::seeded("a_promoted_replica_gets_what_it_lacks_from_the_server_that_lives");
    let lines = ["appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"];
    let mut master = Redis::with(&lines);
    let between = Proxy::before(master.addr()).await;
    let replica_of = between.instead_of(master.addr(), &format!("replicaof {}", master.addr())).replace(':', " ");
    let replica = Redis::with(&[&lines[..], &[&replica_of]].concat());
    let sentinel = Redis::sentinel(&master, "main");
    until("Sentinel to know the replica", || (sentinel.command("SENTINEL CKQUORUM main").starts_with("+OK")).then_some(()));
    until("the replica to follow", || (replica.command("SET probe 1").starts_with("-READONLY")).then_some(()));
    until("Sentinel to see the replica", || (sentinel.command("SENTINEL REPLICAS main") == "*1").then_some(()));

    let url = format!("redis+sentinel://{}/main", sentinel.addr());
    let mut server = on(url).env("GAVEL__REDIS__DURABILITY", "relaxed").start();
    server.log_line("appendfsync is everysec");
    let load = Load::start(&server, LOTS, BIDDERS, &mut rng).await;
    load.goes_on(SOME);
    // What is acknowledged from here on never reaches the replica.
    between.replies(Flow::Stall);
    load.goes_on(SOME);
    master.kill9();
    between.cut();
    load.goes_on(SOME);
    let lots = load.lots.clone();
    let history = load.verified(&server).await;
    ready_again(&server);
    let log = server.err.text();
    let completed = ["completed from it", "written back from memory"].iter().map(|words| log.matches(words).count()).sum::<usize>();
    assert!(completed > 0, "the replica lacked something: {log}");
    server.restart();
    history.verify(&server.rest("root", "admin"), &lots);
    assert_ne!(replica.command("DBSIZE"), ":0");
}
