//! Money in PostgreSQL: how its rows are kept apart from other transactions, what is tried again, what
//! nobody may change, and the audit trail.

#[expect(missing_docs, reason = "test code; shared with the conformance suite")]
pub mod conformance;
#[expect(missing_docs, reason = "test code")]
pub mod postgres_stage;

use conformance::{amount, bid_id, lot_id};
use gavel_domain::{
    event::{LotEvent, Outcome},
    ids::ShardId,
    wallet::event::{LedgerKind, WalletEvent, WalletRecorded},
};
use gavel_engine::ports::{
    Storage,
    audit::{AuditError, AuditFault},
    tables::{ProjectError, Projection, Tables as _},
};
use gavel_persistence::postgres::{PostgresTables, SERIALIZATION_FAILURES};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use postgres_stage::{Gate, Shard, Stage, count, open, run, try_run, url_of};
use std::sync::Arc;

struct Scene {
    url: String,
    storage: Storage,
    shard: Shard,
    _stage: Stage,
}

async fn scene() -> Scene {
    let stage = Stage::fresh().await;
    let url = url_of(&stage.database);
    let storage = stage.ports(open(&url).await.tables);
    let shard = Shard::new(&storage, 5);
    Scene { url, storage, shard, _stage: stage }
}

impl Scene {
    async fn project(&self, projection: Projection) -> Result<(), ProjectError> {
        self.storage.tables.project(vec![projection]).await
    }

    /// The next `times` ledger lines fail with this SQLSTATE.
    async fn fail_with(&self, code: &str, times: u32) {
        let sql = format!(
            "DROP SEQUENCE IF EXISTS tries CASCADE; CREATE SEQUENCE tries;
             CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN IF nextval('tries') <= {times} THEN RAISE EXCEPTION 'as told' USING ERRCODE = '{code}'; END IF; RETURN NULL; END $$;
             CREATE OR REPLACE TRIGGER fail AFTER INSERT ON gavel.ledger FOR EACH STATEMENT EXECUTE FUNCTION fail()"
        );
        run(&self.url, &sql).await;
    }

    async fn tries(&self) -> i64 {
        count(&self.url, "SELECT last_value FROM tries").await
    }
}

/// What this thread counts.
struct Counted {
    handle: PrometheusHandle,
    recorder: PrometheusRecorder,
}

impl Counted {
    fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        Self { handle: recorder.handle(), recorder }
    }

    fn failures(&self) -> u64 {
        let page = self.handle.render();
        let line = page.lines().find_map(|line| line.strip_prefix(SERIALIZATION_FAILURES));
        line.map_or(0, |number| number.trim().parse().expect("a number"))
    }
}

#[tokio::test]
async fn what_gave_way_is_tried_three_times_more_and_counted() {
    let mut scene = scene().await;
    let counted = Counted::new();
    let _here = metrics::set_default_local_recorder(&counted.recorder);
    for (code, failures, tries) in [("40001", 3, 4), ("40P01", 1, 2), ("40001", 0, 1)] {
        scene.fail_with(code, failures).await;
        let before = counted.failures();
        let projection = scene.shard.next(2, 2);
        scene.project(projection).await.expect("projected");
        assert_eq!((scene.tries().await, counted.failures() - before), (tries, failures.into()), "{code}");
        scene.shard.is_there_once(&scene.url).await;
    }
    // Four times in a row: the engine hears of it, and comes again.
    scene.fail_with("40001", 4).await;
    let (before, projection) = (counted.failures(), scene.shard.next(2, 2));
    let outcome = scene.project(projection.clone()).await;
    assert!(matches!(&outcome, Err(ProjectError::Storage(e)) if e.reason.ends_with("(SQLSTATE 40001)")), "{outcome:?}");
    assert_eq!((scene.tries().await, counted.failures() - before), (4, 4));
    scene.project(projection).await.expect("projected");
    scene.shard.is_there_once(&scene.url).await;
}

#[tokio::test]
async fn nothing_else_is_tried_again() {
    let mut scene = scene().await;
    let counted = Counted::new();
    let _here = metrics::set_default_local_recorder(&counted.recorder);
    for code in ["40003", "23514", "55P03", "57014", "53100"] {
        scene.fail_with(code, 1).await;
        let projection = scene.shard.next(1, 1);
        let outcome = scene.project(projection.clone()).await;
        assert!(matches!(outcome, Err(ProjectError::Storage(_))), "{outcome:?}");
        assert_eq!((scene.tries().await, counted.failures()), (1, 0), "{code}");
        scene.project(projection).await.expect("projected");
    }
    scene.shard.is_there_once(&scene.url).await;
}

#[tokio::test]
async fn a_conflict_that_is_real_is_settled_by_the_cursor() {
    let mut scene = scene().await;
    let counted = Counted::new();
    let _here = metrics::set_default_local_recorder(&counted.recorder);
    let other = open(&scene.url).await.tables;
    let projection = scene.shard.next(2, 2);
    let gate = Gate::at_commit(&scene.url).await;
    let (first, second, ()) = tokio::join!(
        scene.project(projection.clone()),
        async {
            gate.reached().await;
            other.project(vec![projection.clone()]).await
        },
        async {
            gate.reached_by(2).await;
            gate.open().await;
        }
    );
    first.expect("projected");
    assert!(matches!(second, Err(ProjectError::CursorMoved(ShardId(5)))), "{second:?}");
    assert_eq!(counted.failures(), 1, "it gave way once, and looked again");
    scene.shard.is_there_once(&scene.url).await;
}

