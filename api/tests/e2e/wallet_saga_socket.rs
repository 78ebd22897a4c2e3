//! The own wallet over a socket: every change is pushed, whatever made it, to whoever joined and to nobody else.

use crate::kit::{Handshake, Server, Setup, Socket};
use serde_json::json;

async fn socket(server: &Server, protocol: &str, sub: &str) -> Socket {
    Handshake::default().bearer(&server.token(sub, "bidder")).protocol(protocol).open(&server.address()).await.unwrap()
}

/// Reads pushes until one says this: a wallet may say things twice, and says nothing that was over before.
async fn comes_to(socket: &mut Socket, balance: i64, held: i64) {
    loop {
        let purse = socket.purse().await;
        if purse.sums() == (balance, held) {
            return;
        }
        println!("on the way to {balance} and {held}: {purse:?}");
    }
}

async fn a_wallet_is_pushed(protocol: &str) {
    let server = Server::start();
    let admin = server.admin();
    admin.grant("alice", 500);
    admin.grant("bob", 1000);
    let lot = server.backed(json!({}));
    let (mut alice, mut bob) = (socket(&server, protocol, "alice").await, socket(&server, protocol, "bob").await);
    assert_eq!(alice.join_wallet("alice").await.sums(), (500, 0));
    alice.bid_max(&lot, 100, 300).await;
    let held = alice.purse().await;
    assert_eq!((held.sums(), held.held_for(&lot)), ((500, 300), 300));
    bob.bid(&lot, 310).await;
    assert_eq!(alice.purse().await.sums(), (500, 0), "outbid");
    alice.bid_refused(&lot, 501, "insufficient_funds").await;
    alice.bid(&lot, 320).await;
    assert_eq!(alice.purse().await.sums(), (500, 320));
    server.house().act(&lot, "close").expect(200);
    comes_to(&mut alice, 180, 0).await;
    admin.grant("alice", 20);
    assert_eq!(alice.purse().await.sums(), (200, 0));
    // As REST has it, and as a later join has it.
    assert_eq!(alice.join_wallet("alice").await, admin.purse("alice"));
    alice.ok(json!({"leave": {"wallet": "somebody-else"}})).await;
    admin.grant("alice", 1);
    assert_eq!(alice.purse().await.sums(), (201, 0), "that was not this wallet");
    let left = alice.ok(json!({"leave": {"wallet": "alice"}})).await;
    assert_eq!(left, json!({"left_wallet": {"wallet": "alice"}}));
    admin.grant("alice", 1);
    alice.catch_up().await;
    assert!(alice.purses.is_empty() && bob.purses.is_empty(), "who has left, or never came, is told nothing");
    assert_eq!(alice.join_wallet("alice").await.sums(), (202, 0));
    admin.grant("alice", 1);
    assert_eq!(alice.purse().await.sums(), (203, 0));
}

#[tokio::test]
async fn a_wallet_is_pushed_in_json() {
    a_wallet_is_pushed("gavel.json.v1").await;
}

#[tokio::test]
async fn a_wallet_is_pushed_in_bincode() {
    a_wallet_is_pushed("gavel.bincode.v1").await;
}

#[tokio::test]
async fn every_socket_of_a_bidder_is_told() {
    let server = Server::start();
    let admin = server.admin();
    let mut sockets = Vec::new();
    for n in 0..6 {
        let protocol = if n % 2 == 0 { "gavel.json.v1" } else { "gavel.bincode.v1" };
        let mut socket = socket(&server, protocol, "alice").await;
        assert_eq!(socket.join_wallet("alice").await.sums(), (0, 0));
        assert_eq!(socket.join_wallet("alice").await.sums(), (0, 0), "again is harmless");
        sockets.push(socket);
    }
    admin.grant("alice", 5);
    for socket in &mut sockets {
        assert_eq!(socket.purse().await.sums(), (5, 0));
    }
    // One leaves, one closes, one is cut off: the others go on.
    let mut left = sockets.remove(0);
    left.ok(json!({"leave": {"wallet": "alice"}})).await;
    sockets.remove(0).close().await;
    drop(sockets.remove(0));
    admin.grant("alice", 1);
    for socket in &mut sockets {
        assert_eq!(socket.purse().await.sums(), (6, 0), "once");
        socket.catch_up().await;
        assert!(socket.purses.is_empty());
    }
    left.catch_up().await;
    assert!(left.purses.is_empty());
}

#[tokio::test]
async fn a_wallet_and_its_lots_are_told_on_one_socket() {
    let server = Server::start();
    server.admin().grant("alice", 500);
    let lot = server.backed(json!({}));
    let mut alice = server.bidder("alice").await;
    alice.join(&lot).await;
    alice.join_wallet("alice").await;
    let receipt = alice.bid(&lot, 100).await;
    assert_eq!(alice.event(&lot).await["seq"], receipt["seq"]);
    assert_eq!(alice.own(&lot).await, json!({"leading": true, "max": 100}));
    assert_eq!(alice.purse().await.sums(), (500, 100));
    alice.ok(json!({"leave": {"lot": lot}})).await;
    server.admin().grant("alice", 1);
    assert_eq!(alice.purse().await.sums(), (501, 100), "the wallet stays joined");
    assert_eq!(alice.events.len(), 0);
}

#[tokio::test]
async fn a_reader_that_stands_still_gets_the_latest_once_it_reads() {
    const LOTS: i64 = 100;
    const GRANTS: i64 = 700;
    let setup = Setup::new().env("GAVEL__LIMITS__REQUESTS_PER_SECOND", 0).env("GAVEL__LIMITS__OUTBOUND_QUEUE_BYTES", 65_536);
    let server = setup.env("GAVEL__LIMITS__SLOW_READER_CLOSE_MS", 0).start();
    let admin = server.admin();
    // Many holds, so that a push is long: no buffer of the kernel swallows them all.
    admin.grant("alice", 100 * LOTS);
    let mut alice = server.bidder("alice").await;
    for _ in 0..LOTS {
        alice.bid(&server.backed(json!({})), 100).await;
    }
    let mut stuck = Handshake::default().bearer(&server.token("alice", "bidder")).small_buffers().open(&server.address()).await.unwrap();
    assert_eq!(stuck.join_wallet("alice").await.sums(), (100 * LOTS, 100 * LOTS));
    for _ in 0..GRANTS {
        admin.grant("alice", 1);
    }
    let mut read = 0;
    let mut last = 0;
    while last < 100 * LOTS + GRANTS {
        let purse = stuck.purse().await;
        assert!(purse.balance >= last && purse.holds.len() == usize::try_from(LOTS).unwrap(), "{last} before {purse:?}");
        (last, read) = (purse.balance, read + 1);
    }
    assert!(read < GRANTS, "nothing was left out: {read}");
    stuck.catch_up().await;
    assert!(stuck.purses.iter().all(|purse| purse.balance == last), "nothing older comes after it");
}
