//! One shard: its lots and wallets with the thinnest driver around the pure core, as the engine has
//! it, and its journal.

use gavel_domain::{
    claims::{Address, Attempt, Attempts, Letter},
    command::{Command, PlaceBid},
    event::{LotEvent, Recorded},
    ids::{AttemptId, BidderId, Epoch, LotId},
    lot::{
        Decision, Lot,
        access::AccessRules,
        spec::{Funding, LotSpec},
    },
    receipt::Receipt,
    reject::Reject,
    shard::{batch::Entry, entities::Entities, staging::Staging},
    time::{Millis, Timestamp},
    wallet::{
        Wallet, WalletDecision,
        command::{WalletCommand, WalletReject},
    },
};
use std::{collections::BTreeMap, sync::Arc};

/// Given up on a hold after this long.
pub(crate) const PATIENCE: Millis = Millis(2000);

/// What leaves a shard once all before it is durable.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    Letter(Letter),
    Receipt(usize, Receipt),
    Refused(usize, Reject),
    /// The outcome may be unknown: nothing to hold anybody to.
    Unavailable,
}

#[derive(Default)]
pub(crate) struct Clerk {
    pub(crate) journal: Vec<Entry>,
    pub(crate) live: Entities,
    /// What is being written: lost or not, if it crashes now.
    pub(crate) in_flight: Vec<Entry>,
    staging: Staging<Output>,
    attempts: BTreeMap<LotId, Attempts<usize>>,
    epoch: u64,
    named: u64,
    /// What left.
    pub(crate) out: Vec<Output>,
    pub(crate) seen: Vec<&'static str>,
}

impl Clerk {
    /// Starts over from the journal.
    pub(crate) fn recover(&mut self, written: bool) {
        if written {
            self.journal.append(&mut self.in_flight);
        }
        let mut live = Entities::default();
        self.journal.iter().for_each(|entry| live.apply(entry).expect("the journal fits together"));
        let journal = std::mem::take(&mut self.journal);
        let epoch = self.epoch + 1;
        *self = Self { journal, live, epoch, ..Self::default() };
        let owed: Vec<LotId> = self.live.lots.keys().copied().collect();
        owed.into_iter().for_each(|lot| self.claim_what_is_owed(lot));
    }

    /// One entity starts over, from the journal and what is on its way there; the attempts of a lot
    /// are not part of it.
    pub(crate) fn rebuild(&mut self, address: &Address) {
        let mut live = Entities::default();
        let on_their_way: Vec<Entry> = self.staging.uncommitted().cloned().collect();
        for entry in self.journal.iter().chain(&on_their_way) {
            let mine = match (entry, address) {
                (Entry::Lot(recorded), Address::Lot(lot)) => recorded.lot == *lot,
                (Entry::Wallet(recorded), Address::Wallet(bidder)) => recorded.bidder == *bidder,
                _ => false,
            };
            if mine {
                live.apply(entry).expect("the journal fits together");
            }
        }
        for (id, lot) in live.lots {
            assert_eq!(self.live.lots.insert(id, lot.clone()), Some(lot), "a rebuilt lot is the lot");
        }
        for (id, wallet) in live.wallets {
            assert_eq!(self.live.wallets.insert(id, wallet.clone()), Some(wallet), "a rebuilt wallet is the wallet");
        }
    }

    pub(crate) fn start_write(&mut self) {
        if let Some(entries) = self.staging.take() {
            self.in_flight = entries.to_vec();
        }
    }

    pub(crate) fn finish_write(&mut self) {
        if !self.staging.in_flight() {
            return;
        }
        self.journal.append(&mut self.in_flight);
        let (_, outputs) = self.staging.committed();
        self.out.extend(outputs);
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.staging.pending() == 0 && !self.staging.in_flight()
    }

    fn withhold(&mut self, output: Output) {
        self.out.extend(self.staging.withhold(output));
    }

    fn up_to(&self) -> AttemptId {
        AttemptId { epoch: Epoch(self.epoch), number: self.named }
    }

    pub(crate) fn create(&mut self, id: LotId, spec: LotSpec, access: AccessRules, now: Timestamp) {
        let mut events = Lot::creation(spec, access, now).into_iter();
        let created =
            Arc::new(Recorded { lot: id, epoch: Epoch(self.epoch), seq: Default::default(), at: now, event: events.next().unwrap() });
        let mut lot = Lot::from_creation(&created).unwrap();
        self.staging.stage(Entry::Lot(created));
        for recorded in lot.advance(Epoch(self.epoch), now, events) {
            self.staging.stage(Entry::Lot(recorded));
        }
        self.live.lots.insert(id, lot);
    }

