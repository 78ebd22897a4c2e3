//! What a lot says to a wallet: which claims it stands by, and that it was won.

use crate::{
    ids::{AttemptId, BidId, Epoch, LotId, Seq},
    lot::spec::Funding,
    money::Amount,
};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::sync::Arc;

/// What a lot says of one bidder's claims on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LotWord {
    /// The lot's last event when it said so.
    pub seq: Seq,
    /// The maximum that the bidder leads with and still has to back; else zero.
    pub standing: Amount,
    /// Every claim made for an attempt up to this one has ended (or became `standing`) ...
    pub up_to: AttemptId,
    /// ... but these, which are still being placed.
    pub pending: SmallVec<[AttemptId; 1]>,
}

impl LotWord {
    /// Whether a claim goes on by itself after this word.
    #[must_use]
    pub fn stands_by(&self, attempt: AttemptId) -> bool {
        attempt > self.up_to || self.pending.contains(&attempt)
    }

    /// For a lot that nobody can bid on any more and that owes nobody a word: all claims on it ended.
    #[must_use]
    pub fn none_left() -> Self {
        let up_to = AttemptId { epoch: Epoch(u64::MAX), number: u64::MAX };
        Self { seq: Seq(u64::MAX), standing: Amount::ZERO, up_to, pending: SmallVec::new() }
    }
}

/// The price of a lot that was won.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The lot.
    pub lot: LotId,
    /// Its currency.
    pub currency: Arc<str>,
    /// What the winner pays.
    pub price: Amount,
    /// The winning bid, where the lot still knows it.
    pub bid: Option<BidId>,
    /// [`Funding::Open`]: nothing is taken, the price only counts against the bidder's limits.
    pub funding: Funding,
}
