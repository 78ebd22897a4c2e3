//! Recomputes money from the journals alone, naively, with none of the wallets' code.

use gavel_domain::{
    claims::LotWord,
    event::{LotEvent, Outcome},
    ids::{AttemptId, BidderId, LotId},
    lot::{access::Registration, spec::Funding},
    shard::batch::Entry,
    wallet::event::{LedgerKind, WalletEvent},
};
use std::collections::{BTreeMap, BTreeSet};

/// What the journals say.
#[derive(Default)]
pub(crate) struct Books {
    pub(crate) wallets: BTreeMap<BidderId, Account>,
    pub(crate) lots: BTreeMap<LotId, Sale>,
}

#[derive(Default, Debug)]
pub(crate) struct Account {
    pub(crate) granted: i64,
    pub(crate) taken: i64,
    pub(crate) captured: BTreeMap<LotId, i64>,
    pub(crate) balance: i64,
    pub(crate) was_forced: bool,
    /// Prices of lots won that take no money.
    pub(crate) bought: BTreeMap<LotId, i64>,
    backed: Claims,
    pledged: Claims,
    limits: Limits,
}

/// By lot: claims by name, and the maximum that the lot said it leads with, at which `seq`.
#[derive(Default, Debug)]
struct Claims(BTreeMap<LotId, (BTreeMap<AttemptId, i64>, i64, u64)>);

#[derive(Default, Debug)]
struct Limits {
    registered: bool,
    spend: Option<i64>,
    leads: Option<usize>,
    spent: i64,
}

impl Claims {
    fn held_for(&self, lot: LotId) -> i64 {
        self.0.get(&lot).map_or(0, |(claims, standing, _)| claims.values().copied().fold(*standing, i64::max))
    }

    fn held(&self) -> i64 {
        self.0.keys().map(|lot| self.held_for(*lot)).sum()
    }

    fn make(&mut self, lot: LotId, name: AttemptId, amount: i64) {
        let known = self.0.entry(lot).or_default().0.insert(name, amount);
        assert_eq!(known, None, "a claim is made once");
    }

    fn hear(&mut self, lot: LotId, word: &LotWord) {
        let Some((claims, standing, seq)) = self.0.get_mut(&lot) else { return };
        let before = claims.values().copied().fold(*standing, i64::max);
        claims.retain(|name, _| *name > word.up_to || word.pending.iter().any(|pending| pending == name));
        if word.seq.0 >= *seq {
            (*standing, *seq) = (minor(word.standing), word.seq.0);
        }
        assert!(claims.values().copied().fold(*standing, i64::max) <= before, "a word raised a hold");
        if claims.is_empty() && *standing == 0 {
            self.0.remove(&lot);
        }
    }
}

#[derive(Default, Debug)]
pub(crate) struct Sale {
    pub(crate) leader: Option<(BidderId, i64)>,
    pub(crate) sold: Option<(BidderId, i64)>,
    pub(crate) over: bool,
    pub(crate) settled: bool,
    /// Takes no money: claims on it are pledges.
    pledges: bool,
    /// For bidders registered in the currency alone.
    registered_only: bool,
    accepted: BTreeSet<(uuid::Uuid, BidderId)>,
}

impl Account {
    pub(crate) fn held_for(&self, lot: LotId) -> i64 {
        self.backed.held_for(lot).max(self.pledged.held_for(lot))
    }

    /// A claim was made: as an administrator allowed it, counted anew.
    fn claimed(&self, lot: LotId, registered_only: bool) {
        let Limits { registered, spend, leads, spent } = self.limits;
        assert!(registered || !registered_only, "a bidder who is not registered bids on {lot}");
        if let Some(limit) = spend {
            let all = self.backed.held() + self.pledged.held() + spent;
            assert!(all <= limit, "{all} held and spent of {limit} allowed");
        }
        if let Some(limit) = leads {
            assert!(self.backed.0.len() + self.pledged.0.len() <= limit, "more leads than {limit}");
        }
    }
}

fn minor(amount: gavel_domain::money::Amount) -> i64 {
    i64::try_from(amount.get()).unwrap()
}

