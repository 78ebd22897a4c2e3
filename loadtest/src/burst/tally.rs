//! What a burst counts and times while it runs, bounded in size. What the numbers are shown as is the report's.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::clock::{self, Micros};

/// The longest time told apart, in microseconds.
const LONGEST: u64 = 600_000_000;

/// Counts since `start`.
pub(super) struct Tally {
    pub(super) start: Micros,
    pub(super) cpu_start: f64,
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) pushed: u64,
    /// Resyncs, and the events they stood for.
    pub(super) conflations: u64,
    pub(super) conflated: u64,
    pub(super) errors: BTreeMap<String, u64>,
    /// Microseconds from a bid (or when it was due) to its receipt, or as long as it has waited in vain.
    pub(super) receipts: Histogram<u64>,
    /// Microseconds from a bid (or when it was due) to a watcher having read it.
    pub(super) deliveries: Histogram<u64>,
}

impl Tally {
    pub(super) fn new(start: Micros) -> Self {
        let histogram = || Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are constant and valid");
        Self {
            start,
            cpu_start: clock::cpu_seconds(),
            accepted: 0,
            refused: 0,
            pushed: 0,
            conflations: 0,
            conflated: 0,
            errors: BTreeMap::new(),
            receipts: histogram(),
            deliveries: histogram(),
        }
    }

    pub(super) fn accepted(&mut self, latency: Micros) {
        self.accepted += 1;
        self.receipts.saturating_record(latency);
    }

    pub(super) fn refused(&mut self, code: &str) {
        self.refused += 1;
        match self.errors.get_mut(code) {
            Some(count) => *count += 1,
            None => drop(self.errors.insert(code.to_owned(), 1)),
        }
    }

    /// Bids that have no receipt have waited so long for it.
    pub(super) fn waited(&mut self, age: Micros, bids: u64) {
        self.receipts.saturating_record_n(age, bids);
    }

    /// A watcher has read a bid.
    pub(super) fn pushed(&mut self) {
        self.pushed += 1;
    }

    /// It is known how long that took.
    pub(super) fn delivered(&mut self, latency: Micros) {
        self.deliveries.saturating_record(latency);
    }

    pub(super) fn conflated(&mut self, events: u64) {
        self.conflations += 1;
        self.conflated += events;
    }
}
