//! Runs the tables in `scenarios/*.txt`: one lot after another, command by command.
//!
//! ```text
//! # A comment. A case starts with its lot; what is left out is as in `Case::new`.
//! lot start=100 inc=0:10,500:50 reserve=- buy=- proxy=on opens=- closes=60s draft=off soft=reset/30s/10s max_ext=2 hard=90s register=lot
//! 1s  alice 100        -> leads           | 100 alice 60s open min=110
//! 2s  bob 110..300 #b  -> leads           | 110
//! 3s  alice 115        -> bid_too_low 120 | . bob . . count=2
//! ```
//! A line is `time command -> outcome | price leader closes_at status field=value…`; `.` stands for
//! "not looked at", `-` for none, `top` for the highest amount. Commands: `bidder amount[..max] [#bid_id]`,
//! `open`, `pause`, `resume`, `extend 5s`, `cancel`, `close`, `tick`, `register bidder…`, `unregister bidder`, `change key=value…` (keys as in a
//! lot line, and `title`), `own bidder`, and `wrong key=value…` for a spec that must be refused.
//! Whatever the line says, the runner also checks that a decision changes nothing, that events are
//! numbered without a gap and fold to the same view, and what must be true of every receipt.

#![allow(clippy::unwrap_used, reason = "a scenario that does not parse is a failure")]

mod fixtures;

use fixtures::{amount, at, bid_id, bidder, english, lot_spec};
use gavel_domain::{
    command::{Command, PlaceBid},
    event::{LotEvent, Outcome, Recorded, Unsold},
    ids::{BidId, BidderId, Epoch, LotId, Position, Seq},
    lot::{
        Decision, Lot, Status,
        access::{AccessRules, Registration},
        spec::{LotSpec, Rules, SoftClose, SoftCloseMode},
        view::LotView,
    },
    money::Amount,
    receipt::Receipt,
    reject::{InvalidBid, Reject},
    time::{Millis, Timestamp},
};
use std::{collections::BTreeMap, fmt::Write as _, path::Path, sync::Arc};

const EPOCH: Epoch = Epoch(7);

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { check(concat!(stringify!($name), ".txt")); })*
        const FILES: &[&str] = &[$(concat!(stringify!($name), ".txt")),*];
    };
}
scenarios!(
    price,
    proxy,
    reserve,
    buy_now,
    single_bids,
    soft_close,
    lifecycle,
    deadlines,
    bid_ids,
    limits,
    changes,
    ebay,
    specs,
    registration
);

#[test]
fn every_file_is_run() {
    let mut files: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let mut named: Vec<_> = FILES.iter().map(ToString::to_string).collect();
    files.sort();
    named.sort();
    assert_eq!(files, named);
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// Runs a file to its end; of each case the first line that fails is reported.
fn check(file: &str) {
    let text = std::fs::read_to_string(folder().join(file)).unwrap();
    let (mut case, mut failures, mut lines) = (None::<Case>, String::new(), 0);
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split_once("# ").map_or(line, |(line, _comment)| line).trim();
        if line.is_empty() || line == "#" {
            continue;
        }
        if let Some(keys) = line.strip_prefix("lot") {
            case = Some(Case::new(keys));
            continue;
        }
        let running = case.as_mut().unwrap_or_else(|| panic!("tests/scenarios/{file}:{number}: no lot yet"));
        lines += 1;
        if running.failed {
            continue;
        }
        if let Err(Mismatch { expected, got }) = running.run(line) {
            running.failed = true;
            writeln!(failures, "tests/scenarios/{file}:{number}: {line}\n    expected {expected}\n    got      {got}").unwrap();
        }
    }
    assert!(lines > 0, "{file} says nothing");
    assert!(failures.is_empty(), "\n{failures}");
}

struct Mismatch {
    expected: String,
    got: String,
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, got: T) -> Result<(), Mismatch> {
    let say = |value: &T| format!("{what}: {value:?}");
    if expected == got { Ok(()) } else { Err(Mismatch { expected: say(&expected), got: say(&got) }) }
}

struct Case {
    lot: Lot,
    view: LotView,
    receipts: BTreeMap<(BidderId, BidId), Receipt>,
    failed: bool,
}

