//! The journal's one writer: a task that owns the connection which writes `journal.db`.
//!
//! Appends of all shards that are waiting go into one statement, which is one transaction and one
//! `fsync`; what comes meanwhile is the next. Everything else that writes (trimming, snapshots,
//! recovery) is a [`Job`], done a short step at a time between appends, so that nobody ever meets
//! a lock. What the jobs are is in `journal.rs` and `snapshots.rs`.

use super::{connect::Place, fault::Fault, rows::bind_sealed};
use crate::columns::{OutOfRange, failed};
use futures_util::future::BoxFuture;
use gavel_engine::ports::{StorageError, format::Sealed, journal::AppendError};
use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::{Notify, mpsc, oneshot};

/// Appends that may wait: one in flight for each shard, and there are at most 4,096.
const APPENDS_WAITING: usize = 4096;
/// Jobs that may wait; more callers wait for room, which stalls nothing but them.
const JOBS_WAITING: usize = 64;
/// Batches in one transaction, at most.
const MOST_IN_GROUP: usize = 64;
/// Appends come first, but a waiting job gets a step after this many transactions.
const GROUPS_PER_STEP: u32 = 4;
/// About what a row costs in the log beside its bytes: the rest of its page, a page of the index.
const LOG_BYTES_PER_ROW: u64 = 12_000;

/// Something to be written between appends.
pub(super) trait Job: Send + 'static {
    /// Does one short transaction's worth. Is not called again after an error.
    fn step<'a>(&'a mut self, conn: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Step, JobError>>;
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It wants another step.
    More,
    /// All is done.
    Done,
    /// All is done, and nothing may be written any more: the task ends.
    Close,
}

/// Why a job stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum JobError {
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
    #[error(transparent)]
    Row(#[from] super::rows::RowError),
    #[error(transparent)]
    Range(#[from] OutOfRange),
    #[error("{0}")]
    Refused(String),
}

struct Append {
    batch: Arc<Sealed>,
    done: oneshot::Sender<Result<(), AppendError>>,
}

struct QueuedJob {
    operation: String,
    job: Box<dyn Job>,
    done: oneshot::Sender<Result<(), StorageError>>,
}

/// What the task shares with those who ask.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Bytes of batches in all streams.
    pub(super) kept_bytes: AtomicU64,
    /// Bytes, about, that were written to the log since the last checkpoint began.
    pub(super) log_bytes: AtomicU64,
    /// Wakes the checkpointer.
    pub(super) log_is_long: Notify,
}

/// Hands work to the task. Cheap to clone; the task ends when all are gone.
#[derive(Clone)]
pub(super) struct Writer {
    appends: mpsc::Sender<Append>,
    jobs: mpsc::Sender<QueuedJob>,
    pub(super) shared: Arc<Shared>,
}

/// Becomes a [`Writer`] as long as there is one.
pub(super) struct WeakWriter {
    appends: mpsc::WeakSender<Append>,
    jobs: mpsc::WeakSender<QueuedJob>,
    shared: Arc<Shared>,
}

impl WeakWriter {
    pub(super) fn upgrade(&self) -> Option<Writer> {
        Some(Writer { appends: self.appends.upgrade()?, jobs: self.jobs.upgrade()?, shared: Arc::clone(&self.shared) })
    }
}

/// From how many bytes of log on the checkpointer is woken.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogBound(pub(super) u64);

impl Writer {
    pub(super) fn spawn(runtime: &tokio::runtime::Handle, place: Place, conn: SqliteConnection, kept_bytes: u64, bound: LogBound) -> Self {
        let (appends, append_queue) = mpsc::channel(APPENDS_WAITING);
        let (jobs, job_queue) = mpsc::channel(JOBS_WAITING);
        let shared = Arc::new(Shared { kept_bytes: kept_bytes.into(), ..Shared::default() });
        let task = Task {
            place,
            conn: Some(conn),
            statements: (1..=MOST_IN_GROUP).map(insert_statement).collect(),
            shared: Arc::clone(&shared),
            bound,
            job: None,
            closing: None,
        };
        runtime.spawn(task.run(append_queue, job_queue));
        Self { appends, jobs, shared }
    }

