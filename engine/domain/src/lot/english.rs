//! The price rules of an English auction: which bid leads, and at what price.
//!
//! The rules are those of PROTOCOL, "How a bid is judged", numbered as there; proxy bidding follows
//! eBay's. Times, soft close and `bid_id` are not known here.

use crate::{
    command::PlaceBid,
    event::Standing,
    ids::BidderId,
    lot::spec::English,
    money::Amount,
    reject::{InvalidBid, Reject},
};

/// Where the bidding stands.
#[derive(Clone, Copy, Debug)]
pub struct Bidding<'a> {
    /// The price; none before the first bid.
    pub price: Option<Amount>,
    /// Who leads with which maximum; none before the first bid.
    pub lead: Option<&'a Standing>,
}

/// What an accepted bid makes of the bidding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The price after it.
    pub price: Amount,
    /// Who leads after it.
    pub leader: BidderId,
    /// Sold on the spot.
    pub bought: bool,
}

impl English {
    /// The least that a challenger must bid: the start price, then one step above the price.
    #[must_use]
    pub fn minimum_bid(&self, price: Option<Amount>) -> Amount {
        price.map_or(self.start_price, |price| self.increments.above(price))
    }

    /// Whether the reserve is reached at `price`; none without a reserve.
    #[must_use]
    pub fn reserve_met(&self, price: Option<Amount>) -> Option<bool> {
        self.reserve_price.map(|reserve| price.is_some_and(|price| price >= reserve))
    }

    /// Whether a bid could still buy at once.
    #[must_use]
    pub fn buy_now_available(&self, price: Option<Amount>) -> bool {
        self.buy_now_price.is_some_and(|buy_now| price.is_none_or(|price| price < buy_now))
    }

    /// Judges a bid by price alone (rules 1 to 6).
    ///
    /// # Errors
    /// The bid is refused.
    pub fn judge(&self, bid: &PlaceBid, bidding: Bidding<'_>) -> Result<Judged, Reject> {
        if let Some(price) = self.buy_now_price.filter(|buy_now| bid.amount >= *buy_now)
            && self.buy_now_available(bidding.price)
        {
            return Ok(Judged { price, leader: bid.bidder.clone(), bought: true }); // 6
        }
        let (price, leader, max) = match (bidding.price, bidding.lead) {
            (Some(price), Some(lead)) if lead.bidder == bid.bidder => (price, &bid.bidder, self.own_raise(bid, lead)?),
            (Some(price), Some(lead)) => self.challenge(bid, price, lead)?,
            _ => {
                self.at_least_minimum(bid, None)?;
                (bid.amount, &bid.bidder, bid.limit()) // 1
            }
        };
        // 4: a maximum that reaches the hidden reserve lifts the price to it.
        let price = self.reserve_price.filter(|reserve| max >= *reserve).map_or(price, |reserve| price.max(reserve));
        Ok(Judged { price, leader: leader.clone(), bought: false })
    }

    /// Rule 3 (and 5): the leader may only raise its maximum; the price stays.
    fn own_raise(&self, bid: &PlaceBid, lead: &Standing) -> Result<Amount, Reject> {
        if !self.proxy {
            return Err(Reject::AlreadyLeading);
        }
        if bid.limit() <= lead.max {
            return Err(Reject::MaxNotRaised { max: lead.max });
        }
        Ok(bid.limit())
    }

    /// Rule 2: price, leader and leader's maximum after somebody else's bid.
    fn challenge<'a>(&self, bid: &'a PlaceBid, price: Amount, lead: &'a Standing) -> Result<(Amount, &'a BidderId, Amount), Reject> {
        self.at_least_minimum(bid, Some(price))?;
        let max = bid.limit();
        Ok(if max > lead.max {
            let price = bid.amount.max(max.min(self.increments.above(lead.max)));
            (price, &bid.bidder, max)
        } else {
            (lead.max.min(self.increments.above(max)), &lead.bidder, lead.max)
        })
    }

    fn at_least_minimum(&self, bid: &PlaceBid, price: Option<Amount>) -> Result<(), Reject> {
        let minimum = self.minimum_bid(price);
        if bid.amount < minimum { Err(Reject::BidTooLow { minimum }) } else { Ok(()) }
    }

    /// What is wrong with a bid whatever the price.
    ///
    /// # Errors
    /// `max` below `amount`, or any `max` where there is no proxy bidding.
    pub fn check_shape(&self, bid: &PlaceBid) -> Result<(), InvalidBid> {
        match bid.max {
            Some(_) if !self.proxy => Err(InvalidBid::ProxyOff),
            Some(max) if max < bid.amount => Err(InvalidBid::MaxBelowAmount),
            _ => Ok(()),
        }
    }
}
