//! What was done to a wallet already, by name, so that asking again does nothing twice.

use crate::{
    ids::OperationId,
    time::{Millis, Timestamp},
    wallet::event::WalletRecorded,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{collections::VecDeque, sync::Arc};

/// How long a name is remembered, at least.
pub const REMEMBERED: Millis = Millis(24 * 3_600_000);
/// How many names are remembered whatever their age.
pub const REMEMBERED_ALWAYS: usize = 64;

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Never heard of, or long ago.
    No,
    /// Done; this was it.
    Done(Arc<WalletRecorded>),
    /// Done within the day, for another request.
    OtherDigest,
}

/// A wallet's latest ledger entries, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operations(VecDeque<Arc<WalletRecorded>>);

impl Operations {
    /// What is known of a name at `now`.
    #[must_use]
    pub fn look_up(&self, operation: OperationId, digest: &[u8; 32], now: Timestamp) -> Known {
        let newest_first = self.0.iter().rev().filter_map(|recorded| Some((recorded, recorded.event.ledger()?)));
        match newest_first.into_iter().find(|(_, entry)| entry.operation == operation) {
            Some((recorded, entry)) if entry.digest == *digest => Known::Done(Arc::clone(recorded)),
            Some((recorded, _)) if now.since(recorded.at) < REMEMBERED => Known::OtherDigest,
            _ => Known::No,
        }
    }

    /// Remembers an event; forgets what is old.
    pub(super) fn keep(&mut self, recorded: &Arc<WalletRecorded>) {
        self.0.push_back(Arc::clone(recorded));
        while self.0.len() > REMEMBERED_ALWAYS
            && let Some(oldest) = self.0.front()
            && recorded.at.since(oldest.at) >= REMEMBERED
        {
            self.0.pop_front();
        }
    }
}

impl Serialize for Operations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(AsRef::as_ref))
    }
}

impl<'de> Deserialize<'de> for Operations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Arc<WalletRecorded>>::deserialize(deserializer).map(|kept| Self(kept.into()))
    }
}
