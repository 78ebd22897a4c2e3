//! `kill -9` under load: what clients were told holds afterwards, and what was cut off is decided once.

use crate::kit::{
    Handshake, History, PATIENCE, Rng, Server, Setup, Socket, event_name, in_ms, lot, lot_with, pace, parse_ms, passed, until, uuid,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const KILLS: usize = 20;
const LOTS: usize = 8;
const BIDDERS: usize = 32;

/// A bid whose answer never came.
struct CutOff {
    bidder: String,
    bid: Value,
}

/// What a bidder knows when the connection is gone.
struct Witness {
    history: History,
    cut_off: Vec<CutOff>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_lose_and_double_nothing() {
    kills_lose_and_double_nothing(Setup::new(), KILLS, Rng::seeded("twenty_kills_lose_and_double_nothing")).await;
}

/// Kills a server under load so often.
pub(crate) async fn kills_lose_and_double_nothing(setup: Setup, kills: usize, mut rng: Rng) {
    let mut server = setup.env("GAVEL__LIMITS__REQUESTS_PER_SECOND", 0).start();
    let lots = create_lots(&server);
    let mut history = History::default();
    let (mut cut_off_in_all, mut committed_in_all) = (0, 0);
    for kill in 1..=kills {
        // A lot of its own for each round, whose deadline passes while the server is down; and a creation that is cut off.
        let brief = server.house().create(&lot_with(json!({"closes_at": in_ms(900), "title": format!("Brief {kill}")})));
        let watched: Vec<String> = lots.iter().cloned().chain([id(&brief)]).collect();
        let (answered, mut answers) = unbounded_channel();
        let load: Vec<_> = (0..BIDDERS)
            .map(|n| {
                let bidder = format!("bidder-{n}");
                let (address, token) = (server.address(), server.token(&bidder, "bidder"));
                tokio::spawn(bid_until_cut_off(address, token, bidder, watched.clone(), rng.fork(), answered.clone()))
            })
            .collect();
        let creation = cut_off_creation(&server, kill);
        // A kill counts only under load: every bidder of this round has had an answer to a bid.
        for _ in 0..BIDDERS {
            let answer = tokio::time::timeout(PATIENCE, answers.recv()).await;
            answer.expect("the load does not begin").expect("this round's own sender is there");
        }
        tokio::time::sleep(Duration::from_millis(rng.between(0, 800))).await;
        server.kill();
        let (key, spec, answered) = creation.join().unwrap();
        let mut cut_off = Vec::new();
        for witness in load {
            let witness = witness.await.unwrap();
            history.extend(witness.history);
            cut_off.extend(witness.cut_off);
        }
        passed(parse_ms(&brief["closes_at"]));
        server.restart();

        let admin = server.rest("root", "admin");
        let accepted = history.verify(&admin, &watched);
        the_brief_lot_closed_in_time(&server, &brief);
        the_creation_happened_once(&server, &key, &spec, answered.as_ref());
        assert!(!cut_off.is_empty(), "kill {kill} was not under load");
        cut_off_in_all += cut_off.len();
        for CutOff { bidder, bid } in &cut_off {
            let lot = bid["lot"].as_str().unwrap();
            let was_committed = accepted.holds(lot, bidder, bid["bid_id"].as_str().unwrap());
            committed_in_all += usize::from(was_committed);
            resend(&server, bidder, bid, was_committed, &mut history).await;
        }
        resend_some_receipts(&server, &history, &mut rng).await;
        history.verify(&admin, &watched);
        println!(
            "kill {kill}: {} receipts, {} pushed events, {} bids cut off ({committed_in_all} of {cut_off_in_all} so far were committed)",
            history.receipt_count(),
            history.event_count(),
            cut_off.len(),
        );
    }
    assert!(history.receipt_count() > 25 * kills, "hardly any load: {}", history.receipt_count());
    assert!(committed_in_all > 0, "none of {cut_off_in_all} bids was cut off between its commit and its receipt");
    for lot in &lots {
        assert_eq!(server.house().lot(lot)["status"], "open", "lots go on");
    }
}

fn id(lot: &Value) -> String {
    lot["id"].as_str().unwrap().to_owned()
}

/// Some with a soft close, some without proxy bidding, all open for long.
fn create_lots(server: &Server) -> Vec<String> {
    let soft = json!({"window_ms": 3_600_000, "mode": "reset", "by_ms": 3_600_000});
    let rules = |n: usize| json!({"start_price": 10, "proxy": n % 3 != 2, "increments": [{"from": 0, "step": 1}]});
    let soft = |n: usize| if n.is_multiple_of(2) { Value::Null } else { soft.clone() };
    let spec = |n| lot_with(json!({"rules": rules(n), "soft_close": soft(n), "closes_at": in_ms(3_000_000)}));
    (0..LOTS).map(|n| id(&server.house().create(&spec(n)))).collect()
}

/// Bids one after the other on lots of its choice, and watches two of them, until the server is gone.
async fn bid_until_cut_off(
    address: String,
    token: String,
    bidder: String,
    lots: Vec<String>,
    mut rng: Rng,
    answered: UnboundedSender<()>,
) -> Witness {
    let mut witness = Witness { history: History::default(), cut_off: Vec::new() };
    let Ok(mut socket) = Handshake::default().bearer(&token).try_open(&address).await else { return witness };
    let mut least: Vec<u64> = vec![10; lots.len()];
    for _ in 0..2 {
        let lot = rng.between(0, lots.len() as u64) as usize;
        match socket.try_ask(&json!({"join": {"lot": lots[lot]}})).await {
            Ok(joined) => least[lot] = joined.unwrap()["joined"]["lot"]["minimum_bid"].as_u64().unwrap(),
            Err(_) => return witness,
        }
    }
    for bids in 0.. {
        if bids == 1 {
            let _ = answered.send(());
        }
        let lot = rng.between(0, lots.len() as u64) as usize;
        let amount = least[lot] + rng.between(0, 3);
        let mut bid = json!({"lot": lots[lot], "bid_id": rng.uuid(), "amount": amount});
        if lot % 3 != 2 && rng.one_in(3) {
            bid["max"] = json!(amount + rng.between(0, 20));
        }
        let answer = socket.try_ask(&json!({"bid": bid})).await;
        witness.look_at_pushes(&mut socket, &lots, &mut least);
        match answer {
            Ok(Ok(ok)) => {
                let receipt = &ok["receipt"];
                least[lot] = least[lot].max(receipt["price"].as_u64().unwrap() + 1);
                witness.history.receipt(&bidder, receipt);
            }
            Ok(Err(error)) => match error["code"].as_str().unwrap() {
                "bid_too_low" => least[lot] = error["minimum"].as_u64().unwrap(),
                "max_not_raised" => least[lot] = amount + 20,
                "already_leading" | "lot_closed" => {}
                other => panic!("{bid}: {other}: {error}"),
            },
            Err(_) => {
                witness.cut_off.push(CutOff { bidder, bid });
                break;
            }
        }
    }
    witness
}

impl Witness {
    fn look_at_pushes(&mut self, socket: &mut Socket, lots: &[String], least: &mut [u64]) {
        for (lot, event) in socket.events.drain(..) {
            self.history.event(&lot, &event);
            if event_name(&event) == "bid_placed" {
                let place = lots.iter().position(|known| *known == lot).unwrap();
                least[place] = event["bid_placed"]["minimum_bid"].as_u64().unwrap();
            }
        }
    }
}

/// Creates lots under keys until the server is gone; the last one, and what came of it.
fn cut_off_creation(server: &Server, round: usize) -> std::thread::JoinHandle<(String, Value, Option<Value>)> {
    let house = server.house();
    let (runtime, mut pace) = (tokio::runtime::Handle::current(), pace(Duration::from_millis(25)));
    std::thread::spawn(move || {
        let mut last = None;
        for n in 0.. {
            let (key, spec) = (uuid(), lot_with(json!({"title": format!("Cut off {round}-{n}")})));
            let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
            match house.try_send("POST", "/v1/lots", &headers, &spec.to_string()) {
                Ok(answer) => last = Some((key, spec, Some(answer.expect(201)))),
                // Half of the time the answered one is looked at, else the one that was cut off.
                Err(_) if round.is_multiple_of(2) && last.is_some() => break,
                Err(_) => {
                    last = Some((key, spec, None));
                    break;
                }
            }
            // So that the lots don't become too many.
            runtime.block_on(pace.tick());
        }
        last.unwrap()
    })
}

fn the_creation_happened_once(server: &Server, key: &str, spec: &Value, answered: Option<&Value>) {
    let create = || server.house().post_with("/v1/lots", &[("idempotency-key", key)], spec).expect(201);
    let (first, second) = (create(), create());
    assert_eq!(first, second);
    if let Some(answered) = answered {
        assert_eq!(first, *answered, "the answer from before the crash");
    }
    let titled = server.house().all("/v1/lots?status=open", 500).into_iter().filter(|lot| lot["title"] == spec["title"]).count();
    assert_eq!(titled, 1, "{}", spec["title"]);
}

fn the_brief_lot_closed_in_time(server: &Server, brief: &Value) {
    let lot = id(brief);
    let seen = until("the brief lot to close", || Some(server.house().lot(&lot)).filter(|lot| lot["status"] == "closed"));
    let events = server.house().all(&format!("/v1/lots/{lot}/events"), 500);
    let closed = events.last().unwrap();
    assert_eq!(closed["closed"]["outcome"], seen["outcome"], "{closed}");
    assert_eq!(closed["at"], brief["closes_at"], "closed at the recorded deadline");
}

/// A bid without an answer, sent again: the receipt of what was committed, or judged anew.
async fn resend(server: &Server, bidder: &str, bid: &Value, was_committed: bool, history: &mut History) {
    let mut socket = server.bidder(bidder).await;
    let mut again = bid.clone();
    again["retry"] = json!(true);
    match socket.try_ask(&json!({"bid": again})).await.unwrap() {
        Ok(ok) => history.receipt(bidder, &ok["receipt"]),
        Err(error) => assert!(!was_committed, "{bid} was committed, and resent: {error}"),
    }
}

async fn resend_some_receipts(server: &Server, history: &History, rng: &mut Rng) {
    let every = (history.receipt_count() as u64 / 40).max(1);
    for (bidder, receipt) in history.receipts().filter(|_| rng.one_in(every)).collect::<Vec<_>>() {
        let mut socket = server.bidder(bidder).await;
        let bid = json!({
            "lot": receipt["lot"], "bid_id": receipt["bid_id"], "amount": receipt["amount"], "max": receipt["max"], "retry": true,
        });
        let again = if receipt["max"] == receipt["amount"] { without_max(bid) } else { bid };
        assert_eq!(socket.bid_as(again).await, *receipt);
    }
}

/// As it was sent: where there is no proxy bidding a `max` is not taken.
fn without_max(mut bid: Value) -> Value {
    bid.as_object_mut().unwrap().remove("max");
    bid
}

#[tokio::test]
async fn a_client_that_held_a_position_resumes_across_a_crash() {
    let mut server = Server::start();
    let made = server.house().create(&lot());
    let lot = made["id"].as_str().unwrap().to_owned();
    let mut alice = server.bidder("alice").await;
    let position = alice.join(&lot).await["position"].take();
    let receipt = alice.bid(&lot, 100).await;
    server.kill();
    server.restart();
    let mut alice = server.bidder("alice").await;
    let joined = alice.resume(&lot, &position).await;
    assert_eq!(joined["recovered"], true, "{joined}");
    let events = joined["events"].as_array().unwrap();
    assert_eq!((events.len(), &events[0]["seq"], &events[0]["epoch"]), (1, &receipt["seq"], &receipt["epoch"]));
    let next = alice.bid_max(&lot, 100, 200).await;
    assert_eq!(next["seq"], receipt["seq"].as_u64().unwrap() + 1, "seq goes on");
    assert!(next["epoch"].as_u64() > receipt["epoch"].as_u64(), "in a new epoch");
}

#[tokio::test]
async fn a_paused_lot_stays_paused_and_a_scheduled_one_opens_after_a_crash() {
    let mut server = Server::start();
    let house = server.house();
    let paused = id(&house.create(&lot_with(json!({"closes_at": in_ms(1000)}))));
    let remaining = house.act(&paused, "pause").expect(200)["remaining_ms"].clone();
    let opens_at = in_ms(800);
    let scheduled = id(&house.create(&lot_with(json!({"opens_at": opens_at}))));
    server.kill();
    passed(parse_ms(&json!(opens_at)));
    server.restart();
    let house = server.house();
    let seen = house.lot(&paused);
    assert_eq!((&seen["status"], &seen["remaining_ms"]), (&json!("paused"), &remaining));
    until("the lot to open", || (house.lot(&scheduled)["status"] == "open").then_some(()));
    let events = house.all(&format!("/v1/lots/{scheduled}/events"), 10);
    assert_eq!((event_name(&events[0]), &events[0]["at"]), ("opened", &json!(opens_at)));
}

#[tokio::test]
async fn a_stopped_process_takes_no_late_bids_when_it_goes_on() {
    let server = Server::start();
    let made = server.house().create(&lot_with(json!({"closes_at": in_ms(1000)})));
    let lot = made["id"].as_str().unwrap();
    let mut alice = server.bidder("alice").await;
    server.stop();
    let bid = alice.send(json!({"bid": {"lot": lot, "bid_id": uuid(), "amount": 100}})).await;
    passed(parse_ms(&made["closes_at"]) + 400);
    server.signal("CONT");
    let refused = tokio::time::timeout(PATIENCE, alice.reply(bid)).await.unwrap().unwrap_err();
    assert_eq!(refused["code"], "lot_closed", "{refused}");
}
