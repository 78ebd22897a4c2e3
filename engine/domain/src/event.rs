//! What has happened to a lot. Events are facts: applying one never fails.
//!
//! These are the journal's words, with what only the house may know (maxima, bid ids). What the
//! public sees of them is the edge's matter; [`LotEvent::BidPlaced`] carries all that is needed.

use crate::{
    currency::Currency,
    ids::{BidId, BidderId, Epoch, LotId, Seq},
    lot::{
        access::AccessRules,
        spec::{LotSpec, Rules, SoftClose},
    },
    money::Amount,
    receipt::Receipt,
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An event with its place in the lot's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The lot.
    pub lot: LotId,
    /// The epoch that journaled it.
    pub epoch: Epoch,
    /// Its number in the lot; 0 only for its creation.
    pub seq: Seq,
    /// When it took effect. For a bid: when it was admitted; for a deadline: the deadline.
    pub at: Timestamp,
    /// What happened.
    pub event: LotEvent,
}

/// Something that happened to a lot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LotEvent {
    /// The lot exists, as a draft, or scheduled where it has an opening time ahead.
    Created(Box<LotSpec>),
    /// Bids are taken from now on.
    Opened {
        /// None in a hammer sale.
        closes_at: Option<Timestamp>,
    },
    /// A bid was accepted.
    BidPlaced(BidPlaced),
    /// The closing time moved, by a late bid or by hand.
    Extended {
        /// The closing time from now on.
        closes_at: Timestamp,
        /// How many late bids have moved it so far.
        extensions: u32,
    },
    /// The clock stands still.
    Paused {
        /// What is left on it; none in a hammer sale.
        remaining: Option<Millis>,
        /// Shown to bidders.
        reason: Option<Arc<str>>,
    },
    /// The clock runs again.
    Resumed {
        /// None in a hammer sale.
        closes_at: Option<Timestamp>,
    },
    /// The auctioneer changed the lot.
    Changed(Box<Change>),
    /// Over.
    Closed(Outcome),
    /// Over, without a sale.
    Cancelled {
        /// Shown to bidders.
        reason: Option<Arc<str>>,
    },
    /// The winner's wallet has paid.
    Settled,
    /// As [`LotEvent::Created`], for a lot with rules of access.
    CreatedWith(Box<(LotSpec, AccessRules)>),
    /// These may bid from now on, where a registration for the lot is asked for.
    Registered(Vec<BidderId>),
    /// These may not any more.
    Unregistered(Vec<BidderId>),
}

impl LotEvent {
    /// What a lot was created with; none for every other event.
    #[must_use]
    pub fn creation(&self) -> Option<(&LotSpec, AccessRules)> {
        match self {
            Self::Created(spec) => Some((spec, AccessRules::default())),
            Self::CreatedWith(with) => Some((&with.0, with.1)),
            _ => None,
        }
    }
}

/// An accepted bid and what it made of the lot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BidPlaced {
    /// Who bid.
    pub bidder: BidderId,
    /// The client's name of the bid.
    pub bid_id: BidId,
    /// What was bid. The public sees no more of it than the price.
    pub amount: Amount,
    /// The bidder's maximum. Never public.
    pub max: Amount,
    /// The price after it.
    pub price: Amount,
    /// Who leads after it.
    pub leader: BidderId,
    /// Who led before, if this bid took the lead from somebody else, with that bidder's maximum.
    pub outbid: Option<Standing>,
    /// Accepted bids so far, with this one.
    pub bid_count: u64,
    /// The least that a challenger must bid next.
    pub minimum_bid: Amount,
    /// Whether the reserve is reached; none where there is no reserve.
    pub reserve_met: Option<bool>,
    /// The closing time it was judged by.
    pub deadline: Option<Timestamp>,
    /// The closing time after it.
    pub closes_at: Option<Timestamp>,
}

/// A bidder and the most it would pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The bidder.
    pub bidder: BidderId,
    /// Its standing maximum.
    pub max: Amount,
}

/// What an auctioneer changed, and what follows from it. Unchanged parts are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The new title.
    pub title: Option<Arc<str>>,
    /// The new description.
    pub description: Option<Arc<str>>,
    /// The new currency.
    pub currency: Option<Currency>,
    /// The new rules, with the reserve.
    pub rules: Option<Rules>,
    /// The new opening time.
    pub opens_at: Option<Option<Timestamp>>,
    /// The new closing time.
    pub closes_at: Option<Option<Timestamp>>,
    /// The new soft close.
    pub soft_close: Option<Option<SoftClose>>,
    /// The price, where a lowered reserve let it jump.
    pub price: Option<Amount>,
    /// The least a challenger must bid after the change.
    pub minimum_bid: Amount,
    /// Whether the reserve is reached after the change.
    pub reserve_met: Option<bool>,
}

/// How a lot ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// To the leader, at the price.
    Sold {
        /// Who won.
        winner: BidderId,
        /// What the winner pays.
        price: Amount,
    },
    /// Nobody gets it.
    Unsold {
        /// Why.
        reason: Unsold,
    },
}

/// Why a lot was not sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsold {
    /// Nobody bid.
    NoBids,
    /// The leader's maximum stayed below the reserve.
    ReserveNotMet,
}

impl Recorded {
    /// The receipt of the bid this event is; none for other events.
    #[must_use]
    pub fn receipt(&self) -> Option<Receipt> {
        let LotEvent::BidPlaced(bid) = &self.event else { return None };
        Some(Receipt {
            bid_id: bid.bid_id,
            lot: self.lot,
            epoch: self.epoch,
            seq: self.seq,
            amount: bid.amount,
            max: bid.max,
            price: bid.price,
            leading: bid.leader == bid.bidder,
            received_at: self.at,
            deadline: bid.deadline,
            closes_at: bid.closes_at,
        })
    }
}

impl BidPlaced {
    /// What the public may see of the amount: never more than the price.
    #[must_use]
    pub fn public_amount(&self) -> Amount {
        self.amount.min(self.price)
    }
}
