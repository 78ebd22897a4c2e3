//! Records of every version stay readable: the files in `fixtures/` were written when each version
//! began, and must decode to the values here for ever. For the version that is written today,
//! encoding these values must give the very same bytes.
//!
//! The files are made once, when a version begins:
//! `GAVEL_WRITE_FIXTURES=1 cargo test -p gavel-persistence --test fixtures write_fixtures`.
//! It never overwrites: a changed file would mean that data in the field can't be read any more.

use gavel_domain::{
    act::{Act, Deed},
    currency::Currency,
    event::{BidPlaced, Change, LotEvent, Outcome, Recorded, Standing, Unsold},
    ids::{BidId, BidderId, Epoch, LotId, Seq, ShardId},
    lot::{
        Lot,
        access::{AccessRules, AliasKey, Registration},
        increments::{Increment, Increments},
        spec::{English, Funding, LotSpec, Rules, SoftClose, SoftCloseMode},
    },
    money::Amount,
    shard::{
        batch::{BatchId, Entry},
        keys::{KeyUse, Keys},
    },
    time::{Millis, Timestamp},
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

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn bidder(name: &str) -> BidderId {
    BidderId::try_from(name).expect("a bidder")
}

fn lot() -> LotId {
    LotId(Uuid::from_u128(0x0192_f0c1_2222_7abc_8def_0123_4567_89ab))
}

fn spec() -> LotSpec {
    let rows = [(0, 5), (100, 10), (1_000_000, 50_000)];
    let rows: Vec<_> = rows.into_iter().map(|(from, step)| Increment { from: amount(from), step: amount(step) }).collect();
    LotSpec {
        title: "Schwert der Tausend Wahrheiten ⚔".into(),
        description: "One line.\nAnother.".into(),
        currency: Currency { code: "EUR".into(), scale: 2 },
        funding: Funding::Wallet,
        rules: Rules::English(English {
            start_price: amount(100),
            reserve_price: Some(amount(5000)),
            buy_now_price: Some(amount(900_000)),
            proxy: true,
            increments: Increments::new(rows).expect("a table"),
        }),
        draft: false,
        opens_at: Some(at(1_800_000_000_000)),
        closes_at: Some(at(1_800_000_600_000)),
        soft_close: Some(SoftClose {
            window_ms: Millis(30_000),
            mode: SoftCloseMode::Reset,
            by_ms: Millis(60_000),
            max_extensions: Some(9),
            hard_close_at: Some(at(1_800_009_000_000)),
        }),
    }
}

/// The same with everything optional left out, and the other variants.
fn plain_spec() -> LotSpec {
    let increments = Increments::new(vec![Increment { from: amount(0), step: amount(1) }]).expect("a table");
    LotSpec {
        description: "".into(),
        funding: Funding::Open,
        rules: Rules::English(English { start_price: amount(0), reserve_price: None, buy_now_price: None, proxy: false, increments }),
        draft: true,
        opens_at: None,
        closes_at: None,
        soft_close: Some(SoftClose {
            window_ms: Millis(1),
            mode: SoftCloseMode::Add,
            by_ms: Millis(2),
            max_extensions: None,
            hard_close_at: None,
        }),
        ..spec()
    }
}

fn bid(number: u128, full: bool) -> BidPlaced {
    BidPlaced {
        bidder: bidder("ann.b_c-9"),
        bid_id: BidId(Uuid::from_u128(number)),
        amount: amount(6000),
        max: Amount::MAX,
        price: amount(6000),
        leader: bidder(if full { "ben" } else { "ann.b_c-9" }),
        outbid: full.then(|| Standing { bidder: bidder("ben"), max: amount(5999) }),
        bid_count: 300,
        minimum_bid: amount(6100),
        reserve_met: full.then_some(true),
        deadline: full.then(|| at(1_800_000_600_000)),
        closes_at: full.then(|| at(1_800_000_660_000)),
    }
}

/// Every variant at least once, with its options given and left out. [`covers`] says which exist.
fn events() -> Vec<LotEvent> {
    let closes_at = at(1_800_000_600_000);
    vec![
        LotEvent::Created(Box::new(spec())),
        LotEvent::Created(Box::new(plain_spec())),
        LotEvent::Opened { closes_at: Some(closes_at) },
        LotEvent::Opened { closes_at: None },
        LotEvent::BidPlaced(bid(1, true)),
        LotEvent::BidPlaced(bid(u128::MAX, false)),
        LotEvent::Extended { closes_at, extensions: 70_000 },
        LotEvent::Paused { remaining: Some(Millis(12_345)), reason: Some("a fire drill".into()) },
        LotEvent::Paused { remaining: None, reason: None },
        LotEvent::Resumed { closes_at: Some(closes_at) },
        LotEvent::Resumed { closes_at: None },
        LotEvent::Changed(Box::new(Change {
            title: Some("New".into()),
            description: Some("Newer".into()),
            currency: Some(Currency { code: "DKP".into(), scale: 0 }),
            rules: Some(plain_spec().rules),
            opens_at: Some(None),
            closes_at: Some(Some(closes_at)),
            soft_close: Some(spec().soft_close),
            price: Some(amount(7)),
            minimum_bid: amount(8),
            reserve_met: Some(false),
        })),
        LotEvent::Changed(Box::default()),
        LotEvent::Closed(Outcome::Sold { winner: bidder("ben"), price: amount(5000) }),
        LotEvent::Closed(Outcome::Unsold { reason: Unsold::NoBids }),
        LotEvent::Closed(Outcome::Unsold { reason: Unsold::ReserveNotMet }),
        LotEvent::Cancelled { reason: Some("broken".into()) },
        LotEvent::Cancelled { reason: None },
        LotEvent::Settled,
    ]
}

/// What came with version 2.
fn new_events() -> Vec<LotEvent> {
    let with = |registration, aliases| LotEvent::CreatedWith(Box::new((plain_spec(), AccessRules { registration, aliases })));
    vec![
        with(Registration::Lot, Some(AliasKey([0x2a; 16]))),
        with(Registration::Currency, None),
        LotEvent::Registered(vec![bidder("ada"), bidder("ben")]),
        LotEvent::Registered(vec![]),
        LotEvent::Unregistered(vec![bidder("ben")]),
    ]
}

fn events_of(version: u16) -> Vec<LotEvent> {
    if version == 1 { events() } else { events().into_iter().chain(new_events()).collect() }
}

/// Does not compile when a variant is added: give it a place in the next version's fixture.
fn covers(event: &LotEvent) -> usize {
    match event {
        LotEvent::Created(_) => 0,
        LotEvent::Opened { .. } => 1,
        LotEvent::BidPlaced(_) => 2,
        LotEvent::Extended { .. } => 3,
        LotEvent::Paused { .. } => 4,
        LotEvent::Resumed { .. } => 5,
        LotEvent::Changed(_) => 6,
        LotEvent::Closed(_) => 7,
        LotEvent::Cancelled { .. } => 8,
        LotEvent::Settled => 9,
        LotEvent::CreatedWith(_) => 10,
        LotEvent::Registered(_) => 11,
        LotEvent::Unregistered(_) => 12,
    }
}

fn recorded(seq: usize, event: LotEvent) -> Arc<Recorded> {
    let seq = u64::try_from(seq).expect("small");
    let millis = i64::try_from(seq).expect("small") - 1;
    Arc::new(Recorded { lot: lot(), epoch: Epoch(1_800_000_000), seq: Seq(seq), at: at(1_800_000_000_000 * millis), event })
}

/// A lot that has seen one of everything that fits together.
fn a_lot() -> Lot {
    let mut seen = [false; 13];
    let mut events = events().into_iter().filter(|event| !std::mem::replace(&mut seen[covers(event)], true)).enumerate();
    let (seq, created) = events.next().expect("the creation");
    let mut lot = Lot::from_creation(&recorded(seq, created)).expect("a creation");
    for (seq, event) in events {
        lot.apply(&recorded(seq, event));
    }
    lot
}

/// One that keeps some bidders out.
fn a_guarded_lot() -> Lot {
    let mut events =
        new_events().into_iter().filter(|event| !matches!(event, LotEvent::CreatedWith(with) if with.1.aliases.is_none())).enumerate();
    let (seq, created) = events.next().expect("the creation");
    let mut lot = Lot::from_creation(&recorded(seq, created)).expect("a creation");
    for (seq, event) in events {
        lot.apply(&recorded(seq, event));
    }
    lot
}

fn key_use(scope: &str) -> Arc<KeyUse> {
    Arc::new(KeyUse { scope: scope.into(), body: [0xa5; 32], at: at(1_800_000_000_500), answer: a_lot().view() })
}

fn keys() -> Keys {
    let mut keys = Keys::default();
    keys.apply(&key_use("b POST /lots 2"));
    keys.apply(&key_use("a POST /lots 1"));
    keys
}

fn entries(version: u16) -> Vec<Entry> {
    let lots = events_of(version).into_iter().enumerate().map(|(seq, event)| Entry::Lot(recorded(seq, event)));
    [
        Entry::EpochOpened { owner: gavel_domain::ids::OwnerId(uuid::Uuid::from_u128(0xfeed)), at: at(-1) },
        Entry::Key(key_use("a POST /lots 1")),
    ]
    .into_iter()
    .chain(lots)
    .collect()
}

/// Every kind of act, with its options given and left out. [`covers_act`] says which exist. They came with
/// version 2, in a batch of their own.
fn acts() -> Vec<Entry> {
    let change = events().into_iter().filter_map(|event| if let LotEvent::Changed(change) = event { Some(change) } else { None });
    let deeds = [
        Deed::Create { title: "Schwert ⚔".into() },
        Deed::Open,
        Deed::Pause { reason: Some("a fire drill".into()) },
        Deed::Pause { reason: None },
        Deed::Resume,
        Deed::Extend { by: Millis(70_000), closes_at: at(1_800_000_600_000) },
        Deed::Cancel { reason: Some("broken".into()) },
        Deed::Cancel { reason: None },
        Deed::Close,
        Deed::Register(vec![bidder("ada"), bidder("ben")]),
        Deed::Unregister(vec![bidder("ben")]),
    ];
    let act = |(seq, deed): (u64, Deed)| {
        Entry::Act(Arc::new(Act {
            by: "house".into(),
            at: at(1_800_000_000_000),
            lot: lot(),
            epoch: Epoch(1_800_000_000),
            seq: Seq(seq),
            deed,
        }))
    };
    (0..).zip(deeds.into_iter().chain(change.map(Deed::Change))).map(act).collect()
}

/// Does not compile when a variant is added: give it a place in a fixture.
fn covers_act(deed: &Deed) -> usize {
    match deed {
        Deed::Create { .. } => 0,
        Deed::Open => 1,
        Deed::Pause { .. } => 2,
        Deed::Resume => 3,
        Deed::Extend { .. } => 4,
        Deed::Cancel { .. } => 5,
        Deed::Close => 6,
        Deed::Change(_) => 7,
        Deed::Register(_) => 8,
        Deed::Unregister(_) => 9,
    }
}

fn batch_of_acts() -> Sealed {
    RecordFormat.seal(ShardId(63), BatchId { epoch: Epoch(1_800_000_000), number: 3 }, Digest([0x22; 32]), &acts())
}

fn batch(version: u16) -> Sealed {
    let id = BatchId { epoch: Epoch(1_800_000_000), number: 70_000 };
    RecordFormat.seal(ShardId(63), id, Digest([0x11; 32]), &entries(version))
}

/// A batch is stored with its digest; the fixture is both.
fn batch_file(batch: &Sealed) -> Vec<u8> {
    [batch.hash.0.as_slice(), &batch.bytes].concat()
}

fn all_events(version: u16) -> Vec<Arc<Recorded>> {
    events_of(version).into_iter().enumerate().map(|(seq, event)| recorded(seq, event)).collect()
}

fn event_file(event: &LotEvent, seq: usize) -> String {
    format!(
        "event-{seq:02}-{}",
        [
            "created",
            "opened",
            "bid",
            "extended",
            "paused",
            "resumed",
            "changed",
            "closed",
            "cancelled",
            "settled",
            "created-with",
            "registered",
            "unregistered"
        ][covers(event)]
    )
}

fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        ("batch".to_owned(), batch_file(&batch(VERSION))),
        ("batch-acts".to_owned(), batch_file(&batch_of_acts())),
        ("lot".to_owned(), RecordFormat.encode_lot(&a_lot())),
        ("keys".to_owned(), RecordFormat.encode_keys(&keys())),
        ("view".to_owned(), RecordFormat.encode_view(&a_lot().view())),
        ("lot-guarded".to_owned(), RecordFormat.encode_lot(&a_guarded_lot())),
        ("view-guarded".to_owned(), RecordFormat.encode_view(&a_guarded_lot().view())),
    ];
    for (seq, event) in all_events(VERSION).iter().enumerate() {
        files.push((event_file(&event.event, seq), RecordFormat.encode_event(event)));
    }
    files
}

