//! One entity of a shard that serves, from what is stored: its snapshot, its events in the journal
//! since, and those still on their way there.

use super::failure::RecoveryError;
use crate::{
    ports::{
        Storage,
        format::{Damage, Format},
        snapshots::EntityKey,
    },
    tail::{TRIES, Tail},
};
use gavel_domain::{
    ids::{BidderId, LotId, ShardId},
    lot::Lot,
    shard::{
        batch::Entry,
        entities::{Misfit, catch_up, catch_up_wallet},
    },
    wallet::Wallet,
};

/// What lives in a shard under an id of its own, and is rebuilt by itself.
pub(crate) trait Entity: Sized + 'static {
    /// Names it.
    type Id: Clone + 'static;
    /// What people call it.
    fn named(id: &Self::Id) -> String;
    /// What it is called among the snapshots.
    fn key(id: &Self::Id) -> EntityKey;
    fn decode(format: &dyn Format, bytes: &[u8]) -> Result<Self, Damage>;
    /// Whether an entry of the journal is about it.
    fn concerns(id: &Self::Id, entry: &Entry) -> bool;
    /// Takes the next entry that is about it into its state.
    fn go_on(state: &mut Option<Self>, entry: &Entry) -> Result<(), Misfit>;
    /// What it is where nothing is stored of it.
    fn absent(shard: ShardId, id: &Self::Id) -> Result<Self, RecoveryError>;
}

impl Entity for Lot {
    type Id = LotId;

    fn named(id: &LotId) -> String {
        format!("lot {id}")
    }

    fn key(id: &LotId) -> EntityKey {
        EntityKey::Lot(*id)
    }

    fn decode(format: &dyn Format, bytes: &[u8]) -> Result<Self, Damage> {
        format.decode_lot(bytes)
    }

    fn concerns(id: &LotId, entry: &Entry) -> bool {
        matches!(entry, Entry::Lot(recorded) if recorded.lot == *id)
    }

    fn go_on(state: &mut Option<Self>, entry: &Entry) -> Result<(), Misfit> {
        let Entry::Lot(recorded) = entry else { return Ok(()) };
        if let Some(known) = state {
            return catch_up(known, recorded);
        }
        *state = Self::from_creation(recorded);
        if state.is_some() { Ok(()) } else { Err(Misfit::UnknownLot { lot: recorded.lot, seq: recorded.seq }) }
    }

    fn absent(shard: ShardId, id: &LotId) -> Result<Self, RecoveryError> {
        Err(RecoveryError::LostLot { shard, lot: *id })
    }
}

impl Entity for Wallet {
    type Id = BidderId;

    fn named(id: &BidderId) -> String {
        format!("the wallet of {id}")
    }

    fn key(id: &BidderId) -> EntityKey {
        EntityKey::Wallet(id.clone())
    }

    fn decode(format: &dyn Format, bytes: &[u8]) -> Result<Self, Damage> {
        format.decode_wallet(bytes)
    }

    fn concerns(id: &BidderId, entry: &Entry) -> bool {
        matches!(entry, Entry::Wallet(recorded) if recorded.bidder == *id)
    }

    fn go_on(state: &mut Option<Self>, entry: &Entry) -> Result<(), Misfit> {
        let Entry::Wallet(recorded) = entry else { return Ok(()) };
        catch_up_wallet(state.get_or_insert_with(|| Self::new(recorded.bidder.clone())), recorded)
    }

    fn absent(_: ShardId, id: &BidderId) -> Result<Self, RecoveryError> {
        Ok(Self::new(id.clone()))
    }
}

/// Rebuilds one.
pub(crate) async fn recover_one<E: Entity>(
    shard: ShardId,
    id: &E::Id,
    storage: &Storage,
    on_their_way: &[Entry],
) -> Result<E, RecoveryError> {
    let mut tries = 0;
    loop {
        let recovered = read_one(shard, id, storage, on_their_way).await;
        tries += 1;
        // The shard is saved and its journal trimmed beside this: then the snapshot is a newer one.
        let overtaken = matches!(recovered, Err(RecoveryError::Gap { .. } | RecoveryError::Misfit { .. } | RecoveryError::LostLot { .. }));
        if !overtaken || tries == TRIES {
            return recovered;
        }
    }
}

async fn read_one<E: Entity>(shard: ShardId, id: &E::Id, storage: &Storage, on_their_way: &[Entry]) -> Result<E, RecoveryError> {
    let saved = storage.snapshots.load_one(shard, E::key(id)).await.map_err(|error| RecoveryError::storage(shard, error))?;
    let (mut state, mut tail) = match saved {
        Some((marker, bytes)) => {
            let decoded = E::decode(storage.format.as_ref(), &bytes);
            let decoded = decoded.map_err(|damage| RecoveryError::NoBase { shard, reason: damage.to_string() })?;
            (Some(decoded), Tail::after(shard, storage, Some(marker)))
        }
        None => (None, Tail::oldest(shard, storage)),
    };
    let misfit = |misfit| RecoveryError::Misfit { shard, misfit };
    loop {
        let page = tail.next().await.map_err(|error| RecoveryError::tail(shard, error))?;
        if page.is_empty() {
            break;
        }
        for entry in page.iter().flat_map(|batch| &batch.entries).filter(|entry| E::concerns(id, entry)) {
            E::go_on(&mut state, entry).map_err(misfit)?;
        }
    }
    for entry in on_their_way {
        E::go_on(&mut state, entry).map_err(misfit)?;
    }
    state.map_or_else(|| E::absent(shard, id), Ok)
}
