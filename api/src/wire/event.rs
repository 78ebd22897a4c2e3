//! Events as the public sees them.

use super::{
    lot::{Audience, RulesBody},
    names::{Name, Names, OutcomeBody},
};
use gavel_domain::{
    currency::Currency,
    event::{Change, LotEvent, Recorded},
    ids::{BidderId, Epoch, Seq},
    lot::spec::SoftClose,
    money::Amount,
    time::{Millis, Timestamp},
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::sync::Arc;

/// An event with its place; in JSON `{"epoch":…,"seq":…,"at":…,"<name>":{…}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBody {
    /// The epoch that journaled it.
    pub epoch: Epoch,
    /// Its number in the lot.
    pub seq: Seq,
    /// When it took effect.
    pub at: Timestamp,
    /// What happened.
    pub what: What,
}

/// What happened. The order is that of the bincode subprotocol: only ever add at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Bids are taken.
    Opened {
        /// None in a hammer sale.
        closes_at: Option<Timestamp>,
    },
    /// A bid was accepted.
    BidPlaced(BidBody),
    /// The closing time moved.
    Extended {
        /// The new one.
        closes_at: Timestamp,
        /// By late bids so far.
        extensions: u32,
    },
    /// The clock stands still.
    Paused {
        /// Left on it.
        remaining_ms: Option<Millis>,
        /// The auctioneer's.
        reason: Option<Arc<str>>,
    },
    /// The clock runs again.
    Resumed {
        /// None in a hammer sale.
        closes_at: Option<Timestamp>,
    },
    /// The auctioneer changed the lot.
    Changed(Box<ChangedBody>),
    /// A Dutch clock fell.
    PriceDropped {
        /// The new price.
        price: Amount,
    },
    /// A bid was taken back.
    BidRetracted(BidBody),
    /// Over.
    Closed {
        /// How.
        outcome: OutcomeBody,
    },
    /// Called off.
    Cancelled {
        /// The auctioneer's.
        reason: Option<Arc<str>>,
    },
    /// The winner has paid.
    Settled {},
    /// These may bid from now on.
    Registered {
        /// Who.
        bidders: Vec<Name>,
    },
    /// These may not any more.
    Unregistered {
        /// Who.
        bidders: Vec<Name>,
    },
}

/// An accepted bid, as everybody may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BidBody {
    /// Who bid.
    pub bidder: Name,
    /// Never more than the price.
    pub amount: Amount,
    /// After it.
    pub price: Amount,
    /// After it.
    pub leader: Name,
    /// With it.
    pub bid_count: u64,
    /// After it.
    pub minimum_bid: Amount,
    /// After it.
    pub reserve_met: Option<bool>,
}

/// The changed fields of a lot. In JSON only those; in bincode an option each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedBody {
    title: Option<Arc<str>>,
    description: Option<Arc<str>>,
    currency: Option<Currency>,
    rules: Option<RulesBody>,
    opens_at: Option<Option<Timestamp>>,
    closes_at: Option<Option<Timestamp>>,
    soft_close: Option<Option<SoftClose>>,
    price: Option<Amount>,
    minimum_bid: Amount,
    reserve_met: Option<bool>,
}

impl EventBody {
    /// The public side of an event; none for the creation, which is no public event.
    #[must_use]
    pub fn new(recorded: &Recorded, names: Names) -> Option<Self> {
        let all = |bidders: &[BidderId]| bidders.iter().map(|bidder| names.of(bidder)).collect();
        let what = match &recorded.event {
            LotEvent::Created(_) | LotEvent::CreatedWith(_) => return None,
            LotEvent::Opened { closes_at } => What::Opened { closes_at: *closes_at },
            LotEvent::BidPlaced(bid) => What::BidPlaced(BidBody {
                bidder: names.of(&bid.bidder),
                amount: bid.public_amount(),
                price: bid.price,
                leader: names.of(&bid.leader),
                bid_count: bid.bid_count,
                minimum_bid: bid.minimum_bid,
                reserve_met: bid.reserve_met,
            }),
            LotEvent::Extended { closes_at, extensions } => What::Extended { closes_at: *closes_at, extensions: *extensions },
            LotEvent::Paused { remaining, reason } => What::Paused { remaining_ms: *remaining, reason: reason.clone() },
            LotEvent::Resumed { closes_at } => What::Resumed { closes_at: *closes_at },
            LotEvent::Changed(change) => What::Changed(Box::new(ChangedBody::new(change))),
            LotEvent::Closed(outcome) => What::Closed { outcome: names.outcome(outcome) },
            LotEvent::Cancelled { reason } => What::Cancelled { reason: reason.clone() },
            LotEvent::Settled => What::Settled {},
            LotEvent::Registered(bidders) => What::Registered { bidders: all(bidders) },
            LotEvent::Unregistered(bidders) => What::Unregistered { bidders: all(bidders) },
        };
        Some(Self { epoch: recorded.epoch, seq: recorded.seq, at: recorded.at, what })
    }
}

