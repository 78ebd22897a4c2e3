//! The journal's rules.

use super::{Backend, Stream, plain};
use gavel_domain::{
    ids::{Epoch, ShardId},
    shard::batch::{BatchId, Entry},
    time::Timestamp,
};
use gavel_engine::ports::{
    Storage,
    format::{Digest, Sealed},
    journal::{AppendError, Page},
};
use std::sync::Arc;

async fn all(storage: &Storage, shard: ShardId) -> Vec<Sealed> {
    storage.journal.read(shard, Page { after: None, bytes: usize::MAX }).await.expect("readable")
}

async fn refused(storage: &Storage, batch: Arc<Sealed>) {
    let outcome = storage.journal.append(batch).await;
    assert!(matches!(outcome, Err(AppendError::Mismatch)), "{outcome:?}");
}

pub async fn appends_come_back_in_order<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 3);
    let appended = stream.grow(5).await;
    let read = all(&storage, ShardId(3)).await;
    assert_eq!(read, plain(&appended));
    for batch in &read {
        storage.format.open(batch).expect("intact");
    }
    assert!(all(&storage, ShardId(4)).await.is_empty());
}

pub async fn the_first_follows_nothing<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 0);
    stream.end = Digest([1; 32]);
    refused(&storage, stream.batch()).await;
    assert!(all(&storage, ShardId(0)).await.is_empty());
}

pub async fn a_stale_predecessor_is_refused<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 0);
    let appended = stream.grow(3).await;
    stream.end = appended[1].hash;
    refused(&storage, stream.batch()).await;
    // A batch that leaves one out is refused too.
    stream.end = appended[2].hash;
    let _left_out = stream.batch();
    refused(&storage, stream.batch()).await;
    assert_eq!(all(&storage, ShardId(0)).await, plain(&appended));
}

pub async fn a_retry_of_the_last_batch_succeeds<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 0);
    let appended = stream.grow(2).await;
    for _ in 0..2 {
        storage.journal.append(Arc::clone(&appended[1])).await.expect("it is there already");
    }
    assert_eq!(all(&storage, ShardId(0)).await, plain(&appended));
}

pub async fn a_retry_of_an_older_batch_does_not<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 0);
    let appended = stream.grow(2).await;
    refused(&storage, Arc::clone(&appended[0])).await;
}

pub async fn ids_only_grow<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 0);
    stream.grow(2).await;
    stream.next = BatchId { epoch: Epoch(6), number: 9 };
    refused(&storage, stream.batch()).await;
}

pub async fn a_new_epoch_follows_the_old<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 0);
    let mut appended = stream.grow(3).await;
    stream.next = BatchId { epoch: Epoch(1_800_000_000), number: 0 };
    appended.extend(stream.grow(2).await);
    assert_eq!(all(&storage, ShardId(0)).await, plain(&appended));
}

pub async fn one_mismatch_fails_nobody_else<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut streams: Vec<_> = (0..64).map(|shard| Stream::new(&storage, shard)).collect();
    streams[20].end = Digest([9; 32]);
    let appends = streams.iter_mut().map(|stream| {
        let (shard, batch) = (stream.shard, stream.batch());
        let append = storage.journal.append(batch);
        async move { (shard, append.await) }
    });
    for (shard, outcome) in futures_util::future::join_all(appends).await {
        match shard {
            ShardId(20) => assert!(matches!(outcome, Err(AppendError::Mismatch)), "{outcome:?}"),
            _ => outcome.expect("its own predecessor is right"),
        }
        assert_eq!(all(&storage, shard).await.len(), usize::from(shard != ShardId(20)));
    }
}

