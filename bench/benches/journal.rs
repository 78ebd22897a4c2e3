//! Encoding a batch, and committing batches of 1, 100 and 1,000 bids to the embedded journal
//! (`synchronous=FULL`).

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gavel_bench::entries;
use gavel_domain::{
    ids::{Epoch, ShardId},
    shard::batch::BatchId,
};
use gavel_engine::ports::format::{Digest, Format};
use gavel_persistence::{
    record::RecordFormat,
    sqlite::{EmbeddedStorage, OpenOptions},
};
use std::{hint::black_box, sync::Arc};

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("journal encode");
    for count in [1, 100, 1000] {
        let entries = entries(count);
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("{count} bids"), |b| {
            b.iter(|| black_box(RecordFormat.seal(ShardId(0), BatchId { epoch: Epoch(1), number: 1 }, Digest::default(), &entries)));
        });
    }
}

fn commit(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    let opened = runtime.block_on(EmbeddedStorage::open(dir.path().join("data"), OpenOptions::new(4, runtime.handle().clone())));
    let storage = opened.expect("a new data directory").storage;
    let journal = storage.ports().journal;
    let mut group = c.benchmark_group("journal commit");
    for (shard, count) in [1, 100, 1000].into_iter().enumerate() {
        let shard = ShardId(u16::try_from(shard).expect("few"));
        let entries = entries(count);
        let (mut previous, mut number) = (Digest::default(), 0);
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("{count} bids"), |b| {
            b.iter(|| {
                let sealed = Arc::new(RecordFormat.seal(shard, BatchId { epoch: Epoch(1), number }, previous, &entries));
                (previous, number) = (sealed.hash, number + 1);
                runtime.block_on(journal.append(sealed)).expect("appended");
            });
        });
    }
}

criterion_group!(benches, encode, commit);
criterion_main!(benches);
