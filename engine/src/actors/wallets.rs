//! The wallets of a shard, and the letters that arrive at it.

use super::{
    lot::{LotActor, Mail, Restored, Stop},
    outputs::Output,
    rebuild::Rebuilds,
    shard::Shard,
    wallet::{WalletActor, WalletMail, WalletRestored},
};
use crate::{
    delivery::WorkerId,
    request::{Reply, WalletAsk, WalletRequest},
};
use actix::{Actor as _, Addr};
use gavel_domain::{
    claims::{Address, Letter, LotWord},
    ids::{AttemptId, BidderId, LotId},
    lot::Lot,
    shard::batch::Entry,
    wallet::{Wallet, event::WalletRecorded},
};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
};
use tokio::sync::Notify;

/// A wallet in memory.
struct Slot {
    actor: Addr<WalletActor>,
    rebuilds: Rebuilds,
}

/// What a shard knows of its wallets, and of the attempts that its lots make.
#[derive(Default)]
pub(super) struct Wallets {
    slots: RefCell<HashMap<BidderId, Slot>>,
    /// Workers (bits) that watch a wallet.
    watchers: RefCell<HashMap<BidderId, u64>>,
    /// Attempts named in this epoch.
    attempts: Cell<u64>,
    /// Letters that go with this turn.
    letters: RefCell<Vec<Letter>>,
    has_letters: Notify,
}

impl Shard {
    /// Takes up recovered wallets.
    pub(super) fn serve_wallets(self: &Rc<Self>, wallets: impl IntoIterator<Item = (BidderId, Wallet)>) {
        self.wallets.attempts.set(0);
        for (bidder, wallet) in wallets {
            self.node.directory.insert_wallet(bidder.clone());
            self.start_wallet(bidder, Some(Box::new(wallet)));
        }
    }

    fn start_wallet(self: &Rc<Self>, bidder: BidderId, wallet: Option<Box<Wallet>>) -> Addr<WalletActor> {
        let actor = WalletActor::new(Rc::clone(self), bidder.clone(), wallet).start();
        self.wallets.slots.borrow_mut().insert(bidder, Slot { actor: actor.clone(), rebuilds: Rebuilds::default() });
        actor
    }

    /// Lets all wallets go with what is not durable.
    pub(super) fn abandon_wallets(&self) {
        for (bidder, slot) in std::mem::take(&mut *self.wallets.slots.borrow_mut()) {
            slot.actor.do_send(Stop);
            self.node.directory.remove_wallet(&bidder);
        }
    }

    /// Hands a request to its wallet's actor. A wallet in which nothing ever happened has none until
    /// something does.
    pub(crate) fn admit_to_wallet(self: &Rc<Self>, request: WalletRequest) {
        if !self.is_serving() {
            return; // dropping it answers `unavailable`
        }
        if self.is_full() && !matches!(request.ask, WalletAsk::Unwatch { .. }) {
            return request.reply.send(Reply::Overloaded);
        }
        match request.ask {
            WalletAsk::Unwatch { worker } => return self.unwatch_wallet(&request.bidder, worker),
            WalletAsk::Join { worker } => *self.wallets.watchers.borrow_mut().entry(request.bidder.clone()).or_default() |= worker.bit(),
            WalletAsk::Adjust(_) | WalletAsk::Allow { .. } if self.journal_is_full() => return request.reply.send(Reply::Overloaded),
            WalletAsk::Adjust(_) | WalletAsk::Allow { .. } | WalletAsk::View => {}
        }
        let is_read = matches!(request.ask, WalletAsk::View | WalletAsk::Join { .. });
        match self.wallet_actor(&request.bidder) {
            Some(actor) => actor.do_send(WalletMail::Request(request)),
            None if is_read => {
                let view = Arc::new(Wallet::new(request.bidder).view());
                self.withhold(Output::Reply { to: request.reply, reply: Reply::Wallet(view), admitted: None });
            }
            None => self.new_wallet(&request.bidder).do_send(WalletMail::Request(request)),
        }
    }

    fn unwatch_wallet(&self, bidder: &BidderId, worker: WorkerId) {
        let mut watchers = self.wallets.watchers.borrow_mut();
        if let Some(workers) = watchers.get_mut(bidder) {
            *workers &= !worker.bit();
            if *workers == 0 {
                watchers.remove(bidder);
            }
        }
    }

    /// Letters arrive for somebody here.
    pub(crate) fn deliver(self: &Rc<Self>, to: &Address, letters: Vec<Letter>) {
        if !self.is_serving() {
            return; // who wrote them will ask again
        }
        match to {
            Address::Lot(lot) => match self.lot_actor(*lot) {
                Some(actor) => actor.do_send(Mail::Letters(letters)),
                None => letters.into_iter().for_each(|letter| self.answer_for_a_lot_that_is_gone(letter)),
            },
            Address::Wallet(bidder) => {
                let actor = self.wallet_actor(bidder).unwrap_or_else(|| self.new_wallet(bidder));
                actor.do_send(WalletMail::Letters(letters));
            }
        }
    }

