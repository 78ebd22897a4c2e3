//! What ends a socket, and what does not: frames that can't be answered, limits, silence, expired tokens, draining.

use crate::kit::{Handshake, Server, Setup, lot, uuid};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

fn open_lot(server: &Server) -> String {
    server.house().create(&lot())["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_frame_without_an_id_is_a_protocol_error() {
    let server = Server::start();
    for bad in [
        r#"{"time":{}}"#,
        r#"{"id":"1","time":{}}"#,
        r#"{"id":null,"time":{}}"#,
        r#"{"id":1.5,"time":{}}"#,
        r#"{"id":1,"#,
        "nonsense",
        "[1]",
        "7",
    ] {
        let mut alice = server.bidder("alice").await;
        alice.send_text(bad).await.unwrap();
        assert_eq!(alice.closed().await, 4501, "{bad}");
    }
}

#[tokio::test]
async fn what_has_an_id_is_answered_and_the_socket_stays() {
    let server = Server::start();
    let lot = open_lot(&server);
    let mut alice = server.bidder("alice").await;
    for bad in [
        json!({}),
        json!({"fly": {}}),
        json!({"time": {}, "join": {"lot": lot}}),
        json!({"join": {}}),
        json!({"join": {"lot": "x"}}),
        json!({"join": {"lot": lot, "unknown": 1}}),
        json!({"join": {"lot": lot, "position": {"epoch": 1}}}),
        json!({"join": {"lot": lot, "position": {"epoch": -1, "seq": 1}}}),
        json!({"time": {"unknown": 1}}),
        json!({"time": null}),
        json!({"time": {}, "unknown": 1}),
        json!({"leave": {"lot": 5}}),
        json!({"auth": {}}),
    ] {
        alice.error(bad, "invalid").await;
    }
    alice.error(json!({"join": {"lot": uuid()}}), "not_found").await;
    alice.catch_up().await;
}

#[tokio::test]
async fn a_binary_frame_on_the_json_subprotocol_is_1003() {
    let server = Server::start();
    let mut alice = server.bidder("alice").await;
    alice.send_message(Message::binary(br#"{"id":1,"time":{}}"#.to_vec())).await.unwrap();
    assert_eq!(alice.closed().await, 1003);
}

#[tokio::test]
async fn a_frame_of_64_kib_is_taken_and_a_longer_one_is_1009() {
    let server = Server::start();
    let mut alice = server.bidder("alice").await;
    let frame = |bytes: usize| {
        let request = json!({"id": 9, "time": {}}).to_string();
        format!("{request}{}", " ".repeat(bytes - request.len()))
    };
    alice.send_text(frame(64 << 10)).await.unwrap();
    alice.reply(9).await.unwrap();
    alice.send_text(frame((64 << 10) + 1)).await.unwrap();
    assert_eq!(alice.closed().await, 1009);
    let mut alice = server.bidder("alice").await;
    // The server may close before all of it was sent.
    let _ = alice.send_text(frame(1 << 20)).await;
    assert_eq!(alice.closed().await, 1009);
}

#[tokio::test]
async fn a_message_in_many_fragments_counts_as_one() {
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };
    let server = Server::start();
    let mut alice = server.bidder("alice").await;
    let part = |opcode, text: &str, last| Message::Frame(Frame::message(text.to_owned().into_bytes(), OpCode::Data(opcode), last));
    alice.send_message(part(Data::Text, r#"{"id":9,"#, false)).await.unwrap();
    alice.send_message(part(Data::Continue, r#""time":{}}"#, true)).await.unwrap();
    alice.reply(9).await.unwrap();
    alice.send_message(part(Data::Text, &" ".repeat(40_000), false)).await.unwrap();
    let _ = alice.send_message(part(Data::Continue, &" ".repeat(40_000), true)).await;
    assert_eq!(alice.closed().await, 1009);
}

#[tokio::test]
async fn a_socket_joins_no_more_lots_than_the_limit() {
    let server = Setup::new().env("GAVEL__LIMITS__LOTS_PER_SOCKET", 2).start();
    let lots: Vec<_> = (0..3).map(|_| open_lot(&server)).collect();
    let mut alice = server.bidder("alice").await;
    alice.join(&lots[0]).await;
    alice.join(&lots[1]).await;
    alice.join(&lots[1]).await;
    alice.error(json!({"join": {"lot": lots[2]}}), "limit_exceeded").await;
    alice.bid(&lots[2], 100).await;
    alice.ok(json!({"leave": {"lot": lots[0]}})).await;
    alice.join(&lots[2]).await;
}

#[tokio::test]
async fn requests_beyond_the_rate_are_told_when_to_come_again() {
    let server = Setup::new().env("GAVEL__LIMITS__REQUESTS_PER_SECOND", 1).env("GAVEL__LIMITS__REQUEST_BURST", 20).start();
    let lot = open_lot(&server);
    let mut alice = server.bidder("alice").await;
    // In one frame, so that they come together however slow everything is.
    let begun = Instant::now();
    alice.send_text((1..=60).map(|id| format!("{}\n", json!({"id": id, "time": {}}))).collect::<String>()).await.unwrap();
    let (mut passed, mut wait) = (0, 0);
    for id in 1..=60 {
        match alice.reply(id).await {
            Ok(_) => passed += 1,
            Err(error) => {
                assert!(id > 20, "20 at once go through, but not {id}: {error}");
                assert_eq!((&error["code"], &error["temporary"]), (&json!("rate_limited"), &json!(true)), "{error}");
                wait = error["retry_after_ms"].as_u64().unwrap();
                assert!((1..=1000).contains(&wait), "{error}");
            }
        }
    }
    let most = 21 + begun.elapsed().as_secs();
    assert!(passed <= most, "{passed} of 60 went through: 20 at once and one a second are {most} at most");
    tokio::time::sleep(Duration::from_millis(wait)).await;
    alice.catch_up().await;
    // Another socket has its own rate; and a limited bid was not placed.
    server.bidder("alice").await.bid(&lot, 100).await;
}

#[tokio::test]
async fn a_limited_bid_is_not_placed() {
    let server = Setup::new().env("GAVEL__LIMITS__REQUESTS_PER_SECOND", 5).env("GAVEL__LIMITS__REQUEST_BURST", 5).start();
    let lot = open_lot(&server);
    let mut alice = server.bidder("alice").await;
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(alice.send(json!({"bid": {"lot": lot, "bid_id": uuid(), "amount": 100, "max": 100 + n}})).await);
    }
    let mut accepted = 0;
    for id in ids {
        match alice.reply(id).await {
            Ok(_) => accepted += 1,
            Err(error) => assert_eq!(error["code"], "rate_limited", "{error}"),
        }
    }
    assert!(accepted < 40);
    assert_eq!(server.house().lot(&lot)["bid_count"], accepted);
}

#[tokio::test]
async fn who_stays_over_the_rate_is_closed() {
    let server = Setup::new()
        .env("GAVEL__LIMITS__REQUESTS_PER_SECOND", 20)
        .env("GAVEL__LIMITS__REQUEST_BURST", 20)
        .env("GAVEL__LIMITS__RATE_LIMITED_CLOSE_MS", 500)
        .start();
    let mut alice = server.bidder("alice").await;
    // Asks as fast as it is answered, until it is thrown out.
    let code = loop {
        match alice.try_ask(&json!({"time": {}})).await {
            Ok(_) => {}
            Err(gone) => break gone,
        }
    };
    assert_eq!(code.0.or(Some(alice.closed().await)), Some(4502));
}

#[tokio::test]
async fn a_socket_answers_pings() {
    let server = Server::start();
    let mut alice = server.bidder("alice").await;
    alice.send_message(Message::Ping(b"hello".to_vec().into())).await.unwrap();
    alice.catch_up().await;
}

#[tokio::test]
async fn who_does_not_answer_a_ping_is_closed_with_4002() {
    let server = Setup::new().env("GAVEL__LIMITS__PING_INTERVAL_MS", 200).env("GAVEL__LIMITS__PONG_TIMEOUT_MS", 200).start();
    let mut silent = server.bidder("silent").await;
    let mut alive = server.bidder("alive").await;
    // The client answers pings only while it reads; the one that reads lives through many of them.
    for _ in 0..15 {
        let _ = tokio::time::timeout(Duration::from_millis(100), alive.closed()).await;
    }
    alive.catch_up().await;
    assert_eq!(silent.closed().await, 4002);
}

#[tokio::test]
async fn an_expired_token_ends_the_socket_with_4004_unless_renewed() {
    let server = Server::start();
    let brief = |name: &str| server.token_for(name, "bidder", "2s");
    let mut lapsed = Handshake::default().bearer(&brief("alice")).open(&server.address()).await.unwrap();
    let mut renewed = Handshake::default().bearer(&brief("bob")).open(&server.address()).await.unwrap();
    let session = renewed.ok(json!({"auth": {"token": server.token("bob", "bidder")}})).await;
    assert_eq!(session["session"]["bidder"], "bob");
    let other = renewed.try_ask(&json!({"auth": {"token": server.token("carol", "bidder")}})).await.unwrap();
    assert!(other.is_err(), "a socket stays with whom it was opened for: {other:?}");
    assert_eq!(lapsed.closed().await, 4004);
    renewed.catch_up().await;
    renewed.bid(&open_lot(&server), 100).await;
}

#[tokio::test]
async fn draining_closes_sockets_with_1012_and_ends_cleanly() {
    let mut server = Server::start();
    let lot = open_lot(&server);
    let mut alice = server.bidder("alice").await;
    let receipt = alice.bid(&lot, 100).await;
    server.signal("TERM");
    assert_eq!(alice.closed().await, 1012);
    let ended = server.ended();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    server.restart();
    let bids = server.rest("alice", "bidder").all(&format!("/v1/lots/{lot}/bids"), 10);
    assert_eq!(bids[0]["seq"], receipt["seq"]);
}
