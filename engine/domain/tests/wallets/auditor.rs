//! Recomputes money from the journals alone, naively, with none of the wallets' code.

use gavel_domain::{
    event::{LotEvent, Outcome},
    ids::{AttemptId, BidderId, LotId},
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
    /// By lot: claims by name, and the maximum that the lot said it leads with, at which `seq`.
    claims: BTreeMap<LotId, (BTreeMap<AttemptId, i64>, i64, u64)>,
}

#[derive(Default, Debug)]
pub(crate) struct Sale {
    pub(crate) leader: Option<(BidderId, i64)>,
    pub(crate) sold: Option<(BidderId, i64)>,
    pub(crate) over: bool,
    pub(crate) settled: bool,
    accepted: BTreeSet<(uuid::Uuid, BidderId)>,
}

impl Account {
    pub(crate) fn held_for(&self, lot: LotId) -> i64 {
        self.claims.get(&lot).map_or(0, |(claims, standing, _)| claims.values().copied().fold(*standing, i64::max))
    }

    pub(crate) fn held(&self) -> i64 {
        self.claims.keys().map(|lot| self.held_for(*lot)).sum()
    }
}

fn minor(amount: gavel_domain::money::Amount) -> i64 {
    i64::try_from(amount.get()).unwrap()
}

impl Books {
    pub(crate) fn read<'a>(entries: impl Iterator<Item = &'a Entry>) -> Self {
        let mut books = Self::default();
        for entry in entries {
            match entry {
                Entry::Lot(recorded) => books.lots.entry(recorded.lot).or_default().read(&recorded.event),
                Entry::Wallet(recorded) => books.wallets.entry(recorded.bidder.clone()).or_default().read(&recorded.event),
                _ => {}
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
                assert!(account.held() <= account.balance, "{bidder}: {} held of {}", account.held(), account.balance);
            }
            for (lot, price) in &account.captured {
                assert_eq!(self.lots[lot].sold, Some((bidder.clone(), *price)), "{bidder} paid for lot {lot}");
            }
        }
        for (lot, sale) in &self.lots {
            if let Some((leader, max)) = sale.leader.as_ref().filter(|_| !sale.over || sale.sold.is_some()) {
                let account = &self.wallets[leader];
                let paid = account.captured.contains_key(lot);
                assert!(paid || account.held_for(*lot) >= *max, "lot {lot}: {leader} leads with {max}, {} is held", account.held_for(*lot));
            }
            if sale.settled {
                let (winner, _) = sale.sold.as_ref().expect("only what is sold is settled");
                assert!(self.wallets[winner].captured.contains_key(lot), "lot {lot} is settled, {winner} has not paid");
            }
        }
    }

    /// What must hold once nothing is on its way any more.
    pub(crate) fn check_at_rest(&self) {
        self.check();
        for (bidder, account) in &self.wallets {
            let leads: i64 = self
                .lots
                .values()
                .filter(|sale| !sale.over)
                .filter_map(|sale| sale.leader.as_ref())
                .map(|(who, max)| if who == bidder { *max } else { 0 })
                .sum();
            assert_eq!(account.held(), leads, "{bidder}: what is held is what it leads with, and no hold of a closed lot remains");
        }
        for (lot, sale) in &self.lots {
            assert_eq!(sale.sold.is_some(), sale.settled, "lot {lot}: sold is settled");
        }
    }
}

impl Account {
    fn read(&mut self, event: &WalletEvent) {
        match event {
            WalletEvent::Held { lot, attempt, amount, .. } => {
                let known = self.claims.entry(*lot).or_default().0.insert(*attempt, minor(*amount));
                assert_eq!(known, None, "a claim is made once");
            }
            WalletEvent::Told { lot, word, .. } => {
                let (claims, standing, seq) = self.claims.entry(*lot).or_default();
                let before = claims.values().copied().fold(*standing, i64::max);
                claims.retain(|name, _| *name > word.up_to || word.pending.iter().any(|pending| pending == name));
                if word.seq.0 >= *seq {
                    (*standing, *seq) = (minor(word.standing), word.seq.0);
                }
                assert!(claims.values().copied().fold(*standing, i64::max) <= before, "a word raised a hold");
                if claims.is_empty() && *standing == 0 {
                    self.claims.remove(lot);
                }
            }
            WalletEvent::Posted(entry) => {
                let amount = entry.amount.get();
                match entry.kind {
                    LedgerKind::Grant => self.granted += amount,
                    _ => self.taken -= amount,
                }
                self.balance += amount;
                self.was_forced |= entry.kind == LedgerKind::Deduction && self.balance < self.held();
                assert_eq!(self.balance, entry.balance.get());
            }
            WalletEvent::Captured(entry) => {
                let lot = entry.lot.expect("a capture is for a lot");
                self.claims.remove(&lot);
                self.balance += entry.amount.get();
                assert_eq!(self.captured.insert(lot, -entry.amount.get()), None, "lot {lot} was paid for twice");
                assert_eq!(self.balance, entry.balance.get());
            }
        }
    }
}

impl Sale {
    fn read(&mut self, event: &LotEvent) {
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
