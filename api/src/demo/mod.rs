//! `gavel serve --demo`: sample lots that never run out, and simulated bidders who fight for them.
//!
//! They ask the engine as sockets do; nothing about them is known elsewhere.

use gavel_domain::{
    command::PlaceBid,
    currency::Currency,
    ids::{BidId, BidderId, LotId, OperationId},
    lot::{
        Status,
        access::AccessRules,
        increments::{Increment, Increments},
        spec::{English, Funding, LotSpec, Rules, SoftClose, SoftCloseMode},
        view::LotView,
    },
    money::Amount,
    time::Millis,
    wallet::command::{Adjustment, Change},
};
use gavel_engine::{
    Engine,
    request::{Ask, Reply, WalletAsk},
};
use std::time::Duration;
use uuid::Uuid;

/// Between two looks at a lot.
const PACE: Duration = Duration::from_millis(1500);
/// How long a finished lot is left to look at.
const PAUSE: Duration = Duration::from_secs(20);

/// A lot of the demonstration.
struct Sample {
    title: &'static str,
    description: &'static str,
    start: u64,
    reserve: Option<u64>,
    buy_now: Option<u64>,
    step: u64,
    seconds: u64,
    /// About how often, of a hundred looks, somebody bids.
    eagerness: u8,
    /// What the simulated bidders go up to.
    worth: u64,
    /// What backs the bids.
    funding: Funding,
}

const SAMPLES: [Sample; 4] = [
    Sample {
        title: "Ashkandi, Greatsword of the Brotherhood",
        description: "Two-handed sword. Drops once a week, if that. For points that you have: your wallet holds what you bid.",
        start: 100,
        reserve: None,
        buy_now: None,
        step: 10,
        seconds: 240,
        eagerness: 35,
        worth: 900,
        funding: Funding::Wallet,
    },
    Sample {
        title: "Silver pocket watch, Geneva, about 1890",
        description: "Runs, keeps time within a minute a day. With a reserve.",
        start: 50,
        reserve: Some(400),
        buy_now: None,
        step: 5,
        seconds: 420,
        eagerness: 25,
        worth: 700,
        funding: Funding::Open,
    },
    Sample {
        title: "A season's worth of guild bank potions",
        description: "Four stacks of each. May be bought at once.",
        start: 10,
        reserve: None,
        buy_now: Some(1000),
        step: 2,
        seconds: 180,
        eagerness: 50,
        worth: 300,
        funding: Funding::Open,
    },
    Sample {
        title: "Signed first edition, slightly foxed",
        description: "Late bids stretch the close: the last half minute starts anew with each.",
        start: 200,
        reserve: None,
        buy_now: None,
        step: 20,
        seconds: 90,
        eagerness: 60,
        worth: 1500,
        funding: Funding::Open,
    },
];

/// Whose links are printed.
pub const GUESTS: [&str; 2] = ["alice", "bob"];

/// Points that everybody is topped up to before a lot for which they are needed.
const POINTS: u64 = 1000;

const BIDDERS: [&str; 5] = ["thrall", "jaina", "anduin", "sylvanas", "rexxar"];

/// Keeps the demonstration going, for ever.
pub async fn run(engine: Engine) {
    for (number, sample) in SAMPLES.iter().enumerate() {
        actix_rt::spawn(keep_up(engine.clone(), sample, Chance::new(number as u64 + 1)));
    }
}

