//! One currency of a wallet: the balance, and what lots hold of it.

use crate::{
    claims::LotWord,
    ids::{AttemptId, LotId, Seq},
    money::{Amount, SignedAmount},
};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Balance and holds in one currency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purse {
    balance: SignedAmount,
    holds: BTreeMap<LotId, Hold>,
    /// The sum over `holds`.
    held: Amount,
}

/// What one lot holds: the largest of the bidder's claims on it, never their sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The bidder's standing maximum as the lot last told it; zero where it does not lead.
    pub standing: Amount,
    /// The lot's last event when it told that.
    pub seq: Seq,
    /// Claims that the lot has not spoken of since they were made.
    pub attempts: SmallVec<[(AttemptId, Amount); 1]>,
}

impl Hold {
    /// What is held.
    #[must_use]
    pub fn amount(&self) -> Amount {
        self.attempts.iter().map(|(_, amount)| *amount).fold(self.standing, Amount::max)
    }

    /// As it would be after the lot's word.
    fn told(&self, word: &LotWord) -> Self {
        let mut told = self.clone();
        told.attempts.retain(|(attempt, _)| word.stands_by(*attempt));
        if word.seq >= told.seq {
            (told.standing, told.seq) = (word.standing, word.seq);
        }
        told
    }
}

impl Purse {
    /// What the ledger sums to.
    #[must_use]
    pub const fn balance(&self) -> SignedAmount {
        self.balance
    }

    /// What all lots hold together.
    #[must_use]
    pub const fn held(&self) -> Amount {
        self.held
    }

    /// What can still be held. Negative only after a forced deduction.
    #[must_use]
    pub fn available(&self) -> SignedAmount {
        self.balance.minus(self.held.into()).unwrap_or(SignedAmount::from(Amount::MAX).negated())
    }

    /// What a lot holds; none where it holds nothing.
    #[must_use]
    pub fn hold(&self, lot: LotId) -> Option<&Hold> {
        self.holds.get(&lot)
    }

    /// All holds.
    pub fn holds(&self) -> impl Iterator<Item = (LotId, &Hold)> {
        self.holds.iter().map(|(lot, hold)| (*lot, hold))
    }

    /// What could be held for a lot in all.
    #[must_use]
    pub fn available_for(&self, lot: LotId) -> SignedAmount {
        let own = self.holds.get(&lot).map_or(Amount::ZERO, Hold::amount);
        self.available().plus(own.into()).unwrap_or(SignedAmount::from(Amount::MAX))
    }

    /// Whether the lot's word would change anything. It never raises what is held: a word that was
    /// overtaken by others may speak of a lead that ended since.
    #[must_use]
    pub fn hears(&self, lot: LotId, word: &LotWord) -> bool {
        self.holds.get(&lot).is_some_and(|hold| {
            let told = hold.told(word);
            told != *hold && told.amount() <= hold.amount()
        })
    }

    pub(super) fn claim(&mut self, lot: LotId, attempt: AttemptId, amount: Amount) {
        self.change(lot, |hold| hold.attempts.push((attempt, amount)));
    }

    pub(super) fn tell(&mut self, lot: LotId, word: &LotWord) {
        self.change(lot, |hold| *hold = hold.told(word));
    }

    pub(super) fn free(&mut self, lot: LotId) {
        self.change(lot, |hold| *hold = Hold::default());
    }

    pub(super) const fn set_balance(&mut self, balance: SignedAmount) {
        self.balance = balance;
    }

    /// Changes one hold and keeps the sum; a hold of no claims is none.
    fn change(&mut self, lot: LotId, change: impl FnOnce(&mut Hold)) {
        let hold = self.holds.entry(lot).or_default();
        let before = hold.amount();
        change(hold);
        let after = hold.amount();
        if hold.attempts.is_empty() && hold.standing == Amount::ZERO {
            self.holds.remove(&lot);
        }
        self.held = self.held.saturating_sub(before).saturating_add(after);
    }
}