impl Case {
    fn new(keys: &str) -> Self {
        let mut spec = lot_spec(english(100, &[(0, 10)]), Some(at(60_000)));
        let (access, keys): (Vec<&str>, Vec<&str>) = keys.split_whitespace().partition(|key| key.starts_with("register="));
        let registration = match access.first().map(|key| &key["register=".len()..]) {
            None => Registration::None,
            Some("lot") => Registration::Lot,
            Some(other) => panic!("no registration {other}"),
        };
        let access = AccessRules { registration, aliases: None };
        let keys = keys.join(" ");
        set_keys(&mut spec, &keys);
        spec.check(at(0)).unwrap_or_else(|error| panic!("lot{keys}: {error}"));
        let mut events = Lot::creation(spec, access, at(0)).into_iter();
        let id = LotId(uuid::Uuid::nil());
        let created = Arc::new(Recorded { lot: id, epoch: EPOCH, seq: Seq(1), at: at(0), event: events.next().unwrap() });
        let mut lot = Lot::from_creation(&created).unwrap();
        lot.advance(EPOCH, at(0), events);
        Self { view: lot.view(), lot, receipts: BTreeMap::new(), failed: false }
    }

    fn run(&mut self, line: &str) -> Result<(), Mismatch> {
        let (asked, expected) = line.split_once("->").unwrap_or_else(|| panic!("no -> in: {line}"));
        let (outcome, state) = expected.split_once('|').map_or((expected, ""), |(outcome, state)| (outcome, state));
        let (now, command) = asked.trim().split_once(char::is_whitespace).unwrap();
        let now = time(now).unwrap();
        let (verb, rest) = command.trim().split_once(char::is_whitespace).unwrap_or((command.trim(), ""));
        let got = match verb {
            "own" => self.lot.own(&bidder(rest.trim())).map_or("-".into(), |own| format!("{} {}", leads(own.leading), own.max)),
            "wrong" => {
                let mut spec = self.lot.spec().clone();
                set_keys(&mut spec, rest);
                spec.check(now).map_or_else(|error| error.to_string(), |()| "fine".into())
            }
            _ => self.decide(&self.command(verb, rest), now)?,
        };
        same("outcome", outcome.trim(), got.as_str())?;
        self.check_state(state)
    }

    fn command(&self, verb: &str, rest: &str) -> Command {
        match verb {
            "open" => Command::Open,
            "pause" => Command::Pause { reason: Some("tea".into()) },
            "resume" => Command::Resume,
            "extend" => Command::Extend { by: span(rest.trim()) },
            "cancel" => Command::Cancel { reason: None },
            "close" => Command::Close,
            "tick" => Command::Tick,
            "register" => Command::Register(rest.split_whitespace().map(bidder).collect()),
            "unregister" => Command::Unregister(bidder(rest.trim())),
            "change" => {
                let mut spec = self.lot.spec().clone();
                set_keys(&mut spec, rest);
                spec.check_timeless().unwrap_or_else(|error| panic!("change {rest}: {error}"));
                Command::Change(Box::new(spec))
            }
            name => Command::Bid(self.bid(name, rest)),
        }
    }

    /// Without `#name`, every bid has an id of its own.
    fn bid(&self, name: &str, rest: &str) -> PlaceBid {
        let (sums, label) = rest.split_once('#').unwrap_or((rest, ""));
        let id = label.bytes().fold(0, |id, byte| id << 8 | u128::from(byte));
        let unique = (1 << 100) + u128::from(self.lot.position().seq.0);
        let (sum, max) = sums.split_once("..").map_or((sums, None), |(sum, max)| (sum, money(max)));
        PlaceBid { bidder: bidder(name), bid_id: bid_id(if id == 0 { unique } else { id }), amount: money(sum).unwrap(), max }
    }

    fn decide(&mut self, command: &Command, now: Timestamp) -> Result<String, Mismatch> {
        let before = self.lot.clone();
        let decision = self.lot.decide(command, now);
        same("the lot after decide alone", &before, &self.lot)?;
        let (when, events) = match decision {
            Err(reject) => return Ok(refused(&reject)),
            Ok(Decision::Already(receipt)) => {
                let first = self.receipts.get(&(self.bidder_of(command), receipt.bid_id)).cloned();
                same("the receipt again", first, Some(*receipt))?;
                return Ok("again".into());
            }
            Ok(Decision::Events { events, .. }) if events.is_empty() => return Ok("nothing".into()),
            Ok(Decision::Events { at, events }) => (at, events),
        };
        let recorded = self.lot.advance(EPOCH, when, events);
        for (recorded, number) in recorded.iter().zip(before.position().seq.0 + 1..) {
            same("seq", number, recorded.seq.0)?;
            self.view.fold(recorded);
        }
        same("folded view", &self.lot.view(), &self.view)?;
        same("position", Position { epoch: EPOCH, seq: recorded.last().unwrap().seq }, self.lot.position())?;
        self.happened(&before, &recorded, now)
    }

