//! What one socket can make the server hold: frames that are only claimed, pings, answers that nobody reads.

use crate::kit::{Handshake, PATIENCE, Server, Setup, lot, until};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

/// A WebSocket opened by hand, so that it may break the rules; with the answer to its handshake.
fn by_hand(server: &Server, headers: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let token = server.token("mallory", "bidder");
    let request = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n{headers}\r\n",
        server.address()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    (stream, answer)
}

/// Reads until a close frame; its code.
fn close_code(stream: &mut TcpStream, mut meanwhile: impl FnMut(&mut TcpStream)) -> u16 {
    let (end, mut seen) = (Instant::now() + 2 * PATIENCE, Vec::new());
    loop {
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes) {
            Ok(0) => panic!("the connection ended without a close frame: {seen:?}"),
            Ok(read) => seen.extend_from_slice(&bytes[..read]),
            Err(error) => assert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{error}"),
        }
        // Nothing but small control frames comes to this client.
        let mut rest = &seen[..];
        while let [first, length, payload @ ..] = rest {
            if payload.len() < usize::from(*length) {
                break;
            }
            let (payload, after) = payload.split_at(usize::from(*length));
            if *first == 0x88 {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
            rest = after;
        }
        assert!(Instant::now() < end, "waited in vain for a close frame: {seen:?}");
        meanwhile(stream);
    }
}

#[test]
fn a_frame_that_claims_too_much_is_refused_by_its_header() {
    for limit in [0, 65_536] {
        let server = Setup::new().env("GAVEL__LIMITS__FRAME_BYTES", limit).start();
        for claimed in [(16_u64 << 20) + 1, 1 << 46, u64::MAX] {
            let (mut socket, _) = by_hand(&server, "");
            let header: Vec<u8> = [0x82, 0xff].into_iter().chain(claimed.to_be_bytes()).chain([0; 4]).collect();
            socket.write_all(&header).unwrap();
            assert_eq!(close_code(&mut socket, |_| {}), 1009, "{claimed} bytes claimed, {limit} allowed");
        }
    }
}

#[test]
fn pings_of_one_that_does_not_read_cost_nothing() {
    let server = Setup::new().env("GAVEL__LIMITS__PING_INTERVAL_MS", 0).start();
    let (mut socket, _) = by_hand(&server, "");
    let ping: Vec<u8> = [0x89, 0x80 | 125, 0, 0, 0, 0].into_iter().chain([b'x'; 125]).collect();
    let many = ping.repeat(1 << 13);
    let before = server.resident_bytes();
    for _ in 0..40 {
        socket.write_all(&many).unwrap();
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 12 << 20, "{} bytes of pings cost {grown} bytes", 40 * many.len());
}

#[test]
fn only_a_pong_to_our_ping_counts() {
    let server = Setup::new().env("GAVEL__LIMITS__PING_INTERVAL_MS", 300).env("GAVEL__LIMITS__PONG_TIMEOUT_MS", 200).start();
    let (mut socket, _) = by_hand(&server, "");
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let unsolicited = [0x8a, 0x80, 0, 0, 0, 0];
    let code = close_code(&mut socket, |socket| {
        let _ = socket.write_all(&unsolicited);
    });
    assert_eq!(code, 4002);
}

#[test]
fn the_first_known_subprotocol_is_chosen_over_all_lines() {
    let server = Server::start();
    for (lines, chosen) in [
        ("Sec-WebSocket-Protocol: other.v1\r\nSec-WebSocket-Protocol: gavel.bincode.v1\r\n", "gavel.bincode.v1"),
        ("Sec-WebSocket-Protocol: gavel.json.v1\r\nSec-WebSocket-Protocol: gavel.bincode.v1\r\n", "gavel.json.v1"),
    ] {
        let (mut socket, answer) = by_hand(&server, lines);
        assert_eq!(answer.matches("sec-websocket-protocol").count(), 1, "{answer}");
        assert!(answer.contains(&format!("sec-websocket-protocol: {chosen}\r\n")), "{answer}");
        // And it is spoken: the other kind of frame is 1003.
        let wrong = if chosen == "gavel.json.v1" { 0x82 } else { 0x81 };
        socket.write_all(&[wrong, 0x81, 0, 0, 0, 0, b'x']).unwrap();
        assert_eq!(close_code(&mut socket, |_| {}), 1003);
    }
}

