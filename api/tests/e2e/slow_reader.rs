//! A socket that stops reading: the others go on, the server's memory stays bounded, and the stuck one is told to resync or
//! thrown out. What is pushed are descriptions of 40 kB, so that no buffer of the kernel swallows them all.

use crate::kit::{Handshake, News, Rest, Server, Setup, Socket, lot, until, uuid};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Characters of four bytes in a description.
const CHARS: usize = 10_000;
/// Bytes of a push with a new description, at least.
const PUSH_BYTES: usize = 4 * CHARS;

/// Bytes of pushes that the server keeps for a socket: three of them.
const QUEUE_BYTES: u64 = 131_072;

/// A short queue; no limits in the bidders' way, and nothing but the server itself that would end a stuck connection.
fn setup() -> Setup {
    Setup::new()
        .env("GAVEL__LIMITS__REQUESTS_PER_SECOND", 0)
        .env("GAVEL__LIMITS__OUTBOUND_QUEUE_BYTES", QUEUE_BYTES)
        .env("GAVEL__LIMITS__SLOW_READER_CLOSE_MS", 0)
        .env("GAVEL__LIMITS__PING_INTERVAL_MS", 0)
        .env("GAVEL__SERVER__TCP_USER_TIMEOUT_MS", 0)
}

/// A lot, who changes it, and one who watches it and reads.
struct Stage {
    server: Server,
    house: Rest,
    lot: String,
    eve: Socket,
    /// The lot's last event.
    seq: u64,
    /// The longest that a change took to reach the one who reads.
    slowest: Duration,
}

impl Stage {
    async fn new(setup: Setup) -> Self {
        let server = setup.start();
        let house = server.house();
        let lot = house.create(&lot())["id"].as_str().unwrap().to_owned();
        let mut eve = server.socket("eve", "viewer").await;
        let seq = eve.join(&lot).await["position"]["seq"].as_u64().unwrap();
        Self { server, house, lot, eve, seq, slowest: Duration::ZERO }
    }

    /// One who has joined the lot, with a small buffer, and reads nothing more.
    async fn stuck(&self, sub: &str, role: &str) -> Socket {
        let shake = Handshake::default().bearer(&self.server.token(sub, role)).small_buffers();
        let mut stuck = shake.open(&self.server.address()).await.unwrap();
        assert_eq!(stuck.join(&self.lot).await["position"]["seq"], self.seq);
        stuck
    }

    /// Changes the description; the one who reads must get that, next and soon.
    async fn change(&mut self) {
        self.seq += 1;
        let description = format!("{:0>9} {}", self.seq, "\u{1f528}".repeat(CHARS - 10));
        let asked = Instant::now();
        let changed = self.house.patch(&format!("/v1/lots/{}", self.lot), Some("*"), &json!({"description": description}));
        assert_eq!(changed.expect(200)["position"]["seq"], self.seq);
        let event = self.eve.event(&self.lot).await;
        assert_eq!((&event["seq"], &event["changed"]["description"]), (&json!(self.seq), &json!(description)));
        self.slowest = self.slowest.max(asked.elapsed());
    }

