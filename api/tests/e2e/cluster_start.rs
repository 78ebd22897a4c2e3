//! Starting with tables in PostgreSQL: what is refused is said in one line, and nothing is left behind.

use crate::kit::{Finished, PATIENCE, Setup, gavel, lot, until_within};
use gavel_test_servers::{PgBouncer, Postgres, Redis};
use serde_json::json;
use std::fs;

/// Refused with exit status 1 and one line that says all of this; neither directory nor Redis were touched.
#[track_caller]
fn refused(setup: Setup, redis: &Redis, parts: &[&str]) {
    let (dir, keys) = (setup.dir().to_owned(), redis.command("DBSIZE"));
    let there = dir.exists();
    let finished = setup.refused();
    let said = &finished.stderr;
    assert_eq!((finished.status.code(), said.trim().lines().count()), (Some(1), 1), "{said}");
    for part in parts.iter().chain(&["gavel: "]) {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
    assert!(!said.contains("panicked") && !said.contains("horse"), "{said}");
    assert_eq!((dir.exists(), redis.command("DBSIZE")), (there, keys), "something was made");
}

fn migrate(url: &str) -> Finished {
    let mut command = gavel(&["migrate"]);
    command.env("GAVEL__JOURNAL__STORE", "redis").env("GAVEL__TABLES__STORE", "postgres").env("GAVEL__POSTGRES__URL", url);
    Finished::run_with(command)
}

#[test]
fn tables_are_made_by_a_command_or_at_the_start() {
    let (redis, postgres) = (Redis::durable(), Postgres::start());
    let on = |migrates: bool| Setup::new().in_redis(redis.url()).in_postgres(postgres.url()).env("GAVEL__POSTGRES__MIGRATE", migrates);
    refused(on(false), &redis, &["has no tables of Gavel's yet", "migrate"]);
    let done = migrate(&postgres.url());
    assert!(done.status.success() && done.stdout.contains("are made"), "{} {}", done.stdout, done.stderr);
    assert!(migrate(&postgres.url()).stdout.contains("already"));
    let server = on(false).start();
    let made = server.house().create(&lot());
    drop(server);
    // Data of another journal.
    refused(
        Setup::new().in_redis(Redis::durable().url()).in_postgres(postgres.database("other")).env("GAVEL__POSTGRES__MIGRATE", false),
        &redis,
        &["has no tables"],
    );
    postgres.sql("gavel", "UPDATE gavel.meta SET version = version + 1");
    refused(on(true), &redis, &["goes with another data directory"]);
    let newer = migrate(&postgres.url());
    assert!(newer.status.code() == Some(1) && newer.stderr.contains("newer version of Gavel"), "{}", newer.stderr);
    assert!(made["id"].is_string());
}

#[test]
fn what_is_wrong_with_postgresql_is_named() {
    let (redis, mut postgres) = (Redis::durable(), Postgres::start());
    let on = |url: &str| Setup::new().in_redis(redis.url()).in_postgres(url).env("GAVEL__POSTGRES__CONNECT_TIMEOUT_MS", 500);
    let address = postgres.addr().to_string();
    refused(on(&format!("{}?sslmode=require", postgres.url())), &redis, &[&address, "does not speak TLS"]);
    refused(on(&postgres.url().replace("gavel@", "nobody@")), &redis, &[&address, "nobody"]);
    refused(on(&postgres.url().replace("/gavel", "/elsewhere")), &redis, &[&address, "elsewhere"]);
    postgres.sql("gavel", "ALTER DATABASE gavel SET default_transaction_read_only = on");
    refused(on(&postgres.url()), &redis, &[&address, "takes no writes"]);
    postgres.stop();
    refused(on(&postgres.url()), &redis, &[&address, "refused"]);
    let finished = on("localhost:5432").refused();
    assert!(finished.stderr.contains("postgres.url: expected postgres://"), "{}", finished.stderr);
    assert_eq!(finished.status.code(), Some(2));
}

#[test]
fn tables_and_journal_of_different_data_are_refused() {
    let (redis, other, postgres) = (Redis::durable(), Redis::durable(), Postgres::start());
    let setup = Setup::new().in_redis(redis.url()).in_postgres(postgres.url());
    let mut server = setup.start();
    server.house().create(&lot());
    server.terminate();
    // Another journal's owner finds tables that are not its own; one without any would take them for its lost archive.
    let mut elsewhere = Setup::new().in_redis(other.url()).in_postgres(postgres.database("other")).start();
    let dir = elsewhere.dir().to_owned();
    elsewhere.terminate();
    let crossed = Setup::on(&dir).in_redis(other.url()).in_postgres(postgres.url());
    let finished = crossed.refused();
    assert!(finished.stderr.contains("belongs to other data than the journal in Redis"), "{}", finished.stderr);
}

#[tokio::test]
async fn a_pgbouncer_in_transaction_mode_may_stand_between() {
    let (redis, postgres) = (Redis::durable(), Postgres::start());
    let pgbouncer = PgBouncer::before(&postgres);
    let setup = Setup::new().in_redis(redis.url()).in_postgres(pgbouncer.url()).env("GAVEL__POSTGRES__MIGRATE_URL", postgres.url());
    let mut server = setup.start();
    let admin = server.admin();
    admin.grant("alice", 500);
    let lot = server.backed(json!({}));
    server.bidder("alice").await.bid(&lot, 100).await;
    server.house().act(&lot, "close").expect(200);
    admin.settled(&lot);
    server.kill();
    server.restart();
    let admin = server.admin();
    until_within(PATIENCE, "the ledger", || (admin.ledger("alice").len() == 2).then_some(()));
    assert_eq!(admin.purse("alice").sums(), (400, 0));
    server.nobody().get("/health/ready").expect(200);
    assert_eq!(postgres.sql("gavel", "SELECT balance FROM gavel.wallets WHERE bidder = 'alice'"), "400");
    // What the house did is in the audit trail, which nobody changes unnoticed.
    let check = || {
        let mut command = gavel(&["audit", "check"]);
        command.env("GAVEL__JOURNAL__STORE", "redis").env("GAVEL__TABLES__STORE", "postgres").env("GAVEL__POSTGRES__URL", pgbouncer.url());
        Finished::run_with(command)
    };
    until_within(PATIENCE, "the audit trail", || check().stdout.contains("is whole: 3 rows").then_some(()));
    postgres.sql("gavel", "ALTER TABLE gavel.audit DISABLE TRIGGER USER");
    for month in postgres.sql("gavel", "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'gavel.audit'::regclass").lines() {
        postgres.sql("gavel", &format!("ALTER TABLE {month} DISABLE TRIGGER USER"));
    }
    postgres.sql("gavel", "UPDATE gavel.audit SET actor = 'nobody' WHERE action = 'close'");
    let broken = check();
    assert!(broken.status.code() == Some(1) && broken.stderr.contains("it was changed"), "{} {}", broken.stdout, broken.stderr);
}

#[test]
fn another_directory_does_not_begin_a_second_journal_for_tables_that_it_does_not_know() {
    let (redis, postgres) = (Redis::durable(), Postgres::start());
    let on = |prefix: &str| Setup::new().in_redis(redis.url()).in_postgres(postgres.url()).env("GAVEL__REDIS__KEY_PREFIX", prefix);
    let mut server = on("ours").start();
    let made = server.house().create(&lot());
    let id = made["id"].as_str().unwrap();
    // The right PostgreSQL and a wrong prefix, or a wrong Redis: another server may be serving these tables.
    refused(on("theirs"), &redis, &["holds data", "no journal", "tables.postgres"]);
    let wrong = Redis::durable();
    refused(Setup::new().in_redis(wrong.url()).in_postgres(postgres.url()), &wrong, &["holds data", "no journal"]);
    server.house().lot(id);
    server.terminate();
    // The directory that had the journal begins it anew where Redis has lost it.
    assert_eq!(redis.command("FLUSHALL"), "+OK");
    server.restart();
    server.log_line("the journal in Redis is missing: it is made anew from the archive");
    server.house().lot(id);
    server.terminate();
    // Another one does so only if an operator says so.
    assert_eq!(redis.command("FLUSHALL"), "+OK");
    let data_id = fs::read_to_string(server.dir().join("tables.postgres")).unwrap();
    let second = on("ours");
    refused(second.clone(), &redis, &["holds data", data_id.trim(), "tables.postgres"]);
    fs::create_dir(second.dir()).unwrap();
    fs::write(second.dir().join("tables.postgres"), &data_id).unwrap();
    let second = second.start();
    second.house().lot(id);
    refused(server.setup(), &redis, &["another data directory"]);
}

#[test]
fn tables_that_postgresql_lost_are_made_anew_from_a_journal_that_reaches_back() {
    let (redis, postgres) = (Redis::durable(), Postgres::start());
    let mut server = Setup::new().in_redis(redis.url()).in_postgres(postgres.url()).start();
    let made = server.house().create(&lot());
    server.terminate();
    postgres.sql("gavel", "DROP SCHEMA gavel CASCADE");
    server.restart();
    server.log_line("the schema in PostgreSQL is missing: it is made anew from the journal");
    server.house().lot(made["id"].as_str().unwrap());
}

#[test]
fn a_directory_keeps_to_its_tables() {
    let (redis, postgres) = (Redis::durable(), Postgres::start());
    let mut with_postgres = Setup::new().in_redis(redis.url()).in_postgres(postgres.url()).start();
    let made = with_postgres.house().create(&lot());
    with_postgres.terminate();
    let to_files = Setup::on(with_postgres.dir()).in_redis(redis.url());
    refused(to_files, &redis, &["its tables are in PostgreSQL", "tables.store = \"postgres\""]);
    for name in ["journal.db", "tables.db"] {
        assert!(!with_postgres.dir().join(name).exists(), "{name} was made");
    }
    let mut with_files = Setup::new().in_redis(redis.url()).env("GAVEL__REDIS__KEY_PREFIX", "files").start();
    with_files.terminate();
    let to_postgres = with_files.setup().in_postgres(postgres.database("other"));
    refused(to_postgres, &redis, &["has tables of its own", "tables.store = \"sqlite\""]);
    assert_eq!(postgres.sql("other", "SELECT count(*) FROM pg_namespace WHERE nspname = 'gavel'"), "0");
    with_postgres.restart();
    with_postgres.house().lot(made["id"].as_str().unwrap());
}

#[test]
fn a_role_without_rights_is_named_before_anything_is_made() {
    let (redis, postgres) = (Redis::durable(), Postgres::start());
    postgres.sql("gavel", "CREATE ROLE server LOGIN");
    let role = postgres.url().replace("gavel@", "server@");
    let on = |migrates: bool| Setup::new().in_redis(redis.url()).in_postgres(&role).env("GAVEL__POSTGRES__MIGRATE", migrates);
    refused(on(true), &redis, &["the user lacks rights", "may not create the schema"]);
    assert!(migrate(&postgres.url()).status.success());
    refused(on(false), &redis, &["the user lacks rights"]);
    postgres.sql(
        "gavel",
        "GRANT USAGE ON SCHEMA gavel TO server; GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA gavel TO server;
         GRANT UPDATE ON gavel.meta, gavel.lots, gavel.cursors, gavel.wallets, gavel.audit_ends TO server",
    );
    on(false).start().house().create(&lot());
}
