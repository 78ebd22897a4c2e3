//! What wallets refuse to take: over REST, and what a socket may join.

use crate::kit::{Server, backed_with, uuid};
use serde_json::{Value, json};

const MAX: i64 = (1 << 53) - 1;

#[test]
fn an_adjustment_is_well_formed_or_refused() {
    let server = Server::start();
    let admin = server.admin();
    let good = json!({"currency": "DKP", "amount": 5, "reason": "raid"});
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let without = |name: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(name);
        body
    };
    let table = [
        ("an unknown currency", with("currency", json!("GOLD"))),
        ("a currency's other case", with("currency", json!("dkp"))),
        ("no currency", without("currency")),
        ("a currency that is a number", with("currency", json!(1))),
        ("another scale", with("currency", json!({"code": "USD", "scale": 0}))),
        ("nothing to do", with("amount", json!(0))),
        ("nothing to do, below zero", with("amount", json!(-0.0))),
        ("a fraction", with("amount", json!(1.5))),
        ("an amount with a fraction of zero", with("amount", json!(5.0))),
        ("beyond what is exact", with("amount", json!(MAX + 1))),
        ("below what is exact", with("amount", json!(-MAX - 1))),
        ("beyond 64 bits", with("amount", json!(u64::MAX))),
        ("an amount in quotes", with("amount", json!("5"))),
        ("no amount", without("amount")),
        ("a forced grant", with("force", json!(true))),
        ("a force that is none", with("force", json!("yes"))),
        ("no reason", without("reason")),
        ("an empty reason", with("reason", json!(""))),
        ("a reason of null", with("reason", json!(null))),
        ("a line break in the reason", with("reason", json!("a\nb"))),
        ("a control in the reason", with("reason", json!("a\u{7}b"))),
        ("another control in the reason", with("reason", json!("a\u{85}b"))),
        ("201 characters", with("reason", json!("\u{2694}".repeat(201)))),
        ("an unknown field", with("bidder", json!("alice"))),
        ("a list", json!([good])),
        ("null", Value::Null),
    ];
    for (what, body) in table {
        let answer = admin.adjust("alice", &body);
        assert_eq!(answer.problem(422, "invalid")["status"], 422, "{what}");
    }
    for text in [
        "",
        "{",
        "{\"currency\":\"DKP\",\"amount\":1e2,\"reason\":\"r\"}",
        "{\"amount\":1,\"amount\":2,\"currency\":\"DKP\",\"reason\":\"r\"}",
    ] {
        admin.post_text("/v1/wallets/alice/adjustments", &[("idempotency-key", &uuid())], text).problem(422, "invalid");
    }
    assert_eq!((admin.purse("alice").sums(), admin.ledger("alice").len()), ((0, 0), 0), "none of it happened");

    // The edges that are still in.
    admin.adjust("alice", &with("reason", json!("\u{2694}".repeat(200)))).expect(201);
    admin.adjust("alice", &with("amount", json!(MAX - 5))).expect(201);
    assert_eq!(admin.purse("alice").sums(), (MAX, 0));
    admin.adjust("alice", &good).problem(422, "invalid");
    admin.adjust("alice", &with("amount", json!(-MAX))).expect(201);
    admin.adjust("alice", &json!({"currency": {"code": "USD", "scale": 2}, "amount": 1, "reason": "r", "force": false})).expect(201);
    admin.adjust("alice", &with("amount", json!(-1))).problem(422, "insufficient_funds");
    for _ in 0..2 {
        let _ = admin.adjust("alice", &json!({"currency": "DKP", "amount": -MAX, "reason": "r", "force": true}));
    }
    assert_eq!(admin.purse("alice").sums(), (-MAX, 0), "the balance stays in its range");
}

#[test]
fn an_adjustment_is_made_once_for_a_key() {
    let server = Server::start();
    let admin = server.admin();
    let give = |amount: i64| json!({"currency": "DKP", "amount": amount, "reason": "raid"});
    let path = "/v1/wallets/alice/adjustments";
    admin.post(path, &give(5)).problem(400, "idempotency_key_missing");
    for bad in ["", "a b", "\u{e9}", &"k".repeat(256)] {
        admin.adjust_as(bad, "alice", &give(5)).problem(422, "invalid");
    }
    let key = uuid();
    let line = admin.adjust_as(&key, "alice", &give(5)).expect(201);
    assert_eq!(admin.adjust_as(&key, "alice", &give(5)).expect(201), line);
    admin.adjust_as(&key, "alice", &give(6)).problem(422, "idempotency_key_reused");
    assert_eq!(admin.purse("alice").sums(), (5, 0));
    // A key is its sender's, for that path: elsewhere it names something else.
    admin.adjust_as(&key, "bob", &give(6)).expect(201);
    server.rest("other", "admin").adjust_as(&key, "alice", &give(7)).expect(201);
    assert_eq!((admin.purse("alice").sums(), admin.purse("bob").sums()), ((12, 0), (6, 0)));
    // What was refused is no use of the key.
    let key = uuid();
    admin.adjust_as(&key, "alice", &give(-13)).problem(422, "insufficient_funds");
    admin.adjust_as(&key, "alice", &give(-12)).expect(201);
}

