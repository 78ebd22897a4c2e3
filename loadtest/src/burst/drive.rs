//! The loop of a burst: waits, reads, bids, keeps the time, and lets the end run out.
//! What a message means is told to bidders and watchers; nothing is decided here but when.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::BurstError;
use super::bidders::Bidders;
use super::lot::Lot;
use super::report::Report;
use super::tally::Tally;
use super::watchers::Watchers;
use crate::audit::Violation;
use crate::cli::BurstArgs;
use crate::clock::{self, Clock, Micros};
use crate::net::Swarm;
use crate::progress::Progress;
use crate::wire::message::{Message, Reader};
use crate::wire::request::BidIds;

/// How long joins may take, in seconds.
const JOINING: f64 = 60.0;
/// Between two lines of progress.
const TICK: Micros = 1_000_000;

/// One run.
pub(super) struct Run<'a> {
    args: &'a BurstArgs,
    lots: &'a mut [Lot],
    by_id: HashMap<Uuid, usize>,
    bidders: Bidders,
    watchers: Watchers,
    tally: Tally,
    reader: Reader,
    clock: Clock,
}

impl<'a> Run<'a> {
    /// Knows the bidders by `name` and a number.
    pub(super) fn new(args: &'a BurstArgs, lots: &'a mut [Lot], ids: BidIds, name: String, clock: Clock) -> Self {
        let by_id = lots.iter().enumerate().map(|(number, lot)| (lot.id, number)).collect();
        let bidders = Bidders::new(args.bidders, args.in_flight, args.lots, args.proxy, ids, clock);
        let watchers = Watchers::new(args.bidders as usize, args.watchers as usize, lots.len());
        let (tally, reader) = (Tally::new(clock.now()), Reader::new(name));
        Self { args, lots, by_id, bidders, watchers, tally, reader, clock }
    }

    /// Joins every watcher to every lot.
    pub(super) fn join(&mut self, swarm: &mut Swarm) -> Result<(), BurstError> {
        self.watchers.join(swarm, self.lots)?;
        let limit = self.clock.now() + clock::from_seconds(JOINING);
        while !self.watchers.all_joined() {
            if self.clock.now() > limit {
                return Err(BurstError::NotJoined(JOINING));
            }
            self.turn(swarm, TICK)?;
        }
        Ok(())
    }

    /// Bids through the warm-up and the measured time. Answers what was counted, and how it ended; the latencies are
    /// told by `finish`.
    pub(super) fn measure(&mut self, swarm: &mut Swarm) -> (Report, Result<(), BurstError>) {
        let done = self.bid(swarm);
        (Report::new(self.args, &self.tally, self.clock.now()), done)
    }

    fn bid(&mut self, swarm: &mut Swarm) -> Result<(), BurstError> {
        let start = self.clock.now();
        let warm = start + clock::from_seconds(self.args.warmup);
        let end = warm + clock::from_seconds(self.args.seconds);
        let progress = Progress::new((self.args.warmup + self.args.seconds).ceil() as u64);
        if let Some(rate) = self.args.rate {
            self.bidders.at_rate(rate, start);
        }
        let mut measuring = false;
        let (mut tick, mut seen) = (start + TICK, Seen::default());
        loop {
            let now = self.clock.now();
            if !measuring && now >= warm {
                measuring = true;
                self.tally = Tally::new(now);
                seen = Seen::default();
            }
            if now >= end {
                return Ok(());
            }
            if now >= tick {
                progress.tell(Duration::from_micros(now - start), seen.line(&self.tally, now + TICK - tick));
                tick = now + TICK;
            }
            self.bidders.bid(swarm, self.lots)?;
            self.bidders.ask_again(swarm, self.lots)?;
            let boundary = if measuring { end } else { warm };
            let due = self.bidders.next_due().unwrap_or(Micros::MAX);
            let now = self.clock.now();
            self.turn(swarm, due.min(tick).min(boundary).saturating_sub(now))?;
        }
    }

    /// Completes a report: its counts are those of the measured time, its latencies those of all bids that were sent or
    /// due in it, whenever their answers came. What has no answer counts with its age: of bids sent, now; of bids that
    /// were never sent, at the end of the measured time.
    pub(super) fn finish(&mut self, report: &mut Report) {
        let now = self.clock.now();
        let unanswered = self.bidders.waiting(now).inspect(|age| self.tally.waited(*age, 1)).count();
        let overdue = self.bidders.waiting_to_be_sent(report.end);
        overdue.iter().for_each(|(age, bids)| self.tally.waited(*age, *bids));
        report.unanswered = unanswered as u64;
        report.overdue = overdue.iter().map(|(_, bids)| bids).sum();
        report.slow_messages = self.reader.slow();
        report.checked = self.lots.iter().map(|lot| lot.ledger.accepted()).sum();
        report.take_latencies(&self.tally);
    }

