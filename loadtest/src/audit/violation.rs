//! Every promise of the protocol this client has seen broken, told in one line each.

use thiserror::Error;
use uuid::Uuid;

/// A broken promise.
#[derive(Debug, Error)]
pub(crate) enum Violation {
    #[error("request {request} of socket {socket} was answered twice or never made")]
    UnknownRequest { socket: usize, request: u64 },
    #[error("lot {lot} seq {seq}: the receipt's {field} is not the bid's")]
    WrongEcho { lot: Uuid, seq: u64, field: &'static str },
    #[error("lot {lot}: two receipts with seq {seq}")]
    DuplicateSeq { lot: Uuid, seq: u64 },
    #[error("lot {lot}: seq {seq} is out of reach after {base}")]
    WildSeq { lot: Uuid, seq: u64, base: u64 },
    #[error("lot {lot}: bid_too_low for {amount} with a minimum of {minimum}")]
    WrongRefusal { lot: Uuid, amount: u64, minimum: u64 },
    #[error("lot {lot}: a bid of {amount} was refused with {code}: {message}")]
    Unexpected { lot: Uuid, amount: u64, code: String, message: String },
    #[error("{bids} bids were not answered within {seconds} s after the run")]
    Unanswered { bids: usize, seconds: f64 },
    #[error("lot {lot}: watcher {watcher} read seq {got} where seq {want} was next")]
    Gap { lot: Uuid, watcher: usize, want: u64, got: u64 },
    #[error("watcher {watcher}: a push for lot {lot}, which it has not joined")]
    NotJoined { lot: Uuid, watcher: usize },
    #[error("lot {lot}: watcher {watcher} did not see seq {seq} within {seconds} s after the run")]
    NotSeen { lot: Uuid, watcher: usize, seq: u64, seconds: f64 },
    #[error("lot {lot} seq {seq}: the push says {pushed}, the receipt {receipt}")]
    PushDiffers { lot: Uuid, seq: u64, pushed: String, receipt: String },
    #[error("lot {lot} seq {seq}: one push says {one}, another {other}")]
    PushesDiffer { lot: Uuid, seq: u64, one: String, other: String },
    #[error("lot {lot} seq {seq}: a bid was pushed which nobody has a receipt for")]
    NoReceipt { lot: Uuid, seq: u64 },
    #[error("lot {lot} seq {seq}: a bid of {amount} was accepted which the rules refuse ({why})")]
    Accepted { lot: Uuid, seq: u64, amount: u64, why: &'static str },
    #[error("lot {lot}: nobody has a receipt for seq {seq}, nor was it pushed")]
    Missing { lot: Uuid, seq: u64 },
    #[error("lot {lot} as shown at seq {seq}: {field} {got}, the accepted bids give {want}")]
    Shown { lot: Uuid, seq: u64, field: &'static str, got: String, want: String },
    #[error("lot {lot}: a bid of {amount} was refused with {code}{minimum}, which the rules give at no moment it can be of")]
    Refused { lot: Uuid, amount: u64, code: &'static str, minimum: String },
    #[error("no bid was accepted, so nothing was checked")]
    NothingAccepted,
    #[error("lot {lot} seq {seq}: the {place} says {field} {got}, the rules give {want}")]
    Misjudged { lot: Uuid, seq: u64, place: &'static str, field: &'static str, got: String, want: String },
    #[error("lot {lot}: {place} says {field} {got}, the accepted bids give {want}")]
    FinalState { lot: Uuid, place: &'static str, field: &'static str, got: String, want: String },
    #[error("the wallet of {bidder} says {field} {got}, the lots give {want}")]
    Wallet { bidder: String, field: &'static str, got: String, want: String },
    #[error("lot {lot}: the history has {got} where the receipt has {want}")]
    History { lot: Uuid, got: String, want: String },
}
