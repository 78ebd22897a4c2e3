//! A lot as it is answered.

use gavel_domain::{
    currency::Currency,
    event::Outcome,
    ids::{BidderId, LotId, Position},
    lot::{
        Status,
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
    pub leader: Option<BidderId>,
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
    pub outcome: Option<Outcome>,
    /// The winner's wallet has paid; stays false with `funding` `open`.
    pub settled: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// The asking bidder's own standing.
    pub own: Option<Own>,
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
    /// A lot as `audience` may see it.
    #[must_use]
    pub fn new(view: &LotView, own: Option<Own>, audience: Audience) -> Self {
        let spec = &view.spec;
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
            leader: view.leader.clone(),
            bid_count: view.bid_count,
            minimum_bid: view.minimum_bid,
            reserve_met: view.reserve_met,
            buy_now_available: view.buy_now_available(),
            extensions: view.extensions,
            remaining_ms: view.remaining,
            position: view.position,
            outcome: view.outcome.clone(),
            settled: view.settled,
            created_at: view.created_at,
            own,
        }
    }
}
