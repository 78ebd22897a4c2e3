//! Opening tables in PostgreSQL: what is made, what is refused and in which words, what a server's own
//! role may do.

#[expect(missing_docs, reason = "test code; shared with the conformance suite")]
pub mod conformance;
#[expect(missing_docs, reason = "test code")]
pub mod postgres_stage;

use gavel_engine::ports::tables::Tables as _;
use gavel_persistence::postgres::{Migrated, OpenError, PostgresOptions, PostgresTables, migrate};
use gavel_test_servers::{PgBouncer, Postgres};
use postgres_stage::{Shard, Stage, count, database, open, options, run, try_run, url_of};
use std::time::Duration;
use tokio::runtime::Handle;

/// For tables that exist.
fn plain(url: &str) -> PostgresOptions {
    PostgresOptions::new(url, 64, Handle::current())
}

async fn refusal(options: PostgresOptions) -> OpenError {
    PostgresTables::open(options).await.map(|opened| opened.data_id).expect_err("must be refused")
}

/// The whole line, the server's name left out.
async fn line(url: &str) -> String {
    let line = refusal(plain(url)).await.to_string();
    assert!(!line.contains('\n'), "{line}");
    let (server, words) = line.strip_prefix("PostgreSQL at ").and_then(|line| line.split_once(": ")).expect("names the server");
    assert!(server.starts_with("127.0.0.1:"), "{server}");
    words.to_owned()
}

#[tokio::test]
async fn tables_are_made_once_and_only_when_asked() {
    let url = url_of(&database().await);
    assert!(matches!(refusal(plain(&url)).await, OpenError::NotMigrated { .. }));
    // Several at once: one makes them, the others wait and find them.
    let all = futures_util::future::try_join_all((0..4).map(|_| migrate(&url, None))).await.expect("migrated");
    assert_eq!(all.iter().filter(|migrated| migrated.from == 0).count(), 1, "{all:?}");
    assert_eq!(migrate(&url, None).await.expect("migrated"), Migrated { from: 1, to: 1 });
    PostgresTables::open(plain(&url)).await.expect("opens");
}

#[tokio::test]
async fn the_server_may_make_them_at_its_start_several_at_once() {
    let url = url_of(&database().await);
    let opened = futures_util::future::try_join_all((0..4).map(|_| PostgresTables::open(options(&url)))).await.expect("open");
    assert_eq!(opened.iter().filter(|opened| opened.adopted).count(), 1);
    assert!(opened.iter().all(|one| one.data_id == opened[0].data_id && one.shards == 64));
    // The test server does not wait for its disk, and is told so.
    assert!(opened[0].warnings.iter().any(|line| line.starts_with("fsync is off")), "{:?}", opened[0].warnings);
}

