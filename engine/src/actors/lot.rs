//! A live lot: the actor that holds the authoritative state, has the rules judge requests, and
//! stages what follows. No rules here.
//!
//! A panic under a request loses that request alone: the state is dropped, rebuilt from snapshot and
//! journal, and requests that came meanwhile go on from there. (An actix actor does not survive a
//! panic in a handler, and its queued messages die with it; hence `catch_unwind`.)

use super::{admission::Admitted, outputs::Output, shard::Shard};
use crate::{
    delivery::reply::ReplyTo,
    limits,
    request::{Ask, Joined, KeyRequest, LotAnswer, Reply},
};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, SpawnHandle};
use gavel_domain::{
    command::{Command, PlaceBid},
    event::{LotEvent, Recorded},
    ids::{BidderId, Epoch, LotId, Position},
    lot::{Decision, Lot, same_bid},
    reject::{Refusal, Reject},
    shard::batch::BatchId,
    time::Timestamp,
};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

/// The longest a timer is set for; it is set again when it fires early.
const LONGEST_TIMER: Duration = Duration::from_secs(24 * 3600);

/// One lot.
pub(crate) struct LotActor {
    shard: Rc<Shard>,
    /// Under which the shard served when this actor began. Once it serves under another, or not at
    /// all, what this actor knows may never have happened.
    epoch: Epoch,
    id: LotId,
    state: State,
    /// The deadline that the timer is set for.
    timer: Option<(Timestamp, SpawnHandle)>,
}

/// How an actor begins.
pub(crate) enum Begin {
    With(Box<Lot>),
    Rebuilding,
}

enum State {
    Live(Box<Lot>),
    /// Requests wait for [`Restored`].
    Rebuilding(VecDeque<Admitted>),
}

/// The lot was rebuilt.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Restored(pub(crate) Box<Lot>);

/// Asks for an encoded snapshot; none while the lot is being rebuilt.
#[derive(Message)]
#[rtype(result = "Option<Vec<u8>>")]
pub(crate) struct TakeSnapshot;

/// The lot is over and may go, if tables and snapshots that hold `held` hold all of it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Retire {
    pub(crate) held: BatchId,
}

/// The shard gives its lots up.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Stop;

impl Message for Admitted {
    type Result = ();
}

/// What a request comes to.
enum Answer {
    Now(Reply),
    /// Refused, but it was sent before: the history may hold its receipt.
    LookUp(PlaceBid, Box<Refusal>),
}

impl LotActor {
    pub(crate) fn new(shard: Rc<Shard>, id: LotId, begin: Begin) -> Self {
        let state = match begin {
            Begin::With(lot) => State::Live(lot),
            Begin::Rebuilding => State::Rebuilding(VecDeque::new()),
        };
        Self { epoch: shard.epoch().get(), shard, id, state, timer: None }
    }

    /// Stops an actor that its shard has given up. (A [`Stop`] waits behind the mail that was in the
    /// mailbox before.)
    fn is_given_up(&self, ctx: &mut Context<Self>) -> bool {
        let given_up = !self.shard.serves_in(self.epoch);
        if given_up {
            ctx.stop();
        }
        given_up
    }

    fn serve(&mut self, admitted: Admitted, ctx: &mut Context<Self>) {
        if self.is_given_up(ctx) {
            return; // dropping a request answers `unavailable`
        }
        let lot = match &mut self.state {
            State::Live(lot) => lot,
            State::Rebuilding(waiting) if waiting.len() < limits::REBUILD_QUEUE => return waiting.push_back(admitted),
            State::Rebuilding(_) => return admitted.request.reply.send(Reply::Overloaded),
        };
        let Admitted { request, at, since } = admitted;
        let (ask, reply) = (request.ask, request.reply);
        let is_bid = matches!(ask, Ask::Bid { .. });
        let shard = &self.shard;
        shard.begin();
        let answer = catch_unwind(AssertUnwindSafe(|| Desk { shard, lot }.answer(ask, at)));
        match answer {
            Ok(Answer::Now(answer)) => {
                let admitted = is_bid.then_some(since);
                shard.withhold(Output::Reply { to: reply, reply: answer, admitted });
                self.set_timer(ctx);
            }
            Ok(Answer::LookUp(bid, refusal)) => look_up(Rc::clone(shard), self.id, bid, refusal, reply, since),
            Err(_) => {
                tracing::error!(shard = %shard.id, lot = %self.id, "a panic under a request: the lot is rebuilt");
                reply.send(Reply::Internal);
                self.lose_state(ctx);
            }
        }
    }

