//! Records of wallets stay readable, as [`fixtures`](../fixtures.rs) has it for lots: the files in `fixtures` must decode
//! to the values here for ever, and these values must encode to the very same bytes in the version that is written today.
//!
//! Made once: `GAVEL_WRITE_FIXTURES=1 cargo test -p gavel-persistence --test fixtures_wallets write_fixtures`. It never
//! overwrites.

use gavel_domain::{
    claims::LotWord,
    ids::{AttemptId, BidId, BidderId, Epoch, LotId, OperationId, Seq, ShardId},
    money::{Amount, SignedAmount},
    shard::batch::{BatchId, Entry},
    time::Timestamp,
    wallet::{
        Wallet,
        event::{LedgerEntry, LedgerKind, WalletEvent, WalletRecorded},
        permit::Terms,
    },
};
use gavel_engine::ports::format::{Damage, Digest, Format as _, Sealed};
use gavel_persistence::record::{RecordFormat, VERSION};
use std::{path::PathBuf, sync::Arc};
use uuid::Uuid;

fn fixture(version: u16, name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", &format!("v{version}"), &format!("{name}.bin")].iter().collect()
}

fn stored(version: u16, name: &str) -> Vec<u8> {
    std::fs::read(fixture(version, name)).expect("the fixture is committed")
}

fn amount(minor: u64) -> Amount {
    Amount::new(minor).expect("in range")
}

fn signed(minor: i64) -> SignedAmount {
    SignedAmount::new(minor).expect("in range")
}

fn lot(n: u128) -> LotId {
    LotId(Uuid::from_u128(0x0192_f0c1_2222_7abc_8def_0123_4567_0000 + n))
}

const fn attempt(number: u64) -> AttemptId {
    AttemptId { epoch: Epoch(1_800_000_000), number }
}

fn bidder() -> BidderId {
    BidderId::try_from("ann.b_c-9").expect("a bidder")
}

fn held(n: u128, number: u64, minor: u64) -> WalletEvent {
    WalletEvent::Held { lot: lot(n), currency: "DKP".into(), attempt: attempt(number), amount: amount(minor) }
}

fn told(n: u128, word: LotWord) -> WalletEvent {
    WalletEvent::Told { lot: lot(n), currency: "DKP".into(), word }
}

/// A line of the ledger, with what is optional given or left out.
fn line(kind: LedgerKind, minor: i64, balance: i64) -> LedgerEntry {
    let of_a_sale = kind == LedgerKind::Capture;
    LedgerEntry {
        currency: "DKP".into(),
        kind,
        amount: signed(minor),
        balance: signed(balance),
        lot: of_a_sale.then(|| lot(1)),
        bid: of_a_sale.then(|| BidId(Uuid::from_u128(u128::MAX))),
        reason: if of_a_sale { "won".into() } else { "Überfall auf die Höhle ⚔".into() },
        by: "gm".into(),
        operation: if of_a_sale { lot(1).into() } else { OperationId([u8::try_from(balance & 0x7f).expect("small"); 16]) },
        digest: [0x5a; 32],
    }
}

fn posted(kind: LedgerKind, minor: i64, balance: i64) -> WalletEvent {
    WalletEvent::Posted(Box::new(line(kind, minor, balance)))
}

/// A wallet's history with every event and every kind of line, with options given and left out.
fn events() -> Vec<WalletEvent> {
    let word = |seq: u64, standing: u64, up_to: u64, pending: &[u64]| LotWord {
        seq: Seq(seq),
        standing: amount(standing),
        up_to: attempt(up_to),
        pending: pending.iter().copied().map(attempt).collect(),
    };
    let other_currency = LedgerEntry { currency: "EUR".into(), ..line(LedgerKind::Grant, 70_000, 70_000) };
    let forgotten_bid = LedgerEntry { bid: None, lot: Some(lot(4)), operation: lot(4).into(), ..line(LedgerKind::Capture, -90, -115) };
    vec![
        posted(LedgerKind::Grant, 1000, 1000),
        WalletEvent::Posted(Box::new(other_currency)),
        held(1, 1, 400),
        held(1, 300, 500),
        held(2, 301, 100),
        held(3, 302, 70),
        held(4, 303, 90),
        told(1, word(12, 400, 1, &[300])),
        told(2, word(300, 0, 301, &[])),
        told(3, word(70_000, 70, 302, &[])),
        held(3, 304, 75),
        WalletEvent::Captured(Box::new(line(LedgerKind::Capture, -410, 590))),
        posted(LedgerKind::Decay, -59, 531),
        posted(LedgerKind::Cap, -31, 500),
        posted(LedgerKind::Deduction, -525, -25),
        WalletEvent::Captured(Box::new(forgotten_bid)),
        told(5, LotWord::none_left()),
    ]
}

/// What came with version 2.
fn new_events() -> Vec<WalletEvent> {
    let allowed = |spend_limit, lead_limit, reason: Option<&str>| WalletEvent::Allowed {
        currency: "EUR".into(),
        terms: Terms { registered: true, spend_limit, lead_limit },
        reason: reason.map(Into::into),
        by: "gm".into(),
    };
    let pledged =
        |n, number, minor| WalletEvent::Pledged { lot: lot(n), currency: "EUR".into(), attempt: attempt(number), amount: amount(minor) };
    vec![
        allowed(Some(amount(70_000)), Some(300), Some("vetted")),
        allowed(Some(amount(80_000)), None, None),
        pledged(6, 400, 1000),
        pledged(7, 401, 2000),
        WalletEvent::Bought { lot: lot(6), currency: "EUR".into(), price: amount(900) },
    ]
}

