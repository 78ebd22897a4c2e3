//! The engine's rules against an independent reading of PROTOCOL ([`book`]), on random evenings.
//!
//! Every outcome, price, leader, minimum, closing time and status must agree after every command.
//! Beside it, what must be true of any history: events are numbered without a gap, folding them gives
//! the same view, replaying them the same lot, the price never falls, and deciding changes nothing.
//!
//! `GAVEL_SEED=17 cargo test -p gavel-domain --test oracle` runs one seed again;
//! `GAVEL_SEEDS=5000` runs that many instead of the usual.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "oracle/book.rs"]
mod book;
#[path = "oracle/evening.rs"]
mod evening;
mod fixtures;

use book::{Answer, Asked, Bid, Book, Phase, Slip, Terms};
use evening::{Turn, evening};
use fixtures::{amount, at, bid_id, bidder, english, lot_spec};
use gavel_domain::{
    command::{Command, PlaceBid},
    event::{LotEvent, Outcome, Recorded, Unsold},
    ids::{BidderId, Epoch, LotId, Seq},
    lot::{
        Decision, Lot, Status,
        spec::{LotSpec, Rules, SoftClose, SoftCloseMode},
        view::LotView,
    },
    money::Amount,
    receipt::Receipt,
    reject::Reject,
    time::{Millis, Timestamp},
};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

type Counts = BTreeMap<String, u32>;

const SEEDS: u64 = 24;
const EVENINGS_A_SEED: u32 = 40;

#[test]
fn the_engine_agrees_with_the_book() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("an integer"));
    if let Some(seed) = number("GAVEL_SEED") {
        run(seed, &RefCell::default());
        return;
    }
    let counts = RefCell::default();
    (0..number("GAVEL_SEEDS").unwrap_or(SEEDS)).for_each(|seed| run(seed, &counts));
    let counts = counts.into_inner();
    println!("{counts:#?}");
    let kinds = "Accepted Again Done Nothing lot_not_open lot_paused lot_closed bid_too_low max_not_raised already_leading bid_id_conflict \
        invalid conflict Sold NoBids ReserveNotMet Cancelled Open Paused extended bought";
    for kind in kinds.split_whitespace() {
        assert!(counts.get(kind).is_some_and(|count| *count >= 5), "hardly any {kind}: {counts:?}");
    }
}

fn run(seed: u64, counts: &RefCell<Counts>) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: EVENINGS_A_SEED, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    match runner.run(&evening(), |(terms, turns)| play(&terms, &turns, counts)) {
        Ok(()) => {}
        Err(TestError::Fail(why, (terms, turns))) => panic!("GAVEL_SEED={seed}: {why}\n{terms:#?}\n{turns:#?}"),
        Err(TestError::Abort(why)) => panic!("GAVEL_SEED={seed}: {why}"),
    }
}

/// One lot from its creation on.
fn play(terms: &Terms, turns: &[Turn], counts: &RefCell<Counts>) -> Result<(), TestCaseError> {
    let count = |kind: &str| *counts.borrow_mut().entry(kind.into()).or_default() += 1;
    let Some(mut table) = Table::set(terms) else { return Ok(()) };
    let mut now = 0;
    for turn in turns {
        now = turn.when.of(&table.book, now);
        while turn.awake && table.book.deadline().is_some_and(|deadline| deadline <= now) {
            table.ask(Asked::Tick, now)?;
        }
        let Some(asked) = turn.act.of(&table.book, &table.sent, now) else { continue };
        if matches!(&asked, Asked::Change(terms) if spec(terms).is_none()) {
            continue;
        }
        let extensions = table.lot.view().extensions;
        let answer = table.ask(asked, now)?;
        let shown = answer.split([' ', '(', '{']).next().unwrap();
        count(shown);
        let view = table.lot.view();
        if view.extensions > extensions {
            count("extended");
        }
        if shown == "Accepted" && view.status == Status::Closed {
            count("bought");
        }
    }
    count(format!("{:?}", table.book.clock().phase).split('(').next().unwrap());
    table.replays()
}

/// Engine and book side by side.
struct Table {
    lot: Lot,
    book: Book,
    view: LotView,
    replica: Lot,
    history: Vec<Arc<Recorded>>,
    sent: Vec<Bid>,
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, book: T, engine: T) -> Result<(), TestCaseError> {
    if book == engine { Ok(()) } else { Err(TestCaseError::fail(format!("{what}: the book says {book:?}, the engine {engine:?}"))) }
}