/// Descriptions of 40 kB, so that a few changes make a long answer.
fn with_a_long_history(server: &Server, changes: usize) -> (String, Value) {
    let house = server.house();
    let made = house.create(&lot());
    let lot = made["id"].as_str().unwrap().to_owned();
    for number in 0..changes {
        let description = format!("{number:0>9} {}", "\u{1f528}".repeat(9_900));
        house.patch(&format!("/v1/lots/{lot}"), Some("*"), &json!({"description": description})).expect(200);
    }
    (lot, made["position"].clone())
}

#[tokio::test]
async fn many_resumes_cost_no_more_memory_than_one_and_are_all_answered() {
    const CHANGES: usize = 50;
    const RESUMES: usize = 40;
    let server = Setup::new()
        .env("GAVEL__SERVER__WORKERS", 1)
        .env("GAVEL__LIMITS__REQUESTS_PER_SECOND", 0)
        .env("GAVEL__ENGINE__CHECKPOINT_BYTES", 1 << 30)
        .start();
    let (lot, start) = with_a_long_history(&server, CHANGES);
    let mut eve = server.socket("eve", "viewer").await;
    eve.join(&lot).await;
    let mut late = Handshake::default().bearer(&server.token("late", "viewer")).small_buffers().open(&server.address()).await.unwrap();
    // What the tables take for it is not what is measured.
    until("the tables to follow", || server.nobody().get("/metrics").text.contains("\ngavel_projector_lag_batches 0\n").then_some(()));
    let before = server.resident_bytes();
    let mut ids = Vec::new();
    for _ in 0..RESUMES {
        ids.push(late.send(json!({"join": {"lot": lot, "position": start}})).await);
        ids.push(late.send(json!({"time": {}})).await);
    }
    // What this one asks is answered after all that the other's asked of the lot at once.
    for _ in 0..3 {
        eve.join(&lot).await;
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "{RESUMES} resumes of 2 MB that nobody reads cost {grown} bytes");
    for id in ids {
        let reply = late.reply(id).await.unwrap();
        if let Some(joined) = reply.get("joined") {
            assert_eq!((&joined["recovered"], joined["events"].as_array().unwrap().len()), (&json!(true), CHANGES));
        }
    }
    late.catch_up().await;
}

#[tokio::test]
async fn one_that_asks_and_does_not_read_is_closed_when_its_patience_is_over() {
    let server = Setup::new()
        .env("GAVEL__LIMITS__REQUESTS_PER_SECOND", 0)
        .env("GAVEL__LIMITS__OUTBOUND_QUEUE_BYTES", 65_536)
        .env("GAVEL__LIMITS__SLOW_READER_CLOSE_MS", 300)
        .start();
    let (lot, _) = with_a_long_history(&server, 1);
    let mut deaf = Handshake::default().bearer(&server.token("deaf", "viewer")).small_buffers().open(&server.address()).await.unwrap();
    // Answers of 40 kB fill what the kernel takes; then one waits in vain to be read.
    while server.err.wait_for("closed:", Duration::from_millis(1)).is_none() {
        if deaf.try_send(&json!({"join": {"lot": lot}})).await.is_err() {
            break;
        }
    }
    assert!(matches!(deaf.gone().await, None | Some(4001)));
    until("the socket to be gone", || server.nobody().get("/metrics").text.contains("gavel_sockets 0").then_some(()));
}

#[tokio::test]
async fn an_empty_frame_is_a_protocol_error() {
    let server = Server::start();
    for empty in ["", " ", "\n\n"] {
        let mut alice = server.bidder("alice").await;
        alice.send_text(empty).await.unwrap();
        assert_eq!(alice.closed().await, 4501, "{empty:?}");
    }
}

