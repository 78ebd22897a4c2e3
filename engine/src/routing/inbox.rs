//! An arbiter's inbox: requests that wait for admission, in parcels as they were handed in.
//!
//! Bounded by the number of requests, not of parcels: a full inbox gives the rest back.

use super::request::Request;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::mpsc;

/// The sending end; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    sender: mpsc::UnboundedSender<Vec<Request>>,
    waiting: Arc<AtomicUsize>,
    most: usize,
}

/// The arbiter's end.
#[derive(Debug)]
pub(crate) struct Requests {
    receiver: mpsc::UnboundedReceiver<Vec<Request>>,
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
        let before = self.waiting.fetch_add(requests.len(), Ordering::Relaxed);
        let room = self.most.saturating_sub(before);
        let beyond = if requests.len() > room { requests.split_off(room) } else { Vec::new() };
        self.waiting.fetch_sub(beyond.len(), Ordering::Relaxed);
        if !requests.is_empty() {
            // An arbiter that is gone drops them, which answers `unavailable`.
            let _ = self.sender.send(requests);
        }
        beyond
    }
}

impl Requests {
    /// The next parcel; none once nobody can ask any more.
    pub(crate) async fn next(&mut self) -> Option<Vec<Request>> {
        let requests = self.receiver.recv().await?;
        self.waiting.fetch_sub(requests.len(), Ordering::Relaxed);
        Some(requests)
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
        assert_eq!(taken.next().await.map(|parcel| parcel.len()), Some(2));
        assert_eq!(inbox.put(requests(3)).len(), 1);
    }
}