async fn keep_up(engine: Engine, sample: &'static Sample, mut chance: Chance) {
    loop {
        let lot = LotId(Uuid::now_v7());
        let Some(spec) = spec(sample, &engine) else { return };
        if sample.funding == Funding::Wallet {
            top_up(&engine).await;
        }
        let created = engine
            .ask(
                lot,
                Ask::Create { spec: Box::new(spec), access: AccessRules::default(), by: Some("demo".into()), key: None, archived: false },
            )
            .await;
        if !matches!(created, Reply::Lot(_)) {
            tracing::warn!(title = sample.title, ?created, "the demonstration's lot was not created");
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        fight(&engine, lot, sample, &mut chance).await;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Gives points to the simulated bidders and to those whose links are printed.
async fn top_up(engine: &Engine) {
    let Ok(amount) = Amount::new(POINTS) else { return };
    for bidder in BIDDERS.iter().chain(&GUESTS).filter_map(|name| BidderId::try_from(*name).ok()) {
        let Reply::Wallet(wallet) = engine.ask_wallet(bidder.clone(), WalletAsk::View).await else { continue };
        if wallet.items.iter().any(|purse| purse.currency.as_ref() == "DKP" && purse.balance >= amount.into()) {
            continue;
        }
        let adjustment = Adjustment {
            operation: OperationId(Uuid::new_v4().into_bytes()),
            digest: [0; 32],
            currency: "DKP".into(),
            change: Change::Grant { amount, cap: Some(amount) },
            reason: "raid attended".into(),
            by: "demo".into(),
        };
        let granted = engine.ask_wallet(bidder, WalletAsk::Adjust(Box::new(adjustment))).await;
        if !matches!(granted, Reply::Posted(_)) {
            tracing::warn!(?granted, "the demonstration's points were not granted");
        }
    }
}

/// Bids until the lot is over.
async fn fight(engine: &Engine, lot: LotId, sample: &Sample, chance: &mut Chance) {
    loop {
        tokio::time::sleep(PACE.mul_f64(0.5 + f64::from(chance.below(100)) / 100.0)).await;
        let Reply::Lot(answer) = engine.ask(lot, Ask::View { bidder: None }).await else { return };
        if answer.view.status.is_over() {
            return;
        }
        if answer.view.status == Status::Open && chance.below(100) < u32::from(sample.eagerness) {
            bid(engine, &answer.view, sample, chance).await;
        }
    }
}

async fn bid(engine: &Engine, lot: &LotView, sample: &Sample, chance: &mut Chance) {
    let name = BIDDERS[chance.below(BIDDERS.len() as u32) as usize];
    let Ok(bidder) = BidderId::try_from(name) else { return };
    let amount = lot.minimum_bid;
    if lot.leader.as_ref() == Some(&bidder) || amount.get() > sample.worth {
        return;
    }
    let room = u32::try_from(sample.worth - amount.get()).unwrap_or(u32::MAX);
    let max = (chance.below(3) == 0).then(|| Amount::new(amount.get() + u64::from(chance.below(room / 4 + 1))).unwrap_or(amount));
    let bid = PlaceBid { bidder, bid_id: BidId(Uuid::new_v4()), amount, max };
    // A refusal is part of the show: somebody else was faster.
    let _ = engine.ask(lot.id, Ask::Bid { bid, retry: false }).await;
}

fn spec(sample: &Sample, engine: &Engine) -> Option<LotSpec> {
    let amount = |minor| Amount::new(minor).ok();
    let step = amount(sample.step)?;
    Some(LotSpec {
        title: sample.title.into(),
        description: sample.description.into(),
        currency: Currency { code: "DKP".into(), scale: 0 },
        funding: sample.funding,
        rules: Rules::English(English {
            start_price: amount(sample.start)?,
            reserve_price: sample.reserve.and_then(amount),
            buy_now_price: sample.buy_now.and_then(amount),
            proxy: true,
            increments: Increments::new(vec![Increment { from: Amount::ZERO, step }]).ok()?,
        }),
        draft: false,
        opens_at: None,
        closes_at: Some(engine.clock().now().plus(Millis(sample.seconds * 1000))),
        soft_close: Some(SoftClose {
            window_ms: Millis(30_000),
            mode: SoftCloseMode::Reset,
            by_ms: Millis(30_000),
            max_extensions: None,
            hard_close_at: None,
        }),
    })
}

/// A small xorshift: the demonstration needs variety, not secrets.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from 0, below `bound`.
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) % u64::from(bound.max(1))) as u32
    }
}