    /// A bid arrives from a client.
    pub(crate) fn bid(&mut self, lot: LotId, bid: PlaceBid, client: usize, now: Timestamp) {
        self.tick(lot, now);
        match self.live.lots[&lot].decide(&Command::Bid(bid.clone()), now) {
            Ok(Decision::Already(receipt)) => {
                self.seen.push("receipt again");
                self.withhold(Output::Receipt(client, *receipt));
            }
            Err(reject) => self.withhold(Output::Refused(client, reject)),
            Ok(Decision::Events { .. }) => {
                self.named += 1;
                let (attempt, wallet) = (self.up_to(), bid.bidder.clone());
                let asked = self.live.lots[&lot].hold_for(&bid, attempt);
                self.attempts.entry(lot).or_default().begin(attempt, Attempt { bid, at: now, with: client });
                self.out.push(Output::Letter(Letter::Hold { wallet, asked }));
            }
        }
    }

    /// An auctioneer's command; anything that is due comes first, without waiting.
    pub(crate) fn command(&mut self, lot: LotId, command: &Command, now: Timestamp) {
        if let Ok(Decision::Events { at, events }) = self.live.lots[&lot].decide(command, now) {
            self.happen(lot, at, events);
        }
    }

    /// Opens or closes what is due, after waiting for what was admitted before.
    pub(crate) fn tick(&mut self, lot: LotId, now: Timestamp) {
        let due = self.live.lots[&lot].deadline().filter(|deadline| *deadline <= now);
        if let Some(deadline) = due {
            if self.attempts.get(&lot).is_some_and(|attempts| attempts.hold_back(deadline, now)) {
                self.seen.push("close waited");
                return;
            }
            let given_up = self.attempts.get_mut(&lot).map(|attempts| attempts.give_up(deadline)).unwrap_or_default();
            self.command(lot, &Command::Tick, now);
            for attempt in given_up {
                self.seen.push("close gave up");
                self.conclude(lot, &attempt, None);
            }
        }
    }

    /// Gives bids up whose wallets don't answer.
    pub(crate) fn lose_patience(&mut self, lot: LotId, now: Timestamp) {
        let by = Timestamp::from_millis(now.as_millis() - i64::try_from(PATIENCE.0).unwrap());
        for attempt in self.attempts.get_mut(&lot).map(|attempts| attempts.give_up(by)).unwrap_or_default() {
            self.seen.push("attempt timed out");
            self.withhold(Output::Unavailable);
            self.say(lot, attempt.bid.bidder.clone());
        }
    }

    fn say(&mut self, lot: LotId, bidder: BidderId) {
        let up_to = self.up_to();
        let letter = self.attempts.entry(lot).or_default().word_letter(&self.live.lots[&lot], bidder, up_to);
        self.withhold(Output::Letter(letter));
    }

    fn happen(&mut self, lot: LotId, at: Timestamp, events: impl IntoIterator<Item = LotEvent>) -> Option<Receipt> {
        let up_to = self.up_to();
        let state = self.live.lots.get_mut(&lot).unwrap();
        let recorded = state.advance(Epoch(self.epoch), at, events);
        for event in &recorded {
            self.staging.stage(Entry::Lot(Arc::clone(event)));
            self.seen.push(match &event.event {
                LotEvent::Closed(gavel_domain::event::Outcome::Sold { .. }) => "sold",
                LotEvent::Closed(_) => "unsold",
                LotEvent::Cancelled { .. } => "cancelled",
                LotEvent::Settled => "settled",
                _ => continue,
            });
        }
        let letters: Vec<Letter> = self.attempts.entry(lot).or_default().letters(&self.live.lots[&lot], &recorded, up_to).collect();
        letters.into_iter().for_each(|letter| self.withhold(Output::Letter(letter)));
        if recorded.len() == 2 && matches!(recorded[1].event, LotEvent::Closed(_)) {
            self.seen.push("bought");
        }
        recorded.first().and_then(|event| event.receipt())
    }

    /// Asks the winner's wallet once more.
    pub(crate) fn claim_what_is_owed(&mut self, lot: LotId) {
        if let Some((wallet, capture)) = self.live.lots.get(&lot).and_then(Lot::owed) {
            self.withhold(Output::Letter(Letter::Capture { wallet, capture }));
        }
    }

