//! The world around the shards: clients, auctioneers, administrators, a post that can't be trusted,
//! and bad luck.

use crate::{
    Counts,
    auditor::Books,
    clerk::{Clerk, Output},
    fixtures::{amount, at, bid_id, bidder, english, lot_spec},
};
use gavel_domain::{
    claims::{Address, Letter},
    command::{Command, PlaceBid},
    ids::{BidderId, LotId, OperationId},
    lot::{
        access::{AccessRules, Registration},
        spec::{Funding, Rules, SoftClose, SoftCloseMode},
    },
    receipt::Receipt,
    time::Millis,
    wallet::{
        command::{Adjustment, Change, WalletCommand, WalletReject},
        decay::Decay,
        permit::Terms,
    },
};

const SHARDS: u16 = 6;
const LOTS: usize = 50;
const BIDDERS: usize = 200;

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
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// What a client asked for, and what it holds in hand.
struct Client {
    lot: LotId,
    bid: PlaceBid,
    receipt: Option<Receipt>,
}

pub(crate) struct World {
    dice: Dice,
    now: i64,
    clerks: Vec<Clerk>,
    post: Vec<Letter>,
    clients: Vec<Client>,
    operations: u64,
    counts: Counts,
}

impl World {
    pub(crate) fn new(seed: u64, counts: Counts) -> Self {
        let clerks = (0..SHARDS).map(|_| Clerk::default()).collect();
        Self { dice: Dice(seed), now: 1_000_000, clerks, post: vec![], clients: vec![], operations: 0, counts }
    }

