//! The bidders of a burst: which bid goes out next on which socket, and what became of it.
//!
//! Every bid takes the lot's next amount as it is sent. It is accepted if the server takes bids in the order they
//! were sent. A server takes a socket's pipelined bids together, so the order that matters is the one between
//! sockets. Hence: sockets are filled in the order in which the server last judged them (their last `seq`), each with
//! all its free places in one write; and nothing is appended to bids which the server may not have read yet, for it
//! would be judged with them, before older bids of other sockets: only a socket whose last write is known to be read
//! is written to, or the one written to last. At a given rate a bid waits for such a socket, and its waiting counts.
//! A refused bid is made again with a new id and amount.
//! Reading sockets, histograms and printing are elsewhere.

use std::collections::VecDeque;

use super::lot::Lot;
use super::tally::Tally;
use crate::audit::Violation;
use crate::audit::ledger::{Accepted, narrow};
use crate::audit::refusals::{Refused, Why};
use crate::clock::{self, Clock, Micros};
use crate::net::{SocketError, Swarm};
use crate::wire::message::{Receipt, Refusal};
use crate::wire::request::{self, Bid, BidIds};

/// How long after a temporary refusal without `retry_after_ms` the bid is sent again.
const RETRY: Micros = 50_000;
/// How many sockets share what is due at a moment, at a given rate.
const SHARE: usize = 4;
/// The least between two such moments: below it a core would go into system calls for single bids.
const QUANTUM: Micros = 50;
/// At most so many lengths are told of bids that were due and never sent.
const ALIKE: u64 = 10_000;

/// A bid that was sent and not answered.
#[derive(Clone, Copy, Default)]
struct Flight {
    /// The request's id; zero while the place is free.
    request: u64,
    bid: u32,
    amount: u32,
    lot: u32,
    /// From when its latencies count: when it was due at a given rate, else when it was first sent.
    due: Micros,
    /// How far the lot's receipts had come when it was first sent.
    after: u32,
}

/// One bidder on one socket.
struct Bidder {
    flights: Vec<Flight>,
    free: Vec<u32>,
    /// How many requests it has made.
    requests: u64,
    /// The first request of its last write, until one of that write is answered; then zero.
    unread: u64,
    /// When the server last judged a bid of it: a `seq`.
    order: u64,
    /// The lots it bids on, and whether a bid on each is unanswered (lots without proxy).
    lots: Vec<(u32, bool)>,
    turn: usize,
    /// Listed in `Bidders::idle`.
    listed: bool,
}

/// When bids are due.
enum Pace {
    /// Whenever there is a free place.
    Closed,
    /// Evenly, at so many microseconds each; what was refused is still due.
    Open { start: Micros, every: f64, made: u64, again: VecDeque<Micros> },
}

/// All bidders; bidder and socket have the same number.
pub(super) struct Bidders {
    bidders: Vec<Bidder>,
    /// Those with something to send.
    idle: Vec<u32>,
    /// Bids to be asked again: when, whose, which place, whether they may have been decided.
    later: Vec<(Micros, u32, u32, bool)>,
    pace: Pace,
    proxy: bool,
    place_bits: u32,
    ids: BidIds,
    bids: u32,
    /// When bids were last made at a given rate.
    made_at: Micros,
    /// The bidder written to last.
    tail: usize,
    /// Bids are due that no bidder can take before something is answered.
    blocked: bool,
    clock: Clock,
}

impl Bidders {
    pub(super) fn new(count: u32, in_flight: u32, lots: u32, proxy: bool, ids: BidIds, clock: Clock) -> Self {
        let bidder = |number: u32| {
            let lots = bids_on(number, count, lots, proxy);
            let places = if proxy { in_flight } else { in_flight.min(lots.len() as u32) };
            Bidder {
                flights: vec![Flight::default(); places as usize],
                free: (0..places).rev().collect(),
                requests: 0,
                unread: 0,
                order: 0,
                lots: lots.into_iter().map(|lot| (lot, false)).collect(),
                turn: 0,
                listed: true,
            }
        };
        Self {
            bidders: (0..count).map(bidder).collect(),
            idle: (0..count).collect(),
            later: vec![],
            pace: Pace::Closed,
            proxy,
            place_bits: u32::BITS - in_flight.leading_zeros(),
            ids,
            bids: 0,
            made_at: 0,
            tail: 0,
            blocked: false,
            clock,
        }
    }

    /// From `start` on makes `rate` bids a second instead of as many as possible.
    pub(super) fn at_rate(&mut self, rate: f64, start: Micros) {
        self.pace = Pace::Open { start, every: 1e6 / rate, made: 0, again: VecDeque::new() };
    }

