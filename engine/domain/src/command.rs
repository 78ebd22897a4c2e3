//! What can be asked of a lot. The time it is asked at comes beside it.

use crate::{
    ids::{BidId, BidderId},
    lot::spec::LotSpec,
    money::Amount,
    time::Millis,
};
use std::sync::Arc;

/// A command to one lot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A bid.
    Bid(PlaceBid),
    /// Opens a draft or scheduled lot now.
    Open,
    /// Stops the clock; the remaining time is kept.
    Pause {
        /// Shown to bidders.
        reason: Option<Arc<str>>,
    },
    /// Lets the clock run on with the remaining time.
    Resume,
    /// Moves the closing time.
    Extend {
        /// By how much.
        by: Millis,
    },
    /// Ends the lot without a sale, whatever was bid.
    Cancel {
        /// Shown to bidders.
        reason: Option<Arc<str>>,
    },
    /// The hammer: closes an open or paused lot now.
    Close,
    /// Replaces the spec by a changed one, as far as the state allows.
    Change(Box<LotSpec>),
    /// Lets these bid, where a registration for the lot is asked for.
    Register(Vec<BidderId>),
    /// Lets this one bid no more.
    Unregister(BidderId),
    /// The winner's wallet has paid.
    Settle,
    /// The deadline ([`crate::lot::Lot::deadline`]) has passed: opens or closes what is due.
    Tick,
}

/// One bid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceBid {
    /// Who bids.
    pub bidder: BidderId,
    /// The client's own name of the bid.
    pub bid_id: BidId,
    /// At least this.
    pub amount: Amount,
    /// At most this (proxy bidding); as `amount` where absent.
    pub max: Option<Amount>,
}

impl PlaceBid {
    /// The most this bid can cost its bidder.
    #[must_use]
    pub fn limit(&self) -> Amount {
        self.max.unwrap_or(self.amount)
    }
}
