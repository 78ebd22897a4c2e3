//! The projector: one task a node that brings the tables up behind all shards.

use super::backlog::{Backlog, Unprojected};
use crate::{
    limits, meters,
    ports::{
        Storage, StorageError,
        audit::Audited,
        format::{Mark, Sealed},
        tables::{ProjectError, Projection},
    },
    supervision::watched,
    tail::{Tail, TailError},
};
use gavel_domain::{
    event::Recorded,
    ids::{LotId, ShardId, shard_of},
    lot::view::LotView,
    shard::batch::Entry,
    wallet::event::WalletRecorded,
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The projector's "nice" value: about a ninth of the share of a thread that serves bids. Not lower:
/// starved in the middle of a sync it would hold the file system's locks against the journal.
#[cfg(target_os = "linux")]
const PRIORITY: i32 = 10;

/// Between two transactions while the tables keep up: each costs a sync of the disk that the journal
/// needs too, and nobody waits for it (history reads add what is not in the tables yet).
const PACE: Duration = Duration::from_millis(100);

/// Between tries while the database is away, and before a shard that failed is tried again: for a
/// shard it doubles up to the longest.
const RETRY: Duration = Duration::from_millis(200);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// What an operator must know of the projector; none while it runs and every shard's batches reach the tables.
pub(crate) type Trouble = Arc<Mutex<Option<String>>>;

/// Brings the tables of a node's shards up to date, for ever.
pub(crate) struct Projector {
    storage: Storage,
    backlog: Arc<Backlog>,
    shards: u16,
    /// Lots as the tables have them.
    views: HashMap<LotId, LotView>,
    /// Shards whose batches could not be written, and when they are tried again.
    resting: BTreeMap<ShardId, Rest>,
    /// The shard that comes first in the next transaction.
    first: u16,
    /// How many transactions take one shard alone: after one of several failed, to find the culprit.
    alone: usize,
    /// Why it began again, until it has written something.
    panic: Option<String>,
    trouble: Trouble,
}

/// A shard that failed.
struct Rest {
    until: Instant,
    pause: Duration,
    /// What an operator must know of it.
    trouble: Option<String>,
}

/// Lowers this thread's priority. Where that is refused, it runs like the others.
fn yield_to_bids() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), PRIORITY);
}

/// A shard's next batches, and what happened in them.
#[derive(Default)]
struct Turn {
    batches: Vec<Arc<Sealed>>,
    events: Vec<Arc<Recorded>>,
    ledger: Vec<Arc<WalletRecorded>>,
    audited: Vec<Audited>,
}

/// What came of a transaction.
enum Outcome {
    /// Nobody had anything to write.
    Idle,
    /// So many events were written.
    Wrote(usize),
    /// The shard's cursor is elsewhere.
    Moved(ShardId),
    Failed {
        shards: Vec<ShardId>,
        error: StorageError,
    },
}

impl Projector {
    pub(crate) fn new(storage: Storage, backlog: Arc<Backlog>, shards: u16) -> Self {
        let (views, resting, trouble) = (HashMap::new(), BTreeMap::new(), Trouble::default());
        Self { storage, backlog, shards, views, resting, first: 0, alone: 0, panic: None, trouble }
    }

    pub(crate) fn trouble(&self) -> Trouble {
        Arc::clone(&self.trouble)
    }

