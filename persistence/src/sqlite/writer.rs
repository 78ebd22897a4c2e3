//! The journal's one writer: a task that owns the connection which writes `journal.db`.
//!
//! Appends of all shards that are waiting go into one statement, which is one transaction and one
//! `fsync`; what comes meanwhile is the next. They are compared with what the table holds
//! ([`Streams`]) before. Everything else that writes (trimming, snapshots, recovery) is a [`Job`],
//! done a short step at a time between appends, so that nobody ever meets a lock. What the jobs are
//! is in `journal.rs` and `snapshots.rs`.

use super::{
    connect::Place,
    fault::Fault,
    job::{Job, JobError, Step},
    rows::{RowError, bind_sealed},
    shared::{Shared, Unread},
    streams::{Fit, Streams, fit},
};
use crate::columns::failed;
use gavel_engine::ports::{StorageError, format::Sealed, journal::AppendError};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::{mpsc, oneshot};

/// Appends that may wait: one in flight for each shard, and there are at most 4,096.
const APPENDS_WAITING: usize = 4096;
/// Jobs that may wait; more callers wait for room, which stalls nothing but them.
const JOBS_WAITING: usize = 64;
/// Batches in one transaction, at most.
const MOST_IN_GROUP: usize = 64;
/// Appends come first, but a waiting job gets a step after this many transactions.
const GROUPS_PER_STEP: u32 = 4;
/// About what a transaction costs in the log beside its rows' bytes: the rest of its first and last page.
const LOG_BYTES_PER_GROUP: u64 = 12_000;
/// Urgent jobs that may wait: they are few.
const URGENT_WAITING: usize = 4;

struct Append {
    batch: Arc<Sealed>,
    done: oneshot::Sender<Result<(), AppendError>>,
}

/// Why none of a group was appended.
struct NotAppended {
    error: String,
    /// Else: nobody knows.
    certainly: bool,
}

struct QueuedJob {
    operation: String,
    job: Box<dyn Job>,
    done: oneshot::Sender<Result<(), StorageError>>,
}

/// Hands work to the task. Cheap to clone; the task ends when all are gone.
#[derive(Clone)]
pub(super) struct Writer {
    appends: mpsc::Sender<Append>,
    jobs: mpsc::Sender<QueuedJob>,
    urgent: mpsc::Sender<QueuedJob>,
    pub(super) shared: Arc<Shared>,
}

/// Becomes a [`Writer`] as long as there is one.
pub(super) struct WeakWriter {
    appends: mpsc::WeakSender<Append>,
    jobs: mpsc::WeakSender<QueuedJob>,
    urgent: mpsc::WeakSender<QueuedJob>,
    shared: Arc<Shared>,
}

impl WeakWriter {
    pub(super) fn upgrade(&self) -> Option<Writer> {
        let (appends, jobs, urgent) = (self.appends.upgrade()?, self.jobs.upgrade()?, self.urgent.upgrade()?);
        Some(Writer { appends, jobs, urgent, shared: Arc::clone(&self.shared) })
    }
}

/// From how many bytes of log on the checkpointer is woken.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogBound(pub(super) u64);

impl Writer {
    /// `streams`: what the file holds.
    pub(super) fn spawn(runtime: &tokio::runtime::Handle, place: Place, conn: SqliteConnection, streams: Streams, bound: LogBound) -> Self {
        let (appends, append_queue) = mpsc::channel(APPENDS_WAITING);
        let (jobs, job_queue) = mpsc::channel(JOBS_WAITING);
        let (urgent, urgent_queue) = mpsc::channel(URGENT_WAITING);
        let shared = Arc::new(Shared::default());
        shared.set_streams(Some(streams));
        let task = Task {
            place,
            conn: Some(conn),
            statements: (1..=MOST_IN_GROUP).map(insert_statement).collect(),
            shared: Arc::clone(&shared),
            bound,
            job: None,
            closing: None,
        };
        runtime.spawn(task.run(append_queue, job_queue, urgent_queue));
        Self { appends, jobs, urgent, shared }
    }

    /// A handle that doesn't keep the task alive.
    pub(super) fn downgrade(&self) -> WeakWriter {
        WeakWriter {
            appends: self.appends.downgrade(),
            jobs: self.jobs.downgrade(),
            urgent: self.urgent.downgrade(),
            shared: Arc::clone(&self.shared),
        }
    }