#[tokio::test]
async fn a_newer_or_foreign_schema_is_refused() {
    let url = url_of(&database().await);
    run(&url, "CREATE SCHEMA gavel; CREATE TABLE gavel.hammers (id integer)").await;
    for refused in [refusal(plain(&url)).await, refusal(options(&url)).await] {
        assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    }
    run(&url, "CREATE TABLE gavel.meta (something text)").await;
    assert!(matches!(refusal(plain(&url)).await, OpenError::Foreign { .. }));

    let url = url_of(&database().await);
    migrate(&url, None).await.expect("migrated");
    run(&url, "UPDATE gavel.meta SET version = 99").await;
    for refused in [refusal(plain(&url)).await, refusal(options(&url)).await, migrate(&url, None).await.expect_err("refused")] {
        assert!(matches!(refused, OpenError::Newer { found: 99, known: 1, .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_schema_that_was_made_for_us_is_taken() {
    // A role that may make tables in it, but no schemas.
    let url = url_of(&database().await);
    let name = url.rsplit('/').next().expect("a database");
    run(&url, &format!("CREATE ROLE owner_{name} LOGIN; CREATE SCHEMA gavel AUTHORIZATION owner_{name}")).await;
    migrate(&url.replace("gavel@", &format!("owner_{name}@")), None).await.expect("migrated");
}

#[tokio::test]
async fn tables_of_other_data_are_never_joined() {
    let url = url_of(&database().await);
    let ours = |id: &str| PostgresOptions { data_id: Some(id.into()), ..options(&url) };
    let opened = PostgresTables::open(ours("one")).await.expect("fresh tables take any");
    assert_eq!((opened.adopted, opened.data_id.as_str()), (true, "one"));
    let opened = PostgresTables::open(ours("one")).await.expect("its own again");
    assert_eq!((opened.adopted, opened.data_id.as_str()), (false, "one"));
    let refused = refusal(ours("two")).await;
    assert!(matches!(&refused, OpenError::OtherData { stored, given, .. } if stored == "one" && given == "two"), "{refused}");
    assert_eq!(open(&url).await.data_id, "one", "who has no id of its own is told");
    let refused = refusal(PostgresOptions { shards: 32, ..options(&url) }).await;
    assert!(matches!(refused, OpenError::ShardCount { stored: 64, asked: 32, .. }), "{refused}");
    for shards in [0, 4097] {
        let refused = refusal(PostgresOptions { shards, ..options(&url) }).await;
        assert!(matches!(refused, OpenError::BadShardCount(n) if n == shards), "{refused}");
    }
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_without_repeating_it() {
    for url in ["", "postgres", "mysql://u:hunter2@host/db", "postgres://u:hunter2@host:port/db", "postgres://u:hunter2@h/db?sslmode=maybe"]
    {
        let options = plain(url);
        assert!(!format!("{options:?}").contains("hunter2"));
        let refused = refusal(options).await;
        assert!(matches!(refused, OpenError::BadUrl) && !refused.to_string().contains("hunter2"), "{refused}");
    }
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound")
    };
    let refused = refusal(plain(&format!("postgres://gavel:hunter2@{gone}/gavel"))).await;
    assert!(matches!(refused, OpenError::Unreachable { .. }) && !refused.to_string().contains("hunter2"), "{refused}");

    // Accepts, and says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("postgres://gavel@{}/gavel", listener.local_addr().expect("bound"));
    let refused = refusal(PostgresOptions { connect_timeout: Duration::from_millis(50), ..plain(&url) }).await;
    assert!(matches!(&refused, OpenError::Unreachable { reason, .. } if reason.contains("no answer")), "{refused}");

    // A pooler is there, its server is not.
    let pooler = tokio::task::spawn_blocking(move || PgBouncer::before_addr(gone, &["server_login_retry = 0", "query_wait_timeout = 1"]));
    let refused = refusal(plain(&pooler.await.expect("a pooler").url())).await;
    assert!(matches!(refused, OpenError::Unreachable { .. }), "{refused:?}");
}

/// A server whose `pg_hba.conf` is this line.
async fn let_in_by(hba: &'static str) -> Postgres {
    let server = tokio::task::spawn_blocking(Postgres::start).await.expect("a server");
    run(&server.url(), "ALTER ROLE gavel PASSWORD 'sesame'").await;
    std::fs::write(server.dir().join("data/pg_hba.conf"), format!("{hba}\n")).expect("its directory");
    run(&server.url(), "SELECT pg_reload_conf()").await;
    // Known to all new connections once one meets it.
    while try_run(&server.url(), "SELECT 1").await.is_ok() {}
    server
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_shown() {
    let server = let_in_by("host all all 127.0.0.1/32 scram-sha-256").await;
    let with = |password: &str| server.url().replace("gavel@", &format!("gavel:{password}@"));
    let line = line(&with("hunter2")).await;
    assert_eq!(line, "the user or password is refused: password authentication failed for user \"gavel\" (SQLSTATE 28P01)");
    migrate(&with("sesame"), None).await.expect("migrated");
    PostgresTables::open(plain(&with("sesame"))).await.expect("opens");
}

#[tokio::test]
async fn tls_on_one_side_only_is_named() {
    let url = url_of(&database().await);
    assert_eq!(line(&format!("{url}?sslmode=require")).await, "TLS is required (sslmode), and it does not speak TLS");
    let server = let_in_by("hostssl all all 127.0.0.1/32 trust").await;
    let line = line(&format!("{}?sslmode=disable", server.url())).await;
    assert!(line.starts_with("it wants TLS (sslmode=require or verify-full): no pg_hba.conf entry"), "{line}");
}

#[tokio::test]
async fn tls_is_spoken_and_a_certificate_of_nobody_known_refused() {
    let server = tokio::task::spawn_blocking(Postgres::with_tls).await.expect("a server");
    let full = format!("{}?sslmode=verify-full", server.url());
    let refused = refusal(plain(&full)).await;
    assert!(matches!(&refused, OpenError::Tls { reason, .. } if reason.contains("certificate")), "{refused}");
    let trusted = format!("{full}&sslrootcert={}", server.dir().join("cert.pem").display());
    migrate(&trusted, None).await.expect("migrated");
    let opened = PostgresTables::open(options(&trusted)).await.expect("opens");
    opened.tables.ping().await.expect("writable");
    opened.tables.cursors().await.expect("readable");
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'gavel'";
    assert_eq!(count(&format!("{}?sslmode=disable", server.url()), encrypted).await, 2);
}

#[tokio::test]
async fn a_database_that_is_missing_or_of_another_encoding_is_named() {
    let url = url_of(&database().await);
    let missing = line(&format!("{url}_missing")).await;
    assert!(missing.ends_with("_missing\" does not exist (SQLSTATE 3D000)"), "{missing}");
    run(&url, "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0").await;
    assert_eq!(line(&url_of("latin")).await, "the database's encoding is LATIN1, it must be UTF8");
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_refused() {
    let name = database().await;
    let url = url_of(&name);
    migrate(&url, None).await.expect("migrated");
    run(&url, &format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    assert_eq!(line(&url).await, "takes no writes: default_transaction_read_only is on");

    let standby = tokio::task::spawn_blocking(|| {
        let mut server = Postgres::start();
        server.stop();
        std::fs::write(server.dir().join("data/standby.signal"), "").expect("its directory");
        server.restart();
        server
    });
    let standby = standby.await.expect("a server");
    assert_eq!(line(&standby.url()).await, "takes no writes: it is a standby");
}

#[tokio::test]
async fn a_full_disk_is_named() {
    let url = url_of(&database().await);
    migrate(&url, None).await.expect("migrated");
    run(
        &url,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
         CREATE TRIGGER full_disk BEFORE UPDATE OF writes ON gavel.meta FOR EACH ROW EXECUTE FUNCTION full_disk()",
    )
    .await;
    assert_eq!(line(&url).await, "its disk is full: could not extend file: No space left on device (SQLSTATE 53100)");
}

/// As `docs/decisions/0011` gives it.
const RIGHTS: &str = "GRANT USAGE ON SCHEMA gavel TO {role};
    GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA gavel TO {role};
    GRANT UPDATE ON gavel.meta, gavel.lots, gavel.cursors, gavel.wallets, gavel.audit_ends TO {role}";

#[tokio::test]
async fn a_role_with_few_rights_serves_and_one_with_fewer_is_told_which() {
    let stage = Stage::fresh().await;
    let url = url_of(&stage.database);
    let role = format!("role_{}", stage.database);
    run(&url, &format!("CREATE ROLE {role} LOGIN")).await;
    let as_role = url.replace("gavel@", &format!("{role}@"));
    let lacking = migrate(&as_role, None).await.expect_err("it may not make a schema");
    assert!(matches!(&lacking, OpenError::Privileges { .. }), "{lacking}");
    migrate(&url, None).await.expect("migrated");
    assert!(line(&as_role).await.starts_with("the user lacks rights: permission denied for schema gavel"));
    run(&url, &format!("GRANT USAGE ON SCHEMA gavel TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA gavel TO {role}")).await;
    run(&url, &format!("GRANT UPDATE ON gavel.meta TO {role}")).await;
    let line = line(&as_role).await;
    for lacking in ["INSERT on gavel.bids", "INSERT on gavel.lots", "UPDATE on gavel.cursors"] {
        assert!(line.contains(lacking) && !line.contains("SELECT on"), "{line}");
    }

    run(&url, &RIGHTS.replace("{role}", &role)).await;
    let storage = stage.ports(PostgresTables::open(plain(&as_role)).await.expect("opens").tables);
    let mut shard = Shard::new(&storage, 3);
    // Months are made for it, though it may make no tables.
    storage.tables.project(vec![shard.next(5, 2)]).await.expect("projected");
    storage.tables.project(vec![shard.next(5, 2)]).await.expect("projected");
    shard.is_there_once(&url).await;
    for change in ["UPDATE gavel.ledger SET amount = 0", "DELETE FROM gavel.audit", "TRUNCATE gavel.events", "DROP TABLE gavel.bids"] {
        let refused = try_run(&as_role, change).await.expect_err("it may not");
        assert_eq!(refused.as_database_error().and_then(|e| e.code()).as_deref(), Some("42501"), "{change}");
    }
}

#[tokio::test]
async fn this_month_and_the_next_ones_exist_from_the_start() {
    let url = url_of(&database().await);
    let opened = open(&url).await;
    let ahead = "SELECT count(*) FROM generate_series(0, 2) AS n WHERE NOT EXISTS
         (SELECT FROM pg_class WHERE relname = 'events_' || to_char((now() AT TIME ZONE 'UTC') + n * interval '1 month', 'YYYY_MM'))";
    assert_eq!(count(&url, ahead).await, 0, "all three are there");
    opened.tables.ping().await.expect("writable");
}
