//! What has happened to a wallet. Facts, like a lot's events; the ledger is made of some of them.

use crate::{
    claims::LotWord,
    ids::{AttemptId, BidId, BidderId, Epoch, LotId, OperationId, Seq},
    money::{Amount, SignedAmount},
    time::Timestamp,
    wallet::permit::Terms,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An event with its place in the wallet's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletRecorded {
    /// Whose wallet.
    pub bidder: BidderId,
    /// The epoch that journaled it.
    pub epoch: Epoch,
    /// Its number in the wallet; the first is 1, none is left out.
    pub seq: Seq,
    /// When it took effect.
    pub at: Timestamp,
    /// What happened.
    pub event: WalletEvent,
}

/// Something that happened to a wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WalletEvent {
    /// A bid that is being placed claims its maximum.
    Held {
        /// For which lot.
        lot: LotId,
        /// In which currency.
        currency: Arc<str>,
        /// The claim's name.
        attempt: AttemptId,
        /// The bid's maximum.
        amount: Amount,
    },
    /// The lot said which claims it still stands by; the others ended.
    Told {
        /// Which lot.
        lot: LotId,
        /// In which currency.
        currency: Arc<str>,
        /// What it said.
        word: LotWord,
    },
    /// The balance changed by an administrator's hand or rule.
    Posted(Box<LedgerEntry>),
    /// The winner paid for a lot: the price went, all that was held for it is free.
    Captured(Box<LedgerEntry>),
    /// As [`WalletEvent::Held`], for a lot that takes no money from the wallet.
    Pledged {
        /// For which lot.
        lot: LotId,
        /// In which currency.
        currency: Arc<str>,
        /// The claim's name.
        attempt: AttemptId,
        /// The bid's maximum.
        amount: Amount,
    },
    /// Won a lot that takes no money from the wallet: all that was pledged for it is free.
    Bought {
        /// Which lot.
        lot: LotId,
        /// In which currency.
        currency: Arc<str>,
        /// What it cost, to be paid elsewhere.
        price: Amount,
    },
    /// An administrator said what the bidder may do in a currency.
    Allowed {
        /// In which.
        currency: Arc<str>,
        /// All of it.
        terms: Terms,
        /// Why.
        reason: Option<Arc<str>>,
        /// Who said so.
        by: Arc<str>,
    },
}

impl WalletEvent {
    /// The line in the ledger, for those events that change the balance.
    #[must_use]
    pub fn ledger(&self) -> Option<&LedgerEntry> {
        match self {
            Self::Posted(entry) | Self::Captured(entry) => Some(entry),
            Self::Held { .. } | Self::Told { .. } | Self::Pledged { .. } | Self::Bought { .. } | Self::Allowed { .. } => None,
        }
    }
}

/// A line of the ledger. A wallet's lines in a currency sum to its balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// In which currency.
    pub currency: Arc<str>,
    /// Why the balance changed.
    pub kind: LedgerKind,
    /// By how much.
    pub amount: SignedAmount,
    /// The balance after it.
    pub balance: SignedAmount,
    /// The lot that was won.
    pub lot: Option<LotId>,
    /// The winning bid, where the lot still knew it.
    pub bid: Option<BidId>,
    /// In the words of who did it.
    pub reason: Arc<str>,
    /// Who did it.
    pub by: Arc<str>,
    /// Names the change: it happens once.
    pub operation: OperationId,
    /// A digest of what was asked, to tell a retry from another use of the same key.
    pub digest: [u8; 32],
}

/// Why a balance changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerKind {
    /// An administrator gave.
    Grant,
    /// An administrator took.
    Deduction,
    /// The price of a lot that was won.
    Capture,
    /// Points that lose their worth with time.
    Decay,
    /// What was above the cap.
    Cap,
}

impl LedgerKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Grant, Self::Deduction, Self::Capture, Self::Decay, Self::Cap];

    /// As it is written everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Deduction => "deduction",
            Self::Capture => "capture",
            Self::Decay => "decay",
            Self::Cap => "cap",
        }
    }
}