    pub(crate) fn deliver(&mut self, letter: Letter, now: Timestamp) {
        match letter {
            Letter::Hold { wallet, asked } => {
                let (lot, currency, attempt) = (asked.lot, Arc::clone(&asked.currency), asked.attempt);
                let refused = self.ask_wallet(&wallet, &WalletCommand::Hold(asked), now).err();
                self.withhold(Output::Letter(Letter::HoldAnswer { lot, wallet, currency, attempt, refused }));
            }
            Letter::Word { wallet, lot, currency, word } => {
                let news = self.ask_wallet(&wallet, &WalletCommand::Word { lot, currency, word }, now).expect("a word is never refused");
                self.seen.push(if news { "word heard" } else { "word without news" });
            }
            Letter::Capture { wallet, capture } => {
                let (lot, pledged) = (capture.lot, capture.funding == Funding::Open);
                let news = self.ask_wallet(&wallet, &WalletCommand::Capture(capture), now).expect("what is owed is held");
                self.seen.push(match (news, pledged) {
                    (true, false) => "captured",
                    (true, true) => "pledge bought",
                    (false, _) => "captured again",
                });
                self.withhold(Output::Letter(Letter::Captured { lot }));
            }
            Letter::HoldAnswer { lot, wallet, attempt, refused, .. } => self.answered(lot, wallet, attempt, refused, now),
            Letter::Query { lot, wallet, .. } => {
                self.seen.push("query answered");
                self.say(lot, wallet);
            }
            Letter::Captured { lot } => self.command(lot, &Command::Settle, now),
        }
    }

    fn answered(&mut self, lot: LotId, wallet: BidderId, id: AttemptId, refused: Option<WalletReject>, now: Timestamp) {
        if !self.attempts.entry(lot).or_default().answered(id, refused) {
            self.seen.push("answer too late");
            self.say(lot, wallet);
        }
        self.take_turns(lot, now);
    }

    /// Places what is answered, in the order of admission.
    pub(crate) fn take_turns(&mut self, lot: LotId, now: Timestamp) {
        while let Some((attempt, refused)) = self.attempts.get_mut(&lot).and_then(|attempts| attempts.ready(now)) {
            self.conclude(lot, &attempt, refused);
        }
        if self.attempts.get(&lot).is_some_and(Attempts::is_held_up) {
            self.seen.push("turn waited");
        }
    }

    fn conclude(&mut self, lot: LotId, attempt: &Attempt<usize>, refused: Option<WalletReject>) {
        let wallet = attempt.bid.bidder.clone();
        let led_before = self.live.lots[&lot].lead().is_some_and(|lead| lead.bidder == wallet);
        match attempt.judge(&self.live.lots[&lot], refused) {
            Ok(Decision::Already(receipt)) => {
                self.withhold(Output::Receipt(attempt.with, *receipt));
                self.say(lot, wallet);
            }
            Ok(Decision::Events { at, events }) => {
                let receipt = self.happen(lot, at, events).expect("a bid");
                self.seen.push(match (receipt.leading, led_before) {
                    (true, true) => "raise placed",
                    (true, false) => "placed",
                    (false, _) => "placed without leading",
                });
                self.withhold(Output::Receipt(attempt.with, receipt));
            }
            Err(reject) => {
                self.seen.push(match refused {
                    None => "refused after its hold",
                    Some(WalletReject::NotRegistered) => "not registered",
                    Some(WalletReject::TooManyLeads { .. }) => "too many leads",
                    Some(WalletReject::SpendLimit { .. }) => "beyond the spend limit",
                    Some(_) => "insufficient",
                });
                self.withhold(Output::Refused(attempt.with, reject));
                self.say(lot, wallet);
            }
        }
    }

    /// Whether it changed anything.
    pub(crate) fn ask_wallet(&mut self, bidder: &BidderId, command: &WalletCommand, now: Timestamp) -> Result<bool, WalletReject> {
        let wallet = self.live.wallets.entry(bidder.clone()).or_insert_with(|| Wallet::new(bidder.clone()));
        match wallet.decide(command, now)? {
            WalletDecision::Event(event) => {
                let recorded = wallet.advance(Epoch(self.epoch), now, event);
                self.staging.stage(Entry::Wallet(recorded));
                Ok(true)
            }
            WalletDecision::Already(_) | WalletDecision::Nothing => Ok(false),
        }
    }

    /// Asks every lot that holds something of a wallet here which claims it stands by.
    pub(crate) fn sweep(&mut self) {
        let mut queries = Vec::new();
        for (bidder, wallet) in &self.live.wallets {
            let of_lot = |(currency, lot, _)| Letter::Query { lot, wallet: bidder.clone(), currency: Arc::clone(currency) };
            queries.extend(wallet.all_holds().map(of_lot));
        }
        queries.into_iter().for_each(|query| self.withhold(Output::Letter(query)));
    }
}