    fn lose_state(&mut self, ctx: &mut Context<Self>) {
        self.state = State::Rebuilding(VecDeque::new());
        self.shard.rebuild(self.id, ctx.address());
    }

    /// Sets the timer to the lot's deadline. A deadline that moved away is noticed when the old
    /// timer fires: a soft close would otherwise set a timer a bid.
    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        let State::Live(lot) = &self.state else { return };
        let Some(deadline) = lot.deadline() else { return };
        match self.timer {
            Some((set, _)) if set <= deadline => return,
            Some((_, handle)) => drop(ctx.cancel_future(handle)),
            None => {}
        }
        let wait = self.shard.node.clock.until(deadline).min(LONGEST_TIMER);
        let handle = ctx.run_later(wait, |actor, ctx| {
            actor.timer = None;
            actor.tick(ctx);
        });
        self.timer = Some((deadline, handle));
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        if self.is_given_up(ctx) {
            return;
        }
        let State::Live(lot) = &mut self.state else { return };
        self.shard.begin();
        let (shard, now) = (&self.shard, self.shard.now());
        if catch_unwind(AssertUnwindSafe(|| Desk { shard, lot }.tick_due(now))).is_err() {
            tracing::error!(shard = %shard.id, lot = %self.id, "a panic at a deadline: the lot is rebuilt");
            self.lose_state(ctx);
        } else {
            self.set_timer(ctx);
        }
    }
}

/// A lot and its shard, for the span of one request.
struct Desk<'a> {
    shard: &'a Rc<Shard>,
    lot: &'a mut Lot,
}

