//! Measures the embedded backend: latency and CPU of appends, rows a second of projections, file
//! sizes under steady trimming. Prints figures, asserts nothing.
//!
//! `taskset -c 0 cargo run --release -p gavel-persistence --example storage_figures [append|tables|trim|seal] [checkpoint MiB]`

use gavel_domain::{
    currency::Currency,
    event::{BidPlaced, LotEvent, Recorded},
    ids::{BidId, BidderId, Epoch, LotId, Seq, ShardId},
    lot::{
        Lot,
        increments::{Increment, Increments},
        spec::{English, Funding, LotSpec, Rules},
        view::LotView,
    },
    money::Amount,
    shard::batch::{BatchId, Entry},
    time::Timestamp,
};
use gavel_engine::ports::{
    Storage,
    format::{Digest, Format as _, Mark, Sealed},
    tables::Projection,
};
use gavel_persistence::{
    record::RecordFormat,
    sqlite::{EmbeddedStorage, OpenOptions},
};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let wanted = std::env::args().nth(1);
    let wants = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    if wants("seal") {
        seal();
    }
    if wants("append") {
        println!(
            "{:<24} {:>9} {:>9} {:>9} {:>9} {:>10} {:>12}",
            "append", "p50 µs", "p99 µs", "p99.9 µs", "max µs", "cpu µs/tx", "batches/s"
        );
        for (name, shards, entries, rounds) in
            [("1 x 1 bid", 1, 1, 10_000), ("1 x 50 kB", 1, 307, 10_000), ("1 x 150 kB", 1, 920, 4000), ("64 x 2 kB", 64, 12, 3000)]
        {
            runtime.block_on(append(name, shards, entries, rounds))?;
        }
    }
    if wants("tables") {
        runtime.block_on(tables())?;
    }
    if wants("trim") {
        runtime.block_on(trim())?;
    }
    Ok(())
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new(64, tokio::runtime::Handle::current());
    if let Some(mebibytes) = std::env::args().nth(2).and_then(|text| text.parse::<u64>().ok()) {
        options.checkpoint_bytes = mebibytes << 20;
    }
    options
}

fn seal() {
    let entries: Vec<Entry> = (0..2000).map(|n| Entry::Lot(bid(lot_id(1), n + 1, 1000))).collect();
    let rounds = 2000_u32;
    let started = Instant::now();
    let mut sealed = RecordFormat.seal(ShardId(3), BatchId { epoch: Epoch(1_800_000_000), number: 7 }, Digest::default(), &entries);
    for _ in 1..rounds {
        sealed = RecordFormat.seal(ShardId(3), sealed.id.next(), sealed.hash, &entries);
    }
    let each = started.elapsed() / rounds;
    println!("seal: 2,000 entries, {} bytes, {each:?} ({} bytes an entry)", sealed.bytes.len(), sealed.bytes.len() / 2000);
    let started = Instant::now();
    for _ in 0..200 {
        assert!(RecordFormat.open(&sealed).is_ok());
    }
    println!("open: the same, {:?}", started.elapsed() / 200);
}

async fn append(name: &str, shards: u16, entries: u64, rounds: usize) -> Result<(), Failure> {
    let dir = tempfile::tempdir_in(".")?;
    let opened = EmbeddedStorage::open(dir.path(), options()).await?;
    let ports = opened.storage.ports();
    let mut chains: Vec<Chain> = (0..shards).map(Chain::new).collect();
    let mut latencies = Vec::with_capacity(rounds);
    let (mut in_append, mut sealing) = (Duration::ZERO, Duration::ZERO);
    let cpu_started = cpu_time();
    for _ in 0..rounds {
        let started = Instant::now();
        let batches: Vec<_> = chains.iter_mut().map(|chain| chain.next(entries)).collect();
        sealing += started.elapsed();
        let started = Instant::now();
        let appends = batches.into_iter().map(|batch| ports.journal.append(batch));
        futures_util::future::try_join_all(appends).await?;
        latencies.push(started.elapsed());
        in_append += started.elapsed();
    }
    // Making the batches is not the store's work (and is all of this thread's own).
    let cpu = cpu_time().saturating_sub(cpu_started).saturating_sub(sealing);
    latencies.sort_unstable();
    let at = |per_mille: usize| latencies[(latencies.len() - 1) * per_mille / 1000].as_micros();
    println!(
        "{name:<24} {:>9} {:>9} {:>9} {:>9} {:>10} {:>12.0}   log {} MiB, file {} MiB",
        at(500),
        at(990),
        at(999),
        at(1000),
        cpu.as_micros() / rounds as u128,
        (rounds * usize::from(shards)) as f64 / in_append.as_secs_f64(),
        mebibytes(&dir.path().join("journal.db-wal")),
        mebibytes(&dir.path().join("journal.db")),
    );
    opened.storage.close().await?;
    Ok(())
}