#[test]
fn a_wallet_is_seen_by_its_owner_and_administrators_and_changed_by_administrators() {
    let server = Server::start();
    server.admin().grant("alice", 5);
    let give = json!({"currency": "DKP", "amount": 5, "reason": "raid"});
    for (sub, role, sees) in [
        ("alice", "bidder", true),
        ("bob", "bidder", false),
        ("alice", "viewer", false),
        ("eve", "viewer", false),
        ("house", "auctioneer", false),
        ("alice", "auctioneer", false),
        ("root", "admin", true),
    ] {
        let rest = server.rest(sub, role);
        for path in ["/v1/wallets/alice", "/v1/wallets/alice/ledger"] {
            let answer = rest.get(path);
            if sees {
                answer.expect(200);
            } else {
                answer.problem(403, "forbidden");
            }
        }
        if role != "admin" {
            rest.adjust("alice", &give).problem(403, "forbidden");
        }
    }
    let nobody = server.nobody();
    for path in ["/v1/wallets/alice", "/v1/wallets/alice/ledger"] {
        nobody.get(path).problem(401, "unauthenticated");
    }
    nobody.adjust("alice", &give).problem(401, "unauthenticated");
    let admin = server.admin();
    assert_eq!(admin.purse("alice").sums(), (5, 0));
    for name in ["a%20b", "-a", &"a".repeat(65)] {
        admin.get(&format!("/v1/wallets/{name}")).problem(404, "not_found");
        admin.adjust(name, &give).problem(404, "not_found");
    }
    // A wallet in which nothing ever happened is an empty one.
    let empty = admin.get("/v1/wallets/nobody").expect(200);
    let codes: Vec<_> = empty["items"].as_array().unwrap().iter().map(|item| item["currency"].as_str().unwrap()).collect();
    assert_eq!(codes, ["DKP", "USD", "EUR"], "{empty}");
    assert_eq!(admin.ledger("nobody").len(), 0);
    for query in ["?limit=0", "?limit=501", "?cursor=x", "?cursor=-1", "?colour=red"] {
        admin.get(&format!("/v1/wallets/alice/ledger{query}")).problem(422, "invalid");
    }
}

#[test]
fn what_backs_a_lot_is_fixed() {
    let server = Server::start();
    let house = server.house();
    let euro = json!({"currency": {"code": "EUR", "scale": 2}});
    let open = house.create(&backed_with(json!({})));
    let path = format!("/v1/lots/{}", open["id"].as_str().unwrap());
    house.patch(&path, Some("*"), &json!({"funding": "open"})).problem(422, "invalid");
    house.patch(&path, Some("*"), &euro).problem(409, "conflict");
    let draft = house.create(&backed_with(json!({"draft": true})));
    let path = format!("/v1/lots/{}", draft["id"].as_str().unwrap());
    house.patch(&path, Some("*"), &json!({"funding": "open"})).problem(422, "invalid");
    assert_eq!(house.patch(&path, Some("*"), &euro).expect(200)["currency"], euro["currency"], "before it opens");
    for funding in [json!("purse"), json!(""), json!(1)] {
        house.post("/v1/lots", &crate::kit::lot_with(json!({"funding": funding}))).problem(422, "invalid");
    }
}

#[tokio::test]
async fn a_socket_joins_its_own_wallet_alone() {
    let server = Server::start();
    let lot = server.backed(json!({}));
    let mut nobody = crate::kit::Handshake::default().open(&server.address()).await.unwrap();
    nobody.error(json!({"join": {"wallet": "alice"}}), "unauthenticated").await;
    for (sub, role) in [("alice", "viewer"), ("alice", "auctioneer"), ("root", "admin"), ("bob", "bidder")] {
        server.socket(sub, role).await.error(json!({"join": {"wallet": "alice"}}), "forbidden").await;
    }
    let mut alice = server.bidder("alice").await;
    for body in [
        json!({}),
        json!({"wallet": null}),
        json!({"wallet": 1}),
        json!({"wallet": "alice", "lot": lot}),
        json!({"wallet": "alice", "position": {"epoch": 1, "seq": 1}}),
        json!({"wallet": "alice", "currency": "DKP"}),
    ] {
        alice.error(json!({"join": body}), "invalid").await;
        alice.error(json!({"leave": body}), "invalid").await;
    }
    for wallet in ["bob", "", "Alice", "alice ", "-", &"a".repeat(65)] {
        alice.error(json!({"join": {"wallet": wallet}}), "forbidden").await;
    }
    assert_eq!(alice.join_wallet("alice").await.sums(), (0, 0));
    server.admin().grant("bob", 5);
    server.admin().grant("alice", 7);
    assert_eq!(alice.purse().await.sums(), (7, 0), "its own alone");
}
