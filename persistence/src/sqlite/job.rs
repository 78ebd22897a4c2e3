//! What is written between appends, a step at a time. Who does it is in `writer.rs`.

use super::{rows::RowError, shared::Unread};
use crate::columns::OutOfRange;
use futures_util::future::BoxFuture;
use sqlx::SqliteConnection;

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
    Row(#[from] RowError),
    #[error(transparent)]
    Unread(#[from] Unread),
    #[error(transparent)]
    Range(#[from] OutOfRange),
    #[error("{0}")]
    Refused(String),
}
