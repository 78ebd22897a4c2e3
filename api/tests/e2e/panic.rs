//! Injected failures (`--features failpoints`): a panic loses one request, a failed append loses nobody's truth.

use crate::kit::{History, Server, Setup, lot, lot_with, until, uuid};
use serde_json::{Value, json};

fn open_lot(server: &Server) -> String {
    server.house().create(&lot())["id"].as_str().unwrap().to_owned()
}

fn one_shard(failpoints: &str) -> Server {
    Setup::new().env("GAVEL__ENGINE__SHARDS", 1).env("FAILPOINTS", failpoints).start()
}

#[tokio::test]
async fn a_panic_before_a_decision_loses_that_request_alone() {
    let server = one_shard("lot-before-decide=2*off->1*panic(boom)->off");
    let (hit, other) = (open_lot(&server), open_lot(&server));
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    bob.join(&hit).await;
    let first = alice.bid(&hit, 100).await;
    alice.bid(&other, 100).await;
    let lost = json!({"lot": hit, "bid_id": uuid(), "amount": 110, "max": 200});
    alice.error(json!({"bid": lost}), "internal").await;
    server.log_line("a panic under a request");
    // The same lot, the same bid, another lot: all go on.
    let again = alice.bid_as(lost.clone()).await;
    assert_eq!(again["seq"], first["seq"].as_u64().unwrap() + 1);
    assert_eq!(bob.bid(&hit, 300).await["seq"], again["seq"].as_u64().unwrap() + 1);
    bob.bid(&other, 300).await;
    for receipt in [&first, &again] {
        assert_eq!(bob.event(&hit).await["seq"], receipt["seq"], "its watchers noticed nothing");
    }
    assert_eq!(alice.bid_as(lost).await, again);
}

#[tokio::test]
async fn a_panic_after_the_state_changed_is_forgotten_with_it() {
    let server = one_shard("lot-before-stage=1*off->1*panic(boom)->off");
    let hit = open_lot(&server);
    let mut alice = server.bidder("alice").await;
    let first = alice.bid(&hit, 100).await;
    let lost = json!({"lot": hit, "bid_id": uuid(), "amount": 100, "max": 900});
    alice.error(json!({"bid": lost}), "internal").await;
    let seen = alice.join(&hit).await;
    assert_eq!((&seen["lot"]["bid_count"], &seen["lot"]["own"]["max"]), (&json!(1), &json!(100)), "nothing of it is left");
    assert_eq!(alice.bid_as(lost).await["seq"], first["seq"].as_u64().unwrap() + 1);
}

#[tokio::test]
async fn requests_in_flight_with_a_panicking_one_are_answered() {
    let server = one_shard("lot-before-decide=10*off->1*panic(boom)->off");
    let hit = open_lot(&server);
    let mut alice = server.bidder("alice").await;
    let mut ids = Vec::new();
    for n in 0..50 {
        ids.push(alice.send(json!({"bid": {"lot": hit, "bid_id": uuid(), "amount": 100, "max": 100 + n}})).await);
    }
    let (mut history, mut lost) = (History::default(), 0);
    for id in ids {
        match alice.reply(id).await {
            Ok(ok) => history.receipt("alice", &ok["receipt"]),
            Err(error) => {
                assert_eq!(error["code"], "internal", "{error}");
                lost += 1;
            }
        }
    }
    assert_eq!((lost, history.receipt_count()), (1, 49));
    history.verify(&server.rest("root", "admin"), &[hit]);
}

#[tokio::test]
async fn after_a_failed_append_nobody_has_a_wrong_answer() {
    let server = one_shard("append-fails=6*off->1*return(torn)->off");
    let lots: Vec<String> = (0..2).map(|_| open_lot(&server)).collect();
    let mut alice = server.bidder("alice").await;
    for lot in &lots {
        alice.join(lot).await;
    }
    let mut history = History::default();
    let mut unknown: Vec<Value> = Vec::new();
    for n in 0..40 {
        let bid = json!({"lot": lots[n % 2], "bid_id": uuid(), "amount": 100, "max": 100 + n});
        match alice.try_ask(&json!({"bid": bid})).await.unwrap() {
            Ok(ok) => history.receipt("alice", &ok["receipt"]),
            Err(error) => {
                assert_eq!((&error["code"], &error["temporary"]), (&json!("unavailable"), &json!(true)), "{error}");
                unknown.push(bid);
            }
        }
    }
    assert!(!unknown.is_empty(), "the append failed for somebody");
    server.log_line("append failed");
    // The watchers of a recovered shard are told the truth.
    for lot in &lots {
        alice.resync(lot).await;
    }
    until("the server to be ready", || (server.nobody().get("/health/ready").status == 200).then_some(()));
    for mut bid in unknown {
        bid["retry"] = json!(true);
        match alice.try_ask(&json!({"bid": bid})).await.unwrap() {
            Ok(ok) => history.receipt("alice", &ok["receipt"]),
            Err(error) => assert_eq!(error["code"], "max_not_raised", "{error}"),
        }
    }
    history.verify(&server.rest("root", "admin"), &lots);
}

#[tokio::test]
async fn other_shards_do_not_notice_a_failed_append() {
    let server = Setup::new().env("FAILPOINTS", "append-fails=30*off->1*return(torn)->off").start();
    let lots: Vec<String> = (0..12).map(|_| open_lot(&server)).collect();
    let mut alice = server.bidder("alice").await;
    let mut failed = 0;
    for round in 0..6 {
        for lot in &lots {
            let bid = json!({"bid": {"lot": lot, "bid_id": uuid(), "amount": 100, "max": 100 + round}});
            if let Err(error) = alice.try_ask(&bid).await.unwrap() {
                assert_eq!(error["code"], "unavailable", "{error}");
                failed += 1;
            }
        }
    }
    assert!((1..=24).contains(&failed), "{failed} of 72 met the one shard that recovered");
    for lot in &lots {
        alice.bid_max(lot, 100, 1000).await;
    }
}

#[tokio::test]
async fn a_lot_that_panicked_still_closes_at_its_time() {
    let server = one_shard("lot-before-decide=1*panic(boom)->off");
    let made = server.house().create(&lot_with(json!({"closes_at": crate::kit::in_ms(900)})));
    let lot = made["id"].as_str().unwrap();
    let mut alice = server.bidder("alice").await;
    alice.join(lot).await;
    alice.bid_refused(lot, 100, "internal").await;
    let closed = alice.event(lot).await;
    assert_eq!((closed["closed"].is_object(), &closed["at"]), (true, &made["closes_at"]), "{closed}");
}