impl Desk<'_> {
    fn answer(&mut self, ask: Ask, at: Timestamp) -> Answer {
        self.tick_due(at);
        let reply = match ask {
            Ask::Bid { bid, retry } => return self.bid(bid, retry, at),
            Ask::Command { command, expected, key } => self.command(&command, expected, key, at),
            Ask::View { bidder } => Reply::Lot(Box::new(self.lot_answer(bidder.as_ref()))),
            Ask::Join { bidder, position, .. } => Reply::Joined(Box::new(self.join(bidder.as_ref(), position))),
            Ask::Create { .. } | Ask::Unwatch { .. } => Reply::Internal, // answered by the shard
        };
        Answer::Now(reply)
    }

    /// Whatever was due before `now` happens first, dated by its deadline.
    fn tick_due(&mut self, now: Timestamp) {
        while self.lot.deadline().is_some_and(|deadline| deadline <= now) {
            let Ok(Decision::Events { at, events }) = self.lot.decide(&Command::Tick, now) else { return };
            if events.is_empty() {
                return;
            }
            self.happen(at, events);
        }
    }

    fn bid(&mut self, bid: PlaceBid, retry: bool, at: Timestamp) -> Answer {
        let meters = &self.shard.node.meters;
        fail::fail_point!("lot-before-decide");
        let command = Command::Bid(bid);
        let decided = self.lot.decide(&command, at);
        let Command::Bid(bid) = command else { return Answer::Now(Reply::Internal) };
        match decided {
            Ok(Decision::Already(receipt)) => {
                meters.repeated.increment(1);
                Answer::Now(Reply::Receipt(receipt))
            }
            Ok(Decision::Events { at, events }) => {
                meters.accepted.increment(1);
                let receipt = self.happen(at, events);
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

    fn command(&mut self, command: &Command, expected: Option<Position>, key: Option<KeyRequest>, at: Timestamp) -> Reply {
        if let Some(known) = self.shard.known_key(key.as_ref(), at) {
            return known;
        }
        if expected.is_some_and(|expected| expected != self.lot.position()) {
            return Reply::PreconditionFailed;
        }
        match self.lot.decide(command, at) {
            Ok(Decision::Events { at: when, events }) => {
                self.happen(when, events);
                let view = self.lot.view();
                self.shard.use_key(key, at, &view);
                Reply::Lot(Box::new(LotAnswer { view, own: None }))
            }
            Ok(Decision::Already(_)) => Reply::Internal, // bids only
            Err(reject) => Reply::Refused(reject),
        }
    }

    /// Applies events and stages them; the receipt, if one of them is a bid.
    fn happen(&mut self, at: Timestamp, events: impl IntoIterator<Item = LotEvent>) -> Option<gavel_domain::receipt::Receipt> {
        let recorded = self.lot.advance(self.shard.epoch().get(), at, events);
        fail::fail_point!("lot-before-stage", |_| None);
        for event in &recorded {
            self.shard.stage_event(event);
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

/// Answers a resend from the history, off the shard: it may have been accepted longer ago than the
/// lot remembers. The refusal comes from a state that may be given up meanwhile: then the request is
/// dropped, which answers `unavailable`.
fn look_up(shard: Rc<Shard>, lot: LotId, bid: PlaceBid, refusal: Box<Refusal>, reply: ReplyTo, since: Instant) {
    let epoch = shard.epoch().get();
    actix_rt::spawn(async move {
        let known = shard.node.history().receipt(lot, &bid.bidder, bid.bid_id).await;
        let answer = match known {
            Ok(Some(receipt)) => match same_bid(&bid, receipt) {
                Ok(receipt) => Reply::Receipt(Box::new(receipt)),
                Err(reject) => Reply::BidRefused(Box::new(Refusal { reject, ..*refusal })),
            },
            Ok(None) => Reply::BidRefused(refusal),
            Err(error) => {
                tracing::warn!(%lot, %error, "a resent bid can't be looked up");
                Reply::Unavailable
            }
        };
        if shard.serves_in(epoch) {
            shard.withhold(Output::Reply { to: reply, reply: answer, admitted: Some(since) });
        }
    });
}

impl Actor for LotActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.shard.node.meters.lots_live.increment(1);
        self.set_timer(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.shard.node.meters.lots_live.decrement(1);
    }
}

impl Handler<Admitted> for LotActor {
    type Result = ();

    fn handle(&mut self, admitted: Admitted, ctx: &mut Context<Self>) {
        self.serve(admitted, ctx);
    }
}

impl Handler<Restored> for LotActor {
    type Result = ();

    fn handle(&mut self, Restored(lot): Restored, ctx: &mut Context<Self>) {
        if self.is_given_up(ctx) {
            return;
        }
        let before = std::mem::replace(&mut self.state, State::Live(lot));
        self.timer = None;
        if let State::Rebuilding(waiting) = before {
            for admitted in waiting {
                self.serve(admitted, ctx);
            }
        }
        self.set_timer(ctx);
    }
}

impl Handler<TakeSnapshot> for LotActor {
    type Result = Option<Vec<u8>>;

    fn handle(&mut self, _: TakeSnapshot, ctx: &mut Context<Self>) -> Self::Result {
        match &self.state {
            _ if self.is_given_up(ctx) => None,
            State::Live(lot) => Some(self.shard.node.storage.format.encode_lot(lot)),
            State::Rebuilding(_) => None,
        }
    }
}

impl Handler<Retire> for LotActor {
    type Result = ();

    fn handle(&mut self, Retire { held }: Retire, ctx: &mut Context<Self>) {
        if self.is_given_up(ctx) {
            return;
        }
        if matches!(self.state, State::Live(_)) && self.shard.retire(self.id, held) {
            ctx.stop();
        }
    }
}

impl Handler<Stop> for LotActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
