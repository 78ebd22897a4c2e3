//! The rules of an auction, seen through the binary with short times: opening, soft close, hammer, pause, buy-now, proxy.

use crate::kit::{PATIENCE, Server, Setup, Socket, in_ms, lot_with, parse_ms, passed, uuid};
use serde_json::{Value, json};

/// A server, a lot, and a viewer who has joined it. The lot's times are counted from when all else is ready; how many
/// requests come in a second is nobody's concern here.
async fn stage(fields: impl FnOnce() -> Value) -> (Server, String, Socket) {
    let server = Setup::new().env("GAVEL__LIMITS__REQUESTS_PER_SECOND", 0).start();
    for bidder in ["alice", "bob"] {
        server.token(bidder, "bidder");
    }
    let (house, mut eve) = (server.house(), server.socket("eve", "viewer").await);
    let made = house.create(&lot_with(fields()));
    let lot = made["id"].as_str().unwrap().to_owned();
    eve.join(&lot).await;
    (server, lot, eve)
}

fn sold(winner: &str, price: u64) -> Value {
    json!({"sold": {"winner": winner, "price": price}})
}

#[tokio::test]
async fn a_scheduled_lot_opens_and_closes_by_itself() {
    let (server, lot, mut eve) = stage(|| json!({"opens_at": in_ms(1500), "closes_at": in_ms(3000)})).await;
    let scheduled = server.house().lot(&lot);
    let opens_at = &scheduled["opens_at"];
    assert_eq!(scheduled["status"], "scheduled");
    let mut alice = server.bidder("alice").await;
    alice.bid_refused(&lot, 100, "lot_not_open").await;
    let opened = eve.event(&lot).await;
    assert_eq!((&opened["at"], opened["opened"].is_object()), (opens_at, true), "{opened}");
    alice.bid(&lot, 100).await;
    eve.event_named(&lot, "bid_placed").await;
    assert_eq!(eve.event_named(&lot, "closed").await["outcome"], sold("alice", 100));
}

#[tokio::test]
async fn a_late_bid_resets_the_clock() {
    let soft = json!({"window_ms": 60_000, "mode": "reset", "by_ms": 60_000, "max_extensions": null, "hard_close_at": null});
    let (server, lot, mut eve) = stage(|| json!({"closes_at": in_ms(30_000), "soft_close": soft})).await;
    let mut alice = server.bidder("alice").await;
    let receipt = alice.bid(&lot, 100).await;
    let moved = parse_ms(&receipt["received_at"]) + 60_000;
    assert_eq!(parse_ms(&receipt["closes_at"]), moved, "{receipt}");
    assert_eq!(receipt["deadline"], server_deadline(&receipt, 30_000), "judged by the old one: {receipt}");
    eve.event_named(&lot, "bid_placed").await;
    let extended = eve.event_named(&lot, "extended").await;
    assert_eq!((parse_ms(&extended["closes_at"]), &extended["extensions"]), (moved, &json!(1)));
    assert_eq!(parse_ms(&server.house().lot(&lot)["closes_at"]), moved);
    // A raise of one's own maximum changes neither price nor leader.
    let raised = alice.bid_max(&lot, 100, 500).await;
    assert_eq!((&raised["deadline"], &raised["closes_at"]), (&extended["closes_at"], &extended["closes_at"]));
}

/// The receipt's own deadline, after a look at whether it can be the lot's first one.
fn server_deadline(receipt: &Value, at_most: i64) -> Value {
    let left = parse_ms(&receipt["deadline"]) - parse_ms(&receipt["received_at"]);
    assert!((0..=at_most).contains(&left), "{receipt}");
    receipt["deadline"].clone()
}

#[tokio::test]
async fn a_late_bid_adds_to_the_clock_so_often_and_no_more() {
    let soft = json!({"window_ms": 600_000, "mode": "add", "by_ms": 10_000, "max_extensions": 2, "hard_close_at": null});
    let (server, lot, _eve) = stage(|| json!({"closes_at": in_ms(30_000), "soft_close": soft})).await;
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    let mut moves = Vec::new();
    for n in 0..4 {
        let who = if n % 2 == 0 { &mut alice } else { &mut bob };
        let receipt = who.bid(&lot, 100 + n * 10).await;
        moves.push(parse_ms(&receipt["closes_at"]) - parse_ms(&receipt["deadline"]));
    }
    assert_eq!(moves, [10_000, 10_000, 0, 0]);
    assert_eq!(server.house().lot(&lot)["extensions"], 2);
}

