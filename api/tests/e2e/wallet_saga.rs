//! `kill -9` under load, with money: nobody ever leads with more than there is, every sale is paid once, and nothing stays
//! held for what is over.

use crate::kit::{Handshake, History, PATIENCE, Rest, Rng, Server, Setup, Socket, captures, event_name};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const KILLS: usize = 10;
const LOTS: usize = 8;
const BIDDERS: usize = 64;
/// Enough to lead on one lot of [`START`], and never on two.
const BALANCE: i64 = 1000;
const START: u64 = 600;

/// A bid whose answer never came.
#[derive(Clone)]
struct CutOff(Value);

/// What a bidder knows when the connection is gone.
struct Witness {
    bidder: String,
    history: History,
    cut_off: Option<CutOff>,
    /// How often its wallet said no.
    insufficient: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_kills_lose_and_double_no_money() {
    let mut rng = Rng::seeded("ten_kills_lose_and_double_no_money");
    let mut server = Setup::new().env("GAVEL__LIMITS__REQUESTS_PER_SECOND", 0).start();
    let bidders: Vec<String> = (0..BIDDERS).map(|n| format!("bidder-{n}")).collect();
    let mut books = Books::default();
    let mut history = History::default();
    let mut all_lots: Vec<String> = Vec::new();
    let mut cut_off: HashMap<String, CutOff> = HashMap::new();
    let (mut insufficient, mut resent) = (0, 0);
    for kill in 1..=KILLS {
        books.fill_up(&server.admin(), &bidders);
        let mut open: Vec<String> = all_lots.iter().filter(|lot| server.house().lot(lot)["status"] == "open").cloned().collect();
        while open.len() < LOTS {
            let rules = json!({"start_price": START, "proxy": true, "increments": [{"from": 0, "step": 1}]});
            let lot = server.backed(json!({"rules": rules, "closes_at": crate::kit::in_ms(3_000_000)}));
            all_lots.push(lot.clone());
            open.push(lot);
        }
        let (answered, mut answers) = unbounded_channel();
        resent += cut_off.len();
        let load: Vec<_> = bidders
            .iter()
            .map(|bidder| {
                let again = cut_off.remove(bidder);
                let (address, token) = (server.address(), server.token(bidder, "bidder"));
                tokio::spawn(bid_until_cut_off(address, token, bidder.clone(), open.clone(), again, rng.fork(), answered.clone()))
            })
            .collect();
        // A kill counts only under load: every bidder of this round has had an answer to a bid.
        for _ in 0..BIDDERS {
            let answer = tokio::time::timeout(PATIENCE + PATIENCE, answers.recv()).await;
            answer.expect("the load does not begin").expect("this round's own sender is there");
        }
        let closer = close_some(&server, &open, &mut rng);
        tokio::time::sleep(Duration::from_millis(rng.between(0, 500))).await;
        server.kill();
        closer.join().unwrap();
        for witness in load {
            let witness = witness.await.unwrap();
            history.extend(witness.history);
            insufficient += witness.insufficient;
            cut_off.extend(witness.cut_off.map(|bid| (witness.bidder, bid)));
        }
        server.restart();

        let admin = server.admin();
        nobody_leads_with_more_than_there_is(&server, &admin, &all_lots, &bidders);
        let accepted = history.verify(&admin, &all_lots);
        let committed = |(bidder, CutOff(bid)): (&String, &CutOff)| {
            accepted.holds(bid["lot"].as_str().unwrap(), bidder, bid["bid_id"].as_str().unwrap())
        };
        println!(
            "kill {kill}: {} receipts, {} of {} bids that were cut off are committed, {insufficient} were not backed so far",
            history.receipt_count(),
            cut_off.iter().filter(|known| committed(*known)).count(),
            cut_off.len(),
        );
    }
    for (bidder, bid) in cut_off.drain() {
        let mut socket = server.bidder(&bidder).await;
        if let Ok(receipt) = send_again(&mut socket, &bid).await.unwrap() {
            history.receipt(&bidder, &receipt);
        }
    }
    let admin = server.admin();
    nobody_leads_with_more_than_there_is(&server, &admin, &all_lots, &bidders);
    for lot in &all_lots {
        if admin.lot(lot)["status"] == "open" {
            server.house().act(lot, "close").expect(200);
        }
    }
    history.verify(&admin, &all_lots);
    books.balance(&admin, &all_lots, &bidders);
    assert!(history.receipt_count() > 300 && insufficient > 100, "hardly any load: {}, {insufficient}", history.receipt_count());
    assert!(resent > BIDDERS, "{resent}");
}

/// Bids one after the other on lots of its choice, with what it has, until the server is gone.
async fn bid_until_cut_off(
    address: String,
    token: String,
    bidder: String,
    lots: Vec<String>,
    again: Option<CutOff>,
    mut rng: Rng,
    answered: UnboundedSender<()>,
) -> Witness {
    let mut witness = Witness { bidder, history: History::default(), cut_off: None, insufficient: 0 };
    let Ok(mut socket) = Handshake::default().bearer(&token).try_open(&address).await else { return witness };
    if let Some(bid) = again {
        match send_again(&mut socket, &bid).await {
            Some(Ok(receipt)) => witness.history.receipt(&witness.bidder, &receipt),
            Some(Err(())) => {}
            None => {
                witness.cut_off = Some(bid);
                return witness;
            }
        }
    }
    let mut least: Vec<u64> = vec![START; lots.len()];
    let watched = rng.between(0, lots.len() as u64) as usize;
    if socket.try_ask(&json!({"join": {"lot": lots[watched]}})).await.is_err() {
        return witness;
    }
    for bids in 0_u64.. {
        if bids == 1 {
            let _ = answered.send(());
        }
        let lot = rng.between(0, lots.len() as u64) as usize;
        let amount = least[lot] + rng.between(0, 2);
        let mut bid = json!({"lot": lots[lot], "bid_id": rng.uuid(), "amount": amount});
        if rng.one_in(3) {
            bid["max"] = json!(amount + rng.between(0, 10));
        }
        let answer = socket.try_ask(&json!({"bid": bid})).await;
        for (lot, event) in socket.events.drain(..) {
            witness.history.event(&lot, &event);
            if event_name(&event) == "bid_placed" {
                least[watched] = event["bid_placed"]["minimum_bid"].as_u64().unwrap();
            }
        }
        match answer {
            Ok(Ok(ok)) => {
                let receipt = &ok["receipt"];
                least[lot] = least[lot].max(receipt["price"].as_u64().unwrap() + 1);
                witness.history.receipt(&witness.bidder, receipt);
            }
            Ok(Err(error)) => match error["code"].as_str().unwrap() {
                "bid_too_low" => least[lot] = error["minimum"].as_u64().unwrap(),
                "insufficient_funds" => witness.insufficient += 1,
                "max_not_raised" => least[lot] = amount + 1,
                "lot_closed" => {}
                // Its wallet took too long: the outcome is unknown, as when the connection is lost.
                "unavailable" => {
                    witness.cut_off = Some(CutOff(bid));
                    break;
                }
                other => panic!("{bid}: {other}: {error}"),
            },
            Err(_) => {
                witness.cut_off = Some(CutOff(bid));
                break;
            }
        }
    }
    witness
}

/// A bid without an answer, sent again under its name; none where the server is gone once more.
async fn send_again(socket: &mut Socket, CutOff(bid): &CutOff) -> Option<Result<Value, ()>> {
    let mut again = bid.clone();
    again["retry"] = json!(true);
    match socket.try_ask(&json!({"bid": again})).await.ok()? {
        Ok(mut ok) => Some(Ok(ok["receipt"].take())),
        Err(error) => {
            let code = error["code"].as_str().unwrap();
            let known = ["bid_too_low", "insufficient_funds", "max_not_raised", "lot_closed"];
            assert!(known.contains(&code), "{again}: {error}");
            Some(Err(()))
        }
    }
}

/// Closes two lots by hand while bids come in, until the server is gone.
fn close_some(server: &Server, open: &[String], rng: &mut Rng) -> std::thread::JoinHandle<()> {
    let house = server.house();
    let first = rng.between(0, open.len() as u64) as usize;
    let some: Vec<String> = (0..2).map(|n| open[(first + n) % open.len()].clone()).collect();
    std::thread::spawn(move || {
        for lot in some {
            let headers = [("content-type", "application/json")];
            if house.try_send("POST", &format!("/v1/lots/{lot}/close"), &headers, "{}").is_err() {
                return;
            }
        }
    })
}

/// While nobody bids. Of what has not been paid yet, each leader's own maxima are backed, all of them together.
#[track_caller]
fn nobody_leads_with_more_than_there_is(server: &Server, admin: &Rest, lots: &[String], bidders: &[String]) {
    let mut led: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
    for id in lots {
        let lot = admin.lot(id);
        let Some(leader) = lot["leader"].as_str().filter(|_| lot["settled"] == false) else { continue };
        let own = server.rest(leader, "bidder").lot(id)["own"].take();
        assert_eq!(own["leading"], true, "{lot}");
        led.entry(leader.to_owned()).or_default().push((id.clone(), own["max"].as_i64().unwrap()));
    }
    for bidder in bidders {
        let ledger = admin.ledger(bidder);
        let balance: i64 = ledger.iter().map(|line| line["amount"].as_i64().unwrap()).sum();
        let paid: Vec<&str> = captures(&ledger).map(|(lot, _)| lot).collect();
        let backed = led.remove(bidder).unwrap_or_default();
        let unpaid: Vec<_> = backed.iter().filter(|(lot, _)| !paid.contains(&lot.as_str())).collect();
        let sum: i64 = unpaid.iter().map(|(_, max)| max).sum();
        assert!(sum <= balance, "{bidder} leads with {sum} of {balance}: {unpaid:?}");
        let purse = admin.purse(bidder);
        assert!((0..=purse.balance).contains(&purse.held), "{bidder}: {purse:?}");
        let paid_since: Vec<String> = captures(&admin.ledger(bidder)).map(|(lot, _)| lot.to_owned()).collect();
        for (lot, max) in unpaid.into_iter().filter(|(lot, _)| !paid_since.contains(lot)) {
            assert!(purse.held_for(lot) >= *max, "{bidder} leads lot {lot} with {max}: {purse:?}");
        }
    }
    assert!(led.is_empty(), "{led:?}");
}

/// What was given.
#[derive(Default)]
struct Books {
    granted: i64,
    deducted: i64,
}

impl Books {
    /// Everybody has enough for one lot, and for no two.
    fn fill_up(&mut self, admin: &Rest, bidders: &[String]) {
        for (n, bidder) in bidders.iter().enumerate() {
            let missing = BALANCE - admin.purse(bidder).balance;
            // Now and then more, and the rest is taken again.
            let extra = i64::from(n % 7 == 0);
            if missing > 0 {
                admin.grant(bidder, missing + extra);
                self.granted += missing + extra;
                if extra > 0 {
                    let take = json!({"currency": "DKP", "amount": -extra, "reason": "too much"});
                    admin.adjust(bidder, &take).expect(201);
                    self.deducted += extra;
                }
            }
        }
    }

