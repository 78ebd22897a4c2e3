//! The rules' refusals in the protocol's words; the same over REST and WebSocket.

use super::problem::Code;
use gavel_domain::{money::Amount, reject::Reject};

/// The code of a refusal.
#[must_use]
pub fn code_of(reject: &Reject) -> Code {
    match reject {
        Reject::LotNotOpen => Code::LotNotOpen,
        Reject::LotPaused => Code::LotPaused,
        Reject::LotClosed => Code::LotClosed,
        Reject::BidTooLow { .. } => Code::BidTooLow,
        Reject::MaxNotRaised { .. } => Code::MaxNotRaised,
        Reject::AlreadyLeading => Code::AlreadyLeading,
        Reject::BidIdConflict => Code::BidIdConflict,
        Reject::InvalidBid(_) => Code::Invalid,
        Reject::Conflict(_) => Code::Conflict,
        Reject::InsufficientFunds { .. } => Code::InsufficientFunds,
        Reject::NotRegistered => Code::NotRegistered,
        Reject::LimitExceeded(_) => Code::LimitExceeded,
    }
}

/// The least that would have been accepted, where that is known.
#[must_use]
pub fn minimum_of(reject: &Reject) -> Option<Amount> {
    match reject {
        Reject::BidTooLow { minimum } => Some(*minimum),
        _ => None,
    }
}