    fn bidder_of(&self, command: &Command) -> BidderId {
        let Command::Bid(bid) = command else { panic!("only a bid has a receipt") };
        bid.bidder.clone()
    }

    fn happened(&mut self, before: &Lot, recorded: &[Arc<Recorded>], now: Timestamp) -> Result<String, Mismatch> {
        let LotEvent::BidPlaced(bid) = &recorded[0].event else {
            return Ok(if recorded[0].at == now { "done".into() } else { format!("done @{}", clock(Some(recorded[0].at))) });
        };
        let receipt = recorded[0].receipt().unwrap();
        same("receipt's deadline", before.closes_at(), receipt.deadline)?;
        same("receipt's closes_at", self.lot.closes_at(), receipt.closes_at)?;
        same("receipt's price", self.view.price, Some(receipt.price))?;
        same("receipt's max", bid.max, receipt.max)?;
        same("received_at", now, receipt.received_at)?;
        same("leading", self.view.leader.as_ref() == Some(&bid.bidder), receipt.leading)?;
        same("public amount", receipt.amount.min(receipt.price), bid.public_amount())?;
        let led = before.view().leader.filter(|led| Some(led) != self.view.leader.as_ref());
        same("outbid", led, bid.outbid.clone().map(|standing| standing.bidder))?;
        same("price fell", before.view().price.max(self.view.price), self.view.price)?;
        self.receipts.insert((bid.bidder.clone(), bid.bid_id), receipt.clone());
        let bought = recorded.iter().any(|recorded| matches!(recorded.event, LotEvent::Closed(_)));
        Ok(if bought { "buys" } else { leads(receipt.leading) }.into())
    }

    fn check_state(&self, expected: &str) -> Result<(), Mismatch> {
        let names = ["price", "leader", "closes_at", "status"];
        let mut positional = names.iter();
        for word in expected.split_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or_else(|| (positional.next().unwrap(), word));
            if value != "." {
                same(name, value, self.field(name).as_str())?;
            }
        }
        Ok(())
    }

    fn field(&self, name: &str) -> String {
        let view = &self.view;
        match name {
            "price" => sum(view.price),
            "leader" => view.leader.as_ref().map_or("-".into(), ToString::to_string),
            "closes_at" => clock(view.closes_at),
            "status" => status(view),
            "min" => sum(Some(view.minimum_bid)),
            "met" => view.reserve_met.map_or("-", |met| if met { "yes" } else { "no" }).into(),
            "buy_now" => if view.buy_now_available() { "yes" } else { "no" }.into(),
            "count" => view.bid_count.to_string(),
            "ext" => view.extensions.to_string(),
            "left" => view.remaining.map_or("-".into(), |left| clock(Some(at(0).plus(left)))),
            "due" => clock(self.lot.deadline()),
            "seq" => view.position.seq.0.to_string(),
            "title" => view.spec.title.to_string(),
            "registered" => self.lot.access().registered().len().to_string(),
            _ => panic!("no field {name}"),
        }
    }
}

fn leads(leading: bool) -> &'static str {
    if leading { "leads" } else { "trails" }
}

fn refused(reject: &Reject) -> String {
    match reject {
        Reject::LotNotOpen => "lot_not_open".into(),
        Reject::LotPaused => "lot_paused".into(),
        Reject::LotClosed => "lot_closed".into(),
        Reject::BidTooLow { minimum } => format!("bid_too_low {}", sum(Some(*minimum))),
        Reject::MaxNotRaised { max } => format!("max_not_raised {}", sum(Some(*max))),
        Reject::AlreadyLeading => "already_leading".into(),
        Reject::BidIdConflict => "bid_id_conflict".into(),
        Reject::InvalidBid(InvalidBid::MaxBelowAmount) => "invalid max_below_amount".into(),
        Reject::InvalidBid(InvalidBid::ProxyOff) => "invalid proxy_off".into(),
        Reject::Conflict(conflict) => format!("{conflict:?}"),
        Reject::NotRegistered => "not_registered".into(),
        Reject::InsufficientFunds { .. } | Reject::LimitExceeded(_) => panic!("no wallet is asked here"),
    }
}

