//! Measures the tables in PostgreSQL: rows a second of projections, and how long reads take among them.
//! Prints figures, asserts nothing. Starts a server of its own, which waits for the disk (`fsync=on`).
//!
//! `cargo run --release -p gavel-persistence --example postgres_figures [rows]`

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
    format::{Digest, Format as _, Mark, Sealed},
    tables::{Projection, Tables},
};
use gavel_persistence::{
    postgres::{PostgresOptions, PostgresTables},
    record::RecordFormat,
};
use gavel_test_servers::{PgBouncer, Postgres};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

type Failure = Box<dyn std::error::Error>;

/// Bids in a transaction: what the projector takes at once.
const AT_ONCE: u64 = 4000;

fn main() -> Result<(), Failure> {
    let rows = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    // As a small server would be set; the rest is Debian's.
    let server = Postgres::with(&["fsync = on", "shared_buffers = 512MB", "max_wal_size = 4GB", "wal_buffers = 16MB"]);
    let pooler = PgBouncer::before(&server);
    runtime.block_on(async {
        let pid = server.pid();
        println!(
            "{:<44} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "projections of 4000 bids", "rows/s", "p50 ms", "p99 ms", "max ms", "µs/row", "server's"
        );
        measure("one hot lot", &server.url(), pid, 1, rows).await?;
        measure("64 shards, 512 lots", &server.url(), pid, 512, rows).await?;
        measure("64 shards, 512 lots, through PgBouncer", &pooler.url(), pid, 512, rows).await
    })
}

async fn measure(name: &str, url: &str, server: u32, lots: u64, rows: u64) -> Result<(), Failure> {
    let options = PostgresOptions { migrate: true, ..PostgresOptions::new(url, 64, tokio::runtime::Handle::current()) };
    let tables = PostgresTables::open(options).await?.tables;
    // Of their own in each measurement; the rows of the last one stay.
    let base = u64::try_from(tables.cursors().await?.len())? * 1000;
    let epoch = 1_800_000_000 + base;
    let mut chains: Vec<Chain> = Vec::new();
    let cursors = tables.cursors().await?;
    for shard in 0..u16::try_from(lots.min(64))? {
        let from = cursors.iter().find(|(id, _)| id.0 == shard).map(|(_, mark)| *mark);
        chains.push(Chain::new(shard, epoch, from));
    }
    let mut views: Vec<LotView> = (0..lots).map(|n| view(lot_id(base + n))).collect();
    let (mut seq, mut written, mut times) = (0, 0, Vec::new());
    let (mut ours, theirs) = (Duration::ZERO, server_cpu(server));
    while written < rows {
        let each = AT_ONCE / lots;
        let mut projections: Vec<Projection> = chains.iter_mut().map(Chain::turn).collect();
        for (n, view) in views.iter_mut().enumerate() {
            let events: Vec<_> = (1..=each.max(1)).map(|more| bid(view.id, epoch, seq + more)).collect();
            for event in &events {
                view.fold(event);
            }
            let shards = projections.len();
            let projection = &mut projections[n % shards];
            projection.lots.push(view.clone());
            projection.events.extend(events);
        }
        seq += each.max(1);
        for (projection, chain) in projections.iter_mut().zip(&mut chains) {
            // About as large as the engine's batches under load.
            for events in projection.events.chunks(64) {
                let entries: Vec<_> = events.iter().map(|event| Entry::Lot(Arc::clone(event))).collect();
                projection.batches.push(chain.seal(&entries));
            }
        }
        written += projections.iter().map(|projection| projection.events.len() as u64).sum::<u64>();
        let (started, cpu) = (Instant::now(), cpu_time(std::process::id()));
        tables.project(projections).await?;
        times.push(started.elapsed());
        ours += cpu_time(std::process::id()).saturating_sub(cpu);
    }
    let spent: Duration = times.iter().sum();
    times.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let per_row = |time: Duration| time.as_secs_f64() * 1e6 / written as f64;
    println!(
        "{name:<44} {:>9.0} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
        written as f64 / spent.as_secs_f64(),
        ms(times[times.len() / 2]),
        ms(times[times.len() * 99 / 100]),
        ms(times[times.len() - 1]),
        per_row(ours),
        per_row(server_cpu(server).iter().map(|(pid, cpu)| cpu.saturating_sub(theirs.get(pid).copied().unwrap_or_default())).sum())
    );
    reads(&tables, lot_id(base), seq / 2).await
}

async fn reads(tables: &PostgresTables, lot: LotId, after: u64) -> Result<(), Failure> {
    let started = Instant::now();
    let page = tables.bids(lot, Seq(after), 1000).await?;
    let paged = started.elapsed();
    let Some(LotEvent::BidPlaced(one)) = page.first().map(|recorded| recorded.event.clone()) else { return Err("no bids".into()) };
    let started = Instant::now();
    let found = tables.bid(lot, one.bidder.clone(), one.bid_id).await?.is_some();
    let named = started.elapsed();
    let started = Instant::now();
    let own = tables.own(lot, one.bidder).await?.is_some();
    println!(
        "    a page of {} bids in {paged:?}, a bid by name ({found}) in {named:?}, a standing ({own}) in {:?}",
        page.len(),
        started.elapsed()
    );
    Ok(())
}

/// One shard's growing stream.
struct Chain {
    shard: ShardId,
    next: BatchId,
    from: Option<Mark>,
    end: Digest,
}

impl Chain {
    fn new(shard: u16, epoch: u64, from: Option<Mark>) -> Self {
        let end = from.map(|mark| mark.hash).unwrap_or_default();
        Self { shard: ShardId(shard), next: BatchId { epoch: Epoch(epoch), number: 0 }, from, end }
    }

    /// The next projection, still empty.
    fn turn(&mut self) -> Projection {
        let from = self.from;
        Projection { shard: self.shard, from, batches: vec![], events: vec![], lots: vec![], ledger: vec![], audited: vec![] }
    }

    fn seal(&mut self, entries: &[Entry]) -> Arc<Sealed> {
        let sealed = RecordFormat.seal(self.shard, self.next, self.end, entries);
        self.next = self.next.next();
        self.end = sealed.hash;
        self.from = Some(sealed.mark());
        Arc::new(sealed)
    }
}

fn lot_id(n: u64) -> LotId {
    LotId(uuid::Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 | u128::from(n)))
}

fn amount(n: u64) -> Amount {
    Amount::new(n).unwrap_or(Amount::MAX)
}

/// A bid of one of 300 bidders, each a UUID as tokens often have.
fn bid(lot: LotId, epoch: u64, seq: u64) -> Arc<Recorded> {
    let mixed = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let text = uuid::Uuid::from_u128(u128::from(mixed % 300) << 64 | 0x8000_0000_0000_0000).to_string();
    let bidder = BidderId::try_from(text.as_str()).expect("a UUID is a bidder id");
    let at = Timestamp::from_millis(1_800_000_000_000 + i64::try_from(seq).unwrap_or(0));
    Arc::new(Recorded {
        lot,
        epoch: Epoch(epoch),
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

/// CPU that all threads of a process have used, from the scheduler's own account.
fn cpu_time(pid: u32) -> Duration {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let nanos = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// The same of a server's processes, each by its id: some end while this measures.
fn server_cpu(pid: u32) -> HashMap<u32, Duration> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).map(|child| (child, cpu_time(child))).collect()
}
