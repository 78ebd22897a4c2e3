//! Everything known of one lot's bids, in 24 bytes each, found by their sequence number: what receipts and pushes
//! say is laid side by side here, and at the end the rules are run over it.

use std::collections::HashMap;

use uuid::Uuid;

use super::Violation;
use super::english::English;
use crate::clock::{self, Micros};

/// No bid has this number.
const NONE: u32 = u32::MAX;
/// A pushed event that is no bid, in the place of its price.
const NO_BID: u32 = u32::MAX;
/// How far beyond the last sequence number the next may be before it is taken for nonsense.
const REACH: u64 = 1 << 24;

/// An accepted bid, as it was sent and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// The run's number of the bid, from which its id is made.
    pub(crate) bid: u32,
    pub(crate) bidder: u32,
    pub(crate) amount: u32,
    pub(crate) price: u32,
    pub(crate) leading: bool,
    /// When it was sent: the low bits, in microseconds.
    pub(crate) sent: u32,
}

#[derive(Clone, Copy)]
struct Slot {
    bid: u32,
    /// The bidder's number shifted left, the lowest bit telling whether it led.
    bidder_leading: u32,
    amount: u32,
    price: u32,
    sent: u32,
    /// The price a push told, zero while there was none.
    pushed: u32,
}

const EMPTY: Slot = Slot { bid: NONE, bidder_leading: 0, amount: 0, price: 0, sent: 0, pushed: 0 };

/// One lot's bids.
pub(crate) struct Ledger {
    lot: Uuid,
    /// The position when the lot was made; the first bid comes after it.
    base: u64,
    slots: Vec<Slot>,
    /// Times at which watchers read a bid whose receipt has not come, by place.
    early: HashMap<usize, Vec<Micros>>,
    accepted: u64,
    top: u64,
}

impl Ledger {
    pub(crate) fn new(lot: Uuid, base: u64) -> Self {
        Self { lot, base, slots: vec![], early: HashMap::new(), accepted: 0, top: base }
    }

    /// How many receipts there are.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// The highest sequence number of a receipt.
    pub(crate) fn top(&self) -> u64 {
        self.top
    }

    /// Enters a receipt. Answers when watchers had already read its push.
    pub(crate) fn receipt(&mut self, seq: u64, bid: Accepted) -> Result<Vec<Micros>, Violation> {
        let (lot, place) = (self.lot, self.place(seq)?);
        let slot = &mut self.slots[place];
        if slot.bid != NONE {
            return Err(Violation::DuplicateSeq { lot, seq });
        }
        let pushed = slot.pushed;
        *slot = Slot {
            bid: bid.bid,
            bidder_leading: bid.bidder << 1 | u32::from(bid.leading),
            amount: bid.amount,
            price: bid.price,
            sent: bid.sent,
            pushed,
        };
        self.accepted += 1;
        self.top = self.top.max(seq);
        if pushed == 0 {
            return Ok(vec![]);
        }
        self.same(seq, pushed, bid.price)?;
        Ok(self.early.remove(&place).unwrap_or_default())
    }

    /// Enters an event read by a watcher: the price if it is a bid. Answers how long ago the bid was sent, if its
    /// receipt is here.
    pub(crate) fn pushed(&mut self, seq: u64, price: Option<u64>, now: Micros) -> Result<Option<Micros>, Violation> {
        let place = self.place(seq)?;
        let told = price.map_or(NO_BID, narrow);
        let slot = &mut self.slots[place];
        if slot.pushed != 0 && slot.pushed != told {
            let (lot, one, other) = (self.lot, say(slot.pushed), say(told));
            return Err(Violation::PushesDiffer { lot, seq, one, other });
        }
        let (bid, sent, receipt) = (slot.bid, slot.sent, slot.price);
        let first = std::mem::replace(&mut slot.pushed, told) == 0;
        if bid == NONE {
            if told != NO_BID {
                self.early.entry(place).or_default().push(now);
            }
            return Ok(None);
        }
        if first {
            self.same(seq, told, receipt)?;
        }
        Ok(Some(clock::since(now, sent)))
    }

    /// All receipts by sequence number.
    pub(crate) fn receipts(&self) -> impl Iterator<Item = (u64, Accepted)> {
        let numbered = self.slots.iter().enumerate().filter(|(_, slot)| slot.bid != NONE);
        numbered.map(|(place, slot)| {
            let accepted = Accepted {
                bid: slot.bid,
                bidder: slot.bidder_leading >> 1,
                amount: slot.amount,
                price: slot.price,
                leading: slot.bidder_leading & 1 == 1,
                sent: slot.sent,
            };
            (self.base + 1 + place as u64, accepted)
        })
    }

