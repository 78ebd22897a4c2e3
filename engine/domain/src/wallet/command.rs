//! What can be asked of a wallet, and why it refuses.

use crate::{
    claims::{Capture, LotWord},
    ids::{AttemptId, LotId, OperationId},
    lot::spec::Funding,
    money::{Amount, SignedAmount},
    wallet::{decay::Decay, permit::Terms},
};
use std::sync::Arc;

/// A command to one wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalletCommand {
    /// A bid on a lot wants its maximum backed.
    Hold(HoldAsked),
    /// A lot says which claims it still stands by.
    Word {
        /// The lot.
        lot: LotId,
        /// Its currency.
        currency: Arc<str>,
        /// What it says.
        word: LotWord,
    },
    /// A lot was sold to this bidder.
    Capture(Capture),
    /// An administrator, or a rule, changes the balance.
    Adjust(Adjustment),
    /// An administrator says what the bidder may do in a currency.
    Allow {
        /// In which.
        currency: Arc<str>,
        /// All of it, in place of what was said before.
        terms: Terms,
        /// Why.
        reason: Option<Arc<str>>,
        /// Who says so.
        by: Arc<str>,
    },
}

/// What a lot asks a wallet to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldAsked {
    /// The lot.
    pub lot: LotId,
    /// Its currency.
    pub currency: Arc<str>,
    /// The claim's name.
    pub attempt: AttemptId,
    /// The bid's maximum.
    pub amount: Amount,
    /// [`Funding::Open`]: the balance need not cover it; limits count it all the same.
    pub funding: Funding,
    /// Only for a bidder who is registered in the currency.
    pub registered_only: bool,
}

/// A change of the balance that is no sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// Names it: asked again, it happens once.
    pub operation: OperationId,
    /// A digest of what was asked.
    pub digest: [u8; 32],
    /// In which currency.
    pub currency: Arc<str>,
    /// What to do.
    pub change: Change,
    /// Why.
    pub reason: Arc<str>,
    /// Who asks.
    pub by: Arc<str>,
}

/// What to do to a balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds; what would pass the cap is left out.
    Grant {
        /// How much.
        amount: Amount,
        /// The most that the balance may be.
        cap: Option<Amount>,
    },
    /// Takes away what is available; with `force` also what is held or not there.
    Deduct {
        /// How much.
        amount: Amount,
        /// Whether the wallet may become overdrawn.
        force: bool,
    },
    /// Points get old.
    Decay(Decay),
    /// Takes away what is above, but nothing that is held.
    CutTo(Amount),
}

/// Why a wallet refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalletReject {
    /// Less is available than asked for.
    #[error("not enough in the wallet: {available} available, {needed} needed")]
    InsufficientFunds {
        /// What is there for it.
        available: SignedAmount,
        /// What was asked for.
        needed: Amount,
    },
    /// The balance would leave the range of amounts.
    #[error("the balance would pass 2^53 - 1")]
    OutOfRange,
    /// The same key came with another request.
    #[error("this key was used for another change")]
    OperationReused,
    /// The lot asks for a registration in its currency.
    #[error("not registered in this currency")]
    NotRegistered,
    /// The bidder leads, or is about to, on as many lots as it may.
    #[error("the limit is {limit} leads at a time")]
    TooManyLeads {
        /// How many it may.
        limit: u32,
    },
    /// It would lead with, or have spent, more than it may.
    #[error("{left} is left of the spend limit, {needed} needed")]
    SpendLimit {
        /// What could be bid on this lot in all.
        left: Amount,
        /// What was asked for.
        needed: Amount,
    },
    /// A price is to be captured, but the lot holds nothing: a bug, or a wallet from other data.
    #[error("lot {lot} holds nothing of this wallet")]
    NothingHeld {
        /// Which.
        lot: LotId,
    },
}
