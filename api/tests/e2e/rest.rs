//! REST as callers see it: creating, reading and listing lots, bids over REST, histories, roles, and what is hidden from whom.

use crate::kit::{Server, in_ms, lot, lot_with, now_ms, parse_ms, uuid};
use serde_json::{Value, json};

fn id(lot: &Value) -> &str {
    lot["id"].as_str().unwrap()
}

#[test]
fn a_created_lot_is_answered_with_its_location_and_every_field() {
    let server = Server::start();
    let house = server.house();
    let spec = lot();
    let answer = house.post("/v1/lots", &spec);
    let made = answer.expect(201);
    assert_eq!(answer.header("location"), Some(format!("/v1/lots/{}", id(&made)).as_str()));
    for name in ["title", "description", "currency", "funding", "opens_at", "closes_at", "soft_close", "rules"] {
        assert_eq!(made[name], spec[name], "{name} of {made}");
    }
    assert!(id(&made).parse::<uuid::Uuid>().is_ok());
    let rest = json!({
        "status": "open", "price": null, "leader": null, "bid_count": 0, "minimum_bid": 100, "reserve_met": null,
        "buy_now_available": false, "extensions": 0, "outcome": null, "settled": false,
    });
    for (name, value) in rest.as_object().unwrap() {
        assert_eq!(made[name], *value, "{name} of {made}");
    }
    assert!(made["position"]["epoch"].is_u64() && made["position"]["seq"].is_u64(), "{made}");
    assert_eq!(house.lot(id(&made)), made);
}

#[test]
fn a_lot_needs_only_title_format_start_price_and_close() {
    let server = Server::start();
    let made = server.house().create(&json!({
        "title": "Least", "rules": {"format": "english", "start_price": 5}, "closes_at": in_ms(60_000),
    }));
    assert_eq!(made["description"], "");
    assert_eq!(made["currency"], json!({"code": "DKP", "scale": 0}));
    assert_eq!(made["funding"], "open");
    assert_eq!(made["soft_close"], Value::Null);
    assert_eq!(made["rules"]["proxy"], true);
    assert_eq!(made["rules"]["increments"][0], json!({"from": 0, "step": 5}));
    assert_eq!((&made["rules"]["reserve_price"], &made["rules"]["buy_now_price"]), (&Value::Null, &Value::Null));
    assert_eq!(made["status"], "open");
}

#[test]
fn an_unchanged_lot_is_not_sent_again_and_a_bid_changes_the_tag() {
    let server = Server::start();
    let (house, alice) = (server.house(), server.rest("alice", "bidder"));
    let made = house.create(&lot());
    let path = format!("/v1/lots/{}", id(&made));
    let tag = house.get(&path).etag();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "not a strong tag: {tag}");
    let again = house.get_with(&path, &[("if-none-match", &tag)]);
    assert_eq!((again.status, again.text.as_str()), (304, ""));
    assert_eq!(again.etag(), tag);
    for list in [format!("\"other\", {tag}"), "*".to_owned(), format!("W/{tag}")] {
        assert_eq!(house.get_with(&path, &[("if-none-match", &list)]).status, 304, "{list}");
    }
    alice.bid(id(&made), &json!({"bid_id": uuid(), "amount": 100})).expect(201);
    let changed = house.get_with(&path, &[("if-none-match", &tag)]);
    changed.expect(200);
    assert_ne!(changed.etag(), tag);
}

#[test]
fn what_two_callers_see_differently_has_different_tags() {
    let server = Server::start();
    let (house, alice) = (server.house(), server.rest("alice", "bidder"));
    let made = house.create(&lot_with(json!({"rules": {"reserve_price": 500}})));
    let path = format!("/v1/lots/{}", id(&made));
    assert_ne!(house.get(&path).etag(), alice.get(&path).etag(), "one shows the reserve, the other hides it");
}

