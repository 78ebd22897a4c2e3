//! A lot and its shard, for the span of one request: asks the rules, applies what they decide, stages
//! it with what must be told.

use super::{outputs::Output, shard::Shard};
use crate::{
    delivery::reply::ReplyTo,
    request::{Ask, Joined, KeyRequest, LotAnswer, Reply},
};
use gavel_domain::{
    act::Deed,
    claims::{Attempt, Attempts},
    command::{Command, PlaceBid},
    event::{LotEvent, Recorded},
    ids::{BidderId, Position},
    lot::{Considered, Decision, Lot},
    receipt::Receipt,
    reject::{Refusal, Reject},
    time::Timestamp,
    wallet::command::WalletReject,
};
use std::{rc::Rc, sync::Arc, time::Instant};

/// Who waits for a bid.
pub(crate) struct Waiter {
    pub(super) reply: ReplyTo,
    /// The client has sent it before.
    pub(super) retry: bool,
    /// When it was admitted.
    pub(super) since: Instant,
}

/// Under which conditions a command counts.
struct Conditions {
    /// Only if the lot still stands here.
    expected: Option<Position>,
    /// Only if it was not used before.
    key: Option<KeyRequest>,
}

/// What a request comes to.
pub(super) enum Answer {
    Now(Reply),
    /// Refused, but it was sent before: the history may hold its receipt.
    LookUp(PlaceBid, Box<Refusal>),
    /// It would be accepted: its wallet must hold for it first.
    Hold(PlaceBid),
}

pub(super) struct Desk<'a> {
    pub(super) shard: &'a Rc<Shard>,
    pub(super) lot: &'a mut Lot,
    pub(super) attempts: &'a Attempts<Waiter>,
}

