//! The bids of one lot that wait for their holds. In memory only: after a crash they were never
//! placed, and the claims made for them end by the lot's next word.

use crate::{
    claims::{Letter, LotWord, Notice},
    command::PlaceBid,
    event::Recorded,
    ids::{AttemptId, BidderId},
    lot::{Decision, Lot},
    money::SignedAmount,
    reject::{Limit, Reject},
    time::{Millis, Timestamp},
    wallet::command::WalletReject,
};
use smallvec::SmallVec;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// How long the close waits for bids that were admitted before it.
pub const CLOSE_WAITS: Millis = Millis(250);
/// How long a bid waits for those that were admitted before it, from their admission on.
pub const TURN_WAITS: Millis = Millis(50);

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
            return lot.decide_bid(&self.bid, self.at.max(lot.last_event_at()));
        };
        // The same bid may have been sent twice, and placed meanwhile: one bid, one answer.
        if let Some(receipt) = lot.remembered(&self.bid)? {
            return Ok(Decision::Already(Box::new(receipt)));
        }
        Err(match refused {
            WalletReject::InsufficientFunds { available, needed } => Reject::InsufficientFunds { available, needed },
            WalletReject::NotRegistered => Reject::NotRegistered,
            WalletReject::TooManyLeads { limit } => Reject::LimitExceeded(Limit::Leads { limit }),
            WalletReject::SpendLimit { left, needed } => Reject::LimitExceeded(Limit::Spend { left, needed }),
            _ => Reject::InsufficientFunds { available: SignedAmount::ZERO, needed: self.bid.limit() },
        })
    }
}

/// All that wait on one lot, in the order of their admission.
#[derive(Clone, Debug)]
pub struct Attempts<T> {
    waiting: BTreeMap<AttemptId, Waiting<T>>,
    /// The same by bidder. Looked up only, never walked.
    of: HashMap<BidderId, SmallVec<[AttemptId; 4]>>,
    /// How many have an answer.
    answered: usize,
}

#[derive(Clone, Debug)]
struct Waiting<T> {
    attempt: Attempt<T>,
    /// What its wallet said: held, or why not. None: nothing yet.
    answer: Option<Option<WalletReject>>,
}

impl<T> Default for Attempts<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), of: HashMap::new(), answered: 0 }
    }
}

impl<T> Attempts<T> {
    /// A bid begins to wait.
    pub fn begin(&mut self, id: AttemptId, attempt: Attempt<T>) {
        self.of.entry(attempt.bid.bidder.clone()).or_default().push(id);
        self.waiting.insert(id, Waiting { attempt, answer: None });
    }

    /// Notes a wallet's answer. False where nothing waits for it any more: it places nothing.
    pub fn answered(&mut self, id: AttemptId, refused: Option<WalletReject>) -> bool {
        let Some(waiting) = self.waiting.get_mut(&id) else { return false };
        self.answered += usize::from(waiting.answer.is_none());
        waiting.answer = Some(refused);
        true
    }

    /// The next whose turn it is, with its wallet's answer: bids are placed in the order in which they
    /// were admitted, whichever wallet was faster; but nobody waits long for one that does not answer.
    pub fn ready(&mut self, now: Timestamp) -> Option<(Attempt<T>, Option<WalletReject>)> {
        if self.answered == 0 {
            return None;
        }
        let mut turn = None;
        for (id, waiting) in &self.waiting {
            if let Some(answer) = waiting.answer {
                turn = Some((*id, answer));
                break;
            }
            if now.since(waiting.attempt.at) < TURN_WAITS {
                break;
            }
        }
        let (id, answer) = turn?;
        Some((self.end(id)?, answer))
    }

    /// Ends a wait. What comes for it later finds nothing.
    fn end(&mut self, id: AttemptId) -> Option<Attempt<T>> {
        let Waiting { attempt, answer } = self.waiting.remove(&id)?;
        self.answered -= usize::from(answer.is_some());
        if let Some(own) = self.of.get_mut(&attempt.bid.bidder) {
            own.retain(|other| *other != id);
            if own.is_empty() {
                self.of.remove(&attempt.bid.bidder);
            }
        }
        Some(attempt)
    }

    /// Whether an answered bid waits for others.
    #[must_use]
    pub const fn is_held_up(&self) -> bool {
        self.answered > 0
    }

    /// Ends the wait of the oldest.
    pub fn take_oldest(&mut self) -> Option<Attempt<T>> {
        let oldest = *self.waiting.first_key_value()?.0;
        self.end(oldest)
    }

    /// Gives all up that were admitted at or before a time.
    pub fn give_up(&mut self, admitted_by: Timestamp) -> Vec<Attempt<T>> {
        let late: Vec<AttemptId> =
            self.waiting.iter().filter(|(_, waiting)| waiting.attempt.at <= admitted_by).map(|(id, _)| *id).collect();
        late.into_iter().filter_map(|id| self.end(id)).collect()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
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
        !self.waiting.is_empty() && now < deadline.plus(CLOSE_WAITS)
    }

    /// What the lot has to say of a bidder's claims. `up_to`: the latest attempt ever named in its
    /// shard.
    #[must_use]
    pub fn word(&self, lot: &Lot, bidder: &BidderId, up_to: AttemptId) -> LotWord {
        let pending = self.of.get(bidder).map(|own| own.iter().copied().collect()).unwrap_or_default();
        LotWord { seq: lot.position().seq, standing: lot.standing_claim(bidder), up_to, pending }
    }
}
