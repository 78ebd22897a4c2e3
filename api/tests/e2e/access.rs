//! Who may bid, how much, and under which names: registration for a lot and for a currency, limits, aliases.

use crate::kit::{Answer, Rest, Server, Setup, in_ms, lot_with, until, uuid};
use serde_json::{Value, json};

fn with_access(access: Value) -> Value {
    lot_with(json!({"access": access}))
}

fn register(house: &Rest, lot: &str, bidders: &[&str]) -> Answer {
    house.post(&format!("/v1/lots/{lot}/registrations"), &json!({"bidders": bidders}))
}

fn allow(admin: &Rest, bidder: &str, terms: &Value) -> Answer {
    admin.send("PUT", &format!("/v1/wallets/{bidder}/permits/DKP"), &[], &terms.to_string())
}

fn id(lot: &Value) -> String {
    lot["id"].as_str().unwrap().to_owned()
}

/// The points' permit of a wallet.
fn permit(admin: &Rest, bidder: &str) -> Value {
    let wallet = admin.get(&format!("/v1/wallets/{bidder}")).expect(200);
    wallet["items"].as_array().unwrap().iter().find(|item| item["currency"] == "DKP").unwrap()["permit"].clone()
}

#[tokio::test]
async fn a_lot_takes_bids_of_those_it_registered_also_after_a_crash() {
    let mut server = Server::start();
    let lot = id(&server.house().create(&with_access(json!({"registration": "lot"}))));
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    alice.join(&lot).await;
    let refused = alice.bid_refused(&lot, 100, "not_registered").await;
    assert_eq!((&refused["temporary"], refused["received_at"].is_string()), (&json!(false), true), "{refused}");
    let bid = json!({"bid_id": uuid(), "amount": 100});
    server.rest("alice", "bidder").bid(&lot, &bid).problem(403, "not_registered");

    register(&server.house(), &lot, &["alice", "carol"]).expect(200);
    assert_eq!(alice.event_named(&lot, "registered").await, json!({"bidders": ["alice", "carol"]}));
    register(&server.house(), &lot, &["alice"]).expect(200);
    alice.bid(&lot, 100).await;
    alice.event_named(&lot, "bid_placed").await;
    bob.bid_refused(&lot, 200, "not_registered").await;

    server.kill();
    server.restart();
    let house = server.house();
    let items = house.all(&format!("/v1/lots/{lot}/registrations"), 1);
    assert_eq!(items, [json!({"bidder": "alice"}), json!({"bidder": "carol"})]);
    house.send("DELETE", &format!("/v1/lots/{lot}/registrations/alice"), &[], "");
    let mut alice = server.bidder("alice").await;
    let joined = alice.join(&lot).await;
    assert_eq!((&joined["lot"]["leader"], &joined["lot"]["access"]["registration"]), (&json!("alice"), &json!("lot")), "its lead stands");
    alice.bid_refused(&lot, 300, "not_registered").await;
    server.bidder("carol").await.bid(&lot, 110).await;
}

#[tokio::test]
async fn a_lot_that_takes_no_money_asks_for_a_registration_in_its_currency() {
    let mut server = Server::start();
    let admin = server.admin();
    let lot = id(&server.house().create(&with_access(json!({"registration": "currency"}))));
    let mut alice = server.bidder("alice").await;
    alice.bid_refused(&lot, 100, "not_registered").await;
    assert_eq!(permit(&admin, "alice"), Value::Null);
    let allowed = json!({"registered": true, "spend_limit": 400, "lead_limit": 2, "reason": "vetted"});
    allow(&admin, "alice", &allowed).expect(200);
    allow(&admin, "bob", &json!({"registered": true})).expect(200);

    // No balance is needed, the limit holds all the same.
    alice.bid_refused(&lot, 401, "limit_exceeded").await;
    alice.bid_max(&lot, 100, 300).await;
    let pledged = permit(&admin, "alice");
    assert_eq!(pledged["pledges"], json!([{"lot": lot, "amount": 300}]), "{pledged}");
    assert_eq!(admin.purse("alice").sums(), (0, 0));
    // Outbid, it may bid as much elsewhere.
    server.bidder("bob").await.bid(&lot, 310).await;
    until("the pledge ends", || (permit(&admin, "alice")["pledges"] == json!([])).then_some(()));
    alice.bid(&lot, 400).await;

    server.kill();
    server.restart();
    let admin = server.admin();
    server.house().act(&lot, "close").expect(200);
    admin.settled(&lot);
    assert_eq!(admin.purse("alice").sums(), (0, 0), "no money moved");
    until("it is spent", || (permit(&admin, "alice")["spent"] == 400).then_some(()));
    assert!(admin.ledger("alice").is_empty());
    let next = id(&server.house().create(&with_access(json!({"registration": "currency"}))));
    let refused = server.bidder("alice").await.bid_refused(&next, 100, "limit_exceeded").await;
    assert!(refused["message"].as_str().unwrap().contains("0 of your spend limit"), "{refused}");
}

