//! Runs one listed auction as a lot, on a clock that starts at zero with it. Every judgement is the domain's.

use super::bid_list::{Auction, Bid};
use gavel_domain::{
    command::{Command, PlaceBid},
    currency::Currency,
    event::{LotEvent, Outcome, Recorded},
    ids::{BidId, BidderId, Epoch, LotId, Seq},
    lot::{
        Decision, Lot,
        access::AccessRules,
        increments::{Increment, Increments},
        spec::{English, Funding, LotSpec, Rules},
    },
    money::Amount,
    time::Timestamp,
};
use std::sync::Arc;
use uuid::Uuid;

/// eBay's increments at the time, in cents: from this price on, this step.
const EBAY: [(u64, u64); 10] = [
    (0, 5),
    (100, 25),
    (500, 50),
    (2_500, 100),
    (10_000, 250),
    (25_000, 500),
    (50_000, 1_000),
    (100_000, 2_500),
    (250_000, 5_000),
    (500_000, 10_000),
];

const EPOCH: Epoch = Epoch(1);

/// How an auction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// None: not sold.
    pub(super) sold_at: Option<Amount>,
    /// Bids that the rules refused.
    pub(super) refused: usize,
}

/// Runs an auction to its close. Each listed bid is sent as a bidder who follows the price would: at least the least that
/// counts, at most the listed maximum.
pub(super) fn simulate(auction: &Auction, reserve: Option<Amount>) -> Ending {
    let mut lot = open(spec(auction, reserve));
    let refused = auction.bids.iter().enumerate().filter(|(number, bid)| !placed(&mut lot, *number, bid)).count();
    step(&mut lot, &Command::Tick, Timestamp::default().plus(auction.lasts));
    let sold_at = match lot.view().outcome {
        Some(Outcome::Sold { price, .. }) => Some(price),
        _ => None,
    };
    Ending { sold_at, refused }
}

fn spec(auction: &Auction, reserve_price: Option<Amount>) -> LotSpec {
    let cents = |cents| Amount::new(cents).expect("eBay's increments are small");
    let rows: Vec<_> = EBAY.iter().map(|&(from, step)| Increment { from: cents(from), step: cents(step) }).collect();
    let increments = Increments::new(rows).expect("eBay's table ascends from zero");
    LotSpec {
        title: auction.id.as_str().into(),
        description: "".into(),
        currency: Currency { code: "USD".into(), scale: 2 },
        funding: Funding::Open,
        rules: Rules::English(English { start_price: auction.start_price, reserve_price, buy_now_price: None, proxy: true, increments }),
        draft: false,
        opens_at: None,
        closes_at: Some(Timestamp::default().plus(auction.lasts)),
        soft_close: None,
    }
}

fn open(spec: LotSpec) -> Lot {
    let at = Timestamp::default();
    let mut events = Lot::creation(spec, AccessRules::default(), at).into_iter();
    let event = events.next().unwrap_or(LotEvent::Settled);
    let created = Arc::new(Recorded { lot: LotId(Uuid::nil()), epoch: EPOCH, seq: Seq(0), at, event });
    let mut lot = Lot::from_creation(&created).expect("a creation begins with the lot");
    lot.advance(EPOCH, at, events);
    lot
}

/// Whether the bid was accepted.
fn placed(lot: &mut Lot, number: usize, bid: &Bid) -> bool {
    let amount = lot.view().minimum_bid.min(bid.max);
    let bidder = BidderId::try_from(format!("bidder-{}", bid.bidder).as_str()).expect("a number after a word is a good name");
    let bid_id = BidId(Uuid::from_u128(number as u128));
    step(lot, &Command::Bid(PlaceBid { bidder, bid_id, amount, max: Some(bid.max) }), bid.at)
}

/// Decides and applies; whether it was accepted.
fn step(lot: &mut Lot, command: &Command, at: Timestamp) -> bool {
    match lot.decide(command, at) {
        Ok(Decision::Events { at, events }) => {
            lot.advance(EPOCH, at, events);
            true
        }
        Ok(Decision::Already(_)) => true,
        Err(_) => false,
    }
}
