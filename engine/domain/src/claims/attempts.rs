//! The bids of one lot that wait for their holds. In memory only: after a crash they were never
//! placed, and the claims made for them end by the lot's next word.

use crate::{
    claims::{Letter, LotWord, Notice},
    command::{Command, PlaceBid},
    event::Recorded,
    ids::{AttemptId, BidderId},
    lot::{Decision, Lot},
    money::SignedAmount,
    reject::Reject,
    time::Timestamp,
    wallet::command::WalletReject,
};
use std::{collections::BTreeMap, sync::Arc};

/// How long the close waits for bids that were admitted before it.
pub const CLOSE_WAITS: crate::time::Millis = crate::time::Millis(250);

/// A bid that waits for its hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt<T> {
    /// As sent.
    pub bid: PlaceBid,
    /// When it was admitted: what it will be judged by.
    pub at: Timestamp,
    /// Whatever belongs to it where it is driven (who waits for the answer).
    pub with: T,
}

impl<T> Attempt<T> {
    /// Judges the bid once more, now that its wallet has answered: the lot may have moved on.
    ///
    /// It is dated by its admission, but never before the lot's last event: of two bids whose holds
    /// were answered in the other order, the one that is placed later is not the earlier one.
    ///
    /// # Errors
    /// It is not placed, for good: the claim ends.
    pub fn judge(&self, lot: &Lot, refused: Option<WalletReject>) -> Result<Decision, Reject> {
        let Some(refused) = refused else {
            return lot.decide(&Command::Bid(self.bid.clone()), self.at.max(lot.last_event_at()));
        };
        // The same bid may have been sent twice, and placed meanwhile: one bid, one answer.
        if let Some(receipt) = lot.remembered(&self.bid)? {
            return Ok(Decision::Already(Box::new(receipt)));
        }
        Err(match refused {
            WalletReject::InsufficientFunds { available, needed } => Reject::InsufficientFunds { available, needed },
            _ => Reject::InsufficientFunds { available: SignedAmount::ZERO, needed: self.bid.limit() },
        })
    }
}

/// All that wait on one lot, by name.
#[derive(Clone, Debug)]
pub struct Attempts<T>(BTreeMap<AttemptId, Attempt<T>>);

impl<T> Default for Attempts<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Attempts<T> {
    /// A bid begins to wait.
    pub fn begin(&mut self, id: AttemptId, attempt: Attempt<T>) {
        self.0.insert(id, attempt);
    }

    /// Ends a wait. What comes for it later finds nothing, and places nothing.
    pub fn take(&mut self, id: AttemptId) -> Option<Attempt<T>> {
        self.0.remove(&id)
    }

    /// Gives all up that were admitted at or before a time.
    pub fn give_up(&mut self, admitted_by: Timestamp) -> Vec<Attempt<T>> {
        let late: Vec<AttemptId> = self.0.iter().filter(|(_, attempt)| attempt.at <= admitted_by).map(|(id, _)| *id).collect();
        late.into_iter().filter_map(|id| self.take(id)).collect()
    }

    /// When the oldest was admitted.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        self.0.values().map(|attempt| attempt.at).min()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What must be told after these events, which the lot has just applied.
    pub fn letters(&self, lot: &Lot, events: &[Arc<Recorded>], up_to: AttemptId) -> impl Iterator<Item = Letter> {
        lot.notices(events).into_iter().map(move |notice| match notice {
            Notice::Word(wallet) => self.word_letter(lot, wallet, up_to),
            Notice::Capture(wallet, capture) => Letter::Capture { wallet, capture },
        })
    }

    /// The lot's word to one bidder.
    #[must_use]
    pub fn word_letter(&self, lot: &Lot, wallet: BidderId, up_to: AttemptId) -> Letter {
        let word = self.word(lot, &wallet, up_to);
        Letter::Word { wallet, lot: lot.id(), currency: Arc::clone(lot.currency()), word }
    }

    /// Whether a close that is due at `deadline` must still wait for bids that were admitted before it.
    #[must_use]
    pub fn hold_back(&self, deadline: Timestamp, now: Timestamp) -> bool {
        !self.0.is_empty() && now < deadline.plus(CLOSE_WAITS)
    }

    /// What the lot has to say of a bidder's claims. `up_to`: the latest attempt ever named in its
    /// shard.
    #[must_use]
    pub fn word(&self, lot: &Lot, bidder: &BidderId, up_to: AttemptId) -> LotWord {
        let pending = self.0.iter().filter(|(_, attempt)| attempt.bid.bidder == *bidder).map(|(id, _)| *id).collect();
        LotWord { seq: lot.position().seq, standing: lot.standing_claim(bidder), up_to, pending }
    }
}
