//! A lot's side of bids that wallets back: asks for holds, hears the answers, and sees to it that the
//! winner pays. Which claims end when is the domain's matter ([`gavel_domain::claims`]).

use super::{
    desk::{Answer, Desk, Waiter},
    lot::LotActor,
    seat::Seat,
};
use crate::{limits, request::Reply};
use actix::{AsyncContext as _, Context};
use gavel_domain::{
    claims::{Attempt, Letter, TURN_WAITS},
    command::PlaceBid,
    ids::AttemptId,
    time::{Millis, Timestamp},
    wallet::command::WalletReject,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// A bid whose wallet has not answered by then is given up: `unavailable`.
const PATIENCE: Millis = Millis(2000);
/// How often attempts and debts are looked at, while there are any.
const LOOK: Duration = Duration::from_secs(1);

impl LotActor {
    /// A bid that would be accepted: its wallet must hold its maximum first.
    ///
    /// The letter goes at once, although the lot's state may not be durable yet: it carries nothing
    /// of that state, and a claim for a bid that is never placed ends by itself.
    pub(super) fn ask_for_hold(&mut self, bid: PlaceBid, at: Timestamp, waiter: Waiter, ctx: &mut Context<Self>) {
        let Some(lot) = self.seat.live() else { return };
        if self.attempts.len() >= limits::ATTEMPTS {
            return waiter.reply.send(Reply::Overloaded);
        }
        let attempt = self.shard.name_attempt();
        let (wallet, asked) = (bid.bidder.clone(), lot.hold_for(&bid, attempt));
        self.attempts.begin(attempt, Attempt { bid, at, with: waiter });
        self.shard.post(Letter::Hold { wallet, asked });
        self.look_after(ctx);
    }

    /// Letters from wallets.
    pub(super) fn read(&mut self, letters: Vec<Letter>, ctx: &mut Context<Self>) {
        let now = self.shard.now();
        for letter in letters {
            self.shard.begin();
            match letter {
                Letter::HoldAnswer { wallet, attempt, refused, .. } => {
                    if !self.attempts.answered(attempt, refused) {
                        self.at_desk(ctx, |desk| desk.say(wallet));
                    }
                }
                Letter::Query { wallet, .. } => self.at_desk(ctx, |desk| desk.say(wallet)),
                Letter::Captured { .. } => self.at_desk(ctx, |desk| desk.settle(now)),
                Letter::Hold { .. } | Letter::Word { .. } | Letter::Capture { .. } => {} // for wallets
            }
        }
        self.take_turns(now, ctx);
        self.at_desk(ctx, |desk| desk.tick_due(now));
    }

    /// Places the bids whose turn it is; while the lot is being rebuilt, none.
    pub(super) fn take_turns(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        while self.seat.live().is_some()
            && let Some((attempt, refused)) = self.attempts.ready(now)
        {
            self.shard.begin();
            self.conclude(attempt, refused, ctx);
        }
        if self.attempts.is_held_up() && !std::mem::replace(&mut self.turn_waits, true) {
            ctx.run_later(Duration::from_millis(TURN_WAITS.0), |actor, ctx| {
                actor.turn_waits = false;
                if !actor.is_given_up(ctx) {
                    actor.take_turns(actor.shard.now(), ctx);
                }
            });
        }
    }

    /// The rest of a bid's way, once its wallet has answered.
    fn conclude(&mut self, attempt: Attempt<Waiter>, refused: Option<WalletReject>, ctx: &mut Context<Self>) {
        let Attempt { bid, at, with: Waiter { reply, retry, since } } = attempt;
        let mut answer = None;
        self.at_desk(ctx, |desk| answer = Some(desk.judge(Attempt { bid, at, with: () }, retry, refused)));
        self.give(answer.unwrap_or(Answer::Now(Reply::Internal)), reply, Some(since));
    }

    /// What still waited when the lot ended is not placed any more.
    pub(super) fn conclude_if_over(&mut self, ctx: &mut Context<Self>) {
        while !self.attempts.is_empty() && self.seat.live().is_some_and(|lot| lot.status().is_over()) {
            let Some(attempt) = self.attempts.take_oldest() else { return };
            self.conclude(attempt, None, ctx);
        }
        self.look_after_debts(ctx);
    }

    /// Does something with the lot; a panic loses the state, which is then rebuilt.
    fn at_desk(&mut self, ctx: &mut Context<Self>, then: impl FnOnce(&mut Desk<'_>)) {
        let Seat::Live(lot) = &mut self.seat else { return };
        let (shard, attempts) = (&self.shard, &self.attempts);
        if catch_unwind(AssertUnwindSafe(|| then(&mut Desk { shard, lot, attempts }))).is_err() {
            tracing::error!(shard = %shard.id, lot = %self.id, "a panic under a letter: the lot is rebuilt");
            self.lose_state(ctx);
        }
    }

    /// Looks at the lot again in a while, if its winner owes.
    pub(super) fn look_after_debts(&mut self, ctx: &mut Context<Self>) {
        if self.seat.live().is_some_and(|lot| lot.owed().is_some()) {
            self.look_after(ctx);
        }
    }

    fn look_after(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.looks_after, true) {
            ctx.run_later(LOOK, |actor, ctx| {
                actor.looks_after = false;
                actor.look(ctx);
            });
        }
    }

    /// Gives up bids whose wallets don't answer, and asks once more for what is owed.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.is_given_up(ctx) {
            return;
        }
        self.shard.begin();
        let patient_since = self.shard.now().minus(PATIENCE);
        for attempt in self.attempts.give_up(patient_since) {
            let wallet = attempt.bid.bidder;
            tracing::warn!(lot = %self.id, bid_id = %attempt.bid.bid_id, "a wallet does not answer: the bid is given up");
            attempt.with.reply.send(Reply::Unavailable);
            self.at_desk(ctx, |desk| desk.say(wallet));
        }
        if let Some((wallet, capture)) = self.seat.live().and_then(gavel_domain::lot::Lot::owed) {
            self.shard.withhold(super::outputs::Output::Letter(Letter::Capture { wallet, capture }));
        }
        if !self.attempts.is_empty() {
            self.look_after(ctx);
        }
        self.look_after_debts(ctx);
        self.set_timer(ctx);
    }
}

impl super::shard::Shard {
    /// A new name for an attempt.
    fn name_attempt(&self) -> AttemptId {
        self.count_attempt();
        self.latest_attempt()
    }
}
