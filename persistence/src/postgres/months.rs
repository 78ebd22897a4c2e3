//! Months: the partitions of the tables that are parted by time. Made by the database itself
//! (`gavel.make_month`), a transaction each, before the rows that need them.

use super::link::{Dialler, Isolation, query};
use sqlx::{Error, PgConnection, Row as _};
use std::time::{SystemTime, UNIX_EPOCH};

/// No month is shorter: steps of it meet every month.
const SHORTEST_MS: i64 = 28 * 24 * 3_600_000;
/// So many steps ahead: this month and at least the next two.
const STEPS_AHEAD: i64 = 3;

/// Months that certainly exist, each from its first moment to the next one's.
#[derive(Clone, Debug, Default)]
pub(super) struct Months(Vec<(i64, i64)>);

impl Months {
    fn have(&self, moment: i64) -> bool {
        // The newest were added last, and are asked for most.
        self.0.iter().rev().any(|(first, next)| (*first..*next).contains(&moment))
    }

    /// Forgets what it knows: somebody may have dropped one.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Makes those that these moments, and the time ahead, lie in.
    pub(super) async fn make(&mut self, dialler: &Dialler, conn: &mut PgConnection, moments: &[i64]) -> Result<(), Error> {
        let ahead = (0..=STEPS_AHEAD).map(|steps| now() + steps * SHORTEST_MS);
        for moment in moments.iter().copied().chain(ahead) {
            if self.have(moment) {
                continue;
            }
            let mut transaction = dialler.begin_writing(conn, Isolation::ReadCommitted).await?;
            let row = query("SELECT first_moment, next_moment FROM gavel.make_month($1)").bind(moment).fetch_one(&mut *transaction).await?;
            transaction.commit().await?;
            self.0.push((row.try_get(0)?, row.try_get(1)?));
        }
        Ok(())
    }
}

/// By this machine's clock: being wrong only makes other months early.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX / 2)
}
