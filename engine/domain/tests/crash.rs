//! One shard through crashes, by seed: lots, staging and idempotency keys of the pure core against a
//! journal whose appends fail, succeed unheard, or arrive late, and clients that never stop asking.
//!
//! After each recovery: every receipt a client holds is in the journal once, as it was given; `seq`
//! has no gap; nothing is accepted after the close; a `bid_id` bids once; a key takes effect once a
//! day; what was recovered (from a snapshot older and fuzzier than the journal) is what a replay from
//! the first batch gives. At all times: no output leaves before what it was computed from is durable.
//!
//! `GAVEL_SEED=17 cargo test -p gavel-domain --test crash` runs one seed again;
//! `GAVEL_SEEDS=5000` runs that many instead of the usual.

#![allow(clippy::unwrap_used, reason = "tests")]

mod fixtures;
#[path = "crash/history.rs"]
mod history;
#[path = "crash/owner.rs"]
mod owner;
#[path = "crash/store.rs"]
mod store;

use fixtures::{amount, at, bid_id, bidder, english, lot_spec};
use gavel_domain::{
    command::{Command, PlaceBid},
    ids::{LotId, Position},
    lot::spec::{LotSpec, SoftClose, SoftCloseMode},
    time::Millis,
};
use history::{check_journal, keys_used_again};
use owner::{Ask, Output, Owner, Reply};
use std::collections::BTreeMap;
use store::{Sealed, Store};

const SEEDS: u64 = 120;
const STEPS: u32 = 400;

type Counts = BTreeMap<&'static str, u32>;

#[test]
fn nothing_acknowledged_is_lost_or_done_twice() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("an integer"));
    let mut counts = Counts::new();
    if let Some(seed) = number("GAVEL_SEED") {
        run(seed, &mut counts);
        return;
    }
    (0..number("GAVEL_SEEDS").unwrap_or(SEEDS)).for_each(|seed| run(seed, &mut counts));
    println!("{counts:#?}");
    let must_happen = "receipt, receipt again, refusal, lot, lot again, unavailable, left at once, committed, refused append, \
        found after all, not found, retried append, stale append, crash, crash with append written, late append landed, late append refused, \
        epoch lost to a late append, takeover, fuzzy snapshot, lot rebuilt, key used again, asked again";
    for what in must_happen.split(',').map(str::trim) {
        assert!(counts.get(what).is_some_and(|count| *count >= 3), "hardly ever: {what}\n{counts:#?}");
    }
}

/// Runs a seed; a failure names it.
fn run(seed: u64, counts: &mut Counts) {
    let so_far = std::mem::take(counts);
    let world = std::panic::AssertUnwindSafe(World::new(seed, so_far));
    match std::panic::catch_unwind(|| { world }.0.run()) {
        Ok(after) => *counts = after,
        Err(panic) => {
            let why = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            panic!("GAVEL_SEED={seed}: {}", why.unwrap_or_default());
        }
    }
}

/// SplitMix64: small, and the same everywhere for ever.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// What a client wants, and every answer it got.
struct Request {
    lot: LotId,
    ask: Ask,
    replies: Vec<Reply>,
}

struct World {
    dice: Dice,
    wall: i64,
    store: Store,
    /// The last is the owner; those before it don't know yet.
    owners: Vec<Owner>,
    /// Appends that nobody has heard of again.
    limbo: Vec<Sealed>,
    requests: Vec<Request>,
    counts: Counts,
}

