//! PostgreSQL when something breaks: answers, connections, the process, other writers. What holds while all
//! is well is in `postgres.rs`; money's rules are in `postgres_money.rs`.

#[expect(missing_docs, reason = "test code; shared with the conformance suite")]
pub mod conformance;
#[expect(missing_docs, reason = "test code")]
pub mod postgres_stage;

use gavel_domain::ids::ShardId;
use gavel_engine::ports::{
    Storage,
    tables::{ProjectError, Projection},
};
use gavel_persistence::postgres::{PostgresOptions, PostgresTables};
use gavel_test_servers::{Flow, PgBouncer, Postgres, Proxy};
use postgres_stage::{Gate, Shard, Stage, count, open, options, run, server, try_run, url_of};
use std::{sync::Arc, time::Duration};

async fn project(storage: &Storage, projection: &Projection) -> Result<(), ProjectError> {
    storage.tables.project(vec![projection.clone()]).await
}

fn storage_error(outcome: &Result<(), ProjectError>) {
    assert!(matches!(outcome, Err(ProjectError::Storage(_))), "{outcome:?}");
}

fn moved(outcome: &Result<(), ProjectError>) {
    assert!(matches!(outcome, Err(ProjectError::CursorMoved(_))), "{outcome:?}");
}

/// As the projector does: again until the database has it.
async fn insist(storage: &Storage, projection: &Projection) {
    loop {
        match project(storage, projection).await {
            Ok(()) | Err(ProjectError::CursorMoved(_)) => return,
            Err(ProjectError::Storage(_)) => tokio::task::yield_now().await,
        }
    }
}