#[tokio::test]
async fn the_hard_close_is_never_passed() {
    let fields = || {
        let soft = json!({"window_ms": 600_000, "mode": "add", "by_ms": 10_000, "max_extensions": null, "hard_close_at": in_ms(32_000)});
        json!({"closes_at": in_ms(30_000), "soft_close": soft})
    };
    let (server, lot, _eve) = stage(fields).await;
    let made = server.house().lot(&lot);
    let (closes, hard) = (&made["closes_at"], &made["soft_close"]["hard_close_at"]);
    let receipt = server.bidder("alice").await.bid(&lot, 100).await;
    assert_eq!((&receipt["deadline"], &receipt["closes_at"]), (closes, hard));
    let answer = server.house().post(&format!("/v1/lots/{lot}/extend"), &json!({"by_ms": 60_000}));
    assert!(answer.status == 409 || answer.json()["closes_at"] == *hard, "{}", answer.text);
    assert_eq!(server.house().lot(&lot)["closes_at"], *hard);
}

#[tokio::test]
async fn a_bid_war_at_the_end_goes_on_until_it_is_quiet() {
    let soft = json!({"window_ms": 1500, "mode": "reset", "by_ms": 1500, "max_extensions": null, "hard_close_at": null});
    let (server, lot, mut eve) = stage(|| json!({"closes_at": in_ms(1500), "soft_close": soft})).await;
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    let mut last = Value::Null;
    let first_close = parse_ms(&server.house().lot(&lot)["closes_at"]);
    for n in 0.. {
        let who = if n % 2 == 0 { &mut alice } else { &mut bob };
        last = who.bid(&lot, 100 + n * 10).await;
        if parse_ms(&last["received_at"]) > first_close {
            break;
        }
    }
    let closed = loop {
        let event = eve.event(&lot).await;
        if event["closed"].is_object() {
            break event;
        }
    };
    assert_eq!(closed["at"], last["closes_at"]);
    assert!(parse_ms(&closed["at"]) > first_close, "{closed}");
    assert_eq!(closed["closed"]["outcome"]["sold"]["price"], last["price"]);
}

#[tokio::test]
async fn a_hammer_sale_closes_by_hand() {
    let (server, lot, mut eve) = stage(|| json!({"closes_at": null})).await;
    let receipt = server.bidder("alice").await.bid(&lot, 100).await;
    assert_eq!((&receipt["deadline"], &receipt["closes_at"]), (&Value::Null, &Value::Null));
    eve.event_named(&lot, "bid_placed").await;
    let over = server.house().act(&lot, "close").expect(200);
    assert_eq!((&over["status"], &over["outcome"]), (&json!("closed"), &sold("alice", 100)));
    assert_eq!(eve.event_named(&lot, "closed").await["outcome"], sold("alice", 100));
}

#[tokio::test]
async fn a_pause_stops_the_clock_and_keeps_what_remains() {
    let (server, lot, mut eve) = stage(|| json!({"closes_at": in_ms(2500)})).await;
    let house = server.house();
    let mut alice = server.bidder("alice").await;
    alice.bid(&lot, 100).await;
    eve.event_named(&lot, "bid_placed").await;
    house.act(&lot, "pause").expect(200);
    let remaining = eve.event_named(&lot, "paused").await["remaining_ms"].as_i64().unwrap();
    assert!((1..=2500).contains(&remaining), "{remaining}");
    alice.bid_refused(&lot, 200, "lot_paused").await;
    let old = parse_ms(&house.lot(&lot)["closes_at"]);
    passed(old + 300);
    assert_eq!(house.lot(&lot)["status"], "paused");
    house.act(&lot, "resume").expect(200);
    let resumed = eve.event(&lot).await;
    let closes = parse_ms(&resumed["resumed"]["closes_at"]);
    assert_eq!(closes - parse_ms(&resumed["at"]), remaining);
    let closed = eve.event(&lot).await;
    assert_eq!((parse_ms(&closed["at"]), &closed["closed"]["outcome"]), (closes, &sold("alice", 100)));
}

#[tokio::test]
async fn buying_now_ends_the_auction_at_once() {
    let (server, lot, mut eve) = stage(|| json!({"rules": {"buy_now_price": 1000}})).await;
    assert_eq!(server.house().lot(&lot)["buy_now_available"], true);
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    // A maximum alone never buys.
    let receipt = alice.bid_max(&lot, 100, 5000).await;
    assert_eq!((&receipt["price"], &receipt["leading"]), (&json!(100), &json!(true)));
    let receipt = bob.bid(&lot, 1000).await;
    assert_eq!((&receipt["price"], &receipt["leading"]), (&json!(1000), &json!(true)), "{receipt}");
    eve.event_named(&lot, "bid_placed").await;
    let bought = eve.event(&lot).await;
    let closed = eve.event(&lot).await;
    assert_eq!((&bought["bid_placed"]["leader"], &closed["closed"]["outcome"]), (&json!("bob"), &sold("bob", 1000)));
    assert_eq!(closed["seq"], bought["seq"].as_u64().unwrap() + 1);
    let over = server.house().lot(&lot);
    assert_eq!((&over["status"], &over["buy_now_available"]), (&json!("closed"), &json!(false)));
    alice.bid_refused(&lot, 6000, "lot_closed").await;
}