#[test]
fn the_list_goes_page_by_page_and_knows_statuses() {
    let server = Server::start();
    let house = server.house();
    let mut made: Vec<String> = (0..7).map(|n| id(&house.create(&lot_with(json!({"title": format!("Lot {n}")})))).to_owned()).collect();
    let closed = made.pop().unwrap();
    house.act(&closed, "close").expect(200);
    for limit in [1, 2, 6, 500] {
        let mut open: Vec<_> = house.all("/v1/lots?status=open", limit).iter().map(|lot| id(lot).to_owned()).collect();
        open.sort();
        let mut expected = made.clone();
        expected.sort();
        assert_eq!(open, expected, "by pages of {limit}");
    }
    let page = house.get("/v1/lots?status=closed").expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert_eq!((id(&page["items"][0]), &page["next"]), (closed.as_str(), &Value::Null));
    assert_eq!(house.all("/v1/lots", 3).len(), 7);
    for status in ["draft", "scheduled", "paused", "cancelled"] {
        assert_eq!(house.get(&format!("/v1/lots?status={status}")).expect(200)["items"], json!([]), "{status}");
    }
}

#[test]
fn limits_and_cursors_are_checked() {
    let server = Server::start();
    let house = server.house();
    let made = house.create(&lot());
    for list in ["/v1/lots".to_owned(), format!("/v1/lots/{}/bids", id(&made)), format!("/v1/lots/{}/events", id(&made))] {
        for query in ["limit=0", "limit=501", "limit=-1", "limit=x", "limit=1.5", "cursor=nonsense", "cursor=%00", "unknown=1"] {
            house.get(&format!("{list}?{query}")).problem(422, "invalid");
        }
        for query in ["limit=1", "limit=500"] {
            house.get(&format!("{list}?{query}")).expect(200);
        }
    }
    house.get("/v1/lots?status=sold").problem(422, "invalid");
}

#[test]
fn a_cursor_is_safe_in_a_url() {
    let server = Server::start();
    let house = server.house();
    for _ in 0..3 {
        house.create(&lot());
    }
    let page = house.get("/v1/lots?limit=1").expect(200);
    let next = page["next"].as_str().unwrap();
    assert!(next.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)), "{next}");
}

#[test]
fn drafts_are_the_houses_own() {
    let server = Server::start();
    let (house, viewer, alice) = (server.house(), server.rest("eve", "viewer"), server.rest("alice", "bidder"));
    let draft = house.create(&lot_with(json!({"draft": true})));
    assert_eq!(draft["status"], "draft");
    let path = format!("/v1/lots/{}", id(&draft));
    house.get(&path).expect(200);
    for stranger in [&viewer, &alice] {
        stranger.get(&path).problem(404, "not_found");
        stranger.get(&format!("{path}/bids")).problem(404, "not_found");
        stranger.get(&format!("{path}/events")).problem(404, "not_found");
        assert_eq!(stranger.get("/v1/lots").expect(200)["items"], json!([]));
    }
    assert_eq!(house.get("/v1/lots?status=draft").expect(200)["items"].as_array().unwrap().len(), 1);
    let opened = house.act(id(&draft), "open").expect(200);
    assert_eq!(opened["status"], "open");
    viewer.get(&path).expect(200);
    assert_eq!(viewer.get("/v1/lots").expect(200)["items"].as_array().unwrap().len(), 1);
}

#[test]
fn the_reserve_is_for_auctioneers_and_whether_it_is_met_for_all() {
    let server = Server::start();
    let (house, viewer, alice) = (server.house(), server.rest("eve", "viewer"), server.rest("alice", "bidder"));
    let made = house.create(&lot_with(json!({"rules": {"reserve_price": 300}})));
    assert_eq!(made["rules"]["reserve_price"], 300);
    let admin = server.rest("root", "admin");
    assert_eq!(admin.lot(id(&made))["rules"]["reserve_price"], 300);
    for stranger in [&viewer, &alice] {
        let seen = stranger.lot(id(&made));
        assert_eq!((&seen["rules"]["reserve_price"], &seen["reserve_met"]), (&Value::Null, &json!(false)), "{seen}");
        assert_eq!(stranger.get("/v1/lots").expect(200)["items"][0]["rules"]["reserve_price"], Value::Null);
    }
    alice.bid(id(&made), &json!({"bid_id": uuid(), "amount": 100, "max": 350})).expect(201);
    let met = viewer.lot(id(&made));
    assert_eq!((&met["price"], &met["reserve_met"]), (&json!(300), &json!(true)), "rule 4");
}

