//! The projector: one task a node that brings the tables up behind all shards.

use super::backlog::{Backlog, Unprojected};
use crate::{
    limits, meters,
    ports::{
        Storage, StorageError,
        format::{Mark, Sealed},
        journal::Page,
        tables::{ProjectError, Projection},
    },
};
use gavel_domain::{
    event::{LotEvent, Recorded},
    ids::{LotId, ShardId},
    lot::view::LotView,
    shard::batch::Entry,
    wallet::event::WalletRecorded,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
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

/// Between tries while the database is away.
const RETRY: Duration = Duration::from_millis(200);

/// Brings the tables of a node's shards up to date, for ever.
pub(crate) struct Projector {
    pub(crate) storage: Storage,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) shards: u16,
    /// Lots as the tables have them.
    pub(crate) views: HashMap<LotId, LotView>,
}

/// Lowers this thread's priority. Where that is refused, it runs like the others.
fn yield_to_bids() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), PRIORITY);
}

/// What one shard has for the next transaction.
struct Turn {
    shard: ShardId,
    cursor: Option<Mark>,
    end: Mark,
    batches: Vec<Arc<Sealed>>,
    events: Vec<Arc<Recorded>>,
    ledger: Vec<Arc<WalletRecorded>>,
}

impl Projector {
    /// Runs on a thread of its own, at a lower priority: the tables may fall behind while bids need the
    /// processor, they are not on any bid's path. Resolves once it has stopped.
    pub(crate) fn run_apart(self, stop: CancellationToken) -> std::io::Result<oneshot::Receiver<()>> {
        let (stopped, has_stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("projector".to_owned()).spawn(move || {
            yield_to_bids();
            runtime.block_on(self.run(stop));
            let _ = stopped.send(());
        })?;
        Ok(has_stopped)
    }

    /// Runs until told to stop, then until nothing is left to do (or the database fails).
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut first = 0;
        loop {
            match self.turn(first).await {
                Ok(0) if stop.is_cancelled() => return,
                Ok(0) => tokio::select! {
                    () = self.backlog.news.notified() => {}
                    () = stop.cancelled() => {}
                },
                Ok(events) => {
                    // Every shard comes first in turn, so none starves behind a hot one.
                    first = (first + 1) % self.shards.max(1);
                    if events < limits::PROJECTION_EVENTS / 2 && !stop.is_cancelled() {
                        tokio::time::sleep(PACE).await;
                    }
                }
                Err(ProjectError::CursorMoved(shard)) => self.find_cursor_again(shard).await,
                Err(ProjectError::Storage(error)) => {
                    tracing::error!(%error, "the tables can't be written: trying again");
                    self.views.clear();
                    if stop.is_cancelled() {
                        return;
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
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
        tokio::time::sleep(RETRY).await;
    }

    /// One transaction; how many events it held, at least 1 if any batch.
    async fn turn(&mut self, first: u16) -> Result<usize, ProjectError> {
        let mut turns = Vec::new();
        let mut left = limits::PROJECTION_EVENTS;
        for n in 0..self.shards {
            let shard = ShardId((first + n) % self.shards);
            let Some(next) = self.backlog.next(shard, left) else { continue };
            let turn = self.gather(shard, next).await?;
            left = left.saturating_sub(turn.events.len());
            turns.push(turn);
            if left == 0 {
                break;
            }
        }
        let mut projections = Vec::with_capacity(turns.len());
        let mut done = Vec::with_capacity(turns.len());
        let mut events = 0;
        for turn in turns.into_iter().filter(|turn| !turn.batches.is_empty()) {
            events += turn.events.len();
            done.push((turn.shard, turn.end, turn.batches.len()));
            let lots = self.fold(&turn.events).await?;
            projections.push(Projection {
                shard: turn.shard,
                from: turn.cursor,
                batches: turn.batches,
                events: turn.events,
                lots,
                ledger: turn.ledger,
            });
        }
        if projections.is_empty() {
            return Ok(0);
        }
        self.storage.tables.project(projections).await?;
        for (shard, end, count) in done {
            self.backlog.projected(shard, end, count as u64);
        }
        metrics::counter!(meters::PROJECTED_EVENTS).increment(events as u64);
        Ok(events.max(1))
    }

    /// A shard's next batches, from memory or, where they did not fit, from the journal.
    async fn gather(&self, shard: ShardId, next: Unprojected) -> Result<Turn, StorageError> {
        let cursor = next.cursor;
        let mut turn = Turn { shard, cursor, end: cursor.unwrap_or_default(), batches: Vec::new(), events: Vec::new(), ledger: Vec::new() };
        for batch in &next.batches {
            turn.add(Arc::clone(&batch.sealed), &batch.entries);
        }
        if turn.batches.is_empty() {
            let page = Page { after: cursor.map(|cursor| cursor.id), bytes: limits::READ_BYTES / 8 };
            for sealed in self.storage.journal.read(shard, page).await? {
                let entries = self.storage.format.open(&sealed).map_err(|damage| StorageError {
                    operation: format!("projecting batch {} of shard {shard}", sealed.id),
                    reason: damage.to_string(),
                })?;
                turn.add(Arc::new(sealed), &entries);
            }
        }
        Ok(turn)
    }

    /// The lots that these events touch, as they are after them.
    async fn fold(&mut self, events: &[Arc<Recorded>]) -> Result<Vec<LotView>, StorageError> {
        if self.views.len() > limits::PROJECTED_VIEWS {
            self.views.clear();
        }
        let mut touched = BTreeMap::new();
        for event in events {
            if let Some(view) = self.views.get_mut(&event.lot) {
                view.fold(event);
            } else {
                let view = if matches!(event.event, LotEvent::Created(_)) {
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
        self.end = sealed.mark();
        self.batches.push(sealed);
        for entry in entries {
            match entry {
                Entry::Lot(recorded) => self.events.push(Arc::clone(recorded)),
                Entry::Wallet(recorded) if recorded.event.ledger().is_some() => self.ledger.push(Arc::clone(recorded)),
                _ => {}
            }
        }
    }
}