fn status(view: &LotView) -> String {
    let status = format!("{:?}", view.status).to_lowercase();
    match (&view.outcome, view.status) {
        (None, status_of) => {
            assert_ne!(status_of, Status::Closed, "closed without an outcome");
            status
        }
        (Some(Outcome::Sold { winner, price }), Status::Closed) => format!("{winner}@{}", sum(Some(*price))),
        (Some(Outcome::Unsold { reason: Unsold::NoBids }), Status::Closed) => "no_bids".into(),
        (Some(Outcome::Unsold { reason: Unsold::ReserveNotMet }), Status::Closed) => "reserve_not_met".into(),
        (Some(outcome), _) => panic!("{status} with {outcome:?}"),
    }
}

fn set_keys(spec: &mut LotSpec, keys: &str) {
    let Rules::English(rules) = &mut spec.rules;
    for (key, value) in keys.split_whitespace().map(|pair| pair.split_once('=').unwrap_or_else(|| panic!("no = in {pair}"))) {
        match key {
            "start" => rules.start_price = money(value).unwrap(),
            "inc" => {
                let rows: Vec<_> = value.split(',').map(|row| row.split_once(':').unwrap()).collect();
                let rows: Vec<_> = rows.iter().map(|(from, step)| (money(from).unwrap().get(), money(step).unwrap().get())).collect();
                rules.increments = english(0, &rows).increments;
            }
            "reserve" => rules.reserve_price = money(value),
            "buy" => rules.buy_now_price = money(value),
            "proxy" => rules.proxy = value == "on",
            "opens" => spec.opens_at = time(value),
            "closes" => spec.closes_at = time(value),
            "draft" => spec.draft = value == "on",
            "soft" => spec.soft_close = late_bids(value),
            "max_ext" => spec.soft_close.as_mut().unwrap().max_extensions = value.parse().ok(),
            "hard" => spec.soft_close.as_mut().unwrap().hard_close_at = time(value),
            "title" => spec.title = value.into(),
            "title_chars" => spec.title = "ä".repeat(value.parse().unwrap()).into(),
            "description_chars" => spec.description = "ä".repeat(value.parse().unwrap()).into(),
            _ => panic!("no key {key}"),
        }
    }
}

/// `mode/window/by`.
fn late_bids(text: &str) -> Option<SoftClose> {
    let (mode, spans) = text.split_once('/')?;
    let (window, by) = spans.split_once('/').unwrap();
    let mode = if mode == "add" { SoftCloseMode::Add } else { SoftCloseMode::Reset };
    Some(SoftClose { window_ms: span(window), mode, by_ms: span(by), max_extensions: None, hard_close_at: None })
}

/// `top` and `top-5` count from 2^53 − 1; none for `-`.
fn money(text: &str) -> Option<Amount> {
    match text.trim().split_once("top") {
        Some((_, "")) => Some(Amount::MAX),
        Some((_, below)) => Some(amount(Amount::MAX.get() - below[1..].parse::<u64>().unwrap())),
        None => text.trim().parse().ok().map(amount),
    }
}

fn sum(sum: Option<Amount>) -> String {
    match sum {
        None => "-".into(),
        Some(Amount::MAX) => "top".into(),
        Some(sum) if sum > amount(1 << 52) => format!("top-{}", Amount::MAX.get() - sum.get()),
        Some(sum) => sum.to_string(),
    }
}

fn time(text: &str) -> Option<Timestamp> {
    (text != "-").then(|| at(0).plus(span(text)))
}

fn span(text: &str) -> Millis {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or_else(|| panic!("no unit: {text:?}"));
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "h" => 3_600_000,
        "y" => 366 * 24 * 3_600_000,
        unit => panic!("no unit {unit:?}"),
    };
    Millis(text[..digits].parse::<u64>().unwrap() * unit)
}

fn clock(time: Option<Timestamp>) -> String {
    match time.map(Timestamp::as_millis) {
        None => "-".into(),
        Some(millis) if millis % 1000 == 0 => format!("{}s", millis / 1000),
        Some(millis) => format!("{millis}ms"),
    }
}