impl Table {
    /// None where the terms make no sense.
    fn set(terms: &Terms) -> Option<Self> {
        let spec = spec(terms)?;
        spec.check(at(0)).ok()?;
        let mut events = Lot::creation(spec, Default::default(), at(0)).into_iter();
        let lot = LotId(uuid::Uuid::nil());
        let created = Arc::new(Recorded { lot, epoch: Epoch(1), seq: Seq(1), at: at(0), event: events.next()? });
        let mut lot = Lot::from_creation(&created)?;
        let mut view = LotView::from_creation(&created)?;
        let mut history = vec![created];
        history.extend(lot.advance(Epoch(1), at(0), events));
        history[1..].iter().for_each(|recorded| view.fold(recorded));
        Some(Self { replica: lot.clone(), book: Book::new(terms.clone(), 0), view, lot, history, sent: vec![] })
    }

    fn ask(&mut self, asked: Asked, now: i64) -> Result<String, TestCaseError> {
        if let Asked::Bid(bid) = asked {
            self.sent.push(bid);
        }
        let before = self.lot.clone();
        let command = command(&asked);
        let decision = self.lot.decide(&command, at(now));
        same("deciding changes nothing", &before, &self.lot)?;
        same("deciding again", &decision, &self.lot.decide(&command, at(now)))?;
        let engine = self.answer(decision)?;
        let book = self.book.ask(asked.clone(), now);
        same(&format!("{asked:?} at {now}"), &book, &engine)?;
        self.compare()?;
        same("the price never falls", before.view().price.max(self.lot.view().price), self.lot.view().price)?;
        Ok(match engine {
            Answer::Refused(why) => why,
            other => format!("{other:?}"),
        })
    }

    fn answer(&mut self, decision: Result<Decision, Reject>) -> Result<Answer, TestCaseError> {
        let (when, events) = match decision {
            Err(reject) => return Ok(Answer::Refused(refused(&reject))),
            Ok(Decision::Already(receipt)) => return Ok(Answer::Again(slip(&receipt))),
            Ok(Decision::Events { events, .. }) if events.is_empty() => return Ok(Answer::Nothing),
            Ok(Decision::Events { at, events }) => (at, events),
        };
        let epoch = Epoch(1 + self.history.len() as u64 / 10);
        let recorded = self.lot.advance(epoch, when, events);
        for recorded in &recorded {
            let last = self.history.last().unwrap();
            same("seq without a gap", last.seq.next(), recorded.seq)?;
            same("time never runs back", last.at.max(recorded.at), recorded.at)?;
            self.view.fold(recorded);
            self.replica.apply(recorded);
            self.history.push(Arc::clone(recorded));
        }
        Ok(match recorded[0].receipt() {
            Some(receipt) => Answer::Accepted(slip(&receipt)),
            None => Answer::Done { at: when.as_millis() },
        })
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let (view, clock) = (self.lot.view(), self.book.clock());
        same("folding gives the view", &view, &self.view)?;
        same("applying gives the lot", &self.lot, &self.replica)?;
        same("price", self.book.price(), view.price.map(Amount::get))?;
        same("leader", self.book.leader().map(name), view.leader.clone())?;
        same("minimum", self.book.minimum(), view.minimum_bid.get())?;
        same("reserve_met", self.book.reserve_met(), view.reserve_met)?;
        same("bid_count", self.book.bids() as u64, view.bid_count)?;
        same("closes_at", clock.closes_at, view.closes_at.map(Timestamp::as_millis))?;
        same("the spec's closes_at", clock.closes_at, view.spec.closes_at.map(Timestamp::as_millis))?;
        same("left", clock.left, view.remaining.map(|left| left.0 as i64))?;
        same("extensions", clock.extensions, view.extensions)?;
        same("phase", clock.phase, phase(&view))?;
        same("deadline", self.book.deadline(), self.lot.deadline().map(Timestamp::as_millis))?;
        for who in 0..4 {
            let own = self.lot.own(&name(who)).map(|own| (own.leading, own.max.get()));
            same("own", self.book.own(who), own)?;
        }
        Ok(())
    }

