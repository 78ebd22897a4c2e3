//! A bidder's wallet as a state machine: [`Wallet::decide`] judges, [`Wallet::apply`] changes,
//! nothing else does.
//!
//! Available is balance less holds, and no hold goes beyond it. What a lot holds of a bidder is the
//! largest of that bidder's claims on it: its standing maximum, and each bid that is being placed. A
//! claim ends only because the lot's journaled history says so ([`crate::claims`]). How points get
//! old is in [`decay`], what was done already in [`operations`], what limits a bidder in [`permit`].

pub mod command;
pub mod decay;
pub mod event;
pub mod holds;
pub mod operations;
pub mod permit;
pub mod purse;
pub mod view;

use crate::{
    claims::Capture,
    ids::{BidderId, Epoch, LotId, Position, Seq},
    lot::spec::Funding,
    money::{Amount, SignedAmount},
    time::Timestamp,
    wallet::{
        command::{Adjustment, Change, HoldAsked, WalletCommand, WalletReject},
        event::{LedgerEntry, LedgerKind, WalletEvent, WalletRecorded},
        holds::{Hold, Holds},
        operations::{Known, Operations},
        permit::Permit,
        purse::Purse,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A wallet's whole state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wallet {
    bidder: BidderId,
    position: Position,
    last_at: Timestamp,
    /// By currency.
    purses: BTreeMap<Arc<str>, Purse>,
    operations: Operations,
    /// By currency; last, so that records from before there were any can be read.
    permits: BTreeMap<Arc<str>, Permit>,
}

/// What a command comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalletDecision {
    /// This happens.
    Event(WalletEvent),
    /// It happened before; this was it.
    Already(Arc<WalletRecorded>),
    /// Nothing changes.
    Nothing,
}

impl Wallet {
    /// A wallet in which nothing has happened yet.
    #[must_use]
    pub fn new(bidder: BidderId) -> Self {
        let (position, last_at) = (Position::default(), Timestamp::default());
        Self { bidder, position, last_at, purses: BTreeMap::new(), operations: Operations::default(), permits: BTreeMap::new() }
    }

    /// Judges a command at `now`. Changes nothing.
    ///
    /// # Errors
    /// The rules refuse it.
    pub fn decide(&self, command: &WalletCommand, now: Timestamp) -> Result<WalletDecision, WalletReject> {
        match command {
            WalletCommand::Hold(asked) => self.decide_hold(asked),
            WalletCommand::Word { lot, currency, word } => {
                let is_news = self.purse(currency).holds().hears(*lot, word) || self.permit(currency).pledges().hears(*lot, word);
                let told = || WalletEvent::Told { lot: *lot, currency: Arc::clone(currency), word: word.clone() };
                Ok(if is_news { WalletDecision::Event(told()) } else { WalletDecision::Nothing })
            }
            WalletCommand::Capture(capture) => self.decide_capture(capture, now),
            WalletCommand::Adjust(adjustment) => self.decide_adjustment(adjustment, now),
            WalletCommand::Allow { currency, terms, reason, by } => {
                if self.permit(currency).terms() == *terms {
                    return Ok(WalletDecision::Nothing);
                }
                let (currency, reason, by) = (Arc::clone(currency), reason.clone(), Arc::clone(by));
                Ok(WalletDecision::Event(WalletEvent::Allowed { currency, terms: *terms, reason, by }))
            }
        }
    }

    fn decide_hold(&self, asked: &HoldAsked) -> Result<WalletDecision, WalletReject> {
        let HoldAsked { lot, attempt, amount, .. } = *asked;
        let currency = &asked.currency;
        let (purse, permit) = (self.purse(currency), self.permit(currency));
        if asked.registered_only && !permit.terms().registered {
            return Err(WalletReject::NotRegistered);
        }
        permit.check(purse.holds(), lot, amount)?;
        if asked.funding == Funding::Open {
            return Ok(WalletDecision::Event(WalletEvent::Pledged { lot, currency: Arc::clone(currency), attempt, amount }));
        }
        // Overdrawn: existing leads stand, nothing new is backed.
        let overdrawn = purse.available() < SignedAmount::ZERO;
        let available = if overdrawn { purse.available() } else { purse.available_for(lot) };
        if available < amount.into() {
            return Err(WalletReject::InsufficientFunds { available, needed: amount });
        }
        Ok(WalletDecision::Event(WalletEvent::Held { lot, currency: Arc::clone(currency), attempt, amount }))
    }

