//! A wallet's rules one by one.

use super::*;
use crate::{
    claims::{Capture, LotWord},
    ids::{AttemptId, Epoch, LotId, OperationId, Seq},
    wallet::{
        command::{Adjustment, Change},
        decay::Decay,
        permit::Terms,
    },
};

fn amount(minor: u64) -> Amount {
    Amount::new(minor).expect("in range")
}

fn signed(minor: i64) -> SignedAmount {
    SignedAmount::new(minor).expect("in range")
}

fn lot(n: u128) -> LotId {
    LotId(uuid::Uuid::from_u128(n))
}

const fn attempt(number: u64) -> AttemptId {
    AttemptId { epoch: Epoch(1), number }
}

/// A wallet and a clock that moves by hand.
struct Desk {
    wallet: Wallet,
    now: i64,
}

impl Desk {
    fn with(balance: u64) -> Self {
        let mut desk = Self { wallet: Wallet::new(BidderId::try_from("ann").expect("a bidder")), now: 1 };
        desk.grant(balance);
        desk
    }

    fn ask(&mut self, command: &WalletCommand) -> Result<bool, WalletReject> {
        let now = Timestamp::from_millis(self.now);
        match self.wallet.decide(command, now)? {
            WalletDecision::Event(event) => {
                self.wallet.advance(Epoch(1), now, event);
                Ok(true)
            }
            WalletDecision::Already(_) | WalletDecision::Nothing => Ok(false),
        }
    }

    fn adjust(&mut self, operation: u8, change: Change) -> Result<bool, WalletReject> {
        let (operation, digest) = (OperationId([operation; 16]), [1; 32]);
        let asked = Adjustment { operation, digest, currency: "DKP".into(), change, reason: "raid".into(), by: "gm".into() };
        self.ask(&WalletCommand::Adjust(asked))
    }

    fn grant(&mut self, minor: u64) {
        self.adjust(200, Change::Grant { amount: amount(minor), cap: None }).expect("granted");
    }

    fn hold(&mut self, n: u128, number: u64, minor: u64) -> Result<bool, WalletReject> {
        self.ask(&WalletCommand::Hold(asked(n, number, minor)))
    }

    /// As a lot asks that takes no money, of registered bidders alone.
    fn pledge(&mut self, n: u128, number: u64, minor: u64) -> Result<bool, WalletReject> {
        let asked = HoldAsked { funding: Funding::Open, registered_only: true, ..asked(n, number, minor) };
        self.ask(&WalletCommand::Hold(asked))
    }

    fn allow(&mut self, registered: bool, spend: Option<u64>, lead_limit: Option<u32>) -> bool {
        let terms = Terms { registered, spend_limit: spend.map(amount), lead_limit };
        let allow = WalletCommand::Allow { currency: "DKP".into(), terms, reason: None, by: "gm".into() };
        self.ask(&allow).expect("never refused")
    }

    fn word(&mut self, n: u128, seq: u64, standing: u64, up_to: u64, pending: &[u64]) -> bool {
        let pending = pending.iter().copied().map(attempt).collect();
        let word = LotWord { seq: Seq(seq), standing: amount(standing), up_to: attempt(up_to), pending };
        self.ask(&WalletCommand::Word { lot: lot(n), currency: "DKP".into(), word }).expect("a word is never refused")
    }

    fn capture(&mut self, n: u128, price: u64) -> Result<bool, WalletReject> {
        self.ask(&WalletCommand::Capture(price_of(n, price, Funding::Wallet)))
    }

    #[track_caller]
    fn has(&self, balance: i64, held: u64) {
        let purse = self.wallet.purse("DKP");
        assert_eq!((purse.balance(), purse.held()), (signed(balance), amount(held)));
        let sum: u64 = purse.holds().iter().map(|(_, hold)| hold.amount().get()).sum();
        assert_eq!(sum, held);
    }
}

