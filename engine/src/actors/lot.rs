//! A live lot: the actor that holds the authoritative state, has the rules judge requests, and
//! stages what follows. No rules here. Bids that wait for a wallet are in [`super::backing`].
//!
//! A panic under a request loses that request alone: the state is dropped, rebuilt from snapshot and
//! journal, and requests that came meanwhile go on from there. (An actix actor does not survive a
//! panic in a handler, and its queued messages die with it; hence `catch_unwind`.)

use super::{
    admission::Admitted,
    desk::{Answer, Desk, Waiter},
    outputs::Output,
    seat::{Seat, Served},
    shard::Shard,
};
use crate::{
    delivery::reply::ReplyTo,
    request::{Ask, Reply},
};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, SpawnHandle};
use gavel_domain::{
    claims::{Attempts, CLOSE_WAITS, Letter},
    command::PlaceBid,
    ids::{Epoch, LotId},
    lot::{Lot, same_bid},
    reject::Refusal,
    shard::batch::BatchId,
    time::Timestamp,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::{Duration, Instant},
};

/// The longest a timer is set for; it is set again when it fires early.
const LONGEST_TIMER: Duration = Duration::from_secs(24 * 3600);

/// One lot.
pub(crate) struct LotActor {
    pub(super) shard: Rc<Shard>,
    /// Under which the shard served when this actor began. Once it serves under another, or not at
    /// all, what this actor knows may never have happened.
    epoch: Epoch,
    pub(super) id: LotId,
    pub(super) seat: Seat<Lot, Mail>,
    /// Bids that wait for their holds. Not part of the lot's state: they outlive a rebuild.
    pub(super) attempts: Attempts<Waiter>,
    /// The deadline that the timer is set for.
    timer: Option<(Timestamp, SpawnHandle)>,
    /// Whether a look at bids that wait for others is due by itself.
    pub(super) turn_waits: bool,
    /// Whether a look at attempts and debts is due by itself.
    pub(super) looks_after: bool,
}

/// How an actor begins.
pub(crate) enum Begin {
    With(Box<Lot>),
    Rebuilding,
}

/// What comes to a lot.
pub(crate) enum Mail {
    Request(Admitted),
    Letters(Vec<Letter>),
}

impl Message for Mail {
    type Result = ();
}

/// The lot was rebuilt.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Restored(pub(crate) Box<Lot>);

/// Asks for an encoded snapshot; none while the entity is being rebuilt.
#[derive(Message)]
#[rtype(result = "Option<Vec<u8>>")]
pub(crate) struct TakeSnapshot;

/// The lot is over and may go, if tables and snapshots that hold `held` hold all of it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Retire {
    pub(crate) held: BatchId,
}

/// The shard gives its actors up.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Stop;

impl LotActor {
    pub(crate) fn new(shard: Rc<Shard>, id: LotId, begin: Begin) -> Self {
        let seat = match begin {
            Begin::With(lot) => Seat::Live(lot),
            Begin::Rebuilding => Seat::vacant(),
        };
        let epoch = shard.epoch().get();
        Self { epoch, shard, id, seat, attempts: Attempts::default(), timer: None, turn_waits: false, looks_after: false }
    }

    /// Stops an actor that its shard has given up. (A [`Stop`] waits behind the mail that was in the
    /// mailbox before.)
    pub(super) fn is_given_up(&self, ctx: &mut Context<Self>) -> bool {
        let given_up = !self.shard.serves_in(self.epoch);
        if given_up {
            ctx.stop();
        }
        given_up
    }

    fn serve(&mut self, mail: Mail, ctx: &mut Context<Self>) {
        if self.is_given_up(ctx) {
            return; // dropping a request answers `unavailable`
        }
        match self.seat.let_in(mail) {
            Served::Now(Mail::Request(admitted)) => self.answer(admitted, ctx),
            Served::Now(Mail::Letters(letters)) => self.read(letters, ctx),
            Served::Later | Served::Never(Mail::Letters(_)) => return, // who wrote them will ask again
            Served::Never(Mail::Request(admitted)) => return admitted.request.reply.send(Reply::Overloaded),
        }
        self.conclude_if_over(ctx);
        self.set_timer(ctx);
    }

