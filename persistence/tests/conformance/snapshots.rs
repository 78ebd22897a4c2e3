//! The snapshots' rules.

use super::{Backend, bidder, lot_id};
use gavel_domain::{
    ids::{Epoch, ShardId},
    shard::batch::BatchId,
};
use gavel_engine::ports::{
    format::{Digest, Mark},
    snapshots::{EntityKey, SnapshotSet},
};
use std::sync::Arc;

fn mark(number: u64) -> Mark {
    Mark { id: BatchId { epoch: Epoch(7), number }, hash: Digest([u8::try_from(number).expect("small"); 32]) }
}

fn lot(n: u128) -> EntityKey {
    EntityKey::Lot(lot_id(n))
}

fn set(number: u64, entities: &[(EntityKey, &[u8])]) -> SnapshotSet {
    SnapshotSet { marker: mark(number), entities: entities.iter().map(|(key, bytes)| (key.clone(), bytes.to_vec())).collect() }
}

async fn loaded(storage: &gavel_engine::ports::Storage, shard: u16) -> Option<SnapshotSet> {
    let mut set = storage.snapshots.load(ShardId(shard)).await.expect("readable")?;
    set.entities.sort();
    Some(set)
}

pub async fn nothing_saved_is_none<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    assert_eq!(loaded(&storage, 0).await, None);
    assert_eq!(storage.snapshots.load_one(ShardId(0), EntityKey::Keys).await.expect("readable"), None);
}

pub async fn what_is_saved_is_loaded<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let wallet = EntityKey::Wallet(bidder("ann"));
    let saved = set(3, &[(lot(1), b"one"), (lot(2), b""), (EntityKey::Keys, b"keys"), (wallet, b"ann's")]);
    storage.snapshots.save(ShardId(0), saved.clone(), vec![]).await.expect("saved");
    assert_eq!(loaded(&storage, 0).await, Some(saved));
    let one = storage.snapshots.load_one(ShardId(0), lot(1)).await.expect("readable");
    assert_eq!(one, Some((mark(3), b"one".to_vec())));
    assert_eq!(storage.snapshots.load_one(ShardId(0), lot(9)).await.expect("readable"), None);
}

pub async fn later_saves_replace_and_remove<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    storage.snapshots.save(ShardId(0), set(1, &[(lot(1), b"a"), (lot(2), b"b"), (lot(3), b"c")]), vec![]).await.expect("saved");
    storage.snapshots.save(ShardId(0), set(2, &[(lot(1), b"A"), (lot(4), b"d")]), vec![lot(2), lot(9)]).await.expect("saved");
    assert_eq!(loaded(&storage, 0).await, Some(set(2, &[(lot(1), b"A"), (lot(3), b"c"), (lot(4), b"d")])));
    assert_eq!(storage.snapshots.load_one(ShardId(0), lot(2)).await.expect("readable"), None);
    // What was removed may come back.
    storage.snapshots.save(ShardId(0), set(3, &[(lot(2), b"again")]), vec![lot(1)]).await.expect("saved");
    assert_eq!(loaded(&storage, 0).await, Some(set(3, &[(lot(2), b"again"), (lot(3), b"c"), (lot(4), b"d")])));
}

pub async fn a_save_without_changes_moves_the_marker<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    storage.snapshots.save(ShardId(0), set(1, &[(lot(1), b"a")]), vec![]).await.expect("saved");
    storage.snapshots.save(ShardId(0), set(2, &[]), vec![]).await.expect("saved");
    assert_eq!(loaded(&storage, 0).await, Some(set(2, &[(lot(1), b"a")])));
    assert_eq!(storage.snapshots.load_one(ShardId(0), lot(1)).await.expect("readable"), Some((mark(2), b"a".to_vec())));
}

/// Whoever loads meanwhile sees the marker of the old or of the new, and no entity that is older than it.
pub async fn a_large_save_shows_nothing_older_than_its_marker<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let large = |number: u64| {
        let value = vec![u8::try_from(number).expect("small"); 20_000];
        let entities = (0..300).map(|n| (lot(n), value.clone())).collect();
        SnapshotSet { marker: mark(number), entities }
    };
    storage.snapshots.save(ShardId(0), large(1), vec![]).await.expect("saved");
    let snapshots = Arc::clone(&storage.snapshots);
    let saving = tokio::spawn(async move {
        for number in 2..5 {
            snapshots.save(ShardId(0), large(number), vec![]).await.expect("saved");
        }
    });
    let mut last = 0;
    while last < 4 {
        let seen = storage.snapshots.load(ShardId(0)).await.expect("readable").expect("saved before");
        last = seen.marker.id.number;
        assert_eq!(seen.entities.len(), 300);
        assert!(seen.entities.iter().all(|(_, bytes)| u64::from(bytes[0]) >= last && bytes.iter().all(|byte| *byte == bytes[0])));
    }
    saving.await.expect("saves end");
}

pub async fn shards_are_apart<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let (first, second) = (set(1, &[(lot(1), b"a")]), set(2, &[(lot(1), b"b")]));
    storage.snapshots.save(ShardId(0), first.clone(), vec![]).await.expect("saved");
    storage.snapshots.save(ShardId(63), second.clone(), vec![]).await.expect("saved");
    assert_eq!(loaded(&storage, 0).await, Some(first));
    assert_eq!(loaded(&storage, 63).await, Some(second));
}

pub async fn a_restart_keeps_snapshots<B: Backend>() {
    let backend = B::fresh().await;
    let saved = set(3, &[(lot(1), b"one"), (EntityKey::Keys, b"keys")]);
    backend.ports().snapshots.save(ShardId(0), saved.clone(), vec![]).await.expect("saved");
    let backend = backend.restarted().await;
    assert_eq!(loaded(&backend.ports(), 0).await, Some(saved));
}

pub async fn a_long_save_is_whole<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let long = vec![7_u8; 60_000];
    let many: Vec<(EntityKey, &[u8])> = (0..20).map(|n| (lot(n), &long[..])).collect();
    storage.snapshots.save(ShardId(0), set(1, &many), vec![]).await.expect("saved");
    assert_eq!(loaded(&storage, 0).await, Some(set(1, &many)));
    let fewer: Vec<(EntityKey, &[u8])> = (0..15).map(|n| (lot(n), &b"new"[..])).chain([(lot(30), &long[..])]).collect();
    let gone = (15..20).map(lot).collect();
    storage.snapshots.save(ShardId(0), set(2, &fewer), gone).await.expect("saved");
    assert_eq!(loaded(&storage, 0).await, Some(set(2, &fewer)));
    let backend = backend.restarted().await;
    assert_eq!(loaded(&backend.ports(), 0).await, Some(set(2, &fewer)));
}