    /// Sends a letter that depends on nothing that is not durable, with others of this turn.
    pub(super) fn post(&self, letter: Letter) {
        self.wallets.letters.borrow_mut().push(letter);
        self.wallets.has_letters.notify_one();
    }

    /// Takes the letters of each turn of this thread's loop to the post.
    pub(crate) async fn carry_letters(self: Rc<Self>) {
        while !self.is_closed() {
            self.wallets.has_letters.notified().await;
            let letters = std::mem::take(&mut *self.wallets.letters.borrow_mut());
            self.node.post.send(letters);
        }
    }

    /// A lot leaves memory once it owes nobody a word (or was never durable): no claim on it is left.
    fn answer_for_a_lot_that_is_gone(&self, letter: Letter) {
        match letter {
            Letter::Query { lot, wallet, currency } | Letter::HoldAnswer { lot, wallet, currency, .. } => {
                self.withhold(Output::Letter(Letter::Word { wallet, lot, currency, word: LotWord::none_left() }));
            }
            _ => {}
        }
    }

    fn new_wallet(self: &Rc<Self>, bidder: &BidderId) -> Addr<WalletActor> {
        self.start_wallet(bidder.clone(), Some(Box::new(Wallet::new(bidder.clone()))))
    }

    /// The actor of a wallet; a new one in the place of one that died.
    fn wallet_actor(self: &Rc<Self>, bidder: &BidderId) -> Option<Addr<WalletActor>> {
        let actor = self.wallets.slots.borrow().get(bidder).map(|slot| slot.actor.clone())?;
        Some(if actor.connected() { actor } else { self.replace_wallet(bidder) })
    }

    fn replace_wallet(self: &Rc<Self>, bidder: &BidderId) -> Addr<WalletActor> {
        let actor = WalletActor::new(Rc::clone(self), bidder.clone(), None).start();
        if let Some(slot) = self.wallets.slots.borrow_mut().get_mut(bidder) {
            slot.actor = actor.clone();
        }
        self.rebuild_wallet(bidder, actor.clone());
        actor
    }

    /// Replaces the actors of wallets that died of a panic outside of the rules.
    pub(super) fn replace_dead_wallets(self: &Rc<Self>) {
        let dead = |slots: &HashMap<BidderId, Slot>| -> Vec<BidderId> {
            slots.iter().filter(|(_, slot)| !slot.actor.connected()).map(|(bidder, _)| bidder.clone()).collect()
        };
        let dead = dead(&self.wallets.slots.borrow());
        for bidder in dead {
            tracing::error!(shard = %self.id, wallet = %bidder, "a wallet's actor died: it is rebuilt");
            self.replace_wallet(&bidder);
        }
    }

    pub(super) fn rebuild_wallet(self: &Rc<Self>, bidder: &BidderId, actor: Addr<WalletActor>) {
        let pause = self.wallets.slots.borrow_mut().get_mut(bidder).map(|slot| slot.rebuilds.next()).unwrap_or_default();
        self.rebuild::<Wallet>(bidder, pause, move |wallet| actor.do_send(WalletRestored(wallet)));
    }

    pub(super) fn rebuild_lot(self: &Rc<Self>, lot: LotId, actor: Addr<LotActor>) {
        let pause = self.with_slot(lot, |slot| slot.rebuilds.next()).unwrap_or_default();
        self.rebuild::<Lot>(&lot, pause, move |state| actor.do_send(Restored(state)));
    }

    /// Stages a wallet's event, and its delivery to who watches.
    pub(super) fn stage_wallet_event(&self, recorded: &Arc<WalletRecorded>, wallet: &Wallet) {
        self.stage_at(recorded.at, Entry::Wallet(Arc::clone(recorded)));
        if recorded.seq.0 == 1 {
            self.node.directory.insert_wallet(recorded.bidder.clone());
        }
        self.push_wallet(wallet);
    }

    /// Tells who watches a wallet how it is.
    pub(super) fn push_wallet(&self, wallet: &Wallet) {
        let workers = self.wallets.watchers.borrow().get(wallet.bidder()).copied().unwrap_or(0);
        if workers != 0 {
            self.withhold(Output::Wallet { view: Arc::new(wallet.view()), workers });
        }
    }

    /// The wallets' actors that live, of these.
    pub(crate) fn wallet_actors(&self, bidders: impl IntoIterator<Item = BidderId>) -> Vec<(BidderId, Addr<WalletActor>)> {
        let slots = self.wallets.slots.borrow();
        bidders.into_iter().filter_map(|bidder| slots.get(&bidder).map(|slot| (bidder.clone(), slot.actor.clone()))).collect()
    }

    /// The latest attempt that a lot of this shard has named.
    pub(super) fn latest_attempt(&self) -> AttemptId {
        AttemptId { epoch: self.epoch().get(), number: self.wallets.attempts.get() }
    }

    pub(super) fn count_attempt(&self) {
        self.wallets.attempts.set(self.wallets.attempts.get() + 1);
    }
}
