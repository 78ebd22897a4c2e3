//! What the benchmarks share: lots that never close, and bids that are always accepted.

use gavel_domain::{
    command::PlaceBid,
    currency::Currency,
    event::{LotEvent, Recorded},
    ids::{BidId, BidderId, Epoch, LotId, Seq},
    lot::{
        Lot,
        increments::{Increment, Increments},
        spec::{English, Funding, LotSpec, Rules},
    },
    money::Amount,
    shard::batch::Entry,
    time::Timestamp,
};
use std::sync::Arc;
use uuid::Uuid;

/// A hammer sale from 1 in steps of 1.
///
/// # Panics
/// Never: the figures are good.
#[must_use]
pub fn spec(proxy: bool) -> LotSpec {
    let one = Amount::new(1).expect("small");
    LotSpec {
        title: "bench".into(),
        description: "".into(),
        currency: Currency { code: "DKP".into(), scale: 0 },
        funding: Funding::Open,
        rules: Rules::English(English {
            start_price: one,
            reserve_price: None,
            buy_now_price: None,
            proxy,
            increments: Increments::new(vec![Increment { from: Amount::ZERO, step: one }]).expect("a good table"),
        }),
        draft: false,
        opens_at: None,
        closes_at: None,
        soft_close: None,
    }
}

/// An open lot without bids.
///
/// # Panics
/// Never: a creation creates.
#[must_use]
pub fn open_lot(id: LotId, proxy: bool) -> Lot {
    let at = Timestamp::from_millis(1_800_000_000_000);
    let mut events = Lot::creation(spec(proxy), Default::default(), at).into_iter();
    let event = events.next().expect("a creation");
    let created = Arc::new(Recorded { lot: id, epoch: Epoch(1), seq: Seq(0), at, event });
    let mut lot = Lot::from_creation(&created).expect("a creation");
    lot.advance(Epoch(1), at, events);
    lot
}

/// The bid number `n`, of one of 64 bidders, one step above number `n − 1`.
///
/// # Panics
/// Never: the names are good.
#[must_use]
pub fn bid(n: u64, proxy: bool) -> PlaceBid {
    let bidder = BidderId::try_from(format!("bidder-{}", n % 64).as_str()).expect("a good name");
    let amount = Amount::new(n + 1).expect("small");
    let max = proxy.then(|| Amount::new(n + 1).expect("small"));
    PlaceBid { bidder, bid_id: BidId(Uuid::from_u128(u128::from(n) << 32 | 0x7000_8000)), amount, max }
}

/// So many journal entries of accepted bids.
///
/// # Panics
/// Never: every bid is accepted.
#[must_use]
pub fn entries(count: u64) -> Vec<Entry> {
    use gavel_domain::{command::Command, lot::Decision};
    let mut lot = open_lot(LotId(Uuid::from_u128(7)), false);
    let mut entries = Vec::new();
    for n in 0..count {
        let at = Timestamp::from_millis(1_800_000_000_001);
        let Ok(Decision::Events { at, events }) = lot.decide(&Command::Bid(bid(n, false)), at) else { unreachable!("accepted") };
        let recorded = lot.advance(Epoch(1), at, events);
        entries.extend(recorded.into_iter().filter(|r| matches!(r.event, LotEvent::BidPlaced(_))).map(Entry::Lot));
    }
    entries
}
