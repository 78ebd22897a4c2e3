//! The four steps of a backed bid, broken in between (`--features failpoints`): by a panic, by an append that fails, by a
//! wallet that is slow. Lots live on one shard and thread, most wallets on another, so that either side breaks alone.
//! `docs/decisions` tabulates what is shown here.

use crate::kit::{Rest, SHARDS, Server, Setup, Socket, bidders_on, captures, in_ms, now_ms, parse_ms, passed, until, uuid};
use serde_json::{Value, json};

/// Lots live here.
const LOTS: u16 = 0;
/// And most wallets here.
const WALLETS: u16 = 33;

/// A server with a lot, and two bidders with 500 each: `far` has its wallet on another shard than the lot, `near` on the
/// same. From now on a failpoint counts.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) admin: Rest,
    pub(crate) lot: String,
    pub(crate) far: String,
    pub(crate) near: String,
}

impl Stage {
    #[track_caller]
    fn with(failpoints: &str, fields: impl FnOnce() -> Value) -> Self {
        Self::on(Setup::new(), failpoints, fields)
    }

    #[track_caller]
    fn on(setup: Setup, failpoints: &str, fields: impl FnOnce() -> Value) -> Self {
        let mut server = setup.env("GAVEL__ENGINE__SHARDS", SHARDS).env("GAVEL__ENGINE__ARBITERS", 2).start();
        let (far, near) = (bidders_on(WALLETS).next().unwrap(), bidders_on(LOTS).next().unwrap());
        for bidder in [&far, &near] {
            server.admin().grant(bidder, 500);
            server.token(bidder, "bidder");
        }
        let lot = server.backed_on(LOTS, &fields());
        // Nothing is held, so nothing happens on its own after the start: appends and decisions are counted from here.
        server.terminate();
        let server = server.setup().env("FAILPOINTS", failpoints).start();
        let admin = server.admin();
        Self { server, admin, lot, far, near }
    }

    #[track_caller]
    pub(crate) fn new(failpoints: &str) -> Self {
        Self::with(failpoints, || json!({}))
    }

    /// `kill -9`, and a start on the same directory without failpoints.
    #[track_caller]
    pub(crate) fn dies(mut self) -> Self {
        self.server.kill();
        let server = self.server.setup().env("FAILPOINTS", "").start();
        let admin = server.admin();
        Self { server, admin, ..self }
    }

    pub(crate) async fn bidder(&self, name: &str) -> Socket {
        self.server.bidder(name).await
    }

    pub(crate) fn bid(&self, amount: u64, max: u64) -> Value {
        json!({"lot": self.lot, "bid_id": uuid(), "amount": amount, "max": max})
    }

    pub(crate) fn seen(&self) -> Value {
        self.admin.lot(&self.lot)
    }

    fn is_ready(&self) {
        until("the server to be ready", || (self.server.nobody().get("/health/ready").status == 200).then_some(()));
    }
}

/// Sends a bid whose outcome may be unknown until it has one.
pub(crate) async fn resend(socket: &mut Socket, bid: &Value) -> Value {
    let mut again = bid.clone();
    again["retry"] = json!(true);
    socket.bid_as(again).await
}

async fn unavailable(socket: &mut Socket, bid: &Value) {
    let error = socket.error(json!({"bid": bid}), "unavailable").await;
    assert_eq!(error["temporary"], true, "{error}");
}

#[tokio::test]
async fn a_panic_in_a_wallet_loses_that_request_alone() {
    let stage = Stage::new("wallet-before-decide=1*panic(boom)->off");
    let Stage { admin, far, near, .. } = &stage;
    let give = json!({"currency": "DKP", "amount": 7, "reason": "raid"});
    let key = uuid();
    admin.adjust_as(&key, far, &give).problem(500, "internal");
    stage.server.log_line("a panic under a request: the wallet is rebuilt");
    // The same wallet, the same request; another wallet.
    admin.adjust_as(&key, far, &give).expect(201);
    admin.adjust_as(&key, far, &give).expect(201);
    assert_eq!(admin.purse(far).sums(), (507, 0));
    assert_eq!(admin.ledger(far).len(), 2);
    stage.bidder(near).await.bid(&stage.lot, 100).await;
    assert_eq!(admin.purse(near).sums(), (500, 100));
}

