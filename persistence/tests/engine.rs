//! The engine where its storage, or its own code, fails in a moment of the test's choice.

#[expect(missing_docs, reason = "test code; shared with the conformance suite")]
pub mod conformance;
#[path = "engine/stage.rs"]
mod stage;

use conformance::{bid_id, bidder, lot_id};
use futures_util::FutureExt as _;
use gavel_domain::ids::{BidderId, LotId, Seq, ShardId, shard_of};
use gavel_engine::{
    delivery::reply::ReplyTo,
    limits,
    ports::{
        format::{Digest, Mark},
        journal::Page,
        snapshots::{EntityKey, SnapshotSet},
        tables::Projection,
    },
    projection::history::Kind,
    request::{Reply, Request},
    routing::engine::Tuning,
};
use sqlx::Connection as _;
use stage::{Call, Fate, Stage, bid, tuning};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::oneshot;

fn run(test: impl Future<Output = ()>) {
    let in_time = async { tokio::time::timeout(Duration::from_secs(120), test).await.expect("somebody waits for ever") };
    actix_rt::System::new().block_on(in_time);
}

fn other_bidder(id: u128) -> BidderId {
    bidder(&format!("bidder-{id}"))
}

#[test]
fn nothing_leaves_a_shard_from_a_state_that_was_given_up() {
    run(async {
        let stage = Stage::open(tuning()).await;
        let lot = stage.lot(1).await;
        let (in_flight, is_in_flight) = oneshot::channel::<()>();
        let (fail, fails) = oneshot::channel::<()>();
        let (mut first, mut fail) = (Some((in_flight, fails)), Some(fail));
        let mut admitted = 0;
        stage.control.say(move |call| match call {
            Call::Append(_) => match first.take() {
                Some((in_flight, fails)) => {
                    let _ = in_flight.send(());
                    Fate::FailsAfter(fails.map(drop).boxed())
                }
                None => Fate::Goes,
            },
            // In the middle of the admission of the resend: it comes into its lot's mailbox in the
            // moment in which the shard learns that the append of the bid has failed.
            Call::KeptBytes => {
                admitted += 1;
                if admitted == 2 {
                    fail.take().map(|fail| fail.send(()));
                }
                Fate::Goes
            }
            _ => Fate::Goes,
        });
        let ask = || {
            let (reply, answer) = ReplyTo::future();
            stage.engine.submit(Request { lot, ask: bid(1), reply });
            answer
        };
        let answer = ask();
        is_in_flight.await.expect("appended");
        for answer in [answer, ask()] {
            let answer = answer.await.expect("nobody waits for ever");
            assert!(matches!(answer, Reply::Unavailable), "that bid never happened: {answer:?}");
        }
        assert_eq!(stage.view(lot).await.bid_count, 0);
        assert!(matches!(stage.bid(lot, 1).await, Reply::Receipt(_)));
    });
}

#[test]
fn a_lot_is_rebuilt_once_storage_is_back_and_its_requests_wait() {
    run(async {
        let stage = Stage::open(tuning()).await;
        let lot = stage.lot(1).await;
        assert!(matches!(stage.bid(lot, 1).await, Reply::Receipt(_)));
        // Its actor dies, and storage is away for a while.
        let (mut dies, mut away) = (true, 3);
        let (asked, is_asked) = oneshot::channel();
        let mut asked = Some(asked);
        stage.control.say(move |call| match call {
            Call::EncodeLot if std::mem::take(&mut dies) => panic!("as scripted"),
            Call::LoadOne if away > 0 => {
                away -= 1;
                asked.take().map(|asked| asked.send(()));
                Fate::Fails
            }
            _ => Fate::Goes,
        });
        is_asked.await.expect("the upkeep notices a dead actor by itself");
        let Reply::Receipt(receipt) = stage.bid(lot, 2).await else { panic!("no receipt") };
        assert_eq!(receipt.seq, Seq(3));
        assert_eq!(stage.engine.ready().await, Ok(()));
    });
}