#[test]
fn a_bid_gets_its_receipt_and_again_the_same() {
    let server = Server::start();
    let alice = server.rest("alice", "bidder");
    let made = server.house().create(&lot());
    let before = now_ms();
    let bid = json!({"bid_id": uuid(), "amount": 150, "max": 400});
    let receipt = alice.bid(id(&made), &bid).expect(201);
    let fields = json!({"bid_id": bid["bid_id"], "lot": id(&made), "amount": 150, "max": 400, "price": 150, "leading": true});
    for (name, value) in fields.as_object().unwrap() {
        assert_eq!(receipt[name], *value, "{name} of {receipt}");
    }
    assert_eq!(receipt["deadline"], made["closes_at"]);
    assert_eq!(receipt["closes_at"], made["closes_at"]);
    let received = parse_ms(&receipt["received_at"]);
    assert!((before - 50..=now_ms() + 50).contains(&received), "{receipt}");
    assert_eq!(receipt["seq"], made["position"]["seq"].as_u64().unwrap() + 1);
    assert_eq!(alice.bid(id(&made), &bid).expect(201), receipt);
    let retried = json!({"bid_id": bid["bid_id"], "amount": 150, "max": 400, "retry": true});
    assert_eq!(alice.bid(id(&made), &retried).expect(201), receipt);
    let other = json!({"bid_id": bid["bid_id"], "amount": 160, "max": 400});
    alice.bid(id(&made), &other).problem(409, "bid_id_conflict");
    assert_eq!(server.house().lot(id(&made))["bid_count"], 1);
}

#[test]
fn an_absent_max_equals_the_amount_also_for_a_resend() {
    let server = Server::start();
    let alice = server.rest("alice", "bidder");
    let made = server.house().create(&lot());
    let bid_id = uuid();
    let receipt = alice.bid(id(&made), &json!({"bid_id": bid_id, "amount": 150})).expect(201);
    assert_eq!(receipt["max"], 150);
    assert_eq!(alice.bid(id(&made), &json!({"bid_id": bid_id, "amount": 150, "max": 150})).expect(201), receipt);
}

#[test]
fn one_bid_id_may_be_used_by_two_bidders_and_on_two_lots() {
    let server = Server::start();
    let (alice, bob) = (server.rest("alice", "bidder"), server.rest("bob", "bidder"));
    let (one, two) = (server.house().create(&lot()), server.house().create(&lot()));
    let bid_id = uuid();
    let first = alice.bid(id(&one), &json!({"bid_id": bid_id, "amount": 100})).expect(201);
    let second = bob.bid(id(&one), &json!({"bid_id": bid_id, "amount": 110})).expect(201);
    let third = alice.bid(id(&two), &json!({"bid_id": bid_id, "amount": 120})).expect(201);
    assert_eq!((&first["amount"], &second["amount"], &third["amount"]), (&json!(100), &json!(110), &json!(120)));
}

#[test]
fn a_refused_bid_says_what_would_do() {
    let server = Server::start();
    let (alice, bob) = (server.rest("alice", "bidder"), server.rest("bob", "bidder"));
    let made = server.house().create(&lot());
    alice.bid(id(&made), &json!({"bid_id": uuid(), "amount": 150, "max": 200})).expect(201);
    let refused = bob.bid(id(&made), &json!({"bid_id": uuid(), "amount": 155})).problem(422, "bid_too_low");
    assert_eq!((&refused["minimum"], &refused["temporary"]), (&json!(160), &json!(false)), "{refused}");
    let refused = alice.bid(id(&made), &json!({"bid_id": uuid(), "amount": 150, "max": 200})).problem(422, "max_not_raised");
    assert_eq!(refused["temporary"], false, "{refused}");
    // A refused id is judged anew.
    let again = uuid();
    bob.bid(id(&made), &json!({"bid_id": again, "amount": 155})).problem(422, "bid_too_low");
    bob.bid(id(&made), &json!({"bid_id": again, "amount": 300})).expect(201);
}

