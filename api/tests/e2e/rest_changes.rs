//! What the house does to a lot over REST: actions and the states that forbid them, changes under `If-Match`, and
//! idempotency keys.

use crate::kit::{Server, in_ms, lot, lot_with, parse_ms, uuid};
use serde_json::{Value, json};

fn id(lot: &Value) -> &str {
    lot["id"].as_str().unwrap()
}

#[test]
fn every_action_answers_the_lot_as_it_is_then() {
    let server = Server::start();
    let house = server.house();
    let made = house.create(&lot_with(json!({"draft": true})));
    let act = |action: &str, body: Value| house.post(&format!("/v1/lots/{}/{action}", id(&made)), &body).expect(200);
    assert_eq!(act("open", json!({"reason": "here we go"}))["status"], "open");
    let paused = act("pause", json!({"reason": "lunch"}));
    assert_eq!(paused["status"], "paused");
    let resumed = act("resume", json!({}));
    assert_eq!(resumed["status"], "open");
    let extended = act("extend", json!({"by_ms": 60_000}));
    assert_eq!(parse_ms(&extended["closes_at"]) - parse_ms(&resumed["closes_at"]), 60_000);
    let closed = act("close", json!({}));
    assert_eq!(closed["status"], "closed");
    assert!(closed["outcome"]["unsold"]["reason"].is_string(), "{closed}");
    let events = house.all(&format!("/v1/lots/{}/events", id(&made)), 100);
    let names: Vec<_> = events.iter().map(crate::kit::event_name).collect();
    assert_eq!(names, ["opened", "paused", "resumed", "extended", "closed"]);
    assert_eq!(events[1]["paused"]["reason"], "lunch");
}

#[test]
fn actions_without_a_body_are_taken() {
    let server = Server::start();
    let house = server.house();
    let made = house.create(&lot());
    let answer = house.send("POST", &format!("/v1/lots/{}/pause", id(&made)), &[], "");
    assert_eq!(answer.expect(200)["status"], "paused");
}

#[test]
fn a_cancelled_lot_is_over() {
    let server = Server::start();
    let (house, alice) = (server.house(), server.rest("alice", "bidder"));
    let made = house.create(&lot());
    alice.bid(id(&made), &json!({"bid_id": uuid(), "amount": 100})).expect(201);
    let over = house.post(&format!("/v1/lots/{}/cancel", id(&made)), &json!({"reason": "broken"})).expect(200);
    assert_eq!(over["status"], "cancelled");
    alice.bid(id(&made), &json!({"bid_id": uuid(), "amount": 200})).problem(409, "lot_closed");
    let events = house.all(&format!("/v1/lots/{}/events", id(&made)), 100);
    assert_eq!(events.last().unwrap()["cancelled"]["reason"], "broken");
}

#[test]
fn a_state_forbids_what_does_not_fit_it() {
    let server = Server::start();
    let house = server.house();
    let draft = || id(&house.create(&lot_with(json!({"draft": true})))).to_owned();
    let open = || id(&house.create(&lot())).to_owned();
    let then = |lot: String, action: &str| {
        house.act(&lot, action).expect(200);
        lot
    };
    let hammer = id(&house.create(&lot_with(json!({"closes_at": null})))).to_owned();
    let lots = [
        ("draft", draft(), vec!["pause", "resume", "close"]),
        ("open", open(), vec!["open", "resume"]),
        ("paused", then(open(), "pause"), vec!["open", "pause"]),
        ("closed", then(open(), "close"), vec!["open", "pause", "resume", "cancel", "close"]),
        ("cancelled", then(open(), "cancel"), vec!["open", "pause", "resume", "cancel", "close"]),
    ];
    for (state, lot, forbidden) in &lots {
        let before = house.lot(lot);
        assert_eq!(before["status"], *state);
        for action in forbidden {
            house.act(lot, action).problem(409, "conflict");
        }
        assert_eq!(house.lot(lot), before, "{state}: a refused action changed the lot");
    }
    for (name, lot) in [("closed", &lots[3].1), ("hammer", &hammer)] {
        let answer = house.post(&format!("/v1/lots/{lot}/extend"), &json!({"by_ms": 1000}));
        assert_eq!(answer.problem(409, "conflict")["status"], 409, "{name}");
    }
    for action in ["open", "pause", "resume", "cancel", "close"] {
        house.act(&uuid(), action).problem(404, "not_found");
    }
}