async fn tables() -> Result<(), Failure> {
    let dir = tempfile::tempdir_in(".")?;
    let opened = EmbeddedStorage::open(dir.path(), options()).await?;
    let ports = opened.storage.ports();
    for (name, lots, rows) in [("1 lot", 1_u128, 20_000_u64), ("1,000 lots", 1000, 20_000)] {
        let mut from: Option<Mark> = None;
        let mut chain = Chain::new(if lots == 1 { 0 } else { 1 });
        let mut seqs = vec![0_u64; usize::try_from(lots)?];
        let mut views: Vec<LotView> = (0..lots).map(|n| view(lot_id(n + lots * 1000))).collect();
        let (mut spent, mut cpu, mut count) = (Duration::ZERO, Duration::ZERO, 0_u64);
        for _ in 0..25 {
            let mut events = Vec::new();
            let mut batches = Vec::new();
            for chunk in 0..rows / 1000 {
                let mut entries = Vec::new();
                for n in 0..1000 {
                    let lot = usize::try_from((chunk * 1000 + n) % u64::try_from(lots)?)?;
                    seqs[lot] += 1;
                    let recorded = bid(views[lot].id, seqs[lot], 1000);
                    views[lot].fold(&recorded);
                    events.push(Arc::clone(&recorded));
                    entries.push(Entry::Lot(recorded));
                }
                batches.push(chain.seal(&entries));
            }
            let to = batches.last().map(|batch| batch.mark());
            let projection = Projection { shard: chain.shard, from, batches, events, lots: views.clone(), ledger: vec![], audited: vec![] };
            let (started, cpu_started) = (Instant::now(), cpu_time());
            ports.tables.project(vec![projection]).await?;
            spent += started.elapsed();
            cpu += cpu_time().saturating_sub(cpu_started);
            from = to;
            count += rows;
        }
        println!(
            "project: {name}, {rows} bids a transaction: {:.0} rows/s, {:.1} µs of CPU a row (batches archived too)",
            count as f64 / spent.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / count as f64
        );
    }
    let lot = lot_id(1000);
    let started = Instant::now();
    let page = ports.tables.bids(lot, Seq(250_000), 1000).await?;
    println!("bids: a page of {} in {:?}", page.len(), started.elapsed());
    let Some(LotEvent::BidPlaced(one)) = page.first().map(|recorded| recorded.event.clone()) else { return Err("no bids".into()) };
    let started = Instant::now();
    let found = ports.tables.bid(lot, one.bidder.clone(), one.bid_id).await?;
    println!("bid: found {} in {:?}", found.is_some(), started.elapsed());
    let started = Instant::now();
    let own = ports.tables.own(lot, one.bidder).await?;
    println!("own: {own:?} in {:?}", started.elapsed());
    println!("tables.db: {} MiB, log {} MiB", mebibytes(&dir.path().join("tables.db")), mebibytes(&dir.path().join("tables.db-wal")));
    opened.storage.close().await?;
    Ok(())
}