impl World {
    fn new(seed: u64, counts: Counts) -> Self {
        let (owners, limbo, requests) = (vec![], vec![], vec![]);
        Self { dice: Dice(seed), wall: 1_000_000, store: Store::default(), owners, limbo, requests, counts }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn run(mut self) -> Counts {
        for _ in 0..STEPS {
            self.step();
        }
        self.settle();
        self.counts
    }

    fn step(&mut self) {
        if self.owners.is_empty() {
            self.recover();
        }
        let which = if self.dice.percent(80) { self.owners.len() - 1 } else { self.dice.below(self.owners.len()) };
        match self.dice.below(100) {
            0..46 => self.ask(which),
            46..66 => self.owners[which].fly(),
            66..86 => self.resolve(which),
            86..88 => self.wall += self.dice.below(4000) as i64,
            88 if self.dice.percent(12) => self.wall += 25 * 3_600_000,
            88 | 89 => self.owners[which].tick(at(self.wall)),
            90 => self.crash(which),
            91 => self.takeover(),
            92..95 => self.snapshot(),
            95..98 => self.rebuild_a_lot(which),
            _ => self.late_append(),
        }
        if self.dice.percent(25) {
            self.live_state_is_journal_and_staged();
        }
    }

    /// At the end all is quiet, and everybody asks for what is still open.
    fn settle(&mut self) {
        self.owners.clear();
        self.recover();
        let (creations, others): (Vec<_>, Vec<_>) =
            (0..self.requests.len()).partition(|request| matches!(self.requests[*request].ask, Ask::Create(..)));
        creations.into_iter().chain(others).for_each(|request| self.send(0, request));
        while self.owners[0].staging.pending() > 0 || self.owners[0].in_flight.is_some() {
            self.owners[0].fly();
            self.store.append(self.owners[0].in_flight.as_ref().unwrap()).ok().expect("nobody else writes");
            let outputs = self.owners[0].committed();
            self.leave(0, outputs);
        }
        for request in &self.requests {
            let known = self.owners[0].live.lots.contains_key(&request.lot);
            assert!(!known || request.replies.iter().any(|reply| *reply != Reply::Unavailable), "never answered: {:?}", request.ask);
        }
        check_journal(&self.store, self.receipts(), self.keyed());
        (0..keys_used_again(&self.store)).for_each(|_| self.count("key used again"));
        assert_eq!(self.owners[0].live, self.store.replay(), "live state is what the journal says");
    }

    fn recover(&mut self) {
        loop {
            let snapshots = self.store.snapshots.len();
            let snapshot = (snapshots > 0 && self.dice.percent(80)).then(|| self.store.snapshots[self.dice.below(snapshots)].clone());
            let late = if self.dice.percent(40) { self.limbo.pop() } else { None };
            let skew = self.dice.below(6000) as i64 - 3000;
            let between = |store: &mut Store| late.into_iter().for_each(|late| _ = store.append(&late));
            match Owner::recover(&mut self.store, snapshot.as_ref(), self.wall + skew, between) {
                Ok(owner) => {
                    assert_eq!(owner.live, self.store.replay(), "what was recovered is what a replay gives");
                    self.owners.push(owner);
                    check_journal(&self.store, self.receipts(), self.keyed());
                    return;
                }
                Err(store::Mismatch) => self.count("epoch lost to a late append"),
            }
        }
    }

    fn ask(&mut self, owner: usize) {
        let request =
            if !self.requests.is_empty() && self.dice.percent(35) { self.dice.below(self.requests.len()) } else { self.new_request() };
        if matches!(self.requests[request].replies.last(), Some(Reply::Unavailable)) {
            self.count("asked again");
        }
        self.send(owner, request);
    }

    fn send(&mut self, owner: usize, request: usize) {
        let Request { lot, ask, .. } = &self.requests[request];
        if let Some(output) = self.owners[owner].handle(request, *lot, ask, self.wall) {
            self.count("left at once");
            self.leave(owner, vec![output]);
        }
    }

    fn new_request(&mut self) -> usize {
        let number = self.requests.len();
        // New lots come as the old ones end.
        let lot = LotId(uuid::Uuid::from_u128((1 + number / 25 + self.dice.below(3)) as u128));
        let unknown = !self.owners.last().is_some_and(|owner| owner.live.lots.contains_key(&lot));
        let ask = match self.dice.below(100) {
            0..60 if unknown => Ask::Create(Box::new(self.spec()), format!("create {number}").into()),
            0..2 => Ask::Create(Box::new(self.spec()), format!("create {number}").into()),
            2..12 => {
                let commands = [
                    Command::Pause { reason: None },
                    Command::Resume,
                    Command::Extend { by: Millis(5000) },
                    Command::Resume,
                    Command::Close,
                ];
                let close_too = self.dice.percent(10);
                let command = commands[self.dice.below(if close_too { 5 } else { 4 })].clone();
                Ask::Keyed(command, format!("command {number}").into())
            }
            12..18 => Ask::View,
            _ => Ask::Bid(self.bid(lot)),
        };
        self.requests.push(Request { lot, ask, replies: vec![] });
        number
    }

    /// Around the minimum that somebody may have seen; now and then under an id used before.
    fn bid(&mut self, lot: LotId) -> PlaceBid {
        let minimum = self.owners.last().and_then(|owner| owner.live.lots.get(&lot)).map_or(100, |lot| lot.view().minimum_bid.get());
        let sum = (minimum + self.dice.below(40) as u64).saturating_sub(8);
        let max = self.dice.percent(50).then(|| amount(sum + self.dice.below(200) as u64));
        let id = if self.dice.percent(8) { self.dice.below(self.requests.len() + 1) } else { self.requests.len() };
        let bidder = bidder(["ann", "ben", "cleo"][self.dice.below(3)]);
        PlaceBid { bidder, bid_id: bid_id(id as u128), amount: amount(sum), max }
    }

    fn spec(&mut self) -> LotSpec {
        let closes_at = self.dice.percent(70).then(|| at(self.wall).plus(Millis(10_000 + self.dice.below(90_000) as u64)));
        let mut spec = lot_spec(english(100, &[(0, 10), (400, 25)]), closes_at);
        spec.opens_at = self.dice.percent(20).then(|| at(self.wall).plus(Millis(5000)));
        let soft = SoftClose {
            window_ms: Millis(20_000),
            mode: SoftCloseMode::Reset,
            by_ms: Millis(15_000),
            max_extensions: None,
            hard_close_at: None,
        };
        spec.soft_close = self.dice.percent(50).then_some(soft);
        spec
    }

    /// What became of the append that is under way.
    fn resolve(&mut self, which: usize) {
        let Some(sealed) = self.owners[which].in_flight.clone() else { return };
        match self.dice.below(100) {
            0..4 => {
                self.count("refused append");
                self.stop(which, &sealed);
            }
            4..12 => {
                self.lose_answer(&sealed);
                if self.dice.percent(50) {
                    self.count("retried append");
                    self.append(which, &sealed);
                } else {
                    self.stop(which, &sealed);
                }
            }
            _ => self.append(which, &sealed),
        }
    }

    fn append(&mut self, which: usize, sealed: &Sealed) {
        if self.store.append(sealed).is_err() {
            self.count("stale append");
            self.stop(which, sealed);
            return;
        }
        self.count("committed");
        let outputs = self.owners[which].committed();
        self.leave(which, outputs);
    }

    /// It was written, or will be later, or never.
    fn lose_answer(&mut self, sealed: &Sealed) {
        match self.dice.below(3) {
            0 => _ = self.store.append(sealed),
            1 => self.limbo.push(sealed.clone()),
            _ => {}
        }
    }

    /// The shard stops and rereads: what was in flight is answered by what the journal holds.
    fn stop(&mut self, which: usize, sealed: &Sealed) {
        let (in_flight, pending) = self.owners[which].staging.abandon();
        let happened = self.store.holds(sealed);
        self.count(if happened { "found after all" } else { "not found" });
        let unknown =
            |Output { request, seen: (lot, _), .. }| Output { request, reply: Reply::Unavailable, seen: (lot, Position::default()) };
        let outputs = if happened { in_flight } else { in_flight.into_iter().map(unknown).collect() };
        self.leave(which, outputs);
        self.leave(which, pending.into_iter().map(unknown).collect());
        self.owners.remove(which);
    }

    fn crash(&mut self, which: usize) {
        let owner = self.owners.remove(which);
        self.count("crash");
        if let Some(sealed) = owner.in_flight {
            let before = self.store.len();
            self.lose_answer(&sealed);
            if self.store.len() > before {
                self.count("crash with append written");
            }
        }
    }

    fn takeover(&mut self) {
        if self.owners.len() < 3 {
            self.count("takeover");
            self.recover();
        }
    }

    fn snapshot(&mut self) {
        let batches = self.store.len();
        let marker = batches - self.dice.below(batches.min(12) + 1);
        let fuzzy = self.dice.percent(70);
        let dice = &mut self.dice;
        self.store.snapshot(marker, |most| if fuzzy { dice.below(most + 1) } else { 0 });
        if fuzzy && marker < batches {
            self.count("fuzzy snapshot");
        }
    }

    fn late_append(&mut self) {
        if self.limbo.is_empty() {
            return;
        }
        let late = self.limbo.remove(self.dice.below(self.limbo.len()));
        let landed = self.store.append(&late).is_ok();
        self.count(if landed { "late append landed" } else { "late append refused" });
    }

    /// False for who was overtaken.
    fn current(&self, which: usize) -> bool {
        which + 1 == self.owners.len()
    }

    fn rebuild_a_lot(&mut self, which: usize) {
        let owner = &self.owners[which];
        let Some(base) = owner.durable_base(&self.store) else { return };
        let lots: Vec<_> = owner.live.lots.keys().copied().collect();
        if let Some(lot) = lots.get(self.dice.below(lots.len())) {
            let rebuilt = self.owners[which].rebuild(&base, *lot);
            assert_eq!(rebuilt.as_ref(), self.owners[which].live.lots.get(lot), "a rebuilt lot is the lost one");
            self.count("lot rebuilt");
        }
    }

    fn live_state_is_journal_and_staged(&self) {
        let Some(owner) = self.owners.last() else { return };
        let Some(mut state) = owner.durable_base(&self.store) else { return };
        owner.staging.uncommitted().for_each(|entry| state.apply(entry).expect("staged entries continue the journal"));
        assert_eq!(state, owner.live, "live state is the journal and what is staged");
    }

    /// Outputs reach their clients: nothing they were computed from may still be undone.
    fn leave(&mut self, which: usize, outputs: Vec<Output>) {
        for Output { request, reply, seen: (lot, position) } in outputs {
            if position.seq.0 > 0 {
                let durable = self.store.newest().and_then(|durable| durable.lots.get(&lot));
                let known = durable.and_then(|lot| lot.log().at(position.seq).map(|event| event.epoch));
                assert_eq!(known, Some(position.epoch), "left before it was durable: {reply:?} of lot {lot} at {position:?}");
            }
            let before: Vec<_> = self.requests[request].replies.iter().filter(|reply| **reply != Reply::Unavailable).cloned().collect();
            self.count(match (&reply, before.contains(&reply)) {
                (Reply::Receipt(_), false) => "receipt",
                (Reply::Receipt(_), true) => "receipt again",
                (Reply::Lot(_), false) => "lot",
                (Reply::Lot(_), true) => "lot again",
                (Reply::Refused(_), _) => "refusal",
                (Reply::Unavailable, _) => "unavailable",
            });
            let first = before.iter().find(|reply| matches!(reply, Reply::Receipt(_)));
            if let Some(first) = first.filter(|_| self.current(which) && reply != Reply::Unavailable) {
                assert_eq!(*first, reply, "a bid with a receipt gets that receipt again");
            }
            self.requests[request].replies.push(reply);
        }
    }

    fn receipts(&self) -> impl Iterator<Item = (&PlaceBid, &gavel_domain::receipt::Receipt)> {
        self.requests.iter().flat_map(|request| {
            let receipts =
                request.replies.iter().filter_map(|reply| if let Reply::Receipt(receipt) = reply { Some(receipt) } else { None });
            receipts.filter_map(|receipt| if let Ask::Bid(bid) = &request.ask { Some((bid, receipt)) } else { None })
        })
    }

    /// The scopes of keyed requests, with each answer given.
    fn keyed(&self) -> impl Iterator<Item = (&str, &gavel_domain::lot::view::LotView)> {
        self.requests.iter().flat_map(|request| {
            let scope = match &request.ask {
                Ask::Keyed(_, scope) | Ask::Create(_, scope) => Some(scope.as_ref()),
                _ => None,
            };
            let views = request.replies.iter().filter_map(|reply| if let Reply::Lot(view) = reply { Some(view.as_ref()) } else { None });
            scope.into_iter().flat_map(move |scope| views.clone().map(move |view| (scope, view)))
        })
    }
}
