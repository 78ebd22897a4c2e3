//! What version 1 wrote: before lots had rules of access, and wallets had permits.
//!
//! Lots and wallets got their new part at the end, so an old one is completed with the encoding of that
//! part as it is where there is none. Pictures of lots are also inside of batches and keys: they, and
//! what holds them, are as they were here. Events only got new kinds.

use super::{Stored, payload};
use gavel_domain::{
    event::{Outcome, Recorded},
    ids::{BidderId, LotId, OwnerId, Position},
    lot::{
        Lot, Status,
        access::{Access, AccessRules},
        spec::LotSpec,
        view::LotView,
    },
    money::Amount,
    shard::{
        batch::Entry,
        keys::{KeyUse, Keys},
    },
    time::{Millis, Timestamp},
    wallet::{Wallet, event::WalletRecorded, permit::Permit},
};
use gavel_engine::ports::format::Damage;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

#[derive(Deserialize)]
struct ViewV1 {
    id: LotId,
    created_at: Timestamp,
    spec: LotSpec,
    status: Status,
    position: Position,
    price: Option<Amount>,
    leader: Option<BidderId>,
    bid_count: u64,
    minimum_bid: Amount,
    reserve_met: Option<bool>,
    extensions: u32,
    closes_at: Option<Timestamp>,
    remaining: Option<Millis>,
    outcome: Option<Outcome>,
    settled: bool,
}

#[derive(Deserialize)]
struct KeyUseV1 {
    scope: Arc<str>,
    body: [u8; 32],
    at: Timestamp,
    answer: ViewV1,
}

#[derive(Deserialize)]
struct KeysV1 {
    by_scope: BTreeMap<Arc<str>, KeyUseV1>,
    /// As they were used; follows from the uses.
    #[expect(dead_code, reason = "written all the same")]
    order: VecDeque<Arc<str>>,
}

#[derive(Deserialize)]
enum EntryV1 {
    EpochOpened { owner: OwnerId, at: Timestamp },
    Lot(Arc<Recorded>),
    Key(Box<KeyUseV1>),
    Wallet(Arc<WalletRecorded>),
}

impl From<ViewV1> for LotView {
    fn from(old: ViewV1) -> Self {
        let ViewV1 { id, created_at, spec, status, position, price, leader, bid_count, minimum_bid, reserve_met, .. } = old;
        let ViewV1 { extensions, closes_at, remaining, outcome, settled, .. } = old;
        Self {
            id,
            created_at,
            spec,
            status,
            position,
            price,
            leader,
            bid_count,
            minimum_bid,
            reserve_met,
            extensions,
            closes_at,
            remaining,
            outcome,
            settled,
            access: AccessRules::default(),
        }
    }
}

impl From<KeyUseV1> for KeyUse {
    fn from(KeyUseV1 { scope, body, at, answer }: KeyUseV1) -> Self {
        Self { scope, body, at, answer: answer.into() }
    }
}

impl From<EntryV1> for Entry {
    fn from(old: EntryV1) -> Self {
        match old {
            EntryV1::EpochOpened { owner, at } => Self::EpochOpened { owner, at },
            EntryV1::Lot(recorded) => Self::Lot(recorded),
            EntryV1::Key(used) => Self::Key(Arc::new((*used).into())),
            EntryV1::Wallet(recorded) => Self::Wallet(recorded),
        }
    }
}

/// An old payload, completed with what came to its end since.
fn completed(old: &[u8], with: &impl serde::Serialize) -> Vec<u8> {
    let mut whole = old.to_vec();
    payload::encode(with, &mut whole);
    whole
}

impl Stored for Lot {
    fn from_v1(old: &[u8]) -> Result<Self, Damage> {
        payload::decode(&completed(old, &Access::default()))
    }
}

impl Stored for Wallet {
    fn from_v1(old: &[u8]) -> Result<Self, Damage> {
        payload::decode(&completed(old, &BTreeMap::<Arc<str>, Permit>::new()))
    }
}

impl Stored for LotView {
    fn from_v1(old: &[u8]) -> Result<Self, Damage> {
        payload::decode::<ViewV1>(old).map(Into::into)
    }
}

impl Stored for Keys {
    fn from_v1(old: &[u8]) -> Result<Self, Damage> {
        let mut keys = Self::default();
        for (_, used) in payload::decode::<KeysV1>(old)?.by_scope {
            keys.apply(&Arc::new(used.into()));
        }
        Ok(keys)
    }
}

impl Stored for Vec<Entry> {
    fn from_v1(old: &[u8]) -> Result<Self, Damage> {
        Ok(payload::decode::<Vec<EntryV1>>(old)?.into_iter().map(Into::into).collect())
    }
}

impl Stored for Recorded {
    fn from_v1(old: &[u8]) -> Result<Self, Damage> {
        payload::decode(old)
    }
}