impl ChangedBody {
    fn new(change: &Change) -> Self {
        Self {
            title: change.title.clone(),
            description: change.description.clone(),
            currency: change.currency.clone(),
            rules: change.rules.as_ref().map(|rules| RulesBody::new(rules, Audience::Public)),
            opens_at: change.opens_at,
            closes_at: change.closes_at,
            soft_close: change.soft_close,
            price: change.price,
            minimum_bid: change.minimum_bid,
            reserve_met: change.reserve_met,
        }
    }
}

impl Serialize for EventBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return (self.epoch, self.seq, self.at, &self.what).serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("epoch", &self.epoch)?;
        map.serialize_entry("seq", &self.seq)?;
        map.serialize_entry("at", &self.at)?;
        match &self.what {
            What::Opened { closes_at } => map.serialize_entry("opened", &One("closes_at", closes_at))?,
            What::BidPlaced(bid) => map.serialize_entry("bid_placed", bid)?,
            What::Extended { closes_at, extensions } => {
                map.serialize_entry("extended", &Two("closes_at", closes_at, "extensions", extensions))?;
            }
            What::Paused { remaining_ms, reason } => map.serialize_entry("paused", &Two("remaining_ms", remaining_ms, "reason", reason))?,
            What::Resumed { closes_at } => map.serialize_entry("resumed", &One("closes_at", closes_at))?,
            What::Changed(changed) => map.serialize_entry("changed", changed)?,
            What::PriceDropped { price } => map.serialize_entry("price_dropped", &One("price", price))?,
            What::BidRetracted(bid) => map.serialize_entry("bid_retracted", bid)?,
            What::Closed { outcome } => map.serialize_entry("closed", &One("outcome", outcome))?,
            What::Cancelled { reason } => map.serialize_entry("cancelled", &One("reason", reason))?,
            What::Settled {} => map.serialize_entry("settled", &Nothing {})?,
            What::Registered { bidders } => map.serialize_entry("registered", &One("bidders", bidders))?,
            What::Unregistered { bidders } => map.serialize_entry("unregistered", &One("bidders", bidders))?,
        }
        map.end()
    }
}

impl Serialize for ChangedBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { title, description, currency, rules, opens_at, closes_at, soft_close, price, minimum_bid, reserve_met } = self;
        if !serializer.is_human_readable() {
            let texts = (title, description, currency, rules);
            let times = (opens_at, closes_at, soft_close);
            return (texts, times, price, minimum_bid, reserve_met).serialize(serializer);
        }
        fn some<M: SerializeMap, T: Serialize>(map: &mut M, name: &'static str, field: Option<&T>) -> Result<(), M::Error> {
            field.map_or(Ok(()), |value| map.serialize_entry(name, value))
        }
        let mut map = serializer.serialize_map(None)?;
        some(&mut map, "title", title.as_ref())?;
        some(&mut map, "description", description.as_ref())?;
        some(&mut map, "currency", currency.as_ref())?;
        some(&mut map, "rules", rules.as_ref())?;
        some(&mut map, "opens_at", opens_at.as_ref())?;
        some(&mut map, "closes_at", closes_at.as_ref())?;
        some(&mut map, "soft_close", soft_close.as_ref())?;
        some(&mut map, "price", price.as_ref())?;
        map.serialize_entry("minimum_bid", minimum_bid)?;
        map.serialize_entry("reserve_met", reserve_met)?;
        map.end()
    }
}

/// A JSON object with one field.
struct One<'a, T>(&'static str, &'a T);

impl<T: Serialize> Serialize for One<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, self.1)?;
        map.end()
    }
}

/// A JSON object with two fields.
struct Two<'a, A, B>(&'static str, &'a A, &'static str, &'a B);

impl<A: Serialize, B: Serialize> Serialize for Two<'_, A, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(self.0, self.1)?;
        map.serialize_entry(self.2, self.3)?;
        map.end()
    }
}

/// `{}`.
#[derive(Serialize)]
struct Nothing {}