#[tokio::test]
async fn a_maximum_bids_for_its_bidder() {
    let (server, lot, _eve) = stage(|| json!({"rules": {"increments": [{"from": 0, "step": 5}, {"from": 200, "step": 20}]}})).await;
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    for (who, amount, max, price, leads) in [
        ("alice", 100, 400, 100, true),
        ("bob", 150, 150, 155, false),   // min(400, 150 + step(150))
        ("bob", 160, 390, 400, false),   // min(400, 390 + 20)
        ("bob", 420, 500, 420, true),    // max(420, min(500, 400 + 20))
        ("alice", 440, 500, 500, false), // equal: the earlier leads
        ("bob", 100, 600, 500, true),    // a leader's raise needs no minimum and moves no price
    ] {
        let socket = if who == "alice" { &mut alice } else { &mut bob };
        let receipt = socket.bid_max(&lot, amount, max).await;
        assert_eq!((&receipt["price"], &receipt["leading"]), (&json!(price), &json!(leads)), "{who} {amount} {max}");
    }
    let seen = server.rest("eve", "viewer").lot(&lot);
    let standing = (&seen["price"], &seen["leader"], &seen["bid_count"], &seen["minimum_bid"]);
    assert_eq!(standing, (&json!(500), &json!("bob"), &json!(6), &json!(520)));
    bob.bid_refused(&lot, 600, "max_not_raised").await;
}

#[tokio::test]
async fn without_proxy_bidding_an_amount_is_the_price() {
    let (server, lot, _eve) = stage(|| json!({"rules": {"proxy": false}})).await;
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    let bid = json!({"lot": lot, "bid_id": uuid(), "amount": 100, "max": 200});
    alice.error(json!({"bid": bid}), "invalid").await;
    assert_eq!(alice.bid(&lot, 150).await["price"], 150);
    alice.bid_refused(&lot, 500, "already_leading").await;
    bob.bid_refused(&lot, 155, "bid_too_low").await;
    assert_eq!(bob.bid(&lot, 160).await["price"], 160);
}

#[tokio::test]
async fn what_misses_its_reserve_is_not_sold() {
    let (server, lot, mut eve) = stage(|| json!({"rules": {"reserve_price": 1000}})).await;
    let mut alice = server.bidder("alice").await;
    alice.bid_max(&lot, 100, 900).await;
    assert_eq!(eve.event_named(&lot, "bid_placed").await["reserve_met"], false);
    let over = server.house().act(&lot, "close").expect(200);
    assert_eq!(over["status"], "closed");
    assert!(over["outcome"]["unsold"]["reason"].is_string(), "{over}");
}

#[tokio::test]
async fn of_bids_at_the_last_moment_none_is_taken_after_the_close() {
    let (server, lot, mut eve) = stage(|| json!({"closes_at": in_ms(1500)})).await;
    let closes = parse_ms(&server.house().lot(&lot)["closes_at"]);
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    let mut last = Value::Null;
    let end = std::time::Instant::now() + PATIENCE;
    for n in 0.. {
        let who = if n % 2 == 0 { &mut alice } else { &mut bob };
        match who.try_ask(&json!({"bid": {"lot": lot, "bid_id": uuid(), "amount": 100 + n * 10}})).await.unwrap() {
            Ok(ok) => {
                assert!(parse_ms(&ok["receipt"]["received_at"]) < closes, "{ok}");
                last = ok["receipt"].clone();
            }
            Err(error) if error["code"] == "lot_closed" => {
                assert!(parse_ms(&error["received_at"]) >= closes, "{error}");
                break;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(std::time::Instant::now() < end);
    }
    let closed = loop {
        let event = eve.event(&lot).await;
        if event["closed"].is_object() {
            break event;
        }
    };
    assert_eq!((parse_ms(&closed["at"]), &closed["seq"]), (closes, &json!(last["seq"].as_u64().unwrap() + 1)));
    assert_eq!(closed["closed"]["outcome"]["sold"]["price"], last["price"]);
}