    /// A figure of `/metrics`.
    fn metric(&self, name: &str) -> u64 {
        let text = self.server.nobody().get("/metrics").text;
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("no {name}: {text}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    fn conflations(&self) -> u64 {
        self.metric("gavel_conflations_total")
    }

    /// Changes until that many sockets have had pushes left out.
    async fn conflate(&mut self, sockets: u64) {
        for _ in 0..100 {
            for _ in 0..20 {
                self.change().await;
            }
            if self.conflations() >= sockets {
                return;
            }
        }
        panic!("80 MB of pushes, and nobody is behind");
    }

    fn assert_undisturbed(&self) {
        assert!(self.slowest < Duration::from_secs(2), "one who reads waited {:?}", self.slowest);
        assert!(self.eve.resyncs.is_empty(), "one who reads misses nothing");
    }
}

/// Reads up to event `last`; everything must follow what came before it. How many events, and resyncs, there were.
async fn read_on(socket: &mut Socket, lot: &str, mut seq: u64, last: u64) -> (u64, u64) {
    let (mut events, mut resyncs) = (0, 0);
    while seq < last {
        match socket.news(lot).await {
            News::Event(event) => {
                assert_eq!(event["seq"], seq + 1, "events follow each other, and a resync's position");
                seq += 1;
                events += 1;
            }
            News::Resync(resync) => {
                assert_eq!(resync["lot"]["position"], resync["position"], "{resync}");
                assert_eq!((&resync["recovered"], &resync["events"]), (&json!(false), &json!([])), "as joined without a position");
                let at = resync["position"]["seq"].as_u64().unwrap();
                assert!(at > seq, "a resync that brings nothing: at {at} after {seq}");
                assert!(resync["lot"]["description"].as_str().unwrap().starts_with(&format!("{at:0>9} ")), "the lot as it was then");
                seq = at;
                resyncs += 1;
            }
        }
    }
    assert_eq!(seq, last);
    (events, resyncs)
}

#[tokio::test]
async fn stuck_sockets_delay_nobody_cost_little_memory_and_read_on_after_a_resync() {
    const STUCK: u64 = 30;
    const CHANGES: u64 = 250;
    // A checkpoint encodes the lot with its history, all of it at once: not what is measured here.
    let mut stage = Stage::new(setup().env("GAVEL__ENGINE__CHECKPOINT_BYTES", 1 << 30)).await;
    let start = stage.seq;
    let mut stuck = Vec::new();
    for _ in 0..STUCK {
        stuck.push(stage.stuck("stuck", "viewer").await);
    }
    let before = stage.server.resident_bytes();
    for _ in 0..CHANGES {
        stage.change().await;
    }
    stage.assert_undisturbed();
    assert_eq!(stage.conflations(), STUCK, "all that don't read are behind, and nobody else");
    let due = STUCK * CHANGES * PUSH_BYTES as u64;
    let grown = stage.server.resident_bytes().saturating_sub(before);
    // 300 MB were due, of which the kernel holds less than half. The lot's own history, 10 MB of it, is in the figure too.
    assert!(grown < 96 << 20, "{due} bytes due to stuck sockets cost {grown} bytes of memory");
    assert!(stage.metric("gavel_outbound_queue_bytes") <= STUCK * QUEUE_BYTES);

    let missed = stage.seq;
    let mut back = stuck.pop().unwrap();
    // The server notices by itself that there is room again: nothing has to happen to the lot.
    let (events, resyncs) = read_on(&mut back, &stage.lot, start, missed).await;
    assert!(resyncs == 1 && events < CHANGES, "{events} events and {resyncs} resyncs in place of {CHANGES} events");
    for _ in 0..10 {
        stage.change().await;
    }
    assert_eq!(read_on(&mut back, &stage.lot, missed, stage.seq).await, (10, 0), "it is like everybody again");
    stage.assert_undisturbed();
}

#[tokio::test]
async fn one_that_never_reads_is_thrown_out() {
    let patience = Duration::from_millis(500);
    let mut stage = Stage::new(setup().env("GAVEL__LIMITS__SLOW_READER_CLOSE_MS", patience.as_millis())).await;
    let mut late = stage.stuck("late", "viewer").await;
    let mut never = stage.stuck("never", "viewer").await;
    until("the sockets to be counted", || (stage.metric("gavel_sockets") == 3).then_some(()));
    stage.conflate(2).await;
    // The close comes when it is told in the log; whoever reads then still learns why.
    stage.server.log_line("closed: too slow");
    assert_eq!(late.gone().await, Some(4001));
    // Whoever does not is cut off a while later.
    let cut = Instant::now();
    while stage.metric("gavel_sockets") > 1 {
        assert!(cut.elapsed() < Duration::from_secs(20), "a socket that nobody reads is still there");
        stage.change().await;
    }
    assert!(matches!(never.gone().await, None | Some(4001)));
    stage.assert_undisturbed();
}

#[tokio::test]
async fn replies_are_not_dropped_for_one_that_reads_late() {
    let mut stage = Stage::new(setup()).await;
    let start = stage.seq;
    let mut alice = stage.stuck("alice", "bidder").await;
    stage.conflate(1).await;
    let mut ids = Vec::new();
    for max in 100..500 {
        ids.push(alice.send(json!({"bid": {"lot": stage.lot, "bid_id": uuid(), "amount": 100, "max": max}})).await);
    }
    let mut seqs = Vec::new();
    for id in ids {
        seqs.push(alice.reply(id).await.unwrap()["receipt"]["seq"].as_u64().unwrap());
    }
    assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]), "every bid has its receipt");
    for seq in stage.seq + 1..=stage.seq + 400 {
        assert_eq!(stage.eve.event(&stage.lot).await["seq"], seq);
    }
    stage.assert_undisturbed();
    let resync = alice.resync(&stage.lot).await;
    assert_eq!(resync["lot"]["own"]["leading"], Value::Bool(true), "with the bidder's own standing: {resync}");
    assert!(resync["position"]["seq"].as_u64().unwrap() > start);
}
