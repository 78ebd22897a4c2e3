//! Bad input, as tables: each row is answered with a clear error, and nothing has changed.

use crate::kit::{Claims, Handshake, Server, Setup, forge, in_ms, lot, lot_with, unsigned, uuid};
use serde_json::{Value, json};
use std::collections::HashSet;

/// 2^53: the first amount that is too large.
const TOO_LARGE: u64 = 1 << 53;

#[test]
fn a_spec_that_makes_no_sense_is_refused_and_says_where() {
    let server = Server::start();
    let house = server.house();
    let rules = |fields: Value| json!({"rules": fields});
    let soft = |fields: Value| {
        let mut soft = json!({"window_ms": 1000, "mode": "reset", "by_ms": 1000});
        for (name, value) in fields.as_object().unwrap() {
            soft[name] = value.clone();
        }
        json!({"soft_close": soft})
    };
    let table = [
        ("closes_at", json!({"closes_at": in_ms(-1000)})),
        ("closes_at", json!({"closes_at": "2020-01-01T00:00:00.000Z"})),
        ("closes_at", json!({"closes_at": "tomorrow"})),
        ("closes_at", json!({"closes_at": 1_900_000_000})),
        ("closes_at", json!({"closes_at": in_ms(1000), "opens_at": in_ms(2000)})),
        ("increments", rules(json!({"increments": []}))),
        ("increments", rules(json!({"increments": [{"from": 1, "step": 5}]}))),
        ("increments", rules(json!({"increments": [{"from": 0, "step": 5}, {"from": 200, "step": 10}, {"from": 100, "step": 5}]}))),
        ("increments", rules(json!({"increments": [{"from": 0, "step": 5}, {"from": 0, "step": 10}]}))),
        ("increments", rules(json!({"increments": [{"from": 0, "step": 0}]}))),
        ("increments", rules(json!({"increments": 5}))),
        ("step", rules(json!({"increments": [{"from": 0}]}))),
        ("reserve_price", rules(json!({"reserve_price": 99}))),
        ("buy_now_price", rules(json!({"buy_now_price": 99}))),
        ("start_price", rules(json!({"start_price": -1}))),
        ("start_price", rules(json!({"start_price": 1.5}))),
        ("start_price", rules(json!({"start_price": "100"}))),
        ("start_price", rules(json!({"start_price": TOO_LARGE}))),
        ("start_price", rules(json!({"start_price": null}))),
        ("format", rules(json!({"format": "vickrey"}))),
        ("proxy", rules(json!({"proxy": "yes"}))),
        ("unknown", rules(json!({"unknown": 1}))),
        ("hard_close_at", {
            let mut spec = soft(json!({"hard_close_at": in_ms(1000)}));
            spec["closes_at"] = json!(in_ms(60_000));
            spec
        }),
        ("window_ms", soft(json!({"window_ms": 0}))),
        ("by_ms", soft(json!({"by_ms": 0}))),
        ("window_ms", soft(json!({"window_ms": -5}))),
        ("mode", soft(json!({"mode": "sometimes"}))),
        ("unknown", soft(json!({"unknown": 1}))),
        ("max_extensions", soft(json!({"max_extensions": -1}))),
        ("title", json!({"title": ""})),
        ("title", json!({"title": "x".repeat(201)})),
        ("title", json!({"title": "a\u{7}b"})),
        ("title", json!({"title": 5})),
        ("description", json!({"description": "x".repeat(10_001)})),
        ("currency", json!({"currency": {"code": "XYZ", "scale": 0}})),
        ("currency", json!({"currency": {"code": "USD", "scale": 0}})),
        ("currency", json!({"currency": "DKP"})),
        ("funding", json!({"funding": "credit"})),
        ("draft", json!({"draft": "yes"})),
        ("unknown", json!({"unknown": 1})),
        ("status", json!({"status": "open"})),
        ("id", json!({"id": uuid()})),
    ];
    let mut unclear = Vec::new();
    for (field, fields) in &table {
        let problem = house.post("/v1/lots", &lot_with(fields.clone())).problem(422, "invalid");
        let detail = problem["detail"].as_str().unwrap();
        if !detail.contains(field) {
            unclear.push(format!("{fields}: {detail:?} does not name {field}"));
        }
    }
    for missing in ["title", "rules", "closes_at"] {
        let mut spec = lot();
        spec.as_object_mut().unwrap().remove(missing);
        let problem = house.post("/v1/lots", &spec).problem(422, "invalid");
        assert!(problem["detail"].as_str().unwrap().contains(missing), "{problem}");
    }
    for missing in ["format", "start_price"] {
        let mut spec = lot();
        spec["rules"].as_object_mut().unwrap().remove(missing);
        let problem = house.post("/v1/lots", &spec).problem(422, "invalid");
        assert!(problem["detail"].as_str().unwrap().contains(missing), "{problem}");
    }
    assert_eq!(house.get("/v1/lots").expect(200)["items"], json!([]));
    assert!(unclear.is_empty(), "{unclear:#?}");
    house.create(&lot_with(json!({"title": "ä".repeat(200), "description": "x".repeat(10_000)})));
}

