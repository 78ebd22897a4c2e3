//! The committer: keeps one append of its shard in flight. What is staged meanwhile is the next
//! batch, so a lone bid pays for one append and a burst shares them. No timer.

use crate::{
    actors::shard::{Shard, State},
    commit::{recovery::recover, verify::RecoveryError},
    meters::SHARD_RECOVERIES,
    ports::{
        format::{Mark, Sealed},
        journal::{AppendError, Page},
    },
    routing::engine::ShardStatus,
};
use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Between tries to recover while storage is away: doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Commits what a shard stages, for as long as it can be recovered.
pub(crate) async fn commit(shard: Rc<Shard>, status: watch::Sender<ShardStatus>) {
    loop {
        shard.staged.notified().await;
        while let Some(sealed) = shard.take_batch() {
            if let Err(error) = append(&shard, &sealed).await {
                tracing::error!(shard = %shard.id, batch = %sealed.id, %error, "append failed: the shard is recovered");
                fail_over(&shard, &sealed, &status).await;
                status.send_replace(shard.status());
                if !shard.is_serving() {
                    return;
                }
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
async fn fail_over(shard: &Rc<Shard>, sealed: &Arc<Sealed>, status: &watch::Sender<ShardStatus>) {
    let (in_flight, pending) = shard.give_up();
    status.send_replace(shard.status());
    drop(pending); // answers `unavailable`
    metrics::counter!(SHARD_RECOVERIES).increment(1);
    let started = Instant::now();
    let mut in_flight = Some(in_flight);
    let mut pause = FIRST_PAUSE;
    loop {
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

async fn come_back(
    shard: &Rc<Shard>,
    sealed: &Arc<Sealed>,
    in_flight: &mut Option<Vec<crate::actors::outputs::Output>>,
) -> Result<(), RecoveryError> {
    let storage = &shard.node.storage;
    let error = |error| RecoveryError::Storage { shard: shard.id, error };
    let page = Page { after: Some(gavel_domain::shard::batch::BatchId { number: sealed.id.number - 1, ..sealed.id }), bytes: 1 };
    let tail = storage.journal.read(shard.id, page).await.map_err(error)?;
    let was_written = tail.first().is_some_and(|last| last.mark() == sealed.mark());
    let cursor = cursor_of(shard).await?;
    let recovered = recover(shard.id, storage, shard.node.tuning.owner, cursor, shard.node.clock.now()).await?;
    if let Some(outputs) = in_flight.take().filter(|_| was_written) {
        crate::actors::outputs::release(outputs, &shard.node.outlets, &shard.node.meters);
    }
    shard.serve(recovered, cursor);
    debug_assert_eq!(shard.state(), State::Serving);
    Ok(())
}

async fn cursor_of(shard: &Rc<Shard>) -> Result<Option<Mark>, RecoveryError> {
    let cursors = shard.node.storage.tables.cursors().await;
    let cursors = cursors.map_err(|error| RecoveryError::Storage { shard: shard.id, error })?;
    Ok(cursors.into_iter().find(|(id, _)| *id == shard.id).map(|(_, mark)| mark))
}
