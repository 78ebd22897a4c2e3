//! Who may bid on a lot, and under which names the others see its bidders.

use crate::{
    event::LotEvent,
    ids::BidderId,
    lot::{Decision, Lot},
    reject::{Conflict, Reject},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

/// Bidders that one lot can register, at most: they are part of its snapshot.
pub const MOST_REGISTERED: usize = 10_000;

/// Who may bid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// Every bidder.
    #[default]
    None,
    /// Whom an auctioneer has registered for this lot.
    Lot,
    /// Whom an administrator has registered for the lot's currency: their wallets are asked, and with
    /// them their limits, also where no money is taken from them.
    Currency,
}

/// The secret that a lot's aliases are made from. Nobody who does not know it can tell whose an alias is.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasKey(pub [u8; 16]);

impl fmt::Debug for AliasKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AliasKey(…)")
    }
}

/// A lot's rules of access. They stand from its creation on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRules {
    /// Who may bid.
    pub registration: Registration,
    /// None: bidders are shown by name.
    pub aliases: Option<AliasKey>,
}

/// The rules, and who is registered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    rules: AccessRules,
    registered: BTreeSet<BidderId>,
}

impl Access {
    pub(super) const fn new(rules: AccessRules) -> Self {
        Self { rules, registered: BTreeSet::new() }
    }

    /// As they were given at the creation.
    #[must_use]
    pub const fn rules(&self) -> AccessRules {
        self.rules
    }

    /// Who is registered for this lot, in the order of names.
    #[must_use]
    pub const fn registered(&self) -> &BTreeSet<BidderId> {
        &self.registered
    }

    /// Whether the lot itself lets a bidder bid. A wallet may still say no.
    pub(super) fn admit(&self, bidder: &BidderId) -> Result<(), Reject> {
        let kept_out = self.rules.registration == Registration::Lot && !self.registered.contains(bidder);
        if kept_out { Err(Reject::NotRegistered) } else { Ok(()) }
    }

    pub(super) fn register(&mut self, bidders: &[BidderId]) {
        self.registered.extend(bidders.iter().cloned());
    }

    pub(super) fn unregister(&mut self, bidders: &[BidderId]) {
        for bidder in bidders {
            self.registered.remove(bidder);
        }
    }
}

impl Lot {
    /// Who may bid, and under which names.
    #[must_use]
    pub const fn access(&self) -> &Access {
        &self.access
    }

    /// Registers those who are not registered yet.
    pub(super) fn decide_register(&self, bidders: &[BidderId], now: Timestamp) -> Result<Decision, Reject> {
        self.takes_registrations(now)?;
        let new: BTreeSet<BidderId> = bidders.iter().filter(|bidder| !self.access.registered.contains(*bidder)).cloned().collect();
        if new.is_empty() {
            return Ok(Decision::nothing(now));
        }
        if self.access.registered.len() + new.len() > MOST_REGISTERED {
            return Err(Reject::Conflict(Conflict::TooManyRegistered));
        }
        Ok(Decision::one(now, LotEvent::Registered(new.into_iter().collect())))
    }

    /// Ends a registration. What the bidder leads with stands.
    pub(super) fn decide_unregister(&self, bidder: &BidderId, now: Timestamp) -> Result<Decision, Reject> {
        self.takes_registrations(now)?;
        if !self.access.registered.contains(bidder) {
            return Ok(Decision::nothing(now));
        }
        Ok(Decision::one(now, LotEvent::Unregistered(vec![bidder.clone()])))
    }

    fn takes_registrations(&self, now: Timestamp) -> Result<(), Reject> {
        if self.access.rules.registration != Registration::Lot {
            return Err(Reject::Conflict(Conflict::NoRegistrations));
        }
        self.must_go_on(now)
    }
}