fn asked(n: u128, number: u64, minor: u64) -> HoldAsked {
    let (lot, currency, attempt) = (lot(n), "DKP".into(), attempt(number));
    HoldAsked { lot, currency, attempt, amount: amount(minor), funding: Funding::Wallet, registered_only: false }
}

fn price_of(n: u128, price: u64, funding: Funding) -> Capture {
    Capture { lot: lot(n), currency: "DKP".into(), price: amount(price), bid: None, funding }
}

#[test]
fn a_raise_needs_the_difference_alone() {
    let mut desk = Desk::with(500);
    desk.hold(1, 1, 400).expect("enough");
    desk.hold(1, 2, 500).expect("100 more are there");
    desk.has(500, 500);
    let refused = desk.hold(1, 3, 501);
    assert_eq!(refused, Err(WalletReject::InsufficientFunds { available: signed(500), needed: amount(501) }));
}

#[test]
fn one_balance_does_not_back_two_lots() {
    let mut desk = Desk::with(500);
    desk.hold(1, 1, 400).expect("enough");
    assert!(desk.hold(2, 2, 101).is_err());
    desk.hold(2, 3, 100).expect("what is left");
    desk.has(500, 500);
}

#[test]
fn claims_end_by_the_lots_word() {
    let mut desk = Desk::with(500);
    desk.hold(1, 1, 400).expect("enough");
    desk.hold(1, 2, 300).expect("less than the first");
    assert!(desk.word(1, 10, 0, 2, &[2]), "the first ended, the second is being placed");
    desk.has(500, 300);
    assert!(desk.word(1, 11, 300, 2, &[]), "the second leads");
    assert!(!desk.word(1, 11, 300, 2, &[]), "said again");
    desk.has(500, 300);
    assert!(desk.word(1, 12, 0, 2, &[]), "outbid");
    desk.has(500, 0);
    assert!(!desk.word(1, 11, 300, 2, &[]), "late, and nothing is held any more");
    desk.has(500, 0);
}

#[test]
fn an_overtaken_word_neither_raises_nor_revives() {
    let mut desk = Desk::with(1000);
    desk.hold(1, 1, 400).expect("enough");
    assert!(desk.word(1, 12, 0, 1, &[]));
    desk.hold(1, 2, 300).expect("a new try");
    assert!(!desk.word(1, 11, 400, 1, &[]), "it speaks of a lead that is over");
    desk.has(1000, 300);
    assert!(desk.word(1, 13, 0, 2, &[]));
    desk.has(1000, 0);
}

#[test]
fn a_sold_lot_captures_once_and_frees_the_rest() {
    let mut desk = Desk::with(1000);
    desk.hold(1, 1, 600).expect("enough");
    desk.hold(2, 2, 100).expect("enough");
    assert_eq!(desk.capture(1, 250), Ok(true));
    desk.has(750, 100);
    assert_eq!(desk.capture(1, 250), Ok(false), "again after a restart");
    assert_eq!(desk.capture(3, 10), Err(WalletReject::NothingHeld { lot: lot(3) }));
    desk.has(750, 100);
}

#[test]
fn a_deduction_stops_at_the_holds_unless_forced() {
    let mut desk = Desk::with(100);
    desk.hold(1, 1, 60).expect("enough");
    let refused = desk.adjust(1, Change::Deduct { amount: amount(41), force: false });
    assert_eq!(refused, Err(WalletReject::InsufficientFunds { available: signed(40), needed: amount(41) }));
    assert_eq!(desk.adjust(2, Change::Deduct { amount: amount(141), force: true }), Ok(true));
    desk.has(-41, 60);
    assert!(desk.hold(1, 2, 60).is_err(), "overdrawn: not even what is held already is backed anew");
    assert!(desk.hold(1, 3, 0).is_err());
    assert_eq!(desk.capture(1, 50), Ok(true), "the lead stands");
    desk.has(-91, 0);
}

