//! Bids that wallets back, one promise a test: what is held, what is freed, what the winner pays.

use crate::kit::{Rest, Server, Setup, captures, in_ms, uuid};
use serde_json::{Value, json};

/// A server and its administrator; some bidders with a balance each.
fn stage(balances: &[(&str, i64)]) -> (Server, Rest) {
    let server = Server::start();
    let admin = server.admin();
    for (bidder, balance) in balances {
        admin.grant(bidder, *balance);
    }
    (server, admin)
}

fn close(server: &Server, lot: &str) -> Value {
    server.house().act(lot, "close").expect(200)
}

fn sold(winner: &str, price: u64) -> Value {
    json!({"sold": {"winner": winner, "price": price}})
}

#[tokio::test]
async fn a_raise_needs_the_difference_alone() {
    let (server, admin) = stage(&[("alice", 500)]);
    let lot = server.backed(json!({}));
    let mut alice = server.bidder("alice").await;
    alice.bid_max(&lot, 100, 400).await;
    assert_eq!(admin.purse("alice").sums(), (500, 400));
    alice.bid_refused(&lot, 501, "insufficient_funds").await;
    alice.bid_max(&lot, 100, 500).await;
    assert_eq!(admin.purse("alice").sums(), (500, 500), "the largest of what was bid, not the sum");
    assert_eq!(admin.purse("alice").held_for(&lot), 500);
    // Once the lot has been asked about it, what is held is still what it leads with.
    close(&server, &lot);
    admin.settled(&lot);
    assert_eq!(admin.purse("alice").sums(), (400, 0));
}

#[tokio::test]
async fn one_balance_backs_several_lots_and_no_more() {
    let (server, admin) = stage(&[("alice", 500)]);
    let lots: Vec<String> = (0..3).map(|_| server.backed(json!({}))).collect();
    let mut alice = server.bidder("alice").await;
    alice.bid_max(&lots[0], 100, 300).await;
    alice.bid_refused(&lots[1], 201, "insufficient_funds").await;
    alice.bid(&lots[1], 200).await;
    let refused = alice.bid_refused(&lots[2], 100, "insufficient_funds").await;
    assert_eq!((&refused["temporary"], refused.get("minimum")), (&json!(false), None), "{refused}");
    assert_eq!(admin.purse("alice").sums(), (500, 500));
    server.house().act(&lots[0], "cancel").expect(200);
    admin.comes_to("alice", 500, 200);
    alice.bid(&lots[2], 300).await;
    assert_eq!(admin.purse("alice").sums(), (500, 500));
    assert_eq!(admin.purse("alice").held_for(&lots[0]), 0);
}