#[test]
fn write_fixtures() {
    if std::env::var_os("GAVEL_WRITE_FIXTURES").is_none() {
        return;
    }
    for (name, bytes) in files() {
        // A fixture is never overwritten.
        let Ok(mut file) = std::fs::File::create_new(fixture(VERSION, &name)) else { continue };
        std::io::Write::write_all(&mut file, &bytes).expect("written");
    }
}

#[test]
fn every_variant_is_in_a_fixture() {
    let mut seen = [false; 13];
    events_of(VERSION).iter().for_each(|event| seen[covers(event)] = true);
    assert_eq!(seen, [true; 13]);
    let mut seen = [false; 10];
    for entry in acts() {
        let Entry::Act(act) = entry else { panic!("an act") };
        seen[covers_act(&act.deed)] = true;
    }
    assert_eq!(seen, [true; 10]);
}

#[test]
fn every_version_decodes() {
    for version in 1..=VERSION {
        decodes(version);
    }
    assert_eq!(RecordFormat.open(&as_stored(&stored(2, "batch-acts"), batch_of_acts())), Ok(acts()));
    assert_eq!(RecordFormat.decode_lot(&stored(2, "lot-guarded")), Ok(a_guarded_lot()));
    assert_eq!(RecordFormat.decode_view(&stored(2, "view-guarded")), Ok(a_guarded_lot().view()));
}

