//! The binary subprotocol over a real socket, with a client that knows of it only what `docs/bincode.md` says.

use crate::kit::{Handshake, Server, Socket, bincode, in_ms, lot, lot_with, now_ms, parse_ms, uuid};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

const BINCODE: &str = "gavel.bincode.v1";

fn open_lot(server: &Server) -> String {
    server.house().create(&lot())["id"].as_str().unwrap().to_owned()
}

async fn socket(server: &Server, sub: &str, role: &str) -> Socket {
    let shake = Handshake::default().bearer(&server.token(sub, role)).protocol(BINCODE);
    let socket = shake.open(&server.address()).await.unwrap();
    assert_eq!(socket.protocol.as_deref(), Some(BINCODE));
    socket
}

#[tokio::test]
async fn a_socket_authenticates_bids_and_hears_what_came_of_it() {
    let server = Server::start();
    let made = server.house().create(&lot());
    let lot = made["id"].as_str().unwrap();
    let mut alice = Handshake::default().protocol(BINCODE).open(&server.address()).await.unwrap();
    alice.error(json!({"join": {"lot": lot}}), "unauthenticated").await;
    alice.error(json!({"auth": {"token": "nonsense"}}), "unauthenticated").await;
    let session = alice.ok(json!({"auth": {"token": server.token("alice", "bidder")}})).await;
    assert_eq!((&session["session"]["bidder"], &session["session"]["role"]), (&json!("alice"), &json!("bidder")));
    assert_eq!(session["session"]["limits"]["frame_bytes"], 65_536);

    let joined = alice.join(lot).await;
    assert_eq!((&joined["lot"]["closes_at"], &joined["position"]), (&made["closes_at"], &made["position"]));
    assert_eq!((&joined["recovered"], &joined["lot"]["own"]), (&json!(false), &Value::Null));
    let bid = json!({"lot": lot, "bid_id": uuid(), "amount": 150, "max": 400});
    let receipt = alice.bid_as(bid.clone()).await;
    for (name, value) in bid.as_object().unwrap() {
        assert_eq!(receipt[name], *value, "{name} of {receipt}");
    }
    assert_eq!((&receipt["price"], &receipt["leading"], &receipt["deadline"]), (&json!(150), &json!(true), &made["closes_at"]));
    let event = alice.event(lot).await;
    assert_eq!((&event["seq"], &event["at"]), (&receipt["seq"], &receipt["received_at"]));
    let expected = json!({
        "bidder": "alice", "amount": 150, "price": 150, "leader": "alice", "bid_count": 1, "minimum_bid": 160, "reserve_met": null,
    });
    assert_eq!(event["bid_placed"], expected);
    assert_eq!(alice.own(lot).await, json!({"leading": true, "max": 400}));

    // Sent again, on REST too, it is the same bid.
    let mut again = bid.clone();
    again["retry"] = json!(true);
    assert_eq!(alice.bid_as(again).await, receipt);
    let over_rest = server.rest("alice", "bidder").bid(lot, &json!({"bid_id": bid["bid_id"], "amount": 150, "max": 400}));
    assert_eq!(over_rest.expect(201), receipt);

    let mut bob = socket(&server, "bob", "bidder").await;
    let refused = bob.bid_refused(lot, 159, "bid_too_low").await;
    assert_eq!((&refused["minimum"], &refused["temporary"]), (&json!(160), &json!(false)), "{refused}");
    assert_eq!(refused["deadline"], made["closes_at"]);
    assert!(refused["received_at"].is_string() && refused.get("retry_after_ms").is_none(), "{refused}");
    bob.bid(lot, 410).await;
    assert_eq!(alice.event_named(lot, "bid_placed").await["leader"], "bob");
    assert_eq!(alice.own(lot).await, json!({"leading": false, "max": 400}));

    assert_eq!(alice.ok(json!({"leave": {"lot": lot}})).await, json!({"left": {"lot": lot}}));
    bob.bid_max(lot, 410, 500).await;
    let time = alice.ok(json!({"time": {}})).await;
    assert!((parse_ms(&time["time"]["server_time"]) - now_ms()).abs() < 2000, "{time}");
    assert!(alice.events.is_empty(), "it has left: {:?}", alice.events);
}

