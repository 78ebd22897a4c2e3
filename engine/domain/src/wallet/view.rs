//! A wallet as its owner may see it.

use crate::{
    ids::{BidderId, LotId, Position},
    money::{Amount, SignedAmount},
    wallet::{Wallet, holds::Holds, permit::Terms},
};
use std::sync::Arc;

/// All of a wallet but the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletView {
    /// Whose.
    pub bidder: BidderId,
    /// The last event.
    pub position: Position,
    /// One for each currency that something ever happened in.
    pub items: Vec<PurseView>,
}

/// One currency of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurseView {
    /// Which.
    pub currency: Arc<str>,
    /// What the ledger sums to.
    pub balance: SignedAmount,
    /// What lots hold.
    pub held: Amount,
    /// Balance less held.
    pub available: SignedAmount,
    /// What each lot holds.
    pub holds: Vec<(LotId, Amount)>,
    /// What each lot holds that takes no money from the wallet; not part of `held`.
    pub pledges: Vec<(LotId, Amount)>,
    /// What the bidder may do in this currency.
    pub terms: Terms,
    /// What counts against the spend limit beside holds and pledges.
    pub spent: Amount,
}

impl Wallet {
    /// The wallet as its owner may see it.
    #[must_use]
    pub fn view(&self) -> WalletView {
        let items = self.currencies().into_iter().map(|currency| {
            let (purse, permit) = (self.purse(currency), self.permit(currency));
            PurseView {
                currency: Arc::clone(currency),
                balance: purse.balance(),
                held: purse.held(),
                available: purse.available(),
                holds: amounts(purse.holds()),
                pledges: amounts(permit.pledges()),
                terms: permit.terms(),
                spent: permit.spent(),
            }
        });
        WalletView { bidder: self.bidder().clone(), position: self.position(), items: items.collect() }
    }
}

fn amounts(holds: &Holds) -> Vec<(LotId, Amount)> {
    holds.iter().map(|(lot, hold)| (lot, hold.amount())).collect()
}
