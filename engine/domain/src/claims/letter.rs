//! What lots and wallets write to each other. A letter may get lost, come twice or late: each names
//! all that it is about, and none does anything twice.

use crate::{
    claims::{Capture, LotWord},
    ids::{AttemptId, BidderId, LotId, ShardId, shard_of, shard_of_wallet},
    wallet::command::{HoldAsked, WalletReject},
};
use std::sync::Arc;

/// Who has a letter box.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// A lot.
    Lot(LotId),
    /// A bidder's wallet.
    Wallet(BidderId),
}

impl Address {
    /// Where it lives.
    #[must_use]
    pub fn shard(&self, shards: u16) -> ShardId {
        match self {
            Self::Lot(lot) => shard_of(*lot, shards),
            Self::Wallet(bidder) => shard_of_wallet(bidder, shards),
        }
    }
}

/// A letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letter {
    /// Lot to wallet: hold this for a bid.
    Hold {
        /// The bidder.
        wallet: BidderId,
        /// What, and for which lot.
        asked: HoldAsked,
    },
    /// Wallet to lot: it is held, or why not.
    HoldAnswer {
        /// The lot.
        lot: LotId,
        /// The bidder.
        wallet: BidderId,
        /// In which currency.
        currency: Arc<str>,
        /// Which claim.
        attempt: AttemptId,
        /// None: it is held.
        refused: Option<WalletReject>,
    },
    /// Lot to wallet: which claims it stands by.
    Word {
        /// The bidder.
        wallet: BidderId,
        /// The lot.
        lot: LotId,
        /// Its currency.
        currency: Arc<str>,
        /// What it says.
        word: LotWord,
    },
    /// Wallet to lot: which of my claims do you stand by?
    Query {
        /// The lot.
        lot: LotId,
        /// The bidder.
        wallet: BidderId,
        /// In which currency it is held.
        currency: Arc<str>,
    },
    /// Lot to wallet: you won, pay. Said until it is answered.
    Capture {
        /// The winner.
        wallet: BidderId,
        /// The price.
        capture: Capture,
    },
    /// Wallet to lot: paid.
    Captured {
        /// The lot.
        lot: LotId,
    },
}

impl Letter {
    /// Whom it is for.
    #[must_use]
    pub fn to(&self) -> Address {
        match self {
            Self::Hold { wallet, .. } | Self::Word { wallet, .. } | Self::Capture { wallet, .. } => Address::Wallet(wallet.clone()),
            Self::HoldAnswer { lot, .. } | Self::Query { lot, .. } | Self::Captured { lot } => Address::Lot(*lot),
        }
    }
}
