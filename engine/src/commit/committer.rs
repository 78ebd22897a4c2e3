//! The committer: keeps one append of its shard in flight. What is staged meanwhile is the next
//! batch, so a lone bid pays for one append and a burst shares them. No timer.

use crate::{
    actors::{
        outputs::{Output, release},
        shard::Shard,
    },
    commit::{failure::RecoveryError, recovery::recover, verify::Memory},
    meters::SHARD_RECOVERIES,
    ports::{
        format::{Mark, Sealed},
        journal::{AppendError, Page},
    },
    projection::backlog::Committed,
    supervision::watched,
    tail::TRIES,
};
use gavel_domain::{ids::Epoch, shard::batch::BatchId};
use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// Between tries to recover while storage is away: doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Who waits for a batch whose fate can't be learned is told `unavailable` after this.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// The outputs of the batch in flight, until they leave or are given up.
type InFlight = RefCell<Option<Vec<Output>>>;

/// Commits what a shard stages, until it is closed.
pub(crate) async fn commit(shard: Rc<Shard>) {
    if let Err(panic) = watched(commit_all(&shard)).await {
        shard.close(format!("{panic} in the committer"));
    }
}

async fn commit_all(shard: &Rc<Shard>) {
    while !shard.is_closed() {
        shard.staged.notified().await;
        if shard.take_doubt() && shard.is_serving() {
            tracing::error!(shard = %shard.id, "the journal may not be what was acknowledged: the shard is recovered");
            fail_over(shard, None).await;
        }
        while let Some(sealed) = shard.take_batch() {
            if let Err(error) = append(shard, &sealed).await
                && shard.is_serving()
            {
                tracing::error!(shard = %shard.id, batch = %sealed.id, %error, "append failed: the shard is recovered");
                fail_over(shard, Some(&sealed)).await;
            }
        }
    }
}

async fn append(shard: &Rc<Shard>, sealed: &Arc<Sealed>) -> Result<(), AppendError> {
    let started = Instant::now();
    if let Some(error) = injected() {
        return Err(error);
    }
    shard.node.storage.journal.append(Arc::clone(sealed)).await?;
    shard.node.meters.commit_seconds.record(started.elapsed());
    shard.committed(Arc::clone(sealed));
    Ok(())
}

/// A failed append, injected by a test.
fn injected() -> Option<AppendError> {
    fail::fail_point!("append-fails", |reason| Some(AppendError::Unknown(crate::ports::StorageError {
        operation: "appending".to_owned(),
        reason: reason.unwrap_or_else(|| "injected".to_owned()),
    })));
    None
}

/// Gives up what is not durable and recovers. The batch in flight may be in the journal all the
/// same: then its outputs leave after all, before anybody sees the recovered state. Without one, what is
/// stored was found to lack what it should hold.
async fn fail_over(shard: &Rc<Shard>, sealed: Option<&Arc<Sealed>>) {
    let (in_flight, pending) = shard.give_up();
    drop(pending); // answers `unavailable`
    metrics::counter!(SHARD_RECOVERIES).increment(1);
    let started = Instant::now();
    let in_flight = RefCell::new(Some(in_flight));
    let coming_back = come_back_at_last(shard, sealed, &in_flight);
    let mut coming_back = std::pin::pin!(coming_back);
    let back = tokio::select! {
        back = &mut coming_back => back,
        // Whoever waits is told so now rather than when storage is back.
        () = tokio::time::sleep(TOLD_AFTER) => {
            drop(in_flight.take());
            coming_back.await
        }
    };
    if back {
        shard.node.meters.recovery_seconds.record(started.elapsed());
        shard.resync_watchers();
    }
}

/// Tries until the shard serves; false if it is closed instead.
async fn come_back_at_last(shard: &Rc<Shard>, sealed: Option<&Arc<Sealed>>, in_flight: &InFlight) -> bool {
    let mut pause = FIRST_PAUSE;
    let mut tries = 0;
    while !shard.is_closed() {
        match come_back(shard, sealed, in_flight).await {
            Ok(()) => return !shard.is_closed(),
            Err(RecoveryError::Storage { error, .. }) => {
                tracing::warn!(shard = %shard.id, %error, "the shard can't be recovered yet");
                drop(in_flight.take());
            }
            Err(error @ RecoveryError::Fenced { .. }) => {
                shard.close(error.to_string());
                shard.node.superseded.store(true, Ordering::Relaxed);
                return false;
            }
            // A late append of our own, or a store that is emptied under us, looks like damage once.
            Err(error) if tries < TRIES => {
                tries += 1;
                tracing::warn!(shard = %shard.id, %error, "the shard can't be recovered: trying again");
            }
            Err(error) => {
                shard.close(error.to_string());
                return false;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    false
}

async fn come_back(shard: &Rc<Shard>, sealed: Option<&Arc<Sealed>>, in_flight: &InFlight) -> Result<(), RecoveryError> {
    let _undisturbed = shard.upkeep.lock().await;
    let (id, storage) = (shard.id, &shard.node.storage);
    // Before the tables are asked: what leaves the backlog meanwhile is in the archive by then.
    let mut remembered = shard.node.backlog.unprojected(id).batches;
    let was_written = match sealed {
        Some(sealed) => holds(shard, sealed.mark()).await?,
        None => false,
    };
    if let Some(sealed) = sealed.filter(|_| was_written) {
        // As good as acknowledged: it is not lost any more either.
        let entries = storage.format.open(sealed).map_err(|damage| RecoveryError::damaged(id, sealed.id, damage))?;
        remembered.push(Arc::new(Committed { sealed: Arc::clone(sealed), entries, at: Instant::now() }));
    }
    let cursor = cursor_of(shard).await?;
    let memory = Memory { owner: shard.node.tuning.owner, head: shard.head().get(), batches: remembered };
    let recovered = recover(id, storage, memory.owner, cursor, Some(&memory), shard.node.clock.now()).await?;
    if shard.is_closed() {
        return Ok(()); // meanwhile, for another reason
    }
    // No await from here on: nobody meets the recovered state before these outputs have left, and
    // who has one of them finds it in the history.
    shard.serve(recovered);
    if let Some(outputs) = in_flight.take().filter(|_| was_written) {
        release(outputs, &shard.node);
    }
    Ok(())
}

/// Whether a batch that was to be appended, or was, is in the journal. (The last one is never trimmed.)
pub(crate) async fn holds(shard: &Rc<Shard>, batch: Mark) -> Result<bool, RecoveryError> {
    let before = match batch.id.number.checked_sub(1) {
        Some(number) => BatchId { number, ..batch.id },
        // More than any epoch has; a store may have signed numbers.
        None => BatchId { epoch: Epoch(batch.id.epoch.0.saturating_sub(1)), number: i64::MAX.unsigned_abs() },
    };
    let page = Page { after: Some(before), bytes: 1 };
    let tail = shard.node.storage.journal.read(shard.id, page).await.map_err(|error| RecoveryError::storage(shard.id, error))?;
    Ok(tail.first().is_some_and(|found| found.mark() == batch))
}

async fn cursor_of(shard: &Rc<Shard>) -> Result<Option<Mark>, RecoveryError> {
    let cursors = shard.node.storage.tables.cursors().await;
    let cursors = cursors.map_err(|error| RecoveryError::storage(shard.id, error))?;
    Ok(cursors.into_iter().find(|(id, _)| *id == shard.id).map(|(_, mark)| mark))
}