fn events_of(version: u16) -> Vec<WalletEvent> {
    if version == 1 { events() } else { events().into_iter().chain(new_events()).collect() }
}

/// Does not compile when a variant is added: give it a place in the next version's fixture.
fn covers(event: &WalletEvent) -> usize {
    match event {
        WalletEvent::Held { .. } => 0,
        WalletEvent::Told { .. } => 1,
        WalletEvent::Posted(_) => 2,
        WalletEvent::Captured(_) => 3,
        WalletEvent::Pledged { .. } => 4,
        WalletEvent::Bought { .. } => 5,
        WalletEvent::Allowed { .. } => 6,
    }
}

fn history(version: u16) -> Vec<Arc<WalletRecorded>> {
    let recorded = |(n, event)| {
        let at = Timestamp::from_millis(1_800_000_000_000 + i64::from(n));
        Arc::new(WalletRecorded { bidder: bidder(), epoch: Epoch(1_800_000_000), seq: Seq(u64::from(n)), at, event })
    };
    (1_u32..).zip(events_of(version)).map(recorded).collect()
}

fn a_wallet(version: u16) -> Wallet {
    let mut wallet = Wallet::new(bidder());
    for recorded in &history(version) {
        wallet.catch_up(recorded).expect("no gap");
    }
    wallet
}

fn entries(version: u16) -> Vec<Entry> {
    history(version).into_iter().map(Entry::Wallet).collect()
}

fn batch(version: u16) -> Sealed {
    let id = BatchId { epoch: Epoch(1_800_000_000), number: 70_001 };
    RecordFormat.seal(ShardId(63), id, Digest([0x11; 32]), &entries(version))
}

/// A batch is stored with its digest; the fixture is both.
fn batch_file() -> Vec<u8> {
    let batch = batch(VERSION);
    [batch.hash.0.as_slice(), &batch.bytes].concat()
}

fn files() -> [(&'static str, Vec<u8>); 3] {
    [
        ("wallets-batch", batch_file()),
        ("wallet", RecordFormat.encode_wallet(&a_wallet(VERSION))),
        ("wallet-empty", RecordFormat.encode_wallet(&Wallet::new(bidder()))),
    ]
}

#[test]
fn write_fixtures() {
    if std::env::var_os("GAVEL_WRITE_FIXTURES").is_none() {
        return;
    }
    for (name, bytes) in files() {
        let mut file = std::fs::File::create_new(fixture(VERSION, name)).expect("a fixture is never overwritten");
        std::io::Write::write_all(&mut file, &bytes).expect("written");
    }
}

#[test]
fn everything_is_in_a_fixture() {
    let events = events_of(VERSION);
    let mut seen = [false; 7];
    events.iter().for_each(|event| seen[covers(event)] = true);
    assert_eq!(seen, [true; 7]);
    for kind in LedgerKind::ALL {
        assert!(events.iter().filter_map(WalletEvent::ledger).any(|line| line.kind == kind), "{kind:?}");
    }
    // What the snapshot holds: a standing maximum beside an attempt, an overdrawn purse and another currency.
    let wallet = a_wallet(VERSION);
    let purse = wallet.purse("DKP");
    let holds: Vec<_> = purse.holds().iter().map(|(lot, hold)| (lot, hold.standing, hold.attempts.len(), hold.amount())).collect();
    assert_eq!(holds, [(lot(3), amount(70), 1, amount(75))]);
    assert_eq!((purse.balance(), purse.held(), purse.available()), (signed(-115), amount(75), signed(-190)));
    assert_eq!(wallet.purse("EUR").balance(), signed(70_000));
    let permit = wallet.permit("EUR");
    assert_eq!((permit.terms().spend_limit, permit.spent(), permit.pledges().sum()), (Some(amount(80_000)), amount(900), amount(2000)));
}

#[test]
fn every_version_decodes() {
    for version in 1..=VERSION {
        decodes(version);
    }
}

fn decodes(version: u16) {
    let stored = |name: &str| stored(version, name);
    let file = stored("wallets-batch");
    let (hash, bytes) = file.split_at(32);
    let hash = Digest(hash.try_into().expect("32 bytes"));
    let sealed = Sealed { hash, bytes: bytes.into(), ..batch(version) };
    assert_eq!(RecordFormat.open(&sealed), Ok(entries(version)));
    assert_eq!(RecordFormat.decode_wallet(&stored("wallet")), Ok(a_wallet(version)));
    assert_eq!(RecordFormat.decode_wallet(&stored("wallet-empty")), Ok(Wallet::new(bidder())));
}

#[test]
fn this_version_is_written_as_it_was() {
    for (name, bytes) in files() {
        assert!(bytes == stored(VERSION, name), "{name} is encoded differently than before");
    }
}

#[test]
fn damage_is_noticed() {
    let wallet = stored(VERSION, "wallet");
    for place in 0..wallet.len() {
        let mut damaged = wallet.clone();
        damaged[place] ^= 0x20;
        let outcome = RecordFormat.decode_wallet(&damaged);
        assert!(matches!(outcome, Err(Damage::Corrupt(_))), "byte {place}: {outcome:?}");
    }
    assert!(matches!(RecordFormat.decode_lot(&wallet), Err(Damage::Corrupt(_))), "another kind");
    assert!(matches!(RecordFormat.decode_wallet(&stored(VERSION, "lot")), Err(Damage::Corrupt(_))), "another kind");
}
