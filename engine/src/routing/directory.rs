//! Which lots and wallets live in memory on this node. Kept by the shards, read by lists.

use dashmap::{DashMap, DashSet};
use gavel_domain::{
    ids::{BidderId, LotId},
    time::Timestamp,
};

/// Lots that have an actor, with their time of creation: a new one from its creation on, which may
/// not be durable yet (its shard says so when it is asked).
#[derive(Debug, Default)]
pub struct Directory {
    lots: DashMap<LotId, Timestamp>,
    wallets: DashSet<BidderId>,
}

impl Directory {
    pub(crate) fn insert(&self, lot: LotId, created_at: Timestamp) {
        self.lots.insert(lot, created_at);
    }

    pub(crate) fn remove(&self, lot: LotId) {
        self.lots.remove(&lot);
    }

    /// Live lots after one, in the order of lists.
    #[must_use]
    pub fn after(&self, after: Option<(Timestamp, LotId)>) -> Vec<(Timestamp, LotId)> {
        let mut lots: Vec<_> =
            self.lots.iter().map(|entry| (*entry.value(), *entry.key())).filter(|lot| after.is_none_or(|after| *lot > after)).collect();
        lots.sort_unstable();
        lots
    }

    /// Whether a lot lives here.
    #[must_use]
    pub fn holds(&self, lot: LotId) -> bool {
        self.lots.contains_key(&lot)
    }

    pub(crate) fn insert_wallet(&self, bidder: BidderId) {
        self.wallets.insert(bidder);
    }

    pub(crate) fn remove_wallet(&self, bidder: &BidderId) {
        self.wallets.remove(bidder);
    }

    /// Every bidder in whose wallet something ever happened, in order.
    #[must_use]
    pub fn wallets(&self) -> Vec<BidderId> {
        let mut bidders: Vec<BidderId> = self.wallets.iter().map(|bidder| bidder.clone()).collect();
        bidders.sort_unstable();
        bidders
    }

    /// How many live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lots.len()
    }

    /// Whether none lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lots.is_empty()
    }
}
