//! An arbiter's inbox: what waits for admission, in parcels as they were handed in.
//!
//! Bounded by the number of requests, not of parcels: a full inbox gives the rest back. Letters
//! between lots and wallets pass the bound: each belongs to a request that was let in, or to a lot
//! that is over, and giving one back would only make it come again.

use super::request::{Request, WalletRequest};
use gavel_domain::claims::Letter;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::mpsc;

/// What is handed in at once, all of it for shards of one arbiter.
#[derive(Debug)]
pub(crate) enum Parcel {
    Requests(Vec<Request>),
    Wallet(WalletRequest),
    Letters(Vec<Letter>),
}

impl Parcel {
    const fn counts(&self) -> usize {
        match self {
            Self::Requests(requests) => requests.len(),
            Self::Wallet(_) => 1,
            Self::Letters(_) => 0,
        }
    }
}

/// The sending end; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    sender: mpsc::UnboundedSender<Parcel>,
    waiting: Arc<AtomicUsize>,
    most: usize,
}

/// The arbiter's end.
#[derive(Debug)]
pub(crate) struct Requests {
    receiver: mpsc::UnboundedReceiver<Parcel>,
    waiting: Arc<AtomicUsize>,
}

/// An inbox for at most so many requests.
pub(crate) fn inbox(most: usize) -> (Inbox, Requests) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (Inbox { sender, waiting: Arc::clone(&waiting), most }, Requests { receiver, waiting })
}

impl Inbox {
    /// Hands requests in, all at once: the arbiter is woken once. Gives back those that don't fit.
    pub(crate) fn put(&self, mut requests: Vec<Request>) -> Vec<Request> {
        let room = self.take_room(requests.len());
        let beyond = if requests.len() > room { requests.split_off(room) } else { Vec::new() };
        if !requests.is_empty() {
            self.send(Parcel::Requests(requests));
        }
        beyond
    }

    /// Hands in a request to a wallet; gives it back if it does not fit.
    pub(crate) fn put_wallet(&self, request: WalletRequest) -> Option<WalletRequest> {
        if self.take_room(1) == 0 {
            return Some(request);
        }
        self.send(Parcel::Wallet(request));
        None
    }

    /// Hands letters in.
    pub(crate) fn put_letters(&self, letters: Vec<Letter>) {
        self.send(Parcel::Letters(letters));
    }

    /// Room for so many, or for what there is.
    fn take_room(&self, wanted: usize) -> usize {
        let before = self.waiting.fetch_add(wanted, Ordering::Relaxed);
        let room = self.most.saturating_sub(before).min(wanted);
        self.waiting.fetch_sub(wanted - room, Ordering::Relaxed);
        room
    }

    fn send(&self, parcel: Parcel) {
        // An arbiter that is gone drops them, which answers `unavailable`.
        let _ = self.sender.send(parcel);
    }
}

impl Requests {
    /// The next parcel; none once nobody can ask any more.
    pub(crate) async fn next(&mut self) -> Option<Parcel> {
        let parcel = self.receiver.recv().await?;
        self.waiting.fetch_sub(parcel.counts(), Ordering::Relaxed);
        Some(parcel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{delivery::reply::ReplyTo, request::Ask};
    use gavel_domain::ids::LotId;

    fn requests(count: usize) -> Vec<Request> {
        let one = || Request { lot: LotId(uuid::Uuid::nil()), ask: Ask::View { bidder: None }, reply: ReplyTo::nobody() };
        (0..count).map(|_| one()).collect()
    }

    #[tokio::test]
    async fn what_does_not_fit_comes_back_and_room_is_made_by_taking() {
        let (inbox, mut taken) = inbox(3);
        assert_eq!(inbox.put(requests(2)).len(), 0);
        assert_eq!(inbox.put(requests(2)).len(), 1);
        assert_eq!(inbox.put(requests(1)).len(), 1);
        inbox.put_letters(vec![Letter::Captured { lot: LotId(uuid::Uuid::nil()) }]);
        assert_eq!(taken.next().await.map(|parcel| parcel.counts()), Some(2));
        assert_eq!(inbox.put(requests(3)).len(), 1);
    }
}
