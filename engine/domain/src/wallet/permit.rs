//! What a bidder may do in a currency, whatever the balance: whether it is registered, how much it may
//! spend and on how many lots it may lead at once.
//!
//! All that lots hold counts, also what is *pledged*: held by lots that ask the wallet but take no money
//! from it (`funding` `open`, registration by currency). A lot that asks no wallet counts for nothing.

use crate::{
    ids::LotId,
    money::Amount,
    wallet::{command::WalletReject, holds::Holds},
};
use serde::{Deserialize, Serialize};

/// What an administrator says of a bidder in one currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// May bid on lots that ask for a registration in this currency.
    pub registered: bool,
    /// The most that may be led with and spent together, since there is a limit; none: no limit.
    pub spend_limit: Option<Amount>,
    /// On how many lots it may lead at once; none: no limit.
    pub lead_limit: Option<u32>,
}

/// The terms, and what counts against them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    terms: Terms,
    /// Prices of lots won since there is a limit.
    spent: Amount,
    pub(super) pledges: Holds,
}

impl Permit {
    /// What an administrator said.
    #[must_use]
    pub const fn terms(&self) -> Terms {
        self.terms
    }

    /// Prices of lots won since there is a spend limit.
    #[must_use]
    pub const fn spent(&self) -> Amount {
        self.spent
    }

    /// What lots hold that take no money from the wallet.
    #[must_use]
    pub const fn pledges(&self) -> &Holds {
        &self.pledges
    }

    /// Whether a claim of `amount` on a lot keeps to the terms, beside what is `held` with money.
    ///
    /// # Errors
    /// Which limit it passes. What was allowed before stands, even where a limit was lowered since.
    pub(super) fn check(&self, held: &Holds, lot: LotId, amount: Amount) -> Result<(), WalletReject> {
        let own = held.amount(lot).max(self.pledges.amount(lot));
        if let Some(limit) = self.terms.lead_limit {
            let others = held.lots() + self.pledges.lots() - usize::from(own > Amount::ZERO);
            if others >= usize::try_from(limit).unwrap_or(usize::MAX) {
                return Err(WalletReject::TooManyLeads { limit });
            }
        }
        if let Some(limit) = self.terms.spend_limit {
            let others = self.spent.saturating_add(held.sum()).saturating_add(self.pledges.sum()).saturating_sub(own);
            let left = limit.saturating_sub(others);
            if amount > left {
                return Err(WalletReject::SpendLimit { left, needed: amount });
            }
        }
        Ok(())
    }

    /// New terms. What was spent counts from the first limit on, until there is none.
    pub(super) fn set(&mut self, terms: Terms) {
        self.terms = terms;
        if terms.spend_limit.is_none() {
            self.spent = Amount::ZERO;
        }
    }

    /// A lot was won at this price.
    pub(super) fn spend(&mut self, price: Amount) {
        if self.terms.spend_limit.is_some() {
            self.spent = self.spent.saturating_add(price);
        }
    }
}