    /// How many bids are unanswered.
    pub(super) fn unanswered(&self) -> usize {
        self.bidders.iter().map(|bidder| bidder.flights.len() - bidder.free.len()).sum()
    }

    /// How long the unanswered bids have been waiting at `now`.
    pub(super) fn waiting(&self, now: Micros) -> impl Iterator<Item = Micros> {
        let taken = self.bidders.iter().flat_map(|bidder| bidder.flights.iter()).filter(|flight| flight.request != 0);
        taken.map(move |flight| now.saturating_sub(flight.due))
    }

    /// How long the bids that were due by `now` and are not sent have been waiting: lengths, and of how many bids
    /// each. Many alike are told as one.
    pub(super) fn waiting_to_be_sent(&self, now: Micros) -> Vec<(Micros, u64)> {
        let Pace::Open { start, every, made, again } = &self.pace else { return vec![] };
        let mut all: Vec<_> = again.iter().map(|due| (now.saturating_sub(*due), 1)).collect();
        let new = self.overdue(now) - again.len() as u64;
        let alike = new.div_ceil(ALIKE).max(1);
        let mut at = 0;
        while at < new {
            let many = alike.min(new - at);
            let due = *start + ((*made + at) as f64 * every) as Micros;
            all.push((now.saturating_sub(due), many));
            at += many;
        }
        all
    }

    /// How many bids are due and not sent.
    pub(super) fn overdue(&self, now: Micros) -> u64 {
        match &self.pace {
            Pace::Closed => 0,
            Pace::Open { start, every, made, again } => {
                // The first is due at the start.
                let due = now.checked_sub(*start).map_or(0, |passed| (passed as f64 / every) as u64 + 1);
                due.saturating_sub(*made) + again.len() as u64
            }
        }
    }

    /// When something is to be done even if nothing is read.
    pub(super) fn next_due(&self) -> Option<Micros> {
        let paced = match &self.pace {
            Pace::Open { start, every, made, again } if !self.blocked => {
                let due = if again.is_empty() { start + (*made as f64 * every) as Micros } else { 0 };
                Some(due.max(self.made_at + QUANTUM))
            }
            _ => None,
        };
        self.later.iter().map(|(at, ..)| *at).chain(paced).min()
    }

    /// Makes the bids that are due.
    pub(super) fn bid(&mut self, swarm: &mut Swarm, lots: &mut [Lot]) -> Result<(), SocketError> {
        if matches!(self.pace, Pace::Closed) {
            let mut idle = std::mem::take(&mut self.idle);
            idle.sort_unstable_by_key(|bidder| self.bidders[*bidder as usize].order);
            for number in idle.drain(..) {
                let bidder = &mut self.bidders[number as usize];
                bidder.listed = false;
                // One that was not read since is listed again by the answer that says it was.
                if bidder.unread == 0 || self.tail == number as usize {
                    self.tail = number as usize;
                    self.fill(number, usize::MAX, swarm, lots)?;
                }
            }
            // Filling lists nobody, so the room can be used again.
            self.idle = idle;
            return Ok(());
        }
        let now = self.clock.now();
        let due = usize::try_from(self.overdue(now)).unwrap_or(usize::MAX);
        if due == 0 || now < self.made_at + QUANTUM {
            return Ok(());
        }
        self.made_at = now;
        let (mut left, share) = (due, due.div_ceil(SHARE));
        let mut tries = self.bidders.len();
        while left > 0 && tries > 0 {
            let Some(number) = self.next_bidder() else { break };
            left -= self.fill(number as u32, share.min(left), swarm, lots)?;
            tries -= 1;
        }
        self.blocked = left > 0;
        Ok(())
    }

    /// Whose bid would be judged after all that were sent, if it were sent now.
    fn next_bidder(&mut self) -> Option<usize> {
        let count = self.bidders.len();
        let has_room = |number: &usize| !self.bidders[*number].free.is_empty();
        let others = (1..=count).map(|step| (self.tail + step) % count);
        let read = others.filter(has_room).find(|number| self.bidders[*number].unread == 0);
        let number = read.or_else(|| Some(self.tail).filter(has_room))?;
        self.tail = number;
        Some(number)
    }

