//! The watchers of a burst: where each one stands in each lot, and that nothing is left out.
//! Joins are sent here; bids are not known here, only the lots' ledgers.

use super::lot::Lot;
use super::tally::Tally;
use crate::audit::Violation;
use crate::clock::Micros;
use crate::net::{SocketError, Swarm};
use crate::wire::message::{Event, Shown};
use crate::wire::request;

/// A lot that was not joined.
const NOT_JOINED: u64 = 0;

/// All watchers; the first one's socket comes after the last bidder's.
pub(super) struct Watchers {
    first_socket: usize,
    count: usize,
    lots: usize,
    /// The sequence number each expects next, by watcher and lot.
    next: Vec<u64>,
    joined: usize,
}

impl Watchers {
    pub(super) fn new(first_socket: usize, count: usize, lots: usize) -> Self {
        Self { first_socket, count, lots, next: vec![NOT_JOINED; count * lots], joined: 0 }
    }

    /// Asks for every lot on every socket. A request's id is the lot's number plus one.
    pub(super) fn join(&self, swarm: &mut Swarm, lots: &[Lot]) -> Result<(), SocketError> {
        for socket in self.first_socket..self.first_socket + self.count {
            for (number, lot) in lots.iter().enumerate() {
                request::join(swarm.out(socket), number as u64 + 1, lot.id);
            }
            swarm.flush(socket)?;
        }
        Ok(())
    }

    /// Whether every join was answered.
    pub(super) fn all_joined(&self) -> bool {
        self.joined == self.next.len()
    }

    /// The answer to a join; the number of the lot, if it was one.
    pub(super) fn joined(&mut self, socket: usize, request: u64, seq: u64) -> Option<usize> {
        let watcher = socket.checked_sub(self.first_socket)?;
        let lot = usize::try_from(request).ok()?.checked_sub(1).filter(|lot| *lot < self.lots)?;
        let next = self.next.get_mut(watcher * self.lots + lot)?;
        self.joined += usize::from(*next == NOT_JOINED);
        *next = seq + 1;
        Some(lot)
    }

    /// A push of events.
    pub(super) fn events(
        &mut self,
        socket: usize,
        (number, lot): (usize, &mut Lot),
        events: &[Event],
        now: Micros,
        tally: &mut Tally,
    ) -> Result<(), Violation> {
        let (watcher, next) = self.place(socket, number, lot)?;
        for event in events {
            if event.seq != *next {
                return Err(Violation::Gap { lot: lot.id, watcher, want: *next, got: event.seq });
            }
            *next += 1;
            let since_sent = lot.ledger.pushed(event.seq, event.placed, now)?;
            if event.placed.is_some() {
                tally.pushed();
                since_sent.into_iter().for_each(|since| tally.delivered(since));
            }
        }
        Ok(())
    }

    /// The server left events out up to `seq`, and says so.
    pub(super) fn resync(
        &mut self,
        socket: usize,
        (number, lot): (usize, &mut Lot),
        seq: u64,
        shown: Shown,
        tally: &mut Tally,
    ) -> Result<(), Violation> {
        let (watcher, next) = self.place(socket, number, lot)?;
        if seq + 1 < *next {
            return Err(Violation::Gap { lot: lot.id, watcher, want: *next, got: seq });
        }
        tally.conflated(seq + 1 - *next);
        *next = seq + 1;
        lot.ledger.shown(seq, shown)
    }

    /// The first place where a watcher has not come to the last accepted bid: watcher and lot.
    pub(super) fn behind(&self, lots: &[Lot]) -> Option<(usize, usize)> {
        let short = |(place, next): (usize, &u64)| *next <= lots[place % self.lots].ledger.top();
        let place = self.next.iter().enumerate().position(short)?;
        Some((place / self.lots, place % self.lots))
    }

    /// The sequence number a watcher expects next.
    pub(super) fn expects(&self, watcher: usize, lot: usize) -> u64 {
        self.next[watcher * self.lots + lot]
    }

    fn place(&mut self, socket: usize, number: usize, lot: &Lot) -> Result<(usize, &mut u64), Violation> {
        let watcher = socket.checked_sub(self.first_socket);
        let next = watcher.and_then(|watcher| self.next.get_mut(watcher * self.lots + number));
        match (watcher, next) {
            (Some(watcher), Some(next)) if *next != NOT_JOINED => Ok((watcher, next)),
            _ => Err(Violation::NotJoined { lot: lot.id, watcher: watcher.unwrap_or(socket) }),
        }
    }
}
