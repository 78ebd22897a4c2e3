//! Everything known of one lot's bids, in 40 bytes each, found by their sequence number: what receipts, pushes and
//! resyncs say is laid side by side here, and at the end the rules are run over it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display, Formatter};

use uuid::Uuid;

use super::Violation;
use super::english::English;
use super::refusals::{self, Refused, States};
use crate::clock::{self, Micros};
use crate::wire::message::{Placed, STRANGER, Shown};

/// No bid has this number.
const NONE: u32 = u32::MAX;
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
    /// From when its latencies count: the low bits, in microseconds.
    pub(crate) since: u32,
}

/// What a push says of a sequence number: [`Placed`], more narrowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Push {
    bidder: u32,
    leader: u32,
    amount: u32,
    price: u32,
    bid_count: u32,
}

impl Push {
    /// There was none.
    const NONE: Self = Self { bidder: STRANGER, leader: STRANGER, amount: NONE, price: NONE, bid_count: NONE };
    /// An event that is no bid.
    const OTHER: Self = Self { bid_count: NONE - 1, ..Self::NONE };

    fn of(placed: Option<Placed>) -> Self {
        placed.map_or(Self::OTHER, |Placed { bidder, amount, price, leader, bid_count }| Self {
            bidder,
            leader,
            amount: narrow(amount),
            price: narrow(price),
            bid_count: narrow(bid_count),
        })
    }

    fn is_bid(self) -> bool {
        self != Self::NONE && self != Self::OTHER
    }
}

impl Display for Push {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.is_bid() {
            return f.write_str("another event");
        }
        let Self { bidder, leader, amount, price, bid_count } = self;
        write!(f, "price {price} amount {amount} bidder {} leader {} bid_count {bid_count}", who(*bidder), who(*leader))
    }
}

#[derive(Clone, Copy)]
struct Slot {
    bid: u32,
    /// The bidder's number shifted left, the lowest bit telling whether it led.
    bidder_leading: u32,
    amount: u32,
    price: u32,
    since: u32,
    pushed: Push,
}

const EMPTY: Slot = Slot { bid: NONE, bidder_leading: 0, amount: 0, price: 0, since: 0, pushed: Push::NONE };

/// One lot's bids.
pub(crate) struct Ledger {
    lot: Uuid,
    /// The position when the lot was made; the first bid comes after it.
    base: u64,
    slots: Vec<Slot>,
    /// Times at which watchers read a bid whose receipt has not come, by place.
    early: HashMap<usize, Vec<Micros>>,
    /// What joins and resyncs showed, by sequence number.
    shown: BTreeMap<u64, Shown>,
    refused: Vec<Refused>,
    accepted: u64,
    top: u64,
}

impl Ledger {
    pub(crate) fn new(lot: Uuid, base: u64) -> Self {
        let (shown, refused) = (BTreeMap::new(), vec![]);
        Self { lot, base, slots: vec![], early: HashMap::new(), shown, refused, accepted: 0, top: base }
    }

    /// How many receipts there are.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// The highest sequence number of a receipt.
    pub(crate) fn top(&self) -> u64 {
        self.top
    }