#[tokio::test]
async fn money_is_serializable_and_everything_waits_for_the_disk() {
    let mut scene = scene().await;
    let name = scene.url.rsplit('/').next().expect("a database").to_owned();
    run(
        &scene.url,
        &format!(
            "ALTER DATABASE {name} SET synchronous_commit = off;
             CREATE TABLE seen (isolation text, commit text, number serial);
             CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO seen VALUES (current_setting('transaction_isolation'), current_setting('synchronous_commit')); RETURN NULL; END $$;
             CREATE TRIGGER see AFTER INSERT ON gavel.archive FOR EACH STATEMENT EXECUTE FUNCTION see()"
        ),
    )
    .await;
    let again = open(&scene.url).await.tables;
    for lines in [0, 1] {
        again.project(vec![scene.shard.next(1, lines)]).await.expect("projected");
    }
    let as_wanted =
        "SELECT count(*) FROM seen WHERE (number, isolation, commit) IN ((1, 'read committed', 'on'), (2, 'serializable', 'on'))";
    assert_eq!(count(&scene.url, as_wanted).await, 2);
}

#[tokio::test]
async fn what_is_appended_can_not_be_changed() {
    let mut scene = scene().await;
    let projection = scene.shard.next(2, 2);
    scene.project(projection).await.expect("projected");
    let month = "SELECT count(*) FROM gavel.audit_2026_09";
    assert_eq!(count(&scene.url, month).await, 2, "the lines' month");
    for table in ["bids", "events", "events_1970_01", "archive", "ledger", "audit", "audit_2026_09"] {
        let column = if ["bids", "events", "events_1970_01", "ledger"].contains(&table) { "seq" } else { "number" };
        for change in ["UPDATE gavel.{t} SET {c} = {c}", "DELETE FROM gavel.{t}", "TRUNCATE gavel.{t}"] {
            let change = change.replace("{t}", table).replace("{c}", column);
            let refused = try_run(&scene.url, &change).await.expect_err(&change);
            let refused = refused.as_database_error().expect("the server's word").message().to_owned();
            assert!(refused.ends_with("is append-only"), "{change}: {refused}");
        }
    }
    scene.shard.is_there_once(&scene.url).await;
}

async fn broken(tables: &PostgresTables) -> (i64, AuditFault) {
    match tables.check_audit().await {
        Err(AuditError::Broken { shard: ShardId(5), number, fault }) => (number, fault),
        other => panic!("it is broken: {other:?}"),
    }
}

#[tokio::test]
async fn the_audit_trail_shows_what_was_changed() {
    let mut scene = scene().await;
    let tables = open(&scene.url).await.tables;
    assert_eq!(tables.check_audit().await.expect("whole"), 0);
    for _ in 0..3 {
        let mut projection = scene.shard.next(1, 2);
        // A winner's payment is in the ledger, and no administrator's deed.
        let line = projection.ledger.last().expect("a line");
        let WalletEvent::Posted(mut entry) = line.event.clone() else { panic!("a grant") };
        (entry.kind, entry.lot, entry.bid, entry.by) = (LedgerKind::Capture, Some(lot_id(1)), Some(bid_id(1)), "ann".into());
        let paid = WalletRecorded {
            bidder: conformance::bidder("winner"),
            seq: line.seq,
            event: WalletEvent::Captured(entry),
            ..WalletRecorded::clone(line)
        };
        projection.ledger.push(Arc::new(paid));
        scene.project(projection).await.expect("projected");
    }
    let mut other = Shard::new(&scene.storage, 6);
    other.story.happens(LotEvent::Closed(Outcome::Sold { winner: conformance::bidder("ann"), price: amount(1) }));
    scene.project(other.next(0, 5)).await.expect("projected");
    assert_eq!(tables.check_audit().await.expect("whole"), 11);
    assert_eq!(count(&scene.url, "SELECT count(*) FROM gavel.ledger").await, 14);

    // As its owner could, who can take the triggers away.
    for (change, found) in [
        ("UPDATE gavel.audit SET details = replace(details, '10', '11') WHERE shard = 5 AND number = 3", (3, AuditFault::Changed)),
        ("UPDATE gavel.audit SET actor = 'somebody' WHERE shard = 5 AND number = 6", (6, AuditFault::Changed)),
        ("UPDATE gavel.audit SET details = details || ' ' WHERE shard = 5 AND number = 1", (1, AuditFault::Changed)),
        ("UPDATE gavel.audit SET previous = hash WHERE shard = 5 AND number = 2", (2, AuditFault::Unchained)),
        ("DELETE FROM gavel.audit WHERE shard = 5 AND number = 4", (4, AuditFault::Missing)),
        ("DELETE FROM gavel.audit WHERE shard = 5 AND number > 4", (5, AuditFault::Missing)),
        ("DELETE FROM gavel.audit WHERE shard = 5", (1, AuditFault::Missing)),
        ("UPDATE gavel.audit_ends SET number = 5 WHERE shard = 5", (6, AuditFault::Unchained)),
        ("UPDATE gavel.audit_ends SET hash = '\\x00' WHERE shard = 5", (6, AuditFault::Changed)),
        ("DELETE FROM gavel.audit_ends WHERE shard = 5", (1, AuditFault::Unchained)),
    ] {
        let keep = "CREATE TABLE kept AS TABLE gavel.audit; CREATE TABLE kept_ends AS TABLE gavel.audit_ends";
        let forge = format!("SET session_replication_role = replica; {keep}; {change}");
        run(&scene.url, &forge).await;
        assert_eq!(broken(&tables).await, found, "{change}");
        run(
            &scene.url,
            "SET session_replication_role = replica; DELETE FROM gavel.audit; INSERT INTO gavel.audit TABLE kept;
             DELETE FROM gavel.audit_ends; INSERT INTO gavel.audit_ends TABLE kept_ends; DROP TABLE kept, kept_ends",
        )
        .await;
        assert_eq!(tables.check_audit().await.expect("whole again"), 11);
    }
}