/// A batch's bytes and digest from a file, in their place.
fn as_stored(file: &[u8], place: Sealed) -> Sealed {
    let (hash, bytes) = file.split_at(32);
    Sealed { hash: Digest(hash.try_into().expect("32 bytes")), bytes: bytes.into(), ..place }
}

fn decodes(version: u16) {
    let stored = |name: &str| stored(version, name);
    assert_eq!(RecordFormat.open(&as_stored(&stored("batch"), batch(version))), Ok(entries(version)));
    assert_eq!(RecordFormat.decode_lot(&stored("lot")), Ok(a_lot()));
    assert_eq!(RecordFormat.decode_keys(&stored("keys")), Ok(keys()));
    assert_eq!(RecordFormat.decode_view(&stored("view")), Ok(a_lot().view()));
    for (seq, event) in all_events(version).iter().enumerate() {
        let stored = stored(&event_file(&event.event, seq));
        assert_eq!(RecordFormat.decode_event(&stored).as_ref(), Ok(event.as_ref()));
    }
}

#[test]
fn this_version_is_written_as_it_was() {
    for (name, bytes) in files() {
        assert!(bytes == stored(VERSION, &name), "{name} is encoded differently than before");
    }
}

/// Every single changed byte is noticed, wherever it is.
#[test]
fn damage_is_noticed() {
    let view = stored(VERSION, "view");
    for place in 0..view.len() {
        let mut damaged = view.clone();
        damaged[place] ^= 0x20;
        let outcome = RecordFormat.decode_view(&damaged);
        assert!(matches!(outcome, Err(Damage::Corrupt(_))), "byte {place}: {outcome:?}");
    }
    for length in 0..view.len() {
        assert!(matches!(RecordFormat.decode_view(&view[..length]), Err(Damage::Corrupt(_))));
    }
    assert!(matches!(RecordFormat.decode_lot(&view), Err(Damage::Corrupt(_))), "another kind");
}

#[test]
fn a_batch_is_bound_to_its_place() {
    let good = batch(VERSION);
    let changed = [
        Sealed { shard: ShardId(62), ..good.clone() },
        Sealed { id: good.id.next(), ..good.clone() },
        Sealed { previous: Digest([0x12; 32]), ..good.clone() },
        Sealed { hash: Digest([0; 32]), ..good.clone() },
        Sealed { bytes: RecordFormat.seal(good.shard, good.id, good.previous, &entries(VERSION)[1..]).bytes, ..good.clone() },
    ];
    for sealed in changed {
        assert!(matches!(RecordFormat.open(&sealed), Err(Damage::Corrupt(_))));
    }
    assert_eq!(RecordFormat.open(&good), Ok(entries(VERSION)));
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let mut newer = stored(VERSION, "view");
    newer[6..8].copy_from_slice(&(VERSION + 1).to_le_bytes());
    let sum = {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&newer[..12]);
        sum.update(&newer[16..]);
        sum.finalize()
    };
    newer[12..16].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(RecordFormat.decode_view(&newer), Err(Damage::Newer { found: VERSION + 1, known: VERSION }));
}