#[test]
fn the_history_shows_each_what_is_theirs() {
    let server = Server::start();
    let (alice, bob) = (server.rest("alice", "bidder"), server.rest("bob", "bidder"));
    let made = server.house().create(&lot());
    let (first, second) = (uuid(), uuid());
    alice.bid(id(&made), &json!({"bid_id": first, "amount": 100, "max": 400})).expect(201);
    bob.bid(id(&made), &json!({"bid_id": second, "amount": 200, "max": 300})).expect(201);
    let path = format!("/v1/lots/{}/bids", id(&made));
    let see = |role: &str, name: &str| -> Vec<(Value, Value)> {
        let page = server.rest(name, role).get(&path).expect(200);
        let items = page["items"].as_array().unwrap();
        let public: Vec<_> = items.iter().map(|bid| (bid["bidder"].clone(), bid["amount"].clone(), bid["price"].clone())).collect();
        // Bob's 200 against Alice's hidden 400: the price is min(400, 300 + 10).
        let expected = vec![(json!("alice"), json!(100), json!(100)), (json!("bob"), json!(200), json!(310))];
        assert_eq!(public, expected, "{role}");
        assert!(items.iter().all(|bid| bid["leader"] == "alice"), "{role}: {page}");
        items.iter().map(|bid| (bid["bid_id"].clone(), bid["max"].clone())).collect()
    };
    let nothing = (Value::Null, Value::Null);
    assert_eq!(see("bidder", "alice"), [(json!(first), json!(400)), nothing.clone()]);
    assert_eq!(see("bidder", "bob"), [nothing.clone(), (json!(second), json!(300))]);
    assert_eq!(see("viewer", "eve"), [nothing.clone(), nothing.clone()]);
    assert_eq!(see("auctioneer", "house"), [nothing.clone(), nothing]);
    assert_eq!(see("admin", "root"), [(json!(first), Value::Null), (json!(second), Value::Null)]);
}

#[test]
fn own_standing_is_shown_to_its_bidder_alone_also_after_the_close() {
    // A maximum that no id and no time has among its digits.
    let server = Server::start();
    let (alice, bob, house) = (server.rest("alice", "bidder"), server.rest("bob", "bidder"), server.house());
    let made = house.create(&lot());
    assert_eq!(alice.lot(id(&made))["own"], Value::Null);
    alice.bid(id(&made), &json!({"bid_id": uuid(), "amount": 100, "max": 300})).expect(201);
    bob.bid(id(&made), &json!({"bid_id": uuid(), "amount": 400, "max": 987_654_321})).expect(201);
    for closed in [false, true] {
        assert_eq!(alice.lot(id(&made))["own"], json!({"leading": false, "max": 300}), "closed: {closed}");
        assert_eq!(bob.lot(id(&made))["own"], json!({"leading": true, "max": 987_654_321}), "closed: {closed}");
        for other in [&house, &server.rest("root", "admin"), &server.rest("eve", "viewer")] {
            let seen = other.get(&format!("/v1/lots/{}", id(&made)));
            seen.expect(200);
            assert!(!seen.text.contains("987654321"), "the maximum shows: {}", seen.text);
        }
        if !closed {
            let over = house.act(id(&made), "close").expect(200);
            assert_eq!(over["outcome"], json!({"sold": {"winner": "bob", "price": 400}}));
        }
    }
}