    fn decide_capture(&self, capture: &Capture, now: Timestamp) -> Result<WalletDecision, WalletReject> {
        let Capture { lot, price, .. } = *capture;
        if capture.funding == Funding::Open {
            // No money moves: the pledge ends, and its price counts as spent, once.
            let is_pledged = self.permit(&capture.currency).pledges().of(lot).is_some();
            let bought = || WalletEvent::Bought { lot, currency: Arc::clone(&capture.currency), price };
            return Ok(if is_pledged { WalletDecision::Event(bought()) } else { WalletDecision::Nothing });
        }
        if let Known::Done(recorded) = self.operations.look_up(capture.lot.into(), &[0; 32], now) {
            return Ok(WalletDecision::Already(recorded));
        }
        let purse = self.purse(&capture.currency);
        if purse.holds().of(capture.lot).is_none() {
            return Err(WalletReject::NothingHeld { lot: capture.lot });
        }
        let amount = SignedAmount::from(capture.price).negated();
        Ok(WalletDecision::Event(WalletEvent::Captured(Box::new(LedgerEntry {
            currency: Arc::clone(&capture.currency),
            kind: LedgerKind::Capture,
            amount,
            balance: purse.balance().plus(amount).map_err(|_| WalletReject::OutOfRange)?,
            lot: Some(capture.lot),
            bid: capture.bid,
            reason: "won".into(),
            by: self.bidder.as_str().into(),
            operation: capture.lot.into(),
            digest: [0; 32],
        }))))
    }

    fn decide_adjustment(&self, asked: &Adjustment, now: Timestamp) -> Result<WalletDecision, WalletReject> {
        match self.operations.look_up(asked.operation, &asked.digest, now) {
            Known::No => {}
            Known::Done(recorded) => return Ok(WalletDecision::Already(recorded)),
            Known::OtherDigest => return Err(WalletReject::OperationReused),
        }
        let purse = self.purse(&asked.currency);
        let (kind, amount) = match &asked.change {
            Change::Grant { amount, cap } => (LedgerKind::Grant, grant(purse, *amount, *cap)),
            Change::Deduct { amount, force } => {
                if !force && purse.available() < (*amount).into() {
                    return Err(WalletReject::InsufficientFunds { available: purse.available(), needed: *amount });
                }
                (LedgerKind::Deduction, SignedAmount::from(*amount).negated())
            }
            Change::Decay(rule) => (LedgerKind::Decay, SignedAmount::from(rule.taken_from(purse.balance(), purse.available())).negated()),
            Change::CutTo(cap) => {
                let above = purse.balance().minus((*cap).into()).unwrap_or_default().positive();
                (LedgerKind::Cap, SignedAmount::from(above.min(purse.available().positive())).negated())
            }
        };
        let by_rule = matches!(kind, LedgerKind::Decay | LedgerKind::Cap);
        if by_rule && amount == SignedAmount::ZERO {
            return Ok(WalletDecision::Nothing);
        }
        Ok(WalletDecision::Event(WalletEvent::Posted(Box::new(LedgerEntry {
            currency: Arc::clone(&asked.currency),
            kind,
            amount,
            balance: purse.balance().plus(amount).map_err(|_| WalletReject::OutOfRange)?,
            lot: None,
            bid: None,
            reason: Arc::clone(&asked.reason),
            by: Arc::clone(&asked.by),
            operation: asked.operation,
            digest: asked.digest,
        }))))
    }

    /// Gives an event its place in this wallet's history, and applies it.
    pub fn advance(&mut self, epoch: Epoch, at: Timestamp, event: WalletEvent) -> Arc<WalletRecorded> {
        let seq = self.position.seq.next();
        let recorded = Arc::new(WalletRecorded { bidder: self.bidder.clone(), epoch, seq, at, event });
        self.apply(&recorded);
        recorded
    }

