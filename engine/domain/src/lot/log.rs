//! A lot's memory: its latest events, and the bid ids among them.
//!
//! It answers two questions without a database: which events has this reader missed, and was this
//! `bid_id` accepted already. It is part of the lot's state, so snapshots carry it and a recovered
//! lot remembers exactly what the crashed one did.

use crate::{
    event::{LotEvent, Recorded},
    ids::{BidId, BidderId, Position, Seq},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Accepted bids remembered by id, at least.
pub const BIDS_REMEMBERED: usize = 4096;
/// Events kept for readers that come back, at least.
pub const EVENTS_KEPT: usize = 1000;
/// Events kept, at most: a bid may bring an extension with it.
const MOST_EVENTS: usize = 2 * BIDS_REMEMBERED;

/// The latest events of a lot, oldest first, without a gap.
#[derive(Clone, Debug, Default)]
pub struct EventLog {
    events: VecDeque<Arc<Recorded>>,
    /// Accepted bids among `events`. Looked up only, never walked.
    by_id: HashMap<(BidId, BidderId), Seq>,
}

impl EventLog {
    /// Adds the next event; forgets the oldest beyond the bounds.
    pub fn push(&mut self, event: Arc<Recorded>) {
        if let LotEvent::BidPlaced(bid) = &event.event {
            self.by_id.insert((bid.bid_id, bid.bidder.clone()), event.seq);
        }
        self.events.push_back(event);
        while self.has_too_many() {
            let Some(old) = self.events.pop_front() else { break };
            if let LotEvent::BidPlaced(bid) = &old.event {
                let name = (bid.bid_id, bid.bidder.clone());
                // An id whose bid was long forgotten may have been used once more.
                if self.by_id.get(&name) == Some(&old.seq) {
                    self.by_id.remove(&name);
                }
            }
        }
    }

    fn has_too_many(&self) -> bool {
        let events = self.events.len();
        // Beyond what readers need, an event is kept only for the bid in it.
        let oldest_is_bid = self.events.front().is_some_and(|oldest| matches!(oldest.event, LotEvent::BidPlaced(_)));
        events > MOST_EVENTS || (events > EVENTS_KEPT + 1 && (!oldest_is_bid || self.by_id.len() > BIDS_REMEMBERED))
    }

    /// The accepted bid of that name, if it is remembered.
    #[must_use]
    pub fn bid(&self, bidder: &BidderId, id: BidId) -> Option<&Arc<Recorded>> {
        let seq = *self.by_id.get(&(id, bidder.clone()))?;
        self.at(seq)
    }

    /// The event of that number, if it is kept.
    #[must_use]
    pub fn at(&self, seq: Seq) -> Option<&Arc<Recorded>> {
        let first = self.events.front()?.seq;
        self.events.get(usize::try_from(seq.0.checked_sub(first.0)?).ok()?)
    }

    /// The events after a position; none if that position is not one this log can vouch for.
    #[must_use]
    pub fn after(&self, position: Position) -> Option<impl Iterator<Item = &Arc<Recorded>>> {
        let known = self.at(position.seq)?;
        if known.epoch != position.epoch {
            return None;
        }
        let from = usize::try_from(position.seq.0 - self.events.front()?.seq.0).ok()? + 1;
        Some(self.events.range(from..))
    }

    /// The events that are kept, newest first.
    pub fn latest_first(&self) -> impl Iterator<Item = &Arc<Recorded>> {
        self.events.iter().rev()
    }

    /// How many events are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// The index follows from the events.
impl PartialEq for EventLog {
    fn eq(&self, other: &Self) -> bool {
        self.events == other.events
    }
}

impl Eq for EventLog {}

impl Serialize for EventLog {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.events.iter().map(AsRef::as_ref))
    }
}

impl<'de> Deserialize<'de> for EventLog {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut log = Self::default();
        for event in Vec::<Arc<Recorded>>::deserialize(deserializer)? {
            log.push(event);
        }
        Ok(log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::BidPlaced,
        ids::{Epoch, LotId},
        money::Amount,
        time::Timestamp,
    };
    use uuid::Uuid;

    fn bidder(name: &str) -> BidderId {
        BidderId::try_from(name).expect("a good name")
    }

    fn recorded(seq: u64, event: LotEvent) -> Arc<Recorded> {
        let at = Timestamp::from_millis(0);
        Arc::new(Recorded { lot: LotId(Uuid::nil()), epoch: Epoch(1 + seq / 100_000), seq: Seq(seq), at, event })
    }