/// Appends without pause while each shard is trimmed and saved now and then, as in service.
async fn trim() -> Result<(), Failure> {
    let dir = tempfile::tempdir_in(".")?;
    let opened = EmbeddedStorage::open(dir.path(), options()).await?;
    let ports: Storage = opened.storage.ports();
    let mut chains: Vec<Chain> = (0..64).map(Chain::new).collect();
    for lap in 0..6 {
        let mut latencies = Vec::new();
        for round in 0..1000_u64 {
            let batches: Vec<_> = chains.iter_mut().map(|chain| chain.next(12)).collect();
            if round % 15 == 14 {
                let (journal, shard) = (Arc::clone(&ports.journal), chains[usize::try_from(round / 15 % 64)?].shard);
                let up_to = batches[usize::from(shard.0)].id;
                tokio::spawn(async move { journal.trim(shard, up_to).await });
            }
            let started = Instant::now();
            futures_util::future::try_join_all(batches.into_iter().map(|batch| ports.journal.append(batch))).await?;
            latencies.push(started.elapsed());
        }
        latencies.sort_unstable();
        println!(
            "trim: lap {lap}: append of 64 x 2 kB p50 {:?} p99 {:?} max {:?}; kept {} MiB, file {} MiB, log {} MiB",
            latencies[500],
            latencies[990],
            latencies[999],
            ports.journal.kept_bytes() >> 20,
            mebibytes(&dir.path().join("journal.db")),
            mebibytes(&dir.path().join("journal.db-wal")),
        );
    }
    opened.storage.close().await?;
    Ok(())
}

/// One shard's growing stream.
struct Chain {
    shard: ShardId,
    next: BatchId,
    previous: Digest,
    seq: u64,
}

impl Chain {
    fn new(shard: u16) -> Self {
        Self { shard: ShardId(shard), next: BatchId { epoch: Epoch(1_800_000_000), number: 0 }, previous: Digest::default(), seq: 0 }
    }

    fn next(&mut self, entries: u64) -> Arc<Sealed> {
        let from = self.seq;
        self.seq += entries;
        let entries: Vec<_> = (1..=entries).map(|n| Entry::Lot(bid(lot_id(self.shard.0.into()), from + n, 300))).collect();
        self.seal(&entries)
    }

    fn seal(&mut self, entries: &[Entry]) -> Arc<Sealed> {
        let sealed = RecordFormat.seal(self.shard, self.next, self.previous, entries);
        self.next = self.next.next();
        self.previous = sealed.hash;
        Arc::new(sealed)
    }
}

fn lot_id(n: u128) -> LotId {
    LotId(uuid::Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 | n))
}

fn amount(n: u64) -> Amount {
    Amount::new(n).unwrap_or(Amount::MAX)
}

/// A bid of one of `bidders`, each a UUID as tokens often have.
fn bid(lot: LotId, seq: u64, bidders: u64) -> Arc<Recorded> {
    let who = |n: u64| {
        let text = uuid::Uuid::from_u128(u128::from(n % bidders) << 64 | 0x8000_0000_0000_0000).to_string();
        BidderId::try_from(text.as_str()).expect("a UUID is a bidder id")
    };
    let at = Timestamp::from_millis(1_800_000_000_000 + i64::try_from(seq).unwrap_or(0));
    let bidder = who(seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20);
    Arc::new(Recorded {
        lot,
        epoch: Epoch(1_800_000_000),
        seq: Seq(seq),
        at,
        event: LotEvent::BidPlaced(BidPlaced {
            leader: bidder.clone(),
            bidder,
            bid_id: BidId(uuid::Uuid::from_u128(u128::from(seq).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))),
            amount: amount(1000 + seq),
            max: amount(1000 + seq),
            price: amount(1000 + seq),
            outbid: None,
            bid_count: seq,
            minimum_bid: amount(1001 + seq),
            reserve_met: None,
            deadline: Some(at),
            closes_at: Some(at),
        }),
    })
}

fn view(lot: LotId) -> LotView {
    let spec = LotSpec {
        title: "A lot of some name".into(),
        description: "Described in a line or two, as lots are.".into(),
        currency: Currency { code: "EUR".into(), scale: 2 },
        funding: Funding::Open,
        rules: Rules::English(English {
            start_price: amount(1),
            reserve_price: None,
            buy_now_price: None,
            proxy: false,
            increments: Increments::new(vec![Increment { from: amount(0), step: amount(1) }]).expect("a good table"),
        }),
        draft: false,
        opens_at: None,
        closes_at: None,
        soft_close: None,
    };
    let created = Recorded { lot, epoch: Epoch(1), seq: Seq(0), at: Timestamp::from_millis(1), event: LotEvent::Created(Box::new(spec)) };
    Lot::from_creation(&Arc::new(created)).expect("a creation").view()
}

fn mebibytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len() >> 20)
}

/// CPU that all threads of this process have used, from the scheduler's own account.
fn cpu_time() -> Duration {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let nanos = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}
