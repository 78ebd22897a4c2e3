//! What auctioneers do is journaled in the batch of its effect, and in the audit trail exactly once: on an
//! engine with real storage.

#[expect(missing_docs, reason = "test code; shared with the conformance suite")]
pub mod conformance;

use conformance::{amount, bid_id, bidder, lot_id, spec};
use gavel_domain::{
    act::{Act, Deed},
    command::{Command, PlaceBid},
    ids::{LotId, OwnerId, Position, ShardId},
    lot::{
        access::{AccessRules, Registration},
        spec::LotSpec,
    },
    reject::Reject,
    shard::batch::Entry,
    time::Millis,
    wallet::permit::Terms,
};
use gavel_engine::{
    Engine,
    ports::{Storage, audit::AuditPage},
    request::{Ask, KeyRequest, Reply, WalletAsk},
    routing::engine::Tuning,
};
use gavel_persistence::sqlite::{EmbeddedStorage, OpenOptions};
use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

const SHARDS: u16 = 3;

fn tuning() -> Tuning {
    Tuning {
        owner: OwnerId(uuid::Uuid::from_u128(1)),
        shards: SHARDS,
        arbiters: 1,
        inbox: 1000,
        journal_max_bytes: u64::MAX,
        // Saved and trimmed at every look.
        checkpoint_bytes: usize::MAX / 4,
        checkpoint_after: Duration::ZERO,
        evict_after: None,
    }
}

async fn start(dir: &Path) -> (Engine, EmbeddedStorage) {
    let opened = EmbeddedStorage::open(dir, OpenOptions::new(SHARDS, tokio::runtime::Handle::current())).await.expect("opens");
    let engine = Engine::start(opened.storage.ports(), tuning()).await.expect("recovers");
    (engine, opened.storage)
}

fn key(name: &str) -> Option<KeyRequest> {
    Some(KeyRequest { scope: name.into(), body: [1; 32] })
}

fn create(spec: LotSpec, by: Option<&str>, key: Option<KeyRequest>) -> Ask {
    let access = AccessRules { registration: Registration::Lot, aliases: None };
    Ask::Create { spec: Box::new(spec), access, by: by.map(Into::into), key, archived: false }
}

/// A command of the auctioneer `house`.
async fn act(engine: &Engine, lot: LotId, command: Command) -> Reply {
    engine.ask(lot, Ask::Command { command, by: Some("house".into()), expected: None, key: None }).await
}

#[track_caller]
fn done(reply: &Reply) {
    assert!(matches!(reply, Reply::Lot(_)), "{reply:?}");
}

fn run(test: impl Future<Output = ()>) {
    let in_time = async { tokio::time::timeout(Duration::from_secs(120), test).await.expect("somebody waits for ever") };
    actix_rt::System::new().block_on(in_time);
}

/// Every act in the archive, each in the batch of the event that it names.
async fn archived(storage: &Storage) -> Vec<Act> {
    let mut acts = Vec::new();
    for shard in 0..SHARDS {
        for batch in storage.tables.archived(ShardId(shard), None, 10_000).await.expect("readable") {
            let entries = storage.format.open(&batch).expect("good");
            let mut events = BTreeSet::new();
            for entry in &entries {
                match entry {
                    Entry::Lot(recorded) => _ = events.insert((recorded.lot, recorded.seq, recorded.at)),
                    Entry::Act(act) => {
                        assert!(events.contains(&(act.lot, act.seq, act.at)), "the effect comes first, in the same batch: {act:?}");
                        acts.push(Act::clone(act));
                    }
                    _ => {}
                }
            }
        }
    }
    acts
}

