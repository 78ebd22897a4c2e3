//! One currency of a wallet: the balance, and what lots hold of it.

use crate::{
    ids::LotId,
    money::{Amount, SignedAmount},
    wallet::holds::Holds,
};
use serde::{Deserialize, Serialize};

/// Balance and holds in one currency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purse {
    balance: SignedAmount,
    pub(super) holds: Holds,
}

impl Purse {
    /// What the ledger sums to.
    #[must_use]
    pub const fn balance(&self) -> SignedAmount {
        self.balance
    }

    /// What lots hold of it.
    #[must_use]
    pub const fn holds(&self) -> &Holds {
        &self.holds
    }

    /// What all lots hold together.
    #[must_use]
    pub const fn held(&self) -> Amount {
        self.holds.sum()
    }

    /// What can still be held. Negative only after a forced deduction.
    #[must_use]
    pub fn available(&self) -> SignedAmount {
        self.balance.minus(self.held().into()).unwrap_or(SignedAmount::from(Amount::MAX).negated())
    }

    /// What could be held for a lot in all.
    #[must_use]
    pub fn available_for(&self, lot: LotId) -> SignedAmount {
        self.available().plus(self.holds.amount(lot).into()).unwrap_or(SignedAmount::from(Amount::MAX))
    }

    pub(super) const fn set_balance(&mut self, balance: SignedAmount) {
        self.balance = balance;
    }
}
