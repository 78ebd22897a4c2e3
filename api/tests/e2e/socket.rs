//! The WebSocket as clients see it: authentication, joining and resuming, pushes without a gap, bids and their receipts.

use crate::kit::{Handshake, Server, Setup, event_name, in_ms, lot, lot_with, now_ms, parse_ms, uuid};
use serde_json::{Value, json};

const JSON: &str = "gavel.json.v1";

fn open_lot(server: &Server) -> String {
    server.house().create(&lot())["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_is_taken_from_the_header() {
    let server = Server::start();
    let mut socket = Handshake::default().bearer(&server.token("alice", "bidder")).open(&server.address()).await.unwrap();
    socket.bid(&open_lot(&server), 100).await;
}

#[tokio::test]
async fn a_token_is_taken_from_the_subprotocols_and_never_echoed() {
    let server = Server::start();
    let token = server.token("alice", "bidder");
    let lot = open_lot(&server);
    for order in [[JSON.to_owned(), format!("gavel.bearer.{token}")], [format!("gavel.bearer.{token}"), JSON.to_owned()]] {
        let shake = order.iter().fold(Handshake::default(), |shake, name| shake.protocol(name));
        let mut socket = shake.open(&server.address()).await.unwrap();
        assert_eq!(socket.protocol.as_deref(), Some(JSON));
        socket.join(&lot).await;
    }
    assert!(!server.err.text().contains(&token), "the token is in the log");
}

#[tokio::test]
async fn a_token_is_taken_from_the_first_frame() {
    let server = Server::start();
    let lot = open_lot(&server);
    let mut socket = Handshake::default().protocol(JSON).open(&server.address()).await.unwrap();
    socket.error(json!({"join": {"lot": lot}}), "unauthenticated").await;
    let session = socket.ok(json!({"auth": {"token": server.token("alice", "bidder")}})).await["session"].take();
    assert_eq!((&session["bidder"], &session["role"]), (&json!("alice"), &json!("bidder")));
    assert!((parse_ms(&session["server_time"]) - now_ms()).abs() < 2000, "{session}");
    assert_eq!(session["limits"]["requests_per_second"], 200, "{session}");
    socket.bid(&lot, 100).await;
}

#[tokio::test]
async fn a_bad_token_in_the_upgrade_is_401_and_in_a_frame_an_error() {
    let server = Server::start();
    let refused = Handshake::default().bearer("nonsense").open(&server.address()).await.err().unwrap();
    assert_eq!(refused.0, 401);
    let shake = Handshake::default().protocol(JSON).protocol("gavel.bearer.nonsense");
    assert_eq!(shake.open(&server.address()).await.err().unwrap().0, 401);
    let mut socket = Handshake::default().open(&server.address()).await.unwrap();
    socket.error(json!({"auth": {"token": "nonsense"}}), "unauthenticated").await;
    socket.ok(json!({"auth": {"token": server.token("alice", "bidder")}})).await;
}

#[tokio::test]
async fn who_says_nothing_is_closed_with_4500() {
    let server = Setup::new().env("GAVEL__LIMITS__AUTH_TIMEOUT_MS", 300).start();
    let mut socket = Handshake::default().open(&server.address()).await.unwrap();
    assert_eq!(socket.closed().await, 4500);
}

#[tokio::test]
async fn an_anonymous_viewer_watches_but_does_not_bid() {
    let server = Setup::new().env("GAVEL__ACCESS__ANONYMOUS", "viewer").env("GAVEL__LIMITS__AUTH_TIMEOUT_MS", 300).start();
    let lot = open_lot(&server);
    let mut socket = Handshake::default().open(&server.address()).await.unwrap();
    socket.join(&lot).await;
    let refused = socket.try_ask(&json!({"bid": {"lot": lot, "bid_id": uuid(), "amount": 100}})).await.unwrap().unwrap_err();
    assert!(refused["code"] == "unauthenticated" || refused["code"] == "forbidden", "{refused}");
    server.bidder("alice").await.bid(&lot, 100).await;
    socket.event_named(&lot, "bid_placed").await;
}

#[tokio::test]
async fn only_bidders_bid_and_drafts_cannot_be_joined() {
    let server = Server::start();
    let lot = open_lot(&server);
    for role in ["viewer", "auctioneer", "admin"] {
        let mut socket = server.socket(&format!("a-{role}"), role).await;
        socket.bid_refused(&lot, 100, "forbidden").await;
        socket.join(&lot).await;
    }
    let draft = server.house().create(&lot_with(json!({"draft": true})))["id"].clone();
    server.bidder("alice").await.error(json!({"join": {"lot": draft}}), "not_found").await;
    server.socket("house", "auctioneer").await.join(draft.as_str().unwrap()).await;
}

#[tokio::test]
async fn a_joined_lot_is_the_lot_as_rest_shows_it() {
    let server = Server::start();
    let lot = server.house().create(&lot_with(json!({"rules": {"reserve_price": 300}})))["id"].as_str().unwrap().to_owned();
    let mut alice = server.bidder("alice").await;
    alice.bid_max(&lot, 100, 250).await;
    let joined = alice.join(&lot).await;
    assert_eq!(joined["lot"], server.rest("alice", "bidder").lot(&lot));
    assert_eq!(joined["lot"]["own"], json!({"leading": true, "max": 250}));
    assert_eq!(joined["position"], joined["lot"]["position"]);
    assert_eq!(joined["recovered"], false);
    assert_eq!(joined["events"], json!([]));
    assert!((parse_ms(&joined["server_time"]) - now_ms()).abs() < 2000, "{joined}");
    let mut house = server.socket("house", "auctioneer").await;
    assert_eq!(house.join(&lot).await["lot"]["rules"]["reserve_price"], 300);
}

#[tokio::test]
async fn the_first_push_is_the_next_event_and_none_is_missing() {
    let server = Server::start();
    let lot = open_lot(&server);
    let (mut alice, mut bob, mut eve) = (server.bidder("alice").await, server.bidder("bob").await, server.socket("eve", "viewer").await);
    alice.bid(&lot, 100).await;
    let mut seq = eve.join(&lot).await["position"]["seq"].as_u64().unwrap();
    for n in 1..=20 {
        let who = if n % 2 == 0 { &mut alice } else { &mut bob };
        let receipt = who.bid(&lot, 100 + n * 10).await;
        let event = eve.event(&lot).await;
        seq += 1;
        assert_eq!((&event["seq"], &event["epoch"]), (&json!(seq), &receipt["epoch"]), "{event}");
        assert_eq!((&event["seq"], &event["at"]), (&receipt["seq"], &receipt["received_at"]), "{event} {receipt}");
        assert_eq!(event["bid_placed"]["amount"], receipt["amount"]);
        assert_eq!(event["bid_placed"]["bid_count"], n + 1);
    }
    // Joining again is harmless: nothing comes twice.
    eve.join(&lot).await;
    alice.bid(&lot, 500).await;
    assert_eq!(eve.event(&lot).await["seq"], seq + 1);
    eve.catch_up().await;
    assert!(eve.events.is_empty(), "{:?}", eve.events);
}

#[tokio::test]
async fn events_applied_to_a_joined_lot_give_its_state() {
    let server = Server::start();
    let house = server.house();
    let lot = house.create(&lot_with(json!({
        "rules": {"reserve_price": 300},
        "soft_close": {"window_ms": 600_000, "mode": "add", "by_ms": 60_000, "max_extensions": 2, "hard_close_at": null},
    })))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut eve = server.socket("eve", "viewer").await;
    let mut seen = eve.join(&lot).await["lot"].take();
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    alice.bid_max(&lot, 100, 350).await;
    bob.bid(&lot, 400).await;
    house.act(&lot, "pause").expect(200);
    house.act(&lot, "resume").expect(200);
    house.patch(&format!("/v1/lots/{lot}"), Some("*"), &json!({"title": "Other"})).expect(200);
    house.act(&lot, "close").expect(200);
    while seen["status"] != "closed" {
        let event = eve.event(&lot).await;
        seen["position"] = json!({"epoch": event["epoch"], "seq": event["seq"]});
        apply(&mut seen, event_name(&event), &event[event_name(&event)]);
    }
    let truth = server.rest("eve", "viewer").lot(&lot);
    for name in
        ["title", "status", "price", "leader", "bid_count", "minimum_bid", "reserve_met", "closes_at", "extensions", "position", "outcome"]
    {
        assert_eq!(seen[name], truth[name], "{name}");
    }
}

/// What the protocol says an event does to a lot.
fn apply(lot: &mut Value, name: &str, what: &Value) {
    match name {
        "opened" | "resumed" => lot["status"] = json!("open"),
        "paused" => lot["status"] = json!("paused"),
        "closed" => lot["status"] = json!("closed"),
        _ => {}
    }
    for (field, value) in what.as_object().unwrap() {
        if !["bidder", "amount", "remaining_ms", "reason"].contains(&field.as_str()) {
            lot[field] = value.clone();
        }
    }
}

#[tokio::test]
async fn a_bidder_hears_of_being_outbid_and_others_do_not() {
    let server = Server::start();
    let lot = open_lot(&server);
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    alice.join(&lot).await;
    bob.join(&lot).await;
    alice.bid_max(&lot, 100, 400).await;
    assert_eq!(alice.own(&lot).await, json!({"leading": true, "max": 400}));
    bob.bid_max(&lot, 500, 900).await;
    assert_eq!(alice.own(&lot).await, json!({"leading": false, "max": 400}));
    assert_eq!(bob.own(&lot).await, json!({"leading": true, "max": 900}));
    alice.catch_up().await;
    bob.catch_up().await;
    assert!(alice.owns.iter().chain(&bob.owns).all(|(_, own)| own["max"] != 900 || own["leading"] == true));
    assert!(!format!("{:?}{:?}", alice.events, alice.owns).contains("900"), "a maximum leaked");
}

#[tokio::test]
async fn a_second_socket_of_the_same_bidder_hears_of_its_standing() {
    let server = Server::start();
    let lot = open_lot(&server);
    let (mut one, mut two) = (server.bidder("alice").await, server.bidder("alice").await);
    two.join(&lot).await;
    one.bid_max(&lot, 100, 400).await;
    assert_eq!(two.own(&lot).await, json!({"leading": true, "max": 400}));
}

#[tokio::test]
async fn after_leaving_nothing_comes() {
    let server = Server::start();
    let lot = open_lot(&server);
    let (mut alice, mut eve) = (server.bidder("alice").await, server.socket("eve", "viewer").await);
    eve.join(&lot).await;
    assert_eq!(eve.ok(json!({"leave": {"lot": lot}})).await, json!({"left": {"lot": lot}}));
    alice.join(&lot).await;
    alice.bid(&lot, 100).await;
    alice.event(&lot).await;
    eve.catch_up().await;
    assert!(eve.events.is_empty(), "{:?}", eve.events);
    let position = eve.join(&lot).await["position"].take();
    alice.bid_max(&lot, 200, 300).await;
    assert_eq!(eve.event(&lot).await["seq"], position["seq"].as_u64().unwrap() + 1);
}

#[tokio::test]
async fn who_resumes_gets_exactly_what_was_missed() {
    let server = Server::start();
    let lot = open_lot(&server);
    let mut alice = server.bidder("alice").await;
    let mut eve = server.socket("eve", "viewer").await;
    let position = eve.join(&lot).await["position"].take();
    eve.close().await;
    let mut bob = server.bidder("bob").await;
    let mut last = Value::Null;
    for n in 0..10 {
        let who = if n % 2 == 0 { &mut alice } else { &mut bob };
        last = who.bid(&lot, 100 + n * 10).await;
    }
    let mut again = server.socket("eve", "viewer").await;
    let joined = again.resume(&lot, &position).await;
    assert_eq!(joined["recovered"], true, "{joined}");
    let seqs: Vec<_> = joined["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    let from = position["seq"].as_u64().unwrap() + 1;
    assert_eq!(seqs, (from..=last["seq"].as_u64().unwrap()).collect::<Vec<_>>());
    assert_eq!(joined["position"]["seq"], last["seq"]);
    let nothing = again.resume(&lot, &joined["position"]).await;
    assert_eq!((&nothing["recovered"], &nothing["events"]), (&json!(true), &json!([])), "nothing was missed");
    alice.bid(&lot, 500).await;
    assert_eq!(again.event(&lot).await["seq"], last["seq"].as_u64().unwrap() + 1);
}

#[tokio::test]
async fn a_position_that_never_was_is_not_recovered() {
    let server = Server::start();
    let lot = open_lot(&server);
    let mut alice = server.bidder("alice").await;
    let mut position = alice.bid(&lot, 100).await;
    let (epoch, seq) = (position["epoch"].as_u64().unwrap(), position["seq"].as_u64().unwrap());
    position = json!({"epoch": epoch, "seq": seq});
    for wrong in [json!({"epoch": epoch - 1, "seq": seq}), json!({"epoch": epoch, "seq": seq + 1}), json!({"epoch": epoch + 1, "seq": seq})]
    {
        let joined = alice.resume(&lot, &wrong).await;
        assert_eq!((&joined["recovered"], &joined["events"]), (&json!(false), &json!([])), "{wrong}");
        assert_eq!(joined["position"], position);
    }
}

#[tokio::test]
async fn a_position_older_than_the_history_is_not_recovered() {
    let server = Setup::new().env("GAVEL__LIMITS__REQUESTS_PER_SECOND", 0).start();
    let lot = open_lot(&server);
    let mut alice = server.bidder("alice").await;
    let start = alice.join(&lot).await["position"].take();
    alice.ok(json!({"leave": {"lot": lot}})).await;
    // Each raise of a leader's own maximum is an event. More than any node keeps for a lot.
    let many = 9000_u64;
    let mut last = 0;
    for chunk in (0..many).collect::<Vec<_>>().chunks(500) {
        let mut ids = Vec::new();
        for n in chunk {
            ids.push(alice.send(json!({"bid": {"lot": lot, "bid_id": uuid(), "amount": 100, "max": 100 + n}})).await);
        }
        for id in ids {
            last = alice.reply(id).await.unwrap()["receipt"]["seq"].as_u64().unwrap();
        }
    }
    let joined = alice.resume(&lot, &start).await;
    assert_eq!((&joined["recovered"], &joined["events"]), (&json!(false), &json!([])));
    assert_eq!((&joined["position"]["seq"], &joined["lot"]["bid_count"]), (&json!(last), &json!(many)));
    let recent = json!({"epoch": joined["position"]["epoch"], "seq": last - 1000});
    let joined = alice.resume(&lot, &recent).await;
    assert_eq!((&joined["recovered"], joined["events"].as_array().unwrap().len()), (&json!(true), 1000));
}

#[tokio::test]
async fn a_resend_on_any_socket_gets_the_same_receipt() {
    let server = Server::start();
    let lot = open_lot(&server);
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    let bid = json!({"lot": lot, "bid_id": uuid(), "amount": 100, "max": 120});
    let receipt = alice.bid_as(bid.clone()).await;
    bob.bid(&lot, 200).await;
    let mut retried = bid.clone();
    retried["retry"] = json!(true);
    let mut other = server.bidder("alice").await;
    assert_eq!(alice.bid_as(bid.clone()).await, receipt);
    assert_eq!(other.bid_as(retried.clone()).await, receipt);
    assert_eq!(server.rest("alice", "bidder").bid(&lot, &json!({"bid_id": bid["bid_id"], "amount": 100, "max": 120})).expect(201), receipt);
    let mut conflicting = bid.clone();
    conflicting["max"] = json!(121);
    alice.error(json!({"bid": conflicting}), "bid_id_conflict").await;
    server.house().act(&lot, "close").expect(200);
    assert_eq!(alice.bid_as(retried).await, receipt, "also after the close");
    assert_eq!(server.house().lot(&lot)["bid_count"], 2);
}

#[tokio::test]
async fn several_requests_may_come_in_one_frame() {
    let server = Server::start();
    let lot = open_lot(&server);
    let mut alice = server.bidder("alice").await;
    let lines = [
        json!({"id": 101, "join": {"lot": lot}}),
        json!({"id": 102, "time": {}}),
        json!({"id": 103, "bid": {"lot": lot, "bid_id": uuid(), "amount": 100}}),
        json!({"id": 104, "bid": {"lot": lot, "bid_id": uuid(), "amount": 50}}),
    ];
    alice.send_text(lines.map(|line| line.to_string()).join("\n")).await.unwrap();
    assert!(alice.reply(101).await.unwrap()["joined"].is_object());
    assert!(alice.reply(102).await.unwrap()["time"]["server_time"].is_string());
    assert_eq!(alice.reply(103).await.unwrap()["receipt"]["amount"], 100);
    assert_eq!(alice.reply(104).await.unwrap_err()["code"], "max_not_raised");
    assert_eq!(alice.event_named(&lot, "bid_placed").await["amount"], 100);
}

#[tokio::test]
async fn a_refusal_carries_what_it_was_judged_by() {
    let server = Server::start();
    let made = server.house().create(&lot());
    let lot = made["id"].as_str().unwrap();
    let mut alice = server.bidder("alice").await;
    let error = alice.bid_refused(lot, 99, "bid_too_low").await;
    assert_eq!((&error["minimum"], &error["temporary"], &error["deadline"]), (&json!(100), &json!(false), &made["closes_at"]), "{error}");
    assert!((parse_ms(&error["received_at"]) - now_ms()).abs() < 2000, "{error}");
    alice.bid_refused(&uuid(), 100, "not_found").await;
}

#[tokio::test]
async fn both_subprotocols_are_known_and_json_is_the_default() {
    let server = Server::start();
    let shake = || Handshake::default().bearer(&server.token("alice", "bidder"));
    for (offered, chosen) in [(vec![], None), (vec![JSON], Some(JSON)), (vec!["gavel.bincode.v1"], Some("gavel.bincode.v1"))] {
        let shake = offered.iter().fold(shake(), |shake, name| shake.protocol(name));
        let mut socket = shake.open(&server.address()).await.unwrap();
        assert_eq!(socket.protocol.as_deref(), chosen);
        if chosen != Some("gavel.bincode.v1") {
            socket.catch_up().await;
        }
    }
}

#[tokio::test]
async fn foreign_pages_may_not_open_a_socket() {
    let server = Setup::new().env("GAVEL__ACCESS__ALLOWED_ORIGINS", "https://bids.example.org").start();
    let shake = || Handshake::default().bearer(&server.token("alice", "bidder"));
    let refused = shake().header("origin", "https://evil.example.org").open(&server.address()).await.err();
    assert_eq!(refused.map(|(status, _)| status), Some(403));
    for origin in ["https://bids.example.org", server.url().as_str()] {
        shake()
            .header("origin", origin)
            .open(&server.address())
            .await
            .unwrap_or_else(|error| panic!("{origin}: {error:?}"))
            .catch_up()
            .await;
    }
}

#[tokio::test]
async fn one_socket_watches_many_lots() {
    let server = Server::start();
    let lots: Vec<_> = (0..5).map(|_| open_lot(&server)).collect();
    let (mut alice, mut eve) = (server.bidder("alice").await, server.socket("eve", "viewer").await);
    for lot in &lots {
        eve.join(lot).await;
    }
    for lot in &lots {
        alice.bid(lot, 100).await;
    }
    for lot in lots.iter().rev() {
        assert_eq!(eve.event_named(lot, "bid_placed").await["amount"], 100);
    }
}

#[tokio::test]
async fn a_lot_closes_for_its_watchers_at_its_time() {
    let server = Server::start();
    let made = server.house().create(&lot_with(json!({"closes_at": in_ms(700)})));
    let lot = made["id"].as_str().unwrap();
    let mut alice = server.bidder("alice").await;
    alice.join(lot).await;
    alice.bid_max(lot, 100, 500).await;
    alice.event_named(lot, "bid_placed").await;
    let closed = alice.event(lot).await;
    assert_eq!(closed["closed"]["outcome"], json!({"sold": {"winner": "alice", "price": 100}}));
    assert_eq!(closed["at"], made["closes_at"], "dated by its deadline");
    assert!(now_ms() < parse_ms(&closed["at"]) + 1500, "the close came late");
    alice.bid_refused(lot, 600, "lot_closed").await;
}
