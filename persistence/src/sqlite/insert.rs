//! Many rows at once into `tables.db`: what one row costs is mostly the binding of its columns.

use super::rows::Bound;
use crate::columns::{Misfit, OutOfRange};
use gavel_domain::ids::ShardId;
use sqlx::{AssertSqlSafe, SqliteConnection, sqlite::SqliteRow};
use std::sync::Arc;

/// Rows in a statement: as many of the first as fit, then of the next. Few sizes, so that each is
/// prepared once. SQLite takes 32,766 values at most.
const ROWS: [usize; 4] = [512, 64, 8, 1];

/// A statement that inserts many rows.
pub(super) struct Insert([Arc<str>; ROWS.len()]);

impl Insert {
    pub(super) fn new(head: &str, columns: usize, tail: &str) -> Self {
        let row = format!("({})", vec!["?"; columns].join(", "));
        Self(ROWS.map(|rows| format!("{head} VALUES {} {tail}", vec![row.as_str(); rows].join(", ")).into()))
    }

    /// Inserts all of `rows`; gives what the statements return.
    pub(super) async fn run<T>(
        &self,
        conn: &mut SqliteConnection,
        rows: &[T],
        bind: impl for<'q> Fn(Bound<'q>, &T) -> Result<Bound<'q>, ProjectFault>,
    ) -> Result<Vec<SqliteRow>, ProjectFault> {
        let mut returned = Vec::new();
        let mut left = rows;
        for (size, sql) in ROWS.into_iter().zip(&self.0) {
            while left.len() >= size {
                let (chunk, rest) = left.split_at(size);
                left = rest;
                let mut query = sqlx::query(AssertSqlSafe(Arc::clone(sql)));
                for row in chunk {
                    query = bind(query, row)?;
                }
                returned.extend(query.fetch_all(&mut *conn).await?);
            }
        }
        Ok(returned)
    }
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProjectFault {
    #[error("the cursor of shard {0} has moved")]
    CursorMoved(ShardId),
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error(transparent)]
    Range(#[from] OutOfRange),
    #[error(transparent)]
    Row(#[from] super::rows::RowError),
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
}
