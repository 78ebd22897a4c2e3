//! Wallets in an administrator's hands: adjustments, runs over all of them, lists and ledgers.

use crate::kit::{Answer, Rest, Server, Setup, lot_with, uuid};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Calls of the administrator `root`.
pub(crate) fn root(server: &Server) -> Rest {
    server.rest("root", "admin")
}

pub(crate) fn adjust(server: &Server, bidder: &str, key: &str, body: &Value) -> Answer {
    root(server).post_with(&format!("/v1/wallets/{bidder}/adjustments"), &[("idempotency-key", key)], body)
}

#[track_caller]
pub(crate) fn grant(server: &Server, bidder: &str, amount: i64) {
    adjust(server, bidder, &uuid(), &json!({"currency": "DKP", "amount": amount, "reason": "raid"})).expect(201);
}

pub(crate) fn run(server: &Server, key: &str, body: &Value) -> Answer {
    root(server).post_with("/v1/wallets/runs", &[("idempotency-key", key)], body)
}

/// Balance, held, available.
pub(crate) type Purse = (i64, i64, i64);

/// Every purse, from the export.
#[track_caller]
pub(crate) fn purses(server: &Server) -> BTreeMap<(String, String), Purse> {
    let answer = root(server).get("/v1/wallets?format=csv");
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.header("content-type").unwrap().starts_with("text/csv; charset=utf-8"));
    let mut lines = answer.text.lines();
    assert_eq!(lines.next(), Some("bidder,currency,balance,held,available"));
    let purse = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |at: usize| fields[at].parse::<i64>().unwrap();
        ((fields[0].to_owned(), fields[1].to_owned()), (number(2), number(3), number(4)))
    };
    lines.map(purse).collect()
}

#[track_caller]
pub(crate) fn balance(server: &Server, bidder: &str, currency: &str) -> i64 {
    purses(server).get(&(bidder.to_owned(), currency.to_owned())).map_or(0, |purse| purse.0)
}

/// A wallet's ledger, which must sum to its balance.
#[track_caller]
pub(crate) fn ledger(server: &Server, bidder: &str) -> Vec<Value> {
    let lines = root(server).all(&format!("/v1/wallets/{bidder}/ledger?currency=DKP"), 2);
    let sum: i64 = lines.iter().map(|line| line["amount"].as_i64().unwrap()).sum();
    assert_eq!(sum, balance(server, bidder, "DKP"), "{lines:?}");
    lines
}

/// Makes a lot on which a bidder leads with a maximum that its wallet holds.
fn hold(server: &Server, bidder: &str, max: i64) {
    let lot = server.house().create(&lot_with(json!({"funding": "wallet", "rules": {"start_price": 1}})));
    let bid = json!({"bid_id": uuid(), "amount": 1, "max": max});
    server.rest(bidder, "bidder").bid(lot["id"].as_str().unwrap(), &bid).expect(201);
}

#[test]
fn a_decay_is_rounded_down_leaves_holds_alone_and_happens_once_for_its_key() {
    let server = Server::start();
    for (bidder, amount) in [("alice", 99), ("bob", 9), ("carol", 1000), ("dave", 100), ("erin", 50)] {
        grant(&server, bidder, amount);
    }
    adjust(&server, "erin", "e", &json!({"currency": "DKP", "amount": -60, "reason": "fine", "force": true})).expect(201);
    hold(&server, "dave", 96);
    let decay = json!({"kind": "decay", "currency": "DKP", "basis_points": 1000, "reason": "weekly"});
    let answer = run(&server, "monday", &decay).expect(200);
    let expected = json!({"kind": "decay", "currency": "DKP", "wallets": 5, "changed": 3, "total": -9 - 100 - 4});
    assert_eq!(answer, expected, "9.9 of 99; 0.9 of 9; 100 of 1000; the 4 that nothing holds; nothing of a debt");
    let after = || ["alice", "bob", "carol", "dave", "erin"].map(|bidder| balance(&server, bidder, "DKP"));
    assert_eq!(after(), [90, 9, 900, 96, -10]);
    assert_eq!(run(&server, "monday", &decay).expect(200), expected, "the same key");
    assert_eq!(after(), [90, 9, 900, 96, -10]);
    let other = json!({"kind": "decay", "currency": "DKP", "basis_points": 2000, "reason": "weekly"});
    run(&server, "monday", &other).problem(422, "idempotency_key_reused");

    let fixed = json!({"kind": "decay", "currency": {"code": "DKP", "scale": 0}, "amount": 30, "reason": "weekly"});
    assert_eq!(run(&server, "tuesday", &fixed).expect(200)["total"], -30 - 9 - 30);
    assert_eq!(after(), [60, 0, 870, 96, -10]);
    let cap = json!({"kind": "cap", "currency": "DKP", "amount": 50, "reason": "season"});
    assert_eq!(
        run(&server, "season", &cap).expect(200),
        json!({"kind": "cap", "currency": "DKP", "wallets": 5, "changed": 2, "total": -10 - 820})
    );
    assert_eq!(after(), [50, 0, 50, 96, -10], "what is held stays");
    let kinds: Vec<Value> = ledger(&server, "alice").iter().map(|line| line["kind"].clone()).collect();
    assert_eq!(kinds, ["grant", "decay", "decay", "cap"]);
    let last = ledger(&server, "alice").pop().unwrap();
    assert_eq!(
        (&last["amount"], &last["balance"], &last["reason"], &last["by"]),
        (&json!(-10), &json!(50), &json!("season"), &json!("root"))
    );
    for bidder in ["bob", "carol", "dave", "erin"] {
        ledger(&server, bidder);
    }
}