#[tokio::test]
async fn limits_hold_on_lots_that_wallets_back() {
    let server = Server::start();
    let admin = server.admin();
    admin.grant("alice", 10_000);
    allow(&admin, "alice", &json!({"lead_limit": 1, "spend_limit": 500})).expect(200);
    let lots: Vec<String> = (0..2).map(|_| server.backed(json!({}))).collect();
    let mut alice = server.bidder("alice").await;
    alice.join_wallet("alice").await;
    alice.bid_max(&lots[0], 100, 300).await;
    alice.bid_refused(&lots[1], 100, "limit_exceeded").await;
    alice.bid_refused(&lots[0], 501, "limit_exceeded").await;
    alice.bid_max(&lots[0], 100, 500).await;
    assert_eq!(admin.purse("alice").sums(), (10_000, 500));
    server.house().act(&lots[0], "cancel").expect(200);
    admin.comes_to("alice", 10_000, 0);
    alice.bid(&lots[1], 500).await;
    // A limit that is lowered lets the lead stand; one that goes leaves nothing behind.
    allow(&admin, "alice", &json!({"spend_limit": 100})).expect(200);
    alice.bid_refused(&lots[1], 600, "limit_exceeded").await;
    allow(&admin, "alice", &json!({})).expect(200);
    assert_eq!(permit(&admin, "alice"), Value::Null);
    alice.bid(&lots[1], 600).await;
    server.house().act(&lots[1], "close").expect(200);
    admin.settled(&lots[1]);
    assert_eq!(admin.purse("alice").sums(), (9500, 0), "its price is that of its first bid");
}

/// Every bidder's name that a value has somewhere.
fn mentions(value: &Value, name: &str) -> bool {
    value.to_string().contains(&format!("\"{name}\""))
}

#[tokio::test]
async fn aliases_hide_who_bids_from_everybody_but_the_house() {
    let setup = Setup::new().env("GAVEL__ENGINE__EVICT_AFTER_MS", 200).env("GAVEL__ENGINE__CHECKPOINT_MS", 50);
    let mut server = setup.start();
    let access = json!({"registration": "lot", "aliases": true});
    let lot = id(&server.house().create(&with_access(access)));
    let other = id(&server.house().create(&with_access(json!({"aliases": true}))));
    let (mut alice, mut bob) = (server.bidder("alice").await, server.bidder("bob").await);
    let mut house = server.socket("house", "auctioneer").await;
    let joined = alice.join(&lot).await;
    let alias = joined["lot"]["access"]["alias"].as_str().unwrap().to_owned();
    assert!(alias.starts_with('#') && alias.len() == 9, "{alias}");
    assert_ne!(alice.join(&other).await["lot"]["access"]["alias"], json!(alias), "another on another lot");
    bob.join(&lot).await;
    assert_eq!(house.join(&lot).await["lot"]["access"], json!({"registration": "lot", "aliases": true}));

    register(&server.house(), &lot, &["alice", "bob"]).expect(200);
    let registered = bob.event_named(&lot, "registered").await;
    assert!(mentions(&registered, &alias) && !mentions(&registered, "alice"), "{registered}");
    alice.bid_max(&lot, 100, 300).await;
    let seen = bob.event_named(&lot, "bid_placed").await;
    assert_eq!((&seen["bidder"], &seen["leader"]), (&json!(alias), &json!(alias)));
    assert!(mentions(&house.event_named(&lot, "registered").await, "alice"));
    let known = house.event_named(&lot, "bid_placed").await;
    assert_eq!((&known["bidder"], &known["leader"]), (&json!("alice"), &json!("alice")));

    server.kill();
    server.restart();
    let (viewer, auctioneer) = (server.rest("val", "viewer"), server.house());
    let read = |rest: &Rest| {
        let at = |path: &str| rest.get(&format!("/v1/lots/{lot}{path}")).expect(200);
        let list = rest.get("/v1/lots").expect(200)["items"].as_array().unwrap().iter().find(|item| item["id"] == json!(lot)).cloned();
        [at(""), at("/bids"), at("/events"), list.unwrap()]
    };
    let check = |when: &str| {
        for seen in read(&viewer) {
            assert!(mentions(&seen, &alias) && !mentions(&seen, "alice"), "{when}: {seen}");
        }
        for known in read(&auctioneer) {
            assert!(mentions(&known, "alice") && !mentions(&known, &alias), "{when}: {known}");
        }
    };
    check("open");
    let items = auctioneer.all(&format!("/v1/lots/{lot}/registrations"), 500);
    assert_eq!(items[0], json!({"bidder": "alice", "alias": alias}));
    let mut late = server.socket("val", "viewer").await;
    let position = json!({"epoch": joined["position"]["epoch"], "seq": joined["position"]["seq"]});
    let resumed = late.resume(&lot, &position).await;
    assert!(resumed["recovered"] == true && mentions(&resumed["events"], &alias) && !mentions(&resumed, "alice"), "{resumed}");
    auctioneer.act(&lot, "close").expect(200);
    let closed = late.event_named(&lot, "closed").await;
    assert_eq!(closed["outcome"], json!({"sold": {"winner": alias, "price": 100}}));
    check("closed");
    // Out of memory it is told from the tables.
    until("the lot leaves memory", || (server.admin().get("/v1/cluster").expect(200)["nodes"][0]["lots_live"] == 1).then_some(()));
    check("archived");
    assert_eq!(auctioneer.all(&format!("/v1/lots/{lot}/registrations"), 1).len(), 2);
    assert!(!mentions(&late.join(&lot).await, "alice"));
    register(&auctioneer, &lot, &["carol"]).problem(409, "conflict");
}