    fn replays(&self) -> Result<(), TestCaseError> {
        let mut lot = Lot::from_creation(&self.history[0]).unwrap();
        self.history[1..].iter().for_each(|recorded| lot.apply(recorded));
        same("replay", &self.lot, &lot)?;
        let over = self.history.iter().position(|recorded| matches!(recorded.event, LotEvent::Closed(_) | LotEvent::Cancelled { .. }));
        let after = self.history.iter().skip(over.map_or(usize::MAX, |over| over + 1));
        let texts_only = after.into_iter().all(|recorded| matches!(&recorded.event, LotEvent::Changed(change) if change.rules.is_none()));
        same("only texts change after the end", true, texts_only)
    }
}

fn name(who: u8) -> BidderId {
    bidder(["ann", "ben", "cleo", "dan"][usize::from(who)])
}

fn slip(receipt: &Receipt) -> Slip {
    Slip {
        price: receipt.price.get(),
        leading: receipt.leading,
        received_at: receipt.received_at.as_millis(),
        deadline: receipt.deadline.map(Timestamp::as_millis),
        closes_at: receipt.closes_at.map(Timestamp::as_millis),
    }
}

fn refused(reject: &Reject) -> String {
    match reject {
        Reject::LotNotOpen => "lot_not_open".into(),
        Reject::LotPaused => "lot_paused".into(),
        Reject::LotClosed => "lot_closed".into(),
        Reject::BidTooLow { minimum } => format!("bid_too_low {minimum}"),
        Reject::MaxNotRaised { max } => format!("max_not_raised {max}"),
        Reject::AlreadyLeading => "already_leading".into(),
        Reject::BidIdConflict => "bid_id_conflict".into(),
        Reject::InvalidBid(_) => "invalid".into(),
        Reject::Conflict(_) => "conflict".into(),
        Reject::InsufficientFunds { .. } | Reject::LimitExceeded(_) | Reject::NotRegistered => panic!("no wallet is asked here"),
    }
}

fn phase(view: &LotView) -> Phase {
    match (view.status, &view.outcome) {
        (Status::Draft, None) => Phase::Draft,
        (Status::Scheduled, None) => Phase::Scheduled,
        (Status::Open, None) => Phase::Open,
        (Status::Paused, None) => Phase::Paused,
        (Status::Cancelled, None) => Phase::Cancelled,
        (Status::Closed, Some(Outcome::Sold { winner, price })) => {
            Phase::Sold((0..4).find(|who| name(*who) == *winner).unwrap(), price.get())
        }
        (Status::Closed, Some(Outcome::Unsold { reason: Unsold::NoBids })) => Phase::NoBids,
        (Status::Closed, Some(Outcome::Unsold { reason: Unsold::ReserveNotMet })) => Phase::ReserveNotMet,
        (status, outcome) => panic!("{status:?} with {outcome:?}"),
    }
}

fn command(asked: &Asked) -> Command {
    match asked {
        Asked::Bid(bid) => Command::Bid(PlaceBid {
            bidder: name(bid.bidder),
            bid_id: bid_id(bid.id.into()),
            amount: amount(bid.amount),
            max: bid.max.map(amount),
        }),
        Asked::Open => Command::Open,
        Asked::Pause => Command::Pause { reason: None },
        Asked::Resume => Command::Resume,
        Asked::Extend(by) => Command::Extend { by: Millis(*by as u64) },
        Asked::Cancel => Command::Cancel { reason: None },
        Asked::Close => Command::Close,
        Asked::Change(terms) => Command::Change(Box::new(spec(terms).unwrap())),
        Asked::Tick => Command::Tick,
    }
}

/// None where the terms make no sense by themselves.
fn spec(terms: &Terms) -> Option<LotSpec> {
    let mut spec = lot_spec(english(terms.start, &terms.steps), terms.closes_at.map(at));
    let Rules::English(rules) = &mut spec.rules;
    rules.reserve_price = terms.reserve.map(amount);
    rules.buy_now_price = terms.buy_now.map(amount);
    rules.proxy = terms.proxy;
    spec.title = format!("title {}", terms.title).into();
    (spec.draft, spec.opens_at) = (terms.draft, terms.opens_at.map(at));
    spec.soft_close = terms.soft.map(|soft| SoftClose {
        window_ms: Millis(soft.window as u64),
        mode: if soft.add { SoftCloseMode::Add } else { SoftCloseMode::Reset },
        by_ms: Millis(soft.by as u64),
        max_extensions: soft.most,
        hard_close_at: soft.hard.map(at),
    });
    spec.check_timeless().is_ok().then_some(spec)
}
