//! Which holds a lot stands by: what is between a lot and the wallets of its bidders.
//!
//! A bid on a lot that asks wallets takes four steps: the lot judges it (a quick refusal), the wallet
//! *claims* its maximum, the lot judges again and places it, the bidder gets the receipt. A claim is
//! named by its attempt. It ends because of the lot's journaled history, or because the lot gave the
//! attempt up, for good; the lot says so in a [`LotWord`]. A word can be said any number of times, in
//! any order, and can be asked for: whatever got lost, the next one makes up for it. Who does what when
//! something crashes in between is tabulated in `docs/decisions`.

mod attempts;
mod letter;
mod word;

pub use attempts::{Attempt, Attempts, CLOSE_WAITS, TURN_WAITS};
pub use letter::{Address, Letter};
pub use word::{Capture, LotWord};

use crate::{
    command::PlaceBid,
    event::{LotEvent, Outcome, Recorded},
    ids::{AttemptId, BidId, BidderId},
    lot::{Lot, access::Registration, spec::Funding},
    money::Amount,
    wallet::command::HoldAsked,
};
use smallvec::SmallVec;
use std::sync::Arc;

/// Whom a lot has to tell of what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Claims of this bidder ended: the lot's word.
    Word(BidderId),
    /// The winner pays.
    Capture(BidderId, Capture),
}

impl Lot {
    /// Whether bids on it are claimed at their bidders' wallets: money backs them, or limits count them.
    #[must_use]
    pub fn asks_wallets(&self) -> bool {
        self.spec().funding == Funding::Wallet || self.access().rules().registration == Registration::Currency
    }

    /// What to ask a bidder's wallet for.
    #[must_use]
    pub fn hold_for(&self, bid: &PlaceBid, attempt: AttemptId) -> HoldAsked {
        HoldAsked {
            lot: self.id(),
            currency: Arc::clone(self.currency()),
            attempt,
            amount: bid.limit(),
            funding: self.spec().funding,
            registered_only: self.access().rules().registration == Registration::Currency,
        }
    }

    /// The currency of its holds.
    #[must_use]
    pub fn currency(&self) -> &Arc<str> {
        &self.spec().currency.code
    }

    /// The maximum that a bidder leads with and still has to back; zero for everybody else.
    #[must_use]
    pub fn standing_claim(&self, bidder: &BidderId) -> Amount {
        match (self.lead(), self.outcome()) {
            (Some(lead), None) if lead.bidder == *bidder && !self.status().is_over() => lead.max,
            (Some(lead), Some(Outcome::Sold { .. })) if lead.bidder == *bidder && !self.is_settled() => lead.max,
            _ => Amount::ZERO,
        }
    }

    /// What the winner's wallet still owes; none where nothing is owed.
    #[must_use]
    pub fn owed(&self) -> Option<(BidderId, Capture)> {
        if !self.asks_wallets() || self.is_settled() {
            return None;
        }
        let Some(Outcome::Sold { winner, price }) = self.outcome() else { return None };
        let (currency, bid, funding) = (Arc::clone(self.currency()), self.winning_bid(winner), self.spec().funding);
        let capture = Capture { lot: self.id(), currency, price: *price, bid, funding };
        Some((winner.clone(), capture))
    }

    /// The bid that took the lead, as far as the lot remembers.
    fn winning_bid(&self, winner: &BidderId) -> Option<BidId> {
        self.log().latest_first().find_map(|recorded| match &recorded.event {
            LotEvent::BidPlaced(bid) if bid.bidder == *winner && bid.leader == *winner => Some(bid.bid_id),
            _ => None,
        })
    }

    /// Whose claims ended by these events, which this lot has just applied.
    #[must_use]
    pub fn notices(&self, events: &[Arc<Recorded>]) -> SmallVec<[Notice; 1]> {
        let mut notices = SmallVec::new();
        if !self.asks_wallets() {
            return notices;
        }
        for recorded in events {
            match &recorded.event {
                LotEvent::BidPlaced(bid) => {
                    notices.extend(bid.outbid.as_ref().map(|outbid| Notice::Word(outbid.bidder.clone())));
                    if bid.leader != bid.bidder {
                        notices.push(Notice::Word(bid.bidder.clone()));
                    }
                }
                LotEvent::Closed(Outcome::Sold { .. }) => {
                    notices.extend(self.owed().map(|(winner, capture)| Notice::Capture(winner, capture)));
                }
                LotEvent::Closed(Outcome::Unsold { .. }) | LotEvent::Cancelled { .. } => {
                    notices.extend(self.lead().map(|lead| Notice::Word(lead.bidder.clone())));
                }
                _ => {}
            }
        }
        notices
    }
}
