//! After a burst: the lots as the server shows them must be what the accepted bids make of them.
//! What can be seen while bids are going on was checked where it was read.

use uuid::Uuid;

use super::lot::Lot;
use super::{BurstError, Names};
use crate::audit::Violation;
use crate::audit::english::English;
use crate::rest::{LotState, Outcome, Rest, Sold};
use crate::wire::request::BidIds;

/// The start price of every lot.
const START: u64 = 1;

/// What the receipts make of a lot.
pub(super) struct Expected {
    lot: Uuid,
    price: Option<u64>,
    leader: Option<String>,
    max: Option<u64>,
    bids: u64,
    /// The last event's number while the lot is open.
    seq: u64,
}

/// Runs the rules over a lot's receipts.
pub(super) fn judge(lot: &Lot, proxy: bool, names: &Names) -> Result<Expected, Violation> {
    let judged = lot.ledger.judge(English::new(proxy, START))?;
    let leader = judged.leader().map(|bidder| names.bidder(bidder));
    let (price, max, bids) = (judged.price(), judged.max(), lot.ledger.accepted());
    Ok(Expected { lot: lot.id, price, leader, max, bids, seq: lot.ledger.end() })
}

impl Expected {
    /// The lot as read while open, or as closed.
    pub(super) fn compare(&self, place: &'static str, state: &LotState) -> Result<(), Violation> {
        self.same(place, "price", &state.price, &self.price)?;
        self.same(place, "leader", &state.leader, &self.leader)?;
        self.same(place, "bid_count", &Some(state.bid_count), &Some(self.bids))
    }

    /// The open lot's last event: nothing has happened to it that nobody was told.
    pub(super) fn last(&self, place: &'static str, state: &LotState) -> Result<(), Violation> {
        self.same(place, "position.seq", &Some(state.position.seq), &Some(self.seq))
    }

    /// Who leads, and the maximum it leads with.
    pub(super) fn held(&self) -> Option<(&str, u64)> {
        Some((self.leader.as_deref()?, self.max?))
    }

    /// How the closed lot ended.
    pub(super) fn ended(&self, state: &LotState) -> Result<(), Violation> {
        let sold = |sold: &Sold| format!("{} at {}", sold.winner, sold.price);
        let got = state.outcome.as_ref().map(|Outcome { sold: it }| it.as_ref().map_or("unsold".into(), sold));
        let want = match (&self.leader, self.price) {
            (Some(winner), Some(price)) => sold(&Sold { winner: winner.clone(), price }),
            _ => "unsold".into(),
        };
        self.same("the closed lot", "outcome", &got, &Some(want))
    }

    fn same<T: PartialEq + ToString>(
        &self,
        place: &'static str,
        field: &'static str,
        got: &Option<T>,
        want: &Option<T>,
    ) -> Result<(), Violation> {
        if got == want {
            return Ok(());
        }
        let say = |value: &Option<T>| value.as_ref().map_or("null".into(), T::to_string);
        Err(Violation::FinalState { lot: self.lot, place, field, got: say(got), want: say(want) })
    }
}

/// Pages through a lot's history: every receipt is there once, in order, and nothing else. Answers how many.
pub(super) fn history(lot: &Lot, rest: &Rest, names: &Names, ids: BidIds) -> Result<u64, BurstError> {
    let mut receipts = lot.ledger.receipts();
    let mut cursor = None;
    let mut found = 0;
    let differs = |got, want| Violation::History { lot: lot.id, got, want };
    loop {
        let page = rest.bids(lot.id, cursor.as_deref())?;
        for item in page.items {
            let id = item.bid_id.map_or("none".into(), |id| id.to_string());
            let got = format!("seq {} price {} bidder {} bid_id {id}", item.seq, item.price, item.bidder);
            let Some((seq, bid)) = receipts.next() else {
                return Err(differs(got, "nothing more".into()).into());
            };
            let same = item.seq == seq
                && item.price == u64::from(bid.price)
                && item.bid_id == Some(ids.id(bid.bid))
                && item.bidder == names.bidder(bid.bidder);
            if !same {
                let (bidder, id) = (names.bidder(bid.bidder), ids.id(bid.bid));
                return Err(differs(got, format!("seq {seq} price {} bidder {bidder} bid_id {id}", bid.price)).into());
            }
            found += 1;
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    match receipts.next() {
        Some((seq, bid)) => {
            let want = format!("seq {seq} price {} bidder {}", bid.price, names.bidder(bid.bidder));
            Err(differs("no more bids".into(), want).into())
        }
        None => Ok(found),
    }
}
