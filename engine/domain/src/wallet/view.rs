//! A wallet as its owner may see it.

use crate::{
    ids::{BidderId, LotId, Position},
    money::{Amount, SignedAmount},
    wallet::Wallet,
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
}

impl Wallet {
    /// The wallet as its owner may see it.
    #[must_use]
    pub fn view(&self) -> WalletView {
        let items = self.purses().map(|(currency, purse)| PurseView {
            currency: Arc::clone(currency),
            balance: purse.balance(),
            held: purse.held(),
            available: purse.available(),
            holds: purse.holds().map(|(lot, hold)| (lot, hold.amount())).collect(),
        });
        WalletView { bidder: self.bidder().clone(), position: self.position(), items: items.collect() }
    }
}