pub async fn a_second_writer_cannot_fork<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 5);
    stream.grow(3).await;
    let other = backend.another().await;
    let taken_over = {
        let mut theirs = Stream { storage: other.ports(), shard: stream.shard, next: stream.next, end: stream.end };
        theirs.next = BatchId { epoch: Epoch(8), number: 0 };
        theirs.grow(1).await
    };
    // The old owner knows nothing of it, and its id would even fit above.
    stream.next = BatchId { epoch: Epoch(9), number: 0 };
    refused(&storage, stream.batch()).await;
    refused(
        &storage,
        stream.seal(&[Entry::EpochOpened { owner: gavel_domain::ids::OwnerId(uuid::Uuid::nil()), at: Timestamp::from_millis(1) }]),
    )
    .await;
    let read = all(&storage, ShardId(5)).await;
    assert_eq!((read.len(), read.last()), (4, taken_over.last().map(AsRef::as_ref)));
}

pub async fn pages_end_after_their_bytes<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 0);
    let appended = plain(&stream.grow(10).await);
    let size = appended[0].bytes.len();
    let read = |after: Option<usize>, bytes| storage.journal.read(ShardId(0), Page { after: after.map(|n| appended[n].id), bytes });
    assert_eq!(read(None, 1).await.expect("readable"), appended[..1]);
    assert_eq!(read(Some(0), 2 * size).await.expect("readable"), appended[1..3]);
    assert_eq!(read(Some(7), usize::MAX).await.expect("readable"), appended[8..]);
    assert!(read(Some(9), usize::MAX).await.expect("readable").is_empty());
    // An id that never was still has a place.
    let after = Some(BatchId { epoch: Epoch(6), number: 99 });
    assert_eq!(storage.journal.read(ShardId(0), Page { after, bytes: usize::MAX }).await.expect("readable"), appended);
}

pub async fn trimming_keeps_the_last<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 0);
    let mut other = Stream::new(&storage, 1);
    other.grow(2).await;
    let appended = plain(&stream.grow(5).await);
    storage.journal.trim(ShardId(0), appended[1].id).await.expect("trimmed");
    assert_eq!(all(&storage, ShardId(0)).await, appended[2..]);
    let beyond = BatchId { epoch: Epoch(99), number: 0 };
    storage.journal.trim(ShardId(0), beyond).await.expect("trimmed");
    assert_eq!(all(&storage, ShardId(0)).await, appended[4..]);
    storage.journal.append(Arc::new(appended[4].clone())).await.expect("a retry still finds it");
    stream.grow(1).await;
    assert_eq!(all(&storage, ShardId(0)).await.len(), 2);
    assert_eq!(all(&storage, ShardId(1)).await.len(), 2);
    storage.journal.trim(ShardId(9), beyond).await.expect("nothing there");
}

pub async fn trimming_many_leaves_the_rest<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 0);
    let appended = plain(&stream.grow(400).await);
    storage.journal.trim(ShardId(0), appended[383].id).await.expect("trimmed");
    assert_eq!(all(&storage, ShardId(0)).await, appended[384..]);
    assert_eq!(storage.journal.kept_bytes(), appended[384..].iter().map(|batch| batch.bytes.len() as u64).sum::<u64>());
}

pub async fn what_is_trimmed_stays_so<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    // Two that take turns, as if they lay beside each other.
    let (mut stream, mut other) = (Stream::new(&storage, 0), Stream::new(&storage, 1));
    let (mut appended, mut others) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        appended.extend(plain(&stream.grow(1).await));
        others.extend(plain(&other.grow(1).await));
    }
    storage.journal.trim(ShardId(0), appended[79].id).await.expect("trimmed");
    storage.journal.trim(ShardId(1), others[9].id).await.expect("trimmed");
    let kept = storage.journal.kept_bytes();
    drop(storage);
    let backend = backend.restarted().await;
    let storage = backend.ports();
    assert_eq!((all(&storage, ShardId(0)).await, all(&storage, ShardId(1)).await), (appended[80..].to_vec(), others[10..].to_vec()));
    assert_eq!(storage.journal.kept_bytes(), kept);
    stream.storage = storage.clone();
    stream.grow(1).await;
    storage.journal.trim(ShardId(1), others[98].id).await.expect("trimmed");
    assert_eq!((all(&storage, ShardId(0)).await.len(), all(&storage, ShardId(1)).await), (21, others[99..].to_vec()));
}

