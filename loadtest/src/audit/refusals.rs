//! Refusals of one lot's bids: each must have been right at some moment at which it can have been judged.
//! A refusal has no sequence number, but its judgement came after all that its bidder's side knew when it sent the bid,
//! and before every bid that was made after the refusal was read. Who asks, and in which order, is the ledger's.

use uuid::Uuid;

use super::Violation;
use super::english::English;

/// Why a bid was refused, as far as the rules of this client's lots refuse any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// `bid_too_low`, with this minimum.
    TooLow(u32),
    /// `already_leading`.
    Leading,
    /// `max_not_raised`.
    NotRaised,
}

/// A refused bid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub(crate) bidder: u32,
    pub(crate) amount: u32,
    pub(crate) why: Why,
    /// The lot's highest known sequence number when the bid was first sent, counted from its base.
    pub(crate) after: u32,
    /// How many bids the run had made when the refusal was read.
    pub(crate) bids: u32,
}

impl Why {
    /// Whether a lot in this state refuses the bid so.
    fn fits(self, mut lot: English, bid: &Refused) -> bool {
        let minimum = lot.minimum();
        match (self, lot.judge(bid.bidder, bid.amount.into())) {
            (Self::TooLow(told), Err("bid_too_low")) => minimum == u64::from(told),
            (Self::Leading, Err("already_leading")) | (Self::NotRaised, Err("max_not_raised")) => true,
            _ => false,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::TooLow(_) => "bid_too_low",
            Self::Leading => "already_leading",
            Self::NotRaised => "max_not_raised",
        }
    }
}

/// The states of a lot, from before its first event on, in 12 bytes each.
pub(super) struct States {
    before: English,
    /// Price, leader and the leader's maximum after each event; a price of zero before the first bid.
    after: Vec<(u32, u32, u32)>,
}

impl States {
    pub(super) fn of(before: English) -> Self {
        Self { before, after: vec![] }
    }

    pub(super) fn push(&mut self, lot: &English) {
        // Own lots have small amounts; a price of zero is below their start price.
        let narrow = |amount: Option<u64>| amount.map_or(0, super::ledger::narrow);
        self.after.push((narrow(lot.price()), lot.leader().unwrap_or_default(), narrow(lot.max())));
    }

    /// After so many events.
    fn at(&self, events: usize) -> English {
        match events.checked_sub(1).map(|last| self.after[last]) {
            Some((price @ 1.., leader, max)) => self.before.at(price.into(), leader, max.into()),
            _ => self.before,
        }
    }
}

/// Holds each refusal to the states it can have been judged in. `bids` has each accepted bid's number and place.
pub(super) fn judge(lot: Uuid, refused: &[Refused], states: &States, mut bids: Vec<(u32, usize)>) -> Result<(), Violation> {
    // The first place of all bids from a number on: sorted by number, the least place from there to the end.
    bids.sort_unstable();
    let mut first = usize::MAX;
    for (_, place) in bids.iter_mut().rev() {
        first = first.min(*place);
        *place = first;
    }
    for bid in refused {
        let later = bids.get(bids.partition_point(|(number, _)| *number < bid.bids));
        let last = later.map_or(states.after.len(), |(_, place)| *place);
        let mut moments = bid.after as usize..=last;
        if !moments.any(|events| bid.why.fits(states.at(events), bid)) {
            let minimum = if let Why::TooLow(minimum) = bid.why { format!(" and a minimum of {minimum}") } else { String::new() };
            return Err(Violation::Refused { lot, amount: bid.amount.into(), code: bid.why.code(), minimum });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lot on which bidder 1 bid 5, then 2 bid 7, then 1 bid 9, as bids number 0, 1 and 2.
    fn check(proxy: bool, why: Why, bidder: u32, amount: u32, after: u32, bids: u32) -> bool {
        let mut lot = English::new(proxy, 1);
        let mut states = States::of(lot);
        for (bidder, amount) in [(1, 5), (2, 7), (1, 9)] {
            assert!(lot.judge(bidder, amount).is_ok());
            states.push(&lot);
        }
        let refused = Refused { bidder, amount, why, after, bids };
        judge(Uuid::nil(), &[refused], &states, vec![(0, 0), (1, 1), (2, 2)]).is_ok()
    }

    #[test]
    fn a_refusal_fits_the_moments_it_can_be_of() {
        for (right, proxy, why, bidder, amount, after, bids) in [
            (true, true, Why::TooLow(6), 2, 5, 0, 3),
            (true, true, Why::TooLow(6), 2, 5, 1, 1),
            (false, true, Why::TooLow(6), 2, 5, 2, 3), // judged after price 7 was known
            (false, true, Why::TooLow(8), 3, 5, 0, 1), // judged before 7 was bid
            (false, true, Why::TooLow(7), 3, 5, 0, 3), // never the minimum
            (false, true, Why::TooLow(6), 1, 5, 1, 1), // the leader needs no minimum
            (true, true, Why::NotRaised, 1, 5, 0, 3),
            (true, true, Why::NotRaised, 1, 9, 3, 3),
            (false, true, Why::NotRaised, 1, 10, 0, 3), // higher than it ever bid
            (false, true, Why::NotRaised, 3, 1, 0, 3),  // never leads
            (false, true, Why::NotRaised, 1, 5, 2, 2),  // 2 leads at that moment
            (false, true, Why::Leading, 1, 5, 0, 3),
            (true, false, Why::Leading, 1, 20, 3, 3),
            (false, false, Why::Leading, 2, 20, 0, 1),
            (false, false, Why::NotRaised, 1, 5, 0, 3),
        ] {
            assert_eq!(check(proxy, why, bidder, amount, after, bids), right, "{why:?} {bidder} {amount} {after} {bids}");
        }
    }

    #[test]
    fn before_the_first_bid_only_the_start_price_refuses() {
        let states = States::of(English::new(true, 3));
        let refused = |amount, why| Refused { bidder: 1, amount, why, after: 0, bids: 1 };
        for (right, bid) in [
            (true, refused(2, Why::TooLow(3))),
            (false, refused(3, Why::TooLow(3))),
            (false, refused(3, Why::TooLow(4))),
            (false, refused(3, Why::NotRaised)),
        ] {
            assert_eq!(judge(Uuid::nil(), &[bid], &states, vec![]).is_ok(), right, "{bid:?}");
        }
    }
}