    /// Sends again what was to be asked later. Goes on after the last new bid, for outcomes may be unknown.
    pub(super) fn ask_again(&mut self, swarm: &mut Swarm, lots: &[Lot]) -> Result<(), SocketError> {
        let now = self.clock.now();
        let mut at = 0;
        while at < self.later.len() {
            if self.later[at].0 > now {
                at += 1;
                continue;
            }
            let (_, number, place, retry) = self.later.swap_remove(at);
            self.send(number, place, retry, swarm, lots);
            swarm.flush(number as usize)?;
        }
        Ok(())
    }

    /// A receipt came: enters it where it belongs.
    pub(super) fn receipt(
        &mut self,
        number: usize,
        request: u64,
        receipt: &Receipt,
        now: Micros,
        lots: &mut [Lot],
        tally: &mut Tally,
    ) -> Result<(), Violation> {
        let flight = self.answered(number, request)?;
        let lot = &mut lots[flight.lot as usize];
        let (amount, seq) = (u64::from(flight.amount), receipt.seq);
        for (right, field) in [
            (receipt.lot == lot.id, "lot"),
            (receipt.bid_id == self.ids.id(flight.bid), "bid_id"),
            (receipt.amount == amount, "amount"),
            (receipt.max == amount, "max"),
        ] {
            if !right {
                return Err(Violation::WrongEcho { lot: lot.id, seq, field });
            }
        }
        let accepted = Accepted {
            bid: flight.bid,
            bidder: number as u32,
            amount: flight.amount,
            price: narrow(receipt.price),
            leading: receipt.leading,
            since: clock::short(flight.due),
        };
        for read in lot.ledger.receipt(seq, accepted)? {
            tally.delivered(read.saturating_sub(flight.due));
        }
        tally.accepted(now.saturating_sub(flight.due));
        let outbid = if receipt.leading { lot.led(seq, number as u32) } else { None };
        let bidder = &mut self.bidders[number];
        bidder.order = bidder.order.max(seq);
        self.list(number as u32);
        outbid.into_iter().for_each(|outbid| self.list(outbid));
        Ok(())
    }

    /// A refusal came: the bid is made anew, asked again later, or the run is over.
    pub(super) fn refusal(
        &mut self,
        number: usize,
        request: u64,
        refusal: &Refusal<'_>,
        now: Micros,
        lots: &mut [Lot],
        tally: &mut Tally,
    ) -> Result<(), Violation> {
        let flight = self.answered(number, request)?;
        let lot = &mut lots[flight.lot as usize];
        let amount = u64::from(flight.amount);
        tally.refused(&refusal.code);
        if refusal.temporary {
            let wait = refusal.retry_after_ms.map_or(RETRY, |ms| ms * 1000);
            // The place stays taken, by the same bid.
            let bidder = &mut self.bidders[number];
            if let Some(place) = bidder.free.pop() {
                bidder.flights[place as usize] = Flight { request: u64::MAX, ..flight };
                self.take_lot(number, flight.lot, true);
                self.later.push((now + wait, number as u32, place, refusal.code == "unavailable"));
            }
            return Ok(());
        }
        let why = match (&*refusal.code, refusal.minimum) {
            ("bid_too_low", Some(minimum)) if minimum > amount && lot.can_require(minimum) => Why::TooLow(narrow(minimum)),
            ("bid_too_low", minimum) => {
                return Err(Violation::WrongRefusal { lot: lot.id, amount, minimum: minimum.unwrap_or_default() });
            }
            ("already_leading", _) => Why::Leading,
            ("max_not_raised", _) => Why::NotRaised,
            (code, _) => {
                let (code, message) = (code.to_owned(), refusal.message.clone().into_owned());
                return Err(Violation::Unexpected { lot: lot.id, amount, code, message });
            }
        };
        let (bidder, after, bids) = (number as u32, flight.after, self.bids);
        lot.ledger.refusal(Refused { bidder, amount: flight.amount, why, after, bids });
        // It was judged after everything that is known of the lot.
        self.bidders[number].order = lot.ledger.top();
        if let Pace::Open { again, .. } = &mut self.pace {
            again.push_back(flight.due);
        }
        self.list(number as u32);
        Ok(())
    }

    /// Takes what was sent as `request` out of its place.
    fn answered(&mut self, number: usize, request: u64) -> Result<Flight, Violation> {
        let unknown = Violation::UnknownRequest { socket: number, request };
        let place = request & ((1 << self.place_bits) - 1);
        let bidder = self.bidders.get_mut(number);
        let flight = bidder.and_then(|bidder| bidder.flights.get_mut(place as usize));
        let flight = flight.filter(|flight| flight.request == request && request != 0).ok_or(unknown)?;
        let taken = std::mem::take(flight);
        self.blocked = false;
        if request >> self.place_bits >= self.bidders[number].unread {
            self.bidders[number].unread = 0;
        }
        self.bidders[number].free.push(place as u32);
        self.take_lot(number, taken.lot, false);
        Ok(taken)
    }