impl Books {
    /// Lots first: what is claimed at wallets is judged by what the lots are.
    pub(crate) fn read<'a>(entries: impl Iterator<Item = &'a Entry> + Clone) -> Self {
        let mut books = Self::default();
        for entry in entries.clone() {
            if let Entry::Lot(recorded) = entry {
                books.lots.entry(recorded.lot).or_default().read(&recorded.event);
            }
        }
        for entry in entries {
            if let Entry::Wallet(recorded) = entry {
                books.wallets.entry(recorded.bidder.clone()).or_default().read(&recorded.event, &books.lots);
            }
        }
        books
    }

    /// What must hold of what is durable, at any moment.
    pub(crate) fn check(&self) {
        for (bidder, account) in &self.wallets {
            let paid: i64 = account.captured.values().sum();
            assert_eq!(account.balance, account.granted - account.taken - paid, "{bidder}: the ledger does not sum to the balance");
            if !account.was_forced {
                let held = account.backed.held();
                assert!(held <= account.balance, "{bidder}: {held} held of {}", account.balance);
            }
            for (lot, price) in account.captured.iter().chain(&account.bought) {
                assert_eq!(self.lots[lot].sold, Some((bidder.clone(), *price)), "{bidder} paid for lot {lot}");
            }
        }
        for (lot, sale) in &self.lots {
            if let Some((leader, max)) = sale.leader.as_ref().filter(|_| !sale.over || sale.sold.is_some()) {
                let account = &self.wallets[leader];
                let paid = account.has_paid(lot);
                assert!(paid || account.held_for(*lot) >= *max, "lot {lot}: {leader} leads with {max}, {} is held", account.held_for(*lot));
            }
            if sale.settled {
                let (winner, _) = sale.sold.as_ref().expect("only what is sold is settled");
                assert!(self.wallets[winner].has_paid(lot), "lot {lot} is settled, {winner} has not paid");
            }
        }
    }

    /// What must hold once nothing is on its way any more.
    pub(crate) fn check_at_rest(&self) {
        self.check();
        for (bidder, account) in &self.wallets {
            for (pledges, held) in [(false, account.backed.held()), (true, account.pledged.held())] {
                let open = self.lots.values().filter(|sale| !sale.over && sale.pledges == pledges);
                let leads: i64 = open.filter_map(|sale| sale.leader.as_ref()).map(|(who, max)| if who == bidder { *max } else { 0 }).sum();
                assert_eq!(held, leads, "{bidder}: what is held is what it leads with, and no hold of a closed lot remains");
            }
        }
        for (lot, sale) in &self.lots {
            assert_eq!(sale.sold.is_some(), sale.settled, "lot {lot}: sold is settled");
        }
    }
}

impl Account {
    fn has_paid(&self, lot: &LotId) -> bool {
        self.captured.contains_key(lot) || self.bought.contains_key(lot)
    }

    fn read(&mut self, event: &WalletEvent, lots: &BTreeMap<LotId, Sale>) {
        match event {
            WalletEvent::Held { lot, attempt, amount, .. } => {
                self.backed.make(*lot, *attempt, minor(*amount));
                // The lot's creation may not be durable yet: then nothing is known of it.
                self.claimed(*lot, lots.get(lot).is_some_and(|sale| sale.registered_only));
            }
            WalletEvent::Pledged { lot, attempt, amount, .. } => {
                assert!(lots.get(lot).is_none_or(|sale| sale.pledges), "a pledge for a lot that takes money");
                self.pledged.make(*lot, *attempt, minor(*amount));
                self.claimed(*lot, true);
            }
            WalletEvent::Bought { lot, price, .. } => {
                self.pledged.0.remove(lot);
                assert_eq!(self.bought.insert(*lot, minor(*price)), None, "lot {lot} was bought twice");
                self.spend(minor(*price));
            }
            WalletEvent::Allowed { terms, .. } => {
                let spent = if terms.spend_limit.is_some() { self.limits.spent } else { 0 };
                let leads = terms.lead_limit.map(|limit| usize::try_from(limit).unwrap());
                self.limits = Limits { registered: terms.registered, spend: terms.spend_limit.map(minor), leads, spent };
            }
            WalletEvent::Told { lot, word, .. } => {
                self.backed.hear(*lot, word);
                self.pledged.hear(*lot, word);
            }
            WalletEvent::Posted(entry) => {
                let amount = entry.amount.get();
                match entry.kind {
                    LedgerKind::Grant => self.granted += amount,
                    _ => self.taken -= amount,
                }
                self.balance += amount;
                self.was_forced |= entry.kind == LedgerKind::Deduction && self.balance < self.backed.held();
                assert_eq!(self.balance, entry.balance.get());
            }
            WalletEvent::Captured(entry) => {
                let lot = entry.lot.expect("a capture is for a lot");
                self.backed.0.remove(&lot);
                self.balance += entry.amount.get();
                self.spend(-entry.amount.get());
                assert_eq!(self.captured.insert(lot, -entry.amount.get()), None, "lot {lot} was paid for twice");
                assert_eq!(self.balance, entry.balance.get());
            }
        }
    }
}

impl Account {
    fn spend(&mut self, price: i64) {
        if self.limits.spend.is_some() {
            self.limits.spent += price;
        }
    }
}

impl Sale {
    fn read(&mut self, event: &LotEvent) {
        if let Some((spec, access)) = event.creation() {
            self.pledges = spec.funding == Funding::Open;
            self.registered_only = access.registration == Registration::Currency;
        }
        match event {
            LotEvent::BidPlaced(bid) => {
                assert!(self.accepted.insert((bid.bid_id.0, bid.bidder.clone())), "a bid was placed twice");
                assert!(!self.over, "a bid after the close");
                if bid.leader == bid.bidder {
                    self.leader = Some((bid.bidder.clone(), minor(bid.max)));
                }
            }
            LotEvent::Closed(outcome) => {
                self.over = true;
                if let Outcome::Sold { winner, price } = outcome {
                    self.sold = Some((winner.clone(), minor(*price)));
                }
            }
            LotEvent::Cancelled { .. } => self.over = true,
            LotEvent::Settled => {
                assert!(!self.settled, "settled twice");
                self.settled = true;
            }
            _ => {}
        }
    }
}