    fn answer(&mut self, admitted: Admitted, ctx: &mut Context<Self>) {
        let Seat::Live(lot) = &mut self.seat else { return };
        let Admitted { request, at, since } = admitted;
        let (ask, reply) = (request.ask, request.reply);
        let retry = matches!(ask, Ask::Bid { retry: true, .. });
        let is_bid = matches!(ask, Ask::Bid { .. });
        let (shard, attempts) = (&self.shard, &self.attempts);
        shard.begin();
        match catch_unwind(AssertUnwindSafe(|| Desk { shard, lot, attempts }.answer(ask, at))) {
            Ok(Answer::Hold(bid)) => self.ask_for_hold(bid, at, Waiter { reply, retry, since }, ctx),
            Ok(answer) => self.give(answer, reply, is_bid.then_some(since)),
            Err(_) => {
                tracing::error!(shard = %shard.id, lot = %self.id, "a panic under a request: the lot is rebuilt");
                reply.send(Reply::Internal);
                self.lose_state(ctx);
            }
        }
    }

    /// Hands an answer out. `since`: for a bid, when it was admitted.
    pub(super) fn give(&self, answer: Answer, to: ReplyTo, since: Option<Instant>) {
        match answer {
            Answer::Now(reply) => self.shard.withhold(Output::Reply { to, reply, admitted: since }),
            Answer::LookUp(bid, refusal) => {
                look_up(Rc::clone(&self.shard), self.id, bid, refusal, to, since.unwrap_or_else(Instant::now));
            }
            Answer::Hold(_) => to.send(Reply::Internal), // asked for before this
        }
    }

    pub(super) fn lose_state(&mut self, ctx: &mut Context<Self>) {
        self.seat = Seat::vacant();
        let actor = ctx.address();
        self.shard.rebuild_lot(self.id, actor);
    }

    /// Sets the timer to the lot's deadline, or to when a close has waited long enough. A deadline
    /// that moved away is noticed when the old timer fires: a soft close would otherwise set a timer
    /// a bid.
    pub(super) fn set_timer(&mut self, ctx: &mut Context<Self>) {
        let Some(mut deadline) = self.seat.live().and_then(Lot::deadline) else { return };
        match self.timer {
            Some((set, _)) if set <= deadline => return,
            Some((_, handle)) => drop(ctx.cancel_future(handle)),
            None => {}
        }
        let now = self.shard.now();
        if deadline <= now && self.attempts.hold_back(deadline, now) {
            deadline = deadline.plus(CLOSE_WAITS);
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
        let Seat::Live(lot) = &mut self.seat else { return };
        self.shard.begin();
        let (shard, attempts, now) = (&self.shard, &self.attempts, self.shard.now());
        if catch_unwind(AssertUnwindSafe(|| Desk { shard, lot, attempts }.tick_due(now))).is_err() {
            tracing::error!(shard = %shard.id, lot = %self.id, "a panic at a deadline: the lot is rebuilt");
            self.lose_state(ctx);
        } else {
            self.conclude_if_over(ctx);
            self.set_timer(ctx);
        }
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
        self.look_after_debts(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.shard.node.meters.lots_live.decrement(1);
    }
}

impl Handler<Mail> for LotActor {
    type Result = ();

    fn handle(&mut self, mail: Mail, ctx: &mut Context<Self>) {
        self.serve(mail, ctx);
    }
}

impl Handler<Restored> for LotActor {
    type Result = ();

    fn handle(&mut self, Restored(lot): Restored, ctx: &mut Context<Self>) {
        if self.is_given_up(ctx) {
            return;
        }
        self.timer = None;
        let waiting = self.seat.restore(lot);
        self.take_turns(self.shard.now(), ctx);
        for mail in waiting {
            self.serve(mail, ctx);
        }
        self.set_timer(ctx);
        self.look_after_debts(ctx);
    }
}

impl Handler<TakeSnapshot> for LotActor {
    type Result = Option<Vec<u8>>;

    fn handle(&mut self, _: TakeSnapshot, ctx: &mut Context<Self>) -> Self::Result {
        if self.is_given_up(ctx) {
            return None;
        }
        self.seat.live().map(|lot| self.shard.node.storage.format.encode_lot(lot))
    }
}

impl Handler<Retire> for LotActor {
    type Result = ();

    fn handle(&mut self, Retire { held }: Retire, ctx: &mut Context<Self>) {
        if self.is_given_up(ctx) {
            return;
        }
        let is_through = self.attempts.is_empty() && self.seat.live().is_some_and(|lot| lot.owed().is_none());
        if is_through && self.shard.retire(self.id, held) {
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