#[test]
fn an_operation_happens_once_and_its_key_for_a_day_only() {
    let mut desk = Desk::with(0);
    let give = |minor| Change::Grant { amount: amount(minor), cap: None };
    assert_eq!((desk.adjust(1, give(5)), desk.adjust(1, give(5))), (Ok(true), Ok(false)));
    let other = Adjustment {
        operation: OperationId([1; 16]),
        digest: [2; 32],
        currency: "DKP".into(),
        change: give(7),
        reason: "".into(),
        by: "gm".into(),
    };
    assert_eq!(desk.ask(&WalletCommand::Adjust(other.clone())), Err(WalletReject::OperationReused));
    desk.now += 24 * 3_600_000;
    assert_eq!(desk.ask(&WalletCommand::Adjust(other)), Ok(true), "a day later it is a new one");
    desk.has(12, 0);
}

#[test]
fn what_was_done_is_forgotten_by_age_and_number() {
    let mut desk = Desk::with(0);
    let give = |desk: &mut Desk, name: u8| desk.adjust(name, Change::Grant { amount: amount(1), cap: None }).expect("granted");
    assert!((0..150).all(|name| give(&mut desk, name)));
    assert!(!give(&mut desk, 0), "within the day all are known");
    desk.now += 25 * 3_600_000;
    assert!(give(&mut desk, 180));
    assert!(!give(&mut desk, 149), "one of the latest, whatever its age");
    assert!(give(&mut desk, 0), "long ago");
}

#[test]
fn caps_cut_grants_and_balances_but_no_holds() {
    let mut desk = Desk::with(90);
    assert_eq!(desk.adjust(1, Change::Grant { amount: amount(30), cap: Some(amount(100)) }), Ok(true));
    desk.has(100, 0);
    desk.adjust(2, Change::Grant { amount: amount(30), cap: Some(amount(100)) }).expect("nothing is added");
    desk.has(100, 0);
    desk.hold(1, 1, 80).expect("enough");
    assert_eq!(desk.adjust(3, Change::CutTo(amount(50))), Ok(true));
    desk.has(80, 80);
    assert_eq!(desk.adjust(4, Change::CutTo(amount(100))), Ok(false));
}

#[test]
fn decay_takes_what_is_available() {
    let mut desk = Desk::with(99);
    assert_eq!(desk.adjust(1, Change::Decay(Decay::BasisPoints(1000))), Ok(true));
    desk.has(90, 0);
    assert_eq!(desk.adjust(1, Change::Decay(Decay::BasisPoints(1000))), Ok(false), "the same run");
    desk.hold(1, 1, 85).expect("enough");
    assert_eq!(desk.adjust(2, Change::Decay(Decay::BasisPoints(1000))), Ok(true));
    desk.has(85, 85);
    assert_eq!(desk.adjust(3, Change::Decay(Decay::BasisPoints(1000))), Ok(false), "nothing to take: no line in the ledger");
}

#[test]
fn the_balance_stays_in_range() {
    let mut desk = Desk::with(Amount::MAX.get());
    assert_eq!(desk.adjust(1, Change::Grant { amount: amount(1), cap: None }), Err(WalletReject::OutOfRange));
    desk.has((1 << 53) - 1, 0);
}

#[test]
fn replay_gives_the_same_wallet() {
    let mut desk = Desk::with(500);
    let mut history = Vec::new();
    let mut copy = Wallet::new(desk.wallet.bidder().clone());
    let now = Timestamp::from_millis(1);
    let commands = [WalletCommand::Hold(asked(1, 1, 400)), WalletCommand::Capture(price_of(1, 300, Funding::Wallet))];
    let mut live = Wallet::new(desk.wallet.bidder().clone());
    std::mem::swap(&mut live, &mut desk.wallet);
    copy.clone_from(&live);
    for command in &commands {
        if let Ok(WalletDecision::Event(event)) = live.decide(command, now) {
            history.push(live.advance(Epoch(2), now, event));
        }
    }
    for recorded in history.iter().chain(&history) {
        copy.catch_up(recorded).expect("no gap, and nothing twice");
    }
    assert_eq!(copy, live);
    assert_eq!(history.len(), 2);
    assert_eq!(Wallet::new(live.bidder().clone()).catch_up(&history[1]), Err(Seq(0)));
}

