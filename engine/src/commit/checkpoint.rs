//! Checkpoints: snapshots of what changed, so that recovery replays little and the journal can be
//! trimmed. Taken lot by lot while bids go on: a snapshot may be newer than the marker, never older,
//! and replay passes over what it includes.

use crate::{
    actors::{
        lot::TakeSnapshot,
        shard::{Shard, Unsaved},
    },
    commit::committer::holds,
    ports::{
        format::Mark,
        snapshots::{EntityKey, SnapshotSet},
    },
    supervision::watched,
};
use gavel_domain::{
    ids::{Epoch, LotId, ShardId},
    shard::batch::BatchId,
};
use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

/// How often a shard looks whether something is due.
const LOOK: Duration = Duration::from_millis(500);

/// Looks after a shard's snapshots, its journal's beginning, its closed lots and its dead actors,
/// until it is closed.
pub(crate) async fn keep_up(shard: Rc<Shard>) {
    if let Err(panic) = watched(look_after(&shard)).await {
        shard.close(format!("{panic} in its upkeep"));
    }
}

async fn look_after(shard: &Rc<Shard>) {
    // Shards take their turns at different moments.
    let offset = LOOK * u32::from(shard.id.0 % 64) / 64;
    let mut look = tokio::time::interval_at(tokio::time::Instant::now() + offset, LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut trimmed = None;
    let mut looked_at_owner = false;
    while !shard.is_closed() {
        look.tick().await;
        let _undisturbed = shard.upkeep.lock().await;
        if !shard.is_serving() {
            continue;
        }
        let epoch = shard.epoch().get();
        // Whoever took one shard has most likely taken all; one that is idle would not notice.
        if shard.node.superseded.load(Ordering::Relaxed) && !std::mem::replace(&mut looked_at_owner, true) {
            shard.doubt();
            continue;
        }
        shard.replace_dead();
        if let Some(held) = held(shard) {
            shard.evict(held);
        }
        if is_due(shard) {
            save(shard).await;
        }
        if shard.serves_in(epoch) {
            trim(shard, &mut trimmed).await;
        }
    }
}

/// The last batch that both the tables and the snapshots include.
fn held(shard: &Shard) -> Option<BatchId> {
    let marker = shard.unsaved.borrow().marker;
    Some(shard.node.backlog.cursor(shard.id)?.id.min(marker?.id))
}

/// Due at once where what is saved is of no use; by bytes (a save costs about what it saves from being replayed), by time, or to forget lots.
fn is_due(shard: &Shard) -> bool {
    let unsaved = shard.unsaved.borrow();
    let tuning = &shard.node.tuning;
    let share = share_of(shard.id);
    let bytes = tuning.checkpoint_bytes / 64 * usize::try_from(share).unwrap_or(64);
    let enough = unsaved.bytes >= bytes.max(2 * unsaved.last_save);
    let late = unsaved.since.is_some_and(|since| since.elapsed() >= tuning.checkpoint_after * share / 64);
    unsaved.useless || enough || late || !unsaved.gone.is_empty()
}

/// How much of the configured bounds a shard waits for, in 64ths: from half of them to all, so that shards which
/// began together, under the same load, do not all save at the same moment.
fn share_of(shard: ShardId) -> u32 {
    // Neighbours are far apart, however many shards there are.
    let scattered = u32::from(shard.0.reverse_bits() >> 11);
    64 - scattered
}

/// Saves everything that changed. What can't be saved now stays unsaved.
pub(crate) async fn save(shard: &Rc<Shard>) {
    let epoch = shard.epoch().get();
    // Everything up to here is in the snapshots that are taken from now on.
    let marker = shard.head().get();
    let before = shard.unsaved.borrow().marker;
    let taken = std::mem::replace(&mut *shard.unsaved.borrow_mut(), Unsaved { marker: before, ..Unsaved::default() });
    let saved = try_save(shard, marker, &taken).await;
    if !shard.serves_in(epoch) {
        return; // given up meanwhile: the books are begun anew
    }
    if note(shard, marker, taken, saved).is_err() {
        doubt(shard, epoch).await;
    }
}

/// Keeps the books on a save.
fn note(shard: &Rc<Shard>, marker: Mark, taken: Unsaved, saved: Result<usize, String>) -> Result<(), NotSaved> {
    let mut unsaved = shard.unsaved.borrow_mut();
    match saved {
        Ok(bytes) => {
            unsaved.marker = Some(marker);
            unsaved.last_save = bytes;
            Ok(())
        }
        Err(reason) => {
            tracing::warn!(shard = %shard.id, %reason, "checkpoint not taken");
            unsaved.lots.extend(&taken.lots);
            unsaved.wallets.extend(taken.wallets);
            unsaved.keys |= taken.keys;
            unsaved.useless |= taken.useless;
            unsaved.gone.extend(taken.gone);
            unsaved.bytes += taken.bytes;
            unsaved.since = taken.since.or(unsaved.since);
            unsaved.last_save = taken.last_save;
            Err(NotSaved)
        }
    }
}

/// What changed stays unsaved.
struct NotSaved;

/// A save did not succeed. Perhaps all that is stored is gone: then the journal lacks its last batch too.
async fn doubt(shard: &Rc<Shard>, epoch: Epoch) {
    let head = shard.head().get();
    if matches!(holds(shard, head).await, Ok(false)) && shard.serves_in(epoch) && shard.head().get() == head {
        shard.doubt();
    }
}

async fn try_save(shard: &Rc<Shard>, marker: Mark, taken: &Unsaved) -> Result<usize, String> {
    let mut entities = Vec::with_capacity(taken.lots.len() + taken.wallets.len() + 1);
    let is_gone = |lot: &LotId, unsaved: &Unsaved| unsaved.gone.contains(&EntityKey::Lot(*lot));
    let wanted: Vec<LotId> = taken.lots.iter().copied().filter(|lot| !is_gone(lot, taken)).collect();
    let actors = shard.actors(wanted.iter().copied());
    if actors.len() < wanted.len() {
        let live: std::collections::BTreeSet<LotId> = actors.iter().map(|(lot, _)| *lot).collect();
        let missing = wanted.iter().find(|lot| !live.contains(lot) && !is_gone(lot, &shard.unsaved.borrow()));
        if let Some(lot) = missing {
            return Err(format!("lot {lot} has no actor"));
        }
    }
    for (lot, actor) in actors {
        let snapshot = actor.send(TakeSnapshot).await.map_err(|error| format!("lot {lot}: {error}"))?;
        entities.push((EntityKey::Lot(lot), snapshot.ok_or_else(|| format!("lot {lot} is being rebuilt"))?));
    }
    for (bidder, actor) in shard.wallet_actors(taken.wallets.iter().cloned()) {
        let snapshot = actor.send(TakeSnapshot).await.map_err(|error| format!("the wallet of {bidder}: {error}"))?;
        let snapshot = snapshot.ok_or_else(|| format!("the wallet of {bidder} is being rebuilt"))?;
        entities.push((EntityKey::Wallet(bidder), snapshot));
    }
    if taken.keys {
        entities.push((EntityKey::Keys, shard.node.storage.format.encode_keys(&shard.keys().borrow())));
    }
    // A snapshot includes what is staged but not yet durable: it waits, like any output.
    shard.barrier().await.map_err(|_| "the shard was given up".to_owned())?;
    let bytes = entities.iter().map(|(_, bytes)| bytes.len()).sum();
    let removed = taken.gone.iter().cloned().collect();
    let saving = shard.node.storage.snapshots.save(shard.id, SnapshotSet { marker, entities }, removed);
    saving.await.map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Forgets what neither recovery nor the projector needs any more.
async fn trim(shard: &Rc<Shard>, trimmed: &mut Option<BatchId>) {
    let Some(up_to) = held(shard) else { return };
    if trimmed.is_some_and(|trimmed| trimmed >= up_to) {
        return;
    }
    match shard.node.storage.journal.trim(shard.id, up_to).await {
        Ok(()) => *trimmed = Some(up_to),
        Err(error) => tracing::warn!(shard = %shard.id, %error, "the journal can't be trimmed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_take_their_checkpoints_apart() {
        let mut shares: Vec<u32> = (0..32).map(|n| share_of(ShardId(n))).collect();
        assert_eq!(share_of(ShardId(0)), 64, "all of it");
        shares.sort_unstable();
        assert_eq!(shares, (33..=64).collect::<Vec<u32>>());
    }
}
