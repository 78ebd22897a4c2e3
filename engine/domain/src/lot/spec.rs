//! What an auctioneer asks for: a lot's texts, rules and times, and whether they make sense.

use crate::{
    currency::Currency,
    lot::increments::{IncrementError, Increments},
    money::Amount,
    time::{LONGEST, Millis, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Characters in a title.
pub const TITLE_CHARS: std::ops::RangeInclusive<usize> = 1..=200;
/// Characters in a description, at most.
pub const DESCRIPTION_CHARS: usize = 10_000;

/// A lot as specified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LotSpec {
    /// 1–200 characters without controls.
    pub title: Arc<str>,
    /// Up to 10,000 characters.
    pub description: Arc<str>,
    /// What amounts are in.
    pub currency: Currency,
    /// What backs the bids.
    pub funding: Funding,
    /// The format and its figures.
    pub rules: Rules,
    /// Waits for an explicit opening, whatever `opens_at` says.
    pub draft: bool,
    /// Opens by itself then; none: at once.
    pub opens_at: Option<Timestamp>,
    /// Closes by itself then; none: by the hammer.
    pub closes_at: Option<Timestamp>,
    /// Whether late bids stretch the closing time.
    pub soft_close: Option<SoftClose>,
}

/// What backs a bid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Funding {
    /// Nothing: payment is settled elsewhere.
    Open,
    /// A hold on the bidder's wallet.
    Wallet,
}

/// The auction's format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rules {
    /// Ascending, the highest maximum wins.
    English(English),
}

/// The figures of an English auction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct English {
    /// The least first bid.
    pub start_price: Amount,
    /// Not sold below this; hidden from bidders.
    pub reserve_price: Option<Amount>,
    /// Whoever bids this much while the price is lower has bought.
    pub buy_now_price: Option<Amount>,
    /// Whether bidders may leave a maximum that bids for them.
    pub proxy: bool,
    /// How far a challenger must go above the price.
    pub increments: Increments,
}

/// How late bids stretch the closing time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftClose {
    /// A bid within this span of the close extends.
    pub window_ms: Millis,
    /// From where `by_ms` counts.
    pub mode: SoftCloseMode,
    /// By how much.
    pub by_ms: Millis,
    /// At most this often; none: without end.
    #[serde(default)]
    pub max_extensions: Option<u32>,
    /// Never past this time.
    #[serde(default)]
    pub hard_close_at: Option<Timestamp>,
}

/// From where an extension counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SoftCloseMode {
    /// At least `by_ms` remain after the bid.
    Reset,
    /// `by_ms` is added to the closing time.
    Add,
}

/// What is wrong with a spec; the text starts with the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Empty, too long, or with control characters.
    #[error("title: 1 to 200 characters without control characters")]
    Title,
    /// Too long.
    #[error("description: at most 10,000 characters")]
    Description,
    /// Lower than the start price.
    #[error("rules.reserve_price: {reserve} is below rules.start_price {start}")]
    ReserveBelowStart {
        /// As asked.
        reserve: Amount,
        /// As asked.
        start: Amount,
    },
    /// Lower than the start price.
    #[error("rules.buy_now_price: {buy_now} is below rules.start_price {start}")]
    BuyNowBelowStart {
        /// As asked.
        buy_now: Amount,
        /// As asked.
        start: Amount,
    },
    /// The increment table.
    #[error("rules.increments: {0}")]
    Increments(#[from] IncrementError),
    /// The closing time is not ahead.
    #[error("closes_at: {closes_at} is not in the future")]
    ClosesInThePast {
        /// As asked.
        closes_at: Timestamp,
    },
    /// It would close before it opens.
    #[error("closes_at: must be after opens_at")]
    ClosesBeforeItOpens,
    /// Spans must be positive and sane.
    #[error("soft_close.{field}: from 1 to {} ms", LONGEST.0)]
    SoftCloseSpan {
        /// `window_ms` or `by_ms`.
        field: &'static str,
    },
    /// The hard end comes before the ordinary one.
    #[error("soft_close.hard_close_at: is before closes_at")]
    HardCloseFirst,
}

impl LotSpec {
    /// Whether the spec makes sense at `now`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, now: Timestamp) -> Result<(), SpecError> {
        self.check_timeless()?;
        match self.closes_at {
            Some(closes_at) if closes_at <= now => Err(SpecError::ClosesInThePast { closes_at }),
            _ => Ok(()),
        }
    }

    /// All that does not depend on the current time.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_timeless(&self) -> Result<(), SpecError> {
        let title = self.title.chars().count();
        if !TITLE_CHARS.contains(&title) || self.title.chars().any(char::is_control) {
            return Err(SpecError::Title);
        }
        if self.description.chars().count() > DESCRIPTION_CHARS {
            return Err(SpecError::Description);
        }
        let Rules::English(english) = &self.rules;
        english.check()?;
        if let (Some(opens_at), Some(closes_at)) = (self.opens_at, self.closes_at)
            && closes_at <= opens_at
        {
            return Err(SpecError::ClosesBeforeItOpens);
        }
        self.soft_close.map_or(Ok(()), |soft| soft.check(self.closes_at))
    }

    /// The English figures.
    #[must_use]
    pub fn english(&self) -> &English {
        let Rules::English(english) = &self.rules;
        english
    }
}

impl English {
    fn check(&self) -> Result<(), SpecError> {
        let start = self.start_price;
        if let Some(reserve) = self.reserve_price.filter(|r| *r < start) {
            return Err(SpecError::ReserveBelowStart { reserve, start });
        }
        if let Some(buy_now) = self.buy_now_price.filter(|b| *b < start) {
            return Err(SpecError::BuyNowBelowStart { buy_now, start });
        }
        Ok(())
    }
}

impl SoftClose {
    fn check(self, closes_at: Option<Timestamp>) -> Result<(), SpecError> {
        for (field, span) in [("window_ms", self.window_ms), ("by_ms", self.by_ms)] {
            if span == Millis(0) || span > LONGEST {
                return Err(SpecError::SoftCloseSpan { field });
            }
        }
        match (self.hard_close_at, closes_at) {
            (Some(hard), Some(closes)) if hard < closes => Err(SpecError::HardCloseFirst),
            _ => Ok(()),
        }
    }
}
