//! One lot as a state machine: [`Lot::decide`] judges, [`Lot::apply`] changes, nothing else does.
//!
//! Price rules are in [`english`], times in [`soft_close`] and `schedule`, an auctioneer's changes
//! in `change`, who may bid in [`access`], what may be shown in [`view`].

pub mod access;
mod change;
pub mod english;
pub mod increments;
pub mod log;
mod schedule;
pub mod soft_close;
pub mod spec;
pub mod view;

use crate::{
    command::{Command, PlaceBid},
    event::{BidPlaced, LotEvent, Outcome, Recorded, Standing},
    ids::{BidderId, Epoch, LotId, Position},
    lot::{
        access::{Access, AccessRules},
        english::{Bidding, Judged},
        log::EventLog,
        spec::LotSpec,
    },
    money::Amount,
    receipt::Receipt,
    reject::Reject,
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};
use std::{collections::BTreeMap, sync::Arc};

/// Where a lot is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waits to be opened by hand.
    Draft,
    /// Opens by itself at `opens_at`.
    Scheduled,
    /// Takes bids.
    Open,
    /// The clock stands still; no bids.
    Paused,
    /// Over, with an outcome.
    Closed,
    /// Over, called off.
    Cancelled,
}

impl Status {
    /// Nothing can be bid or moved any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Closed | Self::Cancelled)
    }
}

/// A lot's whole state. Two lots with the same events are equal, byte for byte when encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lot {
    id: LotId,
    created_at: Timestamp,
    spec: LotSpec,
    status: Status,
    position: Position,
    price: Option<Amount>,
    lead: Option<Standing>,
    bid_count: u64,
    extensions: u32,
    /// As it stands now, also in `spec`; while paused, as it stood.
    closes_at: Option<Timestamp>,
    /// Left on the clock of a paused lot.
    remaining: Option<Millis>,
    outcome: Option<Outcome>,
    settled: bool,
    /// Every bidder's own highest maximum so far.
    maxima: BTreeMap<BidderId, Amount>,
    log: EventLog,
    /// Last, so that records from before there was any can be read.
    access: Access,
}

/// What a command comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// These events happen, at this time. There may be none: nothing was due.
    Events {
        /// When they take effect.
        at: Timestamp,
        /// In order.
        events: SmallVec<[LotEvent; 1]>,
    },
    /// The very same bid was accepted before; this is its receipt.
    Already(Box<Receipt>),
}

/// What a bid comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Considered {
    /// It would be accepted so.
    Good(Judged),
    /// The very same bid was accepted before; this is its receipt.
    Already(Box<Receipt>),
}

impl Decision {
    fn one(at: Timestamp, event: LotEvent) -> Self {
        Self::Events { at, events: smallvec![event] }
    }

    fn nothing(at: Timestamp) -> Self {
        Self::Events { at, events: SmallVec::new() }
    }
}

impl Lot {
    /// The events that make a new lot: it exists, and is open if nothing holds that back.
    #[must_use]
    pub fn creation(spec: LotSpec, access: AccessRules, now: Timestamp) -> SmallVec<[LotEvent; 1]> {
        let waits = spec.draft || spec.opens_at.is_some_and(|opens_at| opens_at > now);
        let opened = (!waits).then_some(LotEvent::Opened { closes_at: spec.closes_at });
        let plain = access == AccessRules::default();
        let created = if plain { LotEvent::Created(Box::new(spec)) } else { LotEvent::CreatedWith(Box::new((spec, access))) };
        std::iter::once(created).chain(opened).collect()
    }

    /// A lot from its first event; none if that is not its creation.
    #[must_use]
    pub fn from_creation(created: &Arc<Recorded>) -> Option<Self> {
        let (spec, access) = created.event.creation()?;
        let mut lot = Self {
            id: created.lot,
            created_at: created.at,
            status: if spec.draft { Status::Draft } else { Status::Scheduled },
            closes_at: spec.closes_at,
            spec: spec.clone(),
            position: Position::default(),
            price: None,
            lead: None,
            bid_count: 0,
            extensions: 0,
            remaining: None,
            outcome: None,
            settled: false,
            maxima: BTreeMap::new(),
            log: EventLog::default(),
            access: Access::new(access),
        };
        lot.keep(created);
        Some(lot)
    }