#[tokio::test]
async fn all_bids_at_once_hold_no_more_than_there_is() {
    let (server, admin) = stage(&[("alice", 1000)]);
    let lots: Vec<String> = (0..12).map(|_| server.backed(json!({}))).collect();
    let mut alice = server.bidder("alice").await;
    let mut asked = Vec::new();
    for lot in &lots {
        asked.push(alice.send(json!({"bid": {"lot": lot, "bid_id": uuid(), "amount": 150}})).await);
    }
    let (mut placed, mut refused) = (0, 0);
    for id in asked {
        match alice.reply(id).await {
            Ok(_) => placed += 1,
            Err(error) => {
                assert_eq!(error["code"], "insufficient_funds", "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!((placed, refused), (6, 6), "six times 150 are backed by 1000");
    assert_eq!(admin.purse("alice").sums(), (1000, 900));
}

#[tokio::test]
async fn a_lot_that_is_not_sold_gives_all_back() {
    let (server, admin) = stage(&[("alice", 500), ("bob", 500)]);
    let unsold = server.backed(json!({"rules": {"reserve_price": 1000}}));
    let cancelled = server.backed(json!({}));
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    alice.bid_max(&unsold, 100, 300).await;
    bob.bid(&cancelled, 400).await;
    let closed = close(&server, &unsold);
    assert_eq!(closed["outcome"], json!({"unsold": {"reason": "reserve_not_met"}}));
    server.house().act(&cancelled, "cancel").expect(200);
    for bidder in ["alice", "bob"] {
        admin.comes_to(bidder, 500, 0);
        assert_eq!(admin.ledger(bidder).len(), 1, "nothing but the grant");
    }
    for lot in [&unsold, &cancelled] {
        assert_eq!(server.house().lot(lot)["settled"], false);
    }
}

#[tokio::test]
async fn who_bids_the_same_maximum_later_gets_its_hold_back() {
    let (server, admin) = stage(&[("alice", 300), ("bob", 300)]);
    let lot = server.backed(json!({}));
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    alice.bid_max(&lot, 100, 300).await;
    let receipt = bob.bid_max(&lot, 110, 300).await;
    assert_eq!((&receipt["leading"], &receipt["price"]), (&json!(false), &json!(300)));
    admin.comes_to("bob", 300, 0);
    assert_eq!(admin.purse("alice").sums(), (300, 300));
    // What is free again backs another bid at once.
    bob.bid(&server.backed(json!({})), 300).await;
    assert_eq!(admin.purse("bob").sums(), (300, 300));
}

#[tokio::test]
async fn a_proxy_that_stays_leader_keeps_its_hold_and_pays_the_price() {
    let (server, admin) = stage(&[("alice", 1000), ("bob", 1000)]);
    let lot = server.backed(json!({}));
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    alice.join(&lot).await;
    let first = alice.bid_max(&lot, 100, 400).await;
    bob.bid(&lot, 200).await;
    admin.comes_to("bob", 1000, 0);
    assert_eq!(admin.purse("alice").sums(), (1000, 400), "its maximum, not the price");
    assert_eq!(close(&server, &lot)["outcome"], sold("alice", 210));
    for name in ["bid_placed", "bid_placed", "closed", "settled"] {
        alice.event_named(&lot, name).await;
    }
    assert_eq!(admin.lot(&lot)["settled"], true);
    assert_eq!(admin.purse("alice").sums(), (790, 0));
    let ledger = admin.ledger("alice");
    assert_eq!(captures(&ledger).collect::<Vec<_>>(), [(lot.as_str(), 210)]);
    let line = &ledger[1];
    assert_eq!((&line["bid_id"], &line["by"], &line["currency"]), (&first["bid_id"], &json!("alice"), &json!("DKP")), "{line}");
}

#[tokio::test]
async fn buying_now_is_paid_at_once() {
    let (server, admin) = stage(&[("alice", 500), ("bob", 600)]);
    let lot = server.backed(json!({"rules": {"buy_now_price": 500}}));
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    alice.bid_max(&lot, 100, 300).await;
    bob.bid_refused(&lot, 601, "insufficient_funds").await;
    let receipt = bob.bid(&lot, 550).await;
    assert_eq!(receipt["price"], 500, "{receipt}");
    assert_eq!(admin.settled(&lot)["outcome"], sold("bob", 500));
    assert_eq!(admin.purse("bob").sums(), (100, 0));
    admin.comes_to("alice", 500, 0);
}

#[tokio::test]
async fn a_bid_that_is_not_backed_changes_nothing() {
    let (server, admin) = stage(&[("alice", 120), ("bob", 1000)]);
    let soft = json!({"window_ms": 600_000, "mode": "reset", "by_ms": 600_000, "max_extensions": null, "hard_close_at": null});
    let lot = server.backed(json!({"closes_at": in_ms(300_000), "soft_close": soft}));
    let before = admin.lot(&lot);
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    let refused = alice.bid_refused(&lot, 121, "insufficient_funds").await;
    assert_eq!(refused["deadline"], before["closes_at"], "{refused}");
    // An underfunded proxy, though its first amount is there.
    alice.error(json!({"bid": {"lot": lot, "bid_id": uuid(), "amount": 100, "max": 900}}), "insufficient_funds").await;
    assert_eq!(admin.lot(&lot), before, "neither its time nor anything else");
    assert_eq!(admin.purse("alice").sums(), (120, 0));
    let over_rest = server.rest("alice", "bidder").bid(&lot, &json!({"bid_id": uuid(), "amount": 121}));
    let problem = over_rest.problem(422, "insufficient_funds");
    assert_eq!(problem["temporary"], false, "{problem}");
    // And nobody else notices: neither who comes next nor who challenges it where it leads.
    alice.bid_max(&lot, 100, 120).await;
    alice.error(json!({"bid": {"lot": lot, "bid_id": uuid(), "amount": 100, "max": 900}}), "insufficient_funds").await;
    let receipt = bob.bid(&lot, 130).await;
    assert_eq!((&receipt["leading"], &receipt["price"]), (&json!(true), &json!(130)));
    admin.comes_to("alice", 120, 0);
    // The price rules come first: too little is too little, funds or not.
    alice.bid_refused(&lot, 135, "bid_too_low").await;
}

#[tokio::test]
async fn a_wallet_that_was_overdrawn_by_force_bids_no_more_but_its_lead_stands() {
    let (server, admin) = stage(&[("alice", 500), ("bob", 1000)]);
    let (lot, other) = (server.backed(json!({})), server.backed(json!({})));
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    alice.bid_max(&lot, 100, 300).await;
    let deduction = |amount: i64, force: bool| json!({"currency": "DKP", "amount": amount, "reason": "went astray", "force": force});
    admin.adjust("alice", &deduction(-201, false)).problem(422, "insufficient_funds");
    let line = admin.adjust("alice", &deduction(-400, true)).expect(201);
    assert_eq!(
        (&line["kind"], &line["amount"], &line["balance"], &line["by"]),
        (&json!("deduction"), &json!(-400), &json!(100), &json!("root"))
    );
    assert_eq!(admin.purse("alice").sums(), (100, 300));
    alice.error(json!({"bid": {"lot": lot, "bid_id": uuid(), "amount": 100, "max": 310}}), "insufficient_funds").await;
    alice.bid_refused(&other, 100, "insufficient_funds").await;
    // Its maximum is still defended, and paid for.
    assert_eq!(bob.bid(&lot, 200).await["leading"], false);
    assert_eq!(close(&server, &lot)["outcome"], sold("alice", 210));
    admin.settled(&lot);
    assert_eq!(admin.purse("alice").sums(), (-110, 0));
    alice.bid_refused(&other, 100, "insufficient_funds").await;
    admin.grant("alice", 210);
    alice.bid(&other, 100).await;
    assert_eq!(admin.purse("alice").sums(), (100, 100));
}

#[tokio::test]
async fn a_bid_that_is_sent_again_holds_nothing_more() {
    let (mut server, admin) = stage(&[("alice", 500), ("bob", 500)]);
    let lot = server.backed(json!({}));
    let mut alice = server.bidder("alice").await;
    let bid = json!({"lot": lot, "bid_id": uuid(), "amount": 100, "max": 300});
    let again = json!({"lot": lot, "bid_id": bid["bid_id"], "amount": 100, "max": 300, "retry": true});
    let receipt = alice.bid_as(bid.clone()).await;
    let held = admin.purse("alice");
    for resent in [&bid, &again] {
        assert_eq!(alice.bid_as(resent.clone()).await, receipt);
    }
    let seen = server.rest("alice", "bidder").bid(&lot, &json!({"bid_id": bid["bid_id"], "amount": 100, "max": 300}));
    assert_eq!(seen.expect(201), receipt);
    assert_eq!(admin.purse("alice"), held);
    let other = json!({"lot": lot, "bid_id": bid["bid_id"], "amount": 100, "max": 400});
    alice.error(json!({"bid": other}), "bid_id_conflict").await;
    server.kill();
    server.restart();
    let admin = server.admin();
    let mut alice = server.bidder("alice").await;
    assert_eq!(alice.bid_as(again.clone()).await, receipt);
    assert_eq!(admin.purse("alice").sums(), (500, 300));
    // Outbid, and the lot over: the receipt stays what it was, and holds nothing.
    server.bidder("bob").await.bid(&lot, 310).await;
    admin.comes_to("alice", 500, 0);
    assert_eq!(alice.bid_as(again.clone()).await, receipt);
    close(&server, &lot);
    assert_eq!(alice.bid_as(again).await, receipt);
    assert_eq!(admin.purse("alice").sums(), (500, 0));
}

#[tokio::test]
async fn the_same_bid_twice_at_once_is_one_bid_and_one_hold() {
    let (server, admin) = stage(&[("alice", 500)]);
    let lot = server.backed(json!({}));
    let mut sockets = [server.bidder("alice").await, server.bidder("alice").await];
    let bid = json!({"bid": {"lot": lot, "bid_id": uuid(), "amount": 100, "max": 300, "retry": true}});
    let mut receipts = Vec::new();
    let mut asked = Vec::new();
    for n in 0..10 {
        asked.push((n % 2, sockets[n % 2].send(bid.clone()).await));
    }
    for (socket, id) in asked {
        receipts.push(sockets[socket].reply(id).await.unwrap());
    }
    assert!(receipts.iter().all(|receipt| *receipt == receipts[0]), "{receipts:?}");
    assert_eq!(admin.lot(&lot)["bid_count"], 1);
    assert_eq!(admin.purse("alice").sums(), (500, 300));
}

#[tokio::test]
async fn a_price_is_captured_once_whenever_the_server_dies() {
    let mut server = Setup::new().env("GAVEL__LIMITS__REQUESTS_PER_SECOND", 0).start();
    server.admin().grant("alice", 10_000);
    let mut lots = Vec::new();
    for _ in 0..6 {
        let lot = server.backed(json!({}));
        server.bidder("alice").await.bid_max(&lot, 100, 150).await;
        // The close is durable when it is answered; the capture and its confirmation are on their way.
        assert_eq!(close(&server, &lot)["outcome"], sold("alice", 100));
        server.kill();
        server.restart();
        lots.push(lot);
    }
    let admin = server.admin();
    for lot in &lots {
        admin.settled(lot);
    }
    assert_eq!(admin.purse("alice").sums(), (9400, 0));
    let ledger = admin.ledger("alice");
    let mut paid: Vec<_> = captures(&ledger).collect();
    paid.sort_unstable();
    let mut expected: Vec<_> = lots.iter().map(|lot| (lot.as_str(), 100)).collect();
    expected.sort_unstable();
    assert_eq!(paid, expected);
}
