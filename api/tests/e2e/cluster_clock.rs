//! The machine's clock under a server under load: it is put forward and back by an hour, under way and before a start. Debian's
//! `faketime` does so for the server alone.

use crate::{
    cluster_faults::{BIDDERS, LOTS, SOME, in_tables, on, rounds, verified},
    kit::{Claims, Load, Rng, Server, Setup, Socket, event_name, forge, in_ms, lot_with, now_ms, parse_ms, skipped, until_within},
};
use gavel_test_servers::{Postgres, Redis};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const HOUR_S: i64 = 3600;

/// What the server takes for the machine's clock.
struct Wall(tempfile::TempDir);

impl Wall {
    fn new() -> Self {
        let wall = Self(tempfile::tempdir().unwrap());
        wall.step(0);
        wall
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("offset")
    }

    /// Puts it so many hours off the real time.
    fn step(&self, hours: i64) {
        let new = self.0.path().join("new");
        std::fs::write(&new, format!("{:+}", hours * HOUR_S)).unwrap();
        // At once: the server reads it whenever it asks for the time.
        std::fs::rename(new, self.file()).unwrap();
    }
}

/// What the server must load before all else.
fn library() -> Option<PathBuf> {
    let machines = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    machines.map(|machine| machine.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())
}

/// The step has arrived: a token of half an hour around that time is good, one that had ended by then is not.
#[track_caller]
fn reads(server: &Server, hours: i64) {
    let until = |minutes: i64| now_ms() / 1000 + hours * HOUR_S + minutes * 60;
    let status = |exp: i64| {
        let token = forge(&Claims::good().with("exp", json!(exp)), Ok(server.dir()));
        server.rest_with(&token).get("/v1/wallets/mallory").status
    };
    assert_eq!((status(until(10)), status(until(-10))), (200, 401), "the clock is {hours} hours off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_steps_by_an_hour() {
    let Some(library) = library() else {
        return skipped("a_clock_that_steps_by_an_hour", "libfaketime is missing: install Debian's package faketime");
    };
    let mut rng = Rng::seeded("a_clock_that_steps_by_an_hour");
    let (redis, postgres) = (Redis::durable(), Postgres::start());
    let wall = Wall::new();
    let mut server = faked(on(&redis.url(), &postgres), &library, &wall.file()).start();
    let load = Load::start(&server, LOTS, BIDDERS, &mut rng).await;
    load.goes_on(SOME);
    let house = server.rest_with(&server.token_for("house", "auctioneer", "5h"));
    // Ends within the hour, and is extended by whoever bids in its last two minutes.
    let soft = json!({"window_ms": 120_000, "mode": "reset", "by_ms": 120_000, "max_extensions": null, "hard_close_at": null});
    let made = house.create(&lot_with(json!({"soft_close": soft, "closes_at": in_ms(600_000)})));
    let id = made["id"].as_str().unwrap();
    // Tokens outlast every step. A socket begins, and sees how long it may stay, only after she heard that it is open.
    let mut alice = Socket::open(&server.address(), &server.token_for("alice", "bidder", "5h")).await;
    let (mut amount, mut last) = (100, 0);
    let mut held = |receipt: Value, seen: &Value| {
        let at = parse_ms(&receipt["received_at"]);
        assert!(at >= last && (at - now_ms()).abs() < 600_000, "{receipt} after {last}");
        last = at;
        assert_eq!((&seen["status"], &seen["closes_at"]), (&json!("open"), &made["closes_at"]), "{seen}");
    };
    for hours in (0..rounds(1)).flat_map(|_| [1, 0, -1, 0]) {
        wall.step(hours);
        reads(&server, hours);
        load.goes_on(SOME);
        amount += 10;
        held(alice.bid(id, amount).await, &house.lot(id));
    }
    let lots = load.lots.clone();
    let history = verified(load, &server, &postgres).await;

    // Time goes on where the journal ends, not an hour before.
    let brief = house.create(&lot_with(json!({"closes_at": in_ms(3000)})));
    wall.step(-1);
    server.restart();
    reads(&server, -1);
    let house = server.house();
    let mut alice = server.bidder("alice").await;
    held(alice.bid(id, amount + 10).await, &house.lot(id));
    let load = Load::start(&server, LOTS, BIDDERS, &mut rng).await;
    load.goes_on(SOME);
    let id_of_brief = brief["id"].as_str().unwrap();
    until_within(3 * crate::kit::PATIENCE, "the brief lot to close", || (house.lot(id_of_brief)["status"] == "closed").then_some(()));
    let closed = house.all(&format!("/v1/lots/{id_of_brief}/events"), 10).pop().unwrap();
    assert_eq!((event_name(&closed), &closed["at"]), ("closed", &brief["closes_at"]), "{closed}");
    wall.step(0);
    reads(&server, 0);
    load.goes_on(SOME);
    held(alice.bid(id, amount + 20).await, &house.lot(id));
    verified(load, &server, &postgres).await;
    history.verify(&server.rest("root", "admin"), &lots);
    in_tables(&history, &server, &postgres);
}

fn faked(setup: Setup, library: &Path, offset: &Path) -> Setup {
    let setup = setup.env("LD_PRELOAD", library.display()).env("FAKETIME_TIMESTAMP_FILE", offset.display()).env("FAKETIME_NO_CACHE", 1);
    // Only the wall's clock is put; two names, as versions of it differ.
    setup.env("FAKETIME_DONT_FAKE_MONOTONIC", 1).env("DONT_FAKE_MONOTONIC", 1)
}