    /// A handle that doesn't keep the task alive.
    pub(super) fn downgrade(&self) -> WeakWriter {
        WeakWriter { appends: self.appends.downgrade(), jobs: self.jobs.downgrade(), shared: Arc::clone(&self.shared) }
    }

    pub(super) async fn append(&self, batch: Arc<Sealed>) -> Result<(), AppendError> {
        let (done, answer) = oneshot::channel();
        let operation = format_args!("appending batch {} of shard {}", batch.id, batch.shard).to_string();
        if self.appends.send(Append { batch, done }).await.is_err() {
            return Err(AppendError::Refused(failed(operation, "the journal is closed")));
        }
        answer.await.unwrap_or_else(|_| Err(AppendError::Unknown(failed(operation, "the journal's writer ended"))))
    }

    pub(super) async fn run(&self, operation: String, job: impl Job) -> Result<(), StorageError> {
        let (done, answer) = oneshot::channel();
        let ended = || failed("writing the journal", "its writer ended");
        self.jobs.send(QueuedJob { operation, job: Box::new(job), done }).await.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// Inserts so many batches; those that don't follow their stream's end are passed over by the
/// trigger `batches_follow`, so fewer rows than batches are affected.
///
/// Without `RETURNING`: a row comes back before the commit has even begun, and wakes whoever waits
/// for it just when this thread should go on to the `fsync`.
pub(super) fn insert_statement(batches: usize) -> Arc<str> {
    let rows = vec!["(?, ?, ?, ?, ?, ?)"; batches].join(", ");
    format!("INSERT INTO batches (shard, epoch, number, previous, hash, bytes) VALUES {rows}").into()
}

struct Task {
    place: Place,
    /// None after it was lost: the next who needs it tries to open another.
    conn: Option<SqliteConnection>,
    statements: Vec<Arc<str>>,
    shared: Arc<Shared>,
    bound: LogBound,
    /// The job under way.
    job: Option<QueuedJob>,
    /// Set once the task is to end: who waits for that.
    closing: Option<oneshot::Sender<Result<(), StorageError>>>,
}

impl Task {
    async fn run(mut self, mut appends: mpsc::Receiver<Append>, mut jobs: mpsc::Receiver<QueuedJob>) {
        let mut group = Vec::with_capacity(MOST_IN_GROUP);
        let mut groups_since_step = 0;
        loop {
            take_waiting(&mut appends, &mut group);
            if group.is_empty() && self.job.is_none() {
                tokio::select! {
                    biased;
                    append = appends.recv() => match append {
                        Some(append) => group.push(append),
                        None => break,
                    },
                    job = jobs.recv() => self.job = job,
                }
                take_waiting(&mut appends, &mut group);
            }
            if !group.is_empty() {
                self.append_group(&mut group).await;
                groups_since_step += 1;
            }
            if self.job.is_none() {
                self.job = jobs.try_recv().ok();
            }
            if self.job.is_some() && (groups_since_step >= GROUPS_PER_STEP || appends.is_empty()) {
                self.step().await;
                groups_since_step = 0;
            }
            if self.closing.is_some() {
                break;
            }
        }
        let closed = match self.conn.take() {
            Some(conn) => conn.close().await.map_err(|e| failed("closing the journal", e)),
            None => Ok(()),
        };
        match self.closing.take() {
            Some(done) => drop(done.send(closed)),
            None => closed.unwrap_or_else(|error| tracing::warn!(%error)),
        }
    }

    async fn append_group(&mut self, group: &mut Vec<Append>) {
        let appended = self.insert(group).await;
        match appended {
            Ok(appended) => {
                let all = appended == group.len() as u64;
                if all {
                    group.iter().for_each(|append| self.count(&append.batch));
                } else {
                    self.recount().await;
                }
                for append in group.drain(..) {
                    let outcome = if all { Ok(()) } else { self.is_at_the_end(&append.batch).await };
                    // Whoever asked may have gone; the batch stays.
                    drop(append.done.send(outcome));
                }
            }
            Err(error) => {
                let certain = Fault::of(&error).certainly_nothing_written();
                if !certain {
                    self.start_over().await;
                }
                for append in group.drain(..) {
                    let what = failed(format!("appending batch {} of shard {}", append.batch.id, append.batch.shard), &error);
                    drop(append.done.send(Err(if certain { AppendError::Refused(what) } else { AppendError::Unknown(what) })));
                }
            }
        }
        if self.shared.log_bytes.load(Ordering::Relaxed) >= self.bound.0 {
            self.shared.log_is_long.notify_one();
        }
    }

    fn count(&self, batch: &Sealed) {
        let bytes = batch.bytes.len() as u64;
        self.shared.kept_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.shared.log_bytes.fetch_add(bytes + LOG_BYTES_PER_ROW, Ordering::Relaxed);
    }

    /// After a group of which some were refused, or had been there before.
    async fn recount(&mut self) {
        let counted = async { kept_bytes(self.conn().await?).await };
        match counted.await {
            Ok(kept) => self.shared.kept_bytes.store(kept, Ordering::Relaxed),
            Err(e) => tracing::warn!(error = %e, "the journal's bytes were not counted"),
        }
    }

    /// One statement, one transaction. Gives the number of batches that were appended.
    async fn insert(&mut self, group: &[Append]) -> Result<u64, sqlx::Error> {
        let statement = Arc::clone(&self.statements[group.len() - 1]);
        let conn = self.conn().await?;
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for append in group {
            query = bind_sealed(query, &append.batch).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
        }
        Ok(query.execute(conn).await?.rows_affected())
    }

    /// Not all of a group were taken: is this one its stream's end, from now or from an attempt whose
    /// answer was lost?
    async fn is_at_the_end(&mut self, batch: &Sealed) -> Result<(), AppendError> {
        let head = async {
            let conn = self.conn().await?;
            sqlx::query("SELECT epoch, number, hash FROM batches WHERE shard = ? ORDER BY epoch DESC, number DESC LIMIT 1")
                .bind(i64::from(batch.shard.0))
                .fetch_optional(conn)
                .await
        };
        match head.await {
            Ok(row) => {
                let there = row.and_then(|row| super::rows::read_mark(&row, 0).ok()).is_some_and(|mark| mark == batch.mark());
                if there { Ok(()) } else { Err(AppendError::Mismatch) }
            }
            Err(e) => Err(AppendError::Unknown(failed(format!("comparing the end of shard {}", batch.shard), e))),
        }
    }

    async fn step(&mut self) {
        let Some(mut queued) = self.job.take() else { return };
        let outcome = match self.conn().await {
            Ok(conn) => queued.job.step(conn).await,
            Err(e) => Err(e.into()),
        };
        match outcome {
            Ok(Step::More) => self.job = Some(queued),
            Ok(Step::Done) => drop(queued.done.send(Ok(()))),
            Ok(Step::Close) => self.closing = Some(queued.done),
            Err(error) => {
                // Also where nothing was written: SQLite may have rolled back by itself, and sqlx
                // would go on counting that transaction as open.
                if matches!(error, JobError::Sqlx(_)) {
                    self.start_over().await;
                }
                drop(queued.done.send(Err(failed(queued.operation, error))));
            }
        }
    }

    async fn conn(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.place.writer().await?,
        };
        Ok(self.conn.insert(conn))
    }

    /// After an error that leaves open what was written: a new connection, and a write that takes
    /// the place in the log of what may lie there half-done. Once it is durable, what a reader
    /// sees of the streams is what a start after a crash would see.
    async fn start_over(&mut self) {
        let operation = async {
            let fresh = self.place.writer().await?;
            if let Some(old) = self.conn.replace(fresh) {
                drop(old.close().await);
            }
            let conn = self.conn().await?;
            sqlx::query("UPDATE meta SET writes = writes + 1").execute(&mut *conn).await?;
            kept_bytes(conn).await
        };
        match operation.await {
            Ok(kept) => self.shared.kept_bytes.store(kept, Ordering::Relaxed),
            Err(e) => {
                tracing::error!(error = %e, "the journal can't be written");
                self.conn = None;
            }
        }
    }
}

/// Bytes of batches in all streams. Reads the beginning of every row.
pub(super) async fn kept_bytes(conn: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let row = sqlx::query("SELECT coalesce(sum(length(bytes)), 0) FROM batches").fetch_one(conn).await?;
    Ok(u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0))
}

fn take_waiting(appends: &mut mpsc::Receiver<Append>, group: &mut Vec<Append>) {
    while group.len() < MOST_IN_GROUP
        && let Ok(append) = appends.try_recv()
    {
        group.push(append);
    }
}