    pub(super) async fn append(&self, batch: Arc<Sealed>) -> Result<(), AppendError> {
        let (done, answer) = oneshot::channel();
        let operation = format_args!("appending batch {} of shard {}", batch.id, batch.shard).to_string();
        if self.appends.send(Append { batch, done }).await.is_err() {
            return Err(AppendError::Refused(failed(operation, "the journal is closed")));
        }
        answer.await.unwrap_or_else(|_| Err(AppendError::Unknown(failed(operation, "the journal's writer ended"))))
    }

    /// Does a job in its turn.
    pub(super) async fn run(&self, operation: String, job: impl Job) -> Result<(), StorageError> {
        hand_in(&self.jobs, operation, job).await
    }

    /// Does a job at once, between two appends and before another job's next step.
    pub(super) async fn run_next(&self, operation: String, job: impl Job) -> Result<(), StorageError> {
        hand_in(&self.urgent, operation, job).await
    }
}

async fn hand_in(jobs: &mpsc::Sender<QueuedJob>, operation: String, job: impl Job) -> Result<(), StorageError> {
    let (done, answer) = oneshot::channel();
    let ended = || failed("writing the journal", "its writer ended");
    jobs.send(QueuedJob { operation, job: Box::new(job), done }).await.map_err(|_| ended())?;
    answer.await.unwrap_or_else(|_| Err(ended()))
}