#[test]
fn a_lot_that_cannot_be_rebuilt_closes_its_shard_with_the_reason() {
    run(async {
        let stage = Stage::open(tuning()).await;
        let lot = stage.lot(1).await;
        stage.control.saved.notified().await;
        let Some(saved) = stage.real().snapshots.load(ShardId(0)).await.expect("readable") else { panic!("not saved") };
        let rotten = SnapshotSet { marker: saved.marker, entities: vec![(EntityKey::Lot(lot), b"rotten".to_vec())] };
        stage.real().snapshots.save(ShardId(0), rotten, vec![]).await.expect("saved");
        let mut dies = true;
        stage.control.say(move |call| match call {
            Call::EncodeLot if std::mem::take(&mut dies) => panic!("as scripted"),
            _ => Fate::Goes,
        });
        let answer = stage.bid(lot, 1).await;
        assert!(matches!(answer, Reply::Receipt(_)), "{answer:?}");
        let trouble = stage.trouble().await;
        assert!(trouble.contains("shard 0") && trouble.contains(&format!("lot {lot} can't be rebuilt")), "{trouble}");
        assert!(matches!(stage.bid(lot, 2).await, Reply::Unavailable));
    });
}

#[test]
fn a_panic_of_the_committer_closes_the_shard_and_answers_who_waits() {
    run(async {
        let stage = Stage::open(tuning()).await;
        let lot = stage.lot(1).await;
        stage.control.say(|call| if matches!(call, Call::Seal) { panic!("as scripted") } else { Fate::Goes });
        assert!(matches!(stage.bid(lot, 1).await, Reply::Unavailable));
        assert!(stage.trouble().await.contains("a panic: as scripted in the committer"));
    });
}

/// Two shards, a lot in each.
async fn two_shards() -> (Stage, LotId, LotId) {
    let stage = Stage::open(Tuning { shards: 2, ..tuning() }).await;
    let in_shard = |shard| (1..100).map(|n| n << 64 | n).find(|n| shard_of(lot_id(*n), 2) == ShardId(shard)).expect("ids are spread");
    let lots = (stage.lot(in_shard(0)).await, stage.lot(in_shard(1)).await);
    (stage, lots.0, lots.1)
}

#[test]
fn a_fork_closes_its_shard_with_an_alarm_and_the_others_serve() {
    run(async {
        let (stage, hit, other) = two_shards().await;
        while stage.real().tables.lot(hit).await.expect("readable").is_none() {
            stage.control.projected.notified().await;
        }
        let altered = |_, dir: PathBuf| async move {
            let file = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("tables.db"));
            let mut tables = sqlx::SqliteConnection::connect_with(&file).await.expect("opens");
            let update = sqlx::query("UPDATE cursors SET hash = randomblob(32) WHERE shard = 0").execute(&mut tables).await;
            assert_eq!(update.expect("writable").rows_affected(), 1);
            tables.close().await.expect("closes");
        };
        let stage = stage.restarted(Tuning { shards: 2, ..tuning() }, altered).await;
        let trouble = stage.trouble().await;
        assert!(trouble.contains("shard 0") && trouble.contains("differs") && !trouble.contains("shard 1"), "{trouble}");
        assert!(matches!(stage.bid(hit, 1).await, Reply::Unavailable));
        assert!(matches!(stage.bid(other, 1).await, Reply::Receipt(_)));
    });
}

#[test]
fn a_panic_in_an_admission_closes_that_shard_alone() {
    run(async {
        let (stage, hit, other) = two_shards().await;
        let mut once = true;
        stage.control.say(move |call| match call {
            Call::KeptBytes if std::mem::take(&mut once) => panic!("as scripted"),
            _ => Fate::Goes,
        });
        assert!(matches!(stage.bid(hit, 1).await, Reply::Unavailable));
        assert!(matches!(stage.bid(other, 1).await, Reply::Receipt(_)));
        let trouble = stage.trouble().await;
        assert!(trouble.contains("shard 0") && !trouble.contains("shard 1"), "{trouble}");
    });
}