    fn bid(seq: u64, who: &str, id: u128) -> Arc<Recorded> {
        let amount = Amount::new(seq).expect("small");
        let (bidder, bid_id) = (bidder(who), BidId(Uuid::from_u128(id)));
        let leader = bidder.clone();
        let (minimum_bid, max, price, bid_count) = (amount, amount, amount, seq);
        let (outbid, reserve_met, deadline, closes_at) = (None, None, None, None);
        let event =
            BidPlaced { bidder, bid_id, amount, max, price, leader, outbid, bid_count, minimum_bid, reserve_met, deadline, closes_at };
        recorded(seq, LotEvent::BidPlaced(event))
    }

    fn found(log: &EventLog, who: &str, id: u128) -> Option<u64> {
        log.bid(&bidder(who), BidId(Uuid::from_u128(id))).map(|known| known.seq.0)
    }

    fn position(epoch: u64, seq: u64) -> Position {
        Position { epoch: Epoch(epoch), seq: Seq(seq) }
    }

    #[test]
    fn a_bid_is_found_by_bidder_and_id() {
        let mut log = EventLog::default();
        log.push(bid(1, "alice", 7));
        log.push(bid(2, "bob", 7));
        assert_eq!((found(&log, "alice", 7), found(&log, "bob", 7)), (Some(1), Some(2)));
        assert_eq!((found(&log, "carol", 7), found(&log, "bob", 8)), (None, None));
    }

    #[test]
    fn the_last_bids_and_events_are_kept() {
        let mut log = EventLog::default();
        for seq in 1..=5000 {
            log.push(bid(seq, "alice", u128::from(seq)));
        }
        assert_eq!(log.len(), BIDS_REMEMBERED);
        assert_eq!((found(&log, "alice", 904), found(&log, "alice", 905)), (None, Some(905)));
        assert_eq!(log.at(Seq(904)), None);
        // Events that are no bids push nothing out until there are twice as many.
        for seq in 5001..=5000 + 4096 {
            log.push(recorded(seq, LotEvent::Settled));
        }
        assert_eq!((log.len(), found(&log, "alice", 905)), (MOST_EVENTS, Some(905)));
        log.push(recorded(9097, LotEvent::Settled));
        assert_eq!((log.len(), found(&log, "alice", 905)), (MOST_EVENTS, None));
    }

    #[test]
    fn without_bids_no_more_is_kept_than_readers_need() {
        let mut log = EventLog::default();
        let last = EVENTS_KEPT as u64 + 1;
        for seq in 1..=last {
            log.push(recorded(seq, LotEvent::Settled));
        }
        let missed = log.after(Position { epoch: Epoch(1), seq: Seq(1) }).map(Iterator::count);
        assert_eq!(missed, Some(EVENTS_KEPT), "a reader that far behind can resume");
        log.push(recorded(last + 1, LotEvent::Settled));
        assert_eq!((log.len(), log.at(Seq(1))), (EVENTS_KEPT + 1, None));
    }

    #[test]
    fn an_id_used_again_after_it_was_forgotten_stays_known() {
        let mut log = EventLog::default();
        log.push(bid(1, "alice", 7));
        log.push(bid(2, "alice", 7));
        for seq in 3..=BIDS_REMEMBERED as u64 + 1 {
            log.push(bid(seq, "bob", u128::from(seq)));
        }
        log.push(recorded(BIDS_REMEMBERED as u64 + 2, LotEvent::Settled));
        assert_eq!(found(&log, "alice", 7), Some(2));
    }

    #[test]
    fn what_a_reader_missed() {
        let mut log = EventLog::default();
        assert!(log.is_empty() && log.after(position(1, 0)).is_none());
        for seq in 99_990..=100_010 {
            log.push(recorded(seq, LotEvent::Settled)); // the epoch changes at 100,000
        }
        let missed = |epoch, seq| log.after(position(epoch, seq)).map(|events| events.map(|event| event.seq.0).collect::<Vec<_>>());
        assert_eq!(missed(2, 100_008), Some(vec![100_009, 100_010]));
        assert_eq!(missed(2, 100_010), Some(vec![]), "up to date");
        assert_eq!(missed(1, 99_990).map(|events| events.len()), Some(20), "across epochs");
        assert_eq!(missed(1, 99_989), None, "too long ago");
        assert_eq!(missed(2, 100_011), None, "from a future that did not come");
        assert_eq!(missed(1, 100_008), None, "that epoch never journaled it");
    }
}