/// Inserts so many batches at given places.
///
/// Without `RETURNING`: a row comes back before the commit has even begun, and wakes whoever waits
/// for it just when this thread should go on to the `fsync`.
pub(super) fn insert_statement(batches: usize) -> Arc<str> {
    let rows = vec!["(?, ?, ?, ?, ?, ?, ?)"; batches].join(", ");
    format!("INSERT INTO batches (place, shard, epoch, number, previous, hash, bytes) VALUES {rows}").into()
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
    async fn run(
        mut self,
        mut appends: mpsc::Receiver<Append>,
        mut jobs: mpsc::Receiver<QueuedJob>,
        mut urgent: mpsc::Receiver<QueuedJob>,
    ) {
        let mut group = Vec::with_capacity(MOST_IN_GROUP);
        let mut groups_since_step = 0;
        let mut next_urgent = None;
        loop {
            take_waiting(&mut appends, &mut group);
            if group.is_empty() && self.job.is_none() {
                tokio::select! {
                    biased;
                    append = appends.recv() => match append {
                        Some(append) => group.push(append),
                        None => break,
                    },
                    job = urgent.recv() => next_urgent = job,
                    job = jobs.recv() => self.job = job,
                }
                take_waiting(&mut appends, &mut group);
            }
            if !group.is_empty() {
                self.append_group(&mut group).await;
                groups_since_step += 1;
            }
            let mut at_once = next_urgent.take().or_else(|| urgent.try_recv().ok());
            while let Some(job) = at_once {
                at_once = self.step(job).await;
            }
            if self.job.is_none() {
                self.job = jobs.try_recv().ok();
            }
            if (groups_since_step >= GROUPS_PER_STEP || appends.is_empty())
                && let Some(job) = self.job.take()
            {
                self.job = self.step(job).await;
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
        let outcome = self.try_group(group).await;
        for append in group.drain(..) {
            let what = |error: &String| failed(format!("appending batch {} of shard {}", append.batch.id, append.batch.shard), error);
            let answer = match &outcome {
                Ok(()) => Ok(()),
                Err(NotAppended { error, certainly: true }) => Err(AppendError::Refused(what(error))),
                Err(NotAppended { error, certainly: false }) => Err(AppendError::Unknown(what(error))),
            };
            // Whoever asked may have gone; the batch stays.
            drop(append.done.send(answer));
        }
        if self.shared.log_bytes.load(Ordering::Relaxed) >= self.bound.0 {
            self.shared.log_is_long.notify_one();
        }
    }

    /// Appends what fits. Those that don't are answered, and in the group no more.
    async fn try_group(&mut self, group: &mut Vec<Append>) -> Result<(), NotAppended> {
        let certainly = |error: &dyn std::fmt::Display| NotAppended { error: error.to_string(), certainly: true };
        let mut looked_again = false;
        loop {
            // After a write of unknown fate: what the file holds must be known first.
            self.conn().await.map_err(|error| certainly(&error))?;
            let place = self.compare(group).map_err(|error| certainly(&error))?;
            if group.is_empty() {
                return Ok(());
            }
            let Err(error) = self.insert(group, place).await else { break };
            let fault = Fault::of(&error);
            if fault == Fault::Row && !looked_again {
                // The next place is taken: another process writes to this file. What it wrote decides.
                looked_again = true;
                self.start_over().await;
                continue;
            }
            if !fault.certainly_nothing_written() {
                self.start_over().await;
            }
            return Err(NotAppended { error: error.to_string(), certainly: fault.certainly_nothing_written() });
        }
        let noted = self.shared.streams(|streams| group.iter().for_each(|append| streams.add(&append.batch)));
        debug_assert!(noted.is_ok(), "known since they were compared");
        let bytes: u64 = group.iter().map(|append| append.batch.bytes.len() as u64).sum();
        self.shared.log_bytes.fetch_add(bytes + LOG_BYTES_PER_GROUP, Ordering::Relaxed);
        Ok(())
    }

    /// Answers those whose batch is there or does not follow; gives the place of the first of those that are left.
    fn compare(&self, group: &mut Vec<Append>) -> Result<i64, Unread> {
        self.shared.streams(|streams| {
            let mut fitting: Vec<Append> = Vec::with_capacity(group.len());
            for append in group.drain(..) {
                let earlier = fitting.iter().rev().find(|earlier| earlier.batch.shard == append.batch.shard);
                let end = earlier.map(|earlier| earlier.batch.mark());
                match fit(end.or_else(|| streams.end(append.batch.shard)), &append.batch) {
                    Fit::Follows => fitting.push(append),
                    Fit::IsTheEnd if end.is_none() => drop(append.done.send(Ok(()))),
                    // Its twin stands in this very group: whoever repeats what is on its way is told to look.
                    Fit::IsTheEnd | Fit::Mismatch => drop(append.done.send(Err(AppendError::Mismatch))),
                }
            }
            *group = fitting;
            streams.next_place()
        })
    }

    /// One statement, one transaction.
    async fn insert(&mut self, group: &[Append], first: i64) -> Result<(), sqlx::Error> {
        let statement = Arc::clone(&self.statements[group.len() - 1]);
        let Some(conn) = &mut self.conn else { return Err(sqlx::Error::PoolClosed) };
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for (place, append) in (first..).zip(group) {
            query = bind_sealed(query.bind(place), &append.batch).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
        }
        query.execute(conn).await.map(drop)
    }

    /// One step; gives the job back where it wants another.
    async fn step(&mut self, mut queued: QueuedJob) -> Option<QueuedJob> {
        let outcome = match self.conn().await {
            Ok(conn) => queued.job.step(conn).await,
            Err(error) => Err(JobError::Refused(error.to_string())),
        };
        match outcome {
            Ok(Step::More) => return Some(queued),
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
        None
    }

    /// The connection; where it was lost, a new one, and a look at what the file holds by now.
    async fn conn(&mut self) -> Result<&mut SqliteConnection, RowError> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => {
                let mut fresh = self.place.writer().await?;
                // A write that takes the place in the log of what may lie there half-done. Once it is
                // durable, what a reader sees of the streams is what a start after a crash would see.
                sqlx::query("UPDATE meta SET writes = writes + 1").execute(&mut fresh).await?;
                self.shared.set_streams(Some(Streams::load(&mut fresh).await?));
                fresh
            }
        };
        Ok(self.conn.insert(conn))
    }

    /// After an error that leaves open what was written, or what the file holds.
    async fn start_over(&mut self) {
        self.shared.set_streams(None);
        if let Some(old) = self.conn.take() {
            drop(old.close().await);
        }
        if let Err(error) = self.conn().await {
            tracing::error!(%error, "the journal can't be written");
        }
    }
}

fn take_waiting(appends: &mut mpsc::Receiver<Append>, group: &mut Vec<Append>) {
    while group.len() < MOST_IN_GROUP
        && let Ok(append) = appends.try_recv()
    {
        group.push(append);
    }
}
