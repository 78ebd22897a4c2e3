//! A wallet: the actor that holds its state, has the rules judge, and stages what follows. No rules
//! here. Supervised as a lot is: a panic loses the one request, the state is rebuilt.

use super::{
    lot::{Stop, TakeSnapshot},
    outputs::Output,
    seat::{Seat, Served},
    shard::Shard,
};
use crate::{
    delivery::reply::ReplyTo,
    request::{Reply, WalletAsk, WalletRequest},
};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use gavel_domain::{
    claims::Letter,
    ids::{BidderId, Epoch, LotId},
    time::Timestamp,
    wallet::{
        Wallet, WalletDecision,
        command::{WalletCommand, WalletReject},
        event::WalletRecorded,
        holds::Hold,
    },
};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

/// How often a wallet asks lots about claims that they have not spoken of since.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// One wallet.
pub(crate) struct WalletActor {
    shard: Rc<Shard>,
    /// As [`super::lot::LotActor`]'s.
    epoch: Epoch,
    id: BidderId,
    seat: Seat<Wallet, WalletMail>,
    /// What lots held when they were last asked about: what is still the same then is asked for.
    asked: BTreeMap<LotId, Hold>,
    /// Whether asking is due by itself.
    asks: bool,
}

/// What comes to a wallet.
pub(crate) enum WalletMail {
    Request(WalletRequest),
    Letters(Vec<Letter>),
}

impl Message for WalletMail {
    type Result = ();
}

/// The wallet was rebuilt.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WalletRestored(pub(crate) Box<Wallet>);

impl WalletActor {
    pub(crate) fn new(shard: Rc<Shard>, id: BidderId, wallet: Option<Box<Wallet>>) -> Self {
        let seat = wallet.map_or_else(Seat::vacant, Seat::Live);
        Self { epoch: shard.epoch().get(), shard, id, seat, asked: BTreeMap::new(), asks: false }
    }

    fn is_given_up(&self, ctx: &mut Context<Self>) -> bool {
        let given_up = !self.shard.serves_in(self.epoch);
        if given_up {
            ctx.stop();
        }
        given_up
    }

    fn serve(&mut self, mail: WalletMail, ctx: &mut Context<Self>) {
        if self.is_given_up(ctx) {
            return; // dropping a request answers `unavailable`
        }
        match self.seat.let_in(mail) {
            Served::Now(WalletMail::Request(request)) => self.answer(request, ctx),
            Served::Now(WalletMail::Letters(letters)) => {
                let now = self.shard.now();
                letters.into_iter().for_each(|letter| self.read(letter, now, ctx));
            }
            Served::Later | Served::Never(WalletMail::Letters(_)) => {} // who wrote them will ask again
            Served::Never(WalletMail::Request(request)) => request.reply.send(Reply::Overloaded),
        }
    }

    fn answer(&mut self, request: WalletRequest, ctx: &mut Context<Self>) {
        let WalletRequest { ask, reply, .. } = request;
        match ask {
            WalletAsk::View | WalletAsk::Join { .. } => {
                let Some(wallet) = self.seat.live() else { return };
                self.reply(reply, Reply::Wallet(Arc::new(wallet.view())));
            }
            WalletAsk::Adjust(adjustment) => {
                let outcome = self.decide(&WalletCommand::Adjust(*adjustment), self.shard.now(), ctx);
                let answer = match outcome {
                    Some(Ok(Changed::Now(recorded) | Changed::Before(recorded))) => Reply::Posted(recorded),
                    Some(Ok(Changed::Nothing)) => Reply::Done,
                    Some(Err(reject)) => Reply::WalletRefused(reject),
                    None => return reply.send(Reply::Internal),
                };
                self.reply(reply, answer);
            }
            WalletAsk::Allow { currency, terms, reason, by } => {
                let outcome = self.decide(&WalletCommand::Allow { currency, terms, reason, by }, self.shard.now(), ctx);
                let answer = match (outcome, self.seat.live()) {
                    (Some(Ok(_)), Some(wallet)) => Reply::Wallet(Arc::new(wallet.view())),
                    (Some(Err(reject)), _) => Reply::WalletRefused(reject),
                    _ => return reply.send(Reply::Internal),
                };
                self.reply(reply, answer);
            }
            WalletAsk::Unwatch { .. } => {} // the shard's
        }
    }

    fn reply(&self, to: ReplyTo, reply: Reply) {
        self.shard.withhold(Output::Reply { to, reply, admitted: None });
    }