    /// Runs the rules over the receipts in order: each must have been judged as they say, and each bid that was
    /// pushed must have one.
    pub(crate) fn judge(&self, mut lot: English) -> Result<English, Violation> {
        let unknown = |slot: &Slot| slot.bid == NONE && slot.pushed != 0 && slot.pushed != NO_BID;
        if let Some(place) = self.slots.iter().position(unknown) {
            return Err(Violation::NoReceipt { lot: self.lot, seq: self.base + 1 + place as u64 });
        }
        for (seq, bid) in self.receipts() {
            let amount = u64::from(bid.amount);
            let judged = lot.judge(bid.bidder, amount);
            let judged = judged.map_err(|why| Violation::Accepted { lot: self.lot, seq, amount, why })?;
            let differs = |field, got: String, want: String| Violation::Misjudged { lot: self.lot, seq, field, got, want };
            if judged.price != u64::from(bid.price) {
                return Err(differs("price", bid.price.to_string(), judged.price.to_string()));
            }
            if judged.leading != bid.leading {
                return Err(differs("leading", bid.leading.to_string(), judged.leading.to_string()));
            }
        }
        Ok(lot)
    }

    fn same(&self, seq: u64, pushed: u32, price: u32) -> Result<(), Violation> {
        if pushed == price {
            return Ok(());
        }
        Err(Violation::PushDiffers { lot: self.lot, seq, pushed: say(pushed), price: price.into() })
    }

    fn place(&mut self, seq: u64) -> Result<usize, Violation> {
        let wild = Violation::WildSeq { lot: self.lot, seq, base: self.base };
        let place = seq.checked_sub(self.base + 1).filter(|place| *place < self.slots.len() as u64 + REACH);
        let place = place.ok_or(wild)? as usize;
        if place >= self.slots.len() {
            self.slots.resize(place + 1, EMPTY);
        }
        Ok(place)
    }
}

/// What a push told, in words.
fn say(pushed: u32) -> String {
    if pushed == NO_BID { "another event".into() } else { format!("price {pushed}") }
}

/// An amount of this client's own lots in 32 bits; what does not fit becomes a value no own bid can have.
pub(crate) fn narrow(amount: u64) -> u32 {
    u32::try_from(amount).unwrap_or(u32::MAX - 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    const LOT: Uuid = Uuid::nil();

    fn bid(bidder: u32, amount: u32, price: u32) -> Accepted {
        Accepted { bid: amount, bidder, amount, price, leading: true, sent: 100 }
    }

    #[test]
    fn a_push_and_its_receipt_meet_in_either_order() {
        let mut ledger = Ledger::new(LOT, 1);
        assert_eq!(ledger.pushed(2, Some(5), 150).unwrap(), None);
        assert_eq!(ledger.pushed(2, Some(5), 170).unwrap(), None);
        assert_eq!(ledger.receipt(2, bid(1, 5, 5)).unwrap(), [150, 170]);
        assert_eq!(ledger.pushed(2, Some(5), 180).unwrap(), Some(80));
        assert!(ledger.receipt(3, bid(2, 6, 6)).unwrap().is_empty());
        assert_eq!(ledger.pushed(3, Some(6), 130).unwrap(), Some(30));
        assert_eq!((ledger.accepted(), ledger.top()), (2, 3));
        assert_eq!(ledger.judge(English::new(true, 1)).unwrap().price(), Some(6));
    }

    #[test]
    fn contradictions_are_told() {
        let told = |enter: fn(&mut Ledger) -> Result<(), Violation>| {
            let mut ledger = Ledger::new(LOT, 1);
            ledger.receipt(2, bid(1, 5, 5)).unwrap();
            let error = enter(&mut ledger).and_then(|()| ledger.judge(English::new(true, 1)).map(drop));
            error.unwrap_err().to_string().replace(&format!("lot {LOT}"), "L")
        };
        assert_eq!(told(|l| l.receipt(2, bid(2, 6, 6)).map(drop)), "L: two receipts with seq 2");
        assert_eq!(told(|l| l.receipt(1, bid(2, 6, 6)).map(drop)), "L: seq 1 is out of reach after 1");
        assert_eq!(told(|l| l.pushed(2, Some(6), 1).map(drop)), "L seq 2: the push says price 6, the receipt price 5");
        assert_eq!(told(|l| l.pushed(2, None, 1).map(drop)), "L seq 2: the push says another event, the receipt price 5");
        assert_eq!(told(|l| l.pushed(3, Some(6), 1).map(drop)), "L seq 3: a bid was pushed which nobody has a receipt for");
        assert_eq!(told(|l| l.receipt(3, bid(2, 6, 7)).map(drop)), "L seq 3: the receipt says price 7, the rules give 6");
        assert_eq!(told(|l| l.receipt(3, bid(2, 5, 5)).map(drop)), "L seq 3: a bid of 5 was accepted which the rules refuse (bid_too_low)");
    }
}
