//! A lot as it may be shown, and how an event changes that picture.
//!
//! [`LotView::fold`] is what every reader of events does: the projector keeps the tables with it,
//! and a client that applies events to a joined lot gets the same.

use crate::{
    event::{Change, LotEvent, Outcome, Recorded},
    ids::{BidderId, LotId, Position},
    lot::{Lot, Status, access::AccessRules, spec::LotSpec},
    money::Amount,
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};

/// All of a lot but the maxima. The reserve (in `spec`) is for auctioneers only: the edge hides it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LotView {
    /// The lot.
    pub id: LotId,
    /// When it was created; with `id` the order of lists.
    pub created_at: Timestamp,
    /// Texts, rules and times as they stand after changes; its `closes_at` is the one below.
    pub spec: LotSpec,
    /// Where it is in its life.
    pub status: Status,
    /// The last event.
    pub position: Position,
    /// None before the first bid.
    pub price: Option<Amount>,
    /// None before the first bid.
    pub leader: Option<BidderId>,
    /// Accepted bids.
    pub bid_count: u64,
    /// The least that a challenger must bid.
    pub minimum_bid: Amount,
    /// None without a reserve.
    pub reserve_met: Option<bool>,
    /// How often late bids have moved the close.
    pub extensions: u32,
    /// The closing time as it stands; while paused, as it stood.
    pub closes_at: Option<Timestamp>,
    /// Left on the clock of a paused lot.
    pub remaining: Option<Millis>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The winner's wallet has paid.
    pub settled: bool,
    /// Who may bid, and under which names; the edge never shows the key. Last, as in [`Lot`].
    pub access: AccessRules,
}

/// A bidder's own standing on a lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// Whether this bidder leads.
    pub leading: bool,
    /// The highest maximum this bidder has given.
    pub max: Amount,
}

impl LotView {
    /// Whether a bid could still buy at once.
    #[must_use]
    pub fn buy_now_available(&self) -> bool {
        !self.status.is_over() && self.spec.english().buy_now_available(self.price)
    }

    /// The picture of a new lot; none if the event is not its creation.
    #[must_use]
    pub fn from_creation(created: &Recorded) -> Option<Self> {
        let (spec, access) = created.event.creation()?;
        Some(Self {
            id: created.lot,
            created_at: created.at,
            status: if spec.draft { Status::Draft } else { Status::Scheduled },
            position: Position { epoch: created.epoch, seq: created.seq },
            price: None,
            leader: None,
            bid_count: 0,
            minimum_bid: spec.english().minimum_bid(None),
            reserve_met: spec.english().reserve_met(None),
            extensions: 0,
            closes_at: spec.closes_at,
            remaining: None,
            outcome: None,
            settled: false,
            spec: spec.clone(),
            access,
        })
    }

    /// Brings the picture up to the next event.
    pub fn fold(&mut self, recorded: &Recorded) {
        self.position = Position { epoch: recorded.epoch, seq: recorded.seq };
        match &recorded.event {
            LotEvent::Created(_) | LotEvent::CreatedWith(_) | LotEvent::Registered(_) | LotEvent::Unregistered(_) => {}
            LotEvent::Opened { closes_at } => {
                self.status = Status::Open;
                self.set_closes_at(*closes_at);
            }
            LotEvent::BidPlaced(bid) => {
                self.price = Some(bid.price);
                self.leader = Some(bid.leader.clone());
                self.bid_count = bid.bid_count;
                self.minimum_bid = bid.minimum_bid;
                self.reserve_met = bid.reserve_met;
            }
            LotEvent::Extended { closes_at, extensions } => {
                if let (Some(remaining), Some(before)) = (self.remaining, self.closes_at) {
                    self.remaining = Some(Millis(remaining.0 + closes_at.since(before).0));
                }
                self.set_closes_at(Some(*closes_at));
                self.extensions = *extensions;
            }
            LotEvent::Paused { remaining, .. } => {
                self.status = Status::Paused;
                self.remaining = *remaining;
            }
            LotEvent::Resumed { closes_at } => {
                self.status = Status::Open;
                self.remaining = None;
                self.set_closes_at(*closes_at);
            }
            LotEvent::Changed(change) => self.fold_change(change, recorded.at),
            LotEvent::Closed(outcome) => {
                self.status = Status::Closed;
                self.remaining = None;
                self.outcome = Some(outcome.clone());
            }
            LotEvent::Cancelled { .. } => {
                self.status = Status::Cancelled;
                self.remaining = None;
            }
            LotEvent::Settled => self.settled = true,
        }
    }

    fn set_closes_at(&mut self, closes_at: Option<Timestamp>) {
        self.closes_at = closes_at;
        self.spec.closes_at = closes_at;
    }

    fn fold_change(&mut self, change: &Change, at: Timestamp) {
        self.status = change.apply_to_spec(&mut self.spec, self.status);
        self.remaining = change.remaining(self.remaining, self.status, at);
        if let Some(closes_at) = change.closes_at {
            self.closes_at = closes_at;
        }
        self.price = change.price.or(self.price);
        self.minimum_bid = change.minimum_bid;
        self.reserve_met = change.reserve_met;
    }
}

impl Lot {
    /// The lot as it may be shown.
    #[must_use]
    pub fn view(&self) -> LotView {
        let english = self.spec.english();
        LotView {
            id: self.id,
            created_at: self.created_at,
            spec: self.spec.clone(),
            status: self.status,
            position: self.position,
            price: self.price,
            leader: self.lead.as_ref().map(|lead| lead.bidder.clone()),
            bid_count: self.bid_count,
            minimum_bid: english.minimum_bid(self.price),
            reserve_met: english.reserve_met(self.price),
            extensions: self.extensions,
            closes_at: self.closes_at,
            remaining: self.remaining,
            outcome: self.outcome.clone(),
            settled: self.settled,
            access: self.access.rules(),
        }
    }

    /// A bidder's own standing; none for who has not bid.
    #[must_use]
    pub fn own(&self, bidder: &BidderId) -> Option<Own> {
        let max = *self.maxima.get(bidder)?;
        Some(Own { leading: self.lead.as_ref().is_some_and(|lead| lead.bidder == *bidder), max })
    }
}
