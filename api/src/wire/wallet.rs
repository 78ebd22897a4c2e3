//! A wallet and its ledger as they are answered and pushed.

use super::json_only::JsonOnly;
use gavel_domain::{
    currency::Currency,
    ids::{BidId, BidderId, LotId, Seq},
    money::{Amount, SignedAmount},
    time::Timestamp,
    wallet::{
        event::{LedgerKind, WalletRecorded},
        permit::Terms,
        view::{PurseView, WalletView},
    },
};
use serde::Serialize;
use std::sync::Arc;

/// A wallet: one item for each configured currency, and for any other that something is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WalletBody {
    /// Whose.
    pub bidder: BidderId,
    /// In the order of the configuration.
    pub items: Vec<PurseBody>,
}

/// One currency of a wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PurseBody {
    /// Its code.
    pub currency: Arc<str>,
    /// Decimals when shown; null for a currency that has left the configuration.
    pub scale: Option<u8>,
    /// What the ledger sums to.
    pub balance: SignedAmount,
    /// What lots hold.
    pub held: Amount,
    /// Balance less held.
    pub available: SignedAmount,
    /// What each lot holds.
    pub holds: Vec<HoldBody>,
    /// What limits the bidder; left out where nothing does.
    #[serde(default, skip_serializing_if = "JsonOnly::is_none")]
    pub permit: JsonOnly<PermitBody>,
}

/// What a bidder may do in a currency, and what counts against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PermitBody {
    /// As an administrator said.
    #[serde(flatten)]
    pub terms: Terms,
    /// Prices of lots won since there is a spend limit.
    pub spent: Amount,
    /// What each lot holds that takes no money from the wallet; not part of `held`.
    pub pledges: Vec<HoldBody>,
}

impl PermitBody {
    fn new(purse: &PurseView) -> Option<Self> {
        let PurseView { terms, spent, ref pledges, .. } = *purse;
        (terms != Terms::default() || !pledges.is_empty()).then(|| Self { terms, spent, pledges: holds(pledges) })
    }
}

/// What a lot holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HoldBody {
    /// Which lot.
    pub lot: LotId,
    /// How much.
    pub amount: Amount,
}

fn holds(holds: &[(LotId, Amount)]) -> Vec<HoldBody> {
    holds.iter().map(|(lot, amount)| HoldBody { lot: *lot, amount: *amount }).collect()
}

impl WalletBody {
    /// A wallet as its owner sees it.
    #[must_use]
    pub fn new(view: &WalletView, currencies: &[Currency]) -> Self {
        let empty = |currency: &Currency| PurseBody {
            currency: Arc::clone(&currency.code),
            scale: Some(currency.scale),
            balance: SignedAmount::ZERO,
            held: Amount::ZERO,
            available: SignedAmount::ZERO,
            holds: Vec::new(),
            permit: JsonOnly::default(),
        };
        let mut items: Vec<PurseBody> = currencies.iter().map(empty).collect();
        for purse in &view.items {
            let known = items.iter().position(|item| item.currency == purse.currency);
            let body = PurseBody {
                currency: Arc::clone(&purse.currency),
                scale: known.and_then(|at| items[at].scale),
                balance: purse.balance,
                held: purse.held,
                available: purse.available,
                holds: holds(&purse.holds),
                permit: JsonOnly(PermitBody::new(purse)),
            };
            match known {
                Some(at) => items[at] = body,
                None => items.push(body),
            }
        }
        Self { bidder: view.bidder.clone(), items }
    }
}

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerBody {
    /// Its number in the wallet; numbers between two lines are of events that changed no balance.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
    /// In which currency.
    pub currency: Arc<str>,
    /// Why.
    pub kind: LedgerKind,
    /// By how much.
    pub amount: SignedAmount,
    /// The balance after it.
    pub balance: SignedAmount,
    /// The lot that was won.
    pub lot: Option<LotId>,
    /// The bid that won it.
    pub bid_id: Option<BidId>,
    /// In the words of who did it.
    pub reason: Arc<str>,
    /// Who did it.
    pub by: Arc<str>,
}

impl LedgerBody {
    /// None for an event that changed no balance.
    #[must_use]
    pub fn new(recorded: &WalletRecorded) -> Option<Self> {
        let entry = recorded.event.ledger()?;
        Some(Self {
            seq: recorded.seq,
            at: recorded.at,
            currency: Arc::clone(&entry.currency),
            kind: entry.kind,
            amount: entry.amount,
            balance: entry.balance,
            lot: entry.lot,
            bid_id: entry.bid,
            reason: Arc::clone(&entry.reason),
            by: Arc::clone(&entry.by),
        })
    }
}