impl Desk<'_> {
    pub(super) fn answer(&mut self, ask: Ask, at: Timestamp) -> Answer {
        match ask {
            Ask::Command { .. } => self.tick_at_once(at),
            _ => self.tick_due(at),
        }
        let reply = match ask {
            Ask::Bid { bid, retry } => return self.bid(bid, retry, at),
            Ask::Command { command, by, expected, key } => self.command(&command, by, Conditions { expected, key }, at),
            Ask::View { bidder } => Reply::Lot(Box::new(self.lot_answer(bidder.as_ref()))),
            Ask::Access => Reply::Access(Box::new(self.lot.access().clone())),
            Ask::Join { bidder, position, .. } => Reply::Joined(Box::new(self.join(bidder.as_ref(), position))),
            Ask::Create { .. } | Ask::Unwatch { .. } => Reply::Internal, // answered by the shard
        };
        Answer::Now(reply)
    }

    /// Whatever was due before `now` happens first, dated by its deadline; but a close waits a moment
    /// for bids that were admitted before it.
    pub(super) fn tick_due(&mut self, now: Timestamp) {
        let waits = self.lot.deadline().is_some_and(|deadline| deadline <= now && self.attempts.hold_back(deadline, now));
        if !waits {
            self.tick_at_once(now);
        }
    }

    fn tick_at_once(&mut self, now: Timestamp) {
        while self.lot.deadline().is_some_and(|deadline| deadline <= now) {
            let Ok(Decision::Events { at, events }) = self.lot.decide(&Command::Tick, now) else { return };
            if events.is_empty() {
                return;
            }
            self.happen(at, events, None);
        }
    }

    fn bid(&mut self, bid: PlaceBid, retry: bool, at: Timestamp) -> Answer {
        fail::fail_point!("lot-before-decide");
        let decided = if self.lot.asks_wallets() {
            // What it would bring is for later, once its wallet has answered.
            match self.lot.consider(&bid, at) {
                Ok(Considered::Good(_)) => return Answer::Hold(bid),
                Ok(Considered::Already(receipt)) => Ok(Decision::Already(receipt)),
                Err(reject) => Err(reject),
            }
        } else {
            self.lot.decide_bid(&bid, at)
        };
        self.conclude(bid, retry, at, decided)
    }

    /// A bid whose wallet has answered, or that is given up because the lot is over.
    pub(super) fn judge(&mut self, attempt: Attempt<()>, retry: bool, refused: Option<WalletReject>) -> Answer {
        let decided = attempt.judge(self.lot, refused);
        let ended = !matches!(decided, Ok(Decision::Events { .. }));
        let bidder = attempt.bid.bidder.clone();
        let answer = self.conclude(attempt.bid, retry, attempt.at, decided);
        if ended {
            self.say(bidder);
        }
        answer
    }

    fn conclude(&mut self, bid: PlaceBid, retry: bool, at: Timestamp, decided: Result<Decision, Reject>) -> Answer {
        let meters = &self.shard.node.meters;
        match decided {
            Ok(Decision::Already(receipt)) => {
                meters.repeated.increment(1);
                Answer::Now(Reply::Receipt(receipt))
            }
            Ok(Decision::Events { at, events }) => {
                meters.accepted.increment(1);
                let receipt = self.happen(at, events, None);
                tracing::debug!(lot = %self.lot.id(), bid_id = %bid.bid_id, bidder = %bid.bidder, "bid accepted");
                Answer::Now(receipt.map_or(Reply::Internal, |receipt| Reply::Receipt(Box::new(receipt))))
            }
            Err(reject) => {
                tracing::debug!(lot = %self.lot.id(), bid_id = %bid.bid_id, bidder = %bid.bidder, %reject, "bid refused");
                meters.refused(&reject);
                let refusal = Box::new(Refusal { reject, received_at: at, deadline: self.lot.closes_at() });
                let final_as_it_is = !retry || matches!(refusal.reject, Reject::InvalidBid(_) | Reject::BidIdConflict);
                if final_as_it_is { Answer::Now(Reply::BidRefused(refusal)) } else { Answer::LookUp(bid, refusal) }
            }
        }
    }

    fn command(&mut self, command: &Command, by: Option<Arc<str>>, conditions: Conditions, at: Timestamp) -> Reply {
        let Conditions { expected, key } = conditions;
        if let Some(known) = self.shard.known_key(key.as_ref(), at) {
            return known;
        }
        if expected.is_some_and(|expected| expected != self.lot.position()) {
            return Reply::PreconditionFailed;
        }
        match self.lot.decide(command, at) {
            Ok(Decision::Events { at: when, events }) => {
                // Where nothing happens, nobody has done anything.
                let act = by.zip(events.first().and_then(|effect| Deed::of(command, effect)));
                self.happen(when, events, act);
                let view = self.lot.view();
                self.shard.use_key(key, at, &view);
                Reply::Lot(Box::new(LotAnswer { view, own: None }))
            }
            Ok(Decision::Already(_)) => Reply::Internal, // bids only
            Err(reject) => Reply::Refused(reject),
        }
    }

    /// The winner's wallet has paid.
    pub(super) fn settle(&mut self, now: Timestamp) {
        if let Ok(Decision::Events { at, events }) = self.lot.decide(&Command::Settle, now) {
            self.happen(at, events, None);
        }
    }

    /// Tells a bidder's wallet which claims the lot stands by.
    pub(super) fn say(&self, bidder: BidderId) {
        self.shard.withhold(Output::Letter(self.attempts.word_letter(self.lot, bidder, self.shard.latest_attempt())));
    }

    /// Applies events and stages them, with who brought them about; the receipt, if one of them is a
    /// bid. Wallets are told what they need to know.
    fn happen(&mut self, at: Timestamp, events: impl IntoIterator<Item = LotEvent>, act: Option<(Arc<str>, Deed)>) -> Option<Receipt> {
        let recorded = self.lot.advance(self.shard.epoch().get(), at, events);
        fail::fail_point!("lot-before-stage", |_| None);
        for event in &recorded {
            self.shard.stage_event(event);
        }
        if let (Some((by, deed)), Some(effect)) = (act, recorded.first()) {
            self.shard.stage_act(by, effect, deed);
        }
        for letter in self.attempts.letters(self.lot, &recorded, self.shard.latest_attempt()) {
            self.shard.withhold(Output::Letter(letter));
        }
        recorded.first().and_then(|event| event.receipt())
    }

    fn lot_answer(&self, bidder: Option<&BidderId>) -> LotAnswer {
        LotAnswer { view: self.lot.view(), own: bidder.and_then(|bidder| self.lot.own(bidder)) }
    }

    fn join(&self, bidder: Option<&BidderId>, position: Option<Position>) -> Joined {
        let missed: Option<Vec<Arc<Recorded>>> =
            position.and_then(|position| self.lot.log().after(position)).map(|events| events.cloned().collect());
        Joined { lot: self.lot_answer(bidder), recovered: missed.is_some(), events: missed.unwrap_or_default() }
    }
}