#[test]
fn a_body_that_is_no_json_is_refused() {
    let server = Server::start();
    let house = server.house();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in ["", "{", "nonsense", "[]", "null", "5", "{\"title\":\"a\",\"title\":\"b\"}", "\u{0}", &deep] {
        house.post_text("/v1/lots", &[], body).problem(422, "invalid");
    }
    assert_eq!(house.get("/v1/lots").expect(200)["items"], json!([]));
}

#[test]
fn a_body_beyond_a_mebibyte_is_too_large() {
    let server = Server::start();
    let house = server.house();
    let mut spec = lot();
    spec["description"] = json!("x".repeat(1 << 20));
    house.post("/v1/lots", &spec).problem(413, "too_large");
    let body = lot().to_string();
    let padded = format!("{body}{}", " ".repeat((1 << 20) - body.len()));
    house.post_text("/v1/lots", &[], &padded).expect(201);
}

#[tokio::test]
async fn a_bad_bid_is_refused_the_same_over_rest_and_socket() {
    let server = Server::start();
    let made = server.house().create(&lot());
    let lot = made["id"].as_str().unwrap();
    let rest = server.rest("alice", "bidder");
    let mut socket = server.bidder("alice").await;
    let table = [
        json!({"amount": 100.5}),
        json!({"amount": 1e2}),
        json!({"amount": -100}),
        json!({"amount": TOO_LARGE}),
        json!({"amount": u64::MAX}),
        json!({"amount": "100"}),
        json!({"amount": null}),
        json!({"amount": [100]}),
        json!({"amount": true}),
        json!({"max": 99}),
        json!({"max": -1}),
        json!({"max": 1.5}),
        json!({"max": TOO_LARGE}),
        json!({"max": "200"}),
        json!({"bid_id": "x"}),
        json!({"bid_id": 5}),
        json!({"bid_id": null}),
        json!({"retry": "yes"}),
        json!({"unknown": 1}),
    ];
    for fields in table {
        let mut bid = json!({"bid_id": uuid(), "amount": 100});
        for (name, value) in fields.as_object().unwrap() {
            bid[name] = value.clone();
        }
        rest.bid(lot, &bid).problem(422, "invalid");
        bid["lot"] = json!(lot);
        socket.error(json!({"bid": bid}), "invalid").await;
    }
    for missing in ["bid_id", "amount"] {
        let mut bid = json!({"bid_id": uuid(), "amount": 100, "lot": lot});
        bid.as_object_mut().unwrap().remove(missing);
        socket.error(json!({"bid": bid}), "invalid").await;
        bid.as_object_mut().unwrap().remove("lot");
        rest.bid(lot, &bid).problem(422, "invalid");
    }
    // Numbers that a lenient parser would round or wrap.
    for text in ["100.0", "1e2", "9007199254740993", "18446744073709551716", "1E400"] {
        let body = format!(r#"{{"bid_id":"{}","amount":{text}}}"#, uuid());
        rest.post_text(&format!("/v1/lots/{lot}/bids"), &[], &body).problem(422, "invalid");
    }
    assert_eq!(server.house().lot(lot), made);
    socket.bid(lot, (1 << 53) - 1).await;
}

#[test]
fn an_amount_at_the_end_of_the_scale_leaves_no_room_above() {
    let server = Server::start();
    let (alice, bob) = (server.rest("alice", "bidder"), server.rest("bob", "bidder"));
    let made = server.house().create(&lot());
    let lot = made["id"].as_str().unwrap();
    let most = TOO_LARGE - 1;
    alice.bid(lot, &json!({"bid_id": uuid(), "amount": most})).expect(201);
    // There is nothing above; the same again can at most come second.
    bob.bid(lot, &json!({"bid_id": uuid(), "amount": most}));
    let seen = server.house().lot(lot);
    assert_eq!((&seen["price"], &seen["leader"]), (&json!(most), &json!("alice")));
}

#[test]
fn an_action_with_a_bad_body_does_nothing() {
    let server = Server::start();
    let house = server.house();
    let made = house.create(&lot());
    let lot = made["id"].as_str().unwrap();
    let table = [
        ("pause", json!({"reason": 5})),
        ("pause", json!({"unknown": 1})),
        ("close", json!([])),
        ("extend", json!({})),
        ("extend", json!({"by_ms": 0})),
        ("extend", json!({"by_ms": -5})),
        ("extend", json!({"by_ms": 1.5})),
        ("extend", json!({"by_ms": "1000"})),
        ("extend", json!({"by_ms": TOO_LARGE})),
    ];
    for (action, body) in table {
        house.post(&format!("/v1/lots/{lot}/{action}"), &body).problem(422, "invalid");
    }
    assert_eq!(house.lot(lot), made);
    house.post(&format!("/v1/lots/{lot}/explode"), &json!({})).problem(404, "not_found");
}

#[test]
fn what_is_not_there_is_not_found() {
    let server = Server::start();
    let (house, alice) = (server.house(), server.rest("alice", "bidder"));
    for lot in [uuid(), "x".to_owned(), "%2e%2e".to_owned()] {
        for path in ["", "/bids", "/events"] {
            house.get(&format!("/v1/lots/{lot}{path}")).problem(404, "not_found");
        }
        alice.bid(&lot, &json!({"bid_id": uuid(), "amount": 100})).problem(404, "not_found");
        house.act(&lot, "close").problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_token_that_is_not_ours_opens_nothing() {
    let server = Server::start();
    let dir = server.dir().to_owned();
    let good = || Claims::good();
    let now = jiff::Timestamp::now().as_second();
    let ours = |claims: Claims| forge(&claims, Ok(&dir));
    let table = [
        ("expired", ours(good().with("exp", json!(now - 10)))),
        ("foreign", forge(&good(), Err(b"0123456789abcdef0123456789abcdef"))),
        ("unsigned", unsigned(&good())),
        ("unsigned admin", unsigned(&good().with("role", json!("admin")))),
        ("another audience", ours(good().with("aud", json!("other")))),
        ("no audience", ours(good().with("aud", Value::Null))),
        ("no expiry", ours(good().with("exp", Value::Null))),
        ("no subject", ours(good().with("sub", Value::Null))),
        ("no role", ours(good().with("role", Value::Null))),
        ("unknown role", ours(good().with("role", json!("root")))),
        ("odd subject", ours(good().with("sub", json!("../x")))),
        ("not yet", ours(good().with("nbf", json!(now + 100)))),
        ("cut", ours(good()).trim_end_matches(|c: char| c != '.').to_owned()),
        ("no token", "x".to_owned()),
    ];
    let lot = server.house().create(&lot())["id"].as_str().unwrap().to_owned();
    for (name, token) in &table {
        let rest = server.rest_with(token);
        for answer in
            [rest.get("/v1/lots"), rest.bid(&lot, &json!({"bid_id": uuid(), "amount": 100})), rest.post("/v1/lots", &lot_with(json!({})))]
        {
            let problem = answer.problem(401, "unauthenticated");
            assert!(!answer.text.contains(token.as_str()) || token == "x", "{name}: the token is told back: {problem}");
        }
        let upgrade = Handshake::default().bearer(token).open(&server.address()).await.err();
        assert_eq!(upgrade.map(|(status, _)| status), Some(401), "{name}");
        let mut socket = Handshake::default().open(&server.address()).await.unwrap();
        socket.error(json!({"auth": {"token": token}}), "unauthenticated").await;
    }
    assert_eq!(server.house().lot(&lot)["bid_count"], 0);
    server.rest_with(&ours(good())).bid(&lot, &json!({"bid_id": uuid(), "amount": 100})).expect(201);
}

#[test]
fn a_token_in_the_query_opens_nothing() {
    let server = Server::start();
    let token = server.token("root", "admin");
    for name in ["token", "access_token"] {
        let answer = server.nobody().get(&format!("/v1/lots?{name}={token}"));
        assert!(answer.status == 401 || answer.status == 422, "{}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_at_once_end_one_socket_and_hurt_no_other() {
    const REQUESTS: usize = 10_000;
    const A_FRAME: usize = 400;
    // Who is refused for so long is closed: here with the second wave at the latest.
    let server = Setup::new().env("GAVEL__LIMITS__RATE_LIMITED_CLOSE_MS", 500).start();
    let lot = server.house().create(&lot())["id"].as_str().unwrap().to_owned();
    let (flood, mut alice) = (server.bidder("flood").await, server.bidder("alice").await);
    let bid = json!({"lot": lot, "bid_id": uuid(), "amount": 1});
    let frame = move |ids: std::ops::Range<usize>| ids.map(|id| json!({"id": id, "bid": bid}).to_string()).collect::<Vec<_>>().join("\n");
    let flooding = tokio::spawn(async move {
        let mut flood = flood;
        for wave in 0..100 {
            let first = wave * REQUESTS;
            let frames = (first..first + REQUESTS).step_by(A_FRAME).map(|first| frame(first..first + A_FRAME)).collect();
            let (replies, code) = flood.flood(frames, REQUESTS).await;
            let mut answered = HashSet::new();
            let mut limited = 0;
            for reply in &replies {
                let (id, error) = (reply["id"].as_u64().unwrap() as usize, &reply["error"]);
                assert!((first..first + REQUESTS).contains(&id), "an answer that was not asked for: {reply}");
                assert!(answered.insert(id), "answered twice: {reply}");
                match error["code"].as_str() {
                    Some("rate_limited") => {
                        assert!(error["retry_after_ms"].as_u64().unwrap() > 0, "{error}");
                        limited += 1;
                    }
                    Some("bid_too_low") => {}
                    _ => panic!("{reply}"),
                }
            }
            assert!(wave > 0 || limited > REQUESTS / 2 || code.is_some(), "{limited} of {REQUESTS} were refused");
            match code {
                Some(code) => return code,
                None => assert_eq!(answered.len(), REQUESTS, "one answer each"),
            }
        }
        panic!("it may go on for ever");
    });
    // Meanwhile another one bids, and is served each time.
    let mut served = 0;
    while !flooding.is_finished() || served == 0 {
        alice.bid_max(&lot, 100, 100 + served).await;
        served += 1;
    }
    assert_eq!(flooding.await.unwrap(), 4502);
    assert_eq!(server.house().lot(&lot)["bid_count"], served);
}