#[test]
fn a_paused_or_waiting_lot_takes_no_bids() {
    let server = Server::start();
    let (house, alice) = (server.house(), server.rest("alice", "bidder"));
    let bid = || json!({"bid_id": uuid(), "amount": 100});
    let paused = house.create(&lot());
    house.act(id(&paused), "pause").expect(200);
    alice.bid(id(&paused), &bid()).problem(409, "lot_paused");
    let scheduled = house.create(&lot_with(json!({"opens_at": in_ms(300_000)})));
    assert_eq!(scheduled["status"], "scheduled");
    alice.bid(id(&scheduled), &bid()).problem(409, "lot_not_open");
    let closed = house.create(&lot());
    house.act(id(&closed), "close").expect(200);
    let refused = alice.bid(id(&closed), &bid()).problem(409, "lot_closed");
    assert_eq!(refused["temporary"], false);
    alice.bid(&uuid(), &bid()).problem(404, "not_found");
}

#[test]
fn a_change_needs_the_tag_of_what_it_changes() {
    let server = Server::start();
    let house = server.house();
    let made = house.create(&lot());
    let path = format!("/v1/lots/{}", id(&made));
    house.patch(&path, None, &json!({"title": "New"})).problem(428, "precondition_required");
    house.patch(&path, Some("\"nonsense\""), &json!({"title": "New"})).problem(412, "precondition_failed");
    let tag = house.get(&path).etag();
    let answer = house.patch(&path, Some(&tag), &json!({"title": "New"}));
    let changed = answer.expect(200);
    assert_eq!(changed["title"], "New");
    assert_eq!(answer.etag(), house.get(&path).etag(), "the answer's tag is the changed lot's");
    house.patch(&path, Some(&tag), &json!({"title": "Newer"})).problem(412, "precondition_failed");
    assert_eq!(house.lot(id(&made))["title"], "New");
    house.patch(&path, Some("*"), &json!({"title": "Any"})).expect(200);
    house.patch(&format!("/v1/lots/{}", uuid()), Some("*"), &json!({"title": "x"})).problem(404, "not_found");
}

#[test]
fn rules_and_times_stand_from_the_first_bid_on() {
    let server = Server::start();
    let (house, alice) = (server.house(), server.rest("alice", "bidder"));
    let made = house.create(&lot_with(json!({"rules": {"reserve_price": 500}})));
    let path = format!("/v1/lots/{}", id(&made));
    let patch = |body: Value| house.patch(&path, Some(&house.get(&path).etag()), &body);
    let later = in_ms(900_000);
    let changed = patch(json!({"closes_at": later, "rules": {"format": "english", "start_price": 50, "reserve_price": 500}})).expect(200);
    assert_eq!((&changed["closes_at"], &changed["minimum_bid"]), (&json!(later), &json!(50)), "{changed}");
    alice.bid(id(&made), &json!({"bid_id": uuid(), "amount": 50, "max": 300})).expect(201);
    let rules = |fields: Value| {
        let mut rules = house.lot(id(&made))["rules"].clone();
        for (name, value) in fields.as_object().unwrap() {
            rules[name] = value.clone();
        }
        json!({"rules": rules})
    };
    patch(json!({"closes_at": in_ms(1_200_000)})).problem(409, "conflict");
    patch(rules(json!({"start_price": 40}))).problem(409, "conflict");
    patch(rules(json!({"reserve_price": 600}))).problem(409, "conflict");
    let texts = patch(json!({"title": "After", "description": "a bid"})).expect(200);
    assert_eq!((&texts["title"], &texts["description"]), (&json!("After"), &json!("a bid")));
    let lowered = patch(rules(json!({"reserve_price": 200}))).expect(200);
    assert_eq!((&lowered["price"], &lowered["reserve_met"]), (&json!(200), &json!(true)), "the leader's 300 reaches it: {lowered}");
}