    pub(crate) fn run(mut self, steps: u32) -> Counts {
        self.clerks.iter_mut().for_each(|clerk| clerk.recover(false));
        (0..LOTS).for_each(|n| self.create(n));
        (0..BIDDERS).for_each(|n| {
            let balance = 100 + self.dice.below(900) as u64;
            self.adjust(n, Change::Grant { amount: amount(balance), cap: None });
            self.allow(n);
        });
        self.clerks.iter_mut().for_each(|clerk| {
            clerk.start_write();
            clerk.finish_write();
        });
        for _ in 0..steps {
            self.step();
        }
        self.come_to_rest();
        self.counts
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn lot(n: usize) -> LotId {
        LotId(uuid::Uuid::from_u128((n as u128 + 1) * 0x0123_4567_89ab_cdef_0123))
    }

    fn bidder(n: usize) -> BidderId {
        bidder(&format!("b{n}"))
    }

    fn clerk(&mut self, address: &Address) -> &mut Clerk {
        &mut self.clerks[usize::from(address.shard(SHARDS).0)]
    }

    fn create(&mut self, n: usize) {
        let mut rules = english(1 + self.dice.below(20) as u64, &[(0, 1), (100, 5)]);
        rules.buy_now_price = self.dice.percent(15).then(|| amount(400));
        rules.reserve_price = self.dice.percent(30).then(|| amount(60));
        let closes = at(self.now + 1000 + self.dice.below(60_000) as i64);
        let mut spec = lot_spec(rules, self.dice.percent(90).then_some(closes));
        let pledges = self.dice.percent(25);
        spec.funding = if pledges { Funding::Open } else { Funding::Wallet };
        let asks = pledges || self.dice.percent(10);
        let registration = if asks { Registration::Currency } else { Registration::None };
        let access = AccessRules { registration, aliases: None };
        if self.dice.percent(30) {
            let (window_ms, by_ms) = (Millis(2000), Millis(2000));
            spec.soft_close =
                Some(SoftClose { window_ms, mode: SoftCloseMode::Reset, by_ms, max_extensions: Some(3), hard_close_at: None });
        }
        assert!(matches!(spec.rules, Rules::English(_)));
        let (id, now) = (Self::lot(n), at(self.now));
        self.clerk(&Address::Lot(id)).create(id, spec, access, now);
    }

    fn adjust(&mut self, n: usize, change: Change) {
        self.operations += 1;
        let mut operation = [0; 16];
        operation[..8].copy_from_slice(&self.operations.to_le_bytes());
        let decays = matches!(change, Change::Decay(_));
        let forced = matches!(change, Change::Deduct { force: true, .. });
        let asked = Adjustment {
            operation: OperationId(operation),
            digest: [1; 32],
            currency: "DKP".into(),
            change,
            reason: "".into(),
            by: "gm".into(),
        };
        let (who, now) = (Self::bidder(n), at(self.now));
        let twice = self.dice.percent(10);
        let clerk = self.clerk(&Address::Wallet(who.clone()));
        let done = clerk.ask_wallet(&who, &WalletCommand::Adjust(asked.clone()), now);
        let again = twice.then(|| clerk.ask_wallet(&who, &WalletCommand::Adjust(asked), now));
        if done == Ok(true) {
            if decays {
                self.count("decayed");
            }
            if forced {
                self.count("forced deduction");
            }
            if let Some(again) = again {
                assert_eq!(again, Ok(false), "an operation happens once");
                self.count("granted again");
            }
        }
    }

    fn allow(&mut self, n: usize) {
        let terms = Terms {
            registered: self.dice.percent(90),
            spend_limit: self.dice.percent(30).then(|| amount(50 + self.dice.below(500) as u64)),
            lead_limit: self.dice.percent(30).then(|| u32::try_from(self.dice.below(3)).unwrap()),
        };
        let (who, now) = (Self::bidder(n), at(self.now));
        let allow = WalletCommand::Allow { currency: "DKP".into(), terms, reason: None, by: "gm".into() };
        self.clerk(&Address::Wallet(who.clone())).ask_wallet(&who, &allow, now).expect("never refused");
    }

    fn step(&mut self) {
        self.now += self.dice.below(3) as i64;
        match self.dice.below(1000) {
            0..250 => self.bid(),
            250..280 => self.resend(),
            280..600 => {
                // The post is faster than the world.
                for _ in 0..1 + self.dice.below(6) {
                    self.deliver();
                }
            }
            600..760 => self.write(),
            760..800 => {
                let n = self.dice.below(LOTS);
                let now = at(self.now);
                let id = Self::lot(n);
                let clerk = self.clerk(&Address::Lot(id));
                clerk.take_turns(id, now);
                clerk.tick(id, now);
                clerk.lose_patience(id, now);
                clerk.claim_what_is_owed(id);
            }
            800..808 => self.by_hand(),
            808..850 => self.administer(),
            850..854 => {
                let n = self.dice.below(usize::from(SHARDS));
                self.clerks[n].sweep();
            }
            862..864 => self.now += 300 + self.dice.below(2500) as i64,
            864..866 => self.crash(),
            866..880 => {
                let address = if self.dice.percent(50) {
                    Address::Lot(Self::lot(self.dice.below(LOTS)))
                } else {
                    Address::Wallet(Self::bidder(self.dice.below(BIDDERS)))
                };
                self.count("entity rebuilt");
                self.clerk(&address).rebuild(&address);
            }
            _ => self.deliver(),
        }
        self.collect();
    }

    fn bid(&mut self) {
        let lot = Self::lot(self.dice.below(LOTS));
        let clerk = self.clerk(&Address::Lot(lot));
        let Some(state) = clerk.live.lots.get(&lot) else { return };
        let (minimum, lead) = (state.view().minimum_bid.get(), state.lead().cloned());
        let raises = lead.is_some() && self.dice.percent(25);
        let who = match &lead {
            Some(lead) if raises => lead.bidder.clone(),
            _ => Self::bidder(self.dice.below(BIDDERS)),
        };
        let base = if raises { lead.map_or(minimum, |lead| lead.max.get() + 1) } else { minimum };
        let buys = self.dice.percent(2);
        let sum = if buys { 400 } else { base + self.dice.below(12) as u64 };
        let max = self.dice.percent(50).then(|| amount(sum + self.dice.below(150) as u64));
        let bid = PlaceBid { bidder: who, bid_id: bid_id(self.clients.len() as u128 + 1), amount: amount(sum), max };
        let (client, now) = (self.clients.len(), at(self.now));
        self.clients.push(Client { lot, bid: bid.clone(), receipt: None });
        self.clerk(&Address::Lot(lot)).bid(lot, bid, client, now);
    }

    fn resend(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let latest = self.clients.len().saturating_sub(40);
        let client = latest + self.dice.below(self.clients.len() - latest);
        let (lot, bid, now) = (self.clients[client].lot, self.clients[client].bid.clone(), at(self.now));
        self.clerk(&Address::Lot(lot)).bid(lot, bid, client, now);
    }

    fn by_hand(&mut self) {
        let (lot, now) = (Self::lot(self.dice.below(LOTS)), at(self.now));
        let command = match self.dice.below(10) {
            0..3 => Command::Cancel { reason: None },
            3..6 => Command::Close,
            6 | 7 => Command::Pause { reason: None },
            _ => Command::Resume,
        };
        self.clerk(&Address::Lot(lot)).command(lot, &command, now);
    }

    fn administer(&mut self) {
        let n = self.dice.below(BIDDERS);
        if self.dice.percent(10) {
            return self.allow(n);
        }
        let some = amount(1 + self.dice.below(80) as u64);
        let change = match self.dice.below(20) {
            0..10 => Change::Grant { amount: some, cap: self.dice.percent(30).then(|| amount(1000)) },
            10..15 => Change::Deduct { amount: some, force: false },
            15 => Change::Deduct { amount: amount(300), force: true },
            16..19 => Change::Decay(Decay::BasisPoints(1000)),
            _ => Change::CutTo(amount(500)),
        };
        self.adjust(n, change);
    }

    fn write(&mut self) {
        let n = self.dice.below(usize::from(SHARDS));
        self.clerks[n].finish_write();
        self.clerks[n].start_write();
    }

    fn deliver(&mut self) {
        if self.post.is_empty() {
            return;
        }
        // Mostly in order, as one process has it; sometimes anything.
        let n = if self.dice.percent(80) { 0 } else { self.dice.below(self.post.len()) };
        let letter = self.post.remove(n);
        if self.dice.percent(2) {
            return self.count("letter lost");
        }
        if self.dice.percent(2) && !matches!(letter, Letter::Hold { .. }) {
            self.count("letter twice");
            self.post.push(letter.clone());
        }
        self.hand_over(letter);
    }

    fn hand_over(&mut self, letter: Letter) {
        let now = at(self.now);
        let overdrawn = |refused: &Option<WalletReject>| matches!(refused, Some(WalletReject::InsufficientFunds { available, .. }) if available.get() < 0);
        if let Letter::HoldAnswer { refused, .. } = &letter
            && overdrawn(refused)
        {
            self.count("overdrawn refused");
        }
        self.clerk(&letter.to()).deliver(letter, now);
    }

    fn crash(&mut self) {
        let n = self.dice.below(usize::from(SHARDS));
        let written = self.dice.percent(50) && !self.clerks[n].in_flight.is_empty();
        self.collect();
        self.count(if written { "shard crashed with the batch written" } else { "shard crashed" });
        self.clerks[n].recover(written);
        self.audit();
    }

    /// What left the shards gets to whom it is for.
    fn collect(&mut self) {
        for n in 0..self.clerks.len() {
            for what in std::mem::take(&mut self.clerks[n].seen) {
                self.count(what);
            }
            for output in std::mem::take(&mut self.clerks[n].out) {
                match output {
                    Output::Letter(letter) => self.post.push(letter),
                    Output::Receipt(client, receipt) => {
                        let known = self.clients[client].receipt.get_or_insert_with(|| receipt.clone());
                        assert_eq!(*known, receipt, "a bid has one receipt");
                    }
                    Output::Unavailable => {}
                    Output::Refused(client, reject) => {
                        let receipt = &self.clients[client].receipt;
                        assert!(receipt.is_none(), "refused ({reject}) after {receipt:?}");
                    }
                }
            }
        }
    }

    fn books(&self) -> Books {
        Books::read(self.clerks.iter().flat_map(|clerk| &clerk.journal))
    }

    fn audit(&self) {
        self.books().check();
        for client in &self.clients {
            let Some(receipt) = &client.receipt else { continue };
            let clerk = &self.clerks[usize::from(Address::Lot(client.lot).shard(SHARDS).0)];
            let lot = &clerk.live.lots[&client.lot];
            if let Some(recorded) = lot.log().at(receipt.seq) {
                assert_eq!(recorded.receipt().as_ref(), Some(receipt), "a receipt is in the journal");
            }
        }
    }

    /// No more luck of any kind: everything is written, delivered, and asked for until nothing moves.
    fn come_to_rest(&mut self) {
        for round in 0..40 {
            self.now += 3000;
            let now = at(self.now);
            for n in 0..LOTS {
                let id = Self::lot(n);
                let clerk = self.clerk(&Address::Lot(id));
                clerk.take_turns(id, now);
                clerk.tick(id, now);
                clerk.lose_patience(id, now);
                clerk.claim_what_is_owed(id);
            }
            self.clerks.iter_mut().for_each(Clerk::sweep);
            for _ in 0..8 {
                self.clerks.iter_mut().for_each(|clerk| {
                    clerk.finish_write();
                    clerk.start_write();
                    clerk.finish_write();
                });
                self.collect();
                std::mem::take(&mut self.post).into_iter().for_each(|letter| self.hand_over(letter));
            }
            let at_rest = self.post.is_empty() && self.clerks.iter().all(Clerk::is_at_rest);
            if round > 3 && at_rest {
                break;
            }
        }
        self.audit();
        self.books().check_at_rest();
    }
}
