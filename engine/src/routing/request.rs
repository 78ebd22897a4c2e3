//! What can be asked of the engine, and what it answers.

use crate::delivery::reply::ReplyTo;
use gavel_domain::{
    command::{Command, PlaceBid},
    event::Recorded,
    ids::{BidderId, LotId, Position},
    lot::{
        access::{Access, AccessRules},
        spec::LotSpec,
        view::{LotView, Own},
    },
    receipt::Receipt,
    reject::{Refusal, Reject},
    wallet::{
        command::{Adjustment, WalletReject},
        event::WalletRecorded,
        permit::Terms,
        view::WalletView,
    },
};
use std::sync::Arc;

/// A request for one lot, and where its one reply goes.
#[derive(Debug)]
pub struct Request {
    /// The lot; decides the shard.
    pub lot: LotId,
    /// What is asked.
    pub ask: Ask,
    /// Answers `unavailable` by itself if it is dropped unanswered.
    pub reply: ReplyTo,
}

/// What is asked of a lot.
#[derive(Debug)]
pub enum Ask {
    /// A bid.
    Bid {
        /// As sent.
        bid: PlaceBid,
        /// The client has sent it before: before a refusal, look for its receipt in the history.
        retry: bool,
    },
    /// An auctioneer's command.
    Command {
        /// What to do.
        command: Command,
        /// Who gives it, for the audit trail; none: it is not in it.
        by: Option<Arc<str>>,
        /// Only if the lot still stands here (`If-Match`).
        expected: Option<Position>,
        /// For the idempotency of the request.
        key: Option<KeyRequest>,
    },
    /// A new lot under this id.
    Create {
        /// Already checked.
        spec: Box<LotSpec>,
        /// Who may bid, and under which names.
        access: AccessRules,
        /// Who creates it, for the audit trail; none: it is not in it.
        by: Option<Arc<str>>,
        /// For the idempotency of the request.
        key: Option<KeyRequest>,
        /// The tables hold a lot of this id: there can be no new one, only an old answer.
        archived: bool,
    },
    /// The lot as it is.
    View {
        /// Whose own standing to add.
        bidder: Option<BidderId>,
    },
    /// Who may bid on the lot.
    Access,
    /// The lot as it is, and its events from now on to the asker's worker.
    Join {
        /// Whose own standing to add.
        bidder: Option<BidderId>,
        /// Where the asker stands.
        position: Option<Position>,
        /// Which worker's hub gets the events.
        worker: crate::delivery::WorkerId,
    },
    /// Nobody on that worker watches this lot any more. Has no answer.
    Unwatch {
        /// Which.
        worker: crate::delivery::WorkerId,
    },
}

/// A request for one wallet, and where its one reply goes.
#[derive(Debug)]
pub struct WalletRequest {
    /// Whose wallet; decides the shard.
    pub bidder: BidderId,
    /// What is asked.
    pub ask: WalletAsk,
    /// Answers `unavailable` by itself if it is dropped unanswered.
    pub reply: ReplyTo,
}

/// What is asked of a wallet. One in which nothing ever happened is empty, not unknown.
#[derive(Debug)]
pub enum WalletAsk {
    /// The wallet as it is.
    View,
    /// Changes the balance.
    Adjust(Box<Adjustment>),
    /// Says what the bidder may do in a currency; the wallet as it is then.
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
    /// The wallet as it is, and each change of it from now on to the asker's worker.
    Join {
        /// Which worker's hub gets the changes.
        worker: crate::delivery::WorkerId,
    },
    /// Nobody on that worker watches this wallet any more. Has no answer.
    Unwatch {
        /// Which.
        worker: crate::delivery::WorkerId,
    },
}

/// An idempotency key on its way to the lot's shard.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// `sub`, method, path and key as one text.
    pub scope: Arc<str>,
    /// A digest of the body.
    pub body: [u8; 32],
}

/// The answer to a request.
#[derive(Debug)]
pub enum Reply {
    /// The bid was accepted, now or before, and is durable.
    Receipt(Box<Receipt>),
    /// The bid was refused.
    BidRefused(Box<Refusal>),
    /// The command was refused.
    Refused(Reject),
    /// The lot as it is.
    Lot(Box<LotAnswer>),
    /// The lot as it is; its events follow.
    Joined(Box<Joined>),
    /// No such lot in memory: it may be in the tables. Gives the question back.
    NotLive(Box<NotLive>),
    /// The lot has moved on from the expected position.
    PreconditionFailed,
    /// The idempotency key was used with another body.
    KeyReused,
    /// Too much is waiting; nothing was done.
    Overloaded,
    /// The shard cannot answer now, and the outcome may be unknown.
    Unavailable,
    /// A bug: this request was lost, the lot goes on.
    Internal,
    /// The wallet as it is.
    Wallet(Arc<WalletView>),
    /// The balance was changed, now or before: the line in the ledger.
    Posted(Arc<WalletRecorded>),
    /// The wallet refuses.
    WalletRefused(WalletReject),
    /// Who may bid on the lot.
    Access(Box<Access>),
    /// Nothing to tell.
    Done,
}

/// A question about a lot that is not in memory.
#[derive(Debug)]
pub struct NotLive {
    /// Which.
    pub lot: LotId,
    /// The question.
    pub ask: Ask,
}

/// A lot, and the asker's own standing on it.
#[derive(Clone, Debug)]
pub struct LotAnswer {
    /// The lot.
    pub view: LotView,
    /// None for who has not bid.
    pub own: Option<Own>,
}

/// The answer to a join.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The lot as it is.
    pub lot: LotAnswer,
    /// Whether `events` are all that the asker missed.
    pub recovered: bool,
    /// The missed events, if `recovered`.
    pub events: Vec<Arc<Recorded>>,
}
