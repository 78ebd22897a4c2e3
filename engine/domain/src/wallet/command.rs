//! What can be asked of a wallet, and why it refuses.

use crate::{
    claims::{Capture, LotWord},
    ids::{AttemptId, LotId, OperationId},
    money::{Amount, SignedAmount},
    wallet::decay::Decay,
};
use std::sync::Arc;

/// A command to one wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalletCommand {
    /// A bid on a lot wants its maximum backed.
    Hold {
        /// The lot.
        lot: LotId,
        /// Its currency.
        currency: Arc<str>,
        /// The claim's name.
        attempt: AttemptId,
        /// The bid's maximum.
        amount: Amount,
    },
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
    /// A price is to be captured, but the lot holds nothing: a bug, or a wallet from other data.
    #[error("lot {lot} holds nothing of this wallet")]
    NothingHeld {
        /// Which.
        lot: LotId,
    },
}