#[test]
fn what_takes_effect_is_an_act_and_nothing_else_is() {
    run(async {
        let dir = tempfile::tempdir().expect("a directory");
        let (engine, storage) = start(dir.path()).await;
        let lot = lot_id(1);
        let house = Some("house");
        done(&engine.ask(lot, create(spec("A lot"), house, key("create"))).await);
        // A retry, another body under the same key, a second lot of that id: nothing happens.
        done(&engine.ask(lot, create(spec("A lot"), Some("other"), key("create"))).await);
        let other = Some(KeyRequest { scope: "create".into(), body: [2; 32] });
        assert!(matches!(engine.ask(lot, create(spec("A lot"), house, other)).await, Reply::KeyReused));
        assert!(matches!(engine.ask(lot, create(spec("B"), house, None)).await, Reply::Refused(_)));
        // Refused, or nothing to change.
        assert!(matches!(act(&engine, lot, Command::Pause { reason: None }).await, Reply::Refused(_)));
        done(&act(&engine, lot, Command::Change(Box::new(spec("A lot")))).await);
        let stale = Some(Position::default());
        let open = Ask::Command { command: Command::Open, by: Some("house".into()), expected: stale, key: None };
        assert!(matches!(engine.ask(lot, open).await, Reply::PreconditionFailed));

        let mut wanted = vec![Deed::Create { title: "A lot".into() }];
        done(&act(&engine, lot, Command::Open).await);
        assert!(matches!(act(&engine, lot, Command::Open).await, Reply::Refused(_)));
        wanted.push(Deed::Open);
        done(&act(&engine, lot, Command::Register(vec![bidder("ann"), bidder("ben")])).await);
        done(&act(&engine, lot, Command::Register(vec![bidder("ben"), bidder("cleo")])).await);
        done(&act(&engine, lot, Command::Register(vec![bidder("ben")])).await);
        done(&act(&engine, lot, Command::Unregister(bidder("cleo"))).await);
        done(&act(&engine, lot, Command::Unregister(bidder("cleo"))).await);
        wanted.push(Deed::Register(vec![bidder("ann"), bidder("ben")]));
        wanted.push(Deed::Register(vec![bidder("cleo")]));
        wanted.push(Deed::Unregister(vec![bidder("cleo")]));
        let bid = PlaceBid { bidder: bidder("ann"), bid_id: bid_id(1), amount: amount(100), max: None };
        assert!(matches!(engine.ask(lot, Ask::Bid { bid, retry: false }).await, Reply::Receipt(_)));
        for _ in 0..2 {
            let command = Command::Pause { reason: Some("fire".into()) };
            done(&engine.ask(lot, Ask::Command { command, by: Some("boss".into()), expected: None, key: key("pause") }).await);
        }
        wanted.push(Deed::Pause { reason: Some("fire".into()) });
        done(&act(&engine, lot, Command::Resume).await);
        assert!(matches!(act(&engine, lot, Command::Extend { by: Millis(5) }).await, Reply::Refused(Reject::Conflict(_))));
        done(&act(&engine, lot, Command::Close).await);
        wanted.extend([Deed::Resume, Deed::Close]);
        assert!(matches!(act(&engine, lot, Command::Cancel { reason: None }).await, Reply::Refused(_)));

        // Nobody's, so far as is known.
        done(&engine.ask(lot_id(2), create(spec("Nobody's"), None, None)).await);
        // A wallet's own event has the name.
        let allow = || WalletAsk::Allow {
            currency: "DKP".into(),
            terms: Terms { registered: true, ..Terms::default() },
            reason: None,
            by: "root".into(),
        };
        for _ in 0..2 {
            assert!(matches!(engine.ask_wallet(bidder("ann"), allow()).await, Reply::Wallet(_)));
        }
        engine.shut_down().await;
        drop(engine);
        let ports = storage.ports();
        let acts = archived(&ports).await;
        assert_eq!(acts.iter().map(|act| act.deed.clone()).collect::<Vec<_>>(), wanted);
        assert_eq!(acts.iter().filter(|act| act.by.as_ref() == "boss").count(), 1);
        assert!(acts.windows(2).all(|pair| pair[0].seq < pair[1].seq && pair[0].at <= pair[1].at));

        let rows = ports.tables.audit(AuditPage { lot: Some(lot), before: None, limit: 100 }).await.expect("readable");
        let told: Vec<_> = rows.iter().rev().map(|row| (row.seq, Arc::clone(&row.by), Arc::clone(&row.action))).collect();
        let acted: Vec<_> = acts.iter().map(|act| (act.seq, Arc::clone(&act.by), act.deed.as_str().into())).collect();
        assert_eq!(told, acted);
        let rows = ports.tables.audit(AuditPage { lot: None, before: None, limit: 100 }).await.expect("readable");
        assert_eq!(rows.len(), wanted.len() + 1);
        assert_eq!(rows.iter().filter(|row| row.wallet == Some(bidder("ann")) && row.action.as_ref() == "allow").count(), 1);
        assert_eq!(ports.tables.check_audit().await.expect("whole"), rows.len() as u64);
        storage.close().await.expect("closes");

        // What is journaled is no state: a start from it is as before, and the chain goes on.
        let (engine, storage) = start(dir.path()).await;
        done(&act(&engine, lot_id(2), Command::Open).await);
        engine.shut_down().await;
        drop(engine);
        assert_eq!(storage.ports().tables.check_audit().await.expect("whole"), rows.len() as u64 + 1);
        storage.close().await.expect("closes");
    });
}
