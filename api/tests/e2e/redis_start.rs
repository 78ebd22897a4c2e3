//! Starting with the journal in Redis: what is refused is said in one line, and nothing is left behind.

use crate::kit::{Finished, Server, Setup, gavel, lot};
use gavel_test_servers::Redis;
use std::fs;

/// Refused with exit status 1 and one line that says all of this; the data directory was not made.
#[track_caller]
fn refused(setup: Setup, parts: &[&str]) {
    let dir = setup.dir().to_owned();
    let there = dir.exists();
    let finished = setup.refused();
    one_line(&finished, parts);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert_eq!(dir.exists(), there, "{} was made", dir.display());
}

#[track_caller]
fn one_line(finished: &Finished, parts: &[&str]) {
    let said = &finished.stderr;
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    for part in parts.iter().chain(&["gavel: "]) {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
    assert!(!said.contains("panicked") && !said.contains("horse"), "{said}");
}

fn on(url: &str) -> Setup {
    Setup::new().in_redis(url)
}

#[test]
fn a_redis_that_does_not_promise_to_keep_is_refused_or_warned_about() {
    let redis = Redis::with(&["appendonly no", "maxmemory-policy allkeys-lru"]);
    refused(on(&redis.url()), &[&redis.addr().to_string(), "appendonly is no, it must be yes", "maxmemory-policy is allkeys-lru"]);
    assert_eq!(redis.command("DBSIZE"), ":0", "nothing was written");
    let server = on(&redis.url()).env("GAVEL__REDIS__DURABILITY", "relaxed").start();
    let line = server.log_line("appendonly is no");
    assert!(line.contains("WARN"), "{line}");
    server.house().create(&lot());
}

#[test]
fn a_redis_that_can_not_be_reached_is_named() {
    let mut redis = Redis::durable();
    let address = redis.addr().to_string();
    redis.stop();
    refused(on(&redis.url()), &[&address, "refused"]);
    redis.restart();
    redis.pause();
    refused(on(&redis.url()).env("GAVEL__REDIS__CONNECT_TIMEOUT_MS", 200), &[&address, "timed out"]);
    redis.resume();
    refused(on(&redis.url().replace("redis://", "rediss://")).env("GAVEL__REDIS__CONNECT_TIMEOUT_MS", 500), &[&address, "TLS"]);
    let tls = Redis::tls_only();
    refused(on(&tls.url().replace("rediss://", "redis://")), &[&tls.addr().to_string(), "rediss://"]);
    refused(on(&tls.url()), &[&tls.addr().to_string(), "certificate"]);
}

#[test]
fn a_wrong_password_is_named_and_not_told() {
    let redis = Redis::with(&["appendonly yes", "appendfsync always", "requirepass correct-horse"]);
    let (address, without) = (redis.addr().to_string(), redis.url().replace(":correct-horse@", ""));
    refused(on(&without), &[&address, "password"]);
    refused(on(&redis.url().replace("correct", "wrong")), &[&address, "password"]);
    refused(on(&without).env("GAVEL__REDIS__PASSWORD", "wrong-horse"), &[&address, "password"]);
    for setup in [on(&redis.url()), on(&without).env("GAVEL__REDIS__PASSWORD", "correct-horse")] {
        let server = setup.env("GAVEL__REDIS__KEY_PREFIX", crate::kit::uuid()).start();
        server.house().create(&lot());
        assert!(!server.err.text().contains("horse"), "{}", server.err.text());
    }
    let mut shown = gavel(&["config", "show"]);
    shown.env("GAVEL__REDIS__URL", redis.url());
    let shown = Finished::run_with(shown);
    assert!(shown.stdout.contains("********@") && !shown.stdout.contains("horse"), "{}", shown.stdout);
}

#[test]
fn tls_is_spoken_with_a_certificate_of_ones_own() {
    let redis = Redis::tls_only();
    let setup = on(&redis.url()).env("GAVEL__REDIS__CA_FILE", redis.dir().join("cert.pem").display());
    let server = setup.env("GAVEL__REDIS__DURABILITY", "relaxed").start();
    server.house().create(&lot());
    let missing = redis.dir().join("missing.pem");
    let finished = on(&redis.url()).env("GAVEL__REDIS__CA_FILE", missing.display()).refused();
    one_line(&finished, &["redis.ca_file", "missing.pem"]);
    assert_eq!(finished.status.code(), Some(2));
}

#[test]
fn a_replica_is_refused() {
    let master = Redis::durable();
    let replica = Redis::with(&["appendonly yes", "appendfsync always", &format!("replicaof 127.0.0.1 {}", master.addr().port())]);
    refused(on(&replica.url()), &[&replica.addr().to_string(), "role is replica"]);
}

#[test]
fn a_sentinel_that_knows_no_such_master_is_named() {
    let master = Redis::durable();
    let mut sentinel = Redis::sentinel(&master, "main");
    let address = sentinel.addr().to_string();
    let on = |name: &str| on(&format!("redis+sentinel://{address}/{name}")).env("GAVEL__REDIS__DURABILITY", "relaxed");
    refused(on("other"), &[&address, "knows no master \"other\""]);
    let server = on("main").start();
    server.house().create(&lot());
    sentinel.stop();
    refused(on("main"), &[&address, "refused"]);
}

#[test]
fn a_wrong_address_is_a_mistake() {
    let finished = on("localhost:6379").refused();
    one_line(&finished, &["GAVEL__REDIS__URL", "redis.url", "redis://host:port"]);
    assert_eq!(finished.status.code(), Some(2));
}

#[test]
fn a_second_data_directory_is_refused() {
    let redis = Redis::durable();
    let first = on(&redis.url()).start();
    refused(on(&redis.url()), &["another data directory"]);
    // Another prefix is other data.
    let other = on(&redis.url()).env("GAVEL__REDIS__KEY_PREFIX", "other").start();
    for server in [&first, &other] {
        server.house().create(&lot());
    }
}

#[test]
fn an_operator_gives_a_journal_to_a_new_directory() {
    let redis = Redis::durable();
    let mut first = on(&redis.url()).start();
    let made = first.house().create(&lot());
    first.terminate();
    assert_eq!(redis.command("HDEL gavel:{gavel}:meta place"), ":1");
    let second = on(&redis.url()).start();
    second.log_line("tables.db is missing: it is made anew from the journal");
    second.house().lot(made["id"].as_str().unwrap());
    refused(first.setup(), &["another data directory"]);
}

#[test]
fn tables_of_other_data_are_refused() {
    let redis = Redis::durable();
    let (mut ours, mut theirs) = (
        on(&redis.url()).env("GAVEL__REDIS__KEY_PREFIX", "ours").start(),
        on(&redis.url()).env("GAVEL__REDIS__KEY_PREFIX", "theirs").start(),
    );
    ours.terminate();
    theirs.terminate();
    fs::copy(theirs.dir().join("tables.db"), ours.dir().join("tables.db")).unwrap();
    let before = fs::read(ours.dir().join("tables.db")).unwrap();
    refused(ours.setup(), &["tables.db", "belongs to other data than the journal in Redis"]);
    assert!(fs::read(ours.dir().join("tables.db")).unwrap() == before, "tables.db was changed");
}

#[test]
fn a_directory_keeps_to_its_journal() {
    let redis = Redis::durable();
    let mut with_files = Setup::new().in_files().start();
    with_files.terminate();
    refused(Setup::on(with_files.dir()).in_redis(redis.url()), &["has a journal of its own", "journal.store = \"sqlite\""]);
    assert_eq!(redis.command("DBSIZE"), ":0", "nothing was written");
    let mut with_redis = on(&redis.url()).start();
    with_redis.terminate();
    refused(Setup::on(with_redis.dir()).in_files(), &["its journal is in Redis", "journal.store = \"redis\""]);
    assert!(!with_redis.dir().join("journal.db").exists());
}

#[test]
fn the_number_of_shards_stays_as_the_data_has_it() {
    let redis = Redis::durable();
    let mut server = on(&redis.url()).start();
    let made = server.house().create(&lot());
    server.terminate();
    let again = server.setup().env("GAVEL__ENGINE__SHARDS", 7).start();
    again.log_line("keeping the number it was made with");
    again.house().lot(made["id"].as_str().unwrap());
}

#[test]
fn lost_tables_are_made_anew_from_a_journal_that_reaches_back() {
    let redis = Redis::durable();
    let mut server: Server = on(&redis.url()).start();
    let made = server.house().create(&lot());
    server.terminate();
    for name in ["tables.db", "tables.db-wal", "tables.db-shm"] {
        let _ = fs::remove_file(server.dir().join(name));
    }
    server.restart();
    server.log_line("tables.db is missing: it is made anew from the journal");
    server.house().lot(made["id"].as_str().unwrap());
}

#[test]
fn a_directory_of_files_moves_to_redis() {
    let redis = Redis::durable();
    let mut server = Setup::new().in_files().start();
    let made = server.house().create(&lot());
    server.terminate();
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let _ = fs::remove_file(server.dir().join(name));
    }
    let moved = Setup::on(server.dir()).in_redis(redis.url()).start();
    assert_eq!(moved.house().lot(made["id"].as_str().unwrap())["title"], made["title"]);
}