#[tokio::test]
async fn both_subprotocols_say_the_same() {
    let server = Server::start();
    let house = server.house();
    let draft = lot_with(json!({
        "draft": true, "rules": {"reserve_price": 300, "buy_now_price": 5000},
        "soft_close": {"window_ms": 3_000_000, "mode": "reset", "by_ms": 900_000, "max_extensions": 2, "hard_close_at": null},
    }));
    let id = house.create(&draft)["id"].as_str().unwrap().to_owned();
    let mut pair = [socket(&server, "house", "auctioneer").await, server.socket("house", "auctioneer").await];
    for socket in &mut pair {
        assert_eq!(socket.join(&id).await["lot"]["status"], "draft");
    }
    let path = format!("/v1/lots/{id}");
    let rules = json!({"reserve_price": 400, "increments": [{"from": 0, "step": 5}, {"from": 100, "step": 10}]});
    let times = json!({"opens_at": null, "closes_at": in_ms(900_000), "soft_close": {"mode": "add", "hard_close_at": in_ms(9_000_000)}});
    for change in [json!({"title": "Other", "description": "\u{1f528}", "rules": rules}), times] {
        house.patch(&path, Some("*"), &change).expect(200);
    }
    house.act(&id, "open").expect(200);
    let (alice, bob) = (server.rest("alice", "bidder"), server.rest("bob", "bidder"));
    alice.bid(&id, &json!({"bid_id": uuid(), "amount": 100, "max": 350})).expect(201);
    house.patch(&path, Some("*"), &json!({"rules": {"reserve_price": 320}})).expect(200);
    house.post(&format!("{path}/pause"), &json!({"reason": "a break"})).expect(200);
    house.act(&id, "resume").expect(200);
    bob.bid(&id, &json!({"bid_id": uuid(), "amount": 360, "max": 380})).expect(201);
    let closed = house.act(&id, "close").expect(200);

    let last = closed["position"]["seq"].as_u64().unwrap();
    let mut names = Vec::new();
    let (binary, text) = pair.split_at_mut(1);
    for seq in 1..=last {
        let event = text[0].event(&id).await;
        assert_eq!(binary[0].event(&id).await, event);
        assert_eq!(event["seq"], seq);
        names.push(crate::kit::event_name(&event).to_owned());
    }
    for name in ["changed", "opened", "bid_placed", "extended", "paused", "resumed", "closed"] {
        assert!(names.iter().any(|known| known == name), "no {name} among {names:?}");
    }
    // Joined from the first event on: what both have missed, and the lot after its end.
    let first = json!({"epoch": closed["position"]["epoch"], "seq": 1});
    let mut joined = [binary[0].resume(&id, &first).await, text[0].resume(&id, &first).await];
    for joined in &mut joined {
        assert_eq!((&joined["recovered"], &joined["lot"]["outcome"]["sold"]["winner"]), (&json!(true), &json!("bob")), "{joined}");
        joined["server_time"] = Value::Null;
    }
    assert_eq!(joined[0], joined[1]);
}

#[tokio::test]
async fn a_text_frame_on_it_is_1003() {
    let server = Server::start();
    let mut alice = socket(&server, "alice", "bidder").await;
    alice.send_message(Message::text(r#"{"id":1,"time":{}}"#)).await.unwrap();
    assert_eq!(alice.closed().await, 1003);
}

#[tokio::test]
async fn what_has_an_id_is_answered_and_the_socket_stays() {
    let server = Server::start();
    let lot = open_lot(&server);
    let mut alice = socket(&server, "alice", "bidder").await;
    let whole = |id: u64| bincode::request(&json!({"id": id, "bid": {"lot": lot, "bid_id": uuid(), "amount": 100, "max": 200}}));
    // Where things are in that request: a byte each for id and variant, two ids of 17, amount, option, maximum, retry.
    let with = |at: usize, byte: u8| {
        let mut bytes = whole(1);
        assert_eq!(bytes.len(), 40);
        bytes[at] = byte;
        bytes
    };
    let table: [(&str, Vec<u8>); 12] = [
        ("nothing after the id", vec![2]),
        ("an unknown variant", vec![2, 5]),
        ("a variant out of all bounds", vec![2, 253, 255, 255, 255, 255, 255, 255, 255, 255]),
        ("text", b"\x02hello".to_vec()),
        ("a request that was cut off", whole(1)[..39].to_vec()),
        ("bytes after the request", [whole(1), vec![0]].concat()),
        ("an id of a lot with 15 bytes", with(2, 15)),
        ("an option that is neither", with(37, 2)),
        ("a flag that is neither", with(39, 2)),
        ("an amount of 2^53", [&whole(1)[..36], [253, 0, 0, 0, 0, 0, 0, 32, 0].as_slice(), &[0, 0]].concat()),
        ("a token longer than any frame", vec![2, 0, 253, 255, 255, 255, 255, 255, 255, 255, 127]),
        ("a token that is not UTF-8", vec![2, 0, 2, 0xc3, 0x28]),
    ];
    for (what, bytes) in table {
        alice.send_binary(bytes).await.unwrap();
        let error = alice.reply(1).await.expect_err(what);
        assert_eq!((&error["code"], &error["temporary"]), (&json!("invalid"), &json!(false)), "{what}: {error}");
    }
    // Any id of 64 bits comes back.
    for id in [0, -1, 251, i64::from(u32::MAX), i64::MAX, i64::MIN] {
        let time = bincode::request(&json!({"id": id, "time": {}}));
        alice.send_binary(time).await.unwrap();
        assert!(alice.reply(id).await.unwrap()["time"].is_object());
    }
    assert_eq!(server.house().lot(&lot)["bid_count"], 0, "nothing was bid");
}

#[tokio::test]
async fn a_frame_without_an_id_is_a_protocol_error() {
    let server = Server::start();
    let table: [&[u8]; 5] = [&[], &[251, 1], &[253, 1, 2, 3, 4, 5, 6, 7], &[254; 17], &[255, 0]];
    for bytes in table {
        let mut alice = socket(&server, "alice", "bidder").await;
        alice.send_binary(bytes.to_vec()).await.unwrap();
        assert_eq!(alice.closed().await, 4501, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_1009() {
    let server = Server::start();
    let mut alice = socket(&server, "alice", "bidder").await;
    let frame = |length: usize| bincode::request(&json!({"id": 9, "auth": {"token": "x".repeat(length)}}));
    alice.send_binary(frame(65_000)).await.unwrap();
    assert_eq!(alice.reply(9).await.unwrap_err()["code"], "unauthenticated");
    alice.send_binary(frame(65_536)).await.unwrap();
    assert_eq!(alice.closed().await, 1009);
}
