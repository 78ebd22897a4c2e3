//! Why the rules refuse a command. Values, not failures: nothing has changed.

use crate::{
    money::{Amount, SignedAmount},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// A refusal with what the asker needs to do better.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Reject {
    /// The lot is a draft or scheduled: bids are not taken yet.
    #[error("the lot is not open for bids yet")]
    LotNotOpen,
    /// An auctioneer has paused the lot.
    #[error("the lot is paused")]
    LotPaused,
    /// Closed or cancelled, or the closing time has passed.
    #[error("the lot is closed")]
    LotClosed,
    /// Below the least that is accepted now.
    #[error("the least accepted now is {minimum}")]
    BidTooLow {
        /// The least amount that would have been accepted.
        minimum: Amount,
    },
    /// The leader's own bid must raise the maximum.
    #[error("your maximum is already {max}: a higher one is needed")]
    MaxNotRaised {
        /// The bidder's own standing maximum.
        max: Amount,
    },
    /// Without proxy bidding the leader cannot bid against itself.
    #[error("you already lead")]
    AlreadyLeading,
    /// The same `bid_id` came with another amount or maximum.
    #[error("this bid_id was accepted with another amount or max")]
    BidIdConflict,
    /// The bid itself makes no sense on this lot.
    #[error("{0}")]
    InvalidBid(InvalidBid),
    /// The lot's state forbids what was asked.
    #[error("{0}")]
    Conflict(Conflict),
    /// The bidder's wallet can't back the bid.
    #[error("not enough in the wallet: {available} can be bid here, {needed} is needed")]
    InsufficientFunds {
        /// What the wallet could hold for this lot: what is available, with what it holds there already.
        available: SignedAmount,
        /// What the bid asks for: its maximum.
        needed: Amount,
    },
    /// The lot takes bids of registered bidders only.
    #[error("you are not registered for this lot or its currency")]
    NotRegistered,
    /// The bidder may not bid that much, or on that many lots at a time.
    #[error("{0}")]
    LimitExceeded(Limit),
}

/// Which of a bidder's limits a bid passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Limit {
    /// Leads at a time.
    #[error("you may lead on {limit} lots at a time, and do, or are about to")]
    Leads {
        /// How many.
        limit: u32,
    },
    /// What it leads with and has spent.
    #[error("{left} of your spend limit can be bid here, {needed} is needed")]
    Spend {
        /// What could be bid on this lot in all.
        left: Amount,
        /// What the bid asks for: its maximum.
        needed: Amount,
    },
}

/// What is wrong with a bid whatever the price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum InvalidBid {
    /// `max` below `amount`.
    #[error("max is below amount")]
    MaxBelowAmount,
    /// `max` on a lot without proxy bidding.
    #[error("this lot takes no max: it has no proxy bidding")]
    ProxyOff,
}

/// Why an auctioneer's command does not fit the lot's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Conflict {
    /// Closed and cancelled lots stay as they are.
    #[error("the lot is over")]
    Over,
    /// Only a draft or scheduled lot can be opened.
    #[error("the lot is already open")]
    AlreadyOpen,
    /// Draft and scheduled lots can be opened, changed or cancelled only.
    #[error("the lot has not been opened yet")]
    NotYetOpen,
    /// Only an open lot can be paused.
    #[error("the lot is already paused")]
    AlreadyPaused,
    /// Only a paused lot can be resumed.
    #[error("the lot is not paused")]
    NotPaused,
    /// A hammer sale has no closing time to move.
    #[error("the lot has no closing time: it is closed by hand")]
    NoClosingTime,
    /// `hard_close_at` is never passed.
    #[error("the lot never closes after its hard_close_at")]
    PastHardClose,
    /// The closing time of a lot to be opened lies in the past.
    #[error("the lot's closing time has passed: change it first")]
    ClosesInThePast,
    /// Rules and times stand from the first bid on.
    #[error("rules and times stand from the first bid on; a reserve may only be lowered")]
    FixedByFirstBid,
    /// What has no meaning, or would do harm, once the lot is open.
    #[error("the lot has been opened: opens_at, and the currency of wallets, can't change any more")]
    FixedByOpening,
    /// The lot exists.
    #[error("a lot with this id exists")]
    LotExists,
    /// What backs bids is said at the creation.
    #[error("funding can't change")]
    FundingFixed,
    /// The lot's rules say otherwise.
    #[error("the lot registers no bidders: its registration is not \"lot\"")]
    NoRegistrations,
    /// More than one lot can hold.
    #[error("a lot can register 10,000 bidders")]
    TooManyRegistered,
}

/// A refused bid, with the times it was judged by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
    pub reject: Reject,
    /// When the lot's owner admitted the bid.
    pub received_at: Timestamp,
    /// The closing time that it was judged by; none in a hammer sale.
    pub deadline: Option<Timestamp>,
}
