//! Moves `journal.db`'s log into the file beside the appends.
//!
//! SQLite's own automatic checkpoint would run inside the commit that happens to pass the mark, and
//! that append would wait for megabytes of writing and an `fsync`. Instead a second connection
//! copies what is there (`PASSIVE`, which keeps nobody waiting), once more what came meanwhile, and
//! then the writer copies the little that is left, between two appends and before anything else: only when nothing at all is
//! left does the next append start the log over, and under load that moment never comes by itself.

use super::{
    connect::Place,
    job::{Job, JobError, Step},
    writer::Writer,
};
use futures_util::{FutureExt as _, future::BoxFuture};
use sqlx::SqliteConnection;
use std::sync::{Arc, atomic::Ordering};
use tokio::task::AbortHandle;

/// Rounds beside the appends: the second has only what was appended during the first.
const ROUNDS: u32 = 2;

/// Stops with its owner.
pub(super) struct Checkpointer(AbortHandle);

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Checkpointer {
    pub(super) fn spawn(runtime: &tokio::runtime::Handle, place: Place, writer: &Writer) -> Self {
        let shared = Arc::clone(&writer.shared);
        let writer = writer.downgrade();
        let task = async move {
            let mut conn = None;
            loop {
                shared.log_is_long.notified().await;
                shared.log_bytes.store(0, Ordering::Relaxed);
                let Some(writer) = writer.upgrade() else { return };
                if let Err(e) = checkpoint(&place, &mut conn, &writer).await {
                    tracing::warn!(error = %e, "the journal's log was not moved into its file; it grows until it is");
                    conn = None;
                }
            }
        };
        Self(runtime.spawn(task).abort_handle())
    }
}

async fn checkpoint(place: &Place, conn: &mut Option<SqliteConnection>, writer: &Writer) -> Result<(), sqlx::Error> {
    let own = match conn.take() {
        Some(own) => own,
        None => place.checkpointer().await?,
    };
    let own = conn.insert(own);
    for _ in 0..ROUNDS {
        pass(own).await?;
    }
    if let Err(e) = writer.run_next("checkpointing the journal".into(), LastPages).await {
        tracing::warn!(error = %e, "the writer's part of a checkpoint");
    }
    Ok(())
}

async fn pass(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(conn).await.map(drop)
}

/// What is left, between two appends.
struct LastPages;

impl Job for LastPages {
    fn step<'a>(&'a mut self, conn: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Step, JobError>> {
        async move {
            pass(conn).await?;
            Ok(Step::Done)
        }
        .boxed()
    }
}
