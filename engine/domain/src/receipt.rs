//! The decision receipt of an accepted bid.

use crate::{
    ids::{BidId, Epoch, LotId, Seq},
    money::Amount,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// What the bidder is told of an accepted bid, once it is durable. The same for every resend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The client's name of the bid.
    pub bid_id: BidId,
    /// The lot.
    pub lot: LotId,
    /// The epoch that journaled it.
    pub epoch: Epoch,
    /// Its number among the lot's events.
    pub seq: Seq,
    /// What was bid.
    pub amount: Amount,
    /// The bidder's maximum; equals `amount` where none was given.
    pub max: Amount,
    /// The lot's price after this bid.
    pub price: Amount,
    /// Whether this bidder led after this bid.
    pub leading: bool,
    /// When the lot's owner admitted it.
    pub received_at: Timestamp,
    /// The closing time that it was judged by; none in a hammer sale.
    pub deadline: Option<Timestamp>,
    /// The closing time after it.
    pub closes_at: Option<Timestamp>,
}