#[test]
fn a_run_that_was_answered_doubles_nothing_after_a_restart() {
    let mut server = Server::start();
    grant(&server, "alice", 1000);
    grant(&server, "bob", 5);
    let decay = json!({"kind": "decay", "currency": "DKP", "basis_points": 1000, "reason": "weekly"});
    let answer = run(&server, "monday", &decay).expect(200);
    server.kill();
    server.restart();
    assert_eq!(run(&server, "monday", &decay).expect(200), answer);
    assert_eq!((balance(&server, "alice", "DKP"), ledger(&server, "alice").len()), (900, 2));
    let other = json!({"kind": "cap", "currency": "DKP", "amount": 1, "reason": "weekly"});
    server.kill();
    server.restart();
    run(&server, "monday", &other).problem(422, "idempotency_key_reused");
    assert_eq!(balance(&server, "bob", "DKP"), 5, "nor those change that the key never changed");
}

#[test]
fn a_run_says_what_is_wrong_with_it() {
    let server = Server::start();
    grant(&server, "alice", 1000);
    let with = |fields: Value| {
        let mut body = json!({"kind": "decay", "currency": "DKP", "reason": "weekly"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body
    };
    for (fields, word) in [
        (json!({}), "either"),
        (json!({"basis_points": 1, "amount": 1}), "either"),
        (json!({"basis_points": 0}), "basis_points"),
        (json!({"basis_points": 10_001}), "basis_points"),
        (json!({"basis_points": 2.5}), "basis_points"),
        (json!({"amount": 0}), "amount"),
        (json!({"amount": -1}), "amount"),
        (json!({"amount": 9_007_199_254_740_992_u64}), "amount"),
        (json!({"kind": "cap"}), "cap"),
        (json!({"kind": "cap", "basis_points": 1}), "cap"),
        (json!({"kind": "burn", "amount": 1}), "kind"),
        (json!({"amount": 1, "currency": "XYZ"}), "XYZ"),
        (json!({"amount": 1, "currency": {"code": "DKP", "scale": 2}}), "scale"),
        (json!({"amount": 1, "reason": ""}), "reason"),
        (json!({"amount": 1, "more": 1}), "more"),
    ] {
        let problem = run(&server, &uuid(), &with(fields.clone())).problem(422, "invalid");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{fields}: {problem}");
    }
    root(&server).post("/v1/wallets/runs", &with(json!({"amount": 1}))).problem(400, "idempotency_key_missing");
    assert_eq!(ledger(&server, "alice").len(), 1);
}

#[test]
fn adjustments_keep_to_their_rules() {
    let server = Setup::new().env("GAVEL__WALLETS__CAPS", "[{ currency = \"DKP\", most = 1000 }]").start();
    let adjusted = |body: &Value| adjust(&server, "alice", &uuid(), body);
    let with =
        |currency: Value, amount: Value, force: bool| json!({"currency": currency, "amount": amount, "reason": "raid", "force": force});
    adjusted(&with(json!({"code": "DKP", "scale": 0}), json!(100), false)).expect(201);
    for (body, word) in [
        (with(json!({"code": "DKP", "scale": 2}), json!(1), false), "scale"),
        (with(json!("XYZ"), json!(1), false), "XYZ"),
        (with(json!("DKP"), json!(0), false), "zero"),
        (with(json!("DKP"), json!(5), true), "force"),
        (with(json!("DKP"), json!(1.5), false), "amount"),
        (with(json!("DKP"), json!("5"), false), "amount"),
        (with(json!("DKP"), json!(9_007_199_254_740_992_i64), false), "amount"),
        (with(json!("DKP"), json!(-9_007_199_254_740_992_i64), false), "amount"),
    ] {
        let problem = adjusted(&body).problem(422, "invalid");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{body}: {problem}");
    }
    adjusted(&with(json!("DKP"), json!(-101), false)).problem(422, "insufficient_funds");
    // What passes the cap is left out; what passes 2^53 - 1 is refused.
    assert_eq!(adjusted(&with(json!("DKP"), json!(5000), false)).expect(201)["amount"], 900);
    adjusted(&with(json!("USD"), json!(9_007_199_254_740_991_i64), false)).expect(201);
    adjusted(&with(json!("USD"), json!(1), false)).problem(422, "invalid");

    // Overdrawn by force: what is led stays, nothing new is backed.
    hold(&server, "alice", 600);
    adjusted(&with(json!("DKP"), json!(-401), false)).problem(422, "insufficient_funds");
    assert_eq!(adjusted(&with(json!("DKP"), json!(-700), true)).expect(201)["balance"], 300);
    assert_eq!(purses(&server)[&("alice".to_owned(), "DKP".to_owned())], (300, 600, -300));
    let lot = server.house().create(&lot_with(json!({"funding": "wallet", "rules": {"start_price": 1}})));
    let bid = json!({"bid_id": uuid(), "amount": 1});
    server.rest("alice", "bidder").bid(lot["id"].as_str().unwrap(), &bid).problem(422, "insufficient_funds");
    assert_eq!(ledger(&server, "alice").len(), 3);
}

#[test]
fn every_wallet_is_listed_in_pages_and_as_csv() {
    let server = Server::start();
    let mut names: Vec<String> = (0..25).map(|n| format!("bidder-{n:02}")).collect();
    names.push("runs".to_owned());
    names.push("import".to_owned());
    for (n, name) in (1..).zip(&names) {
        grant(&server, name, n);
    }
    adjust(&server, "bidder-00", "usd", &json!({"currency": "USD", "amount": 5, "reason": "raid"})).expect(201);
    names.sort();
    let listed = root(&server).all("/v1/wallets", 4);
    assert_eq!(listed.iter().map(|wallet| wallet["bidder"].as_str().unwrap()).collect::<Vec<_>>(), names);
    for wallet in &listed {
        let alone = root(&server).get(&format!("/v1/wallets/{}", wallet["bidder"].as_str().unwrap())).expect(200);
        assert_eq!(*wallet, alone);
    }
    let usd = root(&server).get("/v1/wallets?currency=USD&limit=1").expect(200);
    assert_eq!(usd["items"][0]["items"], json!([{"currency": "USD", "scale": 2, "balance": 5, "held": 0, "available": 5, "holds": []}]));
    assert_eq!(purses(&server).len(), 28);
    assert_eq!(
        root(&server).get("/v1/wallets?format=csv&currency=USD").text,
        "bidder,currency,balance,held,available\nbidder-00,USD,5,0,5\n"
    );
    for query in ["format=xml", "limit=0", "cursor=!", "cursor=Li4", "more=1"] {
        root(&server).get(&format!("/v1/wallets?{query}")).problem(422, "invalid");
    }
    let head = root(&server).send("HEAD", "/v1/wallets", &[], "");
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    root(&server).send("PUT", "/v1/wallets", &[], "{}").problem(405, "invalid");
}

#[test]
fn a_long_ledger_comes_whole_as_csv() {
    let server = Server::start();
    let rows: String = (0..1200).map(|n| format!("alice,DKP,{},\"run {n}, \"\"late\"\"\"\n", n + 1)).collect();
    let csv = format!("bidder,currency,amount,reason\n{rows}");
    let headers = [("content-type", "text/csv"), ("idempotency-key", "x")];
    root(&server).send("POST", "/v1/wallets/import", &headers, &csv).expect(200);
    for rest in [root(&server), server.rest("alice", "bidder")] {
        let answer = rest.get("/v1/wallets/alice/ledger?format=csv");
        let lines: Vec<&str> = answer.text.lines().collect();
        assert_eq!((answer.status, lines.len(), lines[0]), (200, 1201, "seq,at,currency,kind,amount,balance,lot,bid_id,reason,by"));
        let sum: i64 = lines[1..].iter().map(|line| line.split(',').nth(4).unwrap().parse::<i64>().unwrap()).sum();
        assert_eq!(sum, balance(&server, "alice", "DKP"));
        assert!(lines[1..].iter().any(|line| line.ends_with(",,,\"run 7, \"\"late\"\"\",root")), "{}", lines[8]);
    }
    server.rest("bob", "bidder").get("/v1/wallets/alice/ledger?format=csv").problem(403, "forbidden");
    root(&server).get("/v1/wallets/alice/ledger?format=pdf").problem(422, "invalid");
}

#[test]
fn all_of_it_is_for_administrators() {
    let server = Server::start();
    let decay = json!({"kind": "decay", "currency": "DKP", "amount": 1, "reason": "weekly"});
    let keyed = [("idempotency-key", "k"), ("content-type", "text/csv")];
    for (rest, status, code) in [
        (server.house(), 403, "forbidden"),
        (server.rest("alice", "bidder"), 403, "forbidden"),
        (server.rest("eve", "viewer"), 403, "forbidden"),
        (server.nobody(), 401, "unauthenticated"),
    ] {
        rest.post_with("/v1/wallets/runs", &keyed[..1], &decay).problem(status, code);
        rest.send("POST", "/v1/wallets/import?dry_run=true", &keyed, "bidder,currency,amount\n").problem(status, code);
        rest.get("/v1/wallets").problem(status, code);
        rest.get("/v1/wallets?format=csv").problem(status, code);
    }
}