#[tokio::test]
async fn a_bid_whose_wallet_panics_is_answered_and_holds_nothing() {
    let stage = Stage::new("wallet-before-decide=1*panic(boom)->off");
    let Stage { admin, far, near, .. } = &stage;
    let (mut alice, mut bob) = (stage.bidder(far).await, stage.bidder(near).await);
    let bid = stage.bid(100, 300);
    let asked = alice.send(json!({"bid": bid})).await;
    stage.server.log_line("a panic under a request: the wallet is rebuilt");
    // Others are served meanwhile, on the same lot too.
    bob.bid(&stage.lot, 100).await;
    let lost = alice.reply(asked).await.unwrap_err();
    assert_eq!((&lost["code"], &lost["temporary"]), (&json!("unavailable"), &json!(true)), "{lost}");
    admin.comes_to(far, 500, 0);
    assert_eq!(stage.seen()["bid_count"], 1);
    let mut again = bid.clone();
    again["amount"] = json!(110);
    let receipt = resend(&mut alice, &again).await;
    assert_eq!(receipt["leading"], true, "never placed, so it may be another bid now: {receipt}");
    assert_eq!(admin.purse(far).sums(), (500, 300));
}

#[tokio::test]
async fn a_hold_whose_lot_panics_at_the_placing_ends() {
    let stage = Stage::new("lot-before-stage=1*panic(boom)->off");
    let Stage { admin, far, .. } = &stage;
    let mut alice = stage.bidder(far).await;
    let bid = stage.bid(100, 300);
    alice.error(json!({"bid": bid}), "internal").await;
    stage.server.log_line("a panic under a letter: the lot is rebuilt");
    assert_eq!(stage.seen()["bid_count"], 0, "nothing of it is left");
    admin.comes_to(far, 500, 0);
    assert_eq!(resend(&mut alice, &bid).await["leading"], true);
    assert_eq!(admin.purse(far).sums(), (500, 300));
}

