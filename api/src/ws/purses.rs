//! A worker's watchers of wallets: each socket of a bidder may join its own.
//!
//! A push is the whole wallet, so one that has to wait is replaced by the next: a slow reader gets the
//! latest once it has room, and costs nobody anything.

use super::{
    hub::{Encoded, Hub},
    link::Link,
};
use crate::wire::{
    message::{OkBody, ServerMessage},
    wallet::WalletBody,
};
use gavel_domain::{ids::BidderId, wallet::view::WalletView};
use gavel_engine::{
    delivery::reply::ReplyTo,
    request::{WalletAsk, WalletRequest},
};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
};

/// Who watches which wallet on this worker.
#[derive(Default)]
pub(super) struct Purses(RefCell<HashMap<BidderId, Vec<Rc<Link>>>>);

/// A socket's side of it.
#[derive(Default)]
pub(super) struct Purse {
    /// Whose wallet it has joined.
    joined: RefCell<Option<BidderId>>,
    /// The join has been answered.
    live: Cell<bool>,
    /// A push that had to wait.
    waiting: RefCell<Option<Arc<WalletView>>>,
}

impl Purse {
    /// Whether this is the wallet that was joined.
    pub(super) fn is_of(&self, wallet: &str) -> bool {
        self.joined.borrow().as_ref().is_some_and(|joined| joined.as_str() == wallet)
    }

    /// Whether a push waits for room.
    pub(super) fn is_behind(&self) -> bool {
        self.waiting.borrow().is_some()
    }
}

impl Hub {
    /// Joins a socket's own wallet; joining again is harmless.
    pub(super) fn join_wallet(&self, link: &Rc<Link>, id: i64, bidder: BidderId) {
        if link.purse.joined.borrow().as_ref() != Some(&bidder) {
            self.leave_wallet(link);
            self.purses.0.borrow_mut().entry(bidder.clone()).or_default().push(Rc::clone(link));
            link.purse.joined.replace(Some(bidder.clone()));
        }
        let reply = ReplyTo::session(self.outlet(), link.key, id);
        self.engine.submit_to_wallet(WalletRequest { bidder, ask: WalletAsk::Join { worker: self.worker }, reply });
    }

    pub(super) fn leave_wallet(&self, link: &Rc<Link>) {
        let Some(bidder) = link.purse.joined.take() else { return };
        link.purse.live.set(false);
        link.purse.waiting.replace(None);
        let mut purses = self.purses.0.borrow_mut();
        let Some(links) = purses.get_mut(&bidder) else { return };
        links.retain(|member| !Rc::ptr_eq(member, link));
        if links.is_empty() {
            purses.remove(&bidder);
            let ask = WalletAsk::Unwatch { worker: self.worker };
            self.engine.submit_to_wallet(WalletRequest { bidder, ask, reply: ReplyTo::nobody() });
        }
    }

    /// The engine's answer to a join.
    pub(super) fn wallet_joined(&self, link: &Link, id: i64, view: &WalletView) {
        link.purse.live.set(link.purse.joined.borrow().as_ref() == Some(&view.bidder));
        link.ok(id, OkBody::JoinedWallet(Box::new(self.wallet_body(view))));
    }

    /// A wallet has changed: all who watch it here are told.
    pub(super) fn publish_wallet(&self, view: &Arc<WalletView>) {
        let links = self.purses.0.borrow().get(&view.bidder).cloned().unwrap_or_default();
        let mut frames = Encoded::new(|| ServerMessage::Wallet(self.wallet_body(view)));
        for link in links.iter().filter(|link| link.purse.live.get()) {
            let frame = frames.of(link.codec);
            if link.outbox.len() + frame.len() <= self.limits.outbound_queue_bytes {
                link.purse.waiting.replace(None);
                link.outbox.write(|out| out.extend_from_slice(frame));
            } else {
                link.purse.waiting.replace(Some(Arc::clone(view)));
                self.is_behind(link);
            }
        }
    }

    /// There is room again: what waited.
    pub(super) fn catch_up_wallet(&self, link: &Link) {
        if let Some(view) = link.purse.waiting.take() {
            link.send(&ServerMessage::Wallet(self.wallet_body(&view)));
        }
    }

    fn wallet_body(&self, view: &WalletView) -> WalletBody {
        WalletBody::new(view, &self.currencies)
    }
}
