//! The edges of REST: methods and upgrades that are none, errors of bids, readiness, lists over living and archived lots.

use crate::kit::{Server, Setup, in_ms, lot, lot_with, until, uuid};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn id(lot: &Value) -> &str {
    lot["id"].as_str().unwrap()
}

#[test]
fn what_is_no_handshake_is_told_what_is_missing() {
    let server = Server::start();
    let nobody = server.nobody();
    let plain = nobody.get("/v1/ws");
    plain.problem(426, "invalid");
    assert_eq!(plain.header("upgrade"), Some("websocket"));
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
    let old = nobody.get_with("/v1/ws", &[&upgrade[..], &[("sec-websocket-version", "12")]].concat());
    old.problem(426, "invalid");
    assert_eq!(old.header("sec-websocket-version"), Some("13"));
    nobody.get_with("/v1/ws", &[&upgrade[..2], &[("sec-websocket-version", "13")]].concat()).problem(400, "invalid");
    let post = nobody.post("/v1/ws", &json!({}));
    post.problem(405, "invalid");
    assert_eq!(post.header("allow"), Some("GET"));
}

#[test]
fn every_resource_that_is_read_takes_head_and_no_other_method_silently() {
    let server = Server::start();
    let root = server.rest("root", "admin");
    let made = root.create(&lot());
    let own = format!("/v1/lots/{}", id(&made));
    let (bids, events) = (format!("{own}/bids"), format!("{own}/events"));
    for path in ["/v1/lots", &own, &bids, &events, "/v1/cluster", "/health/live", "/health/ready", "/metrics"] {
        let (get, head) = (root.get(path), root.send("HEAD", path, &[], ""));
        assert_eq!((get.status, head.status, head.text.as_str()), (200, 200, ""), "{path}");
        for name in ["content-type", "etag", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
        let put = root.send("PUT", path, &[], "{}");
        put.problem(405, "invalid");
        let allow = put.header("allow").unwrap_or_default();
        assert!(allow.starts_with("GET, HEAD"), "{path}: {allow}");
    }
    root.send("HEAD", &format!("/v1/lots/{}", uuid()), &[], "").expect(404);
}

#[test]
fn whatever_is_wrong_with_a_bid_is_told_as_of_a_bid() {
    let server = Setup::new().env("GAVEL__LIMITS__BODY_BYTES", 1024).start();
    let (alice, eve) = (server.rest("alice", "bidder"), server.rest("eve", "viewer"));
    let made = server.house().create(&lot());
    let bid = json!({"bid_id": uuid(), "amount": 100});
    let large = json!({"bid_id": uuid(), "amount": 100, "more": "x".repeat(2000)});
    for (answer, status, code) in [
        (server.nobody().bid(id(&made), &bid), 401, "unauthenticated"),
        (eve.bid(id(&made), &bid), 403, "forbidden"),
        (alice.bid(&uuid(), &bid), 404, "not_found"),
        (alice.bid("seven", &bid), 404, "not_found"),
        (alice.bid(id(&made), &json!({"amount": 100})), 422, "invalid"),
        (alice.bid(id(&made), &json!({"bid_id": uuid(), "amount": 100, "max": 99})), 422, "invalid"),
        (alice.bid(id(&made), &json!({"bid_id": uuid(), "amount": 99})), 422, "bid_too_low"),
        (alice.bid(id(&made), &large), 413, "too_large"),
    ] {
        let problem = answer.problem(status, code);
        assert_eq!(problem.get("temporary"), Some(&json!(false)), "{problem}");
        let minimum = if code == "bid_too_low" { json!(100) } else { Value::Null };
        assert_eq!(problem.get("minimum"), Some(&minimum), "{problem}");
    }
}

#[test]
fn readiness_tells_that_the_journal_is_full() {
    let server = Setup::new()
        .env("GAVEL__JOURNAL__MAX_BYTES", 1 << 20)
        .env("GAVEL__ENGINE__CHECKPOINT_BYTES", 1 << 30)
        .env("GAVEL__ENGINE__CHECKPOINT_MS", 86_400_000)
        .start();
    let (house, alice) = (server.house(), server.rest("alice", "bidder"));
    let made = house.create(&lot());
    for number in 0..40 {
        let description = format!("{number} {}", "\u{1f528}".repeat(9_900));
        house.patch(&format!("/v1/lots/{}", id(&made)), Some("*"), &json!({"description": description})).expect(200);
    }
    let refused = alice.bid(id(&made), &json!({"bid_id": uuid(), "amount": 100})).problem(503, "overloaded");
    assert_eq!(refused["temporary"], true);
    let full = until("readiness to say so", || {
        let answer = server.nobody().get("/health/ready");
        (answer.status == 503).then_some(answer)
    });
    let problem = full.problem(503, "unavailable");
    assert!(problem["reasons"][0].as_str().unwrap().contains("journal"), "{problem}");
}

#[test]
fn a_currency_that_is_no_longer_configured_stands_in_no_texts_way() {
    let server = Server::start();
    let made = server.house().create(&lot_with(json!({"currency": {"code": "USD", "scale": 2}})));
    let setup = server.setup().env("GAVEL__CURRENCIES", r#"[{code="DKP",scale=0}]"#);
    drop(server);
    let server = setup.start();
    let house = server.house();
    let path = format!("/v1/lots/{}", id(&made));
    let changed = house.patch(&path, Some("*"), &json!({"title": "Renamed"})).expect(200);
    assert_eq!((&changed["title"], &changed["currency"]["code"]), (&json!("Renamed"), &json!("USD")));
    house.patch(&path, Some("*"), &json!({"currency": {"code": "EUR", "scale": 2}})).problem(422, "invalid");
    house.post("/v1/lots", &lot_with(json!({"currency": {"code": "USD", "scale": 2}}))).problem(422, "invalid");
}

#[tokio::test]
async fn a_scheduled_lot_that_loses_its_opening_time_opens_at_once_for_all_to_see() {
    let server = Server::start();
    let house = server.house();
    let made = house.create(&lot_with(json!({"opens_at": in_ms(300_000)})));
    let mut alice = server.bidder("alice").await;
    assert_eq!(alice.join(id(&made)).await["lot"]["status"], "scheduled");
    let path = format!("/v1/lots/{}", id(&made));
    let opened = house.patch(&path, Some("*"), &json!({"opens_at": null})).expect(200);
    assert_eq!((&opened["status"], &opened["opens_at"]), (&json!("open"), &Value::Null), "{opened}");
    assert_eq!(alice.event_named(id(&made), "changed").await["opens_at"], Value::Null);
    assert_eq!(alice.event_named(id(&made), "opened").await["closes_at"], made["closes_at"]);
    alice.bid(id(&made), 100).await;
}

#[test]
fn times_are_rfc_3339_of_any_offset() {
    let server = Server::start();
    let house = server.house();
    let made = house.create(&lot_with(json!({"closes_at": "2099-11-22T12:15:00+02:00"})));
    assert_eq!(made["closes_at"], "2099-11-22T10:15:00.000Z");
    for bad in ["2099-11-22T10Z", "20991122T101500Z", "2099-11-22 10:15:00Z", "2099-11-22T10:15:00Z[UTC]", "2099-11-22T10:15Z"] {
        house.post("/v1/lots", &lot_with(json!({"closes_at": bad}))).problem(422, "invalid");
    }
}

#[test]
fn the_list_is_whole_and_in_order_over_living_and_archived_lots() {
    let server = Setup::new().env("GAVEL__ENGINE__EVICT_AFTER_MS", 10).env("GAVEL__ENGINE__CHECKPOINT_MS", 50).start();
    let (house, admin, alice) = (server.house(), server.rest("root", "admin"), server.rest("alice", "bidder"));
    let made: Vec<String> = (0..24).map(|_| id(&house.create(&lot())).to_owned()).collect();
    alice.bid(&made[3], &json!({"bid_id": uuid(), "amount": 100, "max": 250})).expect(201);
    let mut over = BTreeSet::new();
    for lot in made.iter().step_by(3) {
        house.act(lot, "close").expect(200);
        over.insert(lot.clone());
    }
    until("lots to be let go", || (admin.get("/v1/cluster").expect(200)["nodes"][0]["lots_live"] == 16).then_some(()));
    let ids = |query: &str, limit: usize| -> Vec<String> {
        house.all(&format!("/v1/lots{query}"), limit).iter().map(|lot| id(lot).to_owned()).collect()
    };
    let closed: Vec<String> = made.iter().filter(|lot| over.contains(*lot)).cloned().collect();
    let open: Vec<String> = made.iter().filter(|lot| !over.contains(*lot)).cloned().collect();
    for limit in [1, 2, 5, 7, 24, 500] {
        let sorted = |mut ids: Vec<String>| {
            ids.sort();
            ids
        };
        assert_eq!(sorted(ids("", limit)), sorted(made.clone()), "by {limit}");
        assert_eq!(ids("", limit), ids("", 500), "by {limit}");
        assert_eq!(sorted(ids("?status=closed", limit)), sorted(closed.clone()), "by {limit}");
        assert_eq!(sorted(ids("?status=open", limit)), sorted(open.clone()), "by {limit}");
    }
    let own = alice.all("/v1/lots", 5).into_iter().find(|lot| id(lot) == made[3]).unwrap();
    assert_eq!(own["own"], json!({"leading": true, "max": 250}), "with the bidder's own standing: {own}");
}

#[test]
fn a_retried_action_on_a_lot_that_was_let_go_is_answered_as_the_first_time() {
    let server = Setup::new().env("GAVEL__ENGINE__EVICT_AFTER_MS", 10).env("GAVEL__ENGINE__CHECKPOINT_MS", 50).start();
    let (house, admin) = (server.house(), server.rest("root", "admin"));
    let (create, close, other) = (uuid(), uuid(), uuid());
    let spec = lot();
    let made = house.post_with("/v1/lots", &[("idempotency-key", &create)], &spec).expect(201);
    let path = format!("/v1/lots/{}/close", id(&made));
    let closed = house.post_with(&path, &[("idempotency-key", &close)], &json!({})).expect(200);
    until("the lot to be let go", || (admin.get("/v1/cluster").expect(200)["nodes"][0]["lots_live"] == 0).then_some(()));
    assert_eq!(house.post_with(&path, &[("idempotency-key", &close)], &json!({})).expect(200), closed);
    assert_eq!(house.post_with("/v1/lots", &[("idempotency-key", &create)], &spec).expect(201), made);
    house.post_with(&path, &[("idempotency-key", &other)], &json!({})).problem(409, "conflict");
}