    /// Makes an event true. Total: an event is a fact.
    pub fn apply(&mut self, recorded: &Arc<WalletRecorded>) {
        match &recorded.event {
            WalletEvent::Held { lot, currency, attempt, amount } => self.purse_mut(currency).holds.claim(*lot, *attempt, *amount),
            WalletEvent::Told { lot, currency, word } => {
                if let Some(holds) = self.holding(currency, *lot) {
                    holds.tell(*lot, word);
                }
            }
            WalletEvent::Posted(entry) => {
                self.purse_mut(&entry.currency).set_balance(entry.balance);
                self.operations.keep(recorded);
            }
            WalletEvent::Captured(entry) => {
                let purse = self.purse_mut(&entry.currency);
                purse.set_balance(entry.balance);
                if let Some(lot) = entry.lot {
                    purse.holds.free(lot);
                }
                if let Some(permit) = self.permits.get_mut(&entry.currency) {
                    permit.spend(entry.amount.negated().positive());
                }
                self.operations.keep(recorded);
            }
            WalletEvent::Pledged { lot, currency, attempt, amount } => self.permit_mut(currency).pledges.claim(*lot, *attempt, *amount),
            WalletEvent::Bought { lot, currency, price } => {
                let permit = self.permit_mut(currency);
                permit.pledges.free(*lot);
                permit.spend(*price);
            }
            WalletEvent::Allowed { currency, terms, .. } => self.permit_mut(currency).set(*terms),
        }
        self.position = Position { epoch: recorded.epoch, seq: recorded.seq };
        self.last_at = recorded.at;
    }

    /// One currency; an empty purse where nothing ever was.
    #[must_use]
    pub fn purse(&self, currency: &str) -> &Purse {
        static EMPTY: std::sync::LazyLock<Purse> = std::sync::LazyLock::new(Purse::default);
        self.purses.get(currency).unwrap_or(&EMPTY)
    }

    fn purse_mut(&mut self, currency: &Arc<str>) -> &mut Purse {
        self.purses.entry(Arc::clone(currency)).or_default()
    }

    /// What limits the bidder in one currency; nothing where nobody ever said so.
    #[must_use]
    pub fn permit(&self, currency: &str) -> &Permit {
        static NONE: std::sync::LazyLock<Permit> = std::sync::LazyLock::new(Permit::default);
        self.permits.get(currency).unwrap_or(&NONE)
    }

    /// Every currency that something ever happened in, in order.
    #[must_use]
    pub fn currencies(&self) -> BTreeSet<&Arc<str>> {
        self.purses.keys().chain(self.permits.keys()).collect()
    }

    /// Every hold, with its currency: backed by the balance, and pledged.
    pub fn all_holds(&self) -> impl Iterator<Item = (&Arc<str>, LotId, &Hold)> {
        let backed = self.purses.iter().map(|(currency, purse)| (currency, purse.holds()));
        let pledged = self.permits.iter().map(|(currency, permit)| (currency, permit.pledges()));
        backed.chain(pledged).flat_map(|(currency, holds)| holds.iter().map(move |(lot, hold)| (currency, lot, hold)))
    }

    fn permit_mut(&mut self, currency: &Arc<str>) -> &mut Permit {
        self.permits.entry(Arc::clone(currency)).or_default()
    }

    /// The holds that a lot's is among, if it has one.
    fn holding(&mut self, currency: &str, lot: LotId) -> Option<&mut Holds> {
        let backed = self.purses.get_mut(currency).map(|purse| &mut purse.holds);
        let pledged = self.permits.get_mut(currency).map(|permit| &mut permit.pledges);
        backed.into_iter().chain(pledged).find(|holds| holds.of(lot).is_some())
    }

    /// Whose it is.
    #[must_use]
    pub const fn bidder(&self) -> &BidderId {
        &self.bidder
    }

    /// The last event.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The time of the last event.
    #[must_use]
    pub const fn last_event_at(&self) -> Timestamp {
        self.last_at
    }

    /// Applies an event unless it was applied already.
    ///
    /// # Errors
    /// An event in between is missing: where this wallet stands.
    pub fn catch_up(&mut self, recorded: &Arc<WalletRecorded>) -> Result<(), Seq> {
        let at = self.position.seq;
        if recorded.seq == at.next() {
            self.apply(recorded);
        } else if recorded.seq > at {
            return Err(at);
        }
        Ok(())
    }
}

/// What a grant adds: all of it, or what the cap leaves room for.
fn grant(purse: &Purse, amount: Amount, cap: Option<Amount>) -> SignedAmount {
    let room = cap.map_or(Amount::MAX, |cap| SignedAmount::from(cap).minus(purse.balance()).unwrap_or(Amount::MAX.into()).positive());
    amount.min(room).into()
}

#[cfg(test)]
mod tests;
