//! The committer: keeps one append of its shard in flight. What is staged meanwhile is the next
//! batch, so a lone bid pays for one append and a burst shares them. No timer.

use crate::{
    actors::{
        outputs::{Output, release},
        shard::Shard,
    },
    commit::{failure::RecoveryError, recovery::recover},
    meters::SHARD_RECOVERIES,
    ports::{
        format::{Mark, Sealed},
        journal::{AppendError, Page},
    },
    supervision::watched,
};
use gavel_domain::shard::batch::BatchId;
use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

/// Between tries to recover while storage is away: doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Commits what a shard stages, until it is closed.
pub(crate) async fn commit(shard: Rc<Shard>) {
    if let Err(panic) = watched(commit_all(&shard)).await {
        shard.close(format!("{panic} in the committer"));
    }
}

async fn commit_all(shard: &Rc<Shard>) {
    while !shard.is_closed() {
        shard.staged.notified().await;
        while let Some(sealed) = shard.take_batch() {
            if let Err(error) = append(shard, &sealed).await
                && shard.is_serving()
            {
                tracing::error!(shard = %shard.id, batch = %sealed.id, %error, "append failed: the shard is recovered");
                fail_over(shard, &sealed).await;
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
/// same: then its outputs leave after all, before anybody sees the recovered state.
async fn fail_over(shard: &Rc<Shard>, sealed: &Arc<Sealed>) {
    let (in_flight, pending) = shard.give_up();
    drop(pending); // answers `unavailable`
    metrics::counter!(SHARD_RECOVERIES).increment(1);
    let started = Instant::now();
    let mut in_flight = Some(in_flight);
    let mut pause = FIRST_PAUSE;
    while !shard.is_closed() {
        match come_back(shard, sealed, &mut in_flight).await {
            Ok(()) => {
                shard.node.meters.recovery_seconds.record(started.elapsed());
                shard.resync_watchers();
                return;
            }
            Err(RecoveryError::Storage { error, .. }) => {
                tracing::warn!(shard = %shard.id, %error, "the shard can't be recovered yet");
                // Whoever waits is told so now rather than when storage is back.
                in_flight = None;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return shard.close(error.to_string()),
        }
    }
}

async fn come_back(shard: &Rc<Shard>, sealed: &Arc<Sealed>, in_flight: &mut Option<Vec<Output>>) -> Result<(), RecoveryError> {
    let _undisturbed = shard.upkeep.lock().await;
    let storage = &shard.node.storage;
    let page = Page { after: Some(BatchId { number: sealed.id.number - 1, ..sealed.id }), bytes: 1 };
    let tail = storage.journal.read(shard.id, page).await.map_err(|error| RecoveryError::storage(shard.id, error))?;
    let was_written = tail.first().is_some_and(|last| last.mark() == sealed.mark());
    let cursor = cursor_of(shard).await?;
    let recovered = recover(shard.id, storage, shard.node.tuning.owner, cursor, shard.node.clock.now()).await?;
    if shard.is_closed() {
        return Ok(()); // meanwhile, for another reason
    }
    // No await from here on: nobody meets the recovered state before these outputs have left, and
    // who has one of them finds it in the history.
    shard.serve(recovered, cursor);
    if let Some(outputs) = in_flight.take().filter(|_| was_written) {
        release(outputs, &shard.node);
    }
    Ok(())
}

async fn cursor_of(shard: &Rc<Shard>) -> Result<Option<Mark>, RecoveryError> {
    let cursors = shard.node.storage.tables.cursors().await;
    let cursors = cursors.map_err(|error| RecoveryError::storage(shard.id, error))?;
    Ok(cursors.into_iter().find(|(id, _)| *id == shard.id).map(|(_, mark)| mark))
}
