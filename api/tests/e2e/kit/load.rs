//! Bidders that go on through faults of what is behind the server: each bid is asked again under its id until it is decided.

use super::{History, Rng, Server, Socket, event_name, in_ms, lot_with, pace, until_within};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// How long a recovery may take, beside other tests on a busy machine.
const RECOVERY: Duration = Duration::from_secs(60);

/// Bidders at work.
pub(crate) struct Load {
    pub(crate) lots: Vec<String>,
    shared: Arc<Shared>,
    bidders: Vec<JoinHandle<Witness>>,
}

/// What a bidder was told.
#[derive(Default)]
struct Witness {
    history: History,
    /// Lot, bidder, bid_id of bids that were refused in the end.
    refused: Vec<(String, String, String)>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    receipts: AtomicU64,
    unavailable: AtomicU64,
}

impl Load {
    /// Makes lots, and lets bidders bid on them, each one bid at a time, and watch them.
    pub(crate) async fn start(server: &Server, lots: usize, bidders: usize, rng: &mut Rng) -> Self {
        let rules = json!({"start_price": 10, "increments": [{"from": 0, "step": 1}]});
        let spec = lot_with(json!({"rules": rules, "closes_at": in_ms(3_000_000)}));
        let lots: Vec<String> = (0..lots).map(|_| server.house().create(&spec)["id"].as_str().unwrap().to_owned()).collect();
        let shared = Arc::new(Shared::default());
        let mut tasks = Vec::new();
        for n in 0..bidders {
            let name = format!("bidder-{n}");
            let mut socket = server.bidder(&name).await;
            socket.join(&lots[n % lots.len()]).await;
            tasks.push(tokio::spawn(bid(socket, name, lots.clone(), rng.fork(), Arc::clone(&shared))));
        }
        Self { lots, shared, bidders: tasks }
    }

    /// Receipts so far.
    pub(crate) fn receipts(&self) -> u64 {
        self.shared.receipts.load(Ordering::SeqCst)
    }

    /// Answers `unavailable` so far.
    pub(crate) fn unavailable(&self) -> u64 {
        self.shared.unavailable.load(Ordering::SeqCst)
    }

    /// Waits until there were so many more receipts: the server takes bids.
    #[track_caller]
    pub(crate) fn goes_on(&self, receipts: u64) {
        let wanted = self.receipts() + receipts;
        until_within(RECOVERY, "bids to be taken", || (self.receipts() >= wanted).then_some(()));
    }

    /// Lets every bidder end its bid, and holds the server to what they were told.
    pub(crate) async fn verified(self, server: &Server) -> History {
        self.shared.stop.store(true, Ordering::SeqCst);
        let (mut history, mut refused) = (History::default(), Vec::new());
        for bidder in self.bidders {
            let witness = bidder.await.unwrap();
            history.extend(witness.history);
            refused.extend(witness.refused);
        }
        let accepted = history.verify(&server.rest("root", "admin"), &self.lots);
        for (lot, bidder, bid_id) in &refused {
            assert!(!accepted.holds(lot, bidder, bid_id), "{bidder} was refused {bid_id} on {lot}, which is in the history");
        }
        println!(
            "{} receipts, {} pushed events, {} answers `unavailable`",
            history.receipt_count(),
            history.event_count(),
            self.shared.unavailable.load(Ordering::SeqCst)
        );
        history
    }
}

async fn bid(mut socket: Socket, name: String, lots: Vec<String>, mut rng: Rng, shared: Arc<Shared>) -> Witness {
    let mut witness = Witness::default();
    let mut least: Vec<u64> = vec![10; lots.len()];
    let mut pace = pace(Duration::from_millis(20));
    while !shared.stop.load(Ordering::SeqCst) {
        let lot = rng.between(0, lots.len() as u64) as usize;
        let amount = least[lot] + rng.between(0, 3);
        let mut bid = json!({"lot": lots[lot], "bid_id": rng.uuid(), "amount": amount});
        let decided = loop {
            match socket.try_ask(&json!({"bid": bid})).await.expect("the server stays") {
                Err(error) if error["code"] == "unavailable" => {
                    assert_eq!(error["temporary"], true, "{error}");
                    shared.unavailable.fetch_add(1, Ordering::SeqCst);
                    bid["retry"] = json!(true);
                    pace.tick().await;
                }
                decided => break decided,
            }
        };
        match decided {
            Ok(ok) => {
                least[lot] = least[lot].max(ok["receipt"]["price"].as_u64().unwrap() + 1);
                witness.history.receipt(&name, &ok["receipt"]);
                shared.receipts.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => {
                match error["code"].as_str().unwrap() {
                    "bid_too_low" => least[lot] = error["minimum"].as_u64().unwrap(),
                    "max_not_raised" => least[lot] += 5,
                    other => panic!("{bid}: {other}: {error}"),
                }
                witness.refused.push((lots[lot].clone(), name.clone(), bid["bid_id"].as_str().unwrap().to_owned()));
            }
        }
        look_at_pushes(&mut socket, &mut witness.history, &lots, &mut least);
    }
    witness
}

fn look_at_pushes(socket: &mut Socket, history: &mut History, lots: &[String], least: &mut [u64]) {
    for (lot, event) in socket.events.drain(..) {
        history.event(&lot, &event);
        if event_name(&event) == "bid_placed" {
            let place = lots.iter().position(|known| *known == lot).unwrap();
            least[place] = event["bid_placed"]["minimum_bid"].as_u64().unwrap();
        }
    }
    socket.resyncs.clear();
    socket.owns.clear();
}