    /// A letter from a lot.
    fn read(&mut self, letter: Letter, now: Timestamp, ctx: &mut Context<Self>) {
        match letter {
            Letter::Hold { wallet, asked } => {
                let (lot, currency, attempt) = (asked.lot, Arc::clone(&asked.currency), asked.attempt);
                // Where it is lost to a panic, the lot loses patience and the claim, if any, ends.
                let Some(outcome) = self.decide(&WalletCommand::Hold(asked), now, ctx) else { return };
                self.shard.withhold(Output::Letter(Letter::HoldAnswer { lot, wallet, currency, attempt, refused: outcome.err() }));
            }
            Letter::Word { lot, currency, word, .. } => drop(self.decide(&WalletCommand::Word { lot, currency, word }, now, ctx)),
            Letter::Capture { capture, .. } => {
                let lot = capture.lot;
                match self.decide(&WalletCommand::Capture(capture), now, ctx) {
                    Some(Ok(_)) => self.shard.withhold(Output::Letter(Letter::Captured { lot })),
                    Some(Err(reject)) => {
                        metrics::counter!(crate::meters::CAPTURES_REFUSED).increment(1);
                        tracing::error!(wallet = %self.id, %lot, %reject, "a price can't be captured: the lot stays unsettled");
                    }
                    None => {}
                }
            }
            Letter::HoldAnswer { .. } | Letter::Query { .. } | Letter::Captured { .. } => {} // for lots
        }
    }

    /// Has the rules judge a command, applies and stages what follows. None: they panicked, the
    /// wallet is rebuilt.
    fn decide(&mut self, command: &WalletCommand, now: Timestamp, ctx: &mut Context<Self>) -> Option<Result<Changed, WalletReject>> {
        let Seat::Live(wallet) = &mut self.seat else { return None };
        let shard = &self.shard;
        shard.begin();
        let decided = catch_unwind(AssertUnwindSafe(|| {
            fail::fail_point!("wallet-before-decide");
            Ok(match wallet.decide(command, now)? {
                WalletDecision::Event(event) => {
                    let recorded = wallet.advance(shard.epoch().get(), now, event);
                    shard.stage_wallet_event(&recorded, wallet);
                    Changed::Now(recorded)
                }
                WalletDecision::Already(recorded) => Changed::Before(recorded),
                WalletDecision::Nothing => Changed::Nothing,
            })
        }));
        match decided {
            Ok(outcome) => {
                self.look_after_claims(ctx);
                Some(outcome)
            }
            Err(_) => {
                tracing::error!(shard = %self.shard.id, wallet = %self.id, "a panic under a request: the wallet is rebuilt");
                self.seat = Seat::vacant();
                self.shard.rebuild_wallet(&self.id, ctx.address());
                None
            }
        }
    }

    /// Asks about claims in a while, if there are any.
    fn look_after_claims(&mut self, ctx: &mut Context<Self>) {
        let claims = self.seat.live().is_some_and(|wallet| wallet.all_holds().next().is_some());
        if claims && !std::mem::replace(&mut self.asks, true) {
            ctx.run_later(ASK_AGAIN, |actor, ctx| {
                actor.asks = false;
                actor.ask_lots(ctx, false);
            });
        }
    }

    /// Asks lots which claims they stand by: about all, or those that have not changed since the last
    /// time.
    fn ask_lots(&mut self, ctx: &mut Context<Self>, about_all: bool) {
        if self.is_given_up(ctx) {
            return;
        }
        let Some(wallet) = self.seat.live() else { return };
        let before = std::mem::take(&mut self.asked);
        for (currency, lot, hold) in wallet.all_holds() {
            if about_all || before.get(&lot) == Some(hold) {
                let query = Letter::Query { lot, wallet: self.id.clone(), currency: Arc::clone(currency) };
                self.shard.withhold(Output::Letter(query));
            }
            self.asked.insert(lot, hold.clone());
        }
        self.look_after_claims(ctx);
    }
}

/// What a command came to.
enum Changed {
    Now(Arc<WalletRecorded>),
    Before(Arc<WalletRecorded>),
    Nothing,
}

impl Actor for WalletActor {
    type Context = Context<Self>;

    /// A new epoch, or a rebuild: letters may have been lost on either side, and pushes too.
    fn started(&mut self, ctx: &mut Self::Context) {
        self.ask_lots(ctx, true);
        if let Some(wallet) = self.seat.live().filter(|wallet| wallet.position().seq.0 > 0) {
            self.shard.push_wallet(wallet);
        }
    }
}

impl Handler<WalletMail> for WalletActor {
    type Result = ();

    fn handle(&mut self, mail: WalletMail, ctx: &mut Context<Self>) {
        self.serve(mail, ctx);
    }
}

impl Handler<WalletRestored> for WalletActor {
    type Result = ();

    fn handle(&mut self, WalletRestored(wallet): WalletRestored, ctx: &mut Context<Self>) {
        if self.is_given_up(ctx) {
            return;
        }
        for mail in self.seat.restore(wallet) {
            self.serve(mail, ctx);
        }
        self.ask_lots(ctx, true);
    }
}

impl Handler<TakeSnapshot> for WalletActor {
    type Result = Option<Vec<u8>>;

    fn handle(&mut self, _: TakeSnapshot, ctx: &mut Context<Self>) -> Self::Result {
        if self.is_given_up(ctx) {
            return None;
        }
        self.seat.live().map(|wallet| self.shard.node.storage.format.encode_wallet(wallet))
    }
}

impl Handler<Stop> for WalletActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