/// A stage in a database of the shared server, its tables behind a proxy.
async fn behind_a_proxy() -> (Stage, String, Proxy, Storage) {
    let stage = Stage::fresh().await;
    let url = url_of(&stage.database);
    let proxy = Proxy::before(server().addr()).await;
    let storage = stage.ports(open(&proxy.instead_of(server().addr(), &url)).await.tables);
    (stage, url, proxy, storage)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_has_each_batch_once() {
    let mut postgres = tokio::task::spawn_blocking(Postgres::start).await.expect("a server");
    let stage = Arc::new(Stage::of("gavel".into()).await);
    let (url, addr) = (postgres.url(), postgres.addr());
    let storage = stage.ports(open(&url).await.tables);
    let (progress, mut seen) = tokio::sync::watch::channel(0_u32);
    let projecting = tokio::spawn({
        let storage = storage.clone();
        async move {
            let mut shards: Vec<Shard> = (0..4).map(|shard| Shard::new(&storage, shard)).collect();
            for lap in 1..=60_u32 {
                let mut turn: Vec<Projection> = shards.iter_mut().map(|shard| shard.next(50, lap % 2)).collect();
                // What is refused as moved is there; the others are still to be written.
                while !turn.is_empty() {
                    match storage.tables.project(turn.clone()).await {
                        Ok(()) => break,
                        Err(ProjectError::CursorMoved(shard)) => turn.retain(|projection| projection.shard != shard),
                        Err(ProjectError::Storage(_)) => tokio::task::yield_now().await,
                    }
                }
                progress.send_replace(lap);
            }
            shards
        }
    });
    for kill in 1..=4 {
        seen.wait_for(|lap| *lap >= kill * 12).await.expect("it goes on");
        postgres = tokio::task::spawn_blocking(move || {
            postgres.kill9();
            postgres.restart();
            postgres
        })
        .await
        .expect("it starts again");
    }
    let shards = projecting.await.expect("all was written");
    assert_eq!(addr, postgres.addr());
    for shard in &shards {
        shard.is_there_once(&url).await;
    }
    let cursors = storage.tables.cursors().await.expect("readable");
    let ends: Vec<_> = shards.iter().map(|shard| (shard.id(), shard.mark().expect("written"))).collect();
    assert_eq!(cursors, ends);
    for (shard, end) in ends {
        let archived = storage.tables.archived(shard, None, 1000).await.expect("readable");
        assert_eq!((archived.len(), archived.last().map(|batch| batch.mark())), (60, Some(end)));
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_counts_once() {
    let (_stage, url, proxy, storage) = behind_a_proxy().await;
    let mut shard = Shard::new(&storage, 5);
    project(&storage, &shard.next(3, 0)).await.expect("projected");
    for lines in [0, 2] {
        // The commit waits at the gate; its answer is lost behind it. Looked up, it is there.
        let gate = Gate::at_commit(&url).await;
        let projection = shard.next(7, lines);
        let (outcome, ()) = tokio::join!(project(&storage, &projection), async {
            gate.reached().await;
            proxy.replies(Flow::Drop);
            let dropped = proxy.next_dropped(1);
            gate.open().await;
            dropped.await;
            proxy.replies(Flow::Pass);
            proxy.cut();
        });
        outcome.expect("it was looked up");
        moved(&project(&storage, &projection).await);
        shard.is_there_once(&url).await;

        // The same, and nobody answers the question either: an error, and the repetition is refused.
        let gate = Gate::at_commit(&url).await;
        let projection = shard.next(7, lines);
        let (outcome, ()) = tokio::join!(project(&storage, &projection), async {
            gate.reached().await;
            proxy.replies(Flow::Drop);
            let dropped = proxy.next_dropped(1);
            gate.open().await;
            dropped.await;
            proxy.refuse(true);
            proxy.cut();
        });
        storage_error(&outcome);
        storage.tables.ping().await.expect_err("nobody there");
        proxy.refuse(false);
        proxy.replies(Flow::Pass);
        moved(&project(&storage, &projection).await);
        shard.is_there_once(&url).await;
    }
}

#[tokio::test]
async fn a_commit_under_way_while_its_fate_is_looked_up_counts_once() {
    let (_stage, url, proxy, storage) = behind_a_proxy().await;
    let mut shard = Shard::new(&storage, 5);
    project(&storage, &shard.next(3, 0)).await.expect("projected");
    let gate = Gate::at_commit(&url).await;
    let projection = shard.next(7, 1);
    // The connection goes while the server commits: not there yet.
    let (outcome, ()) = tokio::join!(project(&storage, &projection), async {
        gate.reached().await;
        proxy.cut();
    });
    storage_error(&outcome);
    // The repetition waits for the first one's rows.
    let (outcome, ()) = tokio::join!(project(&storage, &projection), async {
        gate.reached_by(2).await;
        gate.open().await;
    });
    moved(&outcome);
    shard.is_there_once(&url).await;
}

#[tokio::test]
async fn a_request_that_is_lost_comes_once() {
    let (_stage, url, proxy, storage) = behind_a_proxy().await;
    let mut shard = Shard::new(&storage, 5);
    project(&storage, &shard.next(3, 1)).await.expect("projected");
    let projection = shard.next(100, 1);
    proxy.requests(Flow::Drop);
    let dropped = proxy.next_dropped(1);
    let (outcome, ()) = tokio::join!(project(&storage, &projection), async {
        dropped.await;
        proxy.refuse(true);
        proxy.cut();
    });
    storage_error(&outcome);
    proxy.requests(Flow::Pass);
    proxy.refuse(false);
    project(&storage, &projection).await.expect("projected");
    shard.is_there_once(&url).await;
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_what_it_had_counts_once() {
    let stage = Stage::fresh().await;
    let url = url_of(&stage.database);
    let proxy = Proxy::before(server().addr()).await;
    let short = Duration::from_millis(200);
    let impatient =
        PostgresOptions { write_timeout: short, read_timeout: short, acquire_timeout: short, connect_timeout: short, ..options("") };
    let through = PostgresOptions { url: proxy.instead_of(server().addr(), &url), ..impatient };
    open(&url).await;
    let storage = stage.ports(PostgresTables::open(through).await.expect("opens").tables);
    let mut shard = Shard::new(&storage, 5);
    insist(&storage, &shard.next(3, 1)).await;
    let lot = shard.story.view.id;
    storage.tables.lot(lot).await.expect("readable").expect("there");
    proxy.replies(Flow::Stall);
    let projection = shard.next(7, 1);
    storage_error(&project(&storage, &projection).await);
    storage.tables.ping().await.expect_err("silence");
    storage.tables.lot(lot).await.expect_err("silence");
    proxy.replies(Flow::Pass);
    insist(&storage, &projection).await;
    shard.is_there_once(&url).await;
    while storage.tables.lot(lot).await.is_err() {}
}

#[tokio::test]
async fn connections_that_died_unnoticed_are_replaced_unnoticed() {
    let stage = Stage::fresh().await;
    let url = url_of(&stage.database);
    let storage = stage.ports(open(&url).await.tables);
    let mut shard = Shard::new(&storage, 5);
    let end_all =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND pid <> pg_backend_pid()", stage.database);
    let others = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND pid <> pg_backend_pid()", stage.database);
    for lines in [0, 1] {
        project(&storage, &shard.next(3, lines)).await.expect("projected");
        storage.tables.cursors().await.expect("readable");
        run(&url, &end_all).await;
        while count(&url, &others).await > 0 {}
        project(&storage, &shard.next(3, lines)).await.expect("projected on a new connection");
        run(&url, &end_all).await;
        while count(&url, &others).await > 0 {}
        storage.tables.ping().await.expect("writable");
        assert_eq!(storage.tables.cursors().await.expect("readable").len(), 1);
    }
    shard.is_there_once(&url).await;
}

#[tokio::test]
async fn a_second_writer_loses() {
    let stage = Stage::fresh().await;
    let url = url_of(&stage.database);
    let (one, two) = (stage.ports(open(&url).await.tables), stage.ports(open(&url).await.tables));
    let mut shard = Shard::new(&one, 5);
    project(&one, &shard.next(3, 0)).await.expect("projected");
    for lines in [0, 1] {
        // Both at once: the second waits for the first one's cursor, and then finds it moved.
        let gate = Gate::at_commit(&url).await;
        let projection = shard.next(5, lines);
        let (first, second, ()) = tokio::join!(
            project(&one, &projection),
            async {
                gate.reached().await;
                project(&two, &projection).await
            },
            async {
                gate.reached_by(2).await;
                gate.open().await;
            }
        );
        first.expect("projected");
        moved(&second);
        shard.is_there_once(&url).await;
        // The other one takes over from there, and the first has lost.
        let projection = shard.next(5, lines);
        project(&two, &projection).await.expect("projected");
        moved(&project(&one, &projection).await);
    }
    // Two that both begin a shard.
    let fresh = Shard::new(&one, 6).next(1, 0);
    project(&two, &fresh).await.expect("projected");
    moved(&project(&one, &fresh).await);
}

#[tokio::test]
async fn a_loser_lets_go_of_what_it_had_locked() {
    let stage = Stage::fresh().await;
    let url = url_of(&stage.database);
    let loser = stage.ports(open(&url).await.tables);
    let (mut five, mut six) = (Shard::new(&loser, 5), Shard::new(&loser, 6));
    project(&loser, &five.next(1, 0)).await.expect("projected");
    let impatient = PostgresOptions { write_timeout: Duration::from_secs(20), ..options(&url) };
    let owner = stage.ports(PostgresTables::open(impatient).await.expect("opens").tables);
    project(&owner, &five.next(1, 0)).await.expect("projected");
    // It still believes that it owns both.
    let turn = vec![Shard::new(&loser, 5).next(1, 0), six.next(1, 0)];
    moved(&loser.tables.project(turn.clone()).await);
    project(&owner, &turn[1]).await.expect("nobody holds its cursor");
    six.is_there_once(&url).await;
}

#[tokio::test]
async fn nodes_that_write_different_shards_do_not_disturb_each_other() {
    let stage = Arc::new(Stage::fresh().await);
    let url = url_of(&stage.database);
    let nodes = futures_util::future::join_all((0..4).map(|node: u16| {
        let (stage, url) = (Arc::clone(&stage), url.clone());
        async move {
            let storage = stage.ports(open(&url).await.tables);
            let mut shards: Vec<Shard> = (0..4).map(|shard| Shard::new(&storage, node * 4 + shard)).collect();
            for lap in 0..10 {
                let turn = shards.iter_mut().map(|shard| shard.next(20, lap % 2)).collect();
                storage.tables.project(turn).await.expect("projected");
            }
            shards
        }
    }))
    .await;
    for shard in nodes.iter().flatten() {
        shard.is_there_once(&url).await;
    }
}

#[tokio::test]
async fn a_month_that_somebody_dropped_is_made_again() {
    let stage = Stage::fresh().await;
    let url = url_of(&stage.database);
    let storage = stage.ports(open(&url).await.tables);
    project(&storage, &Shard::new(&storage, 5).next(1, 0)).await.expect("projected");
    run(&url, "DROP TABLE gavel.events_1970_01").await;
    let mut other = Shard::new(&storage, 6);
    let projection = other.next(1, 0);
    storage_error(&project(&storage, &projection).await);
    project(&storage, &projection).await.expect("projected");
    other.is_there_once(&url).await;
}

#[tokio::test]
async fn one_shard_that_is_refused_leaves_no_trace_of_the_others() {
    let stage = Stage::fresh().await;
    let url = url_of(&stage.database);
    let storage = stage.ports(open(&url).await.tables);
    let (mut good, mut bad) = (Shard::new(&storage, 1), Shard::new(&storage, 2));
    run(&url, "ALTER TABLE gavel.archive ADD CHECK (shard <> 2)").await;
    let turn = vec![good.next(5, 1), bad.next(5, 1)];
    storage_error(&storage.tables.project(turn.clone()).await);
    assert_eq!(count(&url, "SELECT (SELECT count(*) FROM gavel.cursors) + (SELECT count(*) FROM gavel.lots)").await, 0);
    project(&storage, &turn[0]).await.expect("projected");
    good.is_there_once(&url).await;
    let again = vec![turn[0].clone(), turn[0].clone()];
    storage_error(&storage.tables.project(again).await);
}

#[tokio::test]
async fn a_pooler_that_is_started_anew_is_found_again() {
    let postgres = tokio::task::spawn_blocking(Postgres::start).await.expect("a server");
    let (mut pooler, postgres) = tokio::task::spawn_blocking(move || (PgBouncer::before(&postgres), postgres)).await.expect("a pooler");
    let stage = Stage::of("gavel".into()).await;
    let storage = stage.ports(open(&pooler.url()).await.tables);
    let mut shard = Shard::new(&storage, 5);
    for lap in 0..3 {
        insist(&storage, &shard.next(5, lap % 2)).await;
        pooler = tokio::task::spawn_blocking(move || {
            pooler.kill9();
            pooler.restart();
            pooler
        })
        .await
        .expect("it starts again");
        assert_eq!(storage.tables.cursors().await.expect("readable on a new connection")[0].0, ShardId(5));
    }
    shard.is_there_once(&postgres.url()).await;
    try_run(&postgres.url(), "SELECT 1").await.expect("it still serves");
}