#[tokio::test]
async fn a_bidder_that_becomes_a_viewer_hears_no_more_of_its_standing() {
    let server = Server::start();
    let lot = server.house().create(&lot())["id"].as_str().unwrap().to_owned();
    let (mut screen, mut alice, mut bob) = (server.bidder("alice").await, server.bidder("alice").await, server.bidder("bob").await);
    screen.join(&lot).await;
    alice.join(&lot).await;
    alice.bid(&lot, 100).await;
    assert_eq!(screen.own(&lot).await["leading"], true);
    screen.ok(json!({"auth": {"token": server.token("alice", "viewer")}})).await;
    bob.bid(&lot, 200).await;
    assert_eq!(alice.own(&lot).await["leading"], true);
    assert_eq!(alice.own(&lot).await["leading"], false);
    screen.event_named(&lot, "bid_placed").await;
    screen.event_named(&lot, "bid_placed").await;
    screen.catch_up().await;
    assert!(screen.owns.is_empty(), "{:?}", screen.owns);
    // And hears it again as a bidder.
    screen.ok(json!({"auth": {"token": server.token("alice", "bidder")}})).await;
    alice.bid(&lot, 300).await;
    assert_eq!(screen.own(&lot).await["leading"], true);
}

#[tokio::test]
async fn no_socket_is_opened_while_the_server_drains() {
    let mut server = Setup::new().env("GAVEL__SERVER__DRAIN_MS", 3000).start();
    let token = server.token("late", "viewer");
    let mut alice = server.bidder("alice").await;
    let mut bob = server.bidder("bob").await;
    server.signal("TERM");
    server.log_line("draining");
    let (status, body) = Handshake::default().bearer(&token).open(&server.address()).await.err().unwrap();
    assert_eq!(status, 503, "{body}");
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["code"], "unavailable", "{problem}");
    assert_eq!((alice.closed().await, bob.closed().await), (1012, 1012));
    assert_eq!(server.ended().status.code(), Some(0));
}

#[tokio::test]
async fn a_lot_that_is_over_and_let_go_still_resumes() {
    let server = Setup::new().env("GAVEL__ENGINE__EVICT_AFTER_MS", 10).env("GAVEL__ENGINE__CHECKPOINT_MS", 50).start();
    let (house, admin) = (server.house(), server.rest("root", "admin"));
    let made = house.create(&lot());
    let id = made["id"].as_str().unwrap();
    let mut alice = server.bidder("alice").await;
    for amount in [100, 200, 300] {
        alice.bid_max(id, amount, amount + 50).await;
    }
    let middle = house.lot(id)["position"].clone();
    alice.bid_max(id, 400, 450).await;
    let last = house.act(id, "close").expect(200)["position"].clone();
    until("the lot to be let go", || (admin.get("/v1/cluster").expect(200)["nodes"][0]["lots_live"] == 0).then_some(()));
    let seqs = |joined: &Value| joined["events"].as_array().unwrap().iter().map(|event| event["seq"].clone()).collect::<Vec<_>>();
    let resumed = alice.resume(id, &middle).await;
    let next = |by: u64| json!(middle["seq"].as_u64().unwrap() + by);
    assert_eq!((&resumed["recovered"], seqs(&resumed)), (&json!(true), vec![next(1), next(2)]), "{resumed}");
    assert_eq!(resumed["position"], last);
    let resumed = alice.resume(id, &made["position"]).await;
    assert_eq!((&resumed["recovered"], seqs(&resumed).len()), (&json!(true), 5), "{resumed}");
    let resumed = alice.resume(id, &last).await;
    assert_eq!((&resumed["recovered"], seqs(&resumed).len()), (&json!(true), 0), "{resumed}");
    for wrong in [
        json!({"epoch": middle["epoch"].as_u64().unwrap() + 1, "seq": middle["seq"]}),
        json!({"epoch": last["epoch"].as_u64().unwrap() - 1, "seq": last["seq"]}),
        json!({"epoch": last["epoch"], "seq": last["seq"].as_u64().unwrap() + 1}),
    ] {
        let joined = alice.resume(id, &wrong).await;
        assert_eq!((&joined["recovered"], &joined["events"]), (&json!(false), &json!([])), "{wrong}");
    }
}
