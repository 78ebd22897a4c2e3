//! What lots hold of a wallet in one currency, whether money backs it or not.

use crate::{
    claims::LotWord,
    ids::{AttemptId, LotId, Seq},
    money::Amount,
};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Holds by lot, and their sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    by_lot: BTreeMap<LotId, Hold>,
    /// The sum over `by_lot`.
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

impl Holds {
    /// What all lots hold together.
    #[must_use]
    pub const fn sum(&self) -> Amount {
        self.held
    }

    /// How many lots hold something.
    #[must_use]
    pub fn lots(&self) -> usize {
        self.by_lot.len()
    }

    /// What a lot holds; none where it holds nothing.
    #[must_use]
    pub fn of(&self, lot: LotId) -> Option<&Hold> {
        self.by_lot.get(&lot)
    }

    /// How much that is.
    #[must_use]
    pub fn amount(&self, lot: LotId) -> Amount {
        self.of(lot).map_or(Amount::ZERO, Hold::amount)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (LotId, &Hold)> {
        self.by_lot.iter().map(|(lot, hold)| (*lot, hold))
    }

    /// Whether the lot's word would change anything. It never raises what is held: a word that was
    /// overtaken by others may speak of a lead that ended since.
    #[must_use]
    pub fn hears(&self, lot: LotId, word: &LotWord) -> bool {
        self.of(lot).is_some_and(|hold| {
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

    /// Changes one hold and keeps the sum; a hold of no claims is none.
    fn change(&mut self, lot: LotId, change: impl FnOnce(&mut Hold)) {
        let hold = self.by_lot.entry(lot).or_default();
        let before = hold.amount();
        change(hold);
        let after = hold.amount();
        if hold.attempts.is_empty() && hold.standing == Amount::ZERO {
            self.by_lot.remove(&lot);
        }
        self.held = self.held.saturating_sub(before).saturating_add(after);
    }
}
