//! Through the actors: the round trip of one durable bid, a burst on one hot lot, and fan-out to
//! 1,000 sessions in this process.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gavel::{config::Settings, ws::hub::Hub};
use gavel_bench::{bid, spec};
use gavel_domain::ids::{LotId, OwnerId};
use gavel_engine::{
    Engine,
    delivery::reply::ReplyTo,
    request::{Ask, Reply, Request},
    routing::engine::Tuning,
};
use gavel_persistence::sqlite::{EmbeddedStorage, OpenOptions};
use std::{rc::Rc, time::Duration};
use uuid::Uuid;

const BURST: u64 = 1000;
const SESSIONS: usize = 1000;

struct Bench {
    system: actix_rt::SystemRunner,
    engine: Engine,
    lot: LotId,
    next: u64,
}

impl Bench {
    fn start(dir: &std::path::Path) -> Self {
        let system = actix_rt::System::new();
        let lot = LotId(Uuid::from_u128(1));
        let engine = system.block_on(async {
            let opened = EmbeddedStorage::open(dir.join("data"), OpenOptions::new(4, tokio::runtime::Handle::current())).await;
            let tuning = Tuning {
                owner: OwnerId(Uuid::new_v4()),
                shards: 4,
                arbiters: 1,
                inbox: 65_536,
                journal_max_bytes: u64::MAX,
                checkpoint_bytes: 1 << 20,
                checkpoint_after: Duration::from_secs(30),
                evict_after: None,
            };
            let engine = Engine::start(opened.expect("a new data directory").storage.ports(), tuning).await.expect("a new engine");
            let create = Ask::Create { spec: Box::new(spec(true)), access: Default::default(), by: None, key: None, archived: false };
            assert!(matches!(engine.ask(lot, create).await, Reply::Lot(_)));
            engine
        });
        Self { system, engine, lot, next: 0 }
    }

    fn bids(&mut self, count: u64) {
        let mut answers = Vec::new();
        for _ in 0..count {
            self.next += 1;
            let (reply, answer) = ReplyTo::future();
            let ask = Ask::Bid { bid: bid(self.next, false), retry: false };
            self.engine.submit(Request { lot: self.lot, ask, reply });
            answers.push(answer);
        }
        self.system.block_on(async {
            for answer in answers {
                assert!(matches!(answer.await, Ok(Reply::Receipt(_))));
            }
        });
    }
}

fn durable_bids(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut bench = Bench::start(dir.path());
    let mut group = c.benchmark_group("actor");
    group.bench_function("round trip of one durable bid", |b| b.iter(|| bench.bids(1)));
    group.throughput(Throughput::Elements(BURST));
    group.bench_function("1,000 durable bids at once, one lot", |b| b.iter(|| bench.bids(BURST)));

    // The same with 1,000 sessions that watch: one event each, read by all.
    let settings = Settings::default();
    let hub = bench
        .system
        .block_on(async { Hub::start(bench.engine.clone(), settings.limits.clone(), settings.known_currencies()).expect("a worker") });
    let listeners: Vec<_> = (0..SESSIONS).map(|_| Rc::clone(&hub).listen(bench.lot)).collect();
    bench.system.block_on(async {
        for listener in &listeners {
            listener.next().await; // the reply to its join
        }
    });
    group.throughput(Throughput::Elements(SESSIONS as u64));
    group.bench_function("one bid to 1,000 sessions", |b| {
        b.iter(|| {
            bench.bids(1);
            bench.system.block_on(async {
                for listener in &listeners {
                    listener.next().await;
                }
            });
        });
    });
}

criterion_group!(benches, durable_bids);
criterion_main!(benches);