#[test]
fn a_bad_change_changes_nothing() {
    let server = Server::start();
    let house = server.house();
    let made = house.create(&lot());
    let path = format!("/v1/lots/{}", id(&made));
    for bad in [
        json!({"title": ""}),
        json!({"title": 5}),
        json!({"nonsense": 1}),
        json!({"status": "closed"}),
        json!({"price": 1}),
        json!({"closes_at": "soon"}),
        json!({"rules": {"format": "english", "start_price": -1}}),
        json!([]),
        json!(null),
    ] {
        let answer = house.patch(&path, Some(&house.get(&path).etag()), &bad);
        answer.problem(422, "invalid");
    }
    assert_eq!(house.lot(id(&made)), made);
}

#[test]
fn a_retried_creation_gives_the_same_lot() {
    let server = Server::start();
    let house = server.house();
    let (spec, key) = (lot(), uuid());
    let first = house.post_with("/v1/lots", &[("idempotency-key", &key)], &spec);
    let made = first.expect(201);
    let again = house.post_with("/v1/lots", &[("idempotency-key", &key)], &spec);
    assert_eq!(again.expect(201), made);
    assert_eq!(again.header("location"), first.header("location"));
    let mut other = spec.clone();
    other["title"] = json!("Another");
    house.post_with("/v1/lots", &[("idempotency-key", &key)], &other).problem(422, "idempotency_key_reused");
    assert_eq!(house.all("/v1/lots", 100).len(), 1);
    // The key is this caller's own.
    let theirs = server.rest("other-house", "auctioneer").post_with("/v1/lots", &[("idempotency-key", &key)], &spec).expect(201);
    assert_ne!(id(&theirs), id(&made));
    // Without a key there is no telling.
    assert_ne!(id(&house.create(&spec)), id(&house.create(&spec)));
}

#[test]
fn a_refused_creation_leaves_its_key_free() {
    let server = Server::start();
    let (house, key) = (server.house(), uuid());
    let bad = lot_with(json!({"title": ""}));
    house.post_with("/v1/lots", &[("idempotency-key", &key)], &bad).problem(422, "invalid");
    house.post_with("/v1/lots", &[("idempotency-key", &key)], &lot()).expect(201);
}

#[test]
fn a_retried_action_is_answered_as_the_first_time() {
    let server = Server::start();
    let house = server.house();
    let made = house.create(&lot());
    let path = format!("/v1/lots/{}/extend", id(&made));
    let key = uuid();
    let first = house.post_with(&path, &[("idempotency-key", &key)], &json!({"by_ms": 5000})).expect(200);
    let again = house.post_with(&path, &[("idempotency-key", &key)], &json!({"by_ms": 5000})).expect(200);
    assert_eq!(first, again);
    assert_eq!(house.lot(id(&made))["closes_at"], first["closes_at"], "extended once");
    house.post_with(&path, &[("idempotency-key", &key)], &json!({"by_ms": 6000})).problem(422, "idempotency_key_reused");
    // Another path: another request.
    let other = house.create(&lot());
    house.post_with(&format!("/v1/lots/{}/extend", id(&other)), &[("idempotency-key", &key)], &json!({"by_ms": 5000})).expect(200);
}

#[test]
fn a_key_lasts_across_a_crash() {
    let mut server = Server::start();
    let (spec, key) = (lot(), uuid());
    let made = server.house().post_with("/v1/lots", &[("idempotency-key", &key)], &spec).expect(201);
    let path = format!("/v1/lots/{}/extend", id(&made));
    let act = uuid();
    let extended = server.house().post_with(&path, &[("idempotency-key", &act)], &json!({"by_ms": 5000})).expect(200);
    server.kill();
    server.restart();
    assert_eq!(server.house().post_with("/v1/lots", &[("idempotency-key", &key)], &spec).expect(201), made);
    assert_eq!(server.house().post_with(&path, &[("idempotency-key", &act)], &json!({"by_ms": 5000})).expect(200), extended);
    assert_eq!(server.house().all("/v1/lots", 100).len(), 1);
    let other = lot_with(json!({"title": "Another"}));
    server.house().post_with("/v1/lots", &[("idempotency-key", &key)], &other).problem(422, "idempotency_key_reused");
}