#[test]
fn a_lot_that_takes_no_money_needs_a_registration_and_no_balance() {
    let mut desk = Desk::with(0);
    assert_eq!(desk.pledge(1, 1, 400), Err(WalletReject::NotRegistered));
    assert!(desk.allow(true, None, None));
    assert!(!desk.allow(true, None, None), "said already");
    assert_eq!(desk.pledge(1, 2, 400), Ok(true));
    desk.has(0, 0);
    assert_eq!(desk.wallet.permit("DKP").pledges().sum(), amount(400));
    assert!(desk.word(1, 10, 0, 2, &[]), "outbid");
    assert_eq!(desk.wallet.permit("DKP").pledges().lots(), 0);
    desk.allow(false, None, None);
    assert_eq!(desk.pledge(1, 3, 400), Err(WalletReject::NotRegistered));
}

#[test]
fn what_is_led_with_and_spent_keeps_to_the_limit() {
    let mut desk = Desk::with(10_000);
    desk.allow(true, Some(1000), None);
    desk.hold(1, 1, 600).expect("within");
    let beyond = |left, needed| Err(WalletReject::SpendLimit { left: amount(left), needed: amount(needed) });
    assert_eq!(desk.hold(2, 2, 401), beyond(400, 401));
    assert_eq!(desk.pledge(2, 3, 401), beyond(400, 401), "both kinds count");
    desk.pledge(2, 4, 300).expect("within");
    assert_eq!(desk.hold(1, 5, 701), beyond(700, 701), "its own hold is no other");
    desk.hold(1, 6, 700).expect("a raise by what is left");
    // Won at less than the maximum: the price is spent, the rest is free again.
    desk.capture(1, 500).expect("paid");
    assert_eq!(desk.hold(3, 7, 201), beyond(200, 201));
    assert_eq!(desk.ask(&WalletCommand::Capture(price_of(2, 250, Funding::Open))), Ok(true));
    assert_eq!(desk.ask(&WalletCommand::Capture(price_of(2, 250, Funding::Open))), Ok(false), "once");
    assert_eq!(desk.wallet.permit("DKP").spent(), amount(750));
    assert_eq!(desk.hold(3, 8, 251), beyond(250, 251));
    // A higher limit goes on from there; without a limit nothing is counted.
    desk.allow(true, Some(2000), None);
    assert_eq!(desk.hold(3, 9, 1251), beyond(1250, 1251));
    desk.allow(true, None, None);
    desk.allow(true, Some(1000), None);
    desk.hold(3, 10, 1000).expect("counted anew");
}

#[test]
fn a_lowered_limit_lets_leads_stand() {
    let mut desk = Desk::with(1000);
    desk.hold(1, 1, 600).expect("no limit yet");
    desk.allow(false, Some(100), Some(0));
    desk.has(1000, 600);
    assert_eq!(desk.hold(1, 2, 650), Err(WalletReject::TooManyLeads { limit: 0 }));
    desk.allow(false, Some(100), None);
    assert_eq!(desk.hold(1, 3, 650), Err(WalletReject::SpendLimit { left: amount(100), needed: amount(650) }));
    assert_eq!(desk.capture(1, 600), Ok(true), "what is won is paid");
}

#[test]
fn leads_are_counted_by_lot() {
    let mut desk = Desk::with(1000);
    desk.allow(true, None, Some(2));
    desk.hold(1, 1, 10).expect("one");
    desk.hold(1, 2, 20).expect("the same lot");
    desk.pledge(2, 3, 10).expect("two");
    assert_eq!(desk.hold(3, 4, 10), Err(WalletReject::TooManyLeads { limit: 2 }));
    desk.hold(1, 5, 30).expect("a raise takes no further lead");
    assert!(desk.word(1, 10, 0, 5, &[]), "outbid on the first");
    desk.hold(3, 6, 10).expect("room again");
}
