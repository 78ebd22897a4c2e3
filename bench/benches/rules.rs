//! One bid through the pure rules: decide and apply, and how the parts share the time.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use gavel_bench::{bid, open_lot};
use gavel_domain::{
    command::Command,
    ids::{Epoch, LotId},
    lot::Decision,
    time::Timestamp,
};
use std::hint::black_box;
use uuid::Uuid;

fn decide_and_apply(c: &mut Criterion) {
    let at = Timestamp::from_millis(1_800_000_000_001);
    for (name, proxy) in [("decide+apply, plain", false), ("decide+apply, proxy", true)] {
        let mut lot = open_lot(LotId(Uuid::from_u128(1)), proxy);
        let mut n = 0;
        c.bench_function(name, |b| {
            b.iter_batched(
                || {
                    n += 1;
                    Command::Bid(bid(n, proxy))
                },
                |command| {
                    let Ok(Decision::Events { at, events }) = lot.decide(&command, at) else { unreachable!("accepted") };
                    black_box(lot.advance(Epoch(1), at, events))
                },
                BatchSize::SmallInput,
            );
        });
    }
    let mut lot = open_lot(LotId(Uuid::from_u128(1)), true);
    let Ok(Decision::Events { at: when, events }) = lot.decide(&Command::Bid(bid(1000, true)), at) else { unreachable!("accepted") };
    lot.advance(Epoch(1), when, events);
    let low = Command::Bid(bid(5, true));
    c.bench_function("decide, too low", |b| b.iter(|| black_box(lot.decide(&low, at).is_err())));
}

criterion_group!(benches, decide_and_apply);
criterion_main!(benches);