    /// Makes up to `most` bids for one bidder and sends them together. Answers how many.
    fn fill(&mut self, number: u32, most: usize, swarm: &mut Swarm, lots: &mut [Lot]) -> Result<usize, SocketError> {
        let now = self.clock.now();
        let most = most.min(self.bidders[number as usize].free.len());
        let (mut made, first) = (0, self.bidders[number as usize].requests + 1);
        while made < most {
            let Some(lot) = self.choose(number, lots) else { break };
            let due = match &mut self.pace {
                Pace::Closed => now,
                Pace::Open { start, every, made, again } => again.pop_front().unwrap_or_else(|| {
                    *made += 1;
                    *start + ((*made - 1) as f64 * *every) as Micros
                }),
            };
            let Some(place) = self.bidders[number as usize].free.pop() else { break };
            let (amount, after) = (lots[lot as usize].next_amount(), lots[lot as usize].ledger.progress());
            let flight = Flight { request: 0, bid: self.bids, amount, lot, due, after };
            self.bids += 1;
            self.bidders[number as usize].flights[place as usize] = flight;
            self.take_lot(number as usize, lot, true);
            self.send(number, place, false, swarm, lots);
            made += 1;
        }
        if made > 0 {
            let bidder = &mut self.bidders[number as usize];
            bidder.turn = (bidder.turn + 1) % bidder.lots.len();
            bidder.unread = first;
            swarm.flush(number as usize)?;
        }
        Ok(made)
    }

    /// The lot a bidder's next bid is for, if it can bid on any.
    fn choose(&mut self, number: u32, lots: &mut [Lot]) -> Option<u32> {
        let bidder = &self.bidders[number as usize];
        if self.proxy {
            return bidder.lots.get(bidder.turn).map(|(lot, _)| *lot);
        }
        let all = bidder.lots[bidder.turn..].iter().chain(&bidder.lots[..bidder.turn]);
        let mut free = all.filter(|(_, busy)| !busy).map(|(lot, _)| *lot);
        free.find(|lot| !lots[*lot as usize].waits_for(number))
    }

    /// Queues what is in a place as a new request.
    fn send(&mut self, number: u32, place: u32, retry: bool, swarm: &mut Swarm, lots: &[Lot]) {
        let bidder = &mut self.bidders[number as usize];
        bidder.requests += 1;
        let flight = &mut bidder.flights[place as usize];
        flight.request = bidder.requests << self.place_bits | u64::from(place);
        let bid = Bid {
            request: flight.request,
            lot: lots[flight.lot as usize].id,
            bid_id: self.ids.id(flight.bid),
            amount: flight.amount.into(),
            retry,
        };
        request::bid(swarm.out(number as usize), &bid);
    }

    /// Remembers whether a bidder has an unanswered bid on a lot, where only one is allowed.
    fn take_lot(&mut self, number: usize, lot: u32, taken: bool) {
        if !self.proxy {
            let lots = &mut self.bidders[number].lots;
            lots.iter_mut().filter(|(each, _)| *each == lot).for_each(|(_, busy)| *busy = taken);
        }
    }

    fn list(&mut self, number: u32) {
        let listed = &mut self.bidders[number as usize].listed;
        if !*listed && matches!(self.pace, Pace::Closed) {
            *listed = true;
            self.idle.push(number);
        }
    }
}

/// The lots a bidder bids on. With proxy bidding one if there are enough bidders, for its bids then go together;
/// else as many as it takes that each lot has two bidders. Without it all, for each takes one bid at a time.
fn bids_on(number: u32, bidders: u32, lots: u32, proxy: bool) -> Vec<u32> {
    if !proxy {
        return (0..lots).map(|lot| (lot + number) % lots).collect();
    }
    if lots <= bidders {
        return vec![number % lots];
    }
    let next = (number + 1) % bidders;
    (0..lots).filter(|lot| lot % bidders == number || lot % bidders == next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lot_has_bidders() {
        for (bidders, lots, proxy) in [(64, 1, true), (64, 16, true), (4, 10, true), (8, 3, false)] {
            for lot in 0..lots {
                let on = (0..bidders).filter(|bidder| bids_on(*bidder, bidders, lots, proxy).contains(&lot)).count();
                assert!(on >= 2, "lot {lot} of {lots} has {on} of {bidders} bidders");
            }
        }
    }
}