#[tokio::test]
async fn what_is_wrong_is_named_and_changes_nothing() {
    let server = Server::start();
    let (house, admin) = (server.house(), server.admin());
    for (access, names) in [
        (json!({"registration": "club"}), "access.registration"),
        (json!({"aliases": "yes"}), "access.aliases"),
        (json!({"secret": true}), "secret"),
        (json!([]), "access"),
        (json!(null), "access"),
    ] {
        let problem = house.post("/v1/lots", &with_access(access.clone())).problem(422, "invalid");
        assert!(problem["detail"].as_str().unwrap().contains(names), "{access}: {problem}");
    }
    let lot = house.create(&with_access(json!({"registration": "lot", "aliases": true})));
    let (lot, path) = (id(&lot), format!("/v1/lots/{}/registrations", id(&lot)));
    let changed = house.patch(&format!("/v1/lots/{lot}"), Some("*"), &json!({"access": {"registration": "none"}}));
    assert!(changed.problem(422, "invalid")["detail"].as_str().unwrap().contains("access"));
    let many: Vec<String> = (0..501).map(|n| format!("b{n}")).collect();
    for body in [
        json!({}),
        json!({"bidders": []}),
        json!({"bidders": "alice"}),
        json!({"bidders": [1]}),
        json!({"bidders": ["#alice"]}),
        json!({"bidders": ["alice", ""]}),
        json!({"bidders": [["alice"]]}),
        json!({"bidders": ["alice"], "more": 1}),
        json!({"bidders": many}),
    ] {
        house.post(&path, &body).problem(422, "invalid");
    }
    assert!(house.all(&path, 500).is_empty());
    let plain = id(&house.create(&lot_with(json!({}))));
    register(&house, &plain, &["alice"]).problem(409, "conflict");
    register(&house, &uuid(), &["alice"]).problem(404, "not_found");
    house.send("DELETE", &format!("{path}/%23x"), &[], "").problem(404, "not_found");
    assert_eq!(house.send("DELETE", &format!("{path}/nobody"), &[], "").status, 204);
    for who in [server.rest("alice", "bidder"), server.rest("val", "viewer")] {
        register(&who, &lot, &["alice"]).problem(403, "forbidden");
        who.get(&path).problem(403, "forbidden");
        allow(&who, "alice", &json!({"registered": true})).problem(403, "forbidden");
    }
    allow(&house, "alice", &json!({"registered": true})).problem(403, "forbidden");

    for terms in [
        json!({"spend_limit": -1}),
        json!({"spend_limit": 1.5}),
        json!({"spend_limit": 9_007_199_254_740_992_u64}),
        json!({"lead_limit": -1}),
        json!({"lead_limit": 4_294_967_296_u64}),
        json!({"registered": 1}),
        json!({"registered": true, "reason": ""}),
        json!({"registered": true, "reason": "a\u{7}"}),
        json!({"limit": 1}),
        json!([]),
    ] {
        allow(&admin, "alice", &terms).problem(422, "invalid");
    }
    admin.send("PUT", "/v1/wallets/alice/permits/ZZZ", &[], "{}").problem(422, "invalid");
    admin.send("PUT", "/v1/wallets/%23x/permits/DKP", &[], "{}").problem(404, "not_found");
    assert_eq!(permit(&admin, "alice"), Value::Null);
    // A lot that is over registers nobody.
    house.act(&lot, "cancel").expect(200);
    register(&house, &lot, &["alice"]).problem(409, "conflict");
    assert!(house.create(&lot_with(json!({"closes_at": in_ms(60_000)}))).get("access").is_none(), "nothing said, nothing shown");
}

#[tokio::test]
async fn a_registration_under_a_key_happens_once() {
    let server = Server::start();
    let house = server.house();
    let lot = id(&house.create(&with_access(json!({"registration": "lot"}))));
    let path = format!("/v1/lots/{lot}/registrations");
    let key = [("idempotency-key", "evening")];
    let first = house.post_with(&path, &key, &json!({"bidders": ["alice"]})).expect(200);
    house.send("DELETE", &format!("{path}/alice"), &[], "");
    assert_eq!(house.post_with(&path, &key, &json!({"bidders": ["alice"]})).expect(200)["position"], first["position"]);
    assert!(house.all(&path, 10).is_empty(), "the answer of then, and nothing done");
    house.post_with(&path, &key, &json!({"bidders": ["bob"]})).problem(422, "idempotency_key_reused");
}