#[test]
fn a_stall_of_the_journal_is_bounded_and_no_batch_is_a_giant() {
    run(async {
        let stage = Stage::open(Tuning { checkpoint_after: Duration::from_secs(3600), ..tuning() }).await;
        let lot = stage.lot(1).await;
        let (release, released) = oneshot::channel::<()>();
        let released = released.map(drop).shared();
        let largest = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&largest);
        let format = stage.real().format;
        stage.control.say(move |call| match call {
            Call::Append(batch) => {
                seen.fetch_max(format.open(batch).expect("intact").len(), Ordering::Relaxed);
                Fate::After(released.clone().boxed())
            }
            _ => Fate::Goes,
        });
        // The inbox is handed over in turns; what a turn brings beyond the bound is judged at the next.
        let (mut waiting, mut overloaded) = (Vec::new(), 0);
        for n in 1..=u128::try_from(limits::STAGED_ENTRIES).expect("fits") + 1000 {
            let (reply, answer) = ReplyTo::future();
            stage.engine.submit(Request { lot, ask: bid(n), reply });
            waiting.push(answer);
        }
        // A bid that is admitted after those: it is answered although the journal stands still.
        let refused = stage.bid(lot, 1_000_000).await;
        assert!(matches!(refused, Reply::Overloaded), "{refused:?}");
        drop(release);
        for answer in waiting {
            match answer.await.expect("answered") {
                Reply::Receipt(_) => {}
                Reply::Overloaded => overloaded += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(overloaded > 0, "the bound was not met");
        assert!(largest.load(Ordering::Relaxed) <= limits::BATCH_ENTRIES, "{largest:?}");
    });
}

#[test]
fn who_has_a_receipt_finds_the_bid_in_the_history() {
    run(async {
        let stage = Stage::open(tuning()).await;
        let lot = stage.lot(1).await;
        for n in 1..200 {
            let Reply::Receipt(receipt) = stage.bid(lot, n).await else { panic!("no receipt") };
            let found = stage.engine.history().receipt(lot, &other_bidder(n), bid_id(n)).await.expect("readable");
            assert_eq!(found.as_ref(), Some(receipt.as_ref()));
        }
    });
}

#[test]
fn a_read_of_history_that_is_overtaken_by_a_trim_begins_again() {
    run(async {
        let stage = Stage::open(tuning()).await;
        let lot = stage.lot(1).await;
        stage.control.say(|call| if matches!(call, Call::Project(_)) { Fate::Fails } else { Fate::Goes });
        for n in 1..=5 {
            assert!(matches!(stage.bid(lot, n).await, Reply::Receipt(_)));
        }
        // From a restart on, what is not in the tables is in the journal only.
        let stage = stage.restarted(tuning(), |_, _| std::future::ready(())).await;
        let (control, journal) = (stage.control.clone(), stage.real().journal);
        let mut first = true;
        stage.control.say(move |call| match call {
            Call::Project(_) => Fate::Fails,
            Call::ReadBids if std::mem::take(&mut first) => {
                let (control, journal) = (control.clone(), Arc::clone(&journal));
                let overtaken = async move {
                    control.goes();
                    let all = Page { after: None, bytes: usize::MAX };
                    while journal.read(ShardId(0), all).await.expect("readable").len() > 1 {
                        control.trimmed.notified().await;
                    }
                };
                Fate::After(overtaken.boxed())
            }
            _ => Fate::Goes,
        });
        let bids = stage.engine.history().events(lot, Kind::Bids, Seq(0), 100).await.expect("readable");
        assert_eq!(bids.iter().map(|bid| bid.seq.0).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    });
}

/// Asks for readiness until it is as wanted.
async fn until_ready(stage: &Stage, wanted: impl Fn(&Result<(), Vec<String>>) -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    while !wanted(&stage.engine.ready().await) {
        looks.tick().await;
    }
}

#[test]
fn a_transaction_whose_answer_is_lost_does_not_leave_the_server_unready() {
    run(async {
        let stage = Stage::open(tuning()).await;
        let lot = stage.lot(1).await;
        let mut unheard = false;
        let (again, is_again) = oneshot::channel();
        let mut again = Some(again);
        stage.control.say(move |call| match call {
            Call::Project(_) if !std::mem::replace(&mut unheard, true) => Fate::GoesUnheard,
            Call::Project(_) => {
                again.take().map(|again| again.send(()));
                Fate::Goes
            }
            _ => Fate::Goes,
        });
        assert!(matches!(stage.bid(lot, 1).await, Reply::Receipt(_)));
        // It is tried again, and found to be done; nothing comes after it.
        is_again.await.expect("it is tried again");
        until_ready(&stage, Result::is_ok).await;
    });
}

#[test]
fn one_shard_that_cannot_be_projected_does_not_stop_the_others() {
    run(async {
        let (stage, good, bad) = two_shards().await;
        let is_bad = |projections: &[Projection]| projections.iter().any(|one| one.shard == ShardId(1));
        stage.control.say(move |call| match call {
            Call::Project(projections) if is_bad(projections) => Fate::Fails,
            _ => Fate::Goes,
        });
        for n in 1..=3 {
            assert!(matches!(stage.bid(bad, n).await, Reply::Receipt(_)));
            assert!(matches!(stage.bid(good, n).await, Reply::Receipt(_)));
        }
        while stage.real().tables.lot(good).await.expect("readable").is_none_or(|lot| lot.bid_count < 3) {
            stage.control.projected.notified().await;
        }
        until_ready(&stage, |ready| ready.as_ref().is_err_and(|why| why.len() == 1 && why[0].starts_with("shard 1: its batches"))).await;
        // Nor is anything of the bad one missed by who reads its history, and it catches up.
        assert_eq!(stage.engine.history().events(bad, Kind::Bids, Seq(0), 100).await.expect("readable").len(), 3);
        stage.control.goes();
        while stage.real().tables.lot(bad).await.expect("readable").is_none_or(|lot| lot.bid_count < 3) {
            stage.control.projected.notified().await;
        }
        until_ready(&stage, Result::is_ok).await;
    });
}

#[test]
fn a_snapshot_of_another_history_is_not_used_and_leaves_nothing_behind() {
    run(async {
        let stage = Stage::open(tuning()).await;
        let lot = stage.lot(1).await;
        assert!(matches!(stage.bid(lot, 1).await, Reply::Receipt(_)));
        stage.control.saved.notified().await;
        let ghost = lot_id(99);
        let stage = stage
            .restarted(tuning(), |storage, _| async move {
                let set = storage.snapshots.load(ShardId(0)).await.expect("readable").expect("saved");
                let lots = set.entities.iter().filter(|(key, _)| *key == EntityKey::Lot(lot));
                let entities = lots.map(|(_, bytes)| (EntityKey::Lot(ghost), bytes.clone())).collect();
                let marker = Mark { hash: Digest([7; 32]), ..set.marker };
                storage.snapshots.save(ShardId(0), SnapshotSet { marker, entities }, vec![EntityKey::Lot(lot)]).await.expect("saved");
            })
            .await;
        assert_eq!(stage.view(lot).await.bid_count, 1);
        assert!(!stage.engine.directory().holds(ghost));
        // The first save replaces all of it.
        loop {
            stage.control.saved.notified().await;
            let saved = stage.real().snapshots.load(ShardId(0)).await.expect("readable").expect("saved");
            let lots: Vec<_> = saved.entities.iter().filter(|(key, _)| *key != EntityKey::Keys).map(|(key, _)| key.clone()).collect();
            if saved.marker.hash != Digest([7; 32]) {
                assert_eq!(lots, [EntityKey::Lot(lot)]);
                break;
            }
        }
    });
}

#[test]
fn a_closed_lot_stays_until_the_tables_hold_it_after_a_restart_too() {
    run(async {
        let stage = Stage::open(tuning()).await;
        let (lot, other) = (stage.lot(1).await, stage.lot(2).await);
        while stage.real().tables.lot(other).await.expect("readable").is_none() {
            stage.control.projected.notified().await;
        }
        stage.control.say(|call| if matches!(call, Call::Project(_)) { Fate::Fails } else { Fate::Goes });
        stage.close(lot).await;
        let evicting = Tuning { evict_after: Some(Duration::ZERO), ..tuning() };
        let stage = stage.restarted(evicting, |_, _| std::future::ready(())).await;
        let gone = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&gone);
        stage.control.say(move |call| {
            if let Call::Save(removed) = call {
                seen.fetch_or(!removed.is_empty(), Ordering::Relaxed);
                return Fate::Goes;
            }
            if matches!(call, Call::Project(_)) { Fate::Fails } else { Fate::Goes }
        });
        // Three looks of the upkeep, each of which would let it go.
        for n in 1..=3 {
            assert!(matches!(stage.bid(other, n).await, Reply::Receipt(_)));
            stage.control.saved.notified().await;
        }
        assert!(!gone.load(Ordering::Relaxed) && stage.engine.directory().holds(lot), "gone while the tables have it as open");
        assert!(stage.view(lot).await.status.is_over());
    });
}