#[tokio::test]
async fn a_panic_at_a_placing_loses_none_of_those_that_wait_behind_it() {
    let stage = Stage::new("lot-before-stage=1*panic(boom)->off");
    let Stage { far, .. } = &stage;
    let mut alice = stage.bidder(far).await;
    let mut asked = Vec::new();
    for n in 0..20 {
        asked.push(alice.send(json!({"bid": stage.bid(100, 100 + n)})).await);
    }
    let mut lost = 0;
    for id in asked {
        match alice.reply(id).await {
            Ok(_) => {}
            Err(error) if error["code"] == "internal" => lost += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((lost, stage.seen()["bid_count"].as_u64()), (1, Some(19)));
}

#[tokio::test]
async fn a_hold_of_a_lot_that_has_left_memory_ends() {
    // As above, and then the lot is cancelled, archived and gone before the wallet asks.
    let setup = Setup::new().env("GAVEL__ENGINE__EVICT_AFTER_MS", 1).env("GAVEL__ENGINE__CHECKPOINT_MS", 100);
    let stage = Stage::on(setup, "lot-before-stage=1*panic(boom)->off", || json!({}));
    let Stage { server, admin, far, lot, .. } = &stage;
    let live = || admin.get("/v1/cluster").expect(200)["nodes"][0]["lots_live"].as_u64().unwrap();
    let before = live();
    stage.bidder(far).await.error(json!({"bid": stage.bid(100, 300)}), "internal").await;
    server.house().act(lot, "cancel").expect(200);
    until("the lot to leave memory", || (live() == before - 1).then_some(()));
    admin.comes_to(far, 500, 0);
    assert_eq!(stage.seen()["bid_count"], 0);
}

#[tokio::test]
async fn a_hold_that_was_not_durable_places_nothing() {
    let stage = Stage::new("append-fails=1*return(torn)->off"); // the wallet's
    let Stage { admin, far, .. } = &stage;
    let mut alice = stage.bidder(far).await;
    let bid = stage.bid(100, 300);
    unavailable(&mut alice, &bid).await;
    stage.is_ready();
    assert_eq!((admin.purse(far).sums(), &stage.seen()["bid_count"]), ((500, 0), &json!(0)));
    resend(&mut alice, &bid).await;
    assert_eq!(admin.purse(far).sums(), (500, 300));
}

#[tokio::test]
async fn a_hold_for_a_bid_that_was_not_durable_ends() {
    let stage = Stage::new("append-fails=1*off->1*return(torn)->off"); // the lot's
    let Stage { admin, far, .. } = &stage;
    let mut alice = stage.bidder(far).await;
    let bid = stage.bid(100, 300);
    unavailable(&mut alice, &bid).await;
    stage.is_ready();
    assert_eq!(stage.seen()["bid_count"], 0);
    admin.comes_to(far, 500, 0);
    resend(&mut alice, &bid).await;
    assert_eq!(admin.purse(far).sums(), (500, 300));
    assert_eq!(stage.seen()["bid_count"], 1);
}

#[tokio::test]
async fn an_outbid_hold_stays_until_what_outbid_it_is_durable() {
    // Hold and bid of the first, hold of the second; what outbids is not written.
    let stage = Stage::new("append-fails=3*off->1*return(torn)->off");
    let Stage { admin, far, near, .. } = &stage;
    let (mut alice, mut bob) = (stage.bidder(far).await, stage.bidder(near).await);
    alice.join_wallet(far).await;
    let first = alice.bid_max(&stage.lot, 100, 300).await;
    let bid = stage.bid(310, 400);
    unavailable(&mut bob, &bid).await;
    stage.is_ready();
    let seen = stage.seen();
    assert_eq!((&seen["leader"], &seen["price"], &seen["bid_count"]), (&json!(far), &first["price"], &json!(1)));
    admin.comes_to(near, 500, 0);
    alice.catch_up().await;
    assert!(alice.purses.iter().all(|purse| purse.sums() == (500, 300)), "never free in between: {:?}", alice.purses);
    assert_eq!(admin.purse(far).sums(), (500, 300));
    resend(&mut bob, &bid).await;
    admin.comes_to(far, 500, 0);
    assert_eq!(admin.purse(near).sums(), (500, 400));
}

#[tokio::test]
async fn a_release_that_was_not_durable_is_made_up_for() {
    // Two holds and two bids; then the first bidder's wallet is told.
    let stage = Stage::new("append-fails=4*off->1*return(torn)->off");
    let Stage { admin, far, near, .. } = &stage;
    stage.bidder(far).await.bid_max(&stage.lot, 100, 300).await;
    stage.bidder(near).await.bid(&stage.lot, 310).await;
    stage.server.log_line("append failed");
    admin.comes_to(far, 500, 0);
    assert_eq!(admin.purse(near).sums(), (500, 310));
}

#[tokio::test]
async fn a_capture_that_was_not_durable_is_made_up_for_once() {
    // Hold, bid, close; then the capture.
    let stage = Stage::new("append-fails=3*off->1*return(torn)->off");
    stage.bidder(&stage.far).await.bid_max(&stage.lot, 100, 300).await;
    is_paid_once(&stage);
}

#[tokio::test]
async fn a_capture_whose_confirmation_was_lost_is_confirmed_again() {
    // Hold, bid, close, capture; then the lot's note that it was paid.
    let stage = Stage::new("append-fails=4*off->1*return(torn)->off");
    stage.bidder(&stage.far).await.bid_max(&stage.lot, 100, 300).await;
    is_paid_once(&stage);
}

#[tokio::test]
async fn a_wallet_that_panics_at_the_capture_pays_once() {
    let stage = Stage::new("wallet-before-decide=1*off->1*panic(boom)->off");
    stage.bidder(&stage.far).await.bid_max(&stage.lot, 100, 300).await;
    is_paid_once(&stage);
}

#[track_caller]
fn is_paid_once(Stage { server, admin, lot, far, .. }: &Stage) {
    assert_eq!(server.house().act(lot, "close").expect(200)["outcome"]["sold"]["price"], 100);
    admin.settled(lot);
    assert_eq!(admin.purse(far).sums(), (400, 0));
    assert_eq!(captures(&admin.ledger(far)).collect::<Vec<_>>(), [(lot.as_str(), 100)]);
    let events = admin.all(&format!("/v1/lots/{lot}/events"), 100);
    assert_eq!(events.iter().filter(|event| event["settled"].is_object()).count(), 1, "{events:?}");
}

#[tokio::test]
async fn a_confirmation_that_comes_after_the_lot_gave_up_places_nothing() {
    let stage = Stage::new("wallet-before-decide=1*off->1*sleep(4000)->off");
    let Stage { admin, far, near, .. } = &stage;
    stage.bidder(near).await.bid(&stage.lot, 100).await;
    let mut alice = stage.bidder(far).await;
    let bid = stage.bid(110, 300);
    unavailable(&mut alice, &bid).await;
    // Only now its wallet comes to it.
    admin.comes_to(far, 500, 0);
    let seen = stage.seen();
    assert_eq!((&seen["leader"], &seen["bid_count"]), (&json!(near), &json!(1)));
    assert_eq!(resend(&mut alice, &bid).await["leading"], true);
}

/// `far` leads with 400 and raises; before its wallet has answered, `near` bids 410 up to 450, and leads. What `near` was
/// told, and what comes of the raise.
async fn overtaken(amount: u64, max: u64) -> (Stage, Value, Result<Value, Value>) {
    for _ in 0..5 {
        let stage = Stage::new("wallet-before-decide=1*off->1*sleep(1500)->off");
        let (mut alice, mut bob) = (stage.bidder(&stage.far).await, stage.bidder(&stage.near).await);
        alice.bid_max(&stage.lot, 100, 400).await;
        let raise = alice.send(json!({"bid": stage.bid(amount, max)})).await;
        // Requests of one socket are taken in order: by now the raise is on its way to the wallet.
        alice.join(&stage.lot).await;
        let overtaking = bob.bid_max(&stage.lot, 410, 450).await;
        let outcome = alice.reply(raise).await;
        // Else it was the other wallet that came first, and slept.
        if overtaking["leading"] == true {
            return (stage, overtaking, outcome.map(|mut ok| ok["receipt"].take()));
        }
    }
    panic!("the raise was never overtaken");
}

#[tokio::test]
async fn a_raise_that_is_overtaken_is_judged_as_a_challenge_and_dated_after() {
    let (stage, overtaking, outcome) = overtaken(440, 500).await;
    let Stage { admin, far, near, .. } = &stage;
    assert_eq!(overtaking["price"], 410);
    let receipt = outcome.unwrap();
    assert_eq!((&receipt["leading"], &receipt["price"], &receipt["max"]), (&json!(true), &json!(460), &json!(500)));
    assert!(receipt["seq"].as_u64() > overtaking["seq"].as_u64());
    assert!(parse_ms(&receipt["received_at"]) >= parse_ms(&overtaking["received_at"]), "{receipt} {overtaking}");
    let events = admin.all(&format!("/v1/lots/{}/events", stage.lot), 100);
    assert!(events.windows(2).all(|pair| parse_ms(&pair[0]["at"]) <= parse_ms(&pair[1]["at"])), "{events:?}");
    admin.comes_to(near, 500, 0);
    assert_eq!(admin.purse(far).sums(), (500, 500));
}

#[tokio::test]
async fn a_raise_that_was_overtaken_by_too_much_is_refused_and_all_of_it_is_free() {
    // A leader's raise needs no minimum; a challenge does.
    let (stage, _, outcome) = overtaken(100, 500).await;
    let Stage { admin, far, near, .. } = &stage;
    let refused = outcome.unwrap_err();
    assert_eq!((&refused["code"], &refused["minimum"]), (&json!("bid_too_low"), &json!(420)), "{refused}");
    admin.comes_to(far, 500, 0);
    assert_eq!(admin.purse(near).sums(), (500, 450));
}

#[tokio::test]
async fn a_bid_before_the_close_waits_for_its_wallet_and_counts() {
    // Each of the wallet's decisions takes a while: the hold is confirmed after the deadline, within the 250 ms.
    let stage = Stage::new("wallet-before-decide=sleep(350)");
    let Stage { server, admin, far, .. } = &stage;
    let mut alice = stage.bidder(far).await;
    let mut counted = false;
    // On a busy machine the moment may be missed; then the bid is late, and says so.
    for _ in 0..20 {
        let lot = server.backed_on(LOTS, &json!({"closes_at": in_ms(1200)}));
        let closes_at = parse_ms(&server.house().lot(&lot)["closes_at"]);
        passed(closes_at - 300);
        let answer = alice.try_ask(&json!({"bid": {"lot": lot, "bid_id": uuid(), "amount": 100}})).await.unwrap();
        let after_the_deadline = now_ms() > closes_at;
        let closed = until("the lot to close", || Some(admin.lot(&lot)).filter(|lot| lot["status"] == "closed"));
        match &answer {
            Ok(ok) => {
                assert!(parse_ms(&ok["receipt"]["received_at"]) < closes_at, "{ok}");
                assert_eq!(closed["outcome"]["sold"], json!({"winner": far, "price": 100}));
                counted |= after_the_deadline;
            }
            Err(error) => {
                assert_eq!((&error["code"], &closed["outcome"]["unsold"]["reason"]), (&json!("lot_closed"), &json!("no_bids")), "{error}");
            }
        }
        let events = admin.all(&format!("/v1/lots/{lot}/events"), 100);
        let close = events.iter().find(|event| event["closed"].is_object()).unwrap();
        assert_eq!(parse_ms(&close["at"]), closes_at, "dated by its deadline, however late");
        if counted {
            return;
        }
    }
    panic!("no close has waited for a bid");
}

#[tokio::test]
async fn a_close_does_not_wait_for_long() {
    let stage = Stage::with("wallet-before-decide=1*sleep(6000)->off", || json!({"closes_at": in_ms(4000)}));
    let Stage { admin, far, .. } = &stage;
    let mut alice = stage.bidder(far).await;
    let bid = stage.bid(100, 300);
    passed(parse_ms(&stage.seen()["closes_at"]) - 1000);
    let refused = alice.error(json!({"bid": bid}), "lot_closed").await;
    let closed = stage.seen();
    assert_eq!((&closed["outcome"]["unsold"]["reason"], &refused["deadline"]), (&json!("no_bids"), &closed["closes_at"]));
    assert!(parse_ms(&refused["received_at"]) < parse_ms(&closed["closes_at"]), "it was in time, its wallet was not: {refused}");
    admin.comes_to(far, 500, 0);
    assert_eq!(stage.seen()["bid_count"], 0);
}

#[tokio::test]
async fn a_lot_that_changes_while_a_bid_waits_decides() {
    for (action, code) in [("pause", "lot_paused"), ("cancel", "lot_closed"), ("close", "lot_closed")] {
        let stage = Stage::new("wallet-before-decide=1*sleep(1500)->off");
        let Stage { server, admin, far, lot, .. } = &stage;
        let mut alice = stage.bidder(far).await;
        let asked = alice.send(json!({"bid": stage.bid(100, 300)})).await;
        // Requests of one socket are taken in order: this one after the bid.
        alice.join(lot).await;
        server.house().act(lot, action).expect(200);
        let refused = alice.reply(asked).await.unwrap_err();
        assert_eq!(refused["code"], code, "{action}: {refused}");
        admin.comes_to(far, 500, 0);
        assert_eq!(stage.seen()["bid_count"], 0, "{action}");
    }
}

#[tokio::test]
async fn a_joined_wallet_is_pushed_anew_after_its_shard_was_recovered() {
    let stage = Stage::new("append-fails=1*off->1*return(torn)->off");
    let Stage { admin, far, .. } = &stage;
    for protocol in ["gavel.json.v1", "gavel.bincode.v1"] {
        let shake = crate::kit::Handshake::default().bearer(&stage.server.token(far, "bidder")).protocol(protocol);
        let mut alice = shake.open(&stage.server.address()).await.unwrap();
        let before = alice.join_wallet(far).await.sums();
        let give = json!({"currency": "DKP", "amount": 5, "reason": "raid"});
        let key = uuid();
        let mut lost = 0;
        for _ in 0..2 {
            let answer = admin.adjust_as(&key, far, &give);
            if answer.status == 503 {
                answer.problem(503, "unavailable");
                lost += 1;
                stage.is_ready();
                assert_eq!(alice.purse().await.sums(), before, "as it is: nothing came of it");
            }
            admin.adjust_as(&key, far, &give).expect(201);
        }
        assert_eq!(alice.purse().await.sums(), (before.0 + 5, 0));
        assert_eq!(lost, u32::from(protocol == "gavel.bincode.v1"));
        alice.catch_up().await;
        assert!(alice.purses.is_empty(), "{:?}", alice.purses);
    }
}