    /// Runs on a thread of its own, at a lower priority: the tables may fall behind while bids need the
    /// processor, they are not on any bid's path. Resolves once it has stopped.
    pub(crate) fn run_apart(self, stop: CancellationToken) -> std::io::Result<oneshot::Receiver<()>> {
        let (stopped, has_stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("projector".to_owned()).spawn(move || {
            yield_to_bids();
            runtime.block_on(self.supervised(stop));
            let _ = stopped.send(());
        })?;
        Ok(has_stopped)
    }

    /// Begins again after a panic, which is told until a transaction succeeds.
    async fn supervised(mut self, stop: CancellationToken) {
        while let Err(panic) = watched(self.run(&stop)).await {
            tracing::error!(%panic, "the projector begins again");
            self.panic = Some(format!("{panic} in the projector"));
            self.tell();
            self.views.clear();
            if stop.is_cancelled() {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Runs until told to stop, then until nothing is left to do (or the database fails).
    async fn run(&mut self, stop: &CancellationToken) {
        loop {
            match self.turn().await {
                Outcome::Idle if stop.is_cancelled() => return,
                Outcome::Idle => {
                    // A shard may have been found to be through without a write.
                    self.tell();
                    tokio::select! {
                        () = self.backlog.news.notified() => {}
                        () = stop.cancelled() => {}
                        () = sleep_until(self.next_try()) => {}
                    }
                }
                Outcome::Wrote(events) => {
                    self.panic = None;
                    self.tell();
                    if events < limits::PROJECTION_EVENTS / 2 && !stop.is_cancelled() {
                        tokio::time::sleep(PACE).await;
                    }
                }
                Outcome::Moved(shard) => self.find_cursor_again(shard).await,
                Outcome::Failed { .. } if stop.is_cancelled() => return,
                Outcome::Failed { shards, error } => self.failed(&shards, error).await,
            }
        }
    }

    /// The tables are away, or something is wrong with what one of these shards has: then that one
    /// is left out, and the others go on.
    async fn failed(&mut self, shards: &[ShardId], error: StorageError) {
        self.views.clear();
        match shards {
            _ if self.storage.tables.ping().await.is_err() => {
                tracing::error!(%error, "the tables can't be written: trying again");
                tokio::time::sleep(RETRY).await;
            }
            [shard] => self.leave_out(*shard, &error.to_string()),
            several => {
                tracing::warn!(%error, shards = several.len(), "the tables refuse what these shards have together: trying one by one");
                self.alone = several.len();
            }
        }
    }

    fn leave_out(&mut self, shard: ShardId, reason: &str) {
        tracing::error!(%shard, %reason, "this shard's batches can't be brought into the tables: the others go on");
        self.rest(shard, Some(format!("shard {shard}: its batches can't be brought into the tables: {reason}")));
        self.tell();
    }

    /// Tells what keeps a shard from the tables, while anything does: its own journal goes on, and grows.
    fn tell(&self) {
        let shard = || self.resting.values().find_map(|rest| rest.trouble.clone());
        *self.trouble.lock() = self.panic.clone().or_else(shard);
    }

    /// Tries a shard again later.
    fn rest(&mut self, shard: ShardId, trouble: Option<String>) {
        let pause = self.resting.get(&shard).map_or(RETRY, |rest| (rest.pause * 2).min(LONGEST_REST));
        self.resting.insert(shard, Rest { until: Instant::now() + pause, pause, trouble });
        let shards = self.shards;
        self.views.retain(|lot, _| shard_of(*lot, shards) != shard);
    }

    fn next_try(&self) -> Option<Instant> {
        self.resting.values().map(|rest| rest.until).min()
    }

    /// A shard was recovered while its batches were being written: the tables know how far they are.
    async fn find_cursor_again(&mut self, shard: ShardId) {
        self.views.clear();
        match self.storage.tables.cursors().await {
            Ok(cursors) => {
                let moved = cursors.into_iter().find(|(id, _)| *id == shard);
                tracing::warn!(%shard, cursor = ?moved, "the tables are further than believed: going on from there");
                if let Some((_, cursor)) = moved {
                    self.backlog.projected(shard, cursor, 0);
                }
            }
            Err(error) => tracing::error!(%error, "the cursors can't be read: trying again"),
        }
        self.rest(shard, None);
    }

    /// One transaction of as many shards as have something, or of one.
    async fn turn(&mut self) -> Outcome {
        if self.views.len() > limits::PROJECTED_VIEWS {
            self.views.clear();
        }
        let (mut projections, mut events) = (Vec::new(), 0);
        let most = if self.alone > 0 { 1 } else { usize::from(self.shards) };
        // Every shard comes first in turn, so none starves behind a hot one.
        let first = self.first;
        self.first = (first + 1) % self.shards.max(1);
        for n in 0..self.shards {
            let shard = ShardId((first + n) % self.shards);
            if self.resting.get(&shard).is_some_and(|rest| rest.until > Instant::now()) {
                continue;
            }
            let left = limits::PROJECTION_EVENTS.saturating_sub(events);
            let Some(next) = self.backlog.next(shard, left) else {
                self.resting.remove(&shard);
                continue;
            };
            match watched(self.prepare(shard, next)).await {
                Ok(Ok(Some(projection))) => {
                    events += projection.events.len();
                    projections.push(projection);
                }
                Ok(Ok(None)) => drop(self.resting.remove(&shard)),
                Ok(Err(error)) => self.leave_out(shard, &error.to_string()),
                Err(panic) => self.leave_out(shard, &panic),
            }
            if projections.len() == most || events >= limits::PROJECTION_EVENTS {
                self.first = if most == 1 { (shard.0 + 1) % self.shards } else { self.first };
                break;
            }
        }
        self.write(projections, events).await
    }

    async fn write(&mut self, projections: Vec<Projection>, events: usize) -> Outcome {
        if projections.is_empty() {
            self.alone = 0;
            return Outcome::Idle;
        }
        self.alone = self.alone.saturating_sub(1);
        let end = |projection: &Projection| projection.batches.last().map(|last| (projection.shard, last.mark(), projection.batches.len()));
        let done: Vec<(ShardId, Mark, usize)> = projections.iter().filter_map(end).collect();
        match self.storage.tables.project(projections).await {
            Ok(()) => {}
            Err(ProjectError::CursorMoved(shard)) => return Outcome::Moved(shard),
            Err(ProjectError::Storage(error)) => {
                let shards = done.into_iter().map(|(shard, _, _)| shard).collect();
                return Outcome::Failed { shards, error };
            }
        }
        for (shard, end, count) in done {
            self.resting.remove(&shard);
            self.backlog.projected(shard, end, count as u64);
        }
        metrics::counter!(meters::PROJECTED_EVENTS).increment(events as u64);
        Outcome::Wrote(events)
    }

    /// What one shard has for the next transaction, if anything.
    async fn prepare(&mut self, shard: ShardId, next: Unprojected) -> Result<Option<Projection>, StorageError> {
        let from = next.cursor;
        let Turn { batches, events, ledger, audited } = self.gather(shard, next).await.map_err(|error| error.into_storage(shard))?;
        if batches.is_empty() {
            return Ok(None);
        }
        let lots = self.fold(&events).await?;
        Ok(Some(Projection { shard, from, batches, events, lots, ledger, audited }))
    }

    /// A shard's next batches, from memory or, where they did not fit, from the journal.
    async fn gather(&self, shard: ShardId, next: Unprojected) -> Result<Turn, TailError> {
        let mut turn = Turn::default();
        for batch in &next.batches {
            turn.add(Arc::clone(&batch.sealed), &batch.entries);
        }
        if turn.batches.is_empty() {
            let mut tail = Tail::after(shard, &self.storage, next.cursor).by(limits::READ_BYTES / 8);
            for batch in tail.next().await? {
                turn.add(Arc::new(batch.sealed), &batch.entries);
            }
        }
        Ok(turn)
    }

    /// The lots that these events touch, as they are after them.
    async fn fold(&mut self, events: &[Arc<Recorded>]) -> Result<Vec<LotView>, StorageError> {
        let mut touched = BTreeMap::new();
        for event in events {
            if let Some(view) = self.views.get_mut(&event.lot) {
                view.fold(event);
            } else {
                let view = if event.event.creation().is_some() {
                    LotView::from_creation(event)
                } else {
                    self.storage.tables.lot(event.lot).await?
                };
                let mut view = view.ok_or_else(|| StorageError {
                    operation: format!("projecting event {} of lot {}", event.seq.0, event.lot),
                    reason: "the tables don't know the lot".to_owned(),
                })?;
                if view.position.seq < event.seq {
                    view.fold(event);
                }
                self.views.insert(event.lot, view);
            }
            touched.insert(event.lot, ());
        }
        Ok(touched.keys().filter_map(|lot| self.views.get(lot).cloned()).collect())
    }
}

impl Turn {
    fn add(&mut self, sealed: Arc<Sealed>, entries: &[Entry]) {
        self.batches.push(sealed);
        self.audited.extend(Audited::of(entries));
        for entry in entries {
            match entry {
                Entry::Lot(recorded) => self.events.push(Arc::clone(recorded)),
                Entry::Wallet(recorded) if recorded.event.ledger().is_some() => self.ledger.push(Arc::clone(recorded)),
                _ => {}
            }
        }
    }
}

/// Never, without a moment.
async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