    /// Judges a command that was admitted at `now`. Changes nothing.
    ///
    /// # Errors
    /// The rules refuse it.
    pub fn decide(&self, command: &Command, now: Timestamp) -> Result<Decision, Reject> {
        match command {
            Command::Bid(bid) => self.decide_bid(bid, now),
            Command::Open => self.decide_open(now),
            Command::Pause { reason } => self.decide_pause(reason.clone(), now),
            Command::Resume => self.decide_resume(now),
            Command::Extend { by } => self.decide_extend(*by, now),
            Command::Cancel { reason } => self.decide_cancel(reason.clone(), now),
            Command::Close => self.decide_close(now),
            Command::Change(spec) => self.decide_change(spec, now),
            Command::Register(bidders) => self.decide_register(bidders, now),
            Command::Unregister(bidder) => self.decide_unregister(bidder, now),
            Command::Settle => Ok(self.decide_settle(now)),
            Command::Tick => Ok(self.decide_tick(now)),
        }
    }

    /// When the lot wants a [`Command::Tick`].
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.status {
            Status::Scheduled => self.spec.opens_at,
            Status::Open => self.closes_at,
            _ => None,
        }
    }

    /// Gives events of a decision their places in this lot's history, and applies them.
    pub fn advance(&mut self, epoch: Epoch, at: Timestamp, events: impl IntoIterator<Item = LotEvent>) -> SmallVec<[Arc<Recorded>; 2]> {
        let recorded = events.into_iter().map(|event| {
            let seq = self.position.seq.next();
            let recorded = Arc::new(Recorded { lot: self.id, epoch, seq, at, event });
            self.apply(&recorded);
            recorded
        });
        recorded.collect()
    }

    /// Makes an event true. Total: an event is a fact.
    pub fn apply(&mut self, recorded: &Arc<Recorded>) {
        match &recorded.event {
            LotEvent::Created(_) | LotEvent::CreatedWith(_) => {}
            LotEvent::Opened { closes_at } => {
                self.status = Status::Open;
                self.set_closes_at(*closes_at);
            }
            LotEvent::BidPlaced(bid) => self.apply_bid(bid),
            LotEvent::Extended { closes_at, extensions } => self.apply_extended(*closes_at, *extensions),
            LotEvent::Paused { remaining, .. } => {
                self.status = Status::Paused;
                self.remaining = *remaining;
            }
            LotEvent::Resumed { closes_at } => {
                self.status = Status::Open;
                self.remaining = None;
                self.set_closes_at(*closes_at);
            }
            LotEvent::Changed(change) => self.apply_change(change, recorded.at),
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
            LotEvent::Registered(bidders) => self.access.register(bidders),
            LotEvent::Unregistered(bidders) => self.access.unregister(bidders),
        }
        self.keep(recorded);
    }

    fn keep(&mut self, recorded: &Arc<Recorded>) {
        self.position = Position { epoch: recorded.epoch, seq: recorded.seq };
        self.log.push(Arc::clone(recorded));
    }

    /// Judges a bid that was admitted at `now`, as [`Lot::decide`] does.
    ///
    /// # Errors
    /// The rules refuse it.
    pub fn decide_bid(&self, bid: &PlaceBid, now: Timestamp) -> Result<Decision, Reject> {
        let judged = match self.consider(bid, now)? {
            Considered::Already(receipt) => return Ok(Decision::Already(receipt)),
            Considered::Good(judged) => judged,
        };
        let english = self.spec.english();
        let changes_lead = self.lead.as_ref().is_none_or(|lead| lead.bidder != judged.leader);
        let changes = changes_lead || self.price != Some(judged.price);
        let extended = match (self.spec.soft_close, self.closes_at) {
            (Some(soft), Some(closes_at)) if changes && !judged.bought => soft.extended(closes_at, now, self.extensions),
            _ => None,
        };
        let price = Some(judged.price);
        let placed = LotEvent::BidPlaced(BidPlaced {
            bidder: bid.bidder.clone(),
            bid_id: bid.bid_id,
            amount: bid.amount,
            max: bid.limit(),
            price: judged.price,
            outbid: self.lead.clone().filter(|_| changes_lead),
            bid_count: self.bid_count + 1,
            minimum_bid: english.minimum_bid(price),
            reserve_met: english.reserve_met(price),
            deadline: self.closes_at,
            closes_at: extended.or(self.closes_at),
            leader: judged.leader,
        });
        let mut events: SmallVec<[LotEvent; 1]> = smallvec![placed];
        if judged.bought {
            events.push(LotEvent::Closed(Outcome::Sold { winner: bid.bidder.clone(), price: judged.price }));
        }
        if let Some(closes_at) = extended {
            events.push(LotEvent::Extended { closes_at, extensions: self.extensions + 1 });
        }
        Ok(Decision::Events { at: now, events })
    }

    /// What a bid comes to as things are, without the events that it would bring.
    ///
    /// # Errors
    /// The rules refuse it.
    pub fn consider(&self, bid: &PlaceBid, now: Timestamp) -> Result<Considered, Reject> {
        let english = self.spec.english();
        english.check_shape(bid).map_err(Reject::InvalidBid)?;
        if let Some(receipt) = self.remembered(bid)? {
            return Ok(Considered::Already(Box::new(receipt)));
        }
        self.takes_bids(now)?;
        self.access.admit(&bid.bidder)?;
        english.judge(bid, Bidding { price: self.price, lead: self.lead.as_ref() }).map(Considered::Good)
    }

    /// The winner's wallet has paid: said once.
    fn decide_settle(&self, now: Timestamp) -> Decision {
        if self.owed().is_some() { Decision::one(now, LotEvent::Settled) } else { Decision::nothing(now) }
    }

    /// The receipt of this very bid, if it was accepted and is remembered.
    ///
    /// # Errors
    /// [`Reject::BidIdConflict`] where amount or maximum differ.
    pub fn remembered(&self, bid: &PlaceBid) -> Result<Option<Receipt>, Reject> {
        let Some(receipt) = self.log.bid(&bid.bidder, bid.bid_id).and_then(|known| known.receipt()) else {
            return Ok(None);
        };
        same_bid(bid, receipt).map(Some)
    }

    fn takes_bids(&self, now: Timestamp) -> Result<(), Reject> {
        match self.status {
            Status::Draft | Status::Scheduled => Err(Reject::LotNotOpen),
            Status::Paused => Err(Reject::LotPaused),
            Status::Closed | Status::Cancelled => Err(Reject::LotClosed),
            Status::Open if self.is_overdue(now) => Err(Reject::LotClosed),
            Status::Open => Ok(()),
        }
    }

    fn apply_bid(&mut self, bid: &BidPlaced) {
        self.price = Some(bid.price);
        self.bid_count = bid.bid_count;
        if bid.leader == bid.bidder {
            self.lead = Some(Standing { bidder: bid.bidder.clone(), max: bid.max });
        }
        match self.maxima.get_mut(&bid.bidder) {
            Some(max) => *max = bid.max.max(*max),
            None => drop(self.maxima.insert(bid.bidder.clone(), bid.max)),
        }
    }

    fn outcome_now(&self) -> Outcome {
        match (&self.lead, self.price) {
            (Some(lead), Some(price)) if self.spec.english().reserve_price.is_none_or(|reserve| price >= reserve) => {
                Outcome::Sold { winner: lead.bidder.clone(), price }
            }
            (Some(_), _) => Outcome::Unsold { reason: crate::event::Unsold::ReserveNotMet },
            (None, _) => Outcome::Unsold { reason: crate::event::Unsold::NoBids },
        }
    }

    /// The lot's id.
    #[must_use]
    pub const fn id(&self) -> LotId {
        self.id
    }

    /// When it was created.
    #[must_use]
    pub const fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The last event.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Where it is in its life.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// The closing time as it stands now.
    #[must_use]
    pub const fn closes_at(&self) -> Option<Timestamp> {
        self.closes_at
    }

    /// What it was made of, as it stands after changes and moved closing times.
    #[must_use]
    pub const fn spec(&self) -> &LotSpec {
        &self.spec
    }

    /// Who leads; none before the first bid.
    #[must_use]
    pub const fn lead(&self) -> Option<&Standing> {
        self.lead.as_ref()
    }

    /// How it ended; none while it is open, and where it was cancelled.
    #[must_use]
    pub const fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Whether the winner's wallet has paid.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.settled
    }

    /// Its latest events.
    #[must_use]
    pub const fn log(&self) -> &EventLog {
        &self.log
    }

    /// The time of its last event, which no later event may precede.
    #[must_use]
    pub fn last_event_at(&self) -> Timestamp {
        self.log.at(self.position.seq).map_or(self.created_at, |event| event.at)
    }
}

/// Whether a resend is the bid it says it is.
///
/// # Errors
/// [`Reject::BidIdConflict`] where amount or maximum differ.
pub fn same_bid(bid: &PlaceBid, receipt: Receipt) -> Result<Receipt, Reject> {
    if (receipt.amount, receipt.max) == (bid.amount, bid.limit()) { Ok(receipt) } else { Err(Reject::BidIdConflict) }
}
