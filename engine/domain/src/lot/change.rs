//! An auctioneer's changes to a lot: texts always, a lower reserve always, the rest until the first bid.

use crate::{
    event::{Change, LotEvent},
    lot::{
        Decision, Lot, Status,
        spec::{LotSpec, Rules},
    },
    money::Amount,
    reject::{Conflict, Reject},
    time::{Millis, Timestamp},
};

impl Lot {
    /// `wanted` is the whole spec after the change, already checked by itself.
    pub(super) fn decide_change(&self, wanted: &LotSpec, now: Timestamp) -> Result<Decision, Reject> {
        if wanted.funding != self.spec.funding {
            return Err(Reject::Conflict(Conflict::FundingFixed));
        }
        let mut change = self.differences(wanted);
        if change == self.no_change() {
            return Ok(Decision::nothing(now));
        }
        let only_texts = Change { title: None, description: None, ..change.clone() } == self.no_change();
        if !only_texts {
            self.must_go_on(now)?;
        }
        if self.bid_count > 0 && !only_texts && !self.only_lowers_reserve(&change) {
            return Err(Reject::Conflict(Conflict::FixedByFirstBid));
        }
        if change.opens_at.is_some() && !matches!(self.status, Status::Draft | Status::Scheduled) {
            return Err(Reject::Conflict(Conflict::FixedByOpening));
        }
        // Holds are in that currency, and bids may be on their way to wallets.
        if self.asks_wallets() && change.currency.is_some() && !matches!(self.status, Status::Draft | Status::Scheduled) {
            return Err(Reject::Conflict(Conflict::FixedByOpening));
        }
        if change.closes_at.flatten().is_some_and(|closes_at| closes_at <= now) {
            return Err(Reject::Conflict(Conflict::ClosesInThePast));
        }
        if change.rules.is_some() {
            change.price = self.jump_to_reserve(wanted);
        }
        let price = change.price.or(self.price);
        change.minimum_bid = wanted.english().minimum_bid(price);
        change.reserve_met = wanted.english().reserve_met(price);
        // A lot that waited for a time and does so no more opens at once, as it would have if created so.
        let opens = self.status == Status::Scheduled && change.opens_at == Some(None);
        let closes_at = change.closes_at.unwrap_or(self.closes_at);
        if opens && closes_at.is_some_and(|closes_at| closes_at <= now) {
            return Err(Reject::Conflict(Conflict::ClosesInThePast));
        }
        let changed = LotEvent::Changed(Box::new(change));
        let opened = opens.then_some(LotEvent::Opened { closes_at });
        Ok(Decision::Events { at: now, events: std::iter::once(changed).chain(opened).collect() })
    }

    /// A change that says nothing but what is true already.
    fn no_change(&self) -> Change {
        let english = self.spec.english();
        Change { minimum_bid: english.minimum_bid(self.price), reserve_met: english.reserve_met(self.price), ..Change::default() }
    }

    fn differences(&self, wanted: &LotSpec) -> Change {
        fn new<T: PartialEq + Clone>(old: &T, new: &T) -> Option<T> {
            (old != new).then(|| new.clone())
        }
        Change {
            title: new(&self.spec.title, &wanted.title),
            description: new(&self.spec.description, &wanted.description),
            currency: new(&self.spec.currency, &wanted.currency),
            rules: new(&self.spec.rules, &wanted.rules),
            opens_at: new(&self.spec.opens_at, &wanted.opens_at),
            closes_at: new(&self.closes_at, &wanted.closes_at),
            soft_close: new(&self.spec.soft_close, &wanted.soft_close),
            ..self.no_change()
        }
    }

    fn only_lowers_reserve(&self, change: &Change) -> bool {
        let Some(Rules::English(wanted)) = &change.rules else { return false };
        let own = self.spec.english();
        let lower = match (own.reserve_price, wanted.reserve_price) {
            (Some(old), Some(new)) => new < old,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let same_else = spec_without_reserve(own) == spec_without_reserve(wanted);
        lower && same_else && Change { rules: None, title: None, description: None, ..change.clone() } == self.no_change()
    }

    /// A leader whose maximum reaches the lowered reserve now pays at least that (rule 4).
    fn jump_to_reserve(&self, wanted: &LotSpec) -> Option<Amount> {
        let (lead, price) = (self.lead.as_ref()?, self.price?);
        let reserve = wanted.english().reserve_price?;
        (lead.max >= reserve && price < reserve).then_some(reserve)
    }

    pub(super) fn apply_change(&mut self, change: &Change, at: Timestamp) {
        self.status = change.apply_to_spec(&mut self.spec, self.status);
        self.remaining = change.remaining(self.remaining, self.status, at);
        if let Some(closes_at) = change.closes_at {
            self.closes_at = closes_at;
        }
        self.price = change.price.or(self.price);
    }
}

impl Change {
    /// What is left on the clock after a change at `at`: a paused lot that gets another closing time
    /// would close then if it were resumed at once.
    pub(super) fn remaining(&self, before: Option<Millis>, status: Status, at: Timestamp) -> Option<Millis> {
        match self.closes_at {
            Some(closes_at) if status == Status::Paused => closes_at.map(|closes_at| closes_at.since(at)),
            _ => before,
        }
    }

    /// Changes a spec, and says what becomes of the status.
    pub(super) fn apply_to_spec(&self, spec: &mut LotSpec, status: Status) -> Status {
        fn set<T: Clone>(part: &mut T, new: Option<&T>) {
            if let Some(new) = new {
                part.clone_from(new);
            }
        }
        set(&mut spec.title, self.title.as_ref());
        set(&mut spec.description, self.description.as_ref());
        set(&mut spec.currency, self.currency.as_ref());
        set(&mut spec.rules, self.rules.as_ref());
        set(&mut spec.opens_at, self.opens_at.as_ref());
        set(&mut spec.closes_at, self.closes_at.as_ref());
        set(&mut spec.soft_close, self.soft_close.as_ref());
        match status {
            // Without an opening time it waits for what opens it: nowadays the next event.
            Status::Scheduled if spec.opens_at.is_none() => Status::Draft,
            Status::Draft if !spec.draft && spec.opens_at.is_some() => Status::Scheduled,
            other => other,
        }
    }
}

fn spec_without_reserve(english: &crate::lot::spec::English) -> crate::lot::spec::English {
    crate::lot::spec::English { reserve_price: None, ..english.clone() }
}