    /// The highest sequence number of a receipt or a push.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    /// How far the receipts have come, counted from the lot's base.
    pub(crate) fn progress(&self) -> u32 {
        (self.top - self.base) as u32
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
            since: bid.since,
            pushed,
        };
        self.accepted += 1;
        self.top = self.top.max(seq);
        if pushed == Push::NONE {
            return Ok(vec![]);
        }
        self.same(place)?;
        Ok(self.early.remove(&place).unwrap_or_default())
    }

    /// Enters a refusal that no rule contradicts by itself.
    pub(crate) fn refusal(&mut self, refused: Refused) {
        self.refused.push(refused);
    }

    /// Enters an event read by a watcher: what it says if it is a bid. Answers how long the bid has waited for it, if
    /// its receipt is here.
    pub(crate) fn pushed(&mut self, seq: u64, placed: Option<Placed>, now: Micros) -> Result<Option<Micros>, Violation> {
        let place = self.place(seq)?;
        let told = Push::of(placed);
        let slot = &mut self.slots[place];
        let before = std::mem::replace(&mut slot.pushed, told);
        if before != Push::NONE && before != told {
            return Err(Violation::PushesDiffer { lot: self.lot, seq, one: before.to_string(), other: told.to_string() });
        }
        let (bid, since) = (slot.bid, slot.since);
        if bid == NONE {
            if told.is_bid() {
                self.early.entry(place).or_default().push(now);
            }
            return Ok(None);
        }
        if before == Push::NONE {
            self.same(place)?;
        }
        Ok(Some(clock::since(now, since)))
    }

    /// Enters what a join or a resync shows of the lot as it was at `seq`.
    pub(crate) fn shown(&mut self, seq: u64, shown: Shown) -> Result<(), Violation> {
        let known = *self.shown.entry(seq).or_insert(shown);
        self.same_state(seq, shown, known)
    }

    /// All receipts by sequence number.
    pub(crate) fn receipts(&self) -> impl Iterator<Item = (u64, Accepted)> {
        let numbered = self.slots.iter().enumerate().filter(|(_, slot)| slot.bid != NONE);
        numbered.map(|(place, slot)| (self.seq(place), slot.accepted()))
    }

    /// Runs the rules over the receipts in order: every number must be a bid with a receipt, or an event that was
    /// pushed and is none; each bid judged as the rules say; each push, resync and refusal what they make of the lot.
    pub(crate) fn judge(&self, before: English) -> Result<English, Violation> {
        let (mut lot, mut count) = (before, 0);
        let mut states = States::of(before);
        self.as_shown(self.base, &lot, count)?;
        for (place, slot) in self.slots.iter().enumerate() {
            let seq = self.seq(place);
            if slot.bid != NONE {
                count += 1;
                self.judge_bid(seq, slot, &mut lot, count)?;
            } else if slot.pushed.is_bid() {
                return Err(Violation::NoReceipt { lot: self.lot, seq });
            } else if slot.pushed == Push::NONE {
                return Err(Violation::Missing { lot: self.lot, seq });
            }
            self.as_shown(seq, &lot, count)?;
            if !self.refused.is_empty() {
                states.push(&lot);
            }
        }
        if let Some((seq, _)) = self.shown.range(self.end() + 1..).next() {
            return Err(Violation::Missing { lot: self.lot, seq: *seq });
        }
        let bids = self.slots.iter().enumerate().filter(|(_, slot)| slot.bid != NONE && !self.refused.is_empty());
        refusals::judge(self.lot, &self.refused, &states, bids.map(|(place, slot)| (slot.bid, place)).collect())?;
        Ok(lot)
    }

    fn judge_bid(&self, seq: u64, slot: &Slot, lot: &mut English, count: u64) -> Result<(), Violation> {
        let bid = slot.accepted();
        let amount = u64::from(bid.amount);
        let judged = lot.judge(bid.bidder, amount);
        let judged = judged.map_err(|why| Violation::Accepted { lot: self.lot, seq, amount, why })?;
        let differs = |place, field, got: String, want: String| Violation::Misjudged { lot: self.lot, seq, place, field, got, want };
        if judged.price != u64::from(bid.price) {
            return Err(differs("receipt", "price", bid.price.to_string(), judged.price.to_string()));
        }
        if judged.leading != bid.leading {
            return Err(differs("receipt", "leading", bid.leading.to_string(), judged.leading.to_string()));
        }
        if !slot.pushed.is_bid() {
            return Ok(());
        }
        let leader = lot.leader().unwrap_or(STRANGER);
        if slot.pushed.leader != leader {
            return Err(differs("push", "leader", who(slot.pushed.leader), who(leader)));
        }
        if u64::from(slot.pushed.bid_count) != count {
            return Err(differs("push", "bid_count", slot.pushed.bid_count.to_string(), count.to_string()));
        }
        Ok(())
    }

    /// The lot at `seq` must be what was shown of it there, if anything was.
    fn as_shown(&self, seq: u64, lot: &English, bid_count: u64) -> Result<(), Violation> {
        let Some(shown) = self.shown.get(&seq) else { return Ok(()) };
        self.same_state(seq, *shown, Shown { price: lot.price(), leader: lot.leader(), bid_count })
    }

    fn same_state(&self, seq: u64, got: Shown, want: Shown) -> Result<(), Violation> {
        let say = |value: Option<u64>| value.map_or("null".into(), |value| value.to_string());
        let name = |leader: Option<u32>| leader.map_or("null".into(), who);
        for (field, got, want) in [
            ("price", say(got.price), say(want.price)),
            ("leader", name(got.leader), name(want.leader)),
            ("bid_count", got.bid_count.to_string(), want.bid_count.to_string()),
        ] {
            if got != want {
                return Err(Violation::Shown { lot: self.lot, seq, field, got, want });
            }
        }
        Ok(())
    }

    /// What of a push can be compared with its receipt alone.
    fn same(&self, place: usize) -> Result<(), Violation> {
        let Slot { pushed, amount, price, bidder_leading, .. } = self.slots[place];
        let (bidder, leading) = (bidder_leading >> 1, bidder_leading & 1 == 1);
        let leads = if leading == (pushed.leader == bidder) { pushed.leader } else { STRANGER };
        let fields = [
            ("price", pushed.price, price),
            ("bidder", pushed.bidder, bidder),
            ("amount", pushed.amount, amount.min(price)),
            ("leader", pushed.leader, leads),
        ];
        let differs = fields.into_iter().find(|(_, pushed, receipt)| pushed != receipt);
        let Some((field, told, receipt)) = differs else { return Ok(()) };
        let pushed = if pushed.is_bid() { format!("{field} {told}") } else { pushed.to_string() };
        let receipt = if field == "leader" { format!("leading {leading}") } else { format!("{field} {receipt}") };
        Err(Violation::PushDiffers { lot: self.lot, seq: self.seq(place), pushed, receipt })
    }

    fn seq(&self, place: usize) -> u64 {
        self.base + 1 + place as u64
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

impl Slot {
    fn accepted(&self) -> Accepted {
        Accepted {
            bid: self.bid,
            bidder: self.bidder_leading >> 1,
            amount: self.amount,
            price: self.price,
            leading: self.bidder_leading & 1 == 1,
            since: self.since,
        }
    }
}

/// A bidder in words.
fn who(bidder: u32) -> String {
    if bidder == STRANGER { "a stranger".into() } else { format!("number {bidder}") }
}

/// An amount of this client's own lots in 32 bits; what does not fit becomes a value no own bid can have.
pub(crate) fn narrow(amount: u64) -> u32 {
    u32::try_from(amount).ok().filter(|amount| *amount < u32::MAX - 1).unwrap_or(u32::MAX - 2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::super::refusals::Why;
    use super::*;

    const LOT: Uuid = Uuid::nil();

    fn bid(bidder: u32, amount: u32, price: u32) -> Accepted {
        Accepted { bid: amount, bidder, amount, price, leading: true, since: 100 }
    }

    fn placed(bidder: u32, price: u64, bid_count: u64) -> Option<Placed> {
        Some(Placed { bidder, amount: price, price, leader: bidder, bid_count })
    }

    #[test]
    fn a_push_and_its_receipt_meet_in_either_order() {
        let mut ledger = Ledger::new(LOT, 1);
        let (first, second) = (placed(1, 5, 1), placed(2, 6, 2));
        assert_eq!(ledger.pushed(2, first, 150).unwrap(), None);
        assert_eq!(ledger.pushed(2, first, 170).unwrap(), None);
        assert_eq!(ledger.receipt(2, bid(1, 5, 5)).unwrap(), [150, 170]);
        assert_eq!(ledger.pushed(2, first, 180).unwrap(), Some(80));
        assert!(ledger.receipt(3, bid(2, 6, 6)).unwrap().is_empty());
        assert_eq!(ledger.pushed(3, second, 130).unwrap(), Some(30));
        ledger.shown(1, Shown { price: None, leader: None, bid_count: 0 }).unwrap();
        ledger.shown(2, Shown { price: Some(5), leader: Some(1), bid_count: 1 }).unwrap();
        ledger.refusal(Refused { bidder: 1, amount: 5, why: Why::NotRaised, after: 1, bids: 6 });
        assert_eq!((ledger.accepted(), ledger.top(), ledger.end(), ledger.progress()), (2, 3, 3, 2));
        assert_eq!(ledger.judge(English::new(true, 1)).unwrap().price(), Some(6));
        // An event that is no bid has a number of its own.
        ledger.pushed(4, None, 200).unwrap();
        ledger.receipt(5, bid(1, 7, 7)).unwrap();
        assert_eq!(ledger.judge(English::new(true, 1)).unwrap().price(), Some(7));
    }

    #[test]
    fn contradictions_are_told() {
        let told = |enter: fn(&mut Ledger) -> Result<(), Violation>| {
            let mut ledger = Ledger::new(LOT, 1);
            ledger.receipt(2, bid(1, 5, 5)).unwrap();
            let error = enter(&mut ledger).and_then(|()| ledger.judge(English::new(true, 1)).map(drop));
            error.unwrap_err().to_string().replace(&format!("lot {LOT}"), "L")
        };
        let push = |change: fn(&mut Placed)| {
            let mut ledger = Ledger::new(LOT, 1);
            ledger.receipt(2, bid(1, 5, 5)).unwrap();
            ledger.receipt(3, bid(1, 9, 5)).unwrap();
            ledger.receipt(4, Accepted { leading: false, ..bid(2, 6, 7) }).unwrap();
            let mut placed = Placed { bidder: 2, amount: 6, price: 7, leader: 1, bid_count: 3 };
            change(&mut placed);
            let error = ledger.pushed(4, Some(placed), 1).and_then(|_| ledger.judge(English::new(true, 1)).map(drop));
            error.map_or_else(|error| error.to_string().replace(&format!("lot {LOT}"), "L"), |()| "fine".into())
        };
        assert_eq!(told(|l| l.receipt(2, bid(2, 6, 6)).map(drop)), "L: two receipts with seq 2");
        assert_eq!(told(|l| l.receipt(1, bid(2, 6, 6)).map(drop)), "L: seq 1 is out of reach after 1");
        assert_eq!(told(|l| l.receipt(4, bid(2, 6, 6)).map(drop)), "L: nobody has a receipt for seq 3, nor was it pushed");
        assert_eq!(told(|l| l.pushed(2, placed(1, 6, 1), 1).map(drop)), "L seq 2: the push says price 6, the receipt price 5");
        assert_eq!(told(|l| l.pushed(2, None, 1).map(drop)), "L seq 2: the push says another event, the receipt price 5");
        assert_eq!(told(|l| l.pushed(3, placed(2, 6, 2), 1).map(drop)), "L seq 3: a bid was pushed which nobody has a receipt for");
        assert_eq!(told(|l| l.receipt(3, bid(2, 6, 7)).map(drop)), "L seq 3: the receipt says price 7, the rules give 6");
        assert_eq!(told(|l| l.receipt(3, bid(2, 4, 4)).map(drop)), "L seq 3: a bid of 4 was accepted which the rules refuse (bid_too_low)");
        let shown = |price, leader, bid_count| Shown { price: Some(price), leader: Some(leader), bid_count };
        for (at, wrong, message) in [
            (2, shown(6, 1, 1), "L as shown at seq 2: price 6, the accepted bids give 5"),
            (2, shown(5, 3, 1), "L as shown at seq 2: leader number 3, the accepted bids give number 1"),
            (2, shown(5, 1, 2), "L as shown at seq 2: bid_count 2, the accepted bids give 1"),
            (1, shown(5, 1, 1), "L as shown at seq 1: price 5, the accepted bids give null"),
            (9, shown(5, 1, 1), "L: nobody has a receipt for seq 9, nor was it pushed"),
        ] {
            let mut ledger = Ledger::new(LOT, 1);
            ledger.receipt(2, bid(1, 5, 5)).unwrap();
            ledger.shown(at, wrong).unwrap();
            let error = ledger.judge(English::new(true, 1)).unwrap_err();
            assert_eq!(error.to_string().replace(&format!("lot {LOT}"), "L"), message);
        }
        assert_eq!(push(|_| {}), "fine");
        assert_eq!(push(|p| p.bidder = 3), "L seq 4: the push says bidder 3, the receipt bidder 2");
        assert_eq!(push(|p| p.amount = 7), "L seq 4: the push says amount 7, the receipt amount 6");
        assert_eq!(push(|p| p.leader = 2), "L seq 4: the push says leader 2, the receipt leading false");
        assert_eq!(push(|p| p.leader = 3), "L seq 4: the push says leader number 3, the rules give number 1");
        assert_eq!(push(|p| p.bid_count = 4), "L seq 4: the push says bid_count 4, the rules give 3");
    }
}
