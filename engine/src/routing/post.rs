//! The post between lots and wallets: letters go to the arbiters where they live.

use super::inbox::Inbox;
use gavel_domain::claims::Letter;
use smallvec::SmallVec;
use std::sync::{Arc, OnceLock};

/// The letter boxes of a node.
#[derive(Debug)]
pub(crate) struct Post {
    shards: u16,
    /// One an arbiter; set once they have all started.
    inboxes: OnceLock<Arc<[Inbox]>>,
}

impl Post {
    pub(crate) const fn new(shards: u16) -> Self {
        Self { shards, inboxes: OnceLock::new() }
    }

    /// From now on letters arrive. Before, nothing is waited for: whoever missed one asks again.
    pub(crate) fn open(&self, inboxes: Arc<[Inbox]>) {
        let _ = self.inboxes.set(inboxes);
    }

    /// Sends letters, each arbiter's together.
    pub(crate) fn send(&self, letters: impl IntoIterator<Item = Letter>) {
        let Some(inboxes) = self.inboxes.get() else { return };
        if let [only] = inboxes.as_ref() {
            let letters: Vec<Letter> = letters.into_iter().collect();
            if !letters.is_empty() {
                only.put_letters(letters);
            }
            return;
        }
        let mut parcels: SmallVec<[Vec<Letter>; 4]> = inboxes.iter().map(|_| Vec::new()).collect();
        for letter in letters {
            let shard = usize::from(letter.to().shard(self.shards).0);
            parcels[shard % inboxes.len()].push(letter);
        }
        for (inbox, parcel) in inboxes.iter().zip(parcels).filter(|(_, parcel)| !parcel.is_empty()) {
            inbox.put_letters(parcel);
        }
    }
}