#[test]
fn histories_go_page_by_page_and_agree() {
    let server = Server::start();
    let (alice, bob, house) = (server.rest("alice", "bidder"), server.rest("bob", "bidder"), server.house());
    let made = house.create(&lot());
    let mut seqs = Vec::new();
    for n in 0..9 {
        let who = if n % 2 == 0 { &alice } else { &bob };
        let receipt = who.bid(id(&made), &json!({"bid_id": uuid(), "amount": 100 + n * 10})).expect(201);
        seqs.push(receipt["seq"].as_u64().unwrap());
    }
    for limit in [1, 2, 4, 9, 500] {
        let bids = house.all(&format!("/v1/lots/{}/bids", id(&made)), limit);
        assert_eq!(bids.iter().map(|bid| bid["seq"].as_u64().unwrap()).collect::<Vec<_>>(), seqs, "by {limit}");
        let events = house.all(&format!("/v1/lots/{}/events", id(&made)), limit);
        let numbers: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=10).collect::<Vec<_>>(), "opened and nine bids, by {limit}");
    }
    let path = format!("/v1/lots/{}/bids", uuid());
    house.get(&path).problem(404, "not_found");
}

#[test]
fn each_role_may_do_its_own_and_no_more() {
    let server = Server::start();
    let made = server.house().create(&lot());
    let path = format!("/v1/lots/{}", id(&made));
    let bid = || json!({"bid_id": uuid(), "amount": 100});
    for (role, creates, bids, sees_cluster) in
        [("viewer", false, false, false), ("bidder", false, true, false), ("auctioneer", true, false, false), ("admin", true, false, true)]
    {
        let one = server.rest(&format!("a-{role}"), role);
        one.get(&path).expect(200);
        one.get("/v1/lots").expect(200);
        let expect = |answer: crate::kit::Answer, allowed: Option<u16>| match allowed {
            Some(status) => drop(answer.expect(status)),
            None => drop(answer.problem(403, "forbidden")),
        };
        expect(one.post("/v1/lots", &lot()), creates.then_some(201));
        expect(one.bid(id(&made), &bid()), bids.then_some(201));
        expect(one.get("/v1/cluster"), sees_cluster.then_some(200));
        expect(one.act(id(&made), "pause"), creates.then_some(200));
        expect(one.act(id(&made), "resume"), creates.then_some(200));
        let tag = one.get(&path).etag();
        expect(one.patch(&path, Some(&tag), &json!({"title": role})), creates.then_some(200));
        let extend = one.post(&format!("{path}/extend"), &json!({"by_ms": 1000}));
        expect(extend, creates.then_some(200));
        let closing = server.house().create(&lot());
        expect(one.act(id(&closing), "close"), creates.then_some(200));
        let calling_off = server.house().create(&lot());
        expect(one.act(id(&calling_off), "cancel"), creates.then_some(200));
        let waiting = server.house().create(&lot_with(json!({"draft": true})));
        let open = one.act(id(&waiting), "open");
        if creates {
            open.expect(200);
        } else {
            assert!(open.status == 403 || open.status == 404, "{role}: {}", open.text);
        }
    }
}

#[test]
fn anonymous_callers_see_lots_only_where_that_is_configured() {
    let closed = Server::start();
    let answer = closed.nobody().get("/v1/lots");
    answer.problem(401, "unauthenticated");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    drop(closed);
    let open = crate::kit::Setup::new().env("GAVEL__ACCESS__ANONYMOUS", "viewer").start();
    let made = open.house().create(&lot());
    assert_eq!(id(&open.nobody().lot(id(&made))), id(&made));
    open.nobody().get("/v1/lots").expect(200);
    open.nobody().bid(id(&made), &json!({"bid_id": uuid(), "amount": 100})).problem(401, "unauthenticated");
    open.nobody().post("/v1/lots", &lot()).problem(401, "unauthenticated");
}

#[test]
fn health_metrics_and_the_page_need_no_token() {
    let server = Server::start();
    let nobody = server.nobody();
    assert_eq!(nobody.get("/health/live").status, 200);
    assert_eq!(nobody.get("/health/ready").status, 200);
    let metrics = nobody.get("/metrics");
    assert!(metrics.status == 200 && metrics.text.contains("# TYPE"), "{}", metrics.text);
    assert!(nobody.get("/").status < 400);
    nobody.get("/v1/nothing").problem(404, "not_found");
}