pub async fn an_emptied_stream_begins_anew<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let appended = plain(&Stream::new(&storage, 0).grow(5).await);
    Stream::new(&storage, 1).grow(1).await;
    storage.journal.trim(ShardId(0), appended[1].id).await.expect("trimmed");
    storage.journal.set_aside(ShardId(0), appended[2].id).await.expect("moved");
    assert!(all(&storage, ShardId(0)).await.is_empty());
    storage.journal.extend(ShardId(0), Digest::default(), appended.clone()).await.expect("from the first on");
    drop(storage);
    let backend = backend.restarted().await;
    assert_eq!(all(&backend.ports(), ShardId(0)).await, appended);
}

pub async fn extending_is_all_or_nothing<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 0);
    let kept = stream.grow(2).await;
    let archived = plain(&stream.batches(4));
    let extend = |end, batches: &[Sealed]| storage.journal.extend(ShardId(0), end, batches.to_vec());

    extend(kept[0].hash, &archived).await.expect_err("that is not the end");
    extend(archived[0].hash, &archived[1..]).await.expect_err("one is left out");
    extend(kept[1].hash, &[archived[0].clone(), archived[2].clone()]).await.expect_err("one in between is left out");
    assert_eq!(all(&storage, ShardId(0)).await, plain(&kept));

    extend(kept[1].hash, &archived).await.expect("it follows");
    extend(archived[3].hash, &[]).await.expect("nothing to do");
    assert_eq!(all(&storage, ShardId(0)).await, [plain(&kept), archived].concat());
    stream.grow(1).await;
}

pub async fn an_empty_stream_can_be_extended<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 2);
    let archived = plain(&stream.batches(3));
    storage.journal.extend(ShardId(2), Digest::default(), archived[1..].to_vec()).await.expect_err("the first is missing");
    storage.journal.extend(ShardId(2), Digest::default(), archived.clone()).await.expect("from the first on");
    assert_eq!(all(&storage, ShardId(2)).await, archived);
}

pub async fn set_aside_batches_leave_the_stream<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 0);
    let appended = plain(&stream.grow(5).await);
    storage.journal.set_aside(ShardId(0), appended[3].id).await.expect("moved");
    assert_eq!(all(&storage, ShardId(0)).await, appended[..3]);
    assert_eq!(storage.journal.kept_bytes(), appended[..3].iter().map(|batch| batch.bytes.len() as u64).sum::<u64>());
    stream.end = appended[2].hash;
    stream.next = BatchId { epoch: Epoch(8), number: 0 };
    stream.grow(1).await;
    assert_eq!(all(&storage, ShardId(0)).await.len(), 4);
}

pub async fn kept_bytes_are_counted<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    assert_eq!(storage.journal.kept_bytes(), 0);
    let appended = Stream::new(&storage, 0).grow(3).await;
    let bytes: u64 = appended.iter().map(|batch| batch.bytes.len() as u64).sum();
    assert_eq!(storage.journal.kept_bytes(), bytes);
    storage.journal.append(Arc::clone(&appended[2])).await.expect("it is there already");
    assert_eq!(storage.journal.kept_bytes(), bytes, "a retry is counted once");
    storage.journal.ping().await.expect("writable");
    let backend = backend.restarted().await;
    assert_eq!(backend.ports().journal.kept_bytes(), bytes);
}

pub async fn a_restart_keeps_everything<B: Backend>() {
    let backend = B::fresh().await;
    let mut stream = Stream::new(&backend.ports(), 0);
    let mut appended = stream.grow(20).await;
    let backend = backend.restarted().await;
    stream.storage = backend.ports();
    appended.extend(stream.grow(1).await);
    assert_eq!(all(&backend.ports(), ShardId(0)).await, plain(&appended));
}
