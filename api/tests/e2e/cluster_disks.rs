//! Disks under the stores that are slow, or really full, and what happens to a server under load meanwhile. Other faults of the
//! same stores are in `cluster_faults`.

use crate::{
    cluster_faults::{BIDDERS, LOTS, SOME, in_tables, on, ready_again, rounds, stage, verified},
    kit::{CANT_MOUNT, Finished, Load, Rng, Server, lot, skipped, until, until_within},
};
use gavel_test_servers::{Postgres, Redis, SlowDisk};
use std::time::Duration;

/// In MiB: what a short test writes has room, and filling the rest takes no time.
const SMALL: u32 = 192;
/// Of the servers here.
const SHARDS: usize = 4;
/// How long it may take until a fault is noticed, on a busy machine.
const NOTICED: Duration = Duration::from_secs(30);

/// Every bidder is told `unavailable`, and readiness names the journal.
#[track_caller]
fn told_and_shown(server: &Server, load: &Load, told: u64) {
    until_within(NOTICED, "every bidder to be told", || (load.unavailable() >= told + BIDDERS as u64).then_some(()));
    not_ready(server, "journal");
}

/// Readiness ends, for a reason with this in it.
#[track_caller]
fn not_ready(server: &Server, why: &str) {
    let rest = server.nobody();
    let reasons = || {
        let answer = rest.get("/health/ready");
        (answer.status == 503).then(|| answer.problem(503, "unavailable")["reasons"].to_string())
    };
    until_within(NOTICED, why, || reasons()?.contains(why).then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_under_redis() {
    let mut rng = Rng::seeded("a_slow_disk_under_redis");
    let (redis, postgres) = (Redis::durable(), Postgres::start());
    let (mut server, load) = stage(&redis, &postgres, &mut rng).await;
    for _ in 0..rounds(1) {
        let slow = match SlowDisk::under(redis.pid(), Duration::from_millis(200)) {
            Ok(slow) => slow,
            Err(why) => return skipped("a_slow_disk_under_redis", &why),
        };
        load.goes_on(2 * BIDDERS as u64);
        drop(slow);
        // Longer than the server waits for an answer.
        let told = load.unavailable();
        let slow = SlowDisk::under(redis.pid(), Duration::from_secs(3)).expect("it was slow before");
        told_and_shown(&server, &load, told);
        drop(slow);
        load.goes_on(SOME);
    }
    let history = verified(load, &server, &postgres).await;
    assert!(!server.err.text().contains("lost:"), "{}", server.err.text());
    server.restart();
    in_tables(&history, &server, &postgres);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_redis() {
    let mut rng = Rng::seeded("a_full_disk_under_redis");
    let Some(mut redis) = Redis::durable_on_small_disk(SMALL) else {
        return skipped("a_full_disk_under_redis", CANT_MOUNT);
    };
    let postgres = Postgres::start();
    let (mut server, load) = stage(&redis, &postgres, &mut rng).await;
    for _ in 0..rounds(2) {
        let told = load.unavailable();
        redis.disk().fill();
        // It does not acknowledge what it can't keep, and ends.
        let said = redis.ended();
        assert!(said.contains("Can't recover from AOF write error"), "{said}");
        told_and_shown(&server, &load, told);
        redis.disk().free();
        redis.restart();
        load.goes_on(SOME);
    }
    let history = verified(load, &server, &postgres).await;
    // A line a shard, not one a bid.
    let lines = server.err.text().matches("append failed").count();
    assert!((1..=rounds(2) as usize * 2 * SHARDS).contains(&lines), "{}", server.err.text());
    server.restart();
    in_tables(&history, &server, &postgres);
}

/// One that syncs once a second refuses to write while its disk is full, and goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_a_relaxed_redis() {
    let mut rng = Rng::seeded("a_full_disk_under_a_relaxed_redis");
    let lines = ["appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"];
    let Some(redis) = Redis::on_small_disk(&lines, SMALL) else {
        return skipped("a_full_disk_under_a_relaxed_redis", CANT_MOUNT);
    };
    let postgres = Postgres::start();
    let mut server = on(&redis.url(), &postgres).env("GAVEL__REDIS__DURABILITY", "relaxed").start();
    let load = Load::start(&server, LOTS, BIDDERS, &mut rng).await;
    load.goes_on(SOME);
    for _ in 0..rounds(2) {
        let told = load.unavailable();
        redis.disk().fill();
        told_and_shown(&server, &load, told);
        not_ready(&server, "MISCONF");
        redis.disk().free();
        load.goes_on(SOME);
    }
    let history = verified(load, &server, &postgres).await;
    server.restart();
    in_tables(&history, &server, &postgres);
    // Whoever starts meanwhile is told the same.
    redis.disk().fill();
    until("Redis to refuse", || redis.command(&format!("SET pad {}", "x".repeat(8192))).starts_with("-MISCONF").then_some(()));
    let another = on(&redis.url(), &postgres).env("GAVEL__REDIS__DURABILITY", "relaxed").env("GAVEL__REDIS__KEY_PREFIX", "another");
    one_line(&another.in_postgres(postgres.database("another")).refused(), &[&redis.addr().to_string(), "MISCONF"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_postgresql() {
    let mut rng = Rng::seeded("a_full_disk_under_postgresql");
    let Some(postgres) = Postgres::on_small_disk(SMALL) else {
        return skipped("a_full_disk_under_postgresql", CANT_MOUNT);
    };
    let redis = Redis::durable();
    let (mut server, load) = stage(&redis, &postgres, &mut rng).await;
    for _ in 0..rounds(2) {
        // A file of its own journal is ahead, so that it is the tables that find no room.
        postgres.sql("gavel", "SELECT pg_switch_wal()");
        postgres.sql("gavel", "CHECKPOINT");
        postgres.disk().fill();
        not_ready(&server, "No space left on device");
        server.log_line("No space left on device");
        // Bids need no tables.
        load.goes_on(SOME);
        postgres.disk().free();
        ready_again(&server);
        load.goes_on(SOME);
    }
    assert_eq!(load.unavailable(), 0);
    let history = verified(load, &server, &postgres).await;
    server.restart();
    in_tables(&history, &server, &postgres);
}

/// Without room for its own journal PostgreSQL does not refuse, it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_a_full_disk_ends() {
    let mut rng = Rng::seeded("a_postgresql_that_a_full_disk_ends");
    let Some(mut postgres) = Postgres::on_small_disk(SMALL) else {
        return skipped("a_postgresql_that_a_full_disk_ends", CANT_MOUNT);
    };
    let redis = Redis::durable();
    let (mut server, load) = stage(&redis, &postgres, &mut rng).await;
    for _ in 0..rounds(1) {
        postgres.disk().fill();
        // Its journal moves on to a file that does not fit.
        until("PostgreSQL to fail", || {
            let _fails = postgres.try_sql("gavel", "SELECT pg_switch_wal()");
            postgres.log().contains("PANIC").then_some(())
        });
        not_ready(&server, &format!("the tables in PostgreSQL at {}", postgres.addr()));
        load.goes_on(SOME);
        postgres.disk().free();
        postgres.restart();
        ready_again(&server);
        load.goes_on(SOME);
    }
    assert_eq!(load.unavailable(), 0);
    let history = verified(load, &server, &postgres).await;
    server.restart();
    in_tables(&history, &server, &postgres);
}

#[track_caller]
fn one_line(finished: &Finished, parts: &[&str]) {
    let said = &finished.stderr;
    assert_eq!((finished.status.code(), said.trim().lines().count()), (Some(1), 1), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_onto_a_full_disk() {
    let (Some(mut redis), Some(postgres)) = (Redis::durable_on_small_disk(SMALL), Postgres::on_small_disk(SMALL)) else {
        return skipped("a_start_onto_a_full_disk", CANT_MOUNT);
    };
    // New tables find no room,
    let setup = on(&redis.url(), &postgres);
    postgres.disk().fill();
    let address = postgres.addr().to_string();
    one_line(&setup.clone().refused(), &[&address, "its disk is full"]);
    postgres.disk().free();
    // nor does a new journal.
    redis.disk().fill();
    let address = redis.addr().to_string();
    one_line(&setup.clone().refused(), &[&address, "writing what it is to hold"]);
    redis.ended();
    redis.disk().free();
    redis.restart();
    let server = setup.start();
    let made = server.house().create(&lot());
    let id = made["id"].as_str().unwrap().to_owned();
    server.bidder("alice").await.bid(&id, 100).await;
}
