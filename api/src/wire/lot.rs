//! A lot as it is answered.

use super::{
    json_only::JsonOnly,
    names::{Name, Names, OutcomeBody, alias},
};
use gavel_domain::{
    currency::Currency,
    ids::{BidderId, LotId, Position},
    lot::{
        Status,
        access::{AccessRules, Registration},
        increments::Increments,
        spec::{English, Funding, Rules, SoftClose},
        view::{LotView, Own},
    },
    money::Amount,
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Who looks: decides what is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody: the reserve price is hidden.
    Public,
    /// Auctioneers and administrators.
    House,
}

/// Who looks, and as which bidder.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    /// What is hidden.
    pub audience: Audience,
    /// None for who does not bid.
    pub bidder: Option<&'a BidderId>,
}

impl Viewer<'_> {
    /// An auctioneer.
    pub const HOUSE: Self = Self { audience: Audience::House, bidder: None };
}

/// A lot in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LotBody {
    /// The lot.
    pub id: LotId,
    /// As specified.
    pub title: Arc<str>,
    /// As specified.
    pub description: Arc<str>,
    /// Of all amounts.
    pub currency: Currency,
    /// What backs bids.
    pub funding: Funding,
    /// The format and its figures.
    pub rules: RulesBody,
    /// None: opened at once or by hand.
    pub opens_at: Option<Timestamp>,
    /// As it stands; none in a hammer sale.
    pub closes_at: Option<Timestamp>,
    /// As specified.
    pub soft_close: Option<SoftClose>,
    /// Where it is in its life.
    pub status: Status,
    /// None before a bid.
    pub price: Option<Amount>,
    /// None before a bid.
    pub leader: Option<Name>,
    /// Accepted bids.
    pub bid_count: u64,
    /// The least that a challenger must bid.
    pub minimum_bid: Amount,
    /// None without a reserve.
    pub reserve_met: Option<bool>,
    /// Whether `buy_now_price` can still be taken.
    pub buy_now_available: bool,
    /// By late bids.
    pub extensions: u32,
    /// Left on the clock of a paused lot.
    pub remaining_ms: Option<Millis>,
    /// The last event.
    pub position: Position,
    /// How it ended.
    pub outcome: Option<OutcomeBody>,
    /// The winner's wallet has paid; stays false with `funding` `open`.
    pub settled: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// The asking bidder's own standing.
    pub own: Option<Own>,
    /// Who may bid, and under which names; left out where everybody may, under its own.
    #[serde(default, skip_serializing_if = "JsonOnly::is_none")]
    pub access: JsonOnly<AccessBody>,
}

/// A lot's rules of access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessBody {
    /// Who may bid.
    pub registration: Registration,
    /// Whether bidders are shown by aliases.
    pub aliases: bool,
    /// The asking bidder's own alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<Arc<str>>,
}

impl AccessBody {
    fn new(rules: AccessRules, bidder: Option<&BidderId>) -> Option<Self> {
        let alias = rules.aliases.zip(bidder).map(|(key, bidder)| alias(key, bidder));
        let AccessRules { registration, aliases } = rules;
        (rules != AccessRules::default()).then(|| Self { registration, aliases: aliases.is_some(), alias })
    }
}

/// The rules in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesBody {
    /// `english`.
    pub format: Format,
    /// The least first bid.
    pub start_price: Amount,
    /// None too for those who may not see it.
    pub reserve_price: Option<Amount>,
    /// Buys at once.
    pub buy_now_price: Option<Amount>,
    /// Whether `max` is taken.
    pub proxy: bool,
    /// The table of steps.
    pub increments: Increments,
}

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Ascending.
    English,
}

impl RulesBody {
    /// The rules as `audience` may see them.
    #[must_use]
    pub fn new(rules: &Rules, audience: Audience) -> Self {
        let Rules::English(English { start_price, reserve_price, buy_now_price, proxy, increments }) = rules;
        Self {
            format: Format::English,
            start_price: *start_price,
            reserve_price: reserve_price.filter(|_| audience == Audience::House),
            buy_now_price: *buy_now_price,
            proxy: *proxy,
            increments: increments.clone(),
        }
    }
}

impl LotBody {
    /// A lot as `viewer` may see it.
    #[must_use]
    pub fn new(view: &LotView, own: Option<Own>, viewer: Viewer<'_>) -> Self {
        let Viewer { audience, bidder } = viewer;
        let (spec, names) = (&view.spec, Names::shown(view.access, audience));
        Self {
            id: view.id,
            title: Arc::clone(&spec.title),
            description: Arc::clone(&spec.description),
            currency: spec.currency.clone(),
            funding: spec.funding,
            rules: RulesBody::new(&spec.rules, audience),
            opens_at: spec.opens_at,
            closes_at: view.closes_at,
            soft_close: spec.soft_close,
            status: view.status,
            price: view.price,
            leader: view.leader.as_ref().map(|leader| names.of(leader)),
            bid_count: view.bid_count,
            minimum_bid: view.minimum_bid,
            reserve_met: view.reserve_met,
            buy_now_available: view.buy_now_available(),
            extensions: view.extensions,
            remaining_ms: view.remaining,
            position: view.position,
            outcome: view.outcome.as_ref().map(|outcome| names.outcome(outcome)),
            settled: view.settled,
            created_at: view.created_at,
            own,
            access: JsonOnly(AccessBody::new(view.access, bidder)),
        }
    }
}
