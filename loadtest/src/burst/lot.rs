//! One lot of a burst: its identity, the amounts given out for it, and what came back.
//! Who bids on it and when is not decided here.

use uuid::Uuid;

use crate::audit::ledger::Ledger;

/// A lot under the hammer.
pub(super) struct Lot {
    pub(super) id: Uuid,
    pub(super) ledger: Ledger,
    /// The highest amount bid so far.
    amount: u64,
    /// The bidder whose receipt with the highest `seq` says it leads.
    leader: Option<(u64, u32)>,
    /// A leader that waits to be outbid (lots without proxy).
    waiting: Option<u32>,
}

impl Lot {
    pub(super) fn new(id: Uuid, base: u64) -> Self {
        Self { id, ledger: Ledger::new(id, base), amount: 0, leader: None, waiting: None }
    }

    /// The next amount nobody has bid yet. Amounts rise in the order bids are sent, so that they are accepted as
    /// long as the server takes them in that order.
    pub(super) fn next_amount(&mut self) -> u32 {
        self.amount += 1;
        // A run cannot make 4 billion bids.
        self.amount as u32
    }

    /// Whether a refusal may tell this minimum: nobody has bid more than the highest amount given out.
    pub(super) fn can_require(&self, minimum: u64) -> bool {
        minimum <= self.amount + 1
    }

    /// Whether this bidder seems to lead; it will be named by `outbid` once it no longer does.
    pub(super) fn waits_for(&mut self, bidder: u32) -> bool {
        let leads = self.leader.is_some_and(|(_, leader)| leader == bidder);
        if leads {
            self.waiting = Some(bidder);
        }
        leads
    }

    /// A receipt says that a bidder led at `seq`. Answers who may bid again.
    pub(super) fn led(&mut self, seq: u64, bidder: u32) -> Option<u32> {
        if self.leader.is_some_and(|(last, _)| last > seq) {
            return None;
        }
        self.leader = Some((seq, bidder));
        self.waiting.take_if(|waiting| *waiting != bidder)
    }
}
