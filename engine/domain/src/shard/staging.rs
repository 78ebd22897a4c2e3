//! Output commit: what may leave a shard, and when.
//!
//! Lots decide and apply at once; what they decided is *staged* here with the outputs that depend
//! on it. One batch is in flight to the journal; what is staged meanwhile is the next. An output
//! leaves when every batch it could depend on is durable, in the order in which it was staged.

use crate::shard::batch::Entry;
use std::collections::VecDeque;

/// Entries that wait to become durable, and the outputs that wait with them.
#[derive(Debug)]
pub struct Staging<O> {
    /// The next batches, oldest first, none of them empty. What is staged goes into the last.
    pending: VecDeque<Staged<O>>,
    in_flight: Option<Staged<O>>,
    /// The last batch is full: the next entry begins another.
    full: bool,
}

#[derive(Debug)]
struct Staged<O> {
    entries: Vec<Entry>,
    outputs: Vec<O>,
}

impl<O> Default for Staged<O> {
    fn default() -> Self {
        Self { entries: Vec::new(), outputs: Vec::new() }
    }
}

impl<O> Default for Staging<O> {
    fn default() -> Self {
        Self { pending: VecDeque::new(), in_flight: None, full: false }
    }
}

impl<O> Staging<O> {
    /// A request (or a deadline) begins: all that it stages goes into one batch, a new one if the
    /// last holds `most` entries already.
    pub fn begin(&mut self, most: usize) {
        self.full = self.pending.back().is_some_and(|last| last.entries.len() >= most);
    }

    /// Adds an entry to the last batch.
    pub fn stage(&mut self, entry: Entry) {
        let full = std::mem::take(&mut self.full);
        match self.pending.back_mut() {
            Some(last) if !full => last.entries.push(entry),
            _ => self.pending.push_back(Staged { entries: vec![entry], outputs: Vec::new() }),
        }
    }

    /// Withholds an output behind all that is staged or in flight; gives it back at once where
    /// nothing is.
    #[must_use = "an output that is given back may leave now"]
    pub fn withhold(&mut self, output: O) -> Option<O> {
        match self.pending.back_mut().or(self.in_flight.as_mut()) {
            Some(batch) => {
                batch.outputs.push(output);
                None
            }
            None => Some(output),
        }
    }

    /// The entries of the next batch, if one may fly: none is in flight and something is staged.
    pub fn take(&mut self) -> Option<&[Entry]> {
        if self.in_flight.is_some() {
            return None;
        }
        self.in_flight = self.pending.pop_front();
        self.in_flight.as_ref().map(|batch| batch.entries.as_slice())
    }

    /// The batch in flight is durable: its entries, and the outputs that may leave now, in order.
    pub fn committed(&mut self) -> (Vec<Entry>, Vec<O>) {
        self.in_flight.take().map_or_else(Default::default, |batch| (batch.entries, batch.outputs))
    }

    /// Gives up all that is not known to be durable: the outputs of the batch in flight (its fate
    /// is the journal's to tell), then those of the next.
    pub fn abandon(&mut self) -> (Vec<O>, Vec<O>) {
        let in_flight = self.in_flight.take().map(|batch| batch.outputs).unwrap_or_default();
        (in_flight, std::mem::take(&mut self.pending).into_iter().flat_map(|batch| batch.outputs).collect())
    }

    /// Every entry that is not known to be durable, oldest first.
    pub fn uncommitted(&self) -> impl Iterator<Item = &Entry> {
        self.batches().flat_map(|batch| &batch.entries)
    }

    fn batches(&self) -> impl Iterator<Item = &Staged<O>> {
        self.in_flight.iter().chain(&self.pending)
    }

    /// Entries that wait for a batch to fly.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.iter().map(|batch| batch.entries.len()).sum()
    }

    /// Outputs that are withheld.
    #[must_use]
    pub fn withheld(&self) -> usize {
        self.batches().map(|batch| batch.outputs.len()).sum()
    }

    /// Whether an append is under way.
    #[must_use]
    pub const fn in_flight(&self) -> bool {
        self.in_flight.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn entry(n: i64) -> Entry {
        Entry::EpochOpened { owner: crate::ids::OwnerId(uuid::Uuid::nil()), at: Timestamp::from_millis(n) }
    }

    #[test]
    fn an_output_leaves_at_once_where_nothing_waits() {
        let mut staging = Staging::default();
        assert_eq!(staging.withhold("read"), Some("read"));
        assert_eq!((staging.pending(), staging.in_flight(), staging.uncommitted().count()), (0, false, 0));
        assert_eq!(staging.take(), None);
    }

    #[test]
    fn outputs_wait_for_the_newest_batch_they_could_depend_on() {
        let mut staging = Staging::default();
        staging.stage(entry(1));
        assert_eq!(staging.withhold("first"), None);
        assert_eq!(staging.take(), Some([entry(1)].as_slice()));
        assert_eq!(staging.withhold("behind the flight"), None);
        staging.stage(entry(2));
        assert_eq!(staging.withhold("second"), None);
        staging.stage(entry(3));
        assert_eq!(staging.withhold("third"), None);
        assert_eq!((staging.pending(), staging.in_flight()), (2, true));
        assert_eq!(staging.take(), None, "one append at a time");
        assert_eq!(staging.uncommitted().collect::<Vec<_>>(), [&entry(1), &entry(2), &entry(3)]);

        assert_eq!(staging.committed(), (vec![entry(1)], vec!["first", "behind the flight"]));
        assert_eq!(staging.withhold("after the flight"), None, "the next batch is not durable yet");
        assert_eq!(staging.take(), Some([entry(2), entry(3)].as_slice()));
        assert_eq!(staging.committed(), (vec![entry(2), entry(3)], vec!["second", "third", "after the flight"]));
        assert_eq!(staging.withhold("last"), Some("last"));
    }

    #[test]
    fn what_is_given_up_says_which_fate_is_open() {
        let mut staging = Staging::default();
        staging.stage(entry(1));
        assert_eq!(staging.withhold("may have happened"), None);
        assert!(staging.take().is_some());
        staging.stage(entry(2));
        assert_eq!(staging.withhold("did not happen"), None);
        assert_eq!(staging.abandon(), (vec!["may have happened"], vec!["did not happen"]));
        assert_eq!((staging.pending(), staging.in_flight(), staging.uncommitted().count()), (0, false, 0));
        assert_eq!(staging.abandon(), (vec![], vec![]));
        assert_eq!(staging.committed(), (vec![], vec![]));
    }

    #[test]
    fn a_full_batch_is_followed_by_another_and_a_request_stays_whole() {
        let mut staging = Staging::default();
        for (request, entries) in [("first", 2), ("second", 3), ("third", 1)] {
            staging.begin(3);
            (0..entries).for_each(|n| staging.stage(entry(n)));
            assert_eq!(staging.withhold(request), None);
        }
        staging.begin(3);
        assert_eq!(staging.withhold("read"), None);
        assert_eq!((staging.pending(), staging.withheld()), (6, 4));
        assert_eq!(staging.take().map(<[Entry]>::len), Some(5), "the second request began in a batch that had room");
        assert_eq!(staging.committed().1, ["first", "second"]);
        assert_eq!(staging.take().map(<[Entry]>::len), Some(1));
        assert_eq!(staging.committed().1, ["third", "read"]);
    }
}