    /// After all lots are over: what was given is what is left and what was paid, each sale once.
    #[track_caller]
    fn balance(&self, admin: &Rest, lots: &[String], bidders: &[String]) {
        let mut sales: BTreeMap<String, (String, i64)> = BTreeMap::new();
        for id in lots {
            if let Some(sold) = admin.lot(id)["outcome"].get("sold") {
                assert_eq!(admin.settled(id)["outcome"]["sold"], *sold);
                sales.insert(id.clone(), (sold["winner"].as_str().unwrap().to_owned(), sold["price"].as_i64().unwrap()));
            }
        }
        assert!(sales.len() >= LOTS, "{sales:?}");
        let proceeds: i64 = sales.values().map(|(_, price)| price).sum();
        let mut left = 0;
        for bidder in bidders {
            let ledger = admin.ledger(bidder);
            for (lot, price) in captures(&ledger) {
                assert_eq!(sales.remove(lot), Some((bidder.clone(), price)), "{bidder} paid for {lot}, or paid twice");
            }
            let balance = ledger.last().unwrap()["balance"].as_i64().unwrap();
            admin.comes_to(bidder, balance, 0);
            left += balance;
        }
        assert!(sales.is_empty(), "sold and not paid: {sales:?}");
        assert_eq!(left, self.granted - self.deducted - proceeds, "{} given, {} taken, {proceeds} paid", self.granted, self.deducted);
    }
}