    /// Waits for every answer, and until every watcher has seen every accepted bid.
    pub(super) fn drain(&mut self, swarm: &mut Swarm) -> Result<(), BurstError> {
        let seconds = self.args.drain;
        let limit = self.clock.now() + clock::from_seconds(seconds);
        loop {
            let bids = self.bidders.unanswered();
            let behind = self.watchers.behind(self.lots);
            if bids == 0 && behind.is_none() {
                return Ok(());
            }
            let now = self.clock.now();
            if now >= limit {
                return Err(match behind {
                    Some((watcher, number)) if bids == 0 => {
                        let (lot, seq) = (self.lots[number].id, self.watchers.expects(watcher, number));
                        Violation::NotSeen { lot, watcher, seq, seconds }
                    }
                    _ => Violation::Unanswered { bids, seconds },
                }
                .into());
            }
            self.bidders.ask_again(swarm, self.lots)?;
            self.turn(swarm, (limit - now).min(TICK / 100))?;
        }
    }

    /// Reads once.
    fn turn(&mut self, swarm: &mut Swarm, wait: Micros) -> Result<(), BurstError> {
        let mut reader = std::mem::take(&mut self.reader);
        let read = swarm.poll(wait, |socket, text, now| reader.read(text, |message| self.take(socket, message, now)));
        self.reader = reader;
        read
    }

    /// One message.
    fn take(&mut self, socket: usize, message: Message<'_>, now: Micros) -> Result<(), BurstError> {
        match message {
            Message::Receipt { request, receipt } => {
                self.bidders.receipt(socket, request, &receipt, now, self.lots, &mut self.tally)?;
            }
            Message::Refusal { request, refusal } if socket < self.args.bidders as usize => {
                self.bidders.refusal(socket, request, &refusal, now, self.lots, &mut self.tally)?;
            }
            Message::Refusal { request, refusal } => {
                let answer = format!("{}: {}", refusal.code, refusal.message);
                return Err(BurstError::Answer { socket, request, answer });
            }
            Message::Events { lot, events } => {
                let number = self.known(socket, lot)?;
                let lot = (number, &mut self.lots[number]);
                self.watchers.events(socket, lot, events, now, &mut self.tally)?;
            }
            Message::Resync { lot, seq, shown } => {
                let number = self.known(socket, lot)?;
                self.watchers.resync(socket, (number, &mut self.lots[number]), seq, shown, &mut self.tally)?;
            }
            Message::Joined { request, seq, shown } => match self.watchers.joined(socket, request, seq) {
                Some(number) => self.lots[number].ledger.shown(seq, shown)?,
                None => return Err(BurstError::Answer { socket, request, answer: "joined".into() }),
            },
            Message::Answer { request, body } => {
                return Err(BurstError::Answer { socket, request, answer: body.to_string() });
            }
            Message::Other => {}
        }
        Ok(())
    }

    fn known(&self, socket: usize, lot: Uuid) -> Result<usize, Violation> {
        let watcher = socket.saturating_sub(self.args.bidders as usize);
        self.by_id.get(&lot).copied().ok_or(Violation::NotJoined { lot, watcher })
    }
}

/// What the last line of progress had counted.
#[derive(Default)]
struct Seen {
    accepted: u64,
    refused: u64,
    pushed: u64,
}

impl Seen {
    /// The line for what came since, in `passed`.
    fn line(&mut self, tally: &Tally, passed: Micros) -> String {
        let rate = |now: u64, before: u64| (now - before) as f64 * 1e6 / passed.max(1) as f64;
        let line = format!(
            "accepted {:.0}/s  refused {:.0}/s  deliveries {:.0}/s  receipt p99 {:.2} ms",
            rate(tally.accepted, self.accepted),
            rate(tally.refused, self.refused),
            rate(tally.pushed, self.pushed),
            tally.receipts.value_at_quantile(0.99) as f64 / 1000.0,
        );
        *self = Self { accepted: tally.accepted, refused: tally.refused, pushed: tally.pushed };
        line
    }
}
